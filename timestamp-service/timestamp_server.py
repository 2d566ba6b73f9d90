"""The shell around the allocator: at most one reservation on its way to the disk, and callers that wait for it in turn.

Invariant: the allocator learns of a bound only after `ReservationFile.reserve` has returned. The common request touches
memory only; the disk is written in a thread, in the background, when half of the window is used.

Hard case: requests that do not fit into what is reserved. The first takes the turn and waits for the disk; those that
come meanwhile queue behind it. Without a turn a large request could be overtaken for ever by small ones.
"""

import asyncio
import logging

import crash_point
import timestamp_points as points
from reservation_file import ReservationFile
from timestamp_allocator import ReservationNeeded, TimestampAllocator, TimestampRange

_log = logging.getLogger(__name__)


class ReservationFailedError(Exception):
    """The bound could not be made durable, so no number was handed out."""


class TimestampServer:
    """Hands out numbers on one event loop."""

    def __init__(self, allocator: TimestampAllocator, file: ReservationFile) -> None:
        self._allocator = allocator
        self._file = file
        self._turn = asyncio.Lock()
        self._extension: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self.grants = self.numbers_granted = 0
        """Calls that were given numbers, and how many numbers, since the start."""

    @property
    def last_timestamp(self) -> int:
        return self._allocator.last

    @property
    def reserved_until(self) -> int:
        return self._allocator.reserved_until

    @property
    def reservation_failure(self) -> str | None:
        """Why the last reservation failed; None if it did not."""
        if self._failure is None:
            return None
        return f"the bound cannot be written to the state folder: {self._failure}"

    async def start(self) -> None:
        """Reserve the first window. Nothing may be asked before: a server that cannot write must not look ready."""
        due = self._allocator.reservation_due()
        if due is not None:
            await self._extend(due)

    async def stop(self) -> None:
        """Wait for a reservation on its way, so that the folder's lock is not given back under it."""
        if self._extension is not None:
            await asyncio.wait({self._extension})

    async def take(self, count: int, after: int) -> TimestampRange:
        """The next `count` numbers above `after`. Raises ReservationFailedError or TimestampsExhaustedError."""
        if not self._turn.locked():
            outcome = self._allocator.allocate(count, after)
            if isinstance(outcome, TimestampRange):
                return self._granted(outcome)
        async with self._turn:
            while isinstance(outcome := self._allocator.allocate(count, after), ReservationNeeded):
                await self._extend(outcome)
            return self._granted(outcome)

    def _granted(self, numbers: TimestampRange) -> TimestampRange:
        self.grants += 1
        self.numbers_granted += numbers.count
        self._extend_in_background()
        return numbers

    def _extend_in_background(self) -> None:
        if self._extension is None and (due := self._allocator.reservation_due()) is not None:
            self._begin_extension(due)

    async def _extend(self, needed: ReservationNeeded) -> None:
        """Wait for the reservation on its way, or for one begun now. It may cover less than `needed`: ask again."""
        extension = self._extension or self._begin_extension(needed)
        # A caller who goes away must not stop the write that others wait for.
        await asyncio.wait({extension})
        if extension.exception() is not None:
            raise ReservationFailedError(self.reservation_failure) from extension.exception()

    def _begin_extension(self, needed: ReservationNeeded) -> asyncio.Task[None]:
        self._extension = asyncio.create_task(self._reserve(needed.reserve_until))
        self._extension.add_done_callback(self._end_extension)
        return self._extension

    async def _reserve(self, reserve_until: int) -> None:
        await asyncio.to_thread(self._file.reserve, reserve_until)
        crash_point.reach(points.LEARN)
        self._allocator.reserved(reserve_until)

    def _end_extension(self, extension: asyncio.Task[None]) -> None:
        self._extension = None
        failure = None if extension.cancelled() else extension.exception()
        if failure is not None and self._failure is None:
            _log.error("reservation failed; handing out stops at %d: %s", self.reserved_until, failure)
        self._failure = failure
