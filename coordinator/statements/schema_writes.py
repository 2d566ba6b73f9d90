"""Whether the order of rows could show in what a write does to the tables that are there. Pure.

It could in these ways:

* which rows LIMIT takes; which row fires a trigger first; which of two rows is first to take a value of a unique key; which id
  a row gets; which of several matching rows a joined UPDATE reads; which of equal texts MAX() gives.
* A foreign key is checked row by row, so where a table points to itself, or is reached over two ways, order decides whether
  a statement fails.

Ids: the log carries one first id of one table. So no trigger may make ids, and INSERT … ON DUPLICATE KEY UPDATE of several
rows may not either: where it updates, MySQL reports the id of the updated row (seen on 9.7), which pins nothing.

Where it could, the statement must fix the order, or change one row only.
"""

from collections.abc import Generator, Iterable

from statements import sql_rules as rules
from statements.schema_catalogue import Catalogue, Table
from statements.schema_rows import Scope, is_in_order, is_one_row, meets_once
from statements.schema_triggers import fired_by, makes_ids
from statements.sql_checks import UNSUPPORTED
from statements.sql_ids import mixes_ids
from statements.sql_lexer import Refused
from statements.sql_shapes import Change, Insertion, Relation, RowIds

Place = tuple[str, str]
_CHANGES_CHILDREN = ("CASCADE", "SET NULL", "SET DEFAULT")


