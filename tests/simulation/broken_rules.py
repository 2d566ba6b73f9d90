"""The rules of the protocol, each broken on purpose: what stands in for the right functions (`broken_variants.py` says where).

None of them is far-fetched: each is what one would write without the reason that stands in the right one's docstring.
"""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import msgspec
from model_node import ModelNode, OpenTransaction
from model_timestamps import ModelTimestampServer

import replication.election
from replication.batch_under_way import BatchUnderWay, Stage
from replication.effects import Admit, CommitBatch, Fail, Fence, OpenSnapshot, RunSchemaChange
from replication.election import Election, ElectionStep
from replication.events import ReadArrived
from replication.log import Batch, ChangeStep, Entry, LogRow, LogWindow, Position, SchemaChange, batch_of, end_after
from replication.progress import NodeProgress, NodeState
from replication.quorum import QuorumSizes, rank_candidates
from replication.reads import ReadPath, Waiter
from replication.replicator import Replicator
from replication.replies import BatchExecuted, Fenced, Outbid, PositionsRead, Reply
from replication.schema_changes import SchemaChanges
from replication.shipping import Shipping
from replication.timestamps import TimestampStock
from replication.values import NodeStatus, Outcome, ReadNeed, Rejected, Request, RequestStatement
from replication.verification import Verification
from replication.weak_reads import WeakReads
from replication.write_path import WritePath

Patch = tuple[Any, str, Any]


# ---------------------------------------------------------------------------------------------- quorums


def sizes(*, commit_replicas: int = 2, election: int = 3) -> Patch:
    wrong = QuorumSizes(nodes=4, commit_replicas=commit_replicas, commit=3, election=election)
    return (QuorumSizes, "of", staticmethod(lambda _: wrong))


def most_complete_by_timestamp(log_ends: dict[str, Position]) -> str:
    return max(sorted(log_ends), key=lambda name: log_ends[name].timestamp)


def empty_node_votes(self: Election) -> list[NodeProgress]:
    clusters = [node.status.cluster_id for node in self._state.fenced_members() if node.status is not None]
    if not clusters:
        return []
    return [node for node in self._state.nodes.values() if node.fenced and node.status is not None]


def trust_an_old_copy(self: NodeProgress, status: NodeStatus, fenced_epoch: int, owner: str) -> None:
    self.promised_epoch, self.acknowledged_end = 0, Position(0, 0)
    TAKE_STATUS(self, status, fenced_epoch, owner)


def copy_votes_for_its_donor(self: NodeProgress, status: NodeStatus, fenced_epoch: int, owner: str) -> None:
    TAKE_STATUS(self, msgspec.structs.replace(status, node=self.name), fenced_epoch, owner)


TAKE_STATUS = NodeProgress.take_status


def whose_it_was(self: ModelNode, effect: Admit) -> str:
    """A node whose rows differ is only made no member, like one that lost its data."""
    return self.name


def open_wherever_it_is(self: Verification, node: NodeProgress) -> None:
    if node.name not in self._asked.values():
        self._open(node)


def keep_any_snapshot(self: ModelNode, effect: OpenSnapshot, connection: str) -> Reply:
    return OPEN_SNAPSHOT(self, msgspec.structs.replace(effect, timestamp=None), connection)


OPEN_SNAPSHOT = ModelNode._open_snapshot


def count_at_once(self: Replicator, node: NodeProgress) -> None:
    state = self.state
    if node.idle and node.has(state.window.end.position):
        node.command = state.next_command()
        state.emit(Admit(node.name, node.command, state.epoch, state.owner, state.cluster_id))


def holders_without_membership(self: WritePath, row: LogRow) -> list[str]:
    return [node.name for node in self._state.replicas if node.has(row.position)]


# ---------------------------------------------------------------------------------------------- election


class WindowWithoutNoop(LogWindow):
    """Leaves out the first row that is appended to it: an election's no-op."""

    noop_left_out = False

    def append(self, row: LogRow) -> None:
        if self.noop_left_out:
            super().append(row)
        self.noop_left_out = True


def apply_before_noop(self: Election, members: list[NodeProgress]) -> None:
    """What the most complete log has counts as committed at once."""
    source = max(members, key=lambda node: node.log_position)
    assert source.status is not None
    source.status = msgspec.structs.replace(source.status, committed_timestamp=source.status.log_end.position.timestamp)
    DECIDE(self, members)


DECIDE = Election._decide


