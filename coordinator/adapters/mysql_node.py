"""A MySQL node as the protocol sees it: carries out one effect and returns its reply.

Five connections a node, so that a long command never delays a short one: `writer` (batches and rows), `control` (node_fence.py),
`log` (node_log.py), `copier` (node_copy.py), and one for schema changes (node_schema.py); and at times one with a snapshot
(node_checksums.py). A fence opens them all. Failures become CommandFailed with what may be concluded.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from adapters import audit, node_sql
from adapters.batch_execution import BatchExecution, ReadLimits
from adapters.merged_inserts import Merging
from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult
from adapters.node_checksums import NodeChecksums
from adapters.node_copy import NodeCopier
from adapters.node_fence import LOOK, NodeFence, status_of
from adapters.node_log import NodeLog
from adapters.node_schema import NodeSchema
from adapters.outcomes import DISTURBANCES
from replication.effects import (
    Admit,
    CommitBatch,
    ConfirmEpoch,
    CopyData,
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
from replication.replies import (
    Bare,
    BatchCommitted,
    BatchExecuted,
    BatchRolledBack,
    CopyEnded,
    Diverged,
    Fenced,
    Misplaced,
    Outbid,
    Reply,
    RowPrepared,
    RowsStored,
)
from replication.values import Certainty


class CommandFailed(Exception):
    """The command brought no reply."""

    def __init__(self, certainty: Certainty, reason: str) -> None:
        super().__init__(reason)
        self.certainty = certainty
        self.reason = reason


class NodeTimeouts(NamedTuple):
    """How long each kind of command may take, in seconds."""

    connect_s: float
    confirm_s: float
    fence_s: float
    store_s: float
    copy_s: float
    change_s: float
    read_s: float
    """Users' reads: a schema change waits for those of its tables."""


class NodePasswords:
    """Of the coordinator's accounts on the nodes, each for one purpose."""

    def __init__(self, *, coordinator: str, cloner: str, ddl: str) -> None:
        self.coordinator = coordinator
        self.cloner = cloner
        self.ddl = ddl


