"""Which rows a query gives, and in which order: the reasoning about keys, on claims and a catalogue. Pure.

A set of columns *fixes* a relation if no two of its rows agree in them; then an ORDER BY with those columns leaves nothing to
chance. What is known grows: a column that ORDER BY names, or that equals a literal or a known column, is known; a relation
with a whole unique key known is fixed, and then all of its columns are known. If every relation of the query is fixed, the
order is total. The same reasoning tells that a WHERE finds one row at most (start from the literals alone) and that a row of
one table meets one row of another at most (start from all columns of the first).

Two hard cases. NULLs: an equality never holds for NULL, so a nullable key will do if all of it is known by equalities, and
will not if ORDER BY names part of it. Types: `name = 5` compares as numbers and holds for '5' and '05', so an equality
counts only between like types.
"""

from collections.abc import Iterable, Set

from statements.schema_catalogue import BYTES, EXACT_NUMBERS, TEXTS, TIMES, Catalogue, ColumnFacts, Table, UniqueKey
from statements.sql_shapes import Column, Literal, Query, Relation

Place = tuple[str, str]
"""(alias, column)."""
_TABLES_MAX = 16
"""Of a query that is reasoned about: going round takes the square of it."""
ROW_ALIASES = ("NEW", "OLD")
"""In the body of a trigger: one row, so all of its columns are known."""


class Scope:
    """The relations of one query, with their tables."""

    def __init__(self, catalogue: Catalogue, relations: Iterable[Relation], row: Table | None = None) -> None:
        self.tables: dict[str, Table | None] = {}
        for relation in relations:
            name = relation.table
            table = catalogue.find(name.schema, name.name) if name is not None else None
            self.tables[relation.alias] = table if relation.alias not in self.tables else None
        self.row = row

    def place(self, column: Column) -> Place | None:
        """Where a column stands; None if that cannot be told."""
        if column.table:
            if self.row is not None and column.table.upper() in ROW_ALIASES:
                return (column.table.upper(), column.name) if column.name in self.row.columns else None
            table = self.tables.get(column.table)
            return (column.table, column.name) if table is not None and column.name in table.columns else None
        if None in self.tables.values():
            return None
        places = [
            (alias, column.name) for alias, table in self.tables.items() if table and column.name in table.columns
        ]
        return places[0] if len(places) == 1 else None

    def facts(self, place: Place) -> ColumnFacts:
        alias, name = place
        table = self.row if self.row is not None and alias in ROW_ALIASES else self.tables[alias]
        assert table is not None
        return table.columns[name]

    def row_places(self) -> set[Place]:
        if self.row is None:
            return set()
        return {(alias, name) for alias in ROW_ALIASES for name in self.row.columns}


def fixed_relations(scope: Scope, query: Query, ordered: Set[Place], known: Set[Place]) -> set[str]:
    """Aliases of those relations that are fixed by columns of an ORDER BY and by columns that are known otherwise."""
    by_equality = set(known) | scope.row_places()
    by_order = set(ordered)
    fixed: set[str] = set()
    if len(scope.tables) > _TABLES_MAX:
        return fixed
    follows: list[tuple[Place, Place]] = []
    for equality in query.equalities:
        left = scope.place(equality.column)
        if left is None:
            continue
        if isinstance(equality.other, Literal):
            if _takes(scope.facts(left), equality.other):
                by_equality.add(left)
            continue
        right = scope.place(equality.other)
        if right is not None and _are_alike(scope.facts(left), scope.facts(right)):
            pairs = ((left, right), (right, left))
            follows += [(source, target) for source, target in pairs if equality.toward in ("", target[0])]
    grows = True
    while grows:
        grows = False
        for source, target in follows:
            if target not in by_equality and (source in by_equality or source in by_order):
                by_equality.add(target)
                grows = True
        for alias, table in scope.tables.items():
            if table is None or alias in fixed:
                continue
            if any(_is_whole(key, alias, table, by_equality, by_order) for key in table.unique_keys):
                fixed.add(alias)
                by_equality |= {(alias, name) for name in table.columns}
                grows = True
    return fixed


def _is_whole(key: UniqueKey, alias: str, table: Table, by_equality: Set[Place], by_order: Set[Place]) -> bool:
    if key.expressions:
        return False
    places = [(alias, name) for name in key.columns]
    if all(place in by_equality for place in places):
        return True
    is_sorted = all(place in by_equality or table.columns[place[1]].is_sorted_whole for place in places)
    return not key.is_nullable and is_sorted and all(place in by_equality or place in by_order for place in places)


def _takes(facts: ColumnFacts, literal: Literal) -> bool:
    """Whether at most one value of the column equals a literal of that kind."""
    if literal is Literal.NUMBER:
        return facts.type in EXACT_NUMBERS
    return facts.type in TEXTS or facts.type in BYTES or facts.type in TIMES


def _are_alike(left: ColumnFacts, right: ColumnFacts) -> bool:
    """Whether a value of one equals at most one value of the other, up to what a unique key of it tells apart."""
    if left.type in EXACT_NUMBERS:
        return right.type in EXACT_NUMBERS
    if left.type in TEXTS:
        return right.type in TEXTS and left.collation == right.collation
    return (left.type in BYTES and right.type in BYTES) or (left.type in TIMES and right.type == left.type)


def is_one_row(scope: Scope, query: Query) -> bool:
    """Whether at most one row can satisfy its WHERE."""
    return bool(scope.tables) and fixed_relations(scope, query, set(), set()) == set(scope.tables)


def is_in_order(scope: Scope, query: Query) -> bool:
    """Whether its rows come in one order only."""
    if query.is_compound:
        return False
    if query.is_one_row or query.keeps_text_order:
        return True
    ordered = {place for column in query.order if (place := scope.place(column)) is not None}
    if query.groups is not None:
        groups = [scope.place(group) if group is not None else None for group in query.groups]
        return (
            bool(groups)
            and all(group in ordered and scope.facts(group).is_sorted_whole for group in groups if group)
            and (None not in groups)
        )
    return bool(scope.tables) and fixed_relations(scope, query, ordered, set()) == set(scope.tables)


def meets_once(scope: Scope, query: Query, target: str, other: str) -> bool:
    """Whether a row of `target` is matched with at most one row of `other`."""
    table = scope.tables.get(target)
    if table is None:
        return False
    known = {(target, name) for name in table.columns}
    return other in fixed_relations(scope, query, set(), known)
