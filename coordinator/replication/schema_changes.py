"""Schema changes: the one kind of write that cannot wait in an open transaction for its quorum (design section 7).

A CREATE, an ALTER, a DROP commits by itself, and MySQL has no undo. So a change takes two rows of the log:
  1. its intent is committed like any batch: from now on somebody will execute it, whoever dies
  2. the master alone executes it, while nothing else runs
  3. its outcome is committed, and the client is answered. DONE: everybody executes the change when that row is applied.
     FAILED: nobody ever does
What a node has executed is known after a crash: MySQL's data dictionary is changed whole or not at all, and the node notes
on its disk beforehand how it looked (adapters/node_schema.py).

Invariants. Nothing is executed whose intent is not committed. Between intent and outcome the log has nothing but no-ops, so
whoever executes the change does it on the same rows. FAILED is written only where no node can have executed it: MySQL's own word
about a statement is the same wherever the rows are; an error of the surroundings is no such word, and fails a change only in the
epoch of its intent, where nobody but this master was asked. Later on an earlier master may have executed it; then it fails only
where all nodes are there and say that they have not.

Hard case: the master dies in between. The next one finds the intent open (each row of the log says so), and executes it before
anything else. Reads wait for that: the old master may have shown what it had done.
"""

from collections import deque

from replication.batch_under_way import BatchUnderWay
from replication.effects import Acknowledge, Fail, ReadLog, Refuse, RunSchemaChange
from replication.log import ChangeStep, LogDamaged, SchemaChange, batch_of
from replication.progress import NodeProgress, NodeState
from replication.quorum import counted_replicas
from replication.reads import ReadPath
from replication.replies import LogRead
from replication.state import ReplicationState
from replication.timestamps import TimestampStock
from replication.values import Disturbed, Outcome, Rejected, Request

OUTLIVED = "another coordinator served meanwhile: nobody can tell whether the schema was changed"


def order_change(state: ReplicationState, node: NodeProgress, change: SchemaChange) -> None:
    """Tell a node to execute a change; whose turn that is, others decide."""
    node.change_command = state.next_command()
    state.emit(
        RunSchemaChange(
            node.name,
            node.change_command,
            epoch=state.epoch,
            owner=state.owner,
            applied_timestamp=node.applied_timestamp,
            intent_timestamp=change.intent_timestamp,
            now_us=change.now_us,
            sql=change.sql,
        )
    )


class OpenChange:
    """A committed intent that has no outcome yet."""

    def __init__(self, timestamp: int, epoch: int, change: SchemaChange | None, request: Request | None) -> None:
        self.timestamp = timestamp
        self.epoch = epoch
        """Of the intent's row; 0: not known, but not this one."""
        self.change = change
        """None: it has to be read from the log."""
        self.request = request
        """Whoever still waits for it."""
        self.outcome: Outcome | None = None
        """What the master said, while that is not committed."""


