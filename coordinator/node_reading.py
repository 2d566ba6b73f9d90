"""Reading at whichever node the protocol gives leave for; anew, where the server behind its address turned out to be another."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import errors
from driver import Driver
from errors import QueryError

from adapters.mysql_session import ConnectionBroken, ResultExceeded, ServerError, StatementResult
from adapters.node_reader import ConnectionIsNew, NodeReader, StreamedResult
from adapters.outcomes import DISTURBANCES
from replication.effects import ReadAllowed, ReadRefused
from replication.values import ReadLevel, ReadNeed

RETRY_READ_S = 0.02
SHUTDOWN_ERRNO = 1053
CHANGED_ERRNO = 1412
"""A table was changed after the snapshot of several reads was opened."""
READ_DISTURBANCES = (DISTURBANCES | {SHUTDOWN_ERRNO, CHANGED_ERRNO}) - {errors.TIMED_OUT_ERRNO, 1290, 1792, 1836}
"""Not those that a write meets at a server that only reads: there the statement is what is wrong."""

Told = TypeVar("Told")


class NodeReading:
    """Reads under one account of the nodes."""

    def __init__(self, driver: Driver, readers: Mapping[str, NodeReader]) -> None:
        self._driver = driver
        self._readers = readers

    async def read(
        self, texts: Sequence[str], need: ReadNeed, deadline_ns: int
    ) -> tuple[ReadAllowed, list[StatementResult]]:
        """At one node, several at one moment. Raises QueryError."""
        return await self._where_allowed(
            need, deadline_ns, lambda reader, leave_ns: reader.read(texts, leave_ns), is_batch=len(texts) > 1
        )

    async def open_stream(self, text: str, need: ReadNeed, deadline_ns: int) -> tuple[ReadAllowed, StreamedResult]:
        """The rows of one statement as they come; what goes wrong later is `stream_error`'s to tell. Raises QueryError."""
        return await self._where_allowed(
            need, deadline_ns, lambda reader, leave_ns: reader.open_stream(text, leave_ns), is_batch=False
        )

    async def _where_allowed(
        self, need: ReadNeed, deadline_ns: int, do: Callable[[NodeReader, int], Awaitable[Told]], *, is_batch: bool
    ) -> tuple[ReadAllowed, Told]:
        while True:
            # leave is given between asking and waking up: only what is older than the first is surely older than it
            asked_ns = time.monotonic_ns()
            leave = await self._driver.read_leave(deadline_ns, need)
            if isinstance(leave, ReadRefused):
                raise errors.unavailable(leave.reason, False)
            started_ns = time.monotonic_ns()
            try:
                return leave, await do(self._readers[leave.node], min(asked_ns, leave.known_ns))
            except ServerError as error:
                with blaming(error.place if is_batch else None):
                    raise read_error(leave.node, error) from error
            except ResultExceeded as exceeded:
                with blaming(exceeded.place if is_batch else None):
                    raise errors.bad_request(413, str(exceeded)) from exceeded
            except ConnectionIsNew:
                if need.level is ReadLevel.STRONG:
                    continue  # the next leave rests on a newer answer
                if time.monotonic_ns() > deadline_ns:
                    raise errors.unavailable(
                        f"{leave.node} was not heard of since it was connected to", False
                    ) from None
            except ConnectionBroken as broken:
                if time.monotonic_ns() > deadline_ns:
                    raise errors.unavailable(f"{leave.node} does not answer: {broken}", False) from broken
            finally:
                self._driver.read_finished(leave.node, time.monotonic_ns() - started_ns)
            await asyncio.sleep(RETRY_READ_S)  # a moment for the protocol to notice, or to hear of the node again


@contextlib.contextmanager
def blaming(index: int | None) -> Iterator[None]:
    """Errors in here are this statement's of a batch."""
    try:
        yield
    except QueryError as error:
        error.statement_index = index
        raise


def read_error(node: str, error: ServerError) -> QueryError:
    """What MySQL said of the statement, or of itself: that is no fault of the request."""
    if error.errno in READ_DISTURBANCES:
        reason = f"{node} could not run it: {error.message}"
        return errors.unavailable(reason, False, error.errno, error.sqlstate)
    return errors.rejected(error.errno, error.sqlstate, error.message)


def stream_error(node: str, error: ServerError | ConnectionBroken) -> QueryError:
    """Of a result that had begun: nothing is tried again."""
    if isinstance(error, ServerError):
        return read_error(node, error)
    return errors.unavailable(f"{node} broke off: {error}", False)
