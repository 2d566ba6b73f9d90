"""Cabinet: which replicas a write should wait for.

Decides a proposal: the N replicas with the greatest weight, weight = 1 / (latency + lag + 1) with both in ms and
N = ceil((replicas + 1) / 2), so 2 of 3. The short form of Cabinet (Zhang et al., PVLDB 18(5), section 4.1), which ranks
by the order of acknowledgements and lets the weights themselves decide.

Invariants:
- The answer is a function of the set of nodes: their order in the input changes nothing, equal weights go by node name.
- N counts all replicas, dead ones too. A majority of the living would shrink with every failure, until one replica
  alone was a "quorum" and two sides of a partition each had one.
- A proposal is never padded: with fewer usable replicas than N it is not satisfied, and says so.

The hard case is what a weight must not do. Taken as a vote, weights 0.5, 0.1, 0.1 let the first replica exceed half of
the sum alone, and one lost disk loses an acknowledged write (Cabinet's invariant I2). So weights order and counts
decide; the count that commits is the coordinator's, whatever is proposed here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metrics_contract import NodeMetrics
from node_measurement import NotRankableError, usable_figures

Operation = Literal["write", "read"]


class QuorumRequestError(ValueError):
    """The size asked for can never be a quorum of this cluster; the message says which sizes can."""


@dataclass(frozen=True)
class QuorumSelection:
    """`weights` and `excluded` together name every replica exactly once."""

    quorum: tuple[str, ...]
    quorum_size: int
    weights: Mapping[str, float]
    excluded: Mapping[str, str]
    reason: str

    @property
    def satisfied(self) -> bool:
        return len(self.quorum) == self.quorum_size


def write_quorum_size(replica_count: int) -> int:
    """N: with the master, which always holds the write, more than half of all nodes."""
    return math.ceil((replica_count + 1) / 2)


def weight(latency_ms: float, lag_ms: float) -> float:
    # the 1 keeps the weight of an ideal replica finite, and every weight within 0 to 1
    return 1 / (latency_ms + lag_ms + 1)


def select_quorum(
    nodes: Mapping[str, NodeMetrics], *, master: str, operation: Operation, quorum_size: int | None = None
) -> QuorumSelection:
    """Propose a quorum among all nodes but the master; `quorum_size` may ask for more than the rule, never for less."""
    replicas = sorted(name for name in nodes if name != master)
    size = _checked_size(operation, quorum_size, len(replicas))
    weights: dict[str, float] = {}
    excluded: dict[str, str] = {}
    for name in replicas:
        try:
            latency_ms, lag_ms = usable_figures(nodes[name], ("latency_ms", "lag_ms"))
        except NotRankableError as error:
            excluded[name] = str(error)
        else:
            weights[name] = weight(latency_ms, lag_ms)
    ranked = sorted(weights, key=lambda name: (-weights[name], name))
    quorum = tuple(ranked[:size])
    return QuorumSelection(
        quorum=quorum,
        quorum_size=size,
        weights={name: weights[name] for name in ranked},
        excluded=excluded,
        reason=_reason(operation, size, len(replicas), quorum, weights, excluded),
    )


def _checked_size(operation: Operation, asked: int | None, replica_count: int) -> int:
    size_min = write_quorum_size(replica_count) if operation == "write" else 1
    if asked is None:
        return size_min
    if not size_min <= asked <= replica_count:
        raise QuorumRequestError(
            f"quorum_size {asked} cannot be a {operation} quorum of {replica_count} replicas; "
            f"ask for {size_min} to {replica_count}, or leave it out"
        )
    return asked


def _reason(
    operation: Operation,
    size: int,
    replica_count: int,
    quorum: tuple[str, ...],
    weights: Mapping[str, float],
    excluded: Mapping[str, str],
) -> str:
    if len(quorum) < size:
        missing = (
            "; ".join(f"{name} is {cause}" for name, cause in excluded.items()) or "the cluster has no more replicas"
        )
        return (
            f"a {operation} quorum needs {size} of {replica_count} replicas and {len(quorum)} can be chosen: {missing}"
        )
    chosen = ", ".join(f"{name} ({weights[name]:.4g})" for name in quorum)
    return f"highest weight 1 / (latency_ms + lag_ms + 1), {size} of {replica_count} replicas: {chosen}"
