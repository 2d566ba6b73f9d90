"""Small readings of tokens: lists, chains of names, and the names in an expression that may be columns.

A list may be as long as a text may be, so whatever walks one pauses.
"""

from collections.abc import Generator, Iterator, Set

from statements.sql_checks import chain_end
from statements.sql_lexer import ROWS, Tokens
from statements.sql_shapes import Column, TableName

PAUSE_TOKENS = 512
PAUSE_ITEMS = 128
_ITEMS_MAX = 64
_WORDS = """
NULL TRUE FALSE DEFAULT UNKNOWN CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP UTC_DATE UTC_TIME
UTC_TIMESTAMP NOT AND OR XOR IS IN LIKE REGEXP RLIKE BETWEEN CASE WHEN THEN ELSE END INTERVAL DIV MOD DISTINCT ALL ANY AS
ASC DESC SIGNED UNSIGNED DECIMAL CHAR BINARY DATE DATETIME TIME JSON YEAR MONTH DAY HOUR MINUTE SECOND MICROSECOND WEEK
QUARTER ESCAPE EXISTS SEPARATOR
"""
NOT_COLUMNS = frozenset(_WORDS.split())
_COMMA = frozenset({","})


def on_level(tokens: Tokens, start: int, end: int, wanted: Set[str]) -> Iterator[int | None]:
    """The places of `wanted` between `start` and `end`, those in further parentheses passed over; None: a moment to pause."""
    keys, partners = tokens.keys, tokens.partners
    index, steps = start, 0
    while index < end:
        key = keys[index]
        steps += 1
        if steps % PAUSE_TOKENS == 0:
            yield None
        if key == "(":
            index = partners[index]
        elif key in wanted:
            yield index
        index += 1


def split(tokens: Tokens, start: int, end: int) -> Generator[None, None, list[tuple[int, int]]]:
    """The stretches between the commas of this level."""
    spans = []
    begin = start
    for comma in on_level(tokens, start, end, _COMMA):
        if comma is None:
            yield
        else:
            spans.append((begin, comma))
            begin = comma + 1
    if begin < end:
        spans.append((begin, end))
    return spans


def column_at(tokens: Tokens, index: int) -> Column:
    """The column of a chain `a`, `t.a` or `d.t.a`."""
    end = chain_end(tokens, index)
    table = tokens.name(end - 3) if end - index >= 3 else ""
    return Column(table, tokens.name(end - 1).lower())


def table_at(tokens: Tokens, index: int) -> TableName:
    end = chain_end(tokens, index)
    return TableName(tokens.name(index) if end - index >= 3 else "", tokens.name(end - 1))


def columns_in(tokens: Tokens, start: int, end: int) -> Generator[None, None, tuple[Column, ...]]:
    """Every name that may be a column, in further parentheses too."""
    columns: dict[Column, None] = {}
    index = start
    while index < end:
        if (index - start) % PAUSE_TOKENS == PAUSE_TOKENS - 1:
            yield
        after = chain_end(tokens, index)
        if after == index:
            index += 1
            continue
        is_alias = tokens.key(index - 1) == "AS"
        is_word = after == index + 1 and tokens.keys[index] in NOT_COLUMNS
        is_star = tokens.keys[after - 1] == "."
        if not (is_word or is_alias or is_star) and tokens.key(after) not in ("(", ROWS):
            columns[column_at(tokens, index)] = None
        index = after
    return tuple(columns)


def order_items(tokens: Tokens, start: int, end: int) -> Generator[None, None, tuple[Column | None, ...]]:
    """Of ORDER BY and GROUP BY: the bare columns; None for anything else, and for what comes behind so many."""
    spans = yield from split(tokens, start, end)
    items: list[Column | None] = []
    for begin, stop in spans[:_ITEMS_MAX]:
        last = stop - (tokens.key(stop - 1) in ("ASC", "DESC"))
        items.append(column_at(tokens, begin) if begin < last == chain_end(tokens, begin) else None)
    return (*items, None) if len(spans) > _ITEMS_MAX else tuple(items)
