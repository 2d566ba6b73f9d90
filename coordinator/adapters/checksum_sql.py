"""The SQL with which the rows of one table are compared between nodes, as text. Pure.

A chunk's checksum is the exclusive or of its rows' SHA-256: independent of the order in which a server finds them, and two rows
of one table are never equal, because their keys differ. A row is hashed from an encoding that tells any two values apart: each
column by itself, a NULL from every text, bytes as they are stored (in hex, so that no collation makes two of them equal),
numbers as MySQL writes them exactly. What is long is hashed first, so that no row outgrows a packet.

Chunks are ranges of the primary key: behind one key, up to another. Keys travel as text, `literal` makes SQL of them again. Order
and range are MySQL's own, by the column's collation, so it does not matter which node a boundary was taken from.
"""

import re
from collections.abc import Sequence

import msgspec

Key = tuple[str, ...]
"""A primary key as it travels: one text a column."""

SYSTEM_SCHEMAS = ("information_schema", "mysql", "performance_schema", "sys", "_replication")

SESSION = (
    "SET SESSION autocommit = 1, time_zone = '+00:00', transaction_isolation = 'REPEATABLE-READ', lock_wait_timeout = 1,"
    " collation_connection = 'utf8mb4_0900_ai_ci', sql_quote_show_create = 1, max_execution_time = {milliseconds}"
)
"""lock_wait_timeout: behind a schema change that waits for us we give up, and do not wait for it in turn."""
SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
WHERE_IT_IS = "SELECT epoch, owner, applied_timestamp FROM _replication.meta WHERE id = 1"

TABLES = (
    "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN ("
    + ", ".join(f"'{schema}'" for schema in SYSTEM_SCHEMAS)
    + ") ORDER BY table_schema, table_name"
)

NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"})
FLOATS = frozenset({"float", "double"})
TIMES = frozenset({"date", "time", "datetime", "timestamp"})
BY_NUMBER = frozenset({"bit", "enum", "set"})
"""An enumeration is ordered by the numbers of its words."""
BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
HEX_OCTETS_MAX = 1024
"""Longer columns are hashed by themselves."""


class Column(msgspec.Struct, frozen=True):
    name: str
    kind: str
    """MySQL's DATA_TYPE."""
    octets_max: int | None


