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
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncmy
from asyncmy.errors import MySQLError

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
        self, statements: Sequence[str], timeout_s: float, into: list[StatementResult] | None = None
    ) -> list[StatementResult]:
        """Run the statements in one round trip. Results are added to `into` as they come, so a ServerError loses none.

        Raises ServerError (the statements behind it have not run) and ConnectionBroken.
        """
        results: list[StatementResult] = [] if into is None else into
        if self._connection is None:
            raise ConnectionBroken("the connection is closed", sent=False)
        first = len(results)
        try:
            async with asyncio.timeout(timeout_s):
                await self._exchange("; ".join(statements), results)
        except TimeoutError:
            self.close()
            raise ConnectionBroken(f"no answer within {timeout_s * 1000:.0f} ms", sent=True) from None
        except MySQLError as error:
            errno, message = _errno_and_message(error)
            if errno is None or CLIENT_ERRNO_FIRST <= errno <= CLIENT_ERRNO_LAST:
                self.close()
                raise ConnectionBroken(f"the connection broke: {message}", sent=True) from error
            sqlstate = str(error.sqlstate or "HY000")
            raise ServerError(errno, sqlstate, message, len(results) - first) from error
        except Exception as error:  # the client has no one error for bytes that make no sense
            self.close()
            raise ConnectionBroken(f"the connection broke: {_shown(error)}", sent=True) from error
        except BaseException:  # cancelled: the answer would be taken for the next question's
            self.close()
            raise
        return results

    async def _exchange(self, text: str, results: list[StatementResult]) -> None:
        """Without a cursor: on the same connection that took 80 µs of CPU for a packet of one statement and 105 for one of five,
        this takes 47 and 65. `_result` is what a cursor of the pinned version reads, too."""
        connection = self._connection
        await connection.query(text)
        while True:
            result = connection._result
            rows: Any = list(result.rows) if result.rows else ()
            results.append(StatementResult(result.affected_rows, result.insert_id or 0, columns_of(result), rows))
            if not result.has_next:
                return
            await connection.next_result()

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
