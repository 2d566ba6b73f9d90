"""A snapshot of one node's rows, to compare them with other nodes': over a connection and an account of its own.

The account `verifier` may read users' tables and how far the node has come (_replication.meta), and nothing else; a fence, which
ends the coordinators' connections where they hold its lock, leaves this one alone. It is opened by no fence: all that is
believed of the server behind it is read in the snapshot itself, its epoch and owner too (replication/verification.py).

Hard case: a snapshot keeps schema changes (and a full copy onto this node) waiting for the tables that were read in it. Whoever
has one closes it as soon as anything of that kind is to happen (verification_run.py).
"""

from adapters import checksum_sql
from adapters.mysql_session import ConnectionBroken, MySQLSession, StatementResult
from replication.effects import OpenSnapshot
from replication.replies import SnapshotOpened

ACCOUNT = "verifier"


class NodeChecksums:
    """The snapshot of one node, if one is open."""

    def __init__(self, host: str, port: int, password: str, *, connect_timeout_s: float, timeout_s: float) -> None:
        """`timeout_s` bounds a single question."""
        self._timeout_s = timeout_s
        setup = checksum_sql.SESSION.format(milliseconds=int(timeout_s * 1000))
        self._session = MySQLSession(host, port, ACCOUNT, password, setup=[setup], connect_timeout_s=connect_timeout_s)

    async def open(self, effect: OpenSnapshot) -> SnapshotOpened:
        """Raises ConnectionBroken, ServerError."""
        async with self._session.lock:
            self._session.close()
            await self._session.open()
            results = await self._session.run([checksum_sql.SNAPSHOT, checksum_sql.WHERE_IT_IS], self._timeout_s)
            epoch, owner, timestamp = results[1].rows[0]
            if (epoch, owner) != (effect.epoch, effect.owner):
                self._session.close()
                raise ConnectionBroken(f"its snapshot is of epoch {epoch}, of {owner or 'nobody'}", sent=False)
            if effect.timestamp not in (None, timestamp):
                self._session.close()
        return SnapshotOpened(timestamp)

    async def query(self, sql: str) -> StatementResult:
        """One question within the snapshot. Raises ConnectionBroken (it is gone), ServerError."""
        async with self._session.lock:
            # the server ends the statement itself; the margin is for its answer
            results = await self._session.run([sql], self._timeout_s + 1.0)
        return results[0]

    def close(self) -> None:
        self._session.close()
