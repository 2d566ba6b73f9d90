"""Schema changes on one node: executed once, whatever is killed meanwhile, over a connection of an account of their own.

MySQL commits a schema change by itself, and changes its data dictionary whole or not at all. So before it, the node notes on its
disk which change is coming and how its dictionary looks (a fingerprint, meaningful on this node only); after a crash the
dictionary looks otherwise if and only if the change was made. Where it looks the same after a change, doing it again changes
nothing either: the fingerprint has the numbers of InnoDB's tables and of their row versions, so two tables (or columns) that
change their names, or one that is emptied, look otherwise.

Hard case: a coordinator that was frozen before it sent the statement. The connection is opened by a fence and by nothing else,
each fence has a new one, and each ends the others' of this account under the lock of the meta row and waits until their threads
are gone: a statement of an older epoch is over, done or undone, before the fence takes hold.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b

import msgspec

from adapters import node_sql
from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult
from adapters.other_sessions import end_all_others
from adapters.outcomes import outcome_of
from replication.effects import RunSchemaChange
from replication.replies import Reply, SchemaChanged
from replication.values import Executed

ACCOUNT = "ddl"

_USERS = "NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', '_replication')"


def _look(columns: str, table: str, schema: str = "table_schema") -> str:
    return f"SELECT {columns} FROM information_schema.{table} WHERE {schema} {_USERS}"


# No statistics (rows, cardinality, AUTO_INCREMENT, times): they change by themselves.
DICTIONARY = (
    _look("schema_name, default_character_set_name, default_collation_name", "schemata", "schema_name"),
    _look(
        "table_schema, table_name, table_type, engine, row_format, table_collation, create_options, table_comment",
        "tables",
    ),
    _look(
        "table_schema, table_name, ordinal_position, column_name, column_default, is_nullable, column_type,"
        " character_set_name, collation_name, column_key, extra, column_comment, generation_expression, srs_id",
        "columns",
    ),
    _look(
        "table_schema, table_name, index_name, seq_in_index, non_unique, column_name, collation, sub_part, nullable,"
        " index_type, index_comment, is_visible, expression",
        "statistics",
    ),
    _look("constraint_schema, table_name, constraint_name, constraint_type, enforced", "table_constraints"),
    _look(
        "constraint_schema, table_name, constraint_name, ordinal_position, column_name, referenced_table_schema,"
        " referenced_table_name, referenced_column_name",
        "key_column_usage",
        "constraint_schema",
    ),
    _look(
        "constraint_schema, table_name, constraint_name, unique_constraint_name, update_rule, delete_rule",
        "referential_constraints",
        "constraint_schema",
    ),
    _look("constraint_schema, constraint_name, check_clause", "check_constraints", "constraint_schema"),
    _look(
        "table_schema, table_name, partition_name, subpartition_name, partition_ordinal_position, partition_method,"
        " partition_expression, subpartition_expression, partition_description, partition_comment",
        "partitions",
    ),
    _look("table_schema, table_name, view_definition, check_option, security_type", "views"),
    _look(
        "trigger_schema, trigger_name, event_object_table, event_manipulation, action_timing, action_order,"
        " action_statement",
        "triggers",
        "trigger_schema",
    ),
    # all columns: total_row_versions, too, which counts ALGORITHM = INSTANT (DROP COLUMN a, RENAME COLUMN b TO a, ADD COLUMN b
    # changes nothing else); a server that is too old for that column rebuilds the table instead
    "SELECT * FROM information_schema.innodb_tables WHERE name NOT LIKE 'mysql/%' AND name NOT LIKE 'sys/%'",
)
MARK = "SELECT ddl_timestamp, ddl_fingerprint FROM _replication.meta WHERE id = 1"


def fingerprint_of(results: list[StatementResult]) -> str:
    """Of the rows of DICTIONARY, in no particular order."""
    digest = blake2b(digest_size=16)
    for result in results:
        for line in sorted(repr(row) for row in result.rows):
            digest.update(line.encode())
        digest.update(b"|")
    return digest.hexdigest()


class Mark(msgspec.Struct, frozen=True):
    """What a node noted before the last schema change whose outcome it has not applied."""

    timestamp: int | None
    fingerprint: str | None


class NodeSchema:
    """The connection for schema changes that one fence opened. Never opened a second time."""

    def __init__(self, session: MySQLSession, writer: MySQLSession, timeout_s: float, change_timeout_s: float) -> None:
        """`writer`: whose transactions write the mark. `change_timeout_s` bounds a whole change."""
        self._session = session
        self._writer = writer
        self._timeout_s = timeout_s
        self._change_timeout_s = change_timeout_s

    async def open(self) -> None:
        await self._session.open()

    def close(self) -> None:
        self._session.close()

    async def end_others(self, timeout_s: float) -> None:
        """Returns when no other connection of the account is left, and none of their statements is under way."""
        await end_all_others(self._session, ACCOUNT, timeout_s, "a schema change under way does not end")

    async def executed_change(self, mark: Mark) -> int:
        """Timestamp of the change that was marked, if it was made; 0: none is marked, or it was not."""
        if mark.timestamp is None or await self._fingerprint() == mark.fingerprint:
            return 0
        return mark.timestamp

    async def _fingerprint(self) -> str:
        return fingerprint_of(await self._session.run([*DICTIONARY, "COMMIT"], self._timeout_s))

    async def change(self, effect: RunSchemaChange, misplaced: Callable[[ServerError], Awaitable[Reply]]) -> Reply:
        """`misplaced` says what is true where the guard failed; the writer's transaction is open then.

        Raises ServerError, ConnectionBroken."""
        async with self._session.lock:
            before = await self._fingerprint()
            async with self._writer.lock:
                try:
                    if await self._mark(effect, before):
                        return SchemaChanged((Executed(0, 0),))
                except ServerError as error:
                    return await misplaced(error)
            try:
                pinned = f"SET timestamp = {node_sql.seconds(effect.now_us)}"
                results = await self._session.run([pinned], self._timeout_s)
                results = await self._session.run([effect.sql], self._change_timeout_s)
            except ServerError as error:
                if await self._fingerprint() != before:
                    raise ConnectionBroken(f"it was refused and made all the same: {error}", sent=True) from error
                return SchemaChanged(outcome_of(error))
            return SchemaChanged((Executed(results[0].rows_affected, 0),))

    async def _mark(self, effect: RunSchemaChange, fingerprint: str) -> bool:
        """Note the change on the disk under the fence. True: it was noted before, and made."""
        results = await self._writer.run([node_sql.begin_change(effect), MARK], self._timeout_s)
        mark = Mark(*results[-1].rows[0])
        if mark.timestamp == effect.intent_timestamp:
            await self._writer.run(["ROLLBACK"], self._timeout_s)
            return mark.fingerprint != fingerprint
        note = node_sql.mark_change(effect.intent_timestamp, fingerprint)
        await self._writer.run([note, "COMMIT"], self._timeout_s)
        return False
