"""What the live page shows, made from what the coordinator knows. It decides nothing.

Everything is made when somebody looks, and once for all who look; status_view.py has the part that `GET /status` answers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import status_view
from cabinet_contract import QuorumAnswer
from recent_writes import RecentWrites, server_of, turns_of
from seer_contract import LeaderAnswer
from traffic_history import Second, TrafficHistory

from replication.progress import NodeProgress, NodeState
from replication.replicator import Replicator
from replication.state import MILLISECOND_NS, Phase

ELECTIONS_MAX = 20
TIMESTAMPS_MAX = 60
TURNS_MAX = 20
ADVICE_STALE_NS = 5_000 * MILLISECOND_NS
"""A weight that is older is none: Cabinet is away."""
NUMBERS = (
    *("number", "writes", "reads", "failed", "refused"),
    *("write_ms_p50", "write_ms_p99", "read_ms_p50", "read_ms_p99"),
)
"""Fields of a second, and columns of the answer."""

Answer = dict[str, Any]


class Advice(Protocol):
    """What the advisers said last, and when, on the monotonic clock."""

    quorum: QuorumAnswer | None
    quorum_at_ns: int
    ranking: LeaderAnswer | None
    ranking_at_ns: int


class LiveView:
    """Of one coordinator."""

    def __init__(
        self,
        replicator: Replicator,
        advice: Advice,
        recent: RecentWrites,
        history: TrafficHistory,
        status: Callable[[], Answer],
    ) -> None:
        """`status`: the body of GET /status."""
        self._replicator = replicator
        self._advice = advice
        self._recent = recent
        self._history = history
        self._status = status

    def outline(self) -> tuple[object, ...]:
        """What nobody should wait to see: it is another one when something of it has changed."""
        state, election = self._replicator.state, self._replicator.election
        nodes = [(node.state, node.member, node.dispute is None) for node in state.nodes.values()]
        return state.phase, state.epoch, state.master, election.step, election.count, *nodes

    def state(self) -> Answer:
        """Body of a LiveState."""
        now_ns = time.monotonic_ns()
        state, recent = self._replicator.state, self._recent
        return {
            "now_us": time.time_ns() // 1000,
            "status": self._status(),
            "can_write": not status_view.why_not_writable(self._replicator),
            "step": self._replicator.election.step.value if state.phase is Phase.ELECTING else None,
            "nodes": {node.name: self._node(node) for node in state.nodes.values()},
            "cabinet": self._cabinet(now_ns),
            "seer": self._seer(now_ns),
            "batches": [
                {
                    "number": batch.number,
                    "age_ms": _age_ms(now_ns, batch.at_ns),
                    "master": batch.master,
                    "quorum": batch.quorum,
                    "writes": batch.writes,
                }
                for batch in recent.batches
            ],
            "timestamps": [
                {"timestamp": timestamp, "server": server_of(timestamp), "batch": batch}
                for timestamp, batch in [*recent.timestamps][-TIMESTAMPS_MAX:]
            ],
            "turns": msgspec.to_builtins(turns_of(timestamp for timestamp, _ in recent.timestamps)[-TURNS_MAX:]),
        }

    def _node(self, node: NodeProgress) -> Answer:
        replicator = self._replicator
        is_there = node.state is not NodeState.AWAY
        lag_ns = replicator.reads.staleness_ns(node) if is_there else None
        behind = replicator.state.committed_timestamp - node.applied_timestamp
        return {
            "epoch": node.promised_epoch,
            "behind": max(0, behind) if is_there else None,
            "lag_ms": None if lag_ns is None else round(lag_ns / 1e6, 1),
        }

    def _cabinet(self, now_ns: int) -> Answer | None:
        said = self._advice.quorum
        if said is None:
            return None
        return {
            "age_ms": _age_ms(now_ns, self._advice.quorum_at_ns),
            "quorum": said.quorum,
            "weights": said.weights,
            "excluded": said.excluded,
            "reason": said.reason,
        }

    def _seer(self, now_ns: int) -> Answer | None:
        said = self._advice.ranking
        if said is None:
            return None
        return {
            "age_ms": _age_ms(now_ns, self._advice.ranking_at_ns),
            "ranking": said.ranking,
            "scores": {name: scores.model_dump() for name, scores in said.scores.items()},
            "excluded": said.excluded,
            "reason": said.reason,
        }

    def elections(self) -> list[Answer]:
        """The newest, newest last."""
        built: list[Answer] = msgspec.to_builtins(self._replicator.election.history.records[-ELECTIONS_MAX:])
        return built

    def whole(self) -> Answer:
        """Body of a LiveAnswer, but for who looks."""
        return {"elections": self.elections(), "traffic": self.traffic(), "state": self.state()}

    # ------------------------------------------------------------------------------------------ traffic

    def sample(self, now_ns: int) -> None:
        """Once a second: note the traffic and the weights."""
        said, at_ns = self._advice.quorum, self._advice.quorum_at_ns
        is_fresh = said is not None and now_ns - at_ns < ADVICE_STALE_NS
        self._history.sample(now_ns, said.weights if said is not None and is_fresh else {})

    @property
    def newest_second(self) -> int:
        """Its number; 0: there is none."""
        return self._history.newest

    def traffic(self, after: int = 0) -> Answer:
        """Body of a LiveTraffic: the seconds after the one with this number."""
        return _columns(self._history.after(after), [node.name for node in self._replicator.state.nodes.values()])


def _columns(seconds: Sequence[Second], names: Sequence[str]) -> Answer:
    columns: Answer = {name: [getattr(second, name) for second in seconds] for name in NUMBERS}
    columns["weights"] = {name: [_rounded(second.weights, name) for second in seconds] for name in names}
    return columns


def _rounded(weights: Mapping[str, float], name: str) -> float | None:
    weight = weights.get(name)
    return None if weight is None else round(weight, 4)


def _age_ms(now_ns: int, at_ns: int) -> int:
    return max(0, (now_ns - at_ns) // MILLISECOND_NS)
