"""Reads the parts of a write whose result may depend on the order of rows: its SELECTs, FROM clauses, sorts and aggregates.

The tokens are walked level by level, a level being what stands between one pair of parentheses: at its own level each clause of
a SELECT is found by its keyword alone, and what is inside further parentheses is a level for later. So every token is looked at
once or twice, whatever the nesting, and the walk pauses as the lexer does.

The invariant is one-sided: what is not understood becomes a Relation without a table, a Column that is found nowhere or an
Exact that is not understood, and so can only be refused.
"""

from collections.abc import Generator, Iterator, Set
from itertools import pairwise

import msgspec
import sql_rules as rules
from sql_checks import UNSUPPORTED, chain_end, skip
from sql_lexer import LITERAL, ROWS, Refused, Tokens, finish
from sql_shapes import Claim, Column, Concatenated, Equality, Exact, Limited, Literal, Query, Relation, TableName

PAUSE_TOKENS = 1024
_CLAUSES = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "SET", "USING"})
_SET_OPERATORS = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_HEADS = frozenset({"SELECT", "TABLE", "VALUES", "UPDATE", "DELETE"})
_BEFORE_HEAD = _SET_OPERATORS | {"ALL", "DISTINCT", ")"}
_JOINS = frozenset({"JOIN", "STRAIGHT_JOIN"})
_ENDS_ALIAS = _CLAUSES | _SET_OPERATORS | _JOINS | {"ON", "USE", "FORCE", "IGNORE", "INNER", "CROSS", "LEFT", "RIGHT"}
_ENDS_ALIAS |= {"NATURAL", "PARTITION", "FOR", "TABLESAMPLE", "OUTER"}
_CAST_TO_EXACT = frozenset({"SIGNED", "UNSIGNED", "DECIMAL", "DEC"})
_SUMS = frozenset({"SUM", "AVG"})
_CHOOSES = frozenset({"MIN", "MAX"})
_AGGREGATES = _SUMS | _CHOOSES | {"COUNT", "BIT_AND", "BIT_OR", "BIT_XOR", "GROUP_CONCAT"}
_WORDS = """
NULL TRUE FALSE DEFAULT UNKNOWN CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP UTC_DATE UTC_TIME
UTC_TIMESTAMP NOT AND OR XOR IS IN LIKE REGEXP RLIKE BETWEEN CASE WHEN THEN ELSE END INTERVAL DIV MOD DISTINCT ALL ANY AS
ASC DESC SIGNED UNSIGNED DECIMAL CHAR BINARY DATE DATETIME TIME JSON YEAR MONTH DAY HOUR MINUTE SECOND MICROSECOND WEEK
QUARTER ESCAPE EXISTS SEPARATOR
"""
_NOT_COLUMNS = frozenset(_WORDS.split())
_EXACT_SIGNS = frozenset({"+", "-", "*", "/", "%", "=", "<", ">", "!", "&", ",", "(", ")", "."})
_EXACT_CALLS = frozenset({"IF", "IFNULL", "COALESCE", "NULLIF", "ABS", "GREATEST", "LEAST", "MOD"})
_EXACT_WORDS = frozenset({"NULL", "TRUE", "FALSE", "NOT", "AND", "OR", "XOR", "IS", "DIV", "MOD", "DISTINCT"})
_EXACT_WORDS |= {"CASE", "WHEN", "THEN", "ELSE", "END", "IN"} | _EXACT_CALLS

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
    query: Query | None = None


class _Level(msgspec.Struct):
    parts: list[_Part] = []
    operators: list[str] = []
    """UNION and its kin, each with the word behind it."""
    inner: list[int] = []


def common_names(tokens: Tokens) -> Set[str]:
    """What WITH defines: names before `AS (`, with or without a list of columns."""
    if "WITH" not in tokens.keys:
        return frozenset()
    names: set[str] = set()
    for index, key in enumerate(tokens.keys):
        if key == "(" and tokens.key(index - 1) == "AS":
            at = index - 2
            if tokens.key(at) in (")", ROWS):
                at = tokens.partners[at] - 1
            if tokens.is_name(at):
                names.add(tokens.name(at))
    return names


