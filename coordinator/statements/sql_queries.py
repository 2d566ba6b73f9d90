"""Reads the parts of a write whose result may depend on the order of rows: its SELECTs, FROM clauses, sorts and aggregates.

The tokens are walked level by level, a level being what stands between one pair of parentheses: at its own level each clause of
a SELECT is found by its keyword alone, and what is inside further parentheses is a level for later. So every token is looked at
once or twice, whatever the nesting, and the walk pauses as the lexer does.

The invariant is one-sided: what is not understood becomes a Relation without a table, a Column that is found nowhere or an
Exact that is not understood, and so can only be refused.
"""

from collections.abc import Generator, Set

import msgspec

from statements import sql_rules as rules
from statements.sql_aggregates import AGGREGATES, read_aggregate
from statements.sql_checks import UNSUPPORTED, chain_end, skip
from statements.sql_from import read_equalities, read_relations
from statements.sql_lexer import LITERAL, ROWS, Refused, Tokens
from statements.sql_names import PAUSE_ITEMS, PAUSE_TOKENS, column_at, columns_in, order_items, split
from statements.sql_shapes import Claim, Column, Equality, Exact, Limited, Query, Relation

_CLAUSES = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "SET", "USING"})
_SET_OPERATORS = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_HEADS = frozenset({"SELECT", "TABLE", "VALUES", "UPDATE", "DELETE"})
_BEFORE_HEAD = _SET_OPERATORS | {"ALL", "DISTINCT", ")"}
_BEFORE_STAR = frozenset({".", "DISTINCT", "DISTINCTROW", "ALL"})
_QUERIES_MAX = 2048
"""And joins; what was noted of more takes too long to give back."""
_PAUSE_LEVELS = 32
_SET_OPERATION = "UNION, EXCEPT or INTERSECT"

Steps = Generator[None, None, None]


class Found(msgspec.Struct):
    """What was found in one statement."""

    claims: list[Claim] = []
    relations: dict[Relation, None] = {}
    queries: dict[int, Query] = {}
    """By the token that begins the level: of a level with several SELECTs, all of them as one."""
    limits: int = 0


class _Part(msgspec.Struct):
    """One SELECT (or UPDATE, DELETE) of a level, as the places of its clauses."""

    head: int
    end: int
    clauses: dict[str, tuple[int, int]]
    calls_aggregate: bool = False
    query: Query | None = None


class _Level(msgspec.Struct):
    parts: list[_Part] = []
    operators: list[str] = []
    """UNION and its kin, each with the word behind it."""
    inner: list[int] = []


def _common_names(tokens: Tokens, start: int, end: int) -> Generator[None, None, Set[str]]:
    """What WITH defines: names before `AS (`, with or without a list of columns."""
    names: set[str] = set()
    if "WITH" not in tokens.keys[start:end]:
        return names
    for index in range(start, end):
        if index % PAUSE_TOKENS == 0:
            yield
        if tokens.keys[index] == "(" and tokens.key(index - 1) == "AS":
            at = index - 2
            if tokens.key(at) in (")", ROWS):
                at = tokens.partners[at] - 1
            if tokens.is_name(at):
                names.add(tokens.name(at))
    return names