def authoritative_by_score(self: Election, members: list[NodeProgress]) -> None:
    """The best ranked node's log counts, complete or not."""
    ranking = rank_candidates([node.name for node in members], None, self._state.ranking)
    with patch.object(replication.election, "most_complete", lambda ends: next(n for n in ranking if n in ends)):
        DECIDE(self, members)


def copies_of_an_old_epoch_count(self: Election) -> bool:
    """What a commit quorum has counts as committed while the no-op is still on its way (Raft, figure 8)."""
    state = self._state
    if self.step is ElectionStep.LEVELLING and state.master_progress.log_end is not None:
        ends = sorted(node.log_end.timestamp for node in state.nodes.values() if node.member and node.log_end)
        if len(ends) > state.sizes.commit_replicas:
            state.committed_timestamp = max(state.committed_timestamp, ends[-1 - state.sizes.commit_replicas])
            self._shipping.ship_all()
    return ELECTION_STORED(self)


ELECTION_STORED = Election.stored


def serve_before_applying(self: Election) -> bool:
    """The new master serves as soon as the no-op is committed."""
    if ELECTION_STORED(self):
        return True
    if self.step is ElectionStep.APPLYING:
        self._serve()
        return True
    return False


# ---------------------------------------------------------------------------------------------- writes


def answer_when_prepared(self: WritePath) -> None:
    batch = self.batch
    assert batch is not None
    self._answer(batch, [node.name for node in self._state.replicas])
    batch.expired.update(dict.fromkeys(request.request_id for _, request in batch.requests))
    PREPARED(self)


def answer_before_the_master_commits(self: WritePath) -> None:
    STORED(self)
    batch = self.batch
    if batch is not None and batch.stage is Stage.COMMITTING and not batch.expired:
        self._answer(batch, batch.holders)
        batch.expired.update(dict.fromkeys(request.request_id for _, request in batch.requests))


PREPARED, STORED, COMMITTED = WritePath.prepared, WritePath.stored, WritePath.committed


def answer_what_was_executed(self: WritePath, reply: BatchExecuted) -> None:
    """Perhaps behind a COMMIT; it is on the master alone, in an open transaction."""
    EXECUTED(self, reply)
    batch = self.batch
    if batch is not None and batch.stage is Stage.STORING and batch.change is None and not batch.expired:
        self._answer(batch, batch.holders)
        batch.expired.update(dict.fromkeys(request.request_id for _, request in batch.requests))


EXECUTED = WritePath.executed


def master_commits_first(self: WritePath) -> None:
    assert self.batch is not None
    self.batch.prepared = True
    self.batch.stage = Stage.COMMITTING
    self._command_master(CommitBatch)


def committed_first(self: WritePath) -> None:
    assert self.batch is not None
    self._state.master_progress.command = None
    self.batch.stage = Stage.UNDOING  # a stage in which nothing else looks at a batch with a row
    stored_after_commit(self)


def stored_after_commit(self: WritePath) -> None:
    batch = self.batch
    if batch is None or batch.row is None or batch.stage is not Stage.UNDOING:
        return
    batch.holders = self._holders(batch.row)
    if len(batch.holders) >= self._state.sizes.commit_replicas:
        COMMITTED(self)


def run_held_again(self: WritePath, command: int, reply: PositionsRead) -> bool:
    return FATE_READ(self, command, PositionsRead(()))


def acknowledge_held(self: WritePath, command: int, reply: PositionsRead) -> bool:
    row = self.held.row if self.held is not None else None
    return FATE_READ(self, command, PositionsRead((row.position,)) if row is not None else reply)


FATE_READ = WritePath.fate_read


def pass_over_rows(self: Shipping, node: NodeProgress, rows: Sequence[LogRow]) -> None:
    """Apply whatever is committed of the rows that were asked for, whether or not they follow the last applied one."""
    applied = node.applied_timestamp
    first = rows[0].previous_timestamp if rows else applied
    with patch.object(node, "applied_timestamp", max(applied, first)):
        before = len(self._state._effects)
        STORE(self, node, tuple(rows))
        sent = self._state._effects[before]
    self._state._effects[before] = msgspec.structs.replace(sent, applied_timestamp=applied)


STORE = Shipping._store


def grant_anything(self: TimestampStock, first: int, last: int, step: int) -> None:
    self.requested = False
    self._ranges.append((first, last, step))


def skip_nothing(self: TimestampStock, timestamp: int) -> None: ...


