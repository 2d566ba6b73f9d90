"""The collector's measurements as Prometheus' families. What each figure means stands in metrics_contract.py; here they are in
base units, and what was never measured has no sample."""

from collections.abc import Callable, Iterable, Mapping

from exposition import Labelled, counters, gauge, gauges
from metrics_contract import NodeMetrics
from prometheus_client.metrics_core import Metric

NODE = ("node",)


class CollectorMetrics:
    def __init__(self, nodes: Callable[[], Mapping[str, NodeMetrics]], is_durable: Callable[[], bool]) -> None:
        """`nodes`: each as last seen. `is_durable`: whether the counts of restarts would outlive the collector."""
        self._nodes = nodes
        self._is_durable = is_durable

    def collect(self) -> Iterable[Metric]:
        nodes = self._nodes()

        def of_each(value: Callable[[NodeMetrics], float | None], unit: float = 1) -> Labelled:
            told = ((name, value(node)) for name, node in nodes.items())
            return (((name,), number * unit) for name, number in told if number is not None)

        yield gauges(
            "dmysql_probe_healthy",
            "Whether the node answered its last probe in time, and not long ago.",
            NODE,
            of_each(lambda node: node.healthy),
        )
        yield gauges(
            "dmysql_probe_master",
            "Whether the node is the master, by the highest epoch that any node told.",
            NODE,
            of_each(lambda node: node.is_master),
        )
        yield gauges(
            "dmysql_probe_latency_seconds",
            "Time of one small SELECT on the node, smoothed.",
            NODE,
            of_each(lambda node: node.latency_ms, 0.001),
        )
        yield gauges(
            "dmysql_probe_latency_min_seconds",
            "The shortest of the last probes of the node.",
            NODE,
            of_each(lambda node: node.latency_ms_min, 0.001),
        )
        yield gauges(
            "dmysql_probe_latency_p99_seconds",
            "The 99th percentile of the last probes of the node.",
            NODE,
            of_each(lambda node: node.latency_ms_p99, 0.001),
        )
        yield gauges(
            "dmysql_probe_lag_seconds",
            "How long ago, at the node's last probe, the cluster went past what the node had applied.",
            NODE,
            of_each(lambda node: node.lag_ms, 0.001),
        )
        yield gauges(
            "dmysql_probe_lag_entries",
            "Entries that are known to be committed, and that the node had not applied.",
            NODE,
            of_each(lambda node: node.lag_entries),
        )
        yield gauges(
            "dmysql_probe_uptime_seconds",
            "Age of the node's server process at its last answer.",
            NODE,
            of_each(lambda node: node.uptime_s),
        )
        yield counters(
            "dmysql_probe_restarts_total",
            "Times the node's server was seen to have started anew; the count outlives the collector.",
            NODE,
            of_each(lambda node: node.crash_count),
        )
        yield gauges(
            "dmysql_probe_age_seconds",
            "Time since the node's last answer.",
            NODE,
            of_each(lambda node: node.last_probe_age_ms, 0.001),
        )
        yield gauges(
            "dmysql_probe_epoch",
            "The epoch that the node told.",
            NODE,
            of_each(lambda node: node.epoch),
        )
        yield gauge(
            "dmysql_probe_restarts_durable",
            "Whether the counts of restarts would outlive the collector.",
            self._is_durable(),
        )
