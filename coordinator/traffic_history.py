"""The traffic of the last five minutes, second by second, out of counters that only grow (traffic.py). Pure.

A sample is the difference to the one before. It is taken once a second whether somebody looks or not, since whoever looks wants
to see what was.

Hard case: the process was frozen, or had no turn for seconds. What happened meanwhile is in one sample: it is divided by the time
that it covers, and the seconds that have no sample of their own are missing, not zero. And a sample that is due right after one
that came late is left out: a rate over some milliseconds says nothing of a second.
"""

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec
from traffic import CLIENT_GONE, OK, SECONDS, Traffic, quantile

SECONDS_MAX = 300
SECOND_NS = 1_000_000_000
APART_S = 0.5
"""Between two samples at least."""
WRITES = ("write", "batch", "schema change")
"""Kinds of requests that are taken together. A batch is counted here although all its statements may be reads."""
READS = ("read",)
FAILURES = frozenset({"unavailable", "overloaded", "unforeseen", "timed_out"})
"""Outcomes that the cluster is to blame for. All others that are not a success are the client's: its statement, its token."""

Counts = list[int]


class Second(msgspec.Struct, frozen=True):
    """Rates a second, and latencies in ms; a latency is None where there was nothing to measure."""

    number: int
    """Seconds since the first sample."""
    writes: float
    reads: float
    failed: float
    """Requests that the cluster could not answer as it should."""
    refused: float
    """Requests that were wrong."""
    write_ms_p50: float | None
    write_ms_p99: float | None
    read_ms_p50: float | None
    read_ms_p99: float | None
    weights: dict[str, float]
    """Replica -> its weight as Cabinet last said; empty: it says nothing."""


class TrafficHistory:
    """Oldest first."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._seconds: deque[Second] = deque(maxlen=SECONDS_MAX)
        self._began_ns = 0
        self._sampled_ns = 0
        self._requests: dict[tuple[str, str], int] = {}
        self._counts: dict[str, Counts] = {}

    @property
    def newest(self) -> int:
        """Number of the newest second; 0: there is none."""
        return self._seconds[-1].number if self._seconds else 0

    def after(self, number: int) -> list[Second]:
        """Those after the one with this number; 0: all."""
        found: list[Second] = []
        for second in reversed(self._seconds):
            if second.number <= number:
                break
            found.append(second)
        return found[::-1]

    def sample(self, now_ns: int, weights: Mapping[str, float]) -> None:
        """Note what happened since the last call; the first one only begins."""
        first = not self._sampled_ns
        if first:
            self._began_ns = now_ns
        elapsed_s = (now_ns - self._sampled_ns) / SECOND_NS
        if elapsed_s < APART_S:
            return
        self._sampled_ns = now_ns
        requests, self._requests = self._requests, dict(self._traffic.requests)
        counts, self._counts = self._counts, {kind: list(each.counts) for kind, each in self._traffic.seconds.items()}
        if first:
            return
        done = {place: (count - requests.get(place, 0)) / elapsed_s for place, count in self._requests.items()}
        writes, reads = self._latencies(WRITES, counts), self._latencies(READS, counts)
        second = Second(
            number=max(self.newest + 1, round((now_ns - self._began_ns) / SECOND_NS)),
            writes=_sum(rate for (kind, outcome), rate in done.items() if kind in WRITES and outcome == OK),
            reads=_sum(rate for (kind, outcome), rate in done.items() if kind in READS and outcome == OK),
            failed=_sum(rate for (_, outcome), rate in done.items() if outcome in FAILURES),
            refused=_sum(rate for (_, outcome), rate in done.items() if outcome not in {OK, CLIENT_GONE, *FAILURES}),
            write_ms_p50=_ms(writes, 0.5),
            write_ms_p99=_ms(writes, 0.99),
            read_ms_p50=_ms(reads, 0.5),
            read_ms_p99=_ms(reads, 0.99),
            weights=dict(weights),
        )
        self._seconds.append(second)

    def _latencies(self, kinds: Iterable[str], before: Mapping[str, Counts]) -> Counts:
        """How many requests of these kinds took how long, since `before`."""
        total = [0] * (len(SECONDS) + 1)
        for kind in kinds:
            earlier = before.get(kind) or [0] * len(total)
            for place, count in enumerate(self._counts.get(kind, ())):
                total[place] += count - earlier[place]
        return total


def _sum(rates: Iterable[float]) -> float:
    return round(sum(rates), 1)


def _ms(counts: Counts, share: float) -> float | None:
    seconds = quantile(SECONDS, counts, share)
    return None if seconds is None else round(1000 * seconds, 3)