def append_anything(self: LogWindow, row: LogRow) -> None:
    self._rows.append(row)
    self.end = end_after(row)


def twice_granted(self: TimestampStock, first: int, last: int, step: int) -> None:
    """A late answer is used, whether or not the numbers were used before."""
    grant_anything(self, first, last, step)
    self.greatest = max(self.greatest, last)


def fate_by_timestamp(self: WritePath, command: int, reply: PositionsRead) -> bool:
    """A row of the same timestamp is taken for the held batch's, whatever its epoch."""
    row = self.held.row if self.held is not None else None
    if row is not None and any(position.timestamp == row.last_timestamp for position in reply.positions):
        reply = PositionsRead((row.position,))
    return FATE_READ(self, command, reply)


def hold_answers_failed(self: WritePath) -> None:
    """A batch whose master failed is said not to be committed."""
    if self.batch is not None and self.batch.row is not None:
        for request in self.batch.unanswered():
            self._state.emit(Fail(request.request_id, committed=False, reason="the master failed"))
        self.batch = None
    HOLD(self)


HOLD = WritePath.hold


# ---------------------------------------------------------------------------------------------- schema changes


def change_before_the_intent(self: SchemaChanges, timestamps: TimestampStock) -> BatchUnderWay | None:
    """The master makes the change while its intent is still on its way to a quorum."""
    batch, state = NEXT_CHANGE(self, timestamps), self._state
    if batch is not None and batch.change is not None and batch.change.step is ChangeStep.INTENT:
        command, change, master = state.next_command(), batch.change, state.master_progress
        applied, intent = master.applied_timestamp, change.intent_timestamp
        state.emit(
            RunSchemaChange(master.name, command, state.epoch, state.owner, applied, intent, change.now_us, change.sql)
        )
    return batch


NEXT_CHANGE = SchemaChanges.next_batch


def forget_the_open_change(self: SchemaChanges) -> bool:
    """The new master goes on as if nobody had begun anything."""
    self._is_new_epoch = False
    self.open = None
    self._is_free()
    return False


def give_an_adopted_change_up(self: SchemaChanges, outcome: Outcome) -> str:
    """What this master cannot do is said to have failed, though an earlier one may have done it."""
    assert self.open is not None
    self.open.outcome = outcome
    return ""


def read_before_the_change(self: SchemaChanges) -> None:
    EPOCH_BEGAN(self)
    self._reads.waits_for_change = False


EPOCH_BEGAN = SchemaChanges.epoch_began


def pass_over_a_change(
    node: NodeProgress, rows: tuple[LogRow, ...], committed: int
) -> tuple[tuple[tuple[LogRow, Batch], ...], SchemaChange | None]:
    """A replica applies the row that says that the master has changed the schema, and does nothing."""
    wanted = (row for row in rows if node.applied_timestamp < row.last_timestamp <= committed)
    return tuple((row, batch_of(row)) for row in wanted), None


# ---------------------------------------------------------------------------------------------- reads


def no_confirmation(self: ReadPath) -> None:
    state = self._state
    level = [
        node
        for node in state.nodes.values()
        if node.state is NodeState.LEVEL and node.applied_timestamp >= state.committed_timestamp
    ]
    released, self._round = self._round or [], None
    for waiter in released:
        self._release(waiter, level)


def read_at_any_node(self: ReadPath) -> list[NodeProgress]:
    committed = self._state.committed_timestamp
    nodes = self._state.nodes.values()
    return [node for node in nodes if node.state is NodeState.LEVEL and node.applied_timestamp >= committed]


def join_the_round_under_way(self: ReadPath, read: ReadArrived) -> None:
    if self._round is None:
        ARRIVED(self, read)
    else:
        self._round.append(Waiter(read.deadline_ns, read_id=read.read_id))


ARRIVED = ReadPath.arrived


def read_behind_a_change(self: ReadPath) -> list[NodeProgress]:
    """A replica is read at while the master may show a schema change that is not reported yet."""
    if self._state.schema_in_flux:
        return read_behind_the_master(self)
    return LEVEL_NODES(self)


def read_behind_the_master(self: ReadPath) -> list[NodeProgress]:
    """A replica is read at while the master may show a batch that was not reported yet."""
    with patch.object(self, "master_may_be_ahead", False):
        return LEVEL_NODES(self)


LEVEL_NODES = ReadPath._level_nodes


