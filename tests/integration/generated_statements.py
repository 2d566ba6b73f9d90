"""Statements that Hypothesis makes up over a generated schema: writes of every form, right and wrong, and schema changes.

What the cluster refuses is made up as well (an unordered LIMIT, a join that matches several): it must be refused or be exact, and
which of the two is the parser's to say. Comparisons are between values of one type: in strict mode a comparison that converts is
an error for just the rows that a plan looks at.
"""

from generated_schemas import COMPARED, NUMBERS, VALUES, Column, Schema, Table
from hypothesis import strategies as st

CLIENTS = 4
STATEMENTS_MAX = 14


def _value(column: Column) -> st.SearchStrategy[str]:
    values = VALUES[column.type]
    return (
        st.sampled_from([*values, "DEFAULT"]) if column.name != "up" else st.sampled_from(["1", "2", "3", "7", "NULL"])
    )


def _key() -> st.SearchStrategy[str]:
    return st.integers(0, 9).map(str)


@st.composite
def _row(draw: st.DrawFn, table: Table, columns: list[Column]) -> str:
    keys = [draw(_key()) for _ in table.keys]
    if table.is_counted:
        keys = []
    return f"({', '.join([*keys, *(draw(_value(column)) for column in columns)])})"


@st.composite
def _insert(draw: st.DrawFn, schema: Schema) -> str:
    table = draw(st.sampled_from(schema.tables))
    columns = [column for column in table.written if draw(st.sampled_from([True, True, False]))]
    names = ", ".join([*(() if table.is_counted else table.keys), *(column.name for column in columns)])
    if table.is_counted and draw(st.sampled_from([False, False, True])):
        names = ", ".join(["id", *(column.name for column in columns)])
        ids = draw(st.lists(st.sampled_from(["3", "20", "40", "NULL", "0", "DEFAULT"]), min_size=1, max_size=4))
        rows = [f"({', '.join([number, *(draw(_value(column)) for column in columns)])})" for number in ids]
    else:
        rows = draw(st.lists(_row(table, columns), min_size=1, max_size=4))
    verb = draw(st.sampled_from(["INSERT", "INSERT", "INSERT", "INSERT IGNORE", "REPLACE"]))
    if verb == "INSERT" and draw(st.sampled_from([False, False, True])) and table.written:
        changed = draw(st.sampled_from(table.written))
        value = draw(st.sampled_from([f"VALUES({changed.name})", changed.name, "DEFAULT"]))
        return f"INSERT INTO {table.name} ({names}) VALUES {rows[0]} ON DUPLICATE KEY UPDATE {changed.name} = {value}"
    if verb != "INSERT" and draw(st.booleans()):
        rows = rows[:1]
    return f"{verb} INTO {table.name} ({names}) VALUES {', '.join(rows)}"


@st.composite
def _insert_select(draw: st.DrawFn, schema: Schema) -> str:
    into, source = draw(st.sampled_from(schema.tables)), draw(st.sampled_from(schema.tables))
    pairs = [(a.name, b.name) for a in into.written for b in source.columns if a.type == b.type][:2]
    names = [*(() if into.is_counted else into.keys), *(a for a, _ in pairs)] or ["id"]
    shift = f" + {draw(st.sampled_from([10, 20, 30]))}"
    keys = [
        source.keys[min(place, len(source.keys) - 1)] + shift
        for place in range(0 if into.is_counted else len(into.keys))
    ]
    values = [*keys, *(b for _, b in pairs)] or [source.keys[0] + shift]
    order = draw(st.sampled_from(["", *[f" ORDER BY {', '.join(source.keys)}"] * 4]))
    verb = draw(st.sampled_from(["INSERT", "INSERT", "INSERT IGNORE", "REPLACE"]))
    return f"{verb} INTO {into.name} ({', '.join(names)}) SELECT {', '.join(values)} FROM {source.name}{order}"


