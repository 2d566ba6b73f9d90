"""What it means to all parts that a node is lost, or that it is in another coordinator's epoch.

Without its master the cluster elects; so it does in the middle of an election without whoever was to lead or to be copied from.
Any other node that is lost is only not waited for. A node in another's epoch is one more that is lost, until so many are that
no commit quorum is left to us: then we are *deposed*, and say so instead of trying again.

Hard case: one node in a later epoch proves little, because its owner may have died right after it fenced it. It never comes back
into ours, so when its owner did not take over for a while, we elect above that epoch.
"""

from replication.election import Election, ElectionStep
from replication.progress import NodeProgress, NodeState
from replication.reads import ReadPath
from replication.state import Phase, ReplicationState
from replication.verification import Verification
from replication.write_path import WritePath


class Losses:
    """Tells the parts, and begins the election where one is needed."""

    def __init__(
        self,
        state: ReplicationState,
        writes: WritePath,
        reads: ReadPath,
        election: Election,
        verification: Verification,
    ) -> None:
        self._state = state
        self._writes = writes
        self._reads = reads
        self._election = election
        self._verification = verification

    # ------------------------------------------------------------------------------------------ nodes

    def lose(self, node: NodeProgress, reason: str) -> None:
        """The node failed, or is not as we supposed: it is fenced again before it is used."""
        self._state.lose_node(node, reason)
        self.lost(node, reason)

    def lost(self, node: NodeProgress, reason: str) -> None:
        """The same where the node's own state says already why it is not to be used."""
        state = self._state
        self._reads.node_lost(node.name)
        if node.name in (state.master, state.source):
            self._election.suspects.add(node.name)
            self.elect(f"{node.name} failed: {reason}")
        elif state.phase is Phase.ELECTING and self._election.step is ElectionStep.FENCING:
            self._election.consider()
        elif state.phase is Phase.ELECTING and self._election.step is ElectionStep.ADMITTING:
            self.elect(f"{node.name} failed while the cluster was being founded: {reason}")

    # ------------------------------------------------------------------------------------------ epochs

    def elect(self, reason: str, preferred: str | None = None, *, above_all: bool = False) -> None:
        self._election.preferred = preferred
        self._writes.hold()
        self._reads.interrupt()
        self._verification.interrupt("the cluster elects")
        self._election.begin(reason, above_all=above_all)

    def is_outbid(self, epoch: int, owner: str) -> bool:
        """Whether a fence means that our epoch cannot be had, or is over.

        While electing, the same number in another's name is enough: two coordinators picked it, and neither may have it.
        """
        state = self._state
        same = state.phase is Phase.ELECTING and epoch == state.epoch and owner != state.owner
        return epoch > state.epoch or same

    def outbid(self, node: NodeProgress, epoch: int, owner: str) -> None:
        """The node is in another coordinator's epoch. One such node proves little: its owner may have died right after it, so
        we go on while a quorum is ours. When none can be, or one is the other's, we are deposed."""
        state = self._state
        node.command = None
        if state.phase is Phase.ELECTING:
            node.state = NodeState.AWAY
            node.confirm_command = None
            self._reads.node_lost(node.name)
            node.reason = f"it is in epoch {epoch}"
            node.retry_at_ns = state.now_ns + state.settings.retry_ns
            if epoch >= state.epoch:
                self._election.outbid(node.name, epoch, owner)
            if node.name in (state.master, state.source):
                self.elect(f"{node.name}, which was to lead, is in epoch {epoch} of another coordinator")
        elif state.phase is Phase.SERVING:
            state.epoch_seen = max(state.epoch_seen, epoch)
            node.taken_epoch = epoch
            taken = [other for other in state.nodes.values() if other.taken_epoch > state.epoch]
            if state.sizes.nodes - len(taken) < state.sizes.commit:
                self.depose(owner)
                return
            node.taken_at_ns = node.taken_at_ns or state.now_ns
            self.lose(node, f"it is in epoch {epoch} of another coordinator")

    def regain_taken(self) -> None:
        """A node is in an epoch whose owner did not take over: only an election above that brings it back."""
        state = self._state
        for node in state.nodes.values():
            if node.taken_epoch > state.epoch and state.now_ns - node.taken_at_ns >= state.settings.taken_patience_ns:
                reason = f"{node.name} is in epoch {node.taken_epoch} of a coordinator that did not take over"
                self.elect(reason, above_all=True)
                return

    def depose(self, owner: str) -> None:
        state = self._state
        state.report("error", f"deposed: {owner} has taken over in epoch {state.epoch_seen}")
        state.phase = Phase.DEPOSED
        self._writes.depose()
        self._reads.depose()
        self._verification.interrupt("another coordinator has taken over")
