"""Cabinet's proposals as Prometheus' families: how many there were, and the last one for a write."""

from collections.abc import Iterable

from exposition import counters, gauges
from prometheus_client.metrics_core import Metric
from quorum_selection import Operation, QuorumSelection

PROPOSED = "proposed"
TOO_FEW = "too few usable replicas"


class CabinetMetrics:
    def __init__(self) -> None:
        self.answers = {PROPOSED: 0, TOO_FEW: 0}
        self.last: QuorumSelection | None = None

    def selected(self, operation: Operation, selection: QuorumSelection) -> None:
        self.answers[PROPOSED if selection.satisfied else TOO_FEW] += 1
        if operation == "write":
            self.last = selection

    def collect(self) -> Iterable[Metric]:
        yield counters(
            "dmysql_cabinet_answers_total",
            "Questions for a quorum, by what came of them.",
            ("outcome",),
            (((outcome,), count) for outcome, count in self.answers.items()),
        )
        last = self.last
        yield gauges(
            "dmysql_cabinet_weight",
            "1 / (latency + lag + 1), in ms, of each usable replica in the last answer for a write.",
            ("node",),
            () if last is None else (((node,), weight) for node, weight in last.weights.items()),
        )
        replicas = () if last is None else (*last.weights, *last.excluded)
        yield gauges(
            "dmysql_cabinet_in_quorum",
            "Whether the replica was proposed in the last answer for a write.",
            ("node",),
            (((node,), float(last is not None and node in last.quorum)) for node in replicas),
        )
