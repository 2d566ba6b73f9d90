"""A MySQL node as a model: what `adapters/mysql_node.py` and a server do for one effect, without either.

Durable: the meta row, the log, the applied entries. Not durable: the open transaction of the master, which holds the lock of the
meta row, so that a fence ends it (the adapter kills its connection) and a crash makes it vanish. Each command ends in at most one
durable commit, so a crash in the middle of one is a crash before it or after it.

Its data is a table with a unique key: the part of a statement before " by ". A read sees all of it. Data that was damaged behind
everybody's back shows in what some statements affect. Its schema is the list of the changes that were made to it, each by itself
and whole; a change whose key is there already is refused.
"""

from collections.abc import Callable

import msgspec

from adapters.mysql_session import Column
from replication.effects import (
    Admit,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fence,
    MeasureLog,
    NodeEffect,
    NoteCopy,
    OpenSnapshot,
    PrepareRow,
    ReadLog,
    ReadPositions,
    RollBackBatch,
    RunSchemaChange,
    StoreRows,
    TruncateLog,
)
from replication.log import (
    EMPTY_LOG_END,
    Batch,
    ChangeStep,
    Entry,
    EntryName,
    LogEnd,
    LogRow,
    Position,
    end_after,
    names_of,
)
from replication.replies import (
    Admitted,
    Bare,
    BatchCommitted,
    BatchExecuted,
    BatchRolledBack,
    CopyNoted,
    Diverged,
    EpochSeen,
    Fenced,
    LogGone,
    LogMark,
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
from replication.values import (
    NOBODY,
    Disturbed,
    Executed,
    NodeStatus,
    Outcome,
    Refusal,
    Rejected,
    Request,
    ResultSet,
    copy_target,
)

DUPLICATE = Rejected(1062, "23000", "Duplicate entry")
UNMET = Rejected(1242, "21000", "other rows are expected", refusal=Refusal.EXPECTATION)
DISK_FULL = Disturbed(1114, "HY000", "The table is full")


def key_of(sql: str) -> str:
    """What may be in the table only once."""
    if "INTO _replication.requests " in sql:
        return "key " + sql.partition("VALUES (")[2].partition(",")[0]
    return sql.partition(" by ")[0]


class CommandLost(Exception):
    """The command did nothing: its connection or its transaction is gone."""


class OpenTransaction:
    """The master's transaction of one batch."""

    def __init__(self, connection: str, effect: ExecuteBatch) -> None:
        self.connection = connection
        self.effect = effect
        self.entries: list[Entry] = []
        self.row: LogRow | None = None
        self.ends_change = False


class ModelNode:
    """One node's disk and its one lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cluster_id = self.node = self.owner = self.master = self.copy_note = ""
        self.epoch = self.committed = self.applied = 0
        self.log_base: LogEnd = EMPTY_LOG_END
        """The oldest row that is left."""
        self.log: list[LogRow] = []
        """All rows that ever were, for those who look from above. Commands find only those from `log_base` on."""
        self.is_bare = False
        """A copy was cut short: there is not even an empty log."""
        self.data: list[Entry] = []
        self.schema: list[str] = []
        """Changes that were made, in order."""
        self.mark = (0, 0)
        """The change that was begun last, and how many there were before it."""
        self.open: OpenTransaction | None = None
        self.changing: dict[str, RunSchemaChange] = {}
        """Connection -> the change under way over it."""
        self.disk_full = False
        self.damaged = False
        """Somebody changed a row here and nowhere else."""
        self.is_told = False
        """It was told that its rows differ."""
        self.snapshots: dict[str, tuple[int, list[Entry]]] = {}
        """Connection -> the timestamp and the data of the snapshot that is open over it."""
        self._keys: set[str] = set()
        self._keys_of: tuple[list[Entry], int] = (self.data, 0)
        """The part of the data whose keys are in `_keys`."""

    def copy(self) -> "ModelNode":
        """The disk alone, as a copied data folder has it."""
        other = ModelNode(self.name)
        other.cluster_id, other.node, other.owner, other.master = self.cluster_id, self.node, self.owner, self.master
        other.epoch, other.committed, other.applied = self.epoch, self.committed, self.applied
        other.log_base, other.log, other.data = self.log_base, list(self.log), list(self.data)
        other.schema, other.mark = list(self.schema), self.mark
        other.is_bare, other.damaged, other.is_told = self.is_bare, self.damaged, self.is_told
        other.copy_note = self.copy_note
        return other

    def lay_bare(self) -> None:
        """A copy begins with the removal of all data."""
        self.become(ModelNode(self.name))
        self.is_bare = True

    def become(self, other: "ModelNode") -> None:
        """A copy ends: all that is durable is `other`'s."""
        name, self.__dict__ = self.name, other.copy().__dict__
        self.name = name

    def crash(self) -> None:
        self.open = None
        self.snapshots.clear()

    def hang_up(self, connection: str) -> None:
        """The client closed `connection`: its open transaction vanishes."""
        self.snapshots.pop(connection, None)
        if self.open is not None and self.open.connection == connection:
            self.open = None

    # ------------------------------------------------------------------------------------------ state

    @property
    def is_member(self) -> bool:
        """Says so on its disk, of itself; or is a copy that was meant for it, and so has its vote."""
        return bool(self.cluster_id) and self.name in (self.node, copy_target(self.copy_note))

    @property
    def log_end(self) -> LogEnd:
        return end_after(self.log[-1]) if self.log else self.log_base

    def rows(self) -> list[LogRow]:
        """Those after the oldest one that is left."""
        begin = self.log_base.position.timestamp
        return [row for row in self.log if row.last_timestamp > begin]

    def positions(self) -> list[Position]:
        return [self.log_base.position, *(row.position for row in self.rows())]

    def keys(self) -> set[str]:
        """The keys of all that is in the data: the unique index."""
        indexed, count = self._keys_of
        if indexed is not self.data or count > len(self.data):
            self._keys, count = set(), 0
        self._keys.update(key_of(entry.sql) for entry in self.data[count:])
        self._keys_of = (self.data, len(self.data))
        return self._keys

    def status(self) -> NodeStatus:
        return NodeStatus(
            cluster_id=self.cluster_id,
            node=self.node,
            epoch=self.epoch,
            owner=self.owner,
            master=self.master,
            log_begin=self.log_base.position,
            log_end=self.log_end,
            committed_timestamp=self.committed,
            applied_timestamp=self.applied,
            applied_entries=len(self.data),
            tail=tuple(position for position in self.positions() if position.timestamp >= self.applied),
            executed_change=self.mark[0] if len(self.schema) > self.mark[1] else 0,
            copy_note=self.copy_note,
        )

    # ------------------------------------------------------------------------------------------ commands

    def carry_out(self, effect: NodeEffect, connection: str) -> Reply:
        """What the node answers to a command that came over `connection`. Raises CommandLost."""
        if self.is_bare:
            if isinstance(effect, Fence):
                return Bare()
            raise CommandLost("no such database")
        if self.disk_full and isinstance(effect, Fence | Admit | NoteCopy | StoreRows | PrepareRow):
            self.hang_up(connection)
            raise CommandLost("the disk is full")
        match effect:
            case Fence():
                return self._fence(effect)
            case Admit():
                if (self.epoch, self.owner) != (effect.epoch, effect.owner):
                    return Outbid(self.status())
                self.cluster_id, self.node, self.copy_note = effect.cluster_id, self._whose(effect), ""
                self.is_told = self.is_told or effect.rows_differ
                return Admitted()
            case NoteCopy():
                return self._note_copy(effect)
            case OpenSnapshot():
                return self._open_snapshot(effect, connection)
            case ConfirmEpoch():
                return EpochSeen(self.epoch, self.owner)
            case ReadLog():
                if effect.after_timestamp < self.log_base.position.timestamp:
                    return LogGone(self.log_base.position)
                before = [row for row in self.rows() if row.last_timestamp <= effect.after_timestamp]
                after = [row for row in self.rows() if row.last_timestamp > effect.after_timestamp]
                return LogRead(tuple(after), end_after(before[-1]) if before else self.log_base)
            case ReadPositions():
                wanted = range(effect.first_timestamp, effect.last_timestamp + 1)
                found = tuple(position for position in self.positions() if position.timestamp in wanted)
                return PositionsRead(found, self.log_base.position)
            case MeasureLog():
                return self._measure(effect)
            case TruncateLog():
                return self._truncate(effect)
            case ExecuteBatch():
                return self._execute(effect, connection)
            case StoreRows():
                return self._store(effect)
            case RunSchemaChange():
                return self.begin_change(effect, connection) or self.end_change(connection)
            case PrepareRow() | CommitBatch() | RollBackBatch():
                return self._in_transaction(effect, connection)
        raise AssertionError(effect)

    def _whose(self, effect: Admit) -> str:
        """What is written on the disk as the owner of its rows."""
        return NOBODY if effect.rows_differ else self.name

    def damage(self, place: int) -> None:
        """Another row is in its place, with the same key."""
        entry = self.data[place]
        changed = msgspec.structs.replace(entry, sql=f"{key_of(entry.sql)} by nobody")
        self.data = [*self.data[:place], changed, *self.data[place + 1 :]]
        self.damaged = True

    def _affects(self, entry: EntryName) -> int:
        """How many rows a statement affects here."""
        return 0 if self.damaged and (entry.timestamp + entry.number) % 3 == 0 else 1

    def _open_snapshot(self, effect: OpenSnapshot, connection: str) -> Reply:
        self.snapshots.pop(connection, None)
        if (self.epoch, self.owner) != (effect.epoch, effect.owner):
            raise CommandLost("its snapshot is of another epoch")
        if effect.timestamp in (None, self.applied):
            self.snapshots[connection] = (self.applied, list(self.data))
        return SnapshotOpened(self.applied)

    def _measure(self, effect: MeasureLog) -> Reply:
        base = LogMark(self.log_base.position.timestamp, self.log_base.bytes_total, 0)
        marks = [base, *(LogMark(row.last_timestamp, row.bytes_total, row.now_us) for row in self.rows())]
        found = {
            next((mark for mark in marks if mark.timestamp >= timestamp), marks[-1]) for timestamp in effect.timestamps
        }
        return LogMeasured(tuple(sorted(found, key=lambda mark: mark.timestamp)))

    def _truncate(self, effect: TruncateLog) -> Reply:
        before = min(effect.before_timestamp, self.applied)
        gone = [row for row in self.rows() if row.last_timestamp <= before]
        if gone:
            self.log_base = end_after(gone[-1])
        return LogTruncated(self.log_base.position)

    def accepts(self, effect: Fence) -> bool:
        other = self.epoch > effect.epoch or (self.epoch == effect.epoch and self.owner != effect.owner)
        return not other and not self.is_bare

    def _fence(self, effect: Fence) -> Reply:
        self.open = None
        status = self.status()
        if not self.accepts(effect):
            return Outbid(status)
        self.epoch, self.owner = effect.epoch, effect.owner
        return Fenced(status)

    def _note_copy(self, effect: NoteCopy) -> Reply:
        if self.open is not None:
            raise CommandLost("the lock is held")
        if (self.epoch, self.owner) != (effect.epoch, effect.owner):
            return Outbid(self.status())
        if self.copy_note != effect.previous:
            return Misplaced(self.status())
        self.copy_note = effect.note
        return CopyNoted()

    def _guard(self, epoch: int, owner: str, log_end: Position) -> Reply | None:
        if self.open is not None:
            raise CommandLost("lock wait time-out")
        if (self.epoch, self.owner, self.log_end.position) == (epoch, owner, log_end):
            return None
        return Misplaced(self.status())

    def _execute(self, effect: ExecuteBatch, connection: str) -> Reply:
        wrong = self._guard(effect.epoch, effect.owner, effect.previous)
        if wrong is not None:
            return wrong
        self.open = OpenTransaction(connection, effect)
        outcomes: list[Outcome] = []
        taken = set(self.keys())
        for timestamp, request in effect.requests:
            if self.disk_full:
                return BatchExecuted((*outcomes, DISK_FULL))
            outcomes.append(self._run(self.open, timestamp, request, taken))
        return BatchExecuted(tuple(outcomes))

    def _run(self, transaction: OpenTransaction, timestamp: int, request: Request, taken: set[str]) -> Outcome:
        """One request: all of it, or nothing."""
        results: list[Executed] = []
        entries: list[Entry] = []
        for number, statement in enumerate(request.statements):
            key = key_of(statement.sql)
            if statement.is_read:
                seen = tuple((entry.sql,) for entry in (*self.data, *transaction.entries, *entries))
                results.append(Executed(len(seen), 0, ResultSet((Column("sql", 253),), seen)))
            elif key.startswith("bad") or key in taken or any(key_of(entry.sql) == key for entry in entries):
                return msgspec.structs.replace(DUPLICATE, statement=number)
            else:
                affected = self._affects(EntryName(timestamp, len(entries)))
                results.append(Executed(affected, timestamp))
                entries.append(Entry(timestamp, statement.sql, affected, timestamp))
            if statement.expected_rows not in (None, results[-1].rows_affected):
                return msgspec.structs.replace(UNMET, statement=number)
        taken.update(key_of(entry.sql) for entry in entries)
        transaction.entries += entries
        return tuple(results)

    def _in_transaction(self, effect: PrepareRow | CommitBatch | RollBackBatch, connection: str) -> Reply:
        transaction = self.open
        if transaction is None or transaction.connection != connection:
            raise CommandLost("the transaction is gone")
        if isinstance(effect, PrepareRow):
            transaction.row, transaction.ends_change = effect.row, effect.ends_change
            self.open_master = effect.master
            return RowPrepared()
        self.open = None
        if isinstance(effect, RollBackBatch):
            return BatchRolledBack()
        assert transaction.row is not None
        assert transaction.row.previous == self.log_end.position
        self.log.append(transaction.row)
        self.data += transaction.entries
        self.applied = self.committed = transaction.row.last_timestamp
        if transaction.ends_change:
            self.mark = (0, len(self.schema))
        self.master = self.open_master
        return BatchCommitted()

    def _store(self, effect: StoreRows) -> Reply:
        wrong = self._guard(effect.epoch, effect.owner, effect.log_end)
        if wrong is not None:
            return wrong
        if self.applied != effect.applied_timestamp:
            return Misplaced(self.status())
        log, rows, entries, applied, mark = self.log, len(self.log), len(self.data), self.applied, self.mark
        if effect.drop_after is not None:
            assert effect.drop_after.timestamp >= self.applied, "an applied row was dropped"
            self.log = [row for row in self.log if row.last_timestamp <= effect.drop_after.timestamp]
        for row in effect.append:
            assert row.previous == self.log_end.position, "a gap in the log"
            self.log.append(row)
        for row, batch in effect.apply:
            assert row in self.log, "a row was applied that is not in the log"
            assert row.previous_timestamp == self.applied, "a row was passed over"
            reply = self._apply(batch)
            if reply is not None:
                # one transaction: nothing of the command is left
                del log[rows:], self.data[entries:]
                self.log, self.applied, self.mark = log, applied, mark
                return reply
            self.applied = row.last_timestamp
            self._end_mark(batch)
        self.committed, self.master = max(self.committed, effect.committed_timestamp), effect.master
        return RowsStored(self.log_end.position, self.applied)

    def _apply(self, batch: Batch) -> Reply | None:
        for name, entry in zip(names_of(batch.entries), batch.entries, strict=True):
            affected = self._affects(name)
            if affected != entry.rows_affected:
                return Diverged(f"{entry.sql} affects {affected}", name, affected)
            if key_of(entry.sql) in self.keys():
                return Diverged(f"{entry.sql} is here twice", name, None)
            self.data.append(entry)
        return None

    # ------------------------------------------------------------------------------------------ schema changes

    def begin_change(self, effect: RunSchemaChange, connection: str) -> Reply | None:
        """None: it is under way."""
        if self.is_bare or self.disk_full or self.open is not None:
            raise CommandLost("the mark cannot be written")
        if (self.epoch, self.owner, self.applied) != (effect.epoch, effect.owner, effect.applied_timestamp):
            return Misplaced(self.status())
        if self.was_made(effect.intent_timestamp):
            return SchemaChanged((Executed(0, 0),))
        self.mark = (effect.intent_timestamp, len(self.schema))
        self.changing[connection] = effect
        return None

    def was_made(self, intent_timestamp: int) -> bool:
        """Whether the marked change was made before."""
        return self.mark[0] == intent_timestamp and len(self.schema) > self.mark[1]

    def end_change(self, connection: str) -> Reply:
        sql = self.changing.pop(connection).sql
        key = key_of(sql)
        if self.disk_full:
            return SchemaChanged(DISK_FULL)
        if key.startswith("bad") or any(key_of(made) == key for made in self.schema):
            return SchemaChanged(DUPLICATE)
        self.schema.append(sql)
        return SchemaChanged((Executed(0, 0),))

    def abandon_change(self, connection: str, is_made: Callable[[], bool]) -> None:
        """Its connection or its server ends: it is made whole at the last moment, or not at all."""
        if connection in self.changing:
            if is_made():
                self.end_change(connection)
            self.changing.pop(connection, None)

    def _end_mark(self, batch: Batch) -> None:
        if batch.change is not None and batch.change.step is not ChangeStep.INTENT:
            self.mark = (0, len(self.schema))