def read_queries(tokens: Tokens, start: int, end: int) -> Generator[None, None, Found]:
    """Everything from token `start` to `end`, that level and all in it."""
    found = Found()
    common = common_names(tokens)
    ahead: list[tuple[int, int, Query]] = [(start, end, Query(()))]
    while ahead:
        begin, stop, owner = ahead.pop()
        level = yield from _level(tokens, begin, stop)
        parts = level.parts
        for part in parts:
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
            lists = [_exact_list(tokens, part, _SET_OPERATION) for part in parts] if is_understood else []
            found.claims += lists or [Exact(_SET_OPERATION, (), is_understood=False)]
        for opening in level.inner:
            inside = next((part.query for part in parts if part.head < opening < part.end), None) or owner
            if tokens.key(opening - 1) in _AGGREGATES:
                yield from _aggregate(tokens, opening, inside, found)
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
            index = partners[index] + 1
            continue
        previous = keys[index - 1] if index > start else ""
        if _begins_part(tokens, index, previous if index > start else ")"):
            close(index)
            parts.append(_Part(index, end, {}))
            clause, clause_at = key, index + 1
        elif key in _CLAUSES and previous != "FOR" and parts and _is_clause(tokens, index, parts[-1].head, clause):
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


def _begins_part(tokens: Tokens, index: int, previous: str) -> bool:
    key = tokens.keys[index]
    if key not in _HEADS or (key == "VALUES" and tokens.key(index + 1) != "ROW"):
        return False
    return key == "SELECT" or previous in _BEFORE_HEAD


def _is_clause(tokens: Tokens, index: int, head: int, clause: str) -> bool:
    """SET and USING have other uses."""
    key = tokens.keys[index]
    if key == "SET":
        return tokens.keys[head] == "UPDATE" and clause == "UPDATE"
    if key == "USING":
        return tokens.keys[head] == "DELETE" and clause == "FROM" and tokens.key(index + 1) not in ("(", ROWS)
    return True


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
        relations = yield from _relations(tokens, *source, common, equalities)
    if "WHERE" in part.clauses:
        yield from read_equalities(tokens, *part.clauses["WHERE"], equalities)
    groups = None
    if "GROUP" in part.clauses:
        groups = tuple(_items(tokens, part.clauses["GROUP"][0] + 1, part.clauses["GROUP"][1]))
    order = _items(tokens, part.clauses["ORDER"][0] + 1, part.clauses["ORDER"][1]) if "ORDER" in part.clauses else ()
    is_aggregate = head == "SELECT" and groups is None and _calls_aggregate(tokens, part)
    return Query(
        relations,
        tuple(equalities),
        tuple(item for item in order if item is not None),
        groups,
        is_one_row=is_aggregate or (head == "SELECT" and source is None),
        is_limited="LIMIT" in part.clauses,
    )


def _calls_aggregate(tokens: Tokens, part: _Part) -> bool:
    start, end = part.clauses.get("SELECT", (part.head, part.head))
    index = start
    while index < end:
        if tokens.keys[index] == "(":
            if tokens.key(index - 1) in _AGGREGATES:
                return True
            index = tokens.partners[index]
        index += 1
    return False


def _items(tokens: Tokens, start: int, end: int) -> Iterator[Column | None]:
    """Of ORDER BY and GROUP BY: the bare columns; None for anything else."""
    for begin, stop in split(tokens, start, end, ","):
        last = stop - (tokens.key(stop - 1) in ("ASC", "DESC"))
        yield column_at(tokens, begin) if begin < last == chain_end(tokens, begin) else None


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


# ------------------------------------------------------------------------------------------ FROM


