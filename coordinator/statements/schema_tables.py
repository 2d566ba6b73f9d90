"""Rows of information_schema -> a Catalogue. Pure; the adapter only asks.

Each query is one part of the picture. The hard case is a part that the account may not see: MySQL then leaves rows out or
columns empty instead of failing. A view whose text is hidden is taken for one that is not understood, which costs a refusal;
a trigger that is hidden would cost equality, so the account must have the TRIGGER privilege, and who reads makes sure of it.
"""

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from statements.schema_catalogue import Catalogue, ColumnFacts, ForeignKey, Table, TriggerFacts, UniqueKey
from statements.sql_lexer import finish

HIDDEN_SCHEMAS = ("mysql", "sys", "performance_schema", "information_schema", "_replication")
_USERS = "NOT IN (" + ", ".join(f"'{schema}'" for schema in HIDDEN_SCHEMAS) + ")"

# COALESCE where it matters; CAST because some columns of information_schema are BLOBs in some versions.
QUERIES: Mapping[str, str] = {
    "tables": "SELECT table_schema, table_name, table_type, COALESCE(create_options, '') LIKE '%partitioned%'"
    f" FROM information_schema.tables WHERE table_schema {_USERS}",
    "columns": "SELECT table_schema, table_name, LOWER(column_name), LOWER(data_type), COALESCE(collation_name, ''),"
    " COALESCE(character_maximum_length, 0), is_nullable = 'YES', extra LIKE '%auto_increment%',"
    " column_default IS NULL AND is_nullable = 'YES', COALESCE(CAST(generation_expression AS CHAR), '')"
    f" FROM information_schema.columns WHERE table_schema {_USERS} ORDER BY table_schema, table_name, ordinal_position",
    "keys": "SELECT table_schema, table_name, index_name, LOWER(column_name), nullable = 'YES',"
    " COALESCE(CAST(expression AS CHAR), '') FROM information_schema.statistics"
    f" WHERE non_unique = 0 AND table_schema {_USERS} ORDER BY table_schema, table_name, index_name, seq_in_index",
    "triggers": "SELECT event_object_schema, event_object_table, trigger_name, event_manipulation,"
    f" CAST(action_statement AS CHAR) FROM information_schema.triggers WHERE trigger_schema {_USERS}"
    " ORDER BY trigger_schema, trigger_name",
    "foreign_keys": "SELECT k.table_schema, k.table_name, k.constraint_name, k.referenced_table_schema,"
    " k.referenced_table_name, LOWER(k.referenced_column_name), r.update_rule, r.delete_rule"
    " FROM information_schema.key_column_usage AS k JOIN information_schema.referential_constraints AS r"
    " ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name"
    f" WHERE k.referenced_table_name IS NOT NULL AND k.table_schema {_USERS}"
    " ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position",
    "views": "SELECT table_schema, table_name, CAST(view_definition AS CHAR) FROM information_schema.views"
    f" WHERE table_schema {_USERS}",
    "usages": "SELECT view_schema, view_name, table_schema, table_name FROM information_schema.view_table_usage"
    f" WHERE view_schema {_USERS} ORDER BY view_schema, view_name, table_schema, table_name",
}
Row = Sequence[Any]
STEP_ROWS = 250
"""Between two pauses: some hundred microseconds."""
_Place = tuple[str, str]
"""(schema, table)."""


def catalogue_of(version: int, database: str, parts: Mapping[str, Iterable[Row]]) -> Catalogue:
    """`parts`: the rows of each of QUERIES, by its name. Thousands of tables take tens of milliseconds: on an event loop,
    drive catalogue_in_steps."""
    return finish(catalogue_in_steps(version, database, parts))


def catalogue_in_steps(
    version: int, database: str, parts: Mapping[str, Iterable[Row]]
) -> Generator[None, None, Catalogue]:
    """As catalogue_of, with a pause after every STEP_ROWS rows."""
    columns: defaultdict[_Place, dict[str, ColumnFacts]] = defaultdict(dict)
    triggers: defaultdict[_Place, list[TriggerFacts]] = defaultdict(list)
    keys = _UniqueKeys()
    bodies: dict[_Place, str] = {}
    behind: defaultdict[_Place, list[_Place]] = defaultdict(list)
    foreign_keys: dict[tuple[str, str, str], ForeignKey] = {}
    tables: list[Table] = []

    def add_column(row: Row) -> None:
        schema, table, name, kind, collation, chars, nullable, auto, default_is_null, generated = row
        columns[schema, table][name] = ColumnFacts(
            name=name,
            type=kind,
            collation=collation,
            chars=int(chars),
            is_nullable=bool(nullable),
            is_auto_increment=bool(auto),
            default_is_null=bool(default_is_null) and not generated,
            generated_from=generated,
        )

    def add_trigger(row: Row) -> None:
        schema, table, name, event, body = row
        triggers[schema, table].append(TriggerFacts(name, event, body))

    def add_view(row: Row) -> None:
        schema, view, body = row
        bodies[schema, view] = body or ""

    def add_usage(row: Row) -> None:
        schema, view, table_schema, table = row
        behind[schema, view].append((table_schema, table))

    def add_foreign_key(row: Row) -> None:
        schema, table, name, parent_schema, parent, column, on_update, on_delete = row
        before = foreign_keys.get((schema, table, name))
        parent_columns = (*(before.parent_columns if before else ()), column)
        foreign_keys[schema, table, name] = ForeignKey(
            name, (schema, table), (parent_schema, parent), parent_columns, on_update, on_delete
        )

    def add_table(row: Row) -> None:
        schema, name, kind, partitioned = row
        tables.append(
            Table(
                schema=schema,
                name=name,
                columns=columns[schema, name],
                unique_keys=keys.of(schema, name),
                triggers=tuple(triggers[schema, name]),
                is_view=kind != "BASE TABLE",
                view_body=bodies.get((schema, name), ""),
                behind=tuple(behind[schema, name]),
                is_partitioned=bool(partitioned),
            )
        )

    # the tables last: they are made of all the rest
    for part, add in (
        ("columns", add_column),
        ("triggers", add_trigger),
        ("keys", keys.add),
        ("views", add_view),
        ("usages", add_usage),
        ("foreign_keys", add_foreign_key),
        ("tables", add_table),
    ):
        for number, row in enumerate(parts[part], 1):
            add(row)
            if number % STEP_ROWS == 0:
                yield
    return Catalogue(version, database, tables, foreign_keys.values())


class _UniqueKeys:
    """Collects the parts of unique keys, in their order."""

    def __init__(self) -> None:
        self._keys: defaultdict[_Place, dict[str, UniqueKey]] = defaultdict(dict)

    def add(self, row: Row) -> None:
        schema, table, key, column, is_nullable, expression = row
        before = self._keys[schema, table].get(key) or UniqueKey(key, ())
        self._keys[schema, table][key] = UniqueKey(
            key,
            before.columns if column is None else (*before.columns, column),
            (*before.expressions, expression) if column is None else before.expressions,
            before.is_nullable or bool(is_nullable),
        )

    def of(self, schema: str, table: str) -> tuple[UniqueKey, ...]:
        return tuple(self._keys[schema, table].values())
