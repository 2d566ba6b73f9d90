"""The write path: group commit on the master, rows to the replicas, the master's COMMIT last (design section 4).

One batch is under way at a time; writes that arrive meanwhile form the next, which is sent to the master right behind the
COMMIT of this one. A batch goes
  EXECUTING   the master runs the requests in an open transaction
  STORING     the row goes to all replicas, and into the master's transaction
  COMMITTING  a commit quorum has the row: the master commits, and then the batch is committed and answered
  UNDOING     nothing is to be kept: the master rolls back

The master commits last because MySQL has no undo: a commit that nobody else has would be a phantom after a failover,
while an open transaction vanishes with its connection, and an appended row that lost an election is dropped unapplied.

The next batch has nothing anywhere before its own transaction: where the COMMIT in front of it fails, its requests wait again.

Hard case: the master fails with the row already on some replicas. Whether it is committed is then the election's to
decide: the batch is *held*; once a new master serves, its log tells: there (answer the recorded results) or not (run again).
"""

from replication.batch_under_way import BatchUnderWay, Stage
from replication.disk_space import DiskSpace
from replication.effects import (
    Acknowledge,
    Admit,
    CommitBatch,
    ExecuteBatch,
    Fail,
    PrepareRow,
    ReadPositions,
    Refuse,
    RollBackBatch,
)
from replication.log import Batch, ChangeStep, Entry, LogRow, next_row
from replication.quorum import counted_replicas
from replication.reads import ReadPath
from replication.replies import BatchExecuted, PositionsRead
from replication.schema_changes import SchemaChanges
from replication.shipping import Shipping
from replication.state import Phase, ReplicationState
from replication.values import Disturbed, Executed, Rejected, Request, RequestStatement
from replication.waiting_writes import WaitingWrites


