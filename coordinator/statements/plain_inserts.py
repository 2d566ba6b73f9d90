"""The one statement that most writes are: `INSERT INTO t (…) VALUES (…)`, one row of plain values.

Such a text falls apart into a *head*, up to VALUES, and a *row*. The lexer takes a row of plain values as a single token whatever
the values are, so the verdict on the text is the verdict on its head: it is found once, and kept.

The invariant: what is taken apart here, the lexer cuts at the same place. So the head's pattern has no quote, comment or sign in
it that could swallow what follows, and the row's pattern is the lexer's own.
"""

import re

import msgspec

from statements.sql_lexer import PLAIN_LIST
from statements.sql_shapes import PlainInsert, TableName
from statements.text_shapes import is_unicode

_SPACE = r"[ \t-\r]{1,32}+"
_MAYBE = r"[ \t-\r]{0,32}+"
_NAME = r"(?:[A-Za-z_][0-9A-Za-z_]{0,63}+|`[0-9A-Za-z_]{1,64}+`)"
_COLUMNS = rf"\({_MAYBE}{_NAME}{_MAYBE}(?:,{_MAYBE}{_NAME}{_MAYBE}){{0,63}}+\)"
_HEAD = (
    rf"(?i:INSERT){_SPACE}(?i:INTO){_SPACE}(?:(?P<schema>{_NAME})\.)?(?P<table>{_NAME}){_MAYBE}"
    rf"(?P<columns>{_COLUMNS})?+{_MAYBE}(?i:VALUES){_MAYBE}"
)
_TEXT = re.compile(rf"{_MAYBE}(?P<head>{_HEAD})(?P<row>{PLAIN_LIST}){_MAYBE};?+{_MAYBE}\Z", re.DOTALL)
_PARTS = re.compile(_HEAD)
_ANY_NAME = re.compile(r"[0-9A-Za-z_]++")


class Halves(msgspec.Struct, frozen=True):
    head: str
    row: str


def halves_of(text: str) -> Halves | None:
    """None: it is another statement, or one that only the lexer can judge."""
    match = _TEXT.match(text)
    if match is None or "\0" in text or not is_unicode(text):
        return None
    return Halves(match["head"], match["row"])


def read_head(head: str) -> PlainInsert:
    """What the head of such a text names."""
    parts = _PARTS.fullmatch(head)
    assert parts is not None, head
    schema, table, columns = (parts[name] for name in ("schema", "table", "columns"))
    return PlainInsert(
        TableName((schema or "").strip("`"), table.strip("`")),
        None if columns is None else tuple(_ANY_NAME.findall(columns.lower())),
    )
