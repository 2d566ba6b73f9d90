"""The coordinator's numbers as Prometheus' families: a mapping, made at every scrape. It decides nothing and keeps nothing.

Names are as https://prometheus.io/docs/practices/naming wants them: base units, `_total` for what only grows. What a name means
stands in its HELP; metrics-collector/observability/METRICS.md has them all.

Labels are bounded: kinds and outcomes are our own words, errnos are MySQL's, nodes and servers are those of the settings.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import status_view
from admission import Admission
from exposition import Labelled, counter, counters, gauge, gauges, histograms, states
from prometheus_client.metrics_core import Metric
from traffic import Traffic
from verifier import Verifier

from replication.election import ElectionStep
from replication.progress import NodeProgress, NodeState
from replication.replicator import Replicator
from replication.state import Phase

NODE = ("node",)


@dataclass(frozen=True)
class Sources:
    """Whose numbers they are."""

    traffic: Traffic
    admission: Admission
    replicator: Replicator
    timestamp_failures: Mapping[str, int]
    """Timestamp server -> calls of it that failed."""
    verifier: Verifier


class CoordinatorMetrics:
    def __init__(self, sources: Callable[[], Sources]) -> None:
        """`sources`: nothing is asked before the coordinator has started."""
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        sources = self._sources()
        yield from _requests(sources.traffic, sources.admission)
        yield from _batches(sources.traffic, sources.replicator)
        yield from _elections(sources.replicator)
        yield from _nodes(sources.replicator)
        yield from _log(sources.replicator)
        yield from _timestamps(sources.replicator, sources.timestamp_failures)
        yield from _verification(sources.verifier)


def _requests(traffic: Traffic, admission: Admission) -> Iterator[Metric]:
    yield counters(
        "dmysql_requests_total",
        "Requests with SQL by kind, and by outcome: ok, client_gone, or the kind of the error.",
        ("kind", "outcome"),
        traffic.requests.items(),
    )
    yield histograms(
        "dmysql_request_duration_seconds",
        "Time from the head of a request with SQL to its answer, by kind.",
        ("kind",),
        (((kind,), histogram) for kind, histogram in traffic.seconds.items()),
    )
    yield counters(
        "dmysql_refused_requests_total",
        "Requests that were refused with an errno of MySQL's, by the coordinator or by a server.",
        ("errno",),
        (((str(errno),), count) for errno, count in traffic.errnos.items()),
    )
    yield gauge("dmysql_requests_in_progress", "Requests with SQL that are under way.", admission.requests)
    yield gauge("dmysql_request_bytes_in_progress", "Bytes of the requests that are under way.", admission.bytes)


def _batches(traffic: Traffic, replicator: Replicator) -> Iterator[Metric]:
    writes = replicator.writes
    held = {
        "write": len(writes.waiting.requests),
        "schema change": len(writes.changes.pending),
        "read": replicator.reads.waiting,
    }
    yield gauges(
        "dmysql_held_requests",
        "Requests that wait: writes and schema changes for their turn or for a master, reads for their leave.",
        ("kind",),
        (((kind,), count) for kind, count in held.items()),
    )
    yield histograms(
        "dmysql_batch_requests",
        "Requests that the master executed in one transaction.",
        (),
        [((), traffic.batch_sizes)],
    )
    yield histograms(
        "dmysql_store_duration_seconds",
        "Time from sending rows to a node to its word that they are on its disk: what a quorum waits for.",
        NODE,
        (((node,), histogram) for node, histogram in traffic.store_seconds.items()),
    )
    change = writes.changes.open is not None
    yield gauge("dmysql_schema_change_open", "Whether a schema change holds up all other writes.", change)


def _elections(replicator: Replicator) -> Iterator[Metric]:
    state, election = replicator.state, replicator.election
    history = election.history
    last = next((record for record in reversed(history.records) if record.duration_ms is not None), None)
    steps = {} if last is None else {ElectionStep(step).name.lower(): ms for step, ms in last.step_ms.items()}
    yield counter("dmysql_elections_total", "Elections that began, the first one at the start.", history.begun)
    yield counter("dmysql_elections_won_total", "Elections that ended with a master.", history.won)
    yield counter("dmysql_election_attempts_total", "Epochs that elections asked the nodes for.", election.count)
    yield gauge(
        "dmysql_last_election_duration_seconds",
        "How long the last election that was won took.",
        None if last is None or last.duration_ms is None else last.duration_ms / 1000,
    )
    yield gauges(
        "dmysql_last_election_step_seconds",
        "How long each step of that election took, its attempts added up.",
        ("step",),
        (((step,), ms / 1000) for step, ms in steps.items()),
    )
    yield gauge("dmysql_epoch", "The epoch that this coordinator owns, or asks for.", state.epoch)
    yield states(
        "dmysql_phase",
        "What this coordinator is doing: 1 for the phase that it is in.",
        "phase",
        (phase.value for phase in Phase),
        state.phase.value,
    )
    writable, readable = status_view.why_not_writable(replicator), status_view.why_not_readable(replicator)
    yield gauge(
        "dmysql_writable", "Whether a write sent now could be committed: 0 where there is no quorum.", not writable
    )
    yield gauge("dmysql_readable", "Whether a strong read sent now could be answered.", not readable)


def _nodes(replicator: Replicator) -> Iterator[Metric]:
    state = replicator.state
    nodes = state.nodes.values()

    def of_each(value: Callable[[NodeProgress], float | None]) -> Labelled:
        told = ((node.name, value(node)) for node in nodes)
        return (((name,), number) for name, number in told if number is not None)

    def lag(node: NodeProgress) -> int | None:
        """Of one that is away nobody knows it."""
        return None if node.state is NodeState.AWAY else max(0, state.committed_timestamp - node.applied_timestamp)

    def staleness_s(node: NodeProgress) -> float | None:
        stale_ns = None if node.state is NodeState.AWAY else replicator.reads.staleness_ns(node)
        return None if stale_ns is None else stale_ns / 1e9

    yield gauges(
        "dmysql_node_state",
        "What each node is, as GET /status says it: 1 for the state that it is in.",
        ("node", "state"),
        (
            ((node.name, word), float(word == status_view.node_state(node, state)))
            for node in nodes
            for word in status_view.NODE_STATES
        ),
    )
    master = state.master if state.phase is Phase.SERVING else None
    yield gauges(
        "dmysql_node_master", "Whether the node is the master.", NODE, of_each(lambda node: node.name == master)
    )
    yield gauges("dmysql_node_member", "Whether the node counts for quorums.", NODE, of_each(lambda node: node.member))
    yield gauges(
        "dmysql_node_rows_differ",
        "Whether the node was set aside, or is in doubt, because its rows differ from the others'.",
        NODE,
        of_each(lambda node: bool(node.diverged) or node.dispute is not None),
    )
    yield gauges(
        "dmysql_node_applied_timestamp",
        "The last timestamp that the node is known to have applied.",
        NODE,
        of_each(lambda node: node.applied_timestamp),
    )
    yield gauges(
        "dmysql_node_lag_timestamps",
        "How far what the node has applied is behind what is committed, in timestamps, which have gaps.",
        NODE,
        of_each(lag),
    )
    yield gauges(
        "dmysql_node_staleness_seconds",
        "Whatever was acknowledged so long ago is applied on the node, known from the last confirmation of the epoch.",
        NODE,
        of_each(staleness_s),
    )
    yield gauges(
        "dmysql_node_reads_in_progress",
        "Reads of users' that are under way on the node.",
        NODE,
        of_each(lambda node: node.reads_under_way),
    )


def _log(replicator: Replicator) -> Iterator[Metric]:
    state = replicator.state
    begin = state.master_progress.log_begin.timestamp if state.master is not None else None
    end = state.window.end.position.timestamp
    yield gauge("dmysql_log_begin_timestamp", "The oldest timestamp in the master's log.", begin)
    yield gauge("dmysql_log_end_timestamp", "The newest timestamp in the log.", end)
    yield gauge("dmysql_committed_timestamp", "The newest timestamp that can never be lost.", state.committed_timestamp)
    yield gauge(
        "dmysql_log_size_bytes",
        "Payload that the master's log held when it was looked at last, every few seconds.",
        replicator.retention.log_bytes,
    )


def _timestamps(replicator: Replicator, failures: Mapping[str, int]) -> Iterator[Metric]:
    yield counters(
        "dmysql_timestamp_call_failures_total",
        "Calls of a timestamp server that failed.",
        ("server",),
        (((server,), count) for server, count in failures.items()),
    )
    stock = replicator.writes.waiting.timestamps.available
    yield gauge("dmysql_timestamps_in_stock", "Timestamps that were granted ahead and are not used yet.", stock)


def _verification(verifier: Verifier) -> Iterator[Metric]:
    last = verifier.last
    yield gauge("dmysql_verification_running", "Whether all nodes' rows are being compared.", verifier.is_running)
    yield states(
        "dmysql_last_verification_outcome",
        "What the last comparison of all nodes' rows found: all 0 before the first.",
        "outcome",
        ("equal", "differs", "incomplete"),
        None if last is None else last.outcome,
    )
    yield gauge(
        "dmysql_last_verification_differences",
        "Tables and ranges of keys that differed in the last comparison.",
        None if last is None else len(last.differences),
    )
    yield gauge(
        "dmysql_last_verification_rows",
        "Rows that the last comparison looked at, on each node.",
        None if last is None else last.rows,
    )
    yield gauge(
        "dmysql_last_verification_nodes_left_out",
        "Nodes that the last comparison did without.",
        None if last is None else len(last.left_out),
    )
    yield gauge(
        "dmysql_last_verification_duration_seconds",
        "How long the last comparison took.",
        None if last is None else last.duration_ms / 1000,
    )
    yield gauge(
        "dmysql_last_verification_end_timestamp_seconds",
        "When the last comparison ended, in seconds since 1970.",
        None if last is None else last.began_at_us / 1e6 + last.duration_ms / 1000,
    )
