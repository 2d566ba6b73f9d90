"""Reads at one node: a small pool of connections; users' SELECTs under the account `reader`.

The second net under the parser: the account may only SELECT, and its transactions are read-only. Each statement is its own
transaction (autocommit), so each read sees what is committed at its moment; a connection left in an open snapshot would go
on showing the past.
"""

import asyncio
from collections.abc import Sequence

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult

SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"


class ConnectionIsNew(Exception):
    """The connection is younger than the leave to read here: the server behind it may not be the one that was looked at
    (it may have come back without its data). Ask for leave again."""


class RowsExceeded(Exception):
    """The result of statement number `place` has more rows than an answer may have."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class NodeReader:
    """Bounded pool; waiters are served in order."""

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        database: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        rows_max: int,
        connections_max: int,
        account: str = "reader",
    ) -> None:
        self._read_timeout_s = read_timeout_s
        self._rows_max = rows_max
        setup = [
            "SET SESSION autocommit = 1, transaction_read_only = 1, time_zone = '+00:00',"
            " transaction_isolation = 'REPEATABLE-READ',"
            f" max_execution_time = {int(read_timeout_s * 1000)}, sql_select_limit = {rows_max + 1},"
            " collation_connection = 'utf8mb4_0900_ai_ci'",
            f"USE `{database}`",
        ]
        self._idle = [
            MySQLSession(host, port, account, password, setup=setup, connect_timeout_s=connect_timeout_s)
            for _ in range(connections_max)
        ]
        self._free = asyncio.Semaphore(connections_max)

    async def read(self, texts: Sequence[str], leave_ns: int) -> list[StatementResult]:
        """Run the statements over a connection that is older than the leave, given at `leave_ns`. Several see one moment's rows.

        Raises ServerError (`place`: of the statement), ConnectionBroken, ConnectionIsNew, RowsExceeded."""
        async with self._free:
            session = self._idle.pop()  # the one used last: its connection is open
            try:
                if not session.is_open:
                    await session.open()
                if session.opened_ns > leave_ns:
                    raise ConnectionIsNew
                if len(texts) == 1:
                    # the server ends the statement itself; the margin is for its answer
                    results = await session.run(texts, self._read_timeout_s + 1.0)
                else:
                    results = await self._read_together(session, texts)
            finally:
                self._idle.append(session)
        for place, result in enumerate(results):
            if len(result.rows) > self._rows_max:
                raise RowsExceeded(f"the result has more than {self._rows_max} rows: add a LIMIT or a WHERE", place)
        return results

    async def _read_together(self, session: MySQLSession, texts: Sequence[str]) -> list[StatementResult]:
        """In one snapshot. The statements of a request have the time of one, together."""
        try:
            results = await session.run([SNAPSHOT, *texts, "COMMIT"], self._read_timeout_s + 1.0)
        except ServerError as error:
            await session.run(["ROLLBACK"], self._read_timeout_s)
            raise ServerError(error.errno, error.sqlstate, error.message, error.place - 1) from error
        return results[1:-1]

    def close(self) -> None:
        for session in self._idle:
            session.close()


__all__ = ["ConnectionBroken", "ConnectionIsNew", "NodeReader", "RowsExceeded", "ServerError"]