def moment_of_the_end(self: ReadPath) -> None:
    """A round says what was committed when its last answer came, and not when it began."""
    self._round_began = (self._state.now_ns, self._state.committed_timestamp)
    JUDGE_ROUND(self)


def any_is_good(self: WeakReads, node: NodeProgress, need: ReadNeed) -> bool:
    """However old it is; the write that is asked for is looked for all the same."""
    return node.applied_timestamp >= need.after_timestamp


def good_by_age(self: WeakReads, node: NodeProgress, need: ReadNeed) -> bool:
    """The write that is asked for is not looked for."""
    return IS_GOOD(self, node, msgspec.structs.replace(need, after_timestamp=0))


JUDGE_ROUND, IS_GOOD = ReadPath._judge, WeakReads._is_good

# ---------------------------------------------------------------------------------------------- nodes


def guard_without_position(self: ModelNode, epoch: int, owner: str, log_end: Position) -> Reply | None:
    return GUARD(self, epoch, owner, self.log_end.position)


def guard_without_fence(self: ModelNode, epoch: int, owner: str, log_end: Position) -> Reply | None:
    return GUARD(self, self.epoch, self.owner, log_end)


def fence_beside_the_lock(self: ModelNode, effect: Fence) -> Reply:
    """The epoch is written without the lock that an open transaction holds: its COMMIT is accepted afterwards."""
    status = self.status()
    if self.epoch > effect.epoch or (self.epoch == effect.epoch and self.owner != effect.owner):
        return Outbid(status)
    self.epoch, self.owner = effect.epoch, effect.owner
    return Fenced(status)


GUARD = ModelNode._guard


def crash_with_unsynced_log(self: ModelNode) -> None:
    """A commit is answered before it is on the disk: a power cut takes the last row (innodb_flush_log_at_trx_commit = 2)."""
    self.open = None
    if self.log and self.log[-1].last_timestamp > self.applied:
        self.log = self.log[:-1]


def crash_with_unsynced_fence(self: ModelNode) -> None:
    """The promise not to take anything of an older epoch is in memory only."""
    self.open = None
    self.epoch, self.owner = (self.log[-1].epoch, "") if self.log else (0, "")


def fence_that_leaves_the_transaction(self: ModelNode, effect: Fence) -> Reply:
    """The fence waits for nothing and ends nothing: whoever holds the lock goes on."""
    holder: OpenTransaction | None = self.open
    reply = FENCE(self, effect)
    self.open = holder
    return reply


FENCE = ModelNode._fence


def run_half(
    self: ModelNode, transaction: OpenTransaction, timestamp: int, request: Request, taken: set[str]
) -> Outcome:
    """No savepoint: what a refused request did before stays in the master's transaction."""
    outcome = RUN(self, transaction, timestamp, request, taken)
    if isinstance(outcome, Rejected):
        writes = [each for each in request.statements[: outcome.statement] if not each.is_read]
        transaction.entries += [Entry(timestamp, each.sql, 1, timestamp) for each in writes]
    return outcome


def run_behind_the_batch(
    self: ModelNode, transaction: OpenTransaction, timestamp: int, request: Request, taken: set[str]
) -> Outcome:
    """A read among writes sees what is committed, and not what the batch did before it."""
    before, transaction.entries = transaction.entries, []
    outcome = RUN(self, transaction, timestamp, request, taken)
    transaction.entries = before + transaction.entries
    return outcome


RUN = ModelNode._run


def first_entry_only(self: WritePath, reply: BatchExecuted) -> None:
    """Of a request of several statements one reaches the log."""
    batch = self.batch
    assert batch is not None
    shortened = tuple(
        (timestamp, msgspec.structs.replace(request, statements=hide_all_but_one(request.statements)))
        for timestamp, request in batch.requests
    )
    batch.requests, asked = shortened, batch.requests
    EXECUTED(self, reply)
    batch.requests = asked


def hide_all_but_one(statements: tuple[RequestStatement, ...]) -> tuple[RequestStatement, ...]:
    """The others look like reads."""
    first = next(place for place, statement in enumerate(statements) if not statement.is_read)
    return tuple(
        msgspec.structs.replace(statement, is_read=place != first) for place, statement in enumerate(statements)
    )


EXECUTED = WritePath.executed


def restart_from_memory(self: ModelTimestampServer) -> None:
    self.durable_bound = 0
    RESTART(self)


RESTART = ModelTimestampServer.restart
