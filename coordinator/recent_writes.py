"""The newest committed writes, for the live page: their timestamps, the batch that each was in, whose disks were counted for it.

Noting is on the hot path, so it is a comparison and an append to a list with a bound.
"""

from collections import deque

import msgspec

from replication.effects import Acknowledge

TIMESTAMPS_MAX = 60
BATCHES_MAX = 20


class CommittedBatch(msgspec.Struct):
    """Mutable while its writes are acknowledged, all in one step."""

    number: int
    """Counts on by one since this process began."""
    at_ns: int
    """When it was known to be committed, on the monotonic clock."""
    master: str
    quorum: tuple[str, ...]
    """The replicas whose disks were counted."""
    writes: int = 0


class RecentWrites:
    """Newest last."""

    def __init__(self) -> None:
        self.timestamps: deque[tuple[int, int]] = deque(maxlen=TIMESTAMPS_MAX)
        """(timestamp, number of its batch)."""
        self.batches: deque[CommittedBatch] = deque(maxlen=BATCHES_MAX)
        self._last = CommittedBatch(0, 0, "", ())

    def acknowledged(self, answer: Acknowledge, step_ns: int) -> None:
        """`step_ns`: the time of the step; a batch is answered in one step, and a step answers one batch."""
        batch = self._last
        if batch.at_ns != step_ns:
            batch = self._last = CommittedBatch(batch.number + 1, step_ns, answer.master, answer.quorum)
            self.batches.append(batch)
        batch.writes += 1
        self.timestamps.append((answer.timestamp, batch.number))