class WritePath:
    """Writes from arrival to answer."""

    def __init__(self, state: ReplicationState, shipping: Shipping, reads: ReadPath) -> None:
        self._state = state
        self._shipping = shipping
        self._reads = reads
        self.changes = SchemaChanges(state, reads)
        self.waiting = WaitingWrites(state)
        self.batch: BatchUnderWay | None = None
        self.next: BatchUnderWay | None = None
        """Sent to the master behind the COMMIT of `batch`, over the same connection, which keeps their order."""
        self.held: BatchUnderWay | None = None
        self.fate_command: int | None = None
        """The look-up of the held batch under way."""
        self.paused = False
        """No new batch begins: a switchover waits for the last one."""
        self._writes_first = False
        """The last batch was a schema change's: what waits beside the next change goes before it."""
        self._disk_space = DiskSpace()

    # ------------------------------------------------------------------------------------------ arrive

    def arrived(self, request: Request) -> None:
        state = self._state
        if state.phase is Phase.DEPOSED:
            state.emit(Fail(request.request_id, committed=False, reason=self.deposed_reason))
        elif len(self.waiting.requests) + len(self.changes.pending) >= state.settings.pending_max:
            state.emit(Fail(request.request_id, committed=False, reason="too many writes are waiting"))
        else:
            (self.changes.pending if request.changes_schema else self.waiting.requests).append(request)
            if self.batch is None:
                self.start()

    deposed_reason = "another coordinator has taken over: send the request there"

    # ------------------------------------------------------------------------------------------ execute

    def start(self) -> None:
        """Form the next batch if the way is free."""
        state = self._state
        if state.phase is not Phase.SERVING or self.batch is not None or self.held is not None:
            return
        if self.paused and self.changes.open is None:
            return
        if self.changes.adopt():
            return
        self.waiting.ask_for_timestamps()
        # changes that come one behind another must not starve the writes
        batch = self.waiting.next_batch() if self._writes_first and self.changes.open is None else None
        batch = batch or self.changes.next_batch(self.waiting.timestamps)
        if batch is None and self.changes.open is None:
            batch = self.waiting.next_batch()
        if batch is None:
            return
        self.batch = batch
        self._writes_first = batch.change is not None
        self._execute(batch)
        state.master_progress.command = batch.command
        self.waiting.ask_for_timestamps()

    def _start_behind(self, batch: BatchUnderWay) -> None:
        """The master is told to commit this batch: what waits is executed as soon as it has."""
        if self.paused or not self.waiting.requests or batch.change is not None or self.changes.wait:
            return
        self.waiting.ask_for_timestamps()
        self.next = self.waiting.next_batch()
        if self.next is not None:
            self._execute(self.next)
            self.waiting.ask_for_timestamps()

    def _execute(self, batch: BatchUnderWay) -> None:
        """Behind the rows of the log's window, all of which the master has then."""
        state = self._state
        batch.master = state.master_progress.name
        batch.command = state.next_command()
        state.emit(
            ExecuteBatch(
                batch.master,
                batch.command,
                epoch=state.epoch,
                owner=state.owner,
                previous=state.window.end.position,
                now_us=batch.now_us,
                requests=() if batch.change is not None else batch.requests,
            )
        )

    def granted(self, first: int, last: int, step: int) -> None:
        self.waiting.timestamps.grant(first, last, step)
        self.start()

    def lacks_space(self, reply: BatchExecuted) -> str:
        """What the master said, if its disk is full and another master should be tried; the batch is run there again."""
        batch = self.batch
        assert batch is not None
        last = reply.outcomes[-1] if reply.outcomes else None
        if not isinstance(last, Disturbed):
            return ""
        request = batch.requests[len(reply.outcomes) - 1][1]
        believed = self._disk_space.is_believed(request.request_id, batch.master, last, self._state.now_ns)
        return last.message if believed else ""

    def executed(self, reply: BatchExecuted) -> None:
        """The master ran the batch: form the row of what succeeded and send it, or undo."""
        state, batch = self._state, self.batch
        assert batch is not None
        if batch.change is None:
            batch.outcomes = reply.outcomes
        disturbed = any(isinstance(outcome, Disturbed) for outcome in reply.outcomes)
        entries: list[Entry] = []
        for (timestamp, request), outcome in zip(batch.requests, reply.outcomes, strict=False):
            if isinstance(outcome, tuple):
                for statement, did in zip(request.statements, outcome, strict=True):
                    if not statement.is_read:
                        entries.append(entry_of(timestamp, statement, did))
        if disturbed or (batch.change is None and batch.requests and not entries):
            batch.stage = Stage.UNDOING
            self._command_master(RollBackBatch)
            return
        end = state.window.end
        place = end.position.timestamp + 1
        if batch.change is not None and batch.change.step is ChangeStep.INTENT:
            place = batch.change.intent_timestamp
        batch.row = next_row(end, state.epoch, Batch(batch.now_us, tuple(entries), batch.change), place)
        state.window.append(batch.row)
        batch.stage = Stage.STORING
        master = state.master_progress
        batch.command = master.command = state.next_command()
        self._shipping.ship_all()
        ends_change = batch.change is not None and batch.change.step is not ChangeStep.INTENT
        state.emit(PrepareRow(master.name, batch.command, batch.row, master.name, ends_change))

    def _command_master(self, kind: type[RollBackBatch] | type[CommitBatch]) -> None:
        state, batch = self._state, self.batch
        assert batch is not None
        master = state.master_progress
        batch.command = master.command = state.next_command()
        state.emit(kind(master.name, batch.command))

    # ------------------------------------------------------------------------------------------ commit

    def prepared(self) -> None:
        assert self.batch is not None
        self.batch.prepared = True
        self._state.master_progress.command = None
        self.stored()

    def stored(self) -> None:
        """A replica has more rows: commit if a commit quorum has the batch's."""
        state, batch = self._state, self.batch
        if batch is None or batch.stage is not Stage.STORING or not batch.prepared or batch.row is None:
            return
        batch.holders = self._holders(batch.row)
        if len(batch.holders) >= state.sizes.commit_replicas:
            batch.stage = Stage.COMMITTING
            self._reads.master_may_be_ahead = True
            self._command_master(CommitBatch)
            self._start_behind(batch)

    def _holders(self, row: LogRow) -> list[str]:
        return [node.name for node in self._state.replicas if node.member and node.has(row.position)]

    def committed(self) -> None:
        """The batch is on the disks of a commit quorum, the master's included: answer."""
        state, batch = self._state, self.batch
        assert batch is not None
        assert batch.row is not None
        self.batch, self.next = self.next, None
        state.committed_timestamp = batch.row.last_timestamp
        state.committed_at_ns = state.now_ns
        master = state.master_progress
        master.command = None if self.batch is None else self.batch.command
        master.stored(batch.row.position, batch.row.last_timestamp)
        if batch.change is None:
            self._answer(batch, batch.holders)
        else:
            self.changes.committed(batch)
        self._reads.master_may_be_ahead = self.changes.open is not None
        self.admit_newcomers()
        self.start()

    def _answer(self, batch: BatchUnderWay, holders: list[str]) -> None:
        state = self._state
        quorum = counted_replicas(holders, state.preferred_quorum, state.sizes.commit_replicas)
        for (timestamp, request), outcome in zip(batch.requests, batch.outcomes, strict=False):
            if request.request_id in batch.expired:
                continue
            if isinstance(outcome, Rejected):
                state.emit(Refuse(request.request_id, outcome, batch.master))
            elif isinstance(outcome, tuple):
                size = state.sizes.commit_replicas
                state.emit(Acknowledge(request.request_id, timestamp, outcome, batch.master, quorum, size))

    def admit_newcomers(self) -> None:
        """A refilled node counts only when it was level *and then* a batch of this epoch was committed without it.

        Counting it as soon as it is filled would let a deposed coordinator fill it and commit with it.
        """
        state = self._state
        for node in state.replicas:
            if node.probation is not None and node.probation.timestamp < state.committed_timestamp and node.idle:
                node.command = state.next_command()
                state.emit(Admit(node.name, node.command, state.epoch, state.owner, state.cluster_id))

    def rolled_back(self) -> None:
        """Nothing of the batch was kept: answer MySQL's refusals, run the rest again."""
        state, batch = self._state, self.batch
        assert batch is not None
        self.batch = None
        state.master_progress.command = None
        refusals: list[Refuse] = []
        again: list[Request] = []
        disturbed = any(isinstance(outcome, Disturbed) for outcome in batch.outcomes)
        for index, (_, request) in enumerate(batch.requests):
            if request.request_id in batch.expired:
                continue  # it was answered: nobody waits for it any more
            outcome = batch.outcomes[index] if index < len(batch.outcomes) else None
            if isinstance(outcome, Disturbed):
                reason = f"the server could not run it: {outcome.message}"
                state.emit(Fail(request.request_id, committed=False, reason=reason, disturbance=outcome))
            elif isinstance(outcome, Rejected) and not disturbed:
                refusals.append(Refuse(request.request_id, outcome, batch.master))
            else:
                again.append(request)
        self.waiting.put_back(again)
        if refusals:
            # a refusal is a read of the master's rows: true only if the epoch is still ours
            self._reads.confirm_refusals(tuple(refusals), min(r.deadline_ns for _, r in batch.requests))
        self.start()

    # ------------------------------------------------------------------------------------------ hold

    def hold(self) -> None:
        """The epoch ends with a batch under way."""
        batch, self.batch = self.batch, None
        if self.next is not None:
            self._take_back(self.next)
            self.next = None
        self._reads.master_may_be_ahead = False
        # a look-up that waited for its turn may be carried out at a server that came back without its data
        self.fate_command = None
        self.changes.interrupt()
        if batch is None:
            return
        if batch.row is None:
            self._take_back(batch)
        else:
            assert self.held is None
            self.held = batch

    def _take_back(self, batch: BatchUnderWay) -> None:
        """Nothing of it is anywhere: its requests wait again."""
        if batch.change is not None:
            self.changes.take_back(batch)
        else:
            self.waiting.put_back(batch.unanswered())

    def serve(self) -> None:
        """A new epoch serves: settle the held batch, then go on."""
        state = self._state
        self.waiting.timestamps.skip_to(state.window.end.position.timestamp)
        self.changes.epoch_began()
        if self.held is not None and self.held.row is not None:
            self.fate_command = state.next_command()
            place = self.held.row.last_timestamp
            state.emit(ReadPositions(state.master_progress.name, self.fate_command, place, place))
        self.start()

    def fate_read(self, command: int, reply: PositionsRead) -> bool:
        """Whether `command` asked for the held batch's fate; then it is answered or run again."""
        batch = self.held
        if command != self.fate_command or batch is None or batch.row is None:
            return False
        self.held = self.fate_command = None
        if batch.row.position in reply.positions:
            batch.holders = [node.name for node in self._state.replicas if node.member]
            if batch.change is None:
                self._answer(batch, batch.holders)
            else:
                self.changes.survived(batch)
        elif batch.row.last_timestamp < reply.log_begin.timestamp:
            # somebody else served meanwhile, and so long that the log is not there any more
            for request in batch.unanswered():
                reason = "the log does not reach back to it any more: nobody can tell whether it was committed"
                self._state.emit(Fail(request.request_id, committed=None, reason=reason))
        else:
            self._take_back(batch)
        self.start()
        return True

    def depose(self) -> None:
        """Another coordinator owns the cluster."""
        state = self._state
        self.hold()
        self.waiting.fail(self.deposed_reason)
        if self.held is not None:
            for request in self.held.unanswered():
                state.emit(Fail(request.request_id, committed=None, reason=self.deposed_reason))
            self.held = None
        self.changes.depose(self.deposed_reason)

    # ------------------------------------------------------------------------------------------ deadlines

    def expire(self) -> None:
        """Answer the requests whose deadline has passed: waiting ones are not committed, the others nobody can tell."""
        state = self._state
        self.changes.expire()
        self.waiting.expire()
        for batch in (self.batch, self.next, self.held):
            if batch is None or not 0 < batch.next_deadline_ns <= state.now_ns:
                continue
            for _, request in batch.requests:
                if request.deadline_ns <= state.now_ns and request.request_id not in batch.expired:
                    batch.expired[request.request_id] = None
                    reason = "the deadline passed while the write was being committed; it may still be"
                    state.emit(Fail(request.request_id, committed=None, reason=reason))
            batch.next_deadline_ns = min((request.deadline_ns for request in batch.unanswered()), default=0)

    @property
    def wake_at_ns(self) -> int | None:
        waiting = self.waiting
        times = [waiting.requests[0].deadline_ns] if waiting.requests else []
        times += [
            batch.next_deadline_ns for batch in (self.batch, self.next, self.held) if batch and batch.next_deadline_ns
        ]
        waits = bool(waiting.requests or self.changes.pending)
        if waits and self.batch is None and waiting.timestamps.retry_at_ns > self._state.now_ns:
            times.append(waiting.timestamps.retry_at_ns)
        times += [] if self.changes.wake_at_ns is None else [self.changes.wake_at_ns]
        return min(times, default=None)


def entry_of(timestamp: int, statement: RequestStatement, did: Executed) -> Entry:
    """What the log says of a statement that ran."""
    insert_id = did.insert_id if statement.inserts else 0
    return Entry(timestamp, statement.sql, did.rows_affected, insert_id, statement.rand_seed, statement.row_at)
