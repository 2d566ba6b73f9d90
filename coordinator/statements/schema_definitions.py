"""Which schema changes the schema that is there forbids. Pure.

A trigger is run by writes that rest on no schema, such as a plain INSERT, so what its body was judged by must stay true: a
table that a trigger writes to keeps its name, its keys and its way of making ids until the trigger is dropped.
"""

from statements import sql_rules as rules
from statements.schema_catalogue import Catalogue
from statements.schema_triggers import fired_by, written_by_triggers
from statements.sql_checks import UNSUPPORTED
from statements.sql_lexer import Refused
from statements.sql_shapes import Definition, TableName, Trigger


def judge_definition(claim: Definition, catalogue: Catalogue) -> None:
    """Raises Refused."""
    written = written_by_triggers(catalogue)
    if claim.schema:
        if claim.schema == catalogue.database:
            raise _refused(f"{claim.verb} {claim.schema}", rules.DEFAULT_DATABASE)
        for (schema, name), trigger_name in written.items():
            if schema == claim.schema:
                raise _refused(claim.verb, rules.KEPT_FOR_TRIGGER.format(name, trigger_name))
    kept = (*(claim.tables if claim.touches_keys else ()), *claim.references)
    for table_name in kept:
        kept_for = written.get((table_name.schema or catalogue.database, table_name.name))
        if kept_for is not None:
            raise _refused(claim.verb, rules.KEPT_FOR_TRIGGER.format(table_name, kept_for))
    if claim.numbers_rows:
        table = catalogue.find(claim.tables[0].schema, claim.tables[0].name)
        if table is not None and table.primary_key is None:
            raise _refused("adding AUTO_INCREMENT", rules.NUMBERS_WITHOUT_KEY)
    if claim.trigger is not None:
        _judge_trigger(claim.tables[0], claim.trigger, catalogue, written)


def _judge_trigger(
    name: TableName, trigger: Trigger, catalogue: Catalogue, written: dict[tuple[str, str], str]
) -> None:
    own = (name.schema or catalogue.database, name.name)
    if trigger.touches_tables and own in written:
        raise _refused("a trigger on a table that a trigger writes to", rules.TRIGGER_CHAIN.format(written[own]))
    for target in trigger.writes:
        table = catalogue.find(target.schema or own[0], target.name)
        if table is None:
            raise Refused(f"Table '{target.schema or own[0]}.{target.name}' doesn't exist", 1146, "42S02")
        if table.is_view:
            raise _refused("a trigger that writes through a view", rules.NAME_THE_TABLES)
        for other, body in fired_by(table, ("INSERT", "UPDATE", "DELETE")):
            if body is None or body.touches_tables:
                raise _refused("a trigger on a table that a trigger writes to", rules.TRIGGER_CHAIN.format(other))


def _refused(what: str, why: str) -> Refused:
    return Refused(f"{what} is refused: {why}", UNSUPPORTED)