class SchemaChanges:
    """Schema changes from arrival to answer; the write path carries their rows."""

    def __init__(self, state: ReplicationState, reads: ReadPath) -> None:
        self._state = state
        self._reads = reads
        self.pending: deque[Request] = deque()
        self.open: OpenChange | None = None
        self._is_new_epoch = False
        self.read_command: int | None = None
        """The look at the intent's row under way."""

    @property
    def wait(self) -> bool:
        """Changes are to be made before all else that waits, or beside it."""
        return bool(self.pending) or self.open is not None

    # ------------------------------------------------------------------------------------------ rows

    def next_batch(self, timestamps: TimestampStock) -> BatchUnderWay | None:
        """An outcome's row, or else the next intent's, if there is one to write."""
        state, open_change = self._state, self.open
        if open_change is None:
            numbers = timestamps.take(1) if self.pending else []
            if not numbers:
                return None
            request = self.pending.popleft()
            state.schema_in_flux = True
            intent = SchemaChange(ChangeStep.INTENT, numbers[0], state.wall_us, request.statements[0].sql)
            return BatchUnderWay(((numbers[0], request),), state.wall_us, intent)
        if open_change.outcome is None or open_change.change is None:
            return None
        step = ChangeStep.DONE if isinstance(open_change.outcome, tuple) else ChangeStep.FAILED
        known = open_change.change
        batch = BatchUnderWay((), state.wall_us, SchemaChange(step, known.intent_timestamp, known.now_us, known.sql))
        batch.outcomes = (open_change.outcome,)
        return batch

    def committed(self, batch: BatchUnderWay) -> None:
        """A change's row is committed, in the epoch that wrote it."""
        if self.survived(batch):
            self._run()

    def survived(self, batch: BatchUnderWay) -> bool:
        """A change's row is committed. True: it is an intent, to be executed."""
        assert batch.change is not None
        assert batch.row is not None
        if batch.change.step is not ChangeStep.INTENT:
            self._settled(batch)
            return False
        waiting = batch.unanswered()
        self.open = OpenChange(batch.row.last_timestamp, batch.row.epoch, batch.change, waiting[0] if waiting else None)
        return True

    def _run(self) -> None:
        state, open_change = self._state, self.open
        assert open_change is not None
        assert open_change.change is not None
        master = state.master_progress
        state.schema_version += 1
        # from now on it may show what nobody has been told
        self._reads.master_may_be_ahead = True
        order_change(state, master, open_change.change)

    def executed(self, outcome: Outcome) -> str:
        """The master's word. Not empty: it cannot do it, and another master is to try."""
        assert self.open is not None
        is_first = self.open.epoch == self._state.epoch
        if isinstance(outcome, Disturbed) and not is_first and self._may_be_made_somewhere():
            return outcome.message
        self.open.outcome = outcome
        return ""

    def _may_be_made_somewhere(self) -> bool:
        """Whether a node has executed it, or is away and may have. (A fence has ended what was under way, and one that gets a
        copy has its donor's word.)"""
        assert self.open is not None
        for node in self._state.nodes.values():
            said_no = node.fenced and node.executed_change != self.open.timestamp
            if not said_no and node.state not in (NodeState.BARE, NodeState.COPYING):
                return True
        return False

    def _settled(self, batch: BatchUnderWay) -> None:
        """The outcome is committed: answer."""
        state, open_change = self._state, self.open
        assert batch.row is not None
        self.open = None
        self._is_free()
        if open_change is None or open_change.request is None:
            return
        request, outcome = open_change.request, batch.outcomes[0]
        if isinstance(outcome, tuple):
            timestamp, size = batch.row.last_timestamp, state.sizes.commit_replicas
            quorum = counted_replicas(batch.holders, state.preferred_quorum, size)
            state.emit(Acknowledge(request.request_id, timestamp, outcome, batch.master, quorum, size))
        elif isinstance(outcome, Rejected):
            state.emit(Refuse(request.request_id, outcome, batch.master))
        else:
            reason = f"the server could not do it: {outcome.message}"
            state.emit(Fail(request.request_id, committed=False, reason=reason, disturbance=outcome))

    def _is_free(self) -> None:
        self._state.schema_in_flux = False
        self._reads.waits_for_change = False

    # ------------------------------------------------------------------------------------------ epochs

    def take_back(self, batch: BatchUnderWay) -> None:
        """A change's row is nowhere: an intent is written again, an outcome is found out again."""
        self.pending.extendleft(reversed(batch.unanswered()))

    def interrupt(self) -> None:
        """The epoch ends: whatever the master was at is the next one's to do, or to find done."""
        self.read_command = None
        if self.open is not None:
            self.open.outcome = None

    def epoch_began(self) -> None:
        """A new epoch serves."""
        state = self._state
        self._is_new_epoch = True
        state.schema_version += 1
        self._reads.waits_for_change = state.window.end.open_change != 0

    def adopt(self) -> bool:
        """Take on what the last epoch left, once its held batch is settled. True: there is a change to be executed first."""
        if not self._is_new_epoch:
            return False
        self._is_new_epoch = False
        state, timestamp = self._state, self._state.window.end.open_change
        if self.open is not None and self.open.timestamp != timestamp:
            self._fail_open(OUTLIVED)
        if not timestamp:
            self._is_free()
            return False
        if self.open is None:
            self.open = OpenChange(timestamp, 0, None, None)
        state.schema_in_flux = True
        if self.open.change is None:
            self.read_command = state.next_command()
            state.emit(ReadLog(state.master_progress.name, self.read_command, timestamp - 1, 1))
        else:
            self._run()
        return True

    def intent_read(self, command: int, reply: LogRead) -> bool:
        """Whether `command` asked for the open intent. Raises LogDamaged where it is not there."""
        if command != self.read_command or self.open is None:
            return False
        self.read_command = None
        rows = [row for row in reply.rows if row.last_timestamp == self.open.timestamp]
        change = batch_of(rows[0]).change if rows else None
        if change is None:
            raise LogDamaged(f"the intent {self.open.timestamp} of a schema change is missing")
        self.open.change, self.open.epoch = change, rows[0].epoch
        self._run()
        return True

    def depose(self, reason: str) -> None:
        """Another coordinator owns the cluster."""
        while self.pending:
            self._state.emit(Fail(self.pending.popleft().request_id, committed=False, reason=reason))
        self._fail_open(reason)

    def _fail_open(self, reason: str) -> None:
        open_change, self.open = self.open, None
        if open_change is not None and open_change.request is not None:
            self._state.emit(Fail(open_change.request.request_id, committed=None, reason=reason))

    # ------------------------------------------------------------------------------------------ deadlines

    def expire(self) -> None:
        """Answer those whose deadline has passed. An open change goes on all the same."""
        state = self._state
        while self.pending and self.pending[0].deadline_ns <= state.now_ns:
            reason = "the schema change could not begin before the deadline; nothing was done"
            state.emit(Fail(self.pending.popleft().request_id, committed=False, reason=reason))
        waiting = self.open.request if self.open is not None else None
        if self.open is not None and waiting is not None and waiting.deadline_ns <= state.now_ns:
            self.open.request = None
            reason = "the deadline passed while the schema change was being executed; it goes on"
            state.emit(Fail(waiting.request_id, committed=None, reason=reason))

    @property
    def wake_at_ns(self) -> int | None:
        times = [self.pending[0].deadline_ns] if self.pending else []
        if self.open is not None and self.open.request is not None:
            times.append(self.open.request.deadline_ns)
        return min(times, default=None)
