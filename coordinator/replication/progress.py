"""What the coordinator knows of each node (etcd-io/raft calls it progress): where its log ends and what it may be sent.

A node goes  AWAY -> FENCING -> MATCHING -> LEVEL, and back to AWAY whenever a command on it fails.
  AWAY       nothing is known; it is fenced again when `retry_at_ns` has come
  FENCING    a Fence is under way
  MATCHING   fenced in our epoch; the common point of its log and ours is being looked up
  LEVEL      its log is a prefix of ours, up to `log_end`: it can be sent rows
  BEHIND     fenced in our epoch, but the rows that it lacks are nowhere any more: it needs a full copy
  BARE       its server answers, but has no data at all: it needs a full copy
  COPYING    its data is being replaced by a copy of its donor's; then its server restarts, and it is AWAY
  DIVERGED   its rows differ from the other nodes' (divergence.py): its disk is told so, then it needs a full copy
  QUARANTINED  it applied something that the log does not have, or belongs to another cluster: never used

At most one storing command is under way on a node, so its state is known whenever the next is made.
"""

import enum

import msgspec

from replication.log import LOG_BEGIN, EntryName, Position
from replication.values import NOBODY, NodeStatus, copy_target


class NodeState(enum.Enum):
    AWAY = "away"
    FENCING = "fencing"
    MATCHING = "matching"
    LEVEL = "level"
    BEHIND = "behind"
    BARE = "bare"
    COPYING = "copying"
    DIVERGED = "diverged"
    QUARANTINED = "quarantined"


class Dispute(msgspec.Struct, frozen=True):
    """A node's rows and the others' cannot both be right: until that is decided it stores rows, but applies none."""

    evidence: str
    entry: EntryName = EntryName(0)
    """That has another result here."""
    rows_affected: int | None = None
    """Its result here; None: it failed here, or no single entry is to blame."""
    is_proven: bool = False
    """A majority has spoken: it is this node that is wrong."""

    @property
    def sentence(self) -> str:
        return f"its rows are in doubt: {self.evidence}"


