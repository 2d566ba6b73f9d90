"""Rows of a result as JSON has them, exactly. Pure.

Most values have a JSON form of their own or one that the encoder knows: numbers, text, null; DECIMAL as a string, since a JSON
number would lose digits; dates and times in ISO form; bytes in base64. The column's type tells the others apart: a TIME goes
beyond 24 hours, a BIT is a number that comes as bytes, and a 64-bit integer is more than a client's numbers may hold.

Source of the codes, flags and lengths: MySQL's protocol, "Column Definition" (dev.mysql.com/doc/dev/mysql-server/latest,
page_protocol_com_query_response_text_resultset_column_definition).
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol

import msgspec

TIME, BIT, BIGINT = 11, 16, 8
UNSIGNED, ENUM, SET = 32, 256, 2048
"""Flags of a column."""
BINARY_CHARSET = 63
_NAMES = {
    0: "DECIMAL",
    1: "TINYINT",
    2: "SMALLINT",
    3: "INT",
    4: "FLOAT",
    5: "DOUBLE",
    6: "NULL",
    7: "TIMESTAMP",
    BIGINT: "BIGINT",
    9: "MEDIUMINT",
    10: "DATE",
    TIME: "TIME",
    12: "DATETIME",
    13: "YEAR",
    BIT: "BIT",
    242: "VECTOR",
    245: "JSON",
    246: "DECIMAL",
    255: "GEOMETRY",
}
_NUMBERS = frozenset({0, 1, 2, 3, 4, 5, BIGINT, 9, 246})
_TEXTS = {252: ("TEXT", "BLOB"), 253: ("VARCHAR", "VARBINARY"), 254: ("CHAR", "BINARY")}
"""By code: the name with a character set, and without."""


class RowFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request wants rows to look like."""

    rows: Literal["objects", "arrays"] = "objects"
    columns: bool = False
    """Names and types of the columns, too. Arrays always come with them."""
    integers: Literal["numbers", "text"] = "numbers"
    """How values of BIGINT and BIT columns are written."""


PLAIN = RowFormat()


class Column(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def type_code(self) -> int: ...

    @property
    def flags(self) -> int: ...

    @property
    def charset(self) -> int: ...


class Rows(Protocol):
    """A result set."""

    @property
    def columns(self) -> Sequence[Any] | None: ...

    @property
    def rows(self) -> Sequence[tuple[Any, ...]]: ...


def rows_of(result: Rows, form: RowFormat = PLAIN) -> dict[str, Any]:
    """`data`, and `columns` where they are wanted. In an object the last column of a name counts (name them with AS)."""
    columns: Sequence[Column] = result.columns or ()
    rows = written(result.rows, columns, form)
    if form.rows == "arrays":
        return {"columns": described(columns), "data": rows}
    names = [column.name for column in columns]
    data = [dict(zip(names, row, strict=True)) for row in rows]
    return {"columns": described(columns), "data": data} if form.columns else {"data": data}


def described(columns: Sequence[Column]) -> list[dict[str, str]]:
    return [{"name": column.name, "type": type_name(column)} for column in columns]


def written(rows: Sequence[tuple[Any, ...]], columns: Sequence[Column], form: RowFormat) -> Sequence[Sequence[Any]]:
    """The rows with every value as the encoder can write it."""
    writers: dict[int, Callable[[Any], Any]] = {}
    for place, column in enumerate(columns):
        if column.type_code == TIME:
            writers[place] = time_text
        elif column.type_code == BIT:
            writers[place] = bit_number if form.integers == "numbers" else bit_text
        elif column.type_code == BIGINT and form.integers == "text":
            writers[place] = integer_text
    if not writers:
        return rows
    changed = []
    for row in rows:
        values = list(row)
        for place, write in writers.items():
            values[place] = write(values[place])
        changed.append(values)
    return changed


def type_name(column: Column) -> str:
    """As in CREATE TABLE, without lengths."""
    code, flags = column.type_code, column.flags
    if flags & ENUM:
        return "ENUM"
    if flags & SET:
        return "SET"
    if code in _TEXTS:
        with_charset, without = _TEXTS[code]
        return without if column.charset == BINARY_CHARSET else with_charset
    name = _NAMES.get(code, f"type {code}")
    return f"{name} UNSIGNED" if code in _NUMBERS and flags & UNSIGNED else name


def time_text(value: object) -> object:
    """A TIME as MySQL writes it: [-]HH:MM:SS[.ffffff], hours up to 838."""
    if not isinstance(value, timedelta):
        return value
    total_us = value // timedelta(microseconds=1)
    sign, total_us = ("-", -total_us) if total_us < 0 else ("", total_us)
    seconds, us = divmod(total_us, 1_000_000)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{us:06d}" if us else text


def bit_number(value: object) -> object:
    """A BIT, which comes as its bytes."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else value


def bit_text(value: object) -> object:
    return integer_text(bit_number(value))


def integer_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value