class WriteJudge:
    """Of one statement, or of the body of a trigger whose rows NEW and OLD are those of the table `row`."""

    def __init__(self, catalogue: Catalogue, relations: tuple[Relation, ...], row: Table | None) -> None:
        self._catalogue = catalogue
        self._relations = relations
        self._row = row

    # ------------------------------------------------------------------------------------------ UPDATE and DELETE

    def change(self, change: Change) -> None:
        scope = Scope(self._catalogue, change.rows.relations, self._row)
        targets = self._targets(change, scope)
        self._check_triggers(targets.values(), (change.verb,))
        if not targets or is_one_row(scope, change.rows):
            return
        for table in targets.values():
            self._check_own_reads(table, change.verb)
        if not change.is_multi_table and is_in_order(scope, change.rows):
            return
        what = change.verb if not change.is_multi_table else f"{change.verb} of joined tables"
        advice = rules.ONE_TABLE if change.is_multi_table else self._advice(next(iter(targets.values())))
        if change.rows.is_limited:
            raise refused(f"{change.verb} with LIMIT", rules.UNORDERED_LIMIT, advice)
        if change.skips_errors:
            raise refused(f"{change.verb} IGNORE", rules.UNORDERED_IGNORE, advice)
        places = {(base.schema, base.name) for table in targets.values() for base in self._catalogue.bases(table)}
        for alias, table in targets.items():
            columns = {a.column.name for a in change.assignments if (scope.place(a.column) or (alias,))[0] == alias}
            constant = {a.column.name for a in change.assignments if a.is_constant}
            for base in self._catalogue.bases(table):
                own = base is table
                sets = self._check_order(base, change.verb, what, advice)
                varying = (columns - constant) | sets if own else columns - constant or sets
                if change.verb == "UPDATE" and _touches_unique(base, varying, columns | sets, own):
                    raise refused(f"{what} of a unique key", rules.UNORDERED_KEY, advice)
                changed = None if change.verb == "DELETE" or not own else columns | sets
                if reason := self._cascade(base, changed, places):
                    raise refused(what, reason, advice)
        if change.is_multi_table and change.verb == "UPDATE":
            self._joined(change, scope, targets)

    def _targets(self, change: Change, scope: Scope) -> dict[str, Table]:
        """Alias -> table of what is changed. Empty: MySQL will refuse it, or something is not there."""
        if change.verb == "UPDATE":
            places = [scope.place(assignment.column) for assignment in change.assignments]
            if len(scope.tables) == 1:
                aliases = list(scope.tables)
            elif None in places:
                raise refused("UPDATE of joined tables", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
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
        for name, trigger in fired_by(table, (event,)):
            if trigger is not None:
                sets.update(trigger.sets)
                if trigger.touches_tables:
                    raise refused(what, rules.TRIGGER_ORDER.format(name), advice)
        return sets

    def _check_triggers(self, tables: Iterable[Table], events: tuple[str, ...]) -> None:
        for table in tables:
            for base in self._catalogue.bases(table):
                for name, trigger in fired_by(base, events):
                    if trigger is None:
                        raise refused(f"writing to {base.name}", rules.UNKNOWN_TRIGGER.format(name), rules.MAKE_AGAIN)
                    if makes_ids(self._catalogue.within(base.schema), trigger):
                        raise refused(f"writing to {base.name}", rules.TRIGGER_IDS.format(name), rules.KEY_OF_ITS_OWN)

    def _check_own_reads(self, table: Table, verb: str) -> None:
        """Foreign keys change other tables row by row, and a plan decides whether a row is read before or after that. An order
        does not help: with a sort all is read first, without one it is not."""
        read = {
            (base.schema, base.name)
            for relation in self._relations
            if relation.table is not None
            and (found := self._catalogue.find(relation.table.schema, relation.table.name)) is not None
            for base in self._catalogue.bases(found)
        }
        for base in self._catalogue.bases(table):
            ahead = [(base.schema, base.name)]
            seen = set(ahead)
            while ahead:
                for key in self._catalogue.children.get(ahead.pop(), ()):
                    rules_of_key = {key.on_update, key.on_delete}
                    if key.table in seen or not rules_of_key.intersection(_CHANGES_CHILDREN):
                        continue
                    if key.table in read:
                        raise refused(verb, rules.FOREIGN_KEY_READ.format(key.name, key.table[1]), rules.READ_FIRST)
                    seen.add(key.table)
                    ahead.append(key.table)

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
                if rule in _CHANGES_CHILDREN:
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
                    raise refused("UPDATE of joined tables", rules.UNKNOWN_COLUMN, rules.NAME_THE_TABLES)
                if source[0] == place[0]:
                    continue
                if source[0] in targets or not meets_once(scope, change.rows, place[0], source[0]):
                    raise refused("UPDATE of joined tables", rules.SEVERAL_MATCHES.format(read), rules.SUBQUERY)

    # ------------------------------------------------------------------------------------------ INSERT and REPLACE

    def insertion(self, insertion: Insertion) -> None:
        table = self._catalogue.find(insertion.table.schema, insertion.table.name)
        if table is None:
            return
        if self._row is not None and any(base.auto_increment for base in self._catalogue.bases(table)):
            raise refused(f"INSERT into {table.name} in a trigger", rules.IDS_IN_TRIGGER, rules.KEY_OF_ITS_OWN)
        events = ["INSERT"] + ["UPDATE"] * insertion.updates_duplicates + ["DELETE"] * (insertion.verb == "REPLACE")
        self._check_triggers([table], tuple(events))
        bases = self._catalogue.bases(table)
        if insertion.updates_duplicates:
            self._duplicates(insertion, table, bases)
        if insertion.verb == "REPLACE":
            self._replaced(insertion, table, bases)
        source = insertion.source
        if source is None:
            return
        if insertion.updates_duplicates or insertion.verb == "REPLACE":
            self._check_own_reads(table, insertion.verb)
        scope = Scope(self._catalogue, source.relations, self._row)
        if not is_in_order(scope, source) and not is_one_row(scope, source):
            if reason := self._why_order_shows(insertion, bases, tuple(events)):
                raise refused(f"{insertion.verb} from a query", reason, rules.ORDER_THE_QUERY)
            if source.is_limited:
                raise refused(f"{insertion.verb} from a query with LIMIT", rules.UNORDERED_LIMIT, rules.ORDER_THE_QUERY)

    def row_ids(self, claim: RowIds) -> Generator[None, None, None]:
        """In steps: there may be many rows."""
        table = self._catalogue.find(claim.table.schema, claim.table.name)
        ids = [base.auto_increment for base in self._catalogue.bases(table)] if table is not None else []
        if table is None or not any(ids):
            return
        if table.is_view:
            raise refused(f"INSERT through the view {table.name}", rules.VIEW_IDS, rules.NAME_THE_TABLES)
        columns = tuple(table.columns) if claim.columns is None else claim.columns
        if ids[0] not in columns:
            return
        mixes = yield from mixes_ids(claim.rows, columns.index(ids[0]), len(columns), claim.skips_errors)
        if mixes is None:
            raise refused(f"INSERT into {table.name}", rules.UNKNOWN_ID.format(ids[0]), rules.NAME_THE_COLUMNS)
        if mixes:
            raise refused(f"INSERT into {table.name}", rules.MIXED_IDS.format(ids[0]), rules.SEND_IDS_APART)

    def _duplicates(self, insertion: Insertion, table: Table, bases: tuple[Table, ...]) -> None:
        what = "INSERT … ON DUPLICATE KEY UPDATE"
        if table.is_view:
            raise refused(f"{what} through the view {table.name}", rules.VIEW_KEYS, rules.NAME_THE_TABLES)
        for base in bases:
            ids = base.auto_increment
            if ids is not None and not insertion.is_one_row:
                raise refused(f"{what} of several rows", rules.DUPLICATE_IDS.format(ids), rules.ONE_EACH)
            if ids is not None and {ids, "*"}.intersection(insertion.new_values):
                raise refused(f"{what} with VALUES({ids})", rules.NEW_ID, rules.READ_FIRST)
            if len(conflicting := _conflicting_keys(base, insertion)) > 1:
                names = ", ".join(conflicting)
                raise refused(f"{what} on {base.name}", rules.SEVERAL_KEYS.format(names), rules.READ_FIRST)

    def _replaced(self, insertion: Insertion, table: Table, bases: tuple[Table, ...]) -> None:
        """Whatever the order, all rows in the way go and one comes; it shows only through what their going sets off."""
        for base in bases:
            if len(_conflicting_keys(base, insertion) if not table.is_view else base.unique_keys) > 1:
                self._check_order(base, "DELETE", "REPLACE", rules.DELETE_FIRST)
                if reason := self._cascade(base, None, set()):
                    raise refused("REPLACE", reason, rules.DELETE_FIRST)

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


def refused(what: str, why: str, advice: str) -> Refused:
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
