"""INSERT, REPLACE, UPDATE and DELETE: where their clauses are, and what the verdict on them rests on.

What makes a write exact is order: of the rows that an UPDATE meets, of the rows that a SELECT hands to an INSERT. Where the
text itself gives the order (VALUES), the write rests on nothing else, except for ids (sql_ids.py). Everywhere else its claims
go to schema_judge.py.

One statement can pin the ids of one table only (`insert_id`, as MySQL reports it): the first id of a run without gaps. Measured
on a server with ids burnt by rollbacks: rows that are skipped by IGNORE or replaced use no id up, so one number is enough.
"""

from collections.abc import Generator

import msgspec

from statements import sql_rules as rules
from statements.sql_checks import (
    TRIGGER,
    UNSUPPORTED,
    VALUES,
    WRITE,
    Law,
    chain_end,
    check,
    names_from,
    skip,
    tables_of,
)
from statements.sql_ids import may_mix_ids
from statements.sql_lexer import LITERAL, ROWS, Refused, Tokens, is_one_row
from statements.sql_names import PAUSE_ITEMS, PAUSE_TOKENS, column_at, columns_in, on_level, split, table_at
from statements.sql_queries import Found, read_queries, refuse_strange_limits
from statements.sql_shapes import Assignment, Change, Claim, Insertion, Query, Relation, RowIds, Splice, TableName


class Write(msgspec.Struct, frozen=True):
    """What was read from one of the four."""

    verb: str
    tables: tuple[str, ...]
    inserts: bool
    uses_random: bool
    claims: tuple[Claim, ...]
    relations: tuple[Relation, ...]
    """All that it reads, its own rows included."""
    written: tuple[TableName, ...]
    splices: tuple[Splice, ...] = ()
    """Places in the statement's text."""


MADE_HERE = frozenset({"UUID", "RANDOM_BYTES"})
_RANDOM_BYTES_MAX = 1024
"""MySQL's own limit."""
_TARGETS_MAX = 64
"""MySQL joins 61 tables at most."""
_QUERY_HEADS = frozenset({"SELECT", "WITH", "TABLE", "("})
_SET_AND_BEHIND = frozenset({"SET", "WHERE", "ORDER", "LIMIT"})


def read_insert(tokens: Tokens, verb: str, start: int, end: int, law: Law) -> Generator[None, None, Write]:
    """From token `start`, the verb, to `end`."""
    index = skip(tokens, start + 1, {"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"})
    skips_errors = "IGNORE" in tokens.keys[start + 1 : index]
    index += tokens.key(index) == "INTO"
    target, index = index, chain_end(tokens, index)
    if index == target:
        raise Refused(f"{verb} needs the name of a table")
    if tokens.key(index) == "PARTITION" and tokens.key(index + 1) in ("(", ROWS):
        index = tokens.partners[index + 1] + 1
    columns: tuple[str, ...] | None = None
    column_lists: set[int] = set()
    if tokens.key(index) == ROWS or (
        tokens.key(index) == "(" and tokens.key(index + 1) not in ("SELECT", "WITH", "TABLE", "VALUES", "(")
    ):
        column_lists.add(index)
        columns = () if tokens.key(index) == ROWS else (yield from _names(tokens, index + 1, tokens.partners[index]))
        index = tokens.partners[index] + 1
    source, next_key = tokens.key(index), tokens.key(index + 1)
    is_query = source in _QUERY_HEADS or (source in ("VALUES", "VALUE") and next_key == "ROW")
    if is_query and source == "(":
        column_lists.add(index)
    if not is_query and source != "SET" and (source not in ("VALUES", "VALUE") or next_key not in ("(", ROWS)):
        raise Refused(f"{verb} needs VALUES (…), SET or a query behind the table and its columns")
    later = tokens.keys[index:end]
    makes_values = law is WRITE and not is_query and "SELECT" not in later and bool(MADE_HERE.intersection(later))
    uses_random = yield from check(tokens, start + 1, VALUES if makes_values else law, column_lists, end)
    duplicate = index + later.index("DUPLICATE") if "DUPLICATE" in later else 0
    values_end = duplicate - 1 if duplicate else end
    found = Found()
    if is_query or "SELECT" in later:
        if uses_random:
            raise Refused(f"RAND() is refused beside a SELECT: {rules.RAND_IN_SCAN}", UNSUPPORTED)
        found = yield from read_queries(tokens, index, end)
    refuse_strange_limits(later, found)
    if source == "SET" and columns is None:
        columns = yield from _names(tokens, index + 1, values_end)
    inner, inner_end = _without_parentheses(tokens, index, values_end)
    query = found.queries.get(inner) if is_query else None
    if is_query and (query is None or (query.keeps_text_order and tokens.keys[inner] == "WITH")):
        raise Refused(f"{verb} from this query is refused: {rules.UNCLEAR_QUERY}", UNSUPPORTED)
    is_one = not is_query and (source == "SET" or is_one_row(tokens, index + 1))
    new_values: tuple[str, ...] = ()
    if duplicate:
        new_values = yield from _new_values(tokens, index, duplicate, end)
    table = table_at(tokens, target)
    if query is not None or duplicate or verb == "REPLACE" or law is TRIGGER:
        insertion = Insertion(
            verb, table, columns, skips_errors, bool(duplicate), is_one, query, tuple(dict.fromkeys(new_values))
        )
        found.claims.append(insertion)
    has_rows = law is WRITE and source != "SET" and (query is None or query.keeps_text_order)
    if has_rows and (yield from may_mix_ids(tokens, inner + 1, inner_end, skips_errors)):
        rows = tokens.text[tokens.starts[inner + 1] : tokens.ends[inner_end - 1]]
        found.claims.append(RowIds(table, columns, skips_errors, rows))
    names = tuple(dict.fromkeys([*names_from(tokens, target)[:1], *tables_of(tokens, index)]))
    splices = (yield from _splices(tokens, index, values_end, end)) if makes_values else ()
    return Write(verb, names, True, uses_random, tuple(found.claims), tuple(found.relations), (table,), splices)


