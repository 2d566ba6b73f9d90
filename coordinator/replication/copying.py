"""Full copies: how a node is filled that the log cannot fill any more, because its rows were removed, or its data is gone.

MySQL's clone plugin copies another node's data while the cluster serves; then the server restarts with it (manual: "Cloning
Remote Data"). What the copy lacks by then comes from the log like everything else.

Invariants. A copy is no member by itself: its meta row names the donor, so whoever fences it first writes on its disk that it
belongs to nobody, and it counts only when it is level and a batch was committed without it. Its data is as good as the donor's;
what the node itself had promised is gone. But a copy to a voter keeps its vote: since it was begun, under the fence of whoever
began it, the node was bare and promised nothing, a copy is there whole or not at all, and it has the epoch that the node was
fenced into and every row that it had stored, exactly as if the rows had been sent one by one. (Without that, a node that was away
for long and one that lost its disk meanwhile would stop the cluster for good.) And a bare server is copied to only by who
serves: its copy helps no election.

Who has begun the copy remembers that; for everybody else it stands in a note on the donor's disk, written before the copy
begins, under the fence and the lock of the meta row, and copied along: "a copy of this is for replica-3". It is believed on the
node that it names alone, and stays true while other coordinators come and go: the donor's epoch and what is committed in its log
only grow, and a bare node promises nothing. What could make it untrue is a later copy to a node that has lost its vote meanwhile.
So every copy has its donor's note written anew first, for nobody where it has no vote; and a note is written only in the place
of the one that was there (each is another), so that one that comes late changes nothing. When the named node is level, the note
is taken back: only a copy by somebody's hand could still be mistaken, which is one node with an old copy, and outvoted like that.

Hard case: a coordinator that was frozen just before it sent the command. When it wakes, the node may be level in another's
epoch, and wiping it would be a lost disk. So the command goes over a connection that the fence opened, and every fence ends the
others' connections of that kind before it takes hold.

A copy that is cut short leaves a bare server: it answers, has no data, votes for nothing, and is copied to again.
"""

from replication.effects import CopyData, NoteCopy
from replication.progress import NodeProgress, NodeState
from replication.state import MILLISECOND_NS, Phase, ReplicationState
from replication.values import NodeStatus, copy_note, copy_target

PAUSE_NS = 1_000 * MILLISECOND_NS
PAUSE_NS_MAX = 60_000 * MILLISECOND_NS
DONOR_PATIENCE_NS = 10_000 * MILLISECOND_NS
"""How long the donor may be away: the plugin would wait 5 minutes for it, another donor need not be waited for."""
RESTART_NS = 120_000 * MILLISECOND_NS
"""How long a node may take from the end of its copy until it is level."""


