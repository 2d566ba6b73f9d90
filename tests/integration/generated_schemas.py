"""Schemas that Hypothesis makes up: two to four tables of assorted types, keys, defaults, generated columns, cascades.

A schema is data (tables of columns) beside its statements, because whoever makes statements up must know what a column takes.
Values come from small domains, so that keys collide, ranges meet and cascades find rows.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

VALUES = {
    "INT": ["0", "1", "2", "-1", "7", "40", "999", "1000", "NULL", "ABS(-3)", "UNIX_TIMESTAMP() % 50"],
    "BIGINT UNSIGNED": ["0", "1", "5", "18446744073709551615", "NULL"],
    "DECIMAL(12,3)": ["0", "1.005", "-7.5", "123456789.123", "NULL", "RAND() * 100"],
    "DOUBLE": ["0", "0.1", "1e300", "-2.5", "NULL", "RAND()", "RAND(5)", "PI()"],
    "FLOAT": ["0", "0.1", "3", "NULL", "RAND()"],
    "VARCHAR(40)": [
        "'a'",
        "'A'",
        "'ä'",
        "'b '",
        "'b'",
        "''",
        "'größe ✓ 😀'",
        "'it''s; -- no'",
        "UUID()",
        "NULL",
        "NOW(6)",
    ],
    "VARCHAR(40) COLLATE utf8mb4_bin": ["'a'", "'A'", "'b '", "UUID()", "NULL", "CONCAT('n', 1)"],
    "CHAR(5)": ["'a'", "'A'", "'abc'", "'toolong'", "NULL"],
    "TEXT": ["'text'", "REPEAT('x', 2000)", "NULL"],
    "VARBINARY(20)": ["x'00ff'", "'bytes'", "RANDOM_BYTES(8)", "NULL"],
    "DATE": ["'2025-01-31'", "'1999-12-31'", "CURDATE()", "'2025-02-30'", "NULL"],
    "DATETIME(6)": ["'2025-01-31 12:00:00.123456'", "NOW(6)", "SYSDATE(6)", "NOW() - INTERVAL 1 DAY", "NULL"],
    "TIMESTAMP(3)": ["'2025-01-31 12:00:00'", "CURRENT_TIMESTAMP(3)", "NULL"],
    "TIME(2)": ["'12:34:56.78'", "'-100:00:00'", "CURTIME(2)", "NULL"],
    "YEAR": ["2025", "1999", "NULL"],
    "ENUM('a','b','c')": ["'a'", "'c'", "2", "'nowhere'", "NULL"],
    "SET('a','b','c')": ["'a'", "'a,c'", "''", "NULL"],
    "JSON": ["'{\"k\": 1}'", "JSON_OBJECT('t', NOW(6))", "JSON_ARRAY(1, 'x')", "'no json'", "NULL"],
    "BIT(4)": ["b'1010'", "3", "NULL"],
}
"""Type -> values of it, some of which no column takes: errors on purpose."""
NUMBERS = ("INT", "DECIMAL(12,3)", "DOUBLE", "FLOAT")
COMPARED = (*NUMBERS, "VARCHAR(40)", "VARCHAR(40) COLLATE utf8mb4_bin", "DATE", "DATETIME(6)")
SIZES = ("INT", "DATE", "VARCHAR(40)", "VARCHAR(40) COLLATE utf8mb4_bin", "DECIMAL(12,3)")
"""Types that unique keys are made of."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    definition: str
    is_generated: bool = False


@dataclass(frozen=True)
class Table:
    name: str
    keys: tuple[str, ...]
    """Columns of the primary key; all INT."""
    is_counted: bool
    columns: tuple[Column, ...]
    """All but the primary key's."""
    parent: str
    """The table that its column `up` refers to; empty: none."""
    definition: str

    @property
    def written(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.is_generated)

    def of(self, types: tuple[str, ...]) -> list[str]:
        return [column.name for column in self.columns if column.type in types]