def _splices(tokens: Tokens, start: int, values_end: int, end: int) -> Generator[None, None, tuple[Splice, ...]]:
    """Calls in the rows given: each is evaluated once. Behind ON DUPLICATE KEY UPDATE one would be for several rows."""
    splices = []
    for index in range(start, end):
        if index % PAUSE_TOKENS == 0:
            yield
        function = tokens.keys[index]
        if function not in MADE_HERE or tokens.key(index + 1) not in ("(", ROWS):
            continue
        size = tokens.raw(index + 1)[1:-1].strip()
        is_plain = size == "" if function == "UUID" else size.isdecimal() and 1 <= int(size[:5]) <= _RANDOM_BYTES_MAX
        if index >= values_end or tokens.key(index + 1) != ROWS or not is_plain:
            raise Refused(f"{function}() is refused here: {rules.NOT_IN_WRITES[function]}", UNSUPPORTED)
        start_at, end_at = tokens.starts[index] - tokens.starts[0], tokens.ends[index + 1] - tokens.starts[0]
        splices.append(Splice(start_at, end_at, function, int(size or 0)))
    return tuple(splices)


def _names(tokens: Tokens, start: int, end: int) -> Generator[None, None, tuple[str, ...]]:
    """The columns that a list begins its items with."""
    names = []
    for number, (begin, _) in enumerate((yield from split(tokens, start, end))):
        if number % PAUSE_ITEMS == PAUSE_ITEMS - 1:
            yield
        names.append(column_at(tokens, begin).name if tokens.is_name(begin) else "")
    return tuple(names)


def _without_parentheses(tokens: Tokens, index: int, end: int) -> tuple[int, int]:
    """Where the rows or their query begin and end; nowhere if something stands beside the parentheses."""
    while tokens.key(index) == "(":
        closing = tokens.partners[index]
        if closing + 1 < end and tokens.key(closing + 1) != "AS":
            return -1, end
        index, end = index + 1, closing
    return index, end


def _new_values(tokens: Tokens, start: int, duplicate: int, end: int) -> Generator[None, None, tuple[str, ...]]:
    """Columns whose new value the assignments behind ON DUPLICATE KEY UPDATE read."""
    alias, renames = "", False
    for index in range(duplicate - 2, max(start, duplicate - 512), -1):
        if tokens.keys[index] == "AS":
            alias = tokens.name(index + 1) if tokens.is_name(index + 1) else ""
            renames = tokens.key(index + 2) in ("(", ROWS)
            break
    values: list[str] = ["*"] if renames else []
    for index in range(duplicate, end):
        if index % PAUSE_TOKENS == 0:
            yield
        if tokens.keys[index] == "VALUES" and tokens.key(index + 1) == "(":
            values.append(column_at(tokens, index + 2).name)
        elif alias and tokens.key(index + 1) == "." and tokens.is_name(index) and tokens.name(index) == alias:
            values.append(tokens.name(index + 2).lower())
    return tuple(values)