def read_queries(tokens: Tokens, start: int, end: int) -> Generator[None, None, Found]:
    """Everything from token `start` to `end`, that level and all in it."""
    found = Found()
    keys = tokens.keys[start:end]
    if keys.count("SELECT") + keys.count("JOIN") > _QUERIES_MAX:
        raise Refused(f"the statement is refused: {rules.TOO_INVOLVED}", UNSUPPORTED)
    common = yield from _common_names(tokens, start, end)
    ahead: list[tuple[int, int, Query]] = [(start, end, Query(()))]
    levels = 0
    while ahead:
        levels += 1
        if levels % _PAUSE_LEVELS == 0:
            yield
        begin, stop, owner = ahead.pop()
        level = yield from _level(tokens, begin, stop)
        parts = level.parts
        for number, part in enumerate(parts):
            if number % _PAUSE_LEVELS == _PAUSE_LEVELS - 1:
                yield
            part.query = yield from _query_of(tokens, part, common)
            found.relations.update(dict.fromkeys(part.query.relations))
            yield from _claims_of(tokens, part, found)
        if parts:
            found.queries[begin] = _as_one(parts)
        is_limited = any("LIMIT" in part.clauses for part in parts)
        found.limits += is_limited
        if is_limited and begin != start:
            found.claims.append(Limited(found.queries[begin]))
        if any(operator != "UNION ALL" for operator in level.operators):
            is_understood = len(parts) == len(level.operators) + 1
            for number, part in enumerate(parts if is_understood else ()):
                if number % _PAUSE_LEVELS == _PAUSE_LEVELS - 1:
                    yield
                found.claims.append((yield from _exact_list(tokens, part, _SET_OPERATION)))
            if not is_understood:
                found.claims.append(Exact(_SET_OPERATION, (), is_understood=False))
        at_part = 0
        for number, opening in enumerate(level.inner):
            if number % PAUSE_ITEMS == PAUSE_ITEMS - 1:
                yield
            while at_part < len(parts) and parts[at_part].end < opening:
                at_part += 1
            is_inside = at_part < len(parts) and parts[at_part].head < opening
            inside = (parts[at_part].query if is_inside else None) or owner
            if tokens.key(opening - 1) in AGGREGATES:
                found.claims += yield from read_aggregate(tokens, opening, inside)
            ahead.append((opening + 1, tokens.partners[opening], inside))
    return found


def _level(tokens: Tokens, start: int, end: int) -> Generator[None, None, _Level]:
    """The SELECTs at this level, what stands between them, and where the parentheses in it open."""
    keys, partners = tokens.keys, tokens.partners
    level = _Level()
    parts = level.parts
    clause, clause_at, steps = "", start, 0
    index = start

    def close(at: int) -> None:
        if parts and clause:
            parts[-1].clauses.setdefault(clause, (clause_at, at))

    while index < end:
        key = keys[index]
        steps += 1
        if steps % PAUSE_TOKENS == 0:
            yield
        if key == "(":
            level.inner.append(index)
            if clause == "SELECT" and parts and index and keys[index - 1] in AGGREGATES:
                parts[-1].calls_aggregate = True
            index = partners[index] + 1
            continue
        if key in _HEADS and _begins_part(tokens, index, start):
            close(index)
            parts.append(_Part(index, end, {}))
            clause, clause_at = key, index + 1
        elif key in _CLAUSES and parts and _is_clause(tokens, index, parts[-1].head, clause):
            close(index)
            clause, clause_at = key, index + 1
        elif key in _SET_OPERATORS or (key == "ON" and keys[index + 1 : index + 2] == ["DUPLICATE"]):
            close(index)
            clause = ""
            if key != "ON":
                level.operators.append(f"{key} {tokens.key(index + 1)}")
            if parts:
                parts[-1].end = index
        index += 1
    close(end)
    return level


def _begins_part(tokens: Tokens, index: int, start: int) -> bool:
    key = tokens.keys[index]
    if key == "VALUES" and tokens.key(index + 1) != "ROW":
        return False
    return key == "SELECT" or index == start or tokens.keys[index - 1] in _BEFORE_HEAD


def _is_clause(tokens: Tokens, index: int, head: int, clause: str) -> bool:
    """SET and USING have other uses, and hints say FOR ORDER BY."""
    key = tokens.keys[index]
    if key == "SET":
        return tokens.keys[head] == "UPDATE" and clause == "UPDATE"
    if key == "USING":
        return tokens.keys[head] == "DELETE" and clause == "FROM" and tokens.key(index + 1) not in ("(", ROWS)
    return tokens.keys[index - 1] != "FOR"


def _as_one(parts: list[_Part]) -> Query:
    queries = [part.query for part in parts if part.query is not None]
    if len(queries) == 1:
        return queries[0]
    relations = tuple(relation for query in queries for relation in query.relations)
    return Query(relations, order=queries[-1].order, is_compound=True, is_limited=any(q.is_limited for q in queries))