class Table(msgspec.Struct, frozen=True):
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...]

    @property
    def quoted(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string literal of whatever characters, in any SQL mode."""
    return f"_utf8mb4 x'{value.encode().hex()}'"


def columns_of(schema: str, table: str) -> str:
    return (
        "SELECT c.column_name, c.data_type, c.character_octet_length, s.seq_in_index FROM information_schema.columns AS c"
        " LEFT JOIN information_schema.statistics AS s ON s.table_schema = c.table_schema AND s.table_name = c.table_name"
        " AND s.column_name = c.column_name AND s.index_name = 'PRIMARY'"
        f" WHERE c.table_schema = {text(schema)} AND c.table_name = {text(table)} ORDER BY c.ordinal_position"
    )


def table_of(schema: str, name: str, rows: Sequence[tuple[str, str, int | None, int | None]]) -> Table:
    """From the answer to `columns_of`."""
    columns = tuple(Column(name, kind.lower(), octets) for name, kind, octets, _ in rows)
    places = sorted((place, index) for index, (_, _, _, place) in enumerate(rows) if place is not None)
    return Table(schema, name, columns, tuple(columns[index] for _, index in places))


def definition_of(schema: str, name: str, table_type: str) -> str:
    what = "VIEW" if table_type == "VIEW" else "TABLE"
    return f"SHOW CREATE {what} {identifier(schema)}.{identifier(name)}"


def without_auto_increment(definition: str) -> str:
    """SHOW CREATE TABLE without the next number: it stands among the options, before any text of a user's."""
    return re.sub(r"(\n\) [^'\n]*?) AUTO_INCREMENT=\d+", r"\1", definition, count=1)


# ---------------------------------------------------------------------------------------------- rows


def encoded(column: Column) -> str:
    """An expression whose text tells any two values apart, and NULL from all of them."""
    name = identifier(column.name)
    if column.kind in NUMBERS | TIMES:
        value = f"CAST({name} AS CHAR)"
    elif column.kind in FLOATS:
        # the shortest text that gives the same double again; a float is a double exactly
        value = f"CAST(CAST({name} AS DOUBLE) AS CHAR)"
    elif column.kind in BY_NUMBER:
        value = f"CAST({name} + 0 AS CHAR)"
    elif column.kind == "json":
        value = f"SHA2(CAST({name} AS CHAR), 256)"
    elif column.octets_max is not None and column.octets_max <= HEX_OCTETS_MAX:
        value = f"HEX({name})"
    else:
        value = f"SHA2({name}, 256)"
    return f"IFNULL(CONCAT('=', {value}), 'NULL')"


def row_hash(table: Table) -> str:
    return f"SHA2(CONCAT_WS(',', {', '.join(encoded(column) for column in table.columns)}), 256)"


# ---------------------------------------------------------------------------------------------- keys


def key_text(column: Column) -> str:
    """An expression that `literal` can turn into SQL again."""
    name = identifier(column.name)
    if column.kind in FLOATS:
        return f"CAST(CAST({name} AS DOUBLE) AS CHAR)"
    if column.kind in BY_NUMBER:
        return f"CAST({name} + 0 AS CHAR)"
    if column.kind in NUMBERS | TIMES:
        return f"CAST({name} AS CHAR)"
    if column.kind in BYTES:
        return f"HEX({name})"
    return f"HEX(CONVERT({name} USING utf8mb4))"


def literal(column: Column, value: str) -> str:
    """SQL that `compared` compares with. Raises ValueError for what `key_text` does not give."""
    if column.kind in FLOATS | BY_NUMBER | NUMBERS:
        float(value)
        return value
    if column.kind in TIMES:
        return text(value)
    introducer = "" if column.kind in BYTES else "_utf8mb4 "
    return f"{introducer}x'{bytes.fromhex(value).hex()}'"


def compared(column: Column) -> str:
    name = identifier(column.name)
    return f"({name} + 0)" if column.kind in BY_NUMBER else name


def shown(column: Column, value: str) -> str:
    """A key's column for people."""
    if column.kind in NUMBERS | FLOATS | BY_NUMBER | TIMES:
        return value
    return f"0x{value}" if column.kind in BYTES else bytes.fromhex(value).decode()


def _behind(columns: Sequence[Column], key: Sequence[str], operator: str) -> str:
    """Row comparison, spelled out: MySQL does not look `(a, b) > (1, 2)` up in an index."""
    column, value = compared(columns[0]), literal(columns[0], key[0])
    if len(columns) == 1:
        return f"{column} {operator} {value}"
    strictly = operator[0]
    rest = _behind(columns[1:], key[1:], operator)
    return f"{column} {strictly}= {value} AND ({column} {strictly} {value} OR ({column} = {value} AND {rest}))"


def within(table: Table, after: Key | None, upto: Key | None) -> str:
    """WHERE of the rows behind one key and up to another; None: from the beginning, to the end."""
    conditions = []
    if after is not None:
        conditions.append(_behind(table.key, after, ">"))
    if upto is not None:
        conditions.append(_behind(table.key, upto, "<="))
    return " WHERE " + " AND ".join(f"({condition})" for condition in conditions) if conditions else ""


def _order(table: Table) -> str:
    return " ORDER BY " + ", ".join(compared(column) for column in table.key)


def chunk_end(table: Table, after: Key | None, rows: int) -> str:
    """The key of the row that is `rows` behind; nothing where fewer are left."""
    keys = ", ".join(key_text(column) for column in table.key)
    return f"SELECT {keys} FROM {table.quoted}{within(table, after, None)}{_order(table)} LIMIT {rows - 1}, 1"


def checksum(table: Table, after: Key | None, upto: Key | None) -> str:
    """(rows, checksum) of a chunk."""
    total = f"HEX(BIT_XOR(UNHEX({row_hash(table)})))"
    return f"SELECT COUNT(*), {total} FROM {table.quoted}{within(table, after, upto)}"


def row_hashes(table: Table, after: Key | None, upto: Key | None, rows_max: int) -> str:
    """(key, hash) of each row of a chunk, in order, the first `rows_max` of them."""
    keys = ", ".join(key_text(column) for column in table.key)
    where = within(table, after, upto)
    return f"SELECT {keys}, {row_hash(table)} FROM {table.quoted}{where}{_order(table)} LIMIT {rows_max}"
