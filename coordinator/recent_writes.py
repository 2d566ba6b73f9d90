"""The newest committed writes, for the live page: their timestamps, the batch that each was in, whose disks were counted for it.

Noting is on the hot path, so it is a comparison and an append to a list with a bound.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from replication.effects import Acknowledge

TIMESTAMPS_MAX = 1_000
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


class Turn(msgspec.Struct):
    """Timestamps of one server that follow one another in the log. Numbers are granted in ranges, so they come in turns."""

    server: int
    """1 hands out odd numbers, 2 even ones."""
    first: int
    last: int
    count: int


def server_of(timestamp: int) -> int:
    return 2 - timestamp % 2


def turns_of(timestamps: Iterable[int]) -> list[Turn]:
    """In the same order."""
    turns: list[Turn] = []
    for timestamp in timestamps:
        if turns and turns[-1].server == server_of(timestamp):
            turns[-1].last = timestamp
            turns[-1].count += 1
        else:
            turns.append(Turn(server_of(timestamp), timestamp, timestamp, 1))
    return turns


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
