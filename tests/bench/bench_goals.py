"""Which goals the measured figures reach: each is a ratio of two medians of one run, so that a slow machine cancels out.

Growth and idleness are held against the project's own beginning, its settings and bare servers, measured in the same part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from results import HEALTHY, Key, Results, Summary, in_order, summaries

PROJECT, SINGLE, GROUP, GALERA, EMPTY = "project", "single", "gr", "galera", "empty-route"
SEMISYNC = "semisync-flushed"
"""The one whose promise is like ours, on the disks of two replicas. With its defaults one acknowledges what it may lose."""
PEER_TITLES = {SINGLE: "unreplicated", SEMISYNC: "semisync", GROUP: "Group Replication", GALERA: "Galera"}
INSERTS_A_SECOND = (
    (64, GROUP, 5.0),
    (64, SEMISYNC, 4.0),
    (64, GALERA, 1.25),
    (64, SINGLE, 0.5),
    (256, GROUP, 10.0),
    (256, GALERA, 2.0),
    (256, SINGLE, 0.75),
    (1, GROUP, 1.3),
)
GROWTH_RSS_MAX = 1.1
WINDOW_MB = 16.0
"""window_bytes_max of the replicator."""
LOG_BOUND_MB = 256.0
"""LOG_RETENTION_MB of the coordinator, which runs with its default here."""
LOG_SLACK_MB = 16.0
"""The log is cut every few seconds, and by whole rows."""
IDLE_MAX = 5.0

Relation = Literal[">=", "<="]


@dataclass(frozen=True)
class Goal:
    """`value` is None where something of it was not measured."""

    text: str
    value: float | None
    relation: Relation
    bound: float
    unit: str = "x"

    @property
    def is_reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.bound if self.relation == ">=" else self.value <= self.bound


def goals(results: Results) -> list[Goal]:
    loads = summaries(results.load)
    return [*_load_goals(loads), *_slow_goals(results), *_growth_goals(results), *_idle_goals(results)]


def _figure(loads: Mapping[Key, Summary], system: str, work: str, clients: int, what: str) -> float | None:
    summary = loads.get((system, work, clients, HEALTHY))
    return None if summary is None else float(getattr(summary, what).median)


def ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _load_goals(loads: Mapping[Key, Summary]) -> list[Goal]:
    def against(peer: str, work: str, clients: int, what: str) -> float | None:
        return ratio(_figure(loads, PROJECT, work, clients, what), _figure(loads, peer, work, clients, what))

    found = [
        Goal(
            f"INSERT, {clients} client{'s' if clients > 1 else ''}: of {PEER_TITLES[peer]}'s per second",
            against(peer, "insert", clients, "per_second"),
            ">=",
            bound,
        )
        for clients, peer, bound in INSERTS_A_SECOND
    ]
    return [
        *found,
        Goal("INSERT, 1 client: of unreplicated's median latency", against(SINGLE, "insert", 1, "p50_ms"), "<=", 4.0),
        Goal("INSERT, 64 clients: of Group Replication's p99", against(GROUP, "insert", 64, "p99_ms"), "<=", 0.2),
        Goal(
            "strong read by key, 64 clients: of an empty FastAPI route's per second",
            against(EMPTY, "read", 64, "per_second"),
            ">=",
            0.5,
        ),
    ]


def slow_ratios(results: Results, system: str) -> dict[str, float | None]:
    """By condition: how much is left of what the same system does while all is well."""
    slow = summaries(results.slow)
    conditions = in_order(row.condition for row in results.slow if row.condition != HEALTHY)
    sizes = in_order(f"{row.work} {row.clients}" for row in results.slow)
    if len(sizes) != 1:
        return {}
    work, clients = sizes[0].split()

    def per_second(condition: str) -> float | None:
        summary = slow.get((system, work, int(clients), condition))
        return None if summary is None else summary.per_second.median

    return {condition: ratio(per_second(condition), per_second(HEALTHY)) for condition in conditions}


def _slow_goals(results: Results) -> list[Goal]:
    found = slow_ratios(results, PROJECT) or {"slow": None}
    return [
        Goal(f"INSERT, one replica {condition}: of the project's own while all is well", value, ">=", 0.9)
        for condition, value in found.items()
    ]


def _growth_goals(results: Results) -> list[Goal]:
    stretches = results.growth
    writes = f"{stretches[-1].writes_so_far:,}" if stretches else "1,000,000"
    rate = memory = log = None
    if len(stretches) >= 2:
        rate = ratio(stretches[-1].per_second, stretches[0].per_second)
        # it keeps the newest part of the log: from then on it may grow no more
        full = [each.coordinator_rss_mb for each in stretches if max(each.log_payload_mb.values()) >= WINDOW_MB]
        memory = ratio(full[-1], full[0]) if len(full) >= 2 else None
        log = max(max(each.log_payload_mb.values()) for each in stretches)
    return [
        Goal(f"growth, {writes} writes: the last stretch's of the first's per second", rate, ">=", 0.9),
        Goal(
            f"growth, {writes} writes: the coordinator's memory, of that once its window of the log was full",
            memory,
            "<=",
            GROWTH_RSS_MAX,
        ),
        Goal("growth: the largest log of any node", log, "<=", LOG_BOUND_MB + LOG_SLACK_MB, "MB"),
    ]


def _idle_goals(results: Results) -> list[Goal]:
    used = None
    if results.idle:
        idle = results.idle[-1]
        used = sum(idle.services.values()) + idle.servers - idle.bare_servers
    return [Goal("idle: beyond what four idle servers use, of one core", used, "<=", IDLE_MAX, "%")]