def _query_of(tokens: Tokens, part: _Part, common: Set[str]) -> Generator[None, None, Query]:
    head = tokens.key(part.head)
    if head == "VALUES":
        return Query((), keeps_text_order=True)
    relations: tuple[Relation, ...] = ()
    equalities: list[Equality] = []
    source = part.clauses.get("FROM")
    if head == "TABLE":
        source = part.clauses.get("TABLE")
    elif head == "UPDATE":
        source = part.clauses.get("UPDATE")
        if source is not None:
            source = (skip(tokens, source[0], {"LOW_PRIORITY", "IGNORE"}), source[1])
    elif head == "DELETE" and "USING" in part.clauses:
        source = part.clauses["USING"]
    if source is not None and tokens.key(source[0]) == "DUAL":
        source = None
    if source is not None:
        relations = yield from read_relations(tokens, *source, common, equalities)
    if "WHERE" in part.clauses:
        yield from read_equalities(tokens, *part.clauses["WHERE"], equalities)
    groups: tuple[Column | None, ...] | None = None
    if "GROUP" in part.clauses:
        groups = yield from order_items(tokens, part.clauses["GROUP"][0] + 1, part.clauses["GROUP"][1])
    order: tuple[Column | None, ...] = ()
    aliases: set[str] = set()
    if "ORDER" in part.clauses:
        order = yield from order_items(tokens, part.clauses["ORDER"][0] + 1, part.clauses["ORDER"][1])
        aliases = yield from _aliases(tokens, part)
    is_aggregate = head == "SELECT" and groups is None and part.calls_aggregate
    return Query(
        relations,
        tuple(equalities),
        tuple(item for item in order if item is not None and item.name not in aliases),
        groups,
        is_one_row=is_aggregate or (head == "SELECT" and source is None),
        is_limited="LIMIT" in part.clauses,
    )


def _aliases(tokens: Tokens, part: _Part) -> Generator[None, None, set[str]]:
    """Names that the select list gives to something else than the column of that name: ORDER BY means those first."""
    aliases: set[str] = set()
    spans = yield from split(tokens, *part.clauses.get("SELECT", (part.head, part.head)))
    for number, (begin, stop) in enumerate(spans):
        if number % PAUSE_ITEMS == PAUSE_ITEMS - 1:
            yield
        end = chain_end(tokens, begin)
        if end < stop and tokens.is_name(stop - 1):
            alias = tokens.name(stop - 1).lower()
            if end == begin or end + (tokens.key(end) == "AS") != stop - 1 or column_at(tokens, begin).name != alias:
                aliases.add(alias)
    return aliases


# ------------------------------------------------------------------------------------------ what order could change


def _claims_of(tokens: Tokens, part: _Part, found: Found) -> Steps:
    """GROUP BY and DISTINCT take one of several values that are equal."""
    if "GROUP" in part.clauses:
        start, end = part.clauses["GROUP"][0] + 1, part.clauses["GROUP"][1]
        columns = yield from columns_in(tokens, start, end)
        if LITERAL in tokens.keys[start:end]:  # a place in the list
            found.claims.append((yield from _exact_list(tokens, part, "GROUP BY")))
        found.claims.append(Exact("GROUP BY", columns))
    first, second = tokens.key(part.head + 1), tokens.key(part.head + 2)
    if tokens.key(part.head) == "SELECT" and {"DISTINCT", "DISTINCTROW"} & {first, second}:
        found.claims.append((yield from _exact_list(tokens, part, "DISTINCT")))


def _exact_list(tokens: Tokens, part: _Part, what: str) -> Generator[None, None, Exact]:
    """All columns of a select list."""
    start, end = part.clauses.get("SELECT", (part.head, part.head))
    if tokens.key(part.head) == "TABLE":
        return Exact(what, (Column("", "*"),))
    columns = yield from columns_in(tokens, start, end)
    stars: dict[Column, None] = {}
    for number, (begin, stop) in enumerate((yield from split(tokens, start, end))):
        if number % PAUSE_ITEMS == PAUSE_ITEMS - 1:
            yield
        if tokens.keys[stop - 1] == "*" and (stop - 1 == begin or tokens.keys[stop - 2] in _BEFORE_STAR):
            stars[Column(tokens.name(stop - 3) if tokens.keys[stop - 2] == "." else "", "*")] = None
    return Exact(what, (*columns, *stars))


def refuse_strange_limits(keys: list[str], found: Found) -> None:
    """Each LIMIT belongs to a query that was read, or it is not known what it takes."""
    if keys.count("LIMIT") != found.limits:
        raise Refused(f"LIMIT is refused here: {rules.UNCLEAR_LIMIT}", UNSUPPORTED)