class NodeProgress:
    """Mutable record of one node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = NodeState.AWAY
        self.reason = "not contacted yet"
        """Why it is away or quarantined: a sentence for people."""
        self.member = False
        """Counts for quorums. False for a node that has lost its data, until it is level and was not needed once."""
        self.promised_epoch = 0
        """The greatest epoch that it acknowledged to us. Never forgotten, whatever becomes of the connection."""
        self.taken_epoch = 0
        """The epoch of another coordinator that it was last seen in; it means something while it is greater than ours."""
        self.taken_at_ns = 0
        self.acknowledged_end = LOG_BEGIN
        """The end of its log as it last acknowledged it to us. Never forgotten either."""
        self.distrusted = False
        """It forgot what it acknowledged, and is still a member on its disk."""
        self.probation: Position | None = None
        """Not a member, but its log was level up to here: a batch after this, committed without it, makes it one."""
        self.log_end: Position | None = None
        """How far its log is ours."""
        self.disk_end: Position | None = None
        """Where its log ends on its disk: past `log_end` while it still has rows that lost an election."""
        self.log_begin = LOG_BEGIN
        """The oldest row that it still has, as far as we know."""
        self.applied_timestamp = 0
        self.donor: str | None = None
        """Of the copy under way."""
        self.dispute: Dispute | None = None
        self.diverged = ""
        """Why its rows are held to be wrong. Not forgotten until it has other rows."""
        self.copied_from = ""
        """Whose rows it was last given, until it is a member again."""
        self.filled_from = (0, 0)
        """When its log was found to be ours or its pace was looked at last, and what it had applied by then."""
        self.apply_limit: int | None = None
        """It applies nothing past this for the moment that it takes to open a snapshot (verification.py)."""
        self.copied_to_a_voter = False
        """It was a member when we began to copy to it, under our own fence, and was not seen with data since."""
        self.copy_note = ""
        """For whom copies of its data are meant, says its disk."""
        self.copy_note_is_ours = False
        """It was written since the node was fenced last: none that was sent before can take its place any more."""
        self.copy_failures = 0
        self.copy_at_ns = 0
        """Not before this is the next copy begun."""
        self.status: NodeStatus | None = None
        self.command: int | None = None
        """The storing command under way."""
        self.change_command: int | None = None
        """The schema change under way on it, beside which it goes on storing rows."""
        self.waits_for_change = 0
        """It can apply nothing more before it has executed this schema change; 0: none."""
        self.executed_change = 0
        """The schema change that it has executed last, where its outcome was not applied yet."""
        self.asked_ns = 0
        """When its last Fence was sent."""
        self.retry_at_ns = 0
        self.failures = 0
        """Since it last did what it was for: it may be fenced again and again, and store nothing, because its disk is full."""
        self.confirm_command: int | None = None
        self.truncate_command: int | None = None
        self.heard_ns = 0
        """When the newest question was sent over the fence's connections that its server has answered: it was there then."""
        self.reads_under_way = 0
        self.read_latency_ns = 0.0

    @property
    def fenced(self) -> bool:
        return self.state in (NodeState.MATCHING, NodeState.LEVEL, NodeState.BEHIND)

    @property
    def log_position(self) -> Position:
        """Where its log ended when it was fenced."""
        return self.status.log_end.position if self.status is not None else LOG_BEGIN

    @property
    def sound(self) -> bool:
        """Its log is ours, it counts, and nobody doubts its rows."""
        return self.state is NodeState.LEVEL and self.member and self.dispute is None

    @property
    def idle(self) -> bool:
        return self.command is None

    def take_status(self, status: NodeStatus, fenced_epoch: int, owner: str) -> None:
        """It was fenced into `fenced_epoch` and told its state as it was before: from here on we know it exactly.

        One that is behind what it acknowledged before came back with an old copy of its data (positions only grow: a dropped
        tail is followed by rows of a greater epoch in the same transaction). One whose data is another node's has promised
        nothing itself; unless it was copied there after this node's promises, with all that they were about: we (`owner`)
        remember that, or the donor's note, which was copied along, says so (copying.py).
        """
        is_ours = self.copied_to_a_voter and status.owner == owner
        is_noted = copy_target(status.copy_note) == self.name
        self.copied_to_a_voter = False
        forgot = (
            status.epoch < self.promised_epoch
            or status.log_end.position < self.acknowledged_end
            or not (status.node == self.name or is_ours or is_noted)
        )
        # one whose disk says that it is no member need not be told so again
        self.distrusted = bool(status.cluster_id) and (self.distrusted or forgot)
        self.promised_epoch = fenced_epoch
        self.taken_epoch = self.taken_at_ns = 0
        self.acknowledged_end = status.log_end.position
        self.status = status
        self.heard_ns = self.asked_ns
        self.state = NodeState.MATCHING
        self._judge_rows(status)
        self.reason = self.dispute.sentence if self.dispute is not None else ""
        self.member = bool(status.cluster_id) and not self.distrusted and not self.diverged
        self.apply_limit = None
        self.probation = None
        self.copy_note, self.copy_note_is_ours = status.copy_note, False
        self.log_end = None
        self.disk_end = status.log_end.position
        self.log_begin = status.log_begin
        self.applied_timestamp = status.applied_timestamp
        self.command = None
        self.forget_change()
        self.executed_change = status.executed_change

    def forget_change(self) -> None:
        """Whatever schema change was under way on it is not heard of any more."""
        self.change_command = None
        self.waits_for_change = self.executed_change = 0

    def _judge_rows(self, status: NodeStatus) -> None:
        """What we hold against its rows is gone with them: with a lost disk, or a copy of another's, unless that is as wrong."""
        if status.node == NOBODY:
            self.diverged = self.diverged or "its rows differ from the other nodes', as was written on its disk"
        elif status.node != self.name and not (self.copied_from and status.node == self.copied_from):
            self.diverged = ""
        dispute = self.dispute
        is_over = dispute is not None and 0 < dispute.entry.timestamp <= status.applied_timestamp
        if self.diverged or is_over or status.node != self.name:
            self.dispute = None

    def lose(self, reason: str, retry_at_ns: int) -> None:
        """Nothing is known of it any more."""
        self.state = NodeState.AWAY
        self.reason = reason
        self.command = None
        self.confirm_command = None
        self.truncate_command = None
        self.forget_change()
        self.donor = None
        self.log_end = None
        self.disk_end = None
        self.apply_limit = None
        self.failures += 1
        self.retry_at_ns = retry_at_ns

    def quarantine(self, reason: str) -> None:
        self.state = NodeState.QUARANTINED
        self.reason = reason
        self.command = None
        self.confirm_command = None
        self.truncate_command = None
        self.forget_change()
        self.member = False

    def set_aside(self) -> None:
        """Its rows are wrong: it is used for nothing until it has others."""
        self.state = NodeState.DIVERGED
        self.reason = self.diverged
        self.member = False
        self.command = None
        self.confirm_command = None
        self.truncate_command = None
        self.forget_change()
        self.dispute = None
        self.probation = None
        self.log_end = None
        self.apply_limit = None
        self.copied_to_a_voter = False

    def needs_copy(self, reason: str, *, bare: bool = False) -> None:
        """The log cannot fill it any more. While it waits it still counts as a voter, unless it is bare."""
        self.state = NodeState.BARE if bare else NodeState.BEHIND
        self.reason = reason
        self.command = None
        self.forget_change()
        self.log_end = None
        if bare:
            self.member = False
            self.status = None

    def level_at(self, position: Position, end: Position, now_ns: int) -> None:
        """Its log is ours up to `position`; what it has after that lost an election and is dropped with the next rows."""
        self.state = NodeState.LEVEL
        self.filled_from = (now_ns, self.applied_timestamp)
        self.log_end = position
        if position == end:
            self.failures = 0  # there is nothing that it could store

    def stored(self, log_end: Position, applied_timestamp: int) -> None:
        """A storing command succeeded."""
        self.failures = 0
        self.log_end = self.disk_end = self.acknowledged_end = log_end
        self.applied_timestamp = applied_timestamp

    def has(self, position: Position) -> bool:
        return self.state is NodeState.LEVEL and self.log_end is not None and self.log_end >= position


def common_point(status: NodeStatus, ours: frozenset[Position]) -> Position | None:
    """The last position of the node's unapplied tail that our log has too; None: it applied what we do not have."""
    for position in reversed(status.tail):
        if position in ours:
            return position
    return None


FIRST_GUESS_NS = 300_000
"""Latency of a read at a node that was not read at yet."""


def expected_ns(node: NodeProgress) -> tuple[float, str]:
    """How long one more read at `node` would take; ties by name."""
    return ((node.reads_under_way + 1) * (node.read_latency_ns or FIRST_GUESS_NS), node.name)
