"""What the triggers and views of a schema do, read from their text as MySQL keeps it. Pure.

A text that our own law would not have let in was made by somebody's hand, past the log (or by a file that was run before the
first start). It is not understood, and that is never taken for harmless. One variable is known: @write_timestamp is set for
every entry, to the same value on every node; and one body, which stamps each row of several (schema_merging.py).
"""

from functools import lru_cache

from statements.schema_catalogue import Catalogue, Table
from statements.schema_merging import is_stamping
from statements.sql_checks import WRITE, check
from statements.sql_lexer import Refused, finish, tokenize
from statements.sql_shapes import Insertion, Trigger
from statements.sql_triggers import TriggerHead, read_body

_HEAD = "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW "
_PINNED_VARIABLE = "@write_timestamp"
_SETS_A_PIN = "SET NEW.timestamp = @write_timestamp"
_TAKES_ONE_OF_EQUALS = frozenset({"DISTINCT", "DISTINCTROW", "GROUP", "UNION", "EXCEPT", "INTERSECT", "LIMIT", "OVER"})
_AGGREGATES = frozenset({"SUM", "AVG", "MIN", "MAX", "GROUP_CONCAT"})


@lru_cache(1024)
def body_of(text: str) -> Trigger | None:
    """None: it is not understood."""
    if is_stamping(text):
        text = _SETS_A_PIN
    steps = tokenize(_HEAD + text.replace(_PINNED_VARIABLE, "0"))
    try:
        tokens = finish(steps)
        return finish(read_body(tokens, TriggerHead(tokens).body))
    except Refused:
        return None


@lru_cache(1024)
def view_is_exact(text: str) -> bool:
    """Whether the rows that a view gives are the same for any order of the rows behind it."""
    try:
        tokens = finish(tokenize(text))
        finish(check(tokens, 0, WRITE))
    except Refused:
        return False
    calls = {tokens.key(index - 1) for index, key in enumerate(tokens.keys) if key == "("}
    return not (_TAKES_ONE_OF_EQUALS.intersection(tokens.keys) or _AGGREGATES & calls)


def fired_by(table: Table, events: tuple[str, ...]) -> list[tuple[str, Trigger | None]]:
    """Name and body of each trigger of the table for one of the events."""
    return [(trigger.name, body_of(trigger.body)) for trigger in table.triggers if trigger.event in events]


def makes_ids(catalogue: Catalogue, trigger: Trigger) -> bool:
    """Whether it inserts into a table that makes ids, which nothing pins."""
    for claim in trigger.claims:
        if isinstance(claim, Insertion):
            table = catalogue.find(claim.table.schema, claim.table.name)
            if table is not None and any(base.auto_increment for base in catalogue.bases(table)):
                return True
    return False


def written_by_triggers(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    """(schema, table) -> the name of a trigger that writes to it."""
    written: dict[tuple[str, str], str] = {}
    for table in catalogue.tables_with_triggers:
        for name, trigger in fired_by(table, ("INSERT", "UPDATE", "DELETE")):
            for target in trigger.writes if trigger is not None else ():
                # a trigger's names without a schema are those of the trigger's own
                written[target.schema or table.schema, target.name] = name
    return written
