"""What the demo's clients were told, and whether the nodes hold it. Pure.

A row's marker is unique, so the rows of a node can be held against the acknowledgements one by one. What a client was never told
(an answer that did not come) may be there or not; everything else is a broken promise if it differs, and gets a sentence.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

NAMED_MAX = 3
"""So many rows are named in a sentence, as examples."""
Row = tuple[str, int]
"""Marker and timestamp."""


@dataclass
class Tally:
    """Every answer of every client. Times are monotonic seconds; they only grow, since one loop writes them down."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    """Timestamp that the client was told, by marker."""
    answered_at_s: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    """Markers of writes that failed without a word on what became of them."""

    def acknowledge(self, marker: str, timestamp: int, *, sent_at_s: float, answered_at_s: float) -> None:
        self.acknowledged[marker] = timestamp
        self.answered_at_s.append(answered_at_s)
        self.took_s.append(answered_at_s - sent_at_s)

    def fail(self, marker: str, sentence: str, *, is_unknown: bool) -> None:
        self.failures.append(f"{marker}: {sentence}")
        if is_unknown:
            self.unknown.add(marker)

    def rate(self, now_s: float, over_s: float) -> float:
        """Acknowledgements a second, of the last `over_s`."""
        return (len(self.answered_at_s) - bisect_left(self.answered_at_s, now_s - over_s)) / over_s

    def slots(self, now_s: float, count: int, slot_s: float) -> list[int]:
        """Acknowledgements in each of the last `count` slots of time, the newest last."""
        edges = [bisect_left(self.answered_at_s, now_s - slot_s * place) for place in range(count, -1, -1)]
        return [end - begin for begin, end in pairwise(edges)]

    def p50_ms(self, newest: int = 1_000) -> float:
        """The median time of the newest acknowledged writes; 0 before the first."""
        times = sorted(self.took_s[-newest:])
        return 1e3 * times[len(times) // 2] if times else 0.0

    def longest_pause_s(self, from_s: float, to_s: float) -> float:
        """The longest time without an acknowledgement that reaches into this stretch of time. One that began before it counts
        from its beginning, one that lasts counts to `to_s`."""
        first = max(0, bisect_left(self.answered_at_s, from_s) - 1)
        times = self.answered_at_s[first : bisect_right(self.answered_at_s, to_s)]
        edges = [*times, to_s] if times else [from_s, to_s]
        return max(later - earlier for earlier, later in pairwise(edges))


@dataclass(frozen=True)
class Count:
    """The clients' acknowledgements beside the rows of every node."""

    acknowledged: int
    found: Mapping[str, int]
    """How many of the acknowledged writes each node has."""
    lost: int
    """Acknowledged writes that are missing on a node, be it one."""
    duplicates: int
    broken: Sequence[str]
    """A sentence for each promise that was not kept."""


def count(tally: Tally, rows_by_node: Mapping[str, Sequence[Row]]) -> Count:
    """Hold what was told against what is there, on every node."""
    told, found, lost, duplicates, broken = tally.acknowledged, {}, set[str](), 0, list[str]()
    for node, rows in rows_by_node.items():
        times = Counter(marker for marker, _ in rows)
        missing = told.keys() - times.keys()
        twice = {marker for marker, number in times.items() if number > 1}
        foreign = times.keys() - told.keys() - tally.unknown
        wrong = {marker for marker, timestamp in rows if told.get(marker, timestamp) != timestamp}
        found[node] = len(told) - len(missing)
        lost |= missing
        duplicates += len(twice)
        for markers, what in (
            (missing, "acknowledged writes that it lacks"),
            (twice, "rows that it has twice"),
            (foreign, "rows that no client was told of"),
            (wrong, "rows with another timestamp than their client was told"),
        ):
            if markers:
                broken.append(f"{node}: {len(markers):,} {what}: {examples(markers, told)}")
    if tally.failures:
        broken.append(f"{len(tally.failures):,} requests failed: {'; '.join(tally.failures[:NAMED_MAX])}")
    return Count(len(told), found, len(lost), duplicates, broken)


def examples(markers: Iterable[str], told: Mapping[str, int]) -> str:
    """The first few of them, with the timestamps that their clients were told."""
    ordered = sorted(markers, key=lambda marker: (told.get(marker, 0), marker))
    named = [f"{marker} (timestamp {told[marker]})" if marker in told else marker for marker in ordered[:NAMED_MAX]]
    return ", ".join(named) + (" …" if len(ordered) > NAMED_MAX else "")
