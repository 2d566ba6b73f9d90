"""One MySQL connection that is either in a known state or closed.

A connection on which anything went wrong but an error that MySQL itself reported is closed and never used again: after a
time-out the old answer may still come, to the next question. PyMySQL blocks and would need a thread a node; asyncmy is
asyncio all the way and parses in C (coordinator/DESIGN.md has the figures).

Hard case: bytes that are not MySQL's (another server on the port, a broken proxy). The library then raises whatever its
parser stumbles over, from IndexError to SystemError, so every exception of an exchange means the same: the connection broke.
(Made-up bytes behind a true greeting were seen to crash that parser, and the process with it: a node's address is trusted.)
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import asyncmy
from asyncmy.errors import MySQLError

from adapters.paced_reading import PacedReading

CLIENT_ERRNO_FIRST, CLIENT_ERRNO_LAST = 2000, 2999
"""Errors that the client library makes up: the connection is gone."""


class ConnectionBroken(Exception):
    """No connection, or it broke. `sent` False: the command certainly did not reach the server."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class ServerError(Exception):
    """An error that MySQL reported; the connection is in order. `place`: which statement of the packet it was."""

    def __init__(self, errno: int, sqlstate: str, message: str, place: int) -> None:
        super().__init__(f"{errno} ({sqlstate}): {message}")
        self.errno = errno
        self.sqlstate = sqlstate
        self.message = message
        self.place = place


