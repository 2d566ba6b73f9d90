"""The second step of the verdict: a statement's claims, compared with the schema that is there. Pure.

    parse(text) -> Statement;  judge(statement, catalogue) refuses, or the statement gives the same rows on every node

What may differ between two nodes with equal rows is the order in which rows are met: each chooses its own plan. So for each
write the question is whether order could show in the result, and if it could, whether the statement fixes it:
schema_writes.py asks it of the four verbs, this module of what they read: an aggregate, a DISTINCT, a view.

What is written and not in the catalogue is not judged: MySQL will say so on the master, and nothing is logged. A table that
appears meanwhile changes the schema's version.
"""

from collections.abc import Generator, Iterable

from statements import sql_rules as rules
from statements.query_parser import Statement
from statements.schema_catalogue import Catalogue, ColumnFacts, Table
from statements.schema_definitions import judge_definition
from statements.schema_rows import ROW_ALIASES, Scope, is_in_order, is_one_row
from statements.schema_triggers import view_is_exact
from statements.schema_writes import WriteJudge, refused
from statements.sql_lexer import Refused, finish
from statements.sql_shapes import (
    Change,
    Claim,
    Column,
    Concatenated,
    Exact,
    Insertion,
    Limited,
    OneStep,
    Query,
    Relation,
    RowIds,
)

_EXACT_SHAPES_MAX = 4096


def judge(statement: Statement, catalogue: Catalogue) -> None:
    """Raises Refused."""
    finish(judge_in_steps(statement, catalogue))


def judge_in_steps(statement: Statement, catalogue: Catalogue) -> Generator[None, None, None]:
    """As judge; pauses between claims, of which a text may have thousands."""
    if statement.shape in catalogue.exact_shapes:
        return
    yield from Judge(catalogue, statement.relations).take(statement.claims)
    if statement.shape and len(catalogue.exact_shapes) < _EXACT_SHAPES_MAX:
        catalogue.exact_shapes.add(statement.shape)


class Judge:
    """The claims of one statement; or of a trigger's body, whose rows NEW and OLD are those of the table `row`."""

    def __init__(self, catalogue: Catalogue, relations: Iterable[Relation], row: Table | None = None) -> None:
        self._catalogue = catalogue
        self._relations = tuple(relations)
        self._row = row
        self._writes = WriteJudge(catalogue, self._relations, row)

    def take(self, claims: Iterable[Claim]) -> Generator[None, None, None]:
        try:
            for relation in self._relations:
                self._check_view(relation)
            for claim in claims:
                if isinstance(claim, RowIds):
                    yield from self._writes.row_ids(claim)
                else:
                    self._take(claim)
                yield
        except Refused:
            self._say_what_is_missing()
            raise

    def _take(self, claim: OneStep) -> None:
        if isinstance(claim, Change):
            self._writes.change(claim)
        elif isinstance(claim, Insertion):
            self._writes.insertion(claim)
        elif isinstance(claim, Exact):
            self._exact(claim)
        elif isinstance(claim, Concatenated):
            self._concatenated(claim)
        elif isinstance(claim, Limited):
            if not self._is_in_order(claim.query):
                raise refused("LIMIT in a subquery", rules.UNORDERED_LIMIT, rules.ORDER_THE_QUERY)
        else:
            judge_definition(claim, self._catalogue)
            if claim.trigger is not None:
                table = self._catalogue.find(claim.tables[0].schema, claim.tables[0].name)
                if table is not None:
                    inside = self._catalogue.within(table.schema)
                    finish(Judge(inside, claim.trigger.relations, table).take(claim.trigger.claims))

    def _say_what_is_missing(self) -> None:
        """A table that is not there is a better reason than what cannot be shown because of that."""
        for relation in self._relations:
            name = relation.table
            if name is not None and self._catalogue.find(name.schema, name.name) is None:
                shown = f"{name.schema or self._catalogue.database}.{name.name}"
                raise Refused(f"Table '{shown}' doesn't exist", 1146, "42S02")

    def _scope(self, query: Query) -> Scope:
        return Scope(self._catalogue, query.relations, self._row)

    def _is_in_order(self, query: Query) -> bool:
        scope = self._scope(query)
        return is_in_order(scope, query) or is_one_row(scope, query)

    # ------------------------------------------------------------------------------------------ what is read

    def _check_view(self, relation: Relation) -> None:
        table = self._catalogue.find(relation.table.schema, relation.table.name) if relation.table is not None else None
        ahead = [table] if table is not None and table.is_view else []
        for view in ahead:
            if not view_is_exact(view.view_body):
                raise refused(f"reading the view {view.name} in a write", rules.INEXACT_VIEW, rules.NAME_THE_TABLES)
            behind = (self._catalogue.at(place) for place in view.behind)
            ahead += [other for other in behind if other is not None and other.is_view and other not in ahead]

    def _exact(self, claim: Exact) -> None:
        if not claim.is_understood:
            raise refused(claim.what, rules.NOT_UNDERSTOOD, rules.CAST_IT if claim.adds else rules.READ_FIRST)
        for column in claim.columns:
            for facts in self._facts(column, claim.what):
                if claim.adds and not facts.is_exact_number:
                    raise refused(f"{claim.what} over {column}", rules.INEXACT_SUM, rules.CAST_IT)
                if not facts.is_exact:
                    raise refused(f"{claim.what} with {facts.name}", rules.INEXACT_VALUES, rules.READ_FIRST)

    def _concatenated(self, claim: Concatenated) -> None:
        is_whole = all(argument in claim.order for argument in claim.arguments)
        if is_whole and all(f.is_exact for a in claim.arguments for f in self._facts(a, "GROUP_CONCAT()")):
            return
        ordered = Query(claim.query.relations, claim.query.equalities, claim.order)
        if not self._is_in_order(ordered):
            raise refused("GROUP_CONCAT()", rules.UNORDERED_CONCAT, rules.ORDER_INSIDE)

    def _facts(self, column: Column, what: str) -> list[ColumnFacts]:
        """Of every column that may be meant."""
        if self._row is not None and column.table.upper() in ROW_ALIASES:
            facts = self._row.columns.get(column.name)
            return [] if facts is None else [facts]
        found: list[ColumnFacts] = []
        for relation in self._relations:
            if column.table and column.table != relation.alias:
                continue
            name = relation.table
            table = self._catalogue.find(name.schema, name.name) if name is not None else None
            if table is None:
                raise refused(f"{what} with {column}", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
            if column.name == "*":
                found += table.columns.values()
            elif column.name in table.columns:
                found.append(table.columns[column.name])
        if not found:
            raise refused(f"{what} with {column}", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
        return found
