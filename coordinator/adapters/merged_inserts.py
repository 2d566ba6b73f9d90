"""Inserts that follow one another, executed as one statement with several rows: what a statement costs is then paid once. Pure.

An entry says by `row_at` that it may be (schema_merging.py tells when). A *run* of them needs besides: the same text up to the
row, ids that count up by one (or none), timestamps the same distance apart (0 in one request), and one row affected by each.
Then the statement leaves what its entries leave one after the other, and it fails if one of them would. Which one it was, only
they can tell: whoever executes a run that fails undoes it and executes its entries.
"""

from collections.abc import Sequence

import msgspec

from replication.log import Entry

PAUSE_BATCHES_MAX = 64
NO_STEP = -1


class Run(msgspec.Struct, frozen=True):
    entries: Sequence[Entry]
    step: int = 0
    """From the timestamp of one to that of the next."""

    @property
    def sql(self) -> str:
        first, *others = self.entries
        if not others:
            return first.sql
        return ", ".join([first.sql, *[entry.sql[entry.row_at :] for entry in others]])

    @property
    def rows_affected(self) -> int:
        return sum(entry.rows_affected for entry in self.entries)


def runs_of(entries: Sequence[Entry], merge_from: int = 0) -> list[Run]:
    """The entries in their order. In front of number `merge_from` each is a run of its own."""
    runs: list[Run] = []
    start = 0
    while start < len(entries):
        first = entries[start]
        end, step = start + 1, 0
        if first.row_at and first.rows_affected == 1 and start >= merge_from:
            end, step = _end_of_run(entries, start)
        runs.append(Run(entries[start:end], step))
        start = end
    return runs


def _end_of_run(entries: Sequence[Entry], start: int) -> tuple[int, int]:
    """(behind its last entry, step)"""
    previous = entries[start]
    row_at, head = previous.row_at, previous.sql[: previous.row_at]
    makes_ids, step = previous.insert_id != 0, NO_STEP
    for place in range(start + 1, len(entries)):
        entry = entries[place]
        distance = entry.timestamp - previous.timestamp
        if (
            entry.row_at != row_at
            or entry.rows_affected != 1
            or entry.insert_id != (previous.insert_id + 1 if makes_ids else 0)
            or step not in (NO_STEP, distance)
            or not entry.sql.startswith(head)
        ):
            return place, max(0, step)
        previous, step = entry, distance
    return len(entries), max(0, step)


class Merging:
    """Whether to try runs on the master, where any insert may fail: each failure makes one trip more and work for nothing.
    After a run that failed none are tried for a batch, then for two, and so on."""

    def __init__(self) -> None:
        self._pause = 0
        self._batches_left = 0

    def begins_batch(self) -> bool:
        """Whether this batch may have runs."""
        if self._batches_left:
            self._batches_left -= 1
            return False
        return True

    def went_well(self) -> None:
        self._pause = 0

    def failed(self) -> None:
        self._pause = min(PAUSE_BATCHES_MAX, 2 * self._pause or 1)
        self._batches_left = self._pause