class ResultExceeded(Exception):
    """The result of statement number `place` is larger than it may be. The connection is closed."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class ResultBounds(NamedTuple):
    """How large the results of one packet may be, together: they are held in memory."""

    rows_max: int
    bytes_max: int
    """Of texts (a character counts as one) and binaries; other values count as 16."""


class Column(NamedTuple):
    """A column of a result set, as the server describes it."""

    name: str
    type_code: int
    flags: int = 0
    charset: int = 0


class StatementResult:
    """What one statement of a packet did."""

    __slots__ = ("columns", "insert_id", "rows", "rows_affected")

    def __init__(self, rows_affected: int, insert_id: int, columns: Sequence[Column] | None, rows: Any) -> None:
        self.rows_affected = rows_affected
        self.insert_id = insert_id
        self.columns = columns
        """None where the statement has no result set."""
        self.rows: Sequence[tuple[Any, ...]] = rows


class MySQLSession:
    """A connection, opened by `open` and by nothing else: behind a new one there may be another server.

    Not for concurrent use: its owner holds `lock` around each command.
    """

    def __init__(
        self, host: str, port: int, user: str, password: str, *, setup: Sequence[str], connect_timeout_s: float
    ) -> None:
        self._where = {"host": host, "port": port, "user": user, "password": password}
        self._setup = setup
        self._connect_timeout_s = connect_timeout_s
        self._connection: Any = None
        self.opened_ns = 0
        self.lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def thread_id(self) -> int | None:
        """The server's number of this connection."""
        return None if self._connection is None else int(self._connection.thread_id())

    async def run(
        self,
        statements: Sequence[str],
        timeout_s: float,
        into: list[StatementResult] | None = None,
        bounds: ResultBounds | None = None,
    ) -> list[StatementResult]:
        """Run the statements in one round trip. Results are added to `into` as they come, so a ServerError loses none.

        Raises ServerError (the statements behind it have not run), ConnectionBroken, and with `bounds` ResultExceeded.
        """
        results: list[StatementResult] = [] if into is None else into
        if self._connection is None:
            raise ConnectionBroken("the connection is closed", sent=False)
        first = len(results)
        try:
            async with asyncio.timeout(timeout_s):
                await self._exchange("; ".join(statements), results, bounds)
        except BaseException as error:
            meaning = self._meaning(error, timeout_s, len(results) - first)
            if meaning is error:
                raise
            raise meaning from error
        return results

    def _meaning(self, error: BaseException, timeout_s: float, place: int) -> BaseException:
        """Of what went wrong in an exchange. Unless MySQL itself said it, the connection is closed."""
        if isinstance(error, MySQLError):
            errno, message = _errno_and_message(error)
            if errno is not None and not CLIENT_ERRNO_FIRST <= errno <= CLIENT_ERRNO_LAST:
                return ServerError(errno, str(error.sqlstate or "HY000"), message, place)
        self.close()
        if isinstance(error, TimeoutError):
            return ConnectionBroken(f"no answer within {timeout_s * 1000:.0f} ms", sent=True)
        if isinstance(error, Exception) and not isinstance(error, ResultExceeded):
            # the client has no one error for bytes that make no sense
            shown = _errno_and_message(error)[1] if isinstance(error, MySQLError) else _shown(error)
            return ConnectionBroken(f"the connection broke: {shown}", sent=True)
        return error  # cancelled, say: the answer would be taken for the next question's

    async def _exchange(self, text: str, results: list[StatementResult], bounds: ResultBounds | None) -> None:
        """Without a cursor: on the same connection that took 80 µs of CPU for a packet of one statement and 105 for one of five,
        this takes 47 and 65. `_result` is what a cursor of the pinned version reads, too."""
        connection, is_bounded = self._connection, bounds is not None
        await connection.query(text, unbuffered=is_bounded)
        row_count = byte_count = 0
        while True:
            result = connection._result
            rows: Any = list(result.rows) if result.rows else ()
            if bounds is not None and result.description is not None:
                rows = []
                while part := await _next_rows(result):
                    rows += part
                    row_count += len(part)
                    byte_count += size_of(part)
                    if row_count > bounds.rows_max or byte_count > bounds.bytes_max:
                        raise ResultExceeded(_too_large(bounds, row_count), len(results))
            affected = len(rows) if is_bounded and result.description is not None else result.affected_rows
            results.append(StatementResult(affected, result.insert_id or 0, columns_of(result), rows))
            if not result.has_next:
                return
            await connection.next_result(unbuffered=is_bounded)

    async def start(self, statement: str, deadline: float) -> "RowStream":
        """Run one statement whose rows are taken as they come; nothing else is run here before its end. `deadline`: of all of
        it, by the event loop's clock. Raises ServerError, ConnectionBroken."""
        stream = RowStream(self, deadline)
        await stream.begin(statement)
        return stream

    async def open(self) -> None:
        """Connect and set the session up. Raises ConnectionBroken."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._connection = await asyncmy.connect(**self._where, charset="utf8mb4", autocommit=None)
                # not before: while it was being opened, the server may have been replaced
                self.opened_ns = time.monotonic_ns()
                for statement in self._setup:
                    async with self._connection.cursor() as cursor:
                        await cursor.execute(statement)
        except TimeoutError:
            self.close()
            reason = f"no connection within {self._connect_timeout_s * 1000:.0f} ms"
            raise ConnectionBroken(reason, sent=False) from None
        except Exception as error:  # the client has no one error for what may go wrong here
            self.close()
            raise ConnectionBroken(f"cannot connect: {_shown(error)}", sent=False) from error
        except BaseException:  # cancelled: the session is not set up
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection without a word; an open transaction on the server vanishes when the server notices."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class RowStream:
    """Rows of one statement as the server sends them. Give up by closing its session."""

    def __init__(self, session: MySQLSession, deadline: float) -> None:
        self._session = session
        self._connection = session._connection
        self._deadline = deadline
        self.columns: list[Column] = []

    async def begin(self, statement: str) -> None:
        if self._connection is None:
            raise ConnectionBroken("the connection is closed", sent=False)
        self._reading = PacedReading(self._connection._transport)
        await self._paced(self._connection.query(statement, unbuffered=True))
        self.columns = columns_of(self._connection._result) or []

    async def rows(self) -> list[tuple[Any, ...]]:
        """The next ones; none: that was all. Raises ServerError, ConnectionBroken.

        Between two calls nothing is read from the server: the library itself would keep all that comes.
        """
        part: list[tuple[Any, ...]] = await self._paced(_next_rows(self._connection._result))
        if not part:
            self._reading.end()
        return part

    async def _paced(self, reading: Awaitable[Any]) -> Any:
        self._reading.want()
        try:
            read = await self._bounded(reading)
        except ServerError:
            self._reading.end()  # the server has said its last word
            raise
        self._reading.enough()
        return read

    async def _bounded(self, reading: Awaitable[Any]) -> Any:
        loop = asyncio.get_running_loop()
        left_s = self._deadline - loop.time()
        try:
            async with asyncio.timeout_at(self._deadline):
                return await reading
        except BaseException as error:
            meaning = self._session._meaning(error, max(0.0, left_s), 0)
            if meaning is error:
                raise
            raise meaning from error


async def _next_rows(result: Any) -> list[tuple[Any, ...]]:
    """As many rows as have come, at least one; none: there are no more."""
    row = await result._read_rowdata_packet_unbuffered()
    return [] if row is None else [row, *result._take_pending_rows()]


_SIZED = (str, bytes)
"""A tuple: each read pays for it, and a union takes twice as long."""


def size_of(rows: Sequence[tuple[Any, ...]]) -> int:
    """As ResultBounds counts it."""
    size = 0
    for row in rows:
        for value in row:
            size += len(value) if isinstance(value, _SIZED) else 16
    return size


def _too_large(bounds: ResultBounds, row_count: int) -> str:
    if row_count > bounds.rows_max:
        return f"the result has more than {bounds.rows_max} rows: add a LIMIT or a WHERE, or ask for it as lines"
    return f"the result has more than {bounds.bytes_max} bytes: ask for fewer columns or rows, or for it as lines"


def columns_of(result: Any) -> list[Column] | None:
    if result.description is None:
        return None
    return [Column(field.name, field.type_code, field.flags, field.charsetnr) for field in result.fields]


def _shown(error: Exception) -> str:
    """For people. Neither MySQL's nor the network's: the parser's, whose kind says more than its text."""
    text = _errno_and_message(error)[1]
    return text if isinstance(error, MySQLError | OSError) else f"not MySQL's protocol ({type(error).__name__}: {text})"


def _errno_and_message(error: BaseException) -> tuple[int | None, str]:
    arguments = error.args
    if len(arguments) >= 2 and isinstance(arguments[0], int):
        return arguments[0], str(arguments[1])
    return None, str(error) or type(error).__name__