@st.composite
def _condition(draw: st.DrawFn, table: Table, alias: str) -> str:
    shape = draw(st.integers(0, 5))
    compared = [column for column in table.columns if column.type in COMPARED and column.name != "up"]
    if shape <= 1 or not compared:
        return " AND ".join(f"{alias}{key} = {draw(_key())}" for key in table.keys)
    column = draw(st.sampled_from(compared))
    literals = [v for v in VALUES[column.type] if v[0] in "'-0123456789" and v != "'2025-02-30'"]
    value = draw(st.sampled_from(literals))
    if shape == 2:
        return f"{alias}{column.name} IS NOT NULL"
    if shape == 3:
        return f"{alias}{column.name} IN ({value}, {draw(st.sampled_from(literals))})"
    return f"{alias}{column.name} {draw(st.sampled_from(['=', '<', '>=', '<>']))} {value}"


@st.composite
def _assignment(draw: st.DrawFn, schema: Schema, table: Table, alias: str = "") -> str:
    column = draw(st.sampled_from(table.written))
    shape = draw(st.integers(0, 5))
    if shape == 0 and column.type in NUMBERS:
        return f"{alias}{column.name} = {alias}{column.name} + {draw(st.sampled_from(['1', '-1', '0.5']))}"
    if shape == 1 and column.type in NUMBERS:
        other = draw(st.sampled_from(schema.tables))
        numbers = other.of(NUMBERS) or list(other.keys)
        function = draw(st.sampled_from(["MAX", "MIN", "COUNT", "SUM", "AVG"]))
        return f"{alias}{column.name} = (SELECT {function}({draw(st.sampled_from(numbers))}) FROM {other.name} AS o)"
    if shape == 2 and column.type.startswith("VARCHAR"):
        return f"{alias}{column.name} = UPPER({alias}{column.name})"
    if shape == 3 and draw(st.booleans()):
        key = draw(st.sampled_from(table.keys))
        return f"{alias}{key} = {alias}{key} + 1"
    values = (
        [value for value in VALUES[column.type] if "RAND" not in value] if column.name != "up" else ["1", "2", "NULL"]
    )
    return f"{alias}{column.name} = {draw(st.sampled_from([*values, 'DEFAULT'] if not alias else values))}"


def _ends(table: Table) -> st.SearchStrategy[str]:
    order = f" ORDER BY {', '.join(table.keys)}"
    down = f" ORDER BY {', '.join(f'{key} DESC' for key in table.keys)}"
    return st.sampled_from(["", "", "", order, down, f"{order} LIMIT 2", f"{down} LIMIT 1", " LIMIT 1"])


@st.composite
def _update(draw: st.DrawFn, schema: Schema) -> str:
    table = draw(st.sampled_from(schema.tables))
    sets = ", ".join(draw(st.lists(_assignment(schema, table), min_size=1, max_size=2)))
    where = f" WHERE {draw(_condition(table, ''))}" if draw(st.sampled_from([True, True, True, False])) else ""
    return f"UPDATE {draw(st.sampled_from(['', '', '', 'IGNORE ']))}{table.name} SET {sets}{where}{draw(_ends(table))}"


@st.composite
def _join(draw: st.DrawFn, schema: Schema) -> str:
    first, second = draw(st.sampled_from(schema.tables)), draw(st.sampled_from(schema.tables))
    left = draw(st.sampled_from([*first.of(("INT",)), *first.keys]))
    on = " AND ".join(f"a.{left} = b.{key}" for key in second.keys)
    if draw(st.booleans()):
        on = f"a.{left} = b.{draw(st.sampled_from([*second.of(('INT',)), *second.keys]))}"
    where = f" WHERE {draw(_condition(second, 'b.'))}" if draw(st.booleans()) else ""
    if draw(st.booleans()):
        return f"DELETE a FROM {first.name} AS a JOIN {second.name} AS b ON {on}{where}"
    pairs = [(x.name, y.name) for x in first.written for y in second.columns if x.type == y.type]
    sets = [f"a.{x} = b.{y}" for x, y in pairs] or [draw(_assignment(schema, first, "a."))]
    return f"UPDATE {first.name} AS a JOIN {second.name} AS b ON {on} SET {draw(st.sampled_from(sets))}{where}"


