"""Aggregates in a write: which of them depend on the order of rows, and by which columns.

COUNT and the bit aggregates never do. MIN and MAX take the first of several equal values. SUM and AVG are exact for exact
numbers only, so the terms of a sum are read word by word: whatever is not known to keep numbers exact is not understood.
"""

import re
from collections.abc import Generator
from itertools import pairwise

from statements.sql_checks import chain_end
from statements.sql_lexer import LITERAL, ROWS, Tokens
from statements.sql_names import PAUSE_TOKENS, column_at, columns_in, order_items
from statements.sql_shapes import Claim, Column, Concatenated, Exact, Query

_EXACT_NUMBERS = re.compile(r"[0-9., ()-]*")
"""No exponent, no quotes."""
_CAST_TO_EXACT = frozenset({"SIGNED", "UNSIGNED", "DECIMAL", "DEC"})
_SUMS = frozenset({"SUM", "AVG"})
_CHOOSES = frozenset({"MIN", "MAX"})
AGGREGATES = _SUMS | _CHOOSES | {"COUNT", "BIT_AND", "BIT_OR", "BIT_XOR", "GROUP_CONCAT"}
_EXACT_SIGNS = frozenset({"+", "-", "*", "/", "%", "=", "<", ">", "!", "&", ",", "(", ")", "."})
_EXACT_CALLS = frozenset({"IF", "IFNULL", "COALESCE", "NULLIF", "ABS", "GREATEST", "LEAST", "MOD"})
_EXACT_WORDS = frozenset({"NULL", "TRUE", "FALSE", "NOT", "AND", "OR", "XOR", "IS", "DIV", "MOD", "DISTINCT"})
_EXACT_WORDS |= {"CASE", "WHEN", "THEN", "ELSE", "END", "IN"} | _EXACT_CALLS


def read_aggregate(tokens: Tokens, opening: int, query: Query) -> Generator[None, None, list[Claim]]:
    """The claims of the aggregate whose parenthesis opens at token `opening`, in that query."""
    function, start, end = tokens.key(opening - 1), opening + 1, tokens.partners[opening]
    if function == "GROUP_CONCAT":
        return [(yield from _group_concat(tokens, start, end, query))]
    if function in _CHOOSES:
        columns = yield from columns_in(tokens, start, end)
        return [Exact(f"{function}()", columns)]
    if function in _SUMS and not _is_cast(tokens, start, end):
        return [(yield from _sum(tokens, function, start, end))]
    return []


def _is_cast(tokens: Tokens, start: int, end: int) -> bool:
    """CAST(… AS DECIMAL) and nothing else."""
    if tokens.key(start) != "CAST" or tokens.key(start + 1) != "(" or tokens.partners[start + 1] + 1 != end:
        return False
    return any(a == "AS" and b in _CAST_TO_EXACT for a, b in pairwise(tokens.keys[start + 1 : end]))


def _sum(tokens: Tokens, function: str, start: int, end: int) -> Generator[None, None, Exact]:
    """Exact terms only: whole numbers, decimals, comparisons; a column that is only compared with a literal may be anything."""
    columns: dict[Column, None] = {}
    is_understood = True
    index = start
    while index < end and is_understood:
        if (index - start) % PAUSE_TOKENS == PAUSE_TOKENS - 1:
            yield
        key = tokens.keys[index]
        after = chain_end(tokens, index)
        if key in _EXACT_WORDS or key in _EXACT_SIGNS:
            after = index + 1
        elif after > index:
            sign = after
            while tokens.key(sign) in ("=", "<", ">", "!"):
                sign += 1
            if sign > after and tokens.key(sign) == LITERAL:
                after = sign + 1
            elif tokens.key(after) in ("(", ROWS):
                is_understood = False
            else:
                columns[column_at(tokens, index)] = None
        elif key in (LITERAL, ROWS):
            is_understood = _EXACT_NUMBERS.fullmatch(tokens.raw(index)) is not None
            after = index + 1
        else:
            is_understood = False
        index = after
    return Exact(f"{function}()", tuple(columns), adds=True, is_understood=is_understood)


def _group_concat(tokens: Tokens, start: int, end: int, query: Query) -> Generator[None, None, Concatenated]:
    order = next((at for at in range(start, min(end, start + PAUSE_TOKENS)) if tokens.keys[at] == "ORDER"), end)
    arguments = yield from columns_in(tokens, start, order)
    stop = end - 2 if tokens.key(end - 2) == "SEPARATOR" else end
    items = (yield from order_items(tokens, order + 2, stop)) if order < end else ()
    return Concatenated(arguments, tuple(item for item in items if item is not None), query)