class MySQLNode:
    """One node's connections and commands."""

    def __init__(
        self,
        name: str,
        addresses: Mapping[str, tuple[str, int]],
        passwords: NodePasswords,
        database: str,
        timeouts: NodeTimeouts,
        checksums: NodeChecksums,
        read_limits: ReadLimits,
    ) -> None:
        """`addresses`: of all nodes, since any may be the donor of a copy. `checksums`: where this one's snapshots are opened.
        `read_limits`: of reads among writes."""
        self.name = name
        self._timeouts = timeouts
        host, port = addresses[name]

        def session(*setup: str, account: str = "coordinator", password: str = passwords.coordinator) -> MySQLSession:
            setups = [node_sql.SESSION, *setup]
            return MySQLSession(host, port, account, password, setup=setups, connect_timeout_s=timeouts.connect_s)

        self._writer = session(f"USE `{database}`")
        # a bare server has no such database
        self._control, self._log = session(), session()
        fence = self._fence = NodeFence(
            name,
            self._control,
            (self._writer, self._log),
            fence_s=timeouts.fence_s,
            confirm_s=timeouts.confirm_s,
        )
        self._copier = NodeCopier(
            host,
            port,
            passwords.cloner,
            addresses,
            connect_timeout_s=timeouts.connect_s,
            timeout_s=timeouts.copy_s,
        )
        self._checksums = checksums
        self._read_limits = read_limits
        log = NodeLog(self._log, timeouts.store_s)

        wait_for_readers = node_sql.wait_for_readers(timeouts.read_s)

        def schema() -> NodeSchema:
            ddl = session(f"USE `{database}`", wait_for_readers, account="ddl", password=passwords.ddl)
            return NodeSchema(ddl, self._writer, timeouts.store_s, timeouts.change_s)

        self._new_schema = schema
        self._schema = schema()
        self._merging = Merging()
        self._batch_thread: int | None = None
        """The server's number of the connection that has the batch's transaction open."""
        self._handlers: dict[type, Callable[[Any], Awaitable[Reply]]] = {
            Fence: self._take,
            Admit: fence.admit,
            ExecuteBatch: self._execute_batch,
            PrepareRow: self._prepare_row,
            CommitBatch: self._commit_batch,
            RollBackBatch: self._roll_back_batch,
            StoreRows: self._store_rows,
            RunSchemaChange: lambda effect: self._schema.change(effect, self._misplaced),
            ReadLog: log.read,
            ReadPositions: log.positions,
            MeasureLog: log.measure,
            TruncateLog: log.truncate,
            CopyData: self._copy_data,
            NoteCopy: fence.note_copy,
            ConfirmEpoch: fence.confirm_epoch,
            OpenSnapshot: checksums.open,
        }

    async def carry_out(self, effect: NodeEffect) -> Reply:
        """Raises CommandFailed."""
        try:
            return await self._handlers[type(effect)](effect)
        except ConnectionBroken as broken:
            certainty = Certainty.UNKNOWN if broken.sent else Certainty.NOT_APPLIED
            raise CommandFailed(certainty, str(broken)) from broken
        except ServerError as error:
            raise CommandFailed(Certainty.NOT_APPLIED, str(error)) from error
        except audit.SettingRefused as refused:
            self.close()
            raise CommandFailed(Certainty.NOT_APPLIED, f"refused: {refused}") from refused

    def close(self) -> None:
        for session in (self._writer, self._control, self._log, self._copier, self._schema, self._checksums):
            session.close()

    # ------------------------------------------------------------------------------------------ fence

    async def _take(self, effect: Fence) -> Reply:
        # whatever the writer was at belongs to an epoch that is over
        self._writer.close()
        self._schema.close()
        async with self._control.lock:
            if not self._control.is_open:
                self._log.close()
                self._copier.close()
                await self._fence.open()
            # all connections are older than the look, so all talk to the server that was looked at: one that is
            # restarted later (perhaps without its data) breaks them, and nothing but a fence opens them again
            await self._copier.open()
            if await self._fence.is_bare():
                return Bare()
            await self._writer.open()
            self._schema = self._new_schema()
            await self._schema.open()
            if not self._log.is_open:
                await self._log.open()
            status, mark = await self._fence.lock_and_look()
            if status.epoch > effect.epoch or (status.epoch == effect.epoch and status.owner != effect.owner):
                await self._fence.leave()
                return Outbid(status)
            await self._copier.end_others(self._timeouts.fence_s)
            await self._schema.end_others(self._timeouts.fence_s)
            executed_change = await self._schema.executed_change(mark)
            await self._fence.change(f"epoch = {effect.epoch}, owner = {node_sql.quote(effect.owner)}")
        return Fenced(msgspec.structs.replace(status, executed_change=executed_change))

    # ------------------------------------------------------------------------------------------ master

    async def _execute_batch(self, effect: ExecuteBatch) -> Reply:
        async with self._writer.lock:
            self._batch_thread = self._writer.thread_id
            merges = self._merging.begins_batch()
            execution = BatchExecution(effect, self._read_limits, merges=merges)
            while not execution.is_done:
                results: list[StatementResult] = []
                failure: ServerError | None = None
                try:
                    await self._writer.run(execution.next_packet(), self._timeouts.store_s, results)
                except ServerError as error:
                    if error.place == GUARD_PLACE and not execution.is_open:
                        return await self._misplaced(error)
                    failure = error
                execution.took(results, failure)
            if execution.a_run_failed:
                self._merging.failed()
            elif merges:
                self._merging.went_well()
            return BatchExecuted(tuple(execution.outcomes))

    async def _prepare_row(self, effect: PrepareRow) -> Reply:
        async with self._writer.lock:
            await self._in_transaction(node_sql.prepare_row(effect))
        return RowPrepared()

    async def _commit_batch(self, _: CommitBatch) -> Reply:
        async with self._writer.lock:
            await self._in_transaction(["COMMIT"])
            self._batch_thread = None
        return BatchCommitted()

    async def _roll_back_batch(self, _: RollBackBatch) -> Reply:
        async with self._writer.lock:
            await self._in_transaction(["ROLLBACK"])
            self._batch_thread = None
        return BatchRolledBack()

    async def _in_transaction(self, statements: list[str]) -> None:
        """Go on in the open transaction. An error ends it with its connection, so nothing of it can be committed later."""
        if self._batch_thread is None or self._batch_thread != self._writer.thread_id:
            raise ConnectionBroken("the connection of the batch's transaction is gone", sent=False)
        try:
            await self._writer.run(statements, self._timeouts.store_s)
        except ServerError:
            self._writer.close()
            raise

    # ------------------------------------------------------------------------------------------ replicas

    async def _store_rows(self, effect: StoreRows) -> Reply:
        async with self._writer.lock:
            return await self._store(effect, node_sql.store_rows(effect))

    async def _store(self, effect: StoreRows, storing: node_sql.Storing) -> Reply:
        results: list[StatementResult] = []
        try:
            await self._writer.run(storing.statements, self._timeouts.store_s, results)
        except ServerError as error:
            a_guard_failed = error.errno == node_sql.GUARD_FAILED_ERRNO
            if a_guard_failed and error.place == GUARD_PLACE:
                return await self._misplaced(error)
            await self._writer.run(["ROLLBACK"], self._timeouts.store_s)
            if storing.merges:
                return await self._store(effect, node_sql.store_rows(effect, merged=False))
            if a_guard_failed and error.place == storing.rows_guard:
                return difference(storing, results)
            if error.place in storing.expected and error.errno not in DISTURBANCES:
                reason = f"{storing.statements[error.place][:200]} failed here only: {error}"
                return Diverged(reason, storing.entries[error.place], None)
            raise
        log_end = effect.append[-1].position if effect.append else effect.drop_after or effect.log_end
        applied = effect.apply[-1][0].last_timestamp if effect.apply else effect.applied_timestamp
        return RowsStored(log_end, applied)

    async def _misplaced(self, error: ServerError) -> Reply:
        """The guard failed (or the fence row could not be locked): read under the lock what is true."""
        if error.errno != node_sql.GUARD_FAILED_ERRNO:
            await self._writer.run(["ROLLBACK"], self._timeouts.fence_s)
            raise error
        results = await self._writer.run([*LOOK, "ROLLBACK"], self._timeouts.fence_s)
        return Misplaced(status_of(results))

    # ------------------------------------------------------------------------------------------ copies

    async def _copy_data(self, effect: CopyData) -> Reply:
        await self._copier.copy(effect.donor)
        return CopyEnded()


GUARD_PLACE = 0
"""The guard is in the first statement of a packet that opens a transaction."""


def difference(storing: node_sql.Storing, results: list[StatementResult]) -> Diverged:
    """Which statement affected other rows here than on the master."""
    for place, rows_affected in storing.expected.items():
        found = results[place].rows_affected
        if found != rows_affected:
            reason = f"{storing.statements[place][:200]} changed {found} rows here, {rows_affected} on the master"
            return Diverged(reason, storing.entries[place], found)
    return Diverged("the rows affected differ from the master's", max(storing.entries.values()), None)
