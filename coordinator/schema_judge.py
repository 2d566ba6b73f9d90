"""The second step of the verdict: a statement's claims, compared with the schema that is there. Pure.

    parse(text) -> Statement;  judge(statement, catalogue) refuses, or the statement gives the same rows on every node

What may differ between two nodes with equal rows is the order in which rows are met: each chooses its own plan. So for each
write the question is whether order could show in the result, and if it could, whether the statement fixes it:

* which rows LIMIT takes; which row fires a trigger first; which of two rows is first to take a value of a unique key; which id
  a row gets; which of several matching rows a joined UPDATE reads; which of equal texts MAX() gives.
* A foreign key is checked row by row, so where a table points to itself, or is reached over two ways, order decides whether
  a statement fails.

Ids: the log carries one first id of one table. So no trigger may make ids, and INSERT … ON DUPLICATE KEY UPDATE of several
rows may not either: where it updates, MySQL reports the id of the updated row (seen on 9.7), which pins nothing.

What is written and not in the catalogue is not judged: MySQL will say so on the master, and nothing is logged. A table that
appears meanwhile changes the schema's version.
"""

from collections.abc import Iterable

import sql_rules as rules
from query_parser import Statement
from schema_catalogue import Catalogue, ColumnFacts, ForeignKey, Table
from schema_definitions import judge_definition
from schema_rows import ROW_ALIASES, Scope, is_in_order, is_one_row, meets_once
from schema_triggers import fired_by, makes_ids, view_is_exact
from sql_checks import UNSUPPORTED
from sql_lexer import Refused
from sql_shapes import Change, Claim, Column, Concatenated, Definition, Exact, Insertion, Limited, Query, Relation

Place = tuple[str, str]


def judge(statement: Statement, catalogue: Catalogue) -> None:
    """Raises Refused."""
    Judge(catalogue, statement.relations).take(statement.claims)


