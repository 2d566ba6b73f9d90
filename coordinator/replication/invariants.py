"""What must hold after every step, in production as in simulation. A breach ends the process: no answer is better than
a wrong one, and a restarted coordinator takes over by election alone.
"""

from replication.batch_under_way import Stage
from replication.progress import NodeState
from replication.state import Phase, ReplicationState
from replication.write_path import WritePath


class InvariantViolated(Exception):
    """The protocol's own state contradicts itself; the message has the numbers."""


def check(state: ReplicationState, writes: WritePath) -> None:
    """Raise InvariantViolated unless everything that is always true is true. Cheap: a few comparisons a node."""
    end = state.window.end.position
    sizes = state.sizes
    if sizes.commit + sizes.election <= sizes.nodes or 2 * sizes.election <= sizes.nodes:
        raise InvariantViolated(f"quorums do not meet: commit {sizes.commit}, elect {sizes.election} of {sizes.nodes}")
    if state.phase is not Phase.ELECTING and state.committed_timestamp > end.timestamp:
        raise InvariantViolated(f"committed {state.committed_timestamp} is past the log's end {end}")
    if state.phase is Phase.SERVING:
        if state.master is None or end.epoch != state.epoch:
            raise InvariantViolated(f"serving epoch {state.epoch} with master {state.master} and log end {end}")
        for node in state.nodes.values():
            if node.state is not NodeState.LEVEL:
                continue
            if node.applied_timestamp > state.committed_timestamp:
                raise InvariantViolated(
                    f"{node.name} applied {node.applied_timestamp}, committed is {state.committed_timestamp}"
                )
            if node.apply_limit is not None and node.applied_timestamp > node.apply_limit:
                raise InvariantViolated(f"{node.name} applied {node.applied_timestamp}, past {node.apply_limit}")
            if node.log_end is not None and node.log_end > end:
                raise InvariantViolated(f"{node.name}'s log ends at {node.log_end}, ours at {end}")
    batch = writes.batch
    if batch is not None and batch.stage is Stage.COMMITTING:
        if batch.row is None or not batch.prepared:
            raise InvariantViolated("the master commits a batch without its row")
        if len(set(batch.holders) - {state.master}) < sizes.commit_replicas:
            raise InvariantViolated(f"the master commits {batch.row.position}, which only {batch.holders} have")
