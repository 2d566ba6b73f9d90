"""Rows of information_schema -> a Catalogue. Pure; the adapter only asks.

Each query is one part of the picture. The hard case is a part that the account may not see: MySQL then leaves rows out or
columns empty instead of failing. A view whose text is hidden is taken for one that is not understood, which costs a refusal;
a trigger that is hidden would cost equality, so the account must have the TRIGGER privilege, and who reads makes sure of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from statements.schema_catalogue import Catalogue, ColumnFacts, ForeignKey, Table, TriggerFacts, UniqueKey

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


def catalogue_of(version: int, database: str, parts: Mapping[str, Iterable[Row]]) -> Catalogue:
    """`parts`: the rows of each of QUERIES, by its name."""
    columns: defaultdict[tuple[str, str], dict[str, ColumnFacts]] = defaultdict(dict)
    for schema, table, name, kind, collation, chars, nullable, auto, default_is_null, generated in parts["columns"]:
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
    triggers: defaultdict[tuple[str, str], list[TriggerFacts]] = defaultdict(list)
    for schema, table, name, event, body in parts["triggers"]:
        triggers[schema, table].append(TriggerFacts(name, event, body))
    keys = _unique_keys(parts["keys"])
    bodies = {(schema, view): body or "" for schema, view, body in parts["views"]}
    behind: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for schema, view, table_schema, table in parts["usages"]:
        behind[schema, view].append((table_schema, table))
    tables = [
        Table(
            schema=schema,
            name=name,
            columns=columns[schema, name],
            unique_keys=tuple(keys[schema, name]),
            triggers=tuple(triggers[schema, name]),
            is_view=kind != "BASE TABLE",
            view_body=bodies.get((schema, name), ""),
            behind=tuple(behind[schema, name]),
            is_partitioned=bool(partitioned),
        )
        for schema, name, kind, partitioned in parts["tables"]
    ]
    return Catalogue(version, database, tables, _foreign_keys(parts["foreign_keys"]))


def _unique_keys(rows: Iterable[Row]) -> defaultdict[tuple[str, str], list[UniqueKey]]:
    columns: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    expressions: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    nullable: dict[tuple[str, str, str], bool] = {}
    for schema, table, key, column, is_nullable, expression in rows:
        place = (schema, table, key)
        nullable[place] = nullable.get(place, False) or bool(is_nullable)
        if column is None:
            expressions[place].append(expression)
        else:
            columns[place].append(column)
    keys: defaultdict[tuple[str, str], list[UniqueKey]] = defaultdict(list)
    for (schema, table, key), is_nullable in nullable.items():
        place = (schema, table, key)
        keys[schema, table].append(UniqueKey(key, tuple(columns[place]), tuple(expressions[place]), is_nullable))
    return keys


def _foreign_keys(rows: Iterable[Row]) -> list[ForeignKey]:
    found: dict[tuple[str, str, str], ForeignKey] = {}
    for schema, table, name, parent_schema, parent, column, on_update, on_delete in rows:
        before = found.get((schema, table, name))
        columns = (*(before.parent_columns if before else ()), column)
        found[schema, table, name] = ForeignKey(
            name, (schema, table), (parent_schema, parent), columns, on_update, on_delete
        )
    return list(found.values())
