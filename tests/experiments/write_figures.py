"""What a stretch of writes was like, from the times at which they were acknowledged. Pure.

Invariant: every acknowledged write is counted in exactly one stretch, that in which it was answered. A write that was held
over the end of a stretch belongs to the next one, with all the time that it took.

Hard case: a stretch without any acknowledgement. It has a rate, 0, and a pause as long as itself, but no latency: None.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

NS_A_SECOND = 1_000_000_000


class Write(NamedTuple):
    """One acknowledged write, as its client saw it. Times of the monotonic clock."""

    answered_ns: int
    took_ns: int
    timestamp: int


@dataclass(frozen=True)
class Stretch:
    """The writes that were acknowledged between two moments."""

    writes: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    longest_pause_ms: float
    """Without any acknowledgement, the stretch's own ends included."""


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest rank: the least value that `share` (0 to 1) of all do not exceed. None: there are none."""
    ordered = sorted(values)
    # rounded: 0.55 times 20 is a little more than 11
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)] if ordered else None


def stretch(writes: Sequence[Write], began_ns: int, ended_ns: int) -> Stretch:
    """Of the writes that were acknowledged from `began_ns` on and before `ended_ns`."""
    inside = [write for write in writes if began_ns <= write.answered_ns < ended_ns]
    took_ms = [write.took_ns / 1e6 for write in inside]
    times = [began_ns, *sorted(write.answered_ns for write in inside), ended_ns]
    return Stretch(
        writes=len(inside),
        per_second=len(inside) / (ended_ns - began_ns) * NS_A_SECOND,
        p50_ms=percentile(took_ms, 0.50),
        p99_ms=percentile(took_ms, 0.99),
        longest_pause_ms=max(later - earlier for earlier, later in pairwise(times)) / 1e6,
    )


def rates(writes: Sequence[Write], began_ns: int, ended_ns: int, width_ns: int) -> list[float]:
    """Acknowledgements a second in each `width_ns` between the two moments; what is left over at the end is left out."""
    counts = [0] * ((ended_ns - began_ns) // width_ns)
    for write in writes:
        place = (write.answered_ns - began_ns) // width_ns
        if 0 <= place < len(counts):
            counts[place] += 1
    return [count / width_ns * NS_A_SECOND for count in counts]
