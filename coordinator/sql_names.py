"""Small readings of tokens: lists, chains of names, and the names in an expression that may be columns."""

from collections.abc import Generator, Iterator

from sql_checks import chain_end
from sql_lexer import ROWS, Tokens
from sql_shapes import Column, TableName

PAUSE_TOKENS = 1024
_WORDS = """
NULL TRUE FALSE DEFAULT UNKNOWN CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP UTC_DATE UTC_TIME
UTC_TIMESTAMP NOT AND OR XOR IS IN LIKE REGEXP RLIKE BETWEEN CASE WHEN THEN ELSE END INTERVAL DIV MOD DISTINCT ALL ANY AS
ASC DESC SIGNED UNSIGNED DECIMAL CHAR BINARY DATE DATETIME TIME JSON YEAR MONTH DAY HOUR MINUTE SECOND MICROSECOND WEEK
QUARTER ESCAPE EXISTS SEPARATOR
"""
NOT_COLUMNS = frozenset(_WORDS.split())


def split(tokens: Tokens, start: int, end: int, separator: str) -> Iterator[tuple[int, int]]:
    """The stretches between separators at this level."""
    begin = index = start
    while index < end:
        key = tokens.keys[index]
        if key == "(":
            index = tokens.partners[index]
        elif key == separator:
            yield begin, index
            begin = index + 1
        index += 1
    if begin < end:
        yield begin, end


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


def order_items(tokens: Tokens, start: int, end: int) -> Iterator[Column | None]:
    """Of ORDER BY and GROUP BY: the bare columns; None for anything else."""
    for begin, stop in split(tokens, start, end, ","):
        last = stop - (tokens.key(stop - 1) in ("ASC", "DESC"))
        yield column_at(tokens, begin) if begin < last == chain_end(tokens, begin) else None
