"""What the coordinator says of itself, made from the replicator's state. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from replication.progress import NodeProgress, NodeState
from replication.replicator import Replicator
from replication.state import Phase, ReplicationState

IN_DOUBT, CATCHING_UP, CHANGING_SCHEMA = "in doubt", "catching-up", "changing-schema"
NODE_STATES = (*(state.value for state in NodeState), IN_DOUBT, CATCHING_UP, CHANGING_SCHEMA)
"""What a node may be said to be. One that is level by its log is so only when it has applied it, too."""


def status(replicator: Replicator, original_master: str, timestamp_errors: Mapping[str, str]) -> dict[str, Any]:
    """Body of GET /status."""
    state, election = replicator.state, replicator.election
    master = state.master if state.phase is Phase.SERVING else None
    return {
        "current_master": master,
        "master_is_original": master == original_master,
        "replicas": [name for name in state.nodes if name != (master or original_master)],
        "phase": state.phase.value,
        "epoch": state.epoch,
        "cluster_id": state.cluster_id,
        "owner": state.owner,
        "committed_timestamp": state.committed_timestamp,
        "log_end_timestamp": state.window.end.position.timestamp,
        "waits_for": why_not_writable(replicator),
        "last_election": msgspec.to_builtins(election.history.last),
        "pending_writes": len(replicator.writes.waiting.requests) + len(replicator.writes.changes.pending),
        "schema_change": _schema_change(replicator),
        "quorum": {
            "replicas": state.sizes.commit_replicas,
            "commit": state.sizes.commit,
            "election": state.sizes.election,
            "preferred": list(state.preferred_quorum),
        },
        "nodes": {node.name: _node(node, node.name == master, state) for node in state.nodes.values()},
        "timestamp_service_errors": dict(timestamp_errors),
    }


def _schema_change(replicator: Replicator) -> dict[str, Any] | None:
    """The change whose outcome is not committed yet; it holds up all other writes."""
    open_change = replicator.writes.changes.open
    if open_change is None:
        return None
    return {"timestamp": open_change.timestamp, "sql": open_change.change.sql if open_change.change else ""}


def _node(node: NodeProgress, is_master: bool, state: ReplicationState) -> dict[str, Any]:
    return {
        "role": "master" if is_master else "replica",
        "state": _state_of(node, state),
        "reason": node.reason,
        "member": node.member,
        "log_begin_timestamp": node.log_begin.timestamp if node.fenced else None,
        "log_end_timestamp": node.log_end.timestamp if node.log_end else None,
        "applied_timestamp": node.applied_timestamp if node.state is not NodeState.AWAY else None,
    }


def _state_of(node: NodeProgress, state: ReplicationState) -> str:
    """The node's state; how far it has come, while it is behind or on trial."""
    word = node_state(node, state)
    if word == CATCHING_UP:
        return f"{word} {100 * node.applied_timestamp // max(1, state.committed_timestamp)} %"
    return word


def node_state(node: NodeProgress, state: ReplicationState) -> str:
    """One of NODE_STATES."""
    if node.state is not NodeState.LEVEL:
        return str(node.state.value)
    if node.dispute is not None:
        return IN_DOUBT
    if node.applied_timestamp < state.committed_before or not node.member:
        return CATCHING_UP
    return str(node.state.value) if node.change_command is None else CHANGING_SCHEMA


def _why_not_serving(replicator: Replicator) -> str:
    if replicator.state.phase is Phase.DEPOSED:
        return "another coordinator has taken over"
    return replicator.election.waits_for or "an election"


def why_not_writable(replicator: Replicator) -> str:
    """Empty: a write can be committed now."""
    state = replicator.state
    if state.phase is not Phase.SERVING:
        return _why_not_serving(replicator)
    level = [node.name for node in state.replicas if node.member and node.state is NodeState.LEVEL]
    if len(level) < state.sizes.commit_replicas:
        return f"a commit quorum: {len(level)} of {state.sizes.commit_replicas} replicas are level"
    stock = replicator.writes.waiting.timestamps
    if not stock.available and stock.retry_at_ns:
        return "the timestamp service"
    return ""


def why_not_readable(replicator: Replicator) -> str:
    """Empty: a strong read can be answered now."""
    state = replicator.state
    if state.phase is not Phase.SERVING:
        return _why_not_serving(replicator)
    if replicator.reads.waits_for_change:
        return "the master is making a schema change that an earlier one may have shown"
    answering = sum(node.fenced for node in state.nodes.values())
    if answering < state.sizes.confirmation:
        return f"nodes that confirm this coordinator: {answering} of {state.sizes.confirmation} answer"
    return ""
