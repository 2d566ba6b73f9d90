"""Reads a FROM clause and conditions: which tables stand in it, under which names, and which equalities hold for every row.

Of a condition only the terms `a = 1` and `a = b` of its top level are taken, and none where OR, XOR, BETWEEN or CASE stands
beside them. An equality in the ON of a LEFT JOIN says something of the right side only: the left one's rows come anyway.
"""

from collections.abc import Generator, Set

from statements.sql_checks import chain_end
from statements.sql_lexer import LITERAL, ROWS, Tokens
from statements.sql_names import NOT_COLUMNS, PAUSE_TOKENS, column_at, split, table_at
from statements.sql_shapes import Column, Equality, Literal, Relation

EQUALITIES_MAX = 32
"""Of one query: more are not looked at, which can only lead to a refusal. What follows from them is found by going round."""
JOINS = frozenset({"JOIN", "STRAIGHT_JOIN"})
_ENDS_ALIAS = JOINS | {"ON", "USE", "FORCE", "IGNORE", "INNER", "CROSS", "LEFT", "RIGHT", "NATURAL", "PARTITION", "FOR"}
_ENDS_ALIAS |= {"TABLESAMPLE", "OUTER", "USING"}


def read_relations(
    tokens: Tokens, start: int, end: int, common: Set[str], equalities: list[Equality]
) -> Generator[None, None, tuple[Relation, ...]]:
    """The items of a FROM clause; the conditions of its joins are added to `equalities`."""
    found: list[Relation] = []
    index, expects_item, outer, steps = start, True, "", 0
    while index < end:
        key = tokens.keys[index]
        steps += 1
        if steps % PAUSE_TOKENS == 0:
            yield
        if expects_item:
            relation, index = _relation(tokens, index, end, common)
            found.append(relation)
            expects_item = False
            continue
        if key == "(":
            index = tokens.partners[index]
        elif key == "," or (key in JOINS and tokens.keys[index - 1] != "FOR"):
            expects_item = True
            outer = _outer(tokens, index) if key != "," else ""
            if outer in ("RIGHT", "NATURAL"):
                found.append(Relation(None, ""))
        elif key == "ON":
            stop = _condition_end(tokens, index + 1, end)
            toward = found[-1].alias if outer == "LEFT" else ""
            yield from read_equalities(tokens, index + 1, stop, equalities, toward)
            index = stop
            continue
        elif key == "USING" and tokens.key(index + 1) in ("(", ROWS):
            closing = tokens.partners[index + 1]
            toward = found[-1].alias if outer == "LEFT" else ""
            if len(found) == 2:
                for begin, _ in (yield from split(tokens, index + 2, closing))[:EQUALITIES_MAX]:
                    name = tokens.name(begin).lower()
                    equalities.append(Equality(Column(found[1].alias, name), Column(found[0].alias, name), toward))
            index = closing
        index += 1
    return tuple(found)


def _outer(tokens: Tokens, join: int) -> str:
    before = tokens.keys[max(join - 3, 0) : join]
    return next((word for word in ("NATURAL", "RIGHT", "LEFT") if word in before), "")


def _relation(tokens: Tokens, index: int, end: int, common: Set[str]) -> tuple[Relation, int]:
    after = chain_end(tokens, index)
    if tokens.key(index) in ("DUAL", "ONLY", "LATERAL") or after == index or tokens.key(after) == "(":
        if tokens.key(index) == "LATERAL":
            index += 1
        opening = after if after > index and tokens.key(after) == "(" else index
        after = tokens.partners[opening] + 1 if tokens.key(opening) in ("(", ROWS) else opening + 1
        alias, after = _alias(tokens, after, end)
        return Relation(None, alias), after
    table = table_at(tokens, index)
    if tokens.key(after) == "PARTITION" and tokens.key(after + 1) in ("(", ROWS):
        after = tokens.partners[after + 1] + 1
    alias, after = _alias(tokens, after, end)
    is_common = not table.schema and table.name in common
    return Relation(None if is_common else table, alias or table.name), after


def _alias(tokens: Tokens, index: int, end: int) -> tuple[str, int]:
    if index < end and tokens.keys[index] == "AS":
        index += 1
    if index < end and tokens.is_name(index) and tokens.keys[index] not in _ENDS_ALIAS:
        return tokens.name(index), index + 1
    return "", index


def _condition_end(tokens: Tokens, index: int, end: int) -> int:
    joins = JOINS | {",", "INNER", "CROSS", "LEFT", "RIGHT", "NATURAL"}
    while index < end and tokens.keys[index] not in joins:
        is_call = tokens.keys[index] == "("
        index = tokens.partners[index] + 1 if is_call else index + 1
        if index < end and tokens.keys[index] in ("LEFT", "RIGHT") and tokens.key(index + 1) == "(":
            index += 1  # the functions of these names
    return index


def read_equalities(
    tokens: Tokens, start: int, end: int, into: list[Equality], toward: str = ""
) -> Generator[None, None, None]:
    """`a = 1 AND t.b = u.c AND …`: those terms of the top level that are plain equalities."""
    found: list[Equality] = []
    begin = index = start
    steps = 0
    while index <= end:
        key = tokens.keys[index] if index < end else "AND"
        steps += 1
        if steps % PAUSE_TOKENS == 0:
            yield
        if key in ("OR", "XOR", "BETWEEN", "CASE", "|"):
            return
        if key == "(":
            index = tokens.partners[index]
        elif key == "AND" or (key == "&" and tokens.key(index + 1) == "&"):
            if len(found) < EQUALITIES_MAX:
                found += _equality(tokens, begin, min(index, end), toward)
            index += key == "&"
            begin = index + 1
        index += 1
    into += found[: max(0, EQUALITIES_MAX - len(into))]


def _equality(tokens: Tokens, start: int, end: int, toward: str) -> list[Equality]:
    middle = chain_end(tokens, start)
    if middle == start or tokens.key(middle) != "=" or middle >= end:
        return []
    column, value = column_at(tokens, start), middle + 1
    literal = value + (tokens.key(value) == "-")
    if tokens.key(literal) == LITERAL and literal + 1 == end:
        raw = tokens.raw(literal)
        kind = Literal.NUMBER if raw.isdecimal() else Literal.STRING if raw[0] in "'\"" else None
        return [] if kind is None else [Equality(column, kind, toward)]
    if chain_end(tokens, value) == end and tokens.key(value) not in NOT_COLUMNS and end > value:
        return [Equality(column, column_at(tokens, value), toward)]
    return []