@dataclass(frozen=True)
class Schema:
    tables: tuple[Table, ...]

    @property
    def statements(self) -> list[str]:
        return [table.definition for table in self.tables]


@st.composite
def _column(draw: st.DrawFn, name: str) -> Column:
    kind = draw(st.sampled_from(sorted(VALUES)))
    extra = ""
    if kind in ("DATETIME(6)", "TIMESTAMP(3)"):
        precision = kind[-3:]
        now = f" NOT NULL DEFAULT CURRENT_TIMESTAMP{precision}"
        extra = draw(st.sampled_from(["", "", now, f"{now} ON UPDATE CURRENT_TIMESTAMP{precision}"]))
    elif kind == "INT":
        extra = draw(st.sampled_from(["", "", " NOT NULL DEFAULT 3", " DEFAULT (1 + 2)", f" CHECK ({name} < 1000)"]))
    elif kind.startswith("VARCHAR"):
        extra = draw(st.sampled_from(["", "", " NOT NULL DEFAULT 'd'", " DEFAULT (CONCAT('e', '-', 1))"]))
    return Column(name, kind, f"{name} {kind}{extra}")


@st.composite
def _table(draw: st.DrawFn, name: str, parents: list[Table]) -> Table:
    is_counted = draw(st.booleans())
    is_pair = not is_counted and draw(st.sampled_from([False, False, True]))
    keys = ("x", "y") if is_pair else ("id",)
    lines = [f"{key} INT NOT NULL{' AUTO_INCREMENT' if is_counted else ''}" for key in keys]
    columns = [draw(_column(f"c{place}")) for place in range(draw(st.integers(2, 5)))]
    numbers = [column.name for column in columns if column.type == "INT"]
    if draw(st.booleans()) and numbers:
        kept = draw(st.sampled_from(["STORED", "VIRTUAL"]))
        columns.append(Column("g", "INT", f"g INT AS ({numbers[0]} + 1) {kept}", is_generated=True))
    single = [parent for parent in parents if parent.keys == ("id",) and "PARTITION" not in parent.definition]
    parent = draw(st.sampled_from(["", *(p.name for p in single)]))
    if parent:
        columns.append(Column("up", "INT", "up INT NULL"))
    lines += [column.definition for column in columns]
    lines.append(f"PRIMARY KEY ({', '.join(keys)})")
    sized = [column.name for column in columns if column.type in SIZES and column.name != "up"]
    is_unique: bool = bool(sized) and draw(st.sampled_from([False, False, True]))
    if is_unique:
        lines.append(f"UNIQUE KEY u ({draw(st.sampled_from(sized))})")
    indexed: list[str] = draw(st.lists(st.sampled_from(sized), max_size=2)) if sized else []
    lines += [f"KEY k{place} ({column})" for place, column in enumerate(indexed)]
    if parent:
        action: str = draw(st.sampled_from(["CASCADE", "SET NULL", "RESTRICT"]))
        lines.append(
            f"FOREIGN KEY (up) REFERENCES {parent} (id) ON DELETE {action} ON UPDATE {draw(st.sampled_from(['CASCADE', action]))}"
        )
    partitions = ""
    if not parent and not is_unique and keys == ("id",):
        by_range = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (5), PARTITION p1 VALUES LESS THAN MAXVALUE)"
        partitions = draw(st.sampled_from(["", "", "", " PARTITION BY HASH (id) PARTITIONS 3", f" {by_range}"]))
    definition = f"CREATE TABLE {name} ({', '.join(lines)}){partitions}"
    return Table(name, keys, is_counted, tuple(columns), parent, definition)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Tables of the database `g`, whose name stands before each of theirs."""
    tables: list[Table] = []
    for place in range(draw(st.integers(2, 4))):
        tables.append(draw(_table(f"g.t{place}", tables)))
    return Schema(tuple(tables))
