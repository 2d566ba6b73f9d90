"""The protocol's door: `step(event, now_ns, wall_us)` takes one event and returns the effects to be carried out, in order.

No clock, no network, no randomness: the same object runs in production and in simulation. The parts (`Election`, `WritePath`,
`ReadPath`, `Shipping`) share one `ReplicationState`; this module hands each event to the part that waits for it. What concerns
all of them, because a node is lost or is another coordinator's, is told by `Losses`.
"""

from collections.abc import Sequence

from replication import invariants
from replication.copying import Copying
from replication.divergence import Divergence, marked
from replication.effects import Effect
from replication.election import Election
from replication.events import (
    AdviceArrived,
    DifferenceFound,
    Event,
    NodeFailed,
    NodeReplied,
    PauseSkipped,
    ReadArrived,
    ReadFinished,
    SwitchoverRequested,
    TimestampsGranted,
    TimestampsRefused,
    VerificationRequested,
    Woken,
    WriteArrived,
)
from replication.log import EntryName, LogDamaged
from replication.losses import Losses
from replication.progress import NodeProgress, NodeState
from replication.reads import ReadPath
from replication.replies import (
    Admitted,
    Bare,
    BatchCommitted,
    BatchExecuted,
    BatchRolledBack,
    CopyEnded,
    CopyNoted,
    Diverged,
    EpochSeen,
    Fenced,
    LogGone,
    LogMeasured,
    LogRead,
    LogTruncated,
    Misplaced,
    Outbid,
    PositionsRead,
    Reply,
    RowPrepared,
    RowsStored,
    SchemaChanged,
    SnapshotOpened,
)
from replication.retention import Retention
from replication.shipping import Shipping
from replication.state import Phase, ReplicationSettings, ReplicationState
from replication.switchover import Switchover
from replication.values import Disturbed, Outcome, Rejected
from replication.verification import Verification
from replication.write_path import WritePath