@st.composite
def _delete(draw: st.DrawFn, schema: Schema) -> str:
    table = draw(st.sampled_from(schema.tables))
    if draw(st.sampled_from([False, False, False, True])):
        other = draw(st.sampled_from(schema.tables))
        head = f"WITH few AS (SELECT {other.keys[0]} AS k FROM {other.name} WHERE {draw(_condition(other, ''))}) "
        return f"{head}DELETE FROM {table.name} WHERE {table.keys[0]} IN (SELECT k FROM few){draw(_ends(table))}"
    return f"DELETE FROM {table.name} WHERE {draw(_condition(table, ''))}{draw(_ends(table))}"


@st.composite
def _error(draw: st.DrawFn, schema: Schema) -> str:
    table = draw(st.sampled_from(schema.tables))
    key, name, ones = table.keys[0], table.name, ", ".join("1" for _ in table.keys)
    wrong = [
        f"UPDATE {name} SET nothing = 1",
        "DELETE FROM g.nothing",
        f"INSERT INTO {name} ({key}) VALUES ('no number')",
        f"INSERT INTO {name} ({', '.join(table.keys)}) VALUES ({ones}), ({ones})",
        f"UPDATE {name} SET {key} = 1 / 0",
        f"INSERT INTO {name} ({key}) VALUES (1, 2)",
        f"UPDATE {name} SET {key} = NULL",
        f"UPDATE {name} SET {key} = 5 WHERE",
    ]
    return draw(st.sampled_from(wrong))


@st.composite
def _change(draw: st.DrawFn, schema: Schema) -> str:
    table = draw(st.sampled_from(schema.tables))
    column = draw(st.sampled_from(table.written)).name
    changes = [
        f"ALTER TABLE {table.name} ADD COLUMN late INT NOT NULL DEFAULT 5",
        f"ALTER TABLE {table.name} ADD COLUMN stamp DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
        f"ALTER TABLE {table.name} DROP COLUMN late",
        f"ALTER TABLE {table.name} DROP COLUMN {column}",
        f"ALTER TABLE {table.name} ADD INDEX more ({column})",
        f"ALTER TABLE {table.name} RENAME COLUMN {column} TO renamed",
        f"CREATE UNIQUE INDEX strict ON {table.name} ({column})",
        f"DROP INDEX more ON {table.name}",
        f"TRUNCATE TABLE {table.name}",
        f"CREATE TABLE {table.name}_like LIKE {table.name}",
        f"CREATE OR REPLACE VIEW g.v AS SELECT * FROM {table.name}",
        f"RENAME TABLE {table.name} TO {table.name}_away, {table.name}_away TO {table.name}",
    ]
    return draw(st.sampled_from(changes))


@st.composite
def statements(draw: st.DrawFn, schema: Schema) -> str:
    kinds = [
        _insert,
        _insert,
        _insert,
        _insert,
        _insert_select,
        _update,
        _update,
        _update,
        _join,
        _delete,
        _delete,
        _error,
    ]
    return draw(draw(st.sampled_from([*kinds, *kinds, _change]))(schema))


@st.composite
def sequences(draw: st.DrawFn, schema: Schema) -> list[list[str]]:
    """What each client sends, one after the other. The first only inserts at first, so that there is something to change."""
    start = [draw(_insert(schema)) for _ in schema.tables for _ in range(2)]
    rest = [draw(st.lists(statements(schema), min_size=4, max_size=STATEMENTS_MAX)) for _ in range(CLIENTS)]
    return [start + rest[0], *rest[1:]]
