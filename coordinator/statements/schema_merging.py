"""Which inserts may be executed together, as one statement with several rows, and leave what they leave one by one. Pure.

MySQL takes the rows of VALUES in their order and checks and stores each by itself: keys, foreign keys, CHECKs, generated columns.
What is once a statement, and so could tell: the ids (a run of them, if the server makes them all), the time (a batch has one),
and what its triggers see of the write's timestamp. One trigger knows about that; any other keeps its table's inserts apart.
"""

from statements.schema_catalogue import Catalogue
from statements.sql_shapes import PlainInsert

STAMPING = "SET NEW.timestamp = @row_timestamp, @row_timestamp = @row_timestamp + @row_step"
"""The body of the trigger that gives each row its write's timestamp (mysql-config/init.sql). `@row_step`: what lies between two
rows of one statement; 0 but where the statement is several writes. A trigger that reads @write_timestamp instead (an earlier
version made it) finds no number there in such a statement: it fails, and its writes are executed one by one."""


def is_stamping(body: str) -> bool:
    """MySQL keeps the `;` of a trigger that was made by a file."""
    return body.rstrip("; \n") == STAMPING


def may_merge(insert: PlainInsert, catalogue: Catalogue) -> bool:
    """Whether such an insert may be made one statement with others of the same head."""
    known = catalogue.merging.get(insert)
    if known is None:
        known = catalogue.merging[insert] = _may_merge(insert, catalogue)
    return known


def _may_merge(insert: PlainInsert, catalogue: Catalogue) -> bool:
    table = catalogue.find(insert.table.schema, insert.table.name)
    if table is None or table.is_view or table.is_partitioned:
        return False
    fired = [trigger for trigger in table.triggers if trigger.event == "INSERT"]
    if len(fired) > 1 or not all(is_stamping(trigger.body) for trigger in fired):
        return False
    made = table.auto_increment
    return made is None or (insert.columns is not None and made not in insert.columns)
