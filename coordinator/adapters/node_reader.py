"""Reads at one node: small pools of connections; users' SELECTs under the account `reader`.

The second net under the parser: the account may only SELECT, and its transactions are read-only. Each statement is its own
transaction (autocommit), so each read sees what is committed at its moment; a connection left in an open snapshot would go
on showing the past.

Whoever gives a read up (its task is cancelled) has it ended on the server, too.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from adapters.mysql_session import (
    Column,
    MySQLSession,
    ResultBounds,
    ResultExceeded,
    RowStream,
    ServerError,
    StatementResult,
)
from adapters.other_sessions import StatementEnder

SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
ANSWER_S = 1.0
"""The server ends a statement that takes too long itself; this is for its answer."""


class ConnectionIsNew(Exception):
    """The connection is younger than the leave to read here: the server behind it may not be the one that was looked at
    (it may have come back without its data). Ask for leave again."""


class Pool:
    """Waiters are served in order. The connection used last is used next: it is open."""

    def __init__(self, sessions: Iterable[MySQLSession]) -> None:
        self._idle = list(sessions)
        self._free = asyncio.Semaphore(len(self._idle))

    async def take(self) -> MySQLSession:
        await self._free.acquire()
        return self._idle.pop()

    def give_back(self, session: MySQLSession) -> None:
        self._idle.append(session)
        self._free.release()

    def close(self) -> None:
        for session in self._idle:
            session.close()


class NodeReader:
    """Reads under one account at one node."""

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        database: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        bounds: ResultBounds,
        connections_max: int,
        streams_max: int = 1,
        account: str = "reader",
    ) -> None:
        self._read_timeout_s = read_timeout_s
        self._bounds = bounds

        def sessions(count: int, rows_max: str) -> list[MySQLSession]:
            setup = [
                "SET SESSION autocommit = 1, transaction_read_only = 1, time_zone = '+00:00',"
                " transaction_isolation = 'REPEATABLE-READ',"
                f" max_execution_time = {int(read_timeout_s * 1000)}, sql_select_limit = {rows_max},"
                " collation_connection = 'utf8mb4_0900_ai_ci'",
                f"USE `{database}`",
            ]
            return [
                MySQLSession(host, port, account, password, setup=setup, connect_timeout_s=connect_timeout_s)
                for _ in range(count)
            ]

        # one row more than may be answered tells that there are more
        self._pool = Pool(sessions(connections_max, str(bounds.rows_max + 1)))
        self._stream_pool = Pool(sessions(streams_max, "DEFAULT"))
        self._ender = StatementEnder(sessions(1, "DEFAULT")[0], connect_timeout_s)

    async def read(self, texts: Sequence[str], leave_ns: int) -> list[StatementResult]:
        """Run the statements over a connection that is older than the leave, given at `leave_ns`. Several see one moment's rows.

        Raises ServerError and ResultExceeded (`place`: of the statement), ConnectionBroken, ConnectionIsNew."""
        session = await self._pool.take()
        try:
            await _make_ready(session, leave_ns)
            thread_id = session.thread_id
            try:
                if len(texts) > 1:
                    return await self._read_together(session, texts)
                return await session.run(texts, self._read_timeout_s + ANSWER_S, bounds=self._bounds)
            except (asyncio.CancelledError, ResultExceeded):
                self._ender.end(thread_id)
                raise
        finally:
            self._pool.give_back(session)

    async def _read_together(self, session: MySQLSession, texts: Sequence[str]) -> list[StatementResult]:
        """In one snapshot. The statements of a request have the time of one, together."""
        try:
            packet = [SNAPSHOT, *texts, "COMMIT"]
            results = await session.run(packet, self._read_timeout_s + ANSWER_S, bounds=self._bounds)
        except ServerError as error:
            await session.run(["ROLLBACK"], self._read_timeout_s)
            raise ServerError(error.errno, error.sqlstate, error.message, error.place - 1) from error
        except ResultExceeded as exceeded:
            raise ResultExceeded(str(exceeded), exceeded.place - 1) from exceeded
        return results[1:-1]

    async def open_stream(self, text: str, leave_ns: int) -> "StreamedResult":
        """The rows of one statement, as they come; close what this gives. Raises as `read` does, but for ResultExceeded."""
        session = await self._stream_pool.take()
        thread_id = None
        try:
            await _make_ready(session, leave_ns)
            thread_id = session.thread_id
            deadline = asyncio.get_running_loop().time() + self._read_timeout_s + ANSWER_S
            return StreamedResult(self, session, thread_id, await session.start(text, deadline))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._ender.end(thread_id)
            self._stream_pool.give_back(session)
            raise

    def stream_closed(self, session: MySQLSession, thread_id: int | None, *, is_complete: bool) -> None:
        if not is_complete:
            session.close()
            self._ender.end(thread_id)
        self._stream_pool.give_back(session)

    def close(self) -> None:
        self._pool.close()
        self._stream_pool.close()
        self._ender.close()


class StreamedResult:
    """A result whose rows are taken as they come."""

    def __init__(self, reader: NodeReader, session: MySQLSession, thread_id: int | None, stream: RowStream) -> None:
        self._reader = reader
        self._session = session
        self._thread_id = thread_id
        self._stream = stream
        self._is_complete = self._is_closed = False
        self.columns: Sequence[Column] = stream.columns

    async def rows(self) -> list[tuple[Any, ...]]:
        """The next ones; none: that was all. Raises ServerError, ConnectionBroken."""
        try:
            part = await self._stream.rows()
        except ServerError:
            self._is_complete = True  # the server has said its last word
            raise
        self._is_complete = not part
        return part

    def close(self) -> None:
        """Before its end: the server stops."""
        if not self._is_closed:
            self._is_closed = True
            self._reader.stream_closed(self._session, self._thread_id, is_complete=self._is_complete)


async def _make_ready(session: MySQLSession, leave_ns: int) -> None:
    if not session.is_open:
        await session.open()
    if session.opened_ns > leave_ns:
        raise ConnectionIsNew
