"""What the answers of the probes say about each node: latency, lag, health, and who is master.

Pure: time is an argument (the collector's monotonic clock). One `ClusterTracker` per collector.

Latency is smoothed (EWMA of medians of three) for choosing, with minimum and p99 (nearest rank) of a window of answers for
people. One answer alone counts for nothing: seen, a probe that was held up once for 0.3 s made SEER choose a node that was 20 ms
away for the next master. A probe without an answer adds no sample: a time-out's length says nothing about the node, and it shows
as `healthy: false`.

Lag has no common clock to be read from, so it is measured in what the collector saw: whenever the cluster's furthest
timestamp grows, the moment is noted. A node's lag is the time from the first of these moments that it had not reached
to its own probe.

Hard case: under steady writes no replica is ever seen level, because the master is asked first and has moved on. So the
lag is not "time since it was last level" (which would grow for ever), and it is computed at the node's probe, not
when somebody asks: otherwise a replica that was probed just before the master would look one probe interval behind.
Read so, it never blames a node for more than the truth; it can say up to one probe interval less.

Invariants: the furthest timestamp and the epoch only grow; no lag is negative; a node that stops answering keeps its
figures, but not its health.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from statistics import median_low

from metrics_contract import NodeMetrics

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One answer of a node to the probe."""

    epoch: int
    master: str
    """Empty before the first election."""
    committed_timestamp: int
    applied_timestamp: int
    applied_entries: int
    committed_entries: int
    """Entries up to the commit point that this node knows of; it may not have applied them all."""
    log_end_timestamp: int
    latency_ns: int
    uptime_s: float


