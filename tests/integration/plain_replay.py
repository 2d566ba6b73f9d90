"""One plain MySQL that executes what the cluster's log holds, in its order, with the same pins: what the nodes must be equal to.

It is no node: no adapter, no fence, no batches. It gets the entries' texts over an ordinary connection, one transaction each, and
is as unlike a node as two_surroundings.py's second server: no plan of it may use a secondary index, and its counters are ahead.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pymysql
from cluster_handle import ClusterHandle
from one_mysql import DATABASE, OneMySQL

from adapters import node_sql
from replication.log import Batch, ChangeStep

_decode = msgspec.msgpack.Decoder(Batch).decode
IDS_AHEAD = 1000


@dataclass(frozen=True)
class Executed:
    """One statement of the log, entry or schema change."""

    timestamp: int
    sql: str
    pins: str
    rows_affected: int | None
    """None: a schema change."""


def executed_after(cluster: ClusterHandle, node: str, timestamp: int) -> list[Executed]:
    """What was executed behind `timestamp`, by the log on a node's own disk."""
    sql = f"SELECT last_timestamp, payload FROM _replication.log WHERE last_timestamp > {timestamp} ORDER BY last_timestamp"
    rows = cluster.rows_on(node, sql)
    return list(_executed((last_timestamp, _decode(payload)) for last_timestamp, payload in rows if payload))


def _executed(rows: Iterable[tuple[int, Batch]]) -> Iterator[Executed]:
    for last_timestamp, batch in rows:
        change = batch.change
        if change is not None and change.step is ChangeStep.DONE:
            yield Executed(last_timestamp, change.sql, f"SET timestamp = {node_sql.seconds(change.now_us)}", None)
        for entry in batch.entries:
            pins = node_sql.pins(entry.timestamp, entry.insert_id, entry.rand_seed)
            now = node_sql.seconds(batch.now_us)
            yield Executed(entry.timestamp, entry.sql, f"SET {pins}, timestamp = {now}", entry.rows_affected)


class PlainMySQL:
    """The server, and what differs there."""

    def __init__(self, server: OneMySQL) -> None:
        self._connection: Any = server.connect_root()
        for statement in (node_sql.SESSION, f"USE {DATABASE}"):
            self.ask(statement)

    def close(self) -> None:
        self._connection.close()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def execute(self, statement: Executed) -> str:
        """What went otherwise than on the master; empty: nothing."""
        self.ask(statement.pins)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement.sql)
                affected = cursor.rowcount
        except pymysql.MySQLError as error:
            self.ask("ROLLBACK")
            return f"at {statement.timestamp} {statement.sql} fails here only: {error}"
        self.ask("COMMIT")
        if statement.rows_affected is None:
            self._hide_indexes()
        elif affected != statement.rows_affected:
            return f"at {statement.timestamp} {statement.sql} changed {affected} rows here, {statement.rows_affected} there"
        return ""

    def _hide_indexes(self) -> None:
        hidden = self.ask(
            "SELECT DISTINCT table_name, index_name FROM information_schema.statistics WHERE table_schema = 'g'"
            " AND index_name <> 'PRIMARY' AND is_visible = 'YES'"
        )
        for table, index in hidden:
            self.ask(f"ALTER TABLE g.{table} ALTER INDEX {index} INVISIBLE")
        counted = self.ask(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'g' AND extra LIKE '%auto_increment%'"
        )
        for table, column in counted:
            ((last,),) = self.ask(f"SELECT COALESCE(MAX({column}), 0) FROM g.{table}")
            self.ask(f"ALTER TABLE g.{table} AUTO_INCREMENT = {last + IDS_AHEAD}")