class Copying:
    """Begins copies, and gives up those whose donor is gone."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._donor_seen_ns: dict[str, int] = {}
        """Node that is being filled -> when its donor was last there."""
        self._note: NoteCopy | None = None
        """The note that is being written."""
        self._noted_on: NodeStatus | None = None
        """What the donor told when it was fenced last: fenced again, it has told anew what its note is."""
        self._floors: dict[str, tuple[int, int]] = {}
        """Node that is being filled -> (what its data will hold at least, until when that is believed)."""

    def advance(self) -> None:
        """Begin what can begin: after every change of a node's state and whenever time has passed."""
        state = self._state
        if state.settled and not any(node.copy_note for node in state.nodes.values()):
            return  # after nearly every step
        for node in state.nodes.values():
            if node.state is NodeState.COPYING:
                self._watch_donor(node)
                self._hold_floor(node, self._floors[node.name][0])
            elif node.state is NodeState.LEVEL and not node.member:
                self._hold_floor(node, node.applied_timestamp)
            if node.copy_note and self._state.phase is Phase.SERVING:
                self._take_note_back(node)
        if any(node.state is NodeState.COPYING for node in state.nodes.values()):
            return  # one at a time: the others are needed
        wanting = [node for node in state.nodes.values() if self._may_begin(node)]
        # a voter first: it may be what a commit quorum lacks
        for node in sorted(wanting, key=lambda node: (not node.member, node.name)):
            donor = self._donor(node)
            if donor is not None:
                if self._is_noted(node, donor):
                    self._begin(node, donor)
                return

    def _may_begin(self, node: NodeProgress) -> bool:
        """A node that differs only when that stands on its disk: cut short before, it would be taken for sound again."""
        phase, due = self._state.phase, node.copy_at_ns <= self._state.now_ns
        if node.state is NodeState.BEHIND:
            return due and phase in (Phase.SERVING, Phase.ELECTING)
        is_marked = node.state is NodeState.DIVERGED and node.status is None
        return due and (node.state is NodeState.BARE or is_marked) and phase is Phase.SERVING

    def _donor(self, node: NodeProgress) -> NodeProgress | None:
        """A level member with all that the node had stored; rather not the master, which has enough to do; then the one that is
        furthest; then by name."""
        level = [other for other in self._state.nodes.values() if other.sound and other.has(node.acknowledged_end)]
        master = self._state.master
        return min(level, key=lambda other: (other.name == master, -other.applied_timestamp, other.name), default=None)

    # ------------------------------------------------------------------------------------------ the note

    def _is_noted(self, node: NodeProgress, donor: NodeProgress) -> bool:
        """Whether a copy of `donor` says truly whether it has `node`'s vote. If not, that is written first."""
        target = node.name if node.copied_to_a_voter or node.member else ""
        if donor.copy_note_is_ours and copy_target(donor.copy_note) == target:
            return True
        self._write_note(donor, target)
        return False

    def _write_note(self, donor: NodeProgress, target: str) -> None:
        state = self._state
        if self._note is not None and state.nodes[self._note.node].status is self._noted_on:
            return  # one at a time
        command = state.next_command()
        self._note = NoteCopy(
            donor.name, command, state.epoch, state.owner, donor.copy_note, copy_note(command, target)
        )
        self._noted_on = donor.status
        state.emit(self._note)

    def noted(self, command: int, *, written: bool) -> bool:
        """Whether `command` was the note under way, which is on the donor's disk now, or is not."""
        note = self._note
        if note is None or note.command != command:
            return False
        self._note = None
        donor = self._state.nodes[note.node]
        is_fenced_anew = donor.status is not self._noted_on
        if written and not is_fenced_anew:
            donor.copy_note, donor.copy_note_is_ours = note.note, True
        return not is_fenced_anew

    def _take_note_back(self, donor: NodeProgress) -> None:
        """The copy is over, and the node promises things of its own again."""
        target = self._state.nodes.get(copy_target(donor.copy_note))
        if target is not None and target.state is NodeState.LEVEL and donor.state is NodeState.LEVEL:
            self._write_note(donor, "")

    # ------------------------------------------------------------------------------------------ the copy

    def _begin(self, node: NodeProgress, donor: NodeProgress) -> None:
        state = self._state
        node.copied_to_a_voter = node.copied_to_a_voter or node.member
        node.state = NodeState.COPYING
        node.member = False
        node.status = None
        node.donor = node.copied_from = donor.name
        node.diverged = ""
        node.reason = f"a full copy of {donor.name}'s data is being made"
        node.command = state.next_command()
        pause = min(PAUSE_NS * 2 ** min(node.copy_failures, 6), PAUSE_NS_MAX)
        node.copy_failures += 1
        node.copy_at_ns = state.now_ns + pause
        self._donor_seen_ns[node.name] = state.now_ns
        self._hold_floor(node, donor.applied_timestamp)
        state.report("warning", f"{node.name}: {node.reason}")
        state.emit(CopyData(node.name, node.command, donor.name))

    def _watch_donor(self, node: NodeProgress) -> None:
        state = self._state
        assert node.donor is not None
        if state.nodes[node.donor].state is NodeState.LEVEL or state.phase is not Phase.SERVING:
            self._donor_seen_ns[node.name] = state.now_ns
        elif state.now_ns - self._donor_seen_ns[node.name] >= DONOR_PATIENCE_NS:
            state.lose_node(node, f"{node.donor} is away, of whose data it was to get a copy")

    def ended(self, node: NodeProgress) -> None:
        """The copy is complete and the server restarts: it is fenced as soon as it answers."""
        state = self._state
        state.report("info", f"{node.name} has a full copy of {node.donor}'s data and restarts")
        node.copy_failures = 0
        state.lose_node(node, f"it restarts with a copy of {node.donor}'s data")
        node.failures = 0
        node.retry_at_ns = state.now_ns + state.settings.retry_ns

    # ------------------------------------------------------------------------------------------ the log's floor

    def _hold_floor(self, node: NodeProgress, timestamp: int) -> None:
        self._floors[node.name] = (timestamp, self._state.now_ns + RESTART_NS)

    @property
    def floor_timestamp(self) -> int | None:
        """The log must not be truncated past this, or a node that is being filled would be behind again at once. A node that does
        not come back after its copy holds nothing up for long."""
        now_ns = self._state.now_ns
        return min((timestamp for timestamp, until_ns in self._floors.values() if until_ns > now_ns), default=None)

    @property
    def wake_at_ns(self) -> int | None:
        state = self._state
        if state.settled or state.phase not in (Phase.SERVING, Phase.ELECTING):
            return None
        wanting = (NodeState.BEHIND, NodeState.BARE, NodeState.DIVERGED)
        times = [node.copy_at_ns for node in state.nodes.values() if node.state in wanting]
        if any(node.state is NodeState.COPYING for node in state.nodes.values()):
            times = [state.now_ns + DONOR_PATIENCE_NS // 4]
        return min(times, default=None)