# ------------------------------------------------------------------------------------------ UPDATE and DELETE


def read_change(
    tokens: Tokens, verb: str, start: int, verb_at: int, end: int, law: Law
) -> Generator[None, None, Write]:
    """From token `start` to `end`; before the verb may stand a WITH."""
    index = skip(tokens, verb_at + 1, {"LOW_PRIORITY", "QUICK", "IGNORE"})
    skips_errors = "IGNORE" in tokens.keys[verb_at + 1 : index]
    if ("SET" if verb == "UPDATE" else "FROM") not in tokens.keys[start:end]:
        raise Refused("UPDATE needs SET" if verb == "UPDATE" else "DELETE needs FROM")
    if (yield from check(tokens, start, law, end=end)):
        raise Refused(f"RAND() is refused in {verb}: {rules.RAND_IN_SCAN}", UNSUPPORTED)
    found = yield from read_queries(tokens, start, end)
    refuse_strange_limits(tokens.keys[start:end], found)
    rows = found.queries[start]
    assignments: tuple[Assignment, ...] = ()
    targets: tuple[str, ...] = ()
    if verb == "UPDATE":
        assignments = yield from _assignments(tokens, index, end)
        is_multi = len(rows.relations) > 1
    else:
        is_multi, targets = _targets(tokens, index, rows)
    found.claims.append(Change(verb, rows, targets, assignments, skips_errors, is_multi))
    names = [*(names_from(tokens, index) if verb == "UPDATE" else []), *tables_of(tokens, start)]
    written = tuple(relation.table for relation in rows.relations if relation.table is not None)
    return Write(verb, tuple(dict.fromkeys(names)), False, False, tuple(found.claims), tuple(found.relations), written)


def _targets(tokens: Tokens, index: int, rows: Query) -> tuple[bool, tuple[str, ...]]:
    """`DELETE FROM t …`, `DELETE a, b FROM …`, `DELETE FROM a, b USING …`."""
    is_multi = tokens.key(index) != "FROM" or "USING" in tokens.keys[index : index + 64]
    if not is_multi:
        return False, tuple(relation.alias for relation in rows.relations)
    at = index + (tokens.key(index) == "FROM")
    targets: list[str] = []
    while (after := chain_end(tokens, at)) > at and len(targets) < _TARGETS_MAX:
        is_star = tokens.keys[after - 1] == "."
        targets.append(tokens.name(after - 2 if is_star else after - 1))
        at = after + is_star
        if tokens.key(at) != ",":
            break
        at += 1
    return True, tuple(targets)


def _assignments(tokens: Tokens, start: int, end: int) -> Generator[None, None, tuple[Assignment, ...]]:
    """`SET a = …, t.b = …`, up to the clause behind."""
    begin, stop = 0, end
    for index in on_level(tokens, start, end, _SET_AND_BEHIND):
        if index is None:
            yield
        elif tokens.keys[index] == "SET":
            begin = begin or index + 1
        elif begin:
            stop = index
            break
    return (yield from assignments_in(tokens, begin, stop)) if begin else ()


def assignments_in(tokens: Tokens, start: int, end: int) -> Generator[None, None, tuple[Assignment, ...]]:
    assignments = []
    for number, (begin, stop) in enumerate((yield from split(tokens, start, end))):
        if number % PAUSE_ITEMS == PAUSE_ITEMS - 1:
            yield
        sign = chain_end(tokens, begin)
        if sign == begin or tokens.key(sign) != "=":
            raise Refused("SET needs assignments of the form column = value, with commas between")
        reads = yield from columns_in(tokens, sign + 1, stop)
        is_plain = stop == sign + 2 and tokens.keys[sign + 1] == LITERAL
        is_constant = is_plain or (not reads and "SELECT" not in tokens.keys[sign + 1 : stop])
        assignments.append(Assignment(column_at(tokens, begin), is_constant, reads))
    return tuple(assignments)