class Replicator:
    """One coordinator's protocol state machine."""

    def __init__(
        self,
        node_names: Sequence[str],
        owner: str,
        new_cluster_id: str,
        settings: ReplicationSettings | None = None,
    ) -> None:
        """`owner` names this run of the coordinator and nothing else ever; `new_cluster_id` is used if there is no cluster."""
        self.state = ReplicationState(node_names, owner, new_cluster_id, settings or ReplicationSettings())
        self.shipping = Shipping(self.state)
        self.reads = ReadPath(self.state)
        self.writes = WritePath(self.state, self.shipping, self.reads)
        self.election = Election(self.state, self.shipping)
        self.verification = Verification(self.state, self.shipping)
        self.losses = Losses(self.state, self.writes, self.reads, self.election, self.verification)
        self.switchover = Switchover(self.state, self.writes, self.losses.elect)
        self.copying = Copying(self.state)
        self.retention = Retention(self.state, self.copying)
        self.divergence = Divergence(self.state, self.losses.lost)
        self.shipping.met_difference = self.divergence.met
        self._timed = (
            self.writes,
            self.reads,
            self.switchover,
            self.copying,
            self.retention,
            self.divergence,
            self.verification,
        )

    def step(self, event: Event, now_ns: int, wall_us: int) -> list[Effect]:
        """Take one event. `now_ns` is monotonic; `wall_us` (microseconds since 1970) is only what NOW() will show."""
        state = self.state
        state.now_ns = max(state.now_ns, now_ns)
        state.wall_us = max(state.wall_us, wall_us)
        if isinstance(event, WriteArrived):
            only_waits = self.writes.batch is not None
            self.writes.arrived(event.request)
            if only_waits:
                return state.take_effects()  # the most frequent step by far, and it has changed nothing else
        elif isinstance(event, NodeReplied):
            self._replied(state.nodes[event.node], event.command, event.reply)
            self._advance()
        elif isinstance(event, ReadArrived):
            self.reads.arrived(event)
        elif isinstance(event, ReadFinished):
            self.reads.finished(state.nodes[event.node], event.latency_ns)
        elif isinstance(event, TimestampsGranted):
            self.writes.granted(event.first, event.last, event.step)
        elif isinstance(event, TimestampsRefused):
            self.writes.waiting.refused()
        elif isinstance(event, NodeFailed):
            self._failed(state.nodes[event.node], event)
        elif isinstance(event, SwitchoverRequested):
            self.switchover.begin(event.target)
        elif isinstance(event, PauseSkipped):
            self.election.skip_pause()
        elif isinstance(event, VerificationRequested):
            self.verification.begin()
        elif isinstance(event, DifferenceFound):
            self.divergence.found(state.nodes[event.node], event.reason)
        elif isinstance(event, AdviceArrived):
            state.preferred_quorum, state.ranking = event.quorum, event.ranking
        else:
            self._woken(event)
        if self.election.taken_over_by and state.phase is Phase.ELECTING:
            self.losses.depose(self.election.taken_over_by)
        if self.divergence.advance():
            self.shipping.ship_all()
        self.reads.advance()
        self.switchover.advance()
        self.verification.advance()
        self.copying.advance()
        self.retention.advance()
        invariants.check(state, self.writes)
        return state.take_effects()

    # ------------------------------------------------------------------------------------------ time

    @property
    def wake_at_ns(self) -> int | None:
        """When `Woken` is due at the latest; None: only when something happens."""
        state = self.state
        times = [part.wake_at_ns for part in self._timed]
        if state.phase is Phase.SERVING:
            times.append(self.shipping.flush_at_ns)
        if not state.settled and state.phase in (Phase.ELECTING, Phase.SERVING):
            times += [node.retry_at_ns for node in state.nodes.values() if node.state is NodeState.AWAY]
        if state.phase is Phase.ELECTING:
            times.append(self.election.wake_at_ns)
        if state.phase is Phase.STARTING:
            times.append(state.now_ns)
        return min((time for time in times if time is not None), default=None)

    def _woken(self, _: Woken) -> None:
        state = self.state
        if state.phase is Phase.STARTING:
            self.election.begin("the coordinator starts")
            return
        state.note_committed()
        self.writes.expire()
        self.reads.expire()
        if state.phase is Phase.DEPOSED:
            return
        if state.phase is Phase.ELECTING:
            self.election.woken()
        elif state.phase is Phase.SERVING:
            self.losses.regain_taken()
        for node in state.nodes.values():
            if node.state is NodeState.AWAY and node.retry_at_ns <= state.now_ns:
                self.shipping.fence(node)
        self.reads.start_round()
        self.writes.start()
        self.shipping.ship_all()

    # ------------------------------------------------------------------------------------------ nodes

    def _replied(self, node: NodeProgress, command: int, reply: Reply) -> None:
        state = self.state
        if state.phase is Phase.DEPOSED:
            return
        if isinstance(reply, PositionsRead):
            if not self.writes.fate_read(command, reply):
                self.shipping.positions_read(command, reply)
            return
        if isinstance(reply, LogRead):
            if reply.rows and reply.rows[-1].epoch > state.epoch:
                # the node that we read from has rows of a later epoch: we are deposed and did not know it
                self.losses.outbid(node, reply.rows[-1].epoch, "another coordinator")
            else:
                self._log_read(node, command, reply)
            return
        if isinstance(reply, LogGone):
            self.shipping.log_gone(command, reply)
            if self.state.phase is Phase.ELECTING and state.nodes[state.master or node.name].state is NodeState.BEHIND:
                self.losses.elect(f"the log that {state.master} lacks was removed meanwhile")
            return
        if isinstance(reply, LogMeasured):
            self.retention.measured(command, reply)
            return
        if isinstance(reply, LogTruncated):
            self.retention.truncated(node, command, reply.log_begin)
            return
        if isinstance(reply, SnapshotOpened):
            self.verification.opened(command, reply)
            return
        if isinstance(reply, EpochSeen):
            if reply.epoch > state.epoch:
                self.losses.outbid(node, reply.epoch, reply.owner)
            else:
                self.reads.confirmed(node, command, reply)
            return
        if isinstance(reply, Outbid | Misplaced) and self.losses.is_outbid(reply.status.epoch, reply.status.owner):
            self.losses.outbid(node, reply.status.epoch, reply.status.owner)
            return
        if command == node.change_command:
            node.change_command = None
            self._change_ended(node, reply)
            return
        if self.copying.noted(command, written=isinstance(reply, CopyNoted)):
            if not isinstance(reply, CopyNoted):
                self.losses.lose(node, "its fence or its note of copies is not where it was left")
            return
        if node.command != command:
            return  # of an epoch or a connection that is over
        node.command = None
        self._finished(node, command, reply)

    def _finished(self, node: NodeProgress, command: int, reply: Reply) -> None:
        """The command under way on `node` ended well, or told that our picture of the node is wrong."""
        match reply:
            case Fenced():
                if self.state.phase is Phase.ELECTING:
                    self.election.fenced(node, reply)
                else:
                    node.take_status(reply.status, self.state.epoch, self.state.owner)
                    self.shipping.match(node)
            case Bare():
                node.needs_copy("its server has no data: it needs a full copy", bare=True)
                if self.state.phase is Phase.ELECTING:
                    self.election.consider()
            case CopyEnded():
                self.copying.ended(node)
            case RowsStored():
                node.stored(reply.log_end, reply.applied_timestamp)
                self.shipping.ship(node)
            case BatchExecuted():
                complaint = self.writes.lacks_space(reply)
                if complaint:
                    self.election.suspects.add(node.name)
                    self.losses.elect(f"{node.name} has no space left: {complaint}")
                else:
                    self.writes.executed(reply)
            case RowPrepared():
                self.writes.prepared()
            case BatchCommitted():
                self.writes.committed()
            case BatchRolledBack():
                self.writes.rolled_back()
            case Admitted():
                node.copy_note, node.copy_note_is_ours = "", False
                if self.election.admitted(command):
                    pass  # the election has taken it
                elif node.state is NodeState.MATCHING:
                    self.shipping.named(node)
                elif node.state is NodeState.DIVERGED:
                    marked(node)
                else:
                    node.member, node.probation, node.copied_from = True, None, ""
                    self.state.report("info", f"{node.name} is a member")
                    self.shipping.ship(node)
            case Diverged():
                self._diverged(node, reply)
            case Outbid() if reply.status.epoch == self.state.epoch and reply.status.owner != self.state.owner:
                # it can never join this epoch, so one above is needed
                self.state.lose_node(node, f"another coordinator fenced it into epoch {reply.status.epoch}")
                self.losses.elect(f"another coordinator fenced {node.name} into the same epoch")
            case Outbid() | Misplaced():
                # not a greater epoch, but not what we supposed either: look at it afresh
                self.losses.lose(node, "its log or its fence is not where it was left")
            case _:
                raise invariants.InvariantViolated(f"{node.name} answered {reply} to command {command}")

    def _change_ended(self, node: NodeProgress, reply: Reply) -> None:
        """The schema change under way on `node`: the master was asked first, the others are told."""
        if not isinstance(reply, SchemaChanged):
            self.losses.lose(node, "its log or its fence is not where it was left")
        elif self.state.phase is Phase.SERVING and node.name == self.state.master:
            complaint = self.writes.changes.executed(reply.outcome)
            if complaint:
                self.election.suspects.add(node.name)
                self.losses.elect(f"{node.name} cannot execute a schema change: {complaint}")
            else:
                self.writes.start()
        else:
            self._change_followed(node, reply.outcome)

    def _change_followed(self, node: NodeProgress, outcome: Outcome) -> None:
        match outcome:
            case Rejected():
                reason = f"a schema change that the master executed was refused: {outcome.message}"
                # who has applied anything behind the intent has executed it
                self._diverged(node, Diverged(reason, EntryName(node.waits_for_change + 1), None))
            case Disturbed():
                self.losses.lose(node, f"it cannot execute a schema change: {outcome.message}")
            case _:
                self.shipping.schema_changed(node)

    def _diverged(self, node: NodeProgress, reply: Diverged) -> None:
        self.divergence.met(node, reply)
        self.shipping.ship(node)

    def _advance(self) -> None:
        """A node may have what an election or a batch waits for: by storing it now, or found to have it already."""
        if self.state.phase is Phase.SERVING:
            self.writes.stored()
            self._try_newcomers()
        elif self.state.phase is Phase.ELECTING and self.election.stored():
            self.writes.serve()
            self.reads.serve()
            self._try_newcomers()

    def _try_newcomers(self) -> None:
        """Whoever is no member and has all rows. It need not have stored any just now: it may have been filled during the
        election, or have come back with a copy."""
        if self.state.settled:
            return
        for node in self.state.replicas:
            if node.state is NodeState.LEVEL and not node.member:
                self._newcomer_stored(node)

    def _log_read(self, source: NodeProgress, command: int, reply: LogRead) -> None:
        try:
            if not self.writes.changes.intent_read(command, reply):
                self.shipping.log_read(command, reply)
        except LogDamaged as damage:
            # its disk is wrong, and it may be the only one with rows that others lack: nothing goes on by itself
            source.quarantine(f"its log is damaged: {damage}")
            self.state.report("error", f"{source.name} is quarantined: its log is damaged: {damage}")
            self.losses.lost(source, source.reason)

    def _newcomer_stored(self, node: NodeProgress) -> None:
        end = self.state.window.end.position
        if node.probation is None and node.has(end):
            node.probation = end
            self.writes.start()
        self.writes.admit_newcomers()

    def _failed(self, node: NodeProgress, event: NodeFailed) -> None:
        if self.state.phase is Phase.DEPOSED:
            return
        is_lookup = self.shipping.lookup_failed(event.command, event.reason) or event.command in (
            self.writes.fate_command,
            self.writes.changes.read_command,
        )
        is_measure = self.retention.failed(event.command) or self.copying.noted(event.command, written=False)
        self.verification.failed(event.command, event.reason)
        if event.command == node.confirm_command and node.state in (NodeState.FENCING, NodeState.COPYING):
            # it was asked over an older connection: what is under way tells more
            node.confirm_command = None
            self.reads.node_lost(node.name)
            return
        next_batch = self.writes.next
        is_next = next_batch is not None and event.command == next_batch.command
        expected = (node.command, node.change_command, node.confirm_command, node.truncate_command)
        if is_lookup or is_measure or is_next or event.command in expected:
            self.losses.lose(node, event.reason)
