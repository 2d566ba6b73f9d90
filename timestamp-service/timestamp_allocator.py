"""Which numbers a timestamp server may hand out now, and when it must reserve more first.

Theory (Timestamp as a Service, PVLDB 17(5), server side): the server keeps two numbers, `last` in memory and
`reserved_until` on disk. A number may leave the server only if it is not above `reserved_until`, and a start begins
above the bound found on disk. So one durable write covers a whole window of numbers, and whatever was handed out before
a crash lies below everything handed out after it.

Invariant: last <= reserved_until <= bound on disk <= TIMESTAMP_MAX; numbers have the parity of their server; every
range starts above the range before it.

Hard case: a crash between the durable write and the hand-out. The disk is then ahead of the memory, the next start
skips the window, and the numbers in it stay unused for ever. Gaps are allowed, repetition is not, so the order is
always write first. The opposite order (hand out, then write) needs only one crash to repeat a number.

What this does not give: an order between the two servers. TaaS gets that from a majority of clock servers, and two
servers have none; here a caller passes `after`, the end of the log it writes to (see DESIGN.md).
"""

from dataclasses import dataclass

from timestamp_contract import SERVER_COUNT, STEP, TIMESTAMP_MAX


@dataclass(frozen=True, slots=True)
class TimestampRange:
    """The numbers first, first + STEP, ..., last: `count` of them."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class ReservationNeeded:
    """`reserve_until` must be on disk, and be reported by `reserved()`, before the request can be answered."""

    reserve_until: int


class TimestampsExhaustedError(Exception):
    """The request would go above TIMESTAMP_MAX."""


class AllocatorInvariantError(Exception):
    """The allocator contradicts itself. Nothing it would say next can be trusted: the process has to end."""


class TimestampAllocator:
    """One server's numbers. Not thread-safe: the caller serialises, and no method waits for anything."""

    __slots__ = ("_last", "_low_water_span", "_reserved_until", "_server_id", "_window_span")

    def __init__(self, *, server_id: int, durable_bound: int, window_count: int) -> None:
        if server_id not in range(1, SERVER_COUNT + 1):
            raise ValueError(f"server_id is {server_id}; it must be 1 or {SERVER_COUNT}")
        if window_count < 2:
            raise ValueError(f"window_count is {window_count}; it must be at least 2")
        if not 0 <= durable_bound <= TIMESTAMP_MAX:
            raise ValueError(f"durable_bound is {durable_bound}; it must be between 0 and {TIMESTAMP_MAX}")
        self._server_id = server_id
        # Numbers below the bound may have been handed out before the crash; nobody knows which, so none of them again.
        self._last = durable_bound
        self._reserved_until = durable_bound
        self._window_span = window_count * STEP
        # Half a window, not the paper's tenth: callers take numbers by the batch, and the disk's slow tail (15 ms) must
        # fit into what is left. It costs one more small write per window.
        self._low_water_span = self._window_span // 2

    @property
    def last(self) -> int:
        """Everything handed out from now on is greater."""
        return self._last

    @property
    def reserved_until(self) -> int:
        return self._reserved_until

    def allocate(self, count: int, after: int) -> TimestampRange | ReservationNeeded:
        """The next `count` numbers above `after`, or what must be reserved before they may be handed out.

        ReservationNeeded changes nothing: if the reservation fails, the request has not happened.
        """
        floor = max(self._last, after)
        first = floor + 1
        first += (first - self._server_id) % STEP
        last = first + STEP * (count - 1)
        if last > TIMESTAMP_MAX:
            raise TimestampsExhaustedError(
                f"{count} numbers above {floor} would go beyond the greatest timestamp, {TIMESTAMP_MAX}"
            )
        if last > self._reserved_until:
            return ReservationNeeded(self._window_above(last))
        self._check_invariants(floor, first, last)
        self._last = last
        return TimestampRange(first, last, count)

    def reservation_due(self) -> ReservationNeeded | None:
        """What to reserve in the background now, so that the next requests need not wait; None: enough is left."""
        if self._reserved_until - self._last >= self._low_water_span:
            return None
        reserve_until = self._window_above(self._last)
        return ReservationNeeded(reserve_until) if reserve_until > self._reserved_until else None

    def reserved(self, reserved_until: int) -> None:
        """The bound is on disk: numbers up to it may be handed out. Call it only after the folder's fsync."""
        if reserved_until < self._reserved_until:
            raise AllocatorInvariantError(
                f"reserved_until would go back from {self._reserved_until} to {reserved_until}"
            )
        self._reserved_until = reserved_until

    def _window_above(self, timestamp: int) -> int:
        return min(timestamp + self._window_span, TIMESTAMP_MAX)

    def _check_invariants(self, floor: int, first: int, last: int) -> None:
        """Runs before every hand-out, in production too: a wrong number cannot be taken back."""
        if not (self._last <= floor < first <= last <= self._reserved_until) or (first - self._server_id) % STEP:
            raise AllocatorInvariantError(
                f"server {self._server_id} would hand out {first}..{last} "
                f"(last={self._last}, floor={floor}, reserved_until={self._reserved_until})"
            )