class LatencyWindow:
    """The last `sample_count_max` latencies."""

    def __init__(self, *, sample_count_max: int, smoothing: float) -> None:
        self._samples_ns: deque[int] = deque(maxlen=sample_count_max)
        self._newest_ns: deque[int] = deque(maxlen=3)
        self._smoothing = smoothing
        self._smoothed_ns: float | None = None

    def add(self, latency_ns: int) -> None:
        self._samples_ns.append(latency_ns)
        self._newest_ns.append(latency_ns)
        middle_ns = median_low(self._newest_ns)
        # The first sample is the best guess there is; starting from 0 would flatter a new node for seconds.
        before = middle_ns if self._smoothed_ns is None else self._smoothed_ns
        self._smoothed_ns = before + self._smoothing * (middle_ns - before)

    @property
    def smoothed_ms(self) -> float | None:
        return None if self._smoothed_ns is None else self._smoothed_ns / _NS_PER_MS

    @property
    def min_ms(self) -> float | None:
        return min(self._samples_ns) / _NS_PER_MS if self._samples_ns else None

    @property
    def p99_ms(self) -> float | None:
        """Nearest rank: the smallest sample that at least 99 % of the samples do not exceed. Never interpolated."""
        if not self._samples_ns:
            return None
        return sorted(self._samples_ns)[(99 * len(self._samples_ns) + 99) // 100 - 1] / _NS_PER_MS


class ProgressHistory:
    """When the cluster's furthest timestamp was first seen at which value. Both columns only grow.

    Old steps are thinned, not dropped: a node that is down for hours still has to find its own. The gap between two
    steps may grow to a fixed fraction of their age, so any lag is right to that fraction (never above the truth), and a
    day at 20 steps a second takes about a thousand steps.
    """

    STEP_COUNT_BEFORE_THINNING = 4096
    AGE_PER_GAP = 64

    def __init__(self) -> None:
        self._steps: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def seen(self, timestamp: int, now_ns: int) -> None:
        if self._steps and timestamp <= self._steps[-1][0]:
            return
        if len(self._steps) >= self.STEP_COUNT_BEFORE_THINNING:
            self._thin(now_ns)
        self._steps.append((timestamp, now_ns))

    def _thin(self, now_ns: int) -> None:
        kept = self._steps[:1]
        for step, following in pairwise(self._steps[1:]):
            if (following[1] - kept[-1][1]) * self.AGE_PER_GAP > now_ns - following[1]:
                kept.append(step)
        self._steps = [*kept, self._steps[-1]]

    def behind_ns(self, applied_timestamp: int, now_ns: int) -> int:
        """Time since the cluster went past `applied_timestamp`; 0 if it has not."""
        index = bisect_right(self._steps, applied_timestamp, key=itemgetter(0))
        return 0 if index == len(self._steps) else max(0, now_ns - self._steps[index][1])


@dataclass(slots=True)
class _Node:
    latency: LatencyWindow
    reading: NodeReading | None = None
    answered_ns: int | None = None
    error: str | None = "not probed yet"
    lag_ns: int | None = None
    lag_entries: int | None = None


@dataclass(frozen=True, slots=True)
class MasterView:
    """What the highest epoch says."""

    master: str | None
    epoch: int


class ClusterTracker:
    """Everything known about all nodes."""

    def __init__(
        self, node_ids: Sequence[str], *, window_sample_count: int, smoothing: float, answer_age_ms_max: int
    ) -> None:
        self._nodes = {
            node_id: _Node(LatencyWindow(sample_count_max=window_sample_count, smoothing=smoothing))
            for node_id in node_ids
        }
        self._answer_age_ns_max = answer_age_ms_max * _NS_PER_MS
        self._progress = ProgressHistory()
        self._committed_entries = 0

    def answered(self, node_id: str, reading: NodeReading, now_ns: int) -> None:
        node = self._nodes[node_id]
        node.reading, node.answered_ns, node.error = reading, now_ns, None
        node.latency.add(reading.latency_ns)
        self._progress.seen(max(reading.applied_timestamp, reading.committed_timestamp), now_ns)
        # Applied implies committed, so either number of any node is a lower bound of what is committed.
        self._committed_entries = max(self._committed_entries, reading.applied_entries, reading.committed_entries)
        self._measure_lag(node, reading, now_ns)

    def failed(self, node_id: str, error: str, now_ns: int) -> None:
        """No answer. Its lag goes on growing: nothing shows that it has applied more than it last told."""
        node = self._nodes[node_id]
        node.error = error
        if node.reading is not None:
            self._measure_lag(node, node.reading, now_ns)

    def master_view(self) -> MasterView:
        """Old readings count too: an epoch only grows, so one that was read once is a lower bound for ever."""
        readings = [node.reading for node in self._nodes.values() if node.reading is not None]
        if not readings:
            return MasterView(None, 0)
        # Within an epoch the row that names a master is the later one, and then the one that knows a later commit.
        best = max(readings, key=lambda r: (r.epoch, r.master != "", r.committed_timestamp, r.master))
        return MasterView(best.master or None, best.epoch)

    def node(self, node_id: str, crash_count: int, now_ns: int) -> NodeMetrics:
        """KeyError for an unknown node."""
        node = self._nodes[node_id]
        reading = node.reading
        age_ns = None if node.answered_ns is None else max(0, now_ns - node.answered_ns)
        error = node.error
        if error is None and age_ns is not None and age_ns > self._answer_age_ns_max:
            # The probe itself hangs, or the whole collector was stopped and has just gone on.
            error = f"no probe has ended for {age_ns // _NS_PER_MS} ms"
        return NodeMetrics(
            id=node_id,
            healthy=error is None,
            latency_ms=_rounded(node.latency.smoothed_ms),
            latency_ms_min=_rounded(node.latency.min_ms),
            latency_ms_p99=_rounded(node.latency.p99_ms),
            lag_ms=None if node.lag_ns is None else round(node.lag_ns / _NS_PER_MS, 3),
            lag_entries=node.lag_entries,
            uptime_s=None if reading is None else round(reading.uptime_s, 3),
            crash_count=crash_count,
            epoch=None if reading is None else reading.epoch,
            is_master=self.master_view().master == node_id,
            applied_timestamp=None if reading is None else reading.applied_timestamp,
            committed_timestamp=None if reading is None else reading.committed_timestamp,
            log_end_timestamp=None if reading is None else reading.log_end_timestamp,
            last_probe_age_ms=None if age_ns is None else round(age_ns / _NS_PER_MS, 3),
            error=error,
        )

    def _measure_lag(self, node: _Node, reading: NodeReading, now_ns: int) -> None:
        node.lag_ns = self._progress.behind_ns(reading.applied_timestamp, now_ns)
        node.lag_entries = max(0, self._committed_entries - reading.applied_entries)


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 3)