class Judge:
    """The claims of one statement; or of a trigger's body, whose rows NEW and OLD are those of the table `row`."""

    def __init__(self, catalogue: Catalogue, relations: Iterable[Relation], row: Table | None = None) -> None:
        self._catalogue = catalogue
        self._relations = tuple(relations)
        self._row = row

    def take(self, claims: Iterable[Claim]) -> None:
        try:
            for relation in self._relations:
                self._check_view(relation)
            for claim in claims:
                self._take(claim)
        except Refused:
            self._say_what_is_missing()
            raise

    def _take(self, claim: Claim) -> None:
        if isinstance(claim, Change):
            self._change(claim)
        elif isinstance(claim, Insertion):
            self._insertion(claim)
        elif isinstance(claim, Exact):
            self._exact(claim)
        elif isinstance(claim, Concatenated):
            self._concatenated(claim)
        elif isinstance(claim, Limited):
            if not self._is_in_order(claim.query):
                raise _refused("LIMIT in a subquery", rules.UNORDERED_LIMIT, rules.ORDER_THE_QUERY)
        else:
            judge_definition(claim, self._catalogue)
            if claim.trigger is not None:
                table = self._catalogue.find(claim.tables[0].schema, claim.tables[0].name)
                if table is not None:
                    Judge(self._catalogue, claim.trigger.relations, table).take(claim.trigger.claims)

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
                raise _refused(f"reading the view {view.name} in a write", rules.INEXACT_VIEW, rules.NAME_THE_TABLES)
            behind = (self._catalogue.at(place) for place in view.behind)
            ahead += [other for other in behind if other is not None and other.is_view and other not in ahead]

    def _exact(self, claim: Exact) -> None:
        if not claim.is_understood:
            raise _refused(claim.what, rules.NOT_UNDERSTOOD, rules.CAST_IT if claim.adds else rules.READ_FIRST)
        for column in claim.columns:
            for facts in self._facts(column, claim.what):
                if claim.adds and not facts.is_exact_number:
                    raise _refused(f"{claim.what} over {column}", rules.INEXACT_SUM, rules.CAST_IT)
                if not facts.is_exact:
                    raise _refused(f"{claim.what} with {facts.name}", rules.INEXACT_VALUES, rules.READ_FIRST)

    def _concatenated(self, claim: Concatenated) -> None:
        is_whole = all(argument in claim.order for argument in claim.arguments)
        if is_whole and all(f.is_exact for a in claim.arguments for f in self._facts(a, "GROUP_CONCAT()")):
            return
        ordered = Query(claim.query.relations, claim.query.equalities, claim.order)
        if not self._is_in_order(ordered):
            raise _refused("GROUP_CONCAT()", rules.UNORDERED_CONCAT, rules.ORDER_INSIDE)

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
                raise _refused(f"{what} with {column}", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
            if column.name == "*":
                found += table.columns.values()
            elif column.name in table.columns:
                found.append(table.columns[column.name])
        if not found:
            raise _refused(f"{what} with {column}", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
        return found

    # ------------------------------------------------------------------------------------------ UPDATE and DELETE

    def _change(self, change: Change) -> None:
        scope = self._scope(change.rows)
        targets = self._targets(change, scope)
        if (
            not targets
            or is_one_row(scope, change.rows)
            or (not change.is_multi_table and is_in_order(scope, change.rows))
        ):
            self._check_triggers(targets.values(), (change.verb,))
            return
        what = change.verb if not change.is_multi_table else f"{change.verb} of joined tables"
        advice = rules.ONE_TABLE if change.is_multi_table else self._advice(next(iter(targets.values())))
        if change.rows.is_limited:
            raise _refused(f"{change.verb} with LIMIT", rules.UNORDERED_LIMIT, advice)
        if change.skips_errors:
            raise _refused(f"{change.verb} IGNORE", rules.UNORDERED_IGNORE, advice)
        places = {(base.schema, base.name) for table in targets.values() for base in self._catalogue.bases(table)}
        for alias, table in targets.items():
            columns = {a.column.name for a in change.assignments if (scope.place(a.column) or (alias,))[0] == alias}
            constant = {a.column.name for a in change.assignments if a.is_constant}
            for base in self._catalogue.bases(table):
                own = base is table
                sets = self._check_order(base, change.verb, what, advice)
                varying = (columns - constant) | sets if own else columns - constant or sets
                if change.verb == "UPDATE" and _touches_unique(base, varying, columns | sets, own):
                    raise _refused(f"{what} of a unique key", rules.UNORDERED_KEY, advice)
                changed = None if change.verb == "DELETE" or not own else columns | sets
                if reason := self._cascade(base, changed, places):
                    raise _refused(what, reason, advice)
        if change.is_multi_table and change.verb == "UPDATE":
            self._joined(change, scope, targets)

    def _targets(self, change: Change, scope: Scope) -> dict[str, Table]:
        """Alias -> table of what is changed. Empty: MySQL will refuse it, or something is not there."""
        if change.verb == "UPDATE":
            places = [scope.place(assignment.column) for assignment in change.assignments]
            if len(scope.tables) == 1:
                aliases = list(scope.tables)
            elif None in places:
                raise _refused("UPDATE of joined tables", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
            else:
                aliases = [place[0] for place in places if place is not None]
        else:
            aliases = list(change.targets)
        return {alias: table for alias in aliases if (table := scope.tables.get(alias)) is not None}

    def _advice(self, table: Table) -> str:
        key = table.primary_key
        if table.is_view or key is None or not all(table.columns[name].is_sorted_whole for name in key.columns):
            return rules.ONE_ROW_ONLY
        return rules.ORDER_BY_KEY.format(", ".join(key.columns))

    def _check_order(self, table: Table, event: str, what: str, advice: str) -> set[str]:
        """Refuses where the order of rows shows through a trigger; answers with the columns that triggers set."""
        sets: set[str] = set()
        self._check_triggers([table], (event,))
        for name, trigger in fired_by(table, (event,)):
            if trigger is not None:
                sets.update(trigger.sets)
                if trigger.touches_tables:
                    raise _refused(what, rules.TRIGGER_ORDER.format(name), advice)
        return sets

    def _check_triggers(self, tables: Iterable[Table], events: tuple[str, ...]) -> None:
        for table in tables:
            for base in self._catalogue.bases(table):
                for name, trigger in fired_by(base, events):
                    if trigger is None:
                        raise _refused(f"writing to {base.name}", rules.UNKNOWN_TRIGGER.format(name), rules.MAKE_AGAIN)
                    if makes_ids(self._catalogue, trigger):
                        raise _refused(f"writing to {base.name}", rules.TRIGGER_IDS.format(name), rules.KEY_OF_ITS_OWN)

    def _cascade(self, table: Table, columns: set[str] | None, targets: set[Place]) -> str:
        """Why the order of rows could decide over foreign keys, or nothing. `columns`: what changes; None: the rows go."""
        start = (table.schema, table.name)
        reached = {start} | (targets - {start})
        ahead = [(start, columns)]
        while ahead:
            parent, changed = ahead.pop()
            for key in self._catalogue.children.get(parent, ()):
                if changed is not None and not changed.intersection(key.parent_columns):
                    continue
                if key.table in reached:
                    return rules.FOREIGN_KEY_ORDER.format(key.name)
                reached.add(key.table)
                rule = key.on_delete if changed is None else key.on_update
                if rule in ("CASCADE", "SET NULL", "SET DEFAULT"):
                    # what a cascade deletes is deleted again behind it; anything else changes columns, which ones is not asked
                    deletes = changed is None and rule == "CASCADE"
                    ahead.append((key.table, None if deletes else _all_columns(self._catalogue.at(key.table))))
        return ""

    def _joined(self, change: Change, scope: Scope, targets: dict[str, Table]) -> None:
        """A row that matches several times is changed once, from whichever match comes first."""
        inner = {relation.alias for relation in self._relations} - scope.tables.keys()
        for assignment in change.assignments:
            place = scope.place(assignment.column)
            for read in assignment.reads:
                if read.table in inner:
                    continue
                source = scope.place(read)
                if place is None or source is None:
                    raise _refused("UPDATE of joined tables", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
                if source[0] == place[0]:
                    continue
                if source[0] in targets or not meets_once(scope, change.rows, place[0], source[0]):
                    raise _refused("UPDATE of joined tables", rules.SEVERAL_MATCHES.format(read), rules.SUBQUERY)

    # ------------------------------------------------------------------------------------------ INSERT and REPLACE

    def _insertion(self, insertion: Insertion) -> None:
        table = self._catalogue.find(insertion.table.schema, insertion.table.name)
        if table is None:
            return
        if self._row is not None and any(base.auto_increment for base in self._catalogue.bases(table)):
            raise _refused(f"INSERT into {table.name} in a trigger", rules.IDS_IN_TRIGGER, rules.KEY_OF_ITS_OWN)
        events = ["INSERT"] + ["UPDATE"] * insertion.updates_duplicates + ["DELETE"] * (insertion.verb == "REPLACE")
        self._check_triggers([table], tuple(events))
        bases = self._catalogue.bases(table)
        if insertion.updates_duplicates:
            self._duplicates(insertion, table, bases)
        if insertion.verb == "REPLACE":
            self._replaced(insertion, table, bases)
        if insertion.source is not None and not self._is_in_order(insertion.source):
            if reason := self._why_order_shows(insertion, bases, tuple(events)):
                raise _refused(f"{insertion.verb} from a query", reason, rules.ORDER_THE_QUERY)
            if insertion.source.is_limited:
                raise _refused(
                    f"{insertion.verb} from a query with LIMIT", rules.UNORDERED_LIMIT, rules.ORDER_THE_QUERY
                )

    def _duplicates(self, insertion: Insertion, table: Table, bases: tuple[Table, ...]) -> None:
        what = "INSERT … ON DUPLICATE KEY UPDATE"
        if table.is_view:
            raise _refused(f"{what} through the view {table.name}", rules.VIEW_KEYS, rules.NAME_THE_TABLES)
        for base in bases:
            ids = base.auto_increment
            if ids is not None and not insertion.is_one_row:
                raise _refused(f"{what} of several rows", rules.DUPLICATE_IDS.format(ids), rules.ONE_EACH)
            if ids is not None and {ids, "*"}.intersection(insertion.new_values):
                raise _refused(f"{what} with VALUES({ids})", rules.NEW_ID, rules.READ_FIRST)
            if len(conflicting := _conflicting_keys(base, insertion)) > 1:
                names = ", ".join(conflicting)
                raise _refused(f"{what} on {base.name}", rules.SEVERAL_KEYS.format(names), rules.READ_FIRST)

    def _replaced(self, insertion: Insertion, table: Table, bases: tuple[Table, ...]) -> None:
        """Whatever the order, all rows in the way go and one comes; it shows only through what their going sets off."""
        for base in bases:
            if len(_conflicting_keys(base, insertion) if not table.is_view else base.unique_keys) > 1:
                self._check_order(base, "DELETE", "REPLACE", rules.DELETE_FIRST)
                if reason := self._cascade(base, None, set()):
                    raise _refused("REPLACE", reason, rules.DELETE_FIRST)

    def _why_order_shows(self, insertion: Insertion, bases: tuple[Table, ...], events: tuple[str, ...]) -> str:
        if insertion.skips_errors or insertion.updates_duplicates or insertion.verb == "REPLACE":
            return rules.ORDER_OF_DUPLICATES
        for base in bases:
            ids = base.auto_increment
            if ids is not None:
                return rules.ORDER_OF_IDS.format(ids)
            if any(
                key.table == (base.schema, base.name)
                for key in self._catalogue.children.get((base.schema, base.name), ())
            ):
                return rules.ORDER_OF_PARENTS
            for name, trigger in fired_by(base, events):
                if trigger is None or trigger.touches_tables:
                    return rules.TRIGGER_ORDER.format(name)
        return ""


def _refused(what: str, why: str, advice: str) -> Refused:
    return Refused(f"{what} is refused: {why}: {advice}", UNSUPPORTED)


def _all_columns(table: Table | None) -> set[str]:
    return set(table.columns) if table is not None else set()


def _touches_unique(table: Table, varying: set[str], changed: set[str], knows_columns: bool) -> bool:
    """Whether an UPDATE may move rows through each other's values of a unique key: not if each gets the same constant."""
    if not knows_columns:
        return bool(varying) and bool(table.unique_keys)
    for key in table.unique_keys:
        if varying.intersection(key.columns):
            return True
        made_from = [*key.expressions, *(table.columns[name].generated_from for name in key.columns)]
        if any(f"`{name}`" in expression.lower() for name in changed for expression in made_from if expression):
            return True
    return False


def _conflicting_keys(table: Table, insertion: Insertion) -> list[str]:
    """Unique keys of which a new row may have a value that is there already."""
    set_by_trigger = {name for _, trigger in fired_by(table, ("INSERT",)) if trigger for name in trigger.sets}

    def is_given(name: str) -> bool:
        facts = table.columns[name]
        if insertion.columns is None or name in insertion.columns or name in set_by_trigger or facts.generated_from:
            return True
        return not (facts.is_auto_increment or facts.default_is_null)

    return [key.name for key in table.unique_keys if all(is_given(name) for name in key.columns)]


__all__ = ["Definition", "ForeignKey", "Judge", "judge"]