def _relations(
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
        elif key == "," or (key in _JOINS and tokens.keys[index - 1] != "FOR"):
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
                for begin, _ in split(tokens, index + 2, closing, ","):
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
    joins = _JOINS | {",", "INNER", "CROSS", "LEFT", "RIGHT", "NATURAL"}
    while index < end and tokens.keys[index] not in joins:
        is_call = tokens.keys[index] == "("
        index = tokens.partners[index] + 1 if is_call else index + 1
        if index < end and tokens.keys[index] in ("LEFT", "RIGHT") and tokens.key(index + 1) == "(":
            index += 1  # the functions of these names
    return index


# ------------------------------------------------------------------------------------------ conditions


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
            found += _equality(tokens, begin, min(index, end), toward)
            index += key == "&"
            begin = index + 1
        index += 1
    into += found


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
    if chain_end(tokens, value) == end and tokens.key(value) not in _NOT_COLUMNS and end > value:
        return [Equality(column, column_at(tokens, value), toward)]
    return []


# ------------------------------------------------------------------------------------------ what order could change


def _claims_of(tokens: Tokens, part: _Part, found: Found) -> Steps:
    """GROUP BY and DISTINCT take one of several values that are equal."""
    if "GROUP" in part.clauses:
        start, end = part.clauses["GROUP"][0] + 1, part.clauses["GROUP"][1]
        columns = yield from columns_in(tokens, start, end)
        if LITERAL in tokens.keys[start:end]:  # a place in the list
            found.claims.append(_exact_list(tokens, part, "GROUP BY"))
        found.claims.append(Exact("GROUP BY", columns))
    first, second = tokens.key(part.head + 1), tokens.key(part.head + 2)
    if tokens.key(part.head) == "SELECT" and {"DISTINCT", "DISTINCTROW"} & {first, second}:
        found.claims.append(_exact_list(tokens, part, "DISTINCT"))


def _exact_list(tokens: Tokens, part: _Part, what: str) -> Exact:
    """All columns of a select list."""
    start, end = part.clauses.get("SELECT", (part.head, part.head))
    if tokens.key(part.head) == "TABLE":
        return Exact(what, (Column("", "*"),))
    columns = finish(columns_in(tokens, start, end))
    stars = tuple(
        Column(tokens.name(index - 2) if tokens.key(index - 1) == "." else "", "*")
        for index in range(start, end)
        if tokens.keys[index] == "*" and tokens.key(index - 1) in ("SELECT", "DISTINCT", ",", ".", "ALL")
    )
    return Exact(what, columns + stars)


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
        is_word = after == index + 1 and tokens.keys[index] in _NOT_COLUMNS
        is_star = tokens.keys[after - 1] == "."
        if not (is_word or is_alias or is_star) and tokens.key(after) not in ("(", ROWS):
            columns[column_at(tokens, index)] = None
        index = after
    return tuple(columns)


def _aggregate(tokens: Tokens, opening: int, query: Query, found: Found) -> Steps:
    function, start, end = tokens.key(opening - 1), opening + 1, tokens.partners[opening]
    if function == "COUNT" or function.startswith("BIT_"):
        return
    if function == "GROUP_CONCAT":
        yield from _group_concat(tokens, start, end, query, found)
        return
    if tokens.key(start) == "CAST" and tokens.partners[start + 1] + 1 == end:
        cast = tokens.keys[start + 1 : end]
        if any(a == "AS" and b in _CAST_TO_EXACT for a, b in pairwise(cast)):
            return
    if function in _CHOOSES:
        columns = yield from columns_in(tokens, start, end)
        found.claims.append(Exact(f"{function}()", columns))
        return
    found.claims.append((yield from _sum(tokens, function, start, end)))


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
            is_understood = all(c in "0123456789., ()-" for c in tokens.raw(index)[:4096])
            after = index + 1
        else:
            is_understood = False
        index = after
    return Exact(f"{function}()", tuple(columns), adds=True, is_understood=is_understood)


def _group_concat(tokens: Tokens, start: int, end: int, query: Query, found: Found) -> Steps:
    order = next((at for at in range(start, min(end, start + PAUSE_TOKENS)) if tokens.keys[at] == "ORDER"), end)
    arguments = yield from columns_in(tokens, start, order)
    stop = next((at for at in range(order, end) if tokens.keys[at] == "SEPARATOR"), end)
    items = tuple(item for item in _items(tokens, order + 2, stop) if item is not None) if order < end else ()
    found.claims.append(Concatenated(arguments, items, query))


def refuse_strange_limits(keys: list[str], found: Found) -> None:
    """Each LIMIT belongs to a query that was read, or it is not known what it takes."""
    if keys.count("LIMIT") != found.limits:
        raise Refused(f"LIMIT is refused here: {rules.UNCLEAR_LIMIT}", UNSUPPORTED)
