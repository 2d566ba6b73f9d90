"""A node's fence: the row that says in whose epoch the node is, and all that is done under its lock.

A command of an epoch finds the row in its way where it names another (node_sql.py); here it is given to an epoch.

Hard case: the fence finds its lock held by a transaction of a coordinator that is frozen, deposed, or this one's own before
it reconnected. Waiting for it would hand the cluster to whoever sleeps: its connections are ended (KILL) and the fence tried
again. A plain read of the epoch would not do: a paused COMMIT was seen to be accepted after it.
"""

import asyncio
from collections.abc import Sequence

from adapters import audit, node_sql
from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult
from adapters.node_log import log_end_of, position_of
from adapters.node_schema import MARK, Mark
from adapters.other_sessions import end_others
from replication.effects import Admit, ConfirmEpoch, NoteCopy
from replication.log import Position
from replication.replies import Admitted, CopyNoted, EpochSeen, Misplaced, Outbid, Reply
from replication.values import NOBODY, NodeStatus

LOCK_HELD_ERRNO = 3572
"""FOR UPDATE NOWAIT found the row locked."""
NOTHING_THERE_ERRNOS = frozenset({1049, 1146})  # no such database, no such table
NO_SUCH_COLUMN_ERRNO = 1054
LOOK = [node_sql.META, node_sql.LOG_BEGIN, node_sql.LOG_END, node_sql.TAIL]


class NodeFence:
    """The row `_replication.meta` of one node, over the connection `control`."""

    def __init__(
        self, node: str, control: MySQLSession, beside: Sequence[MySQLSession], *, fence_s: float, confirm_s: float
    ) -> None:
        """`beside`: our other connections of the same account, which are not to be ended."""
        self._node = node
        self._control = control
        self._ours = [*beside, control]
        self._fence_s = fence_s
        self._confirm_s = confirm_s

    async def open(self) -> None:
        """Connect, if the server's settings are those that correctness rests on. Raises SettingRefused."""
        await self._control.open()
        results = await self._control.run(
            ["SET timestamp = 1", audit.AUDIT, "SET timestamp = DEFAULT", "COMMIT"], self._fence_s
        )
        try:
            audit.check(results[1].rows[0])
        except audit.SettingRefused:
            self._control.close()
            raise

    async def is_bare(self) -> bool:
        """Whether the server has none of our tables: a copy was cut short, or it was made by somebody else's hand."""
        try:
            # over a connection that may hang since long: a new one is opened the sooner
            await self._control.run([node_sql.FENCE, "COMMIT"], self._confirm_s)
        except ServerError as error:
            if error.errno not in NOTHING_THERE_ERRNOS:
                raise
            return True
        return False

    async def lock_and_look(self) -> tuple[NodeStatus, Mark]:
        """Lock the meta row, ending whoever holds it, and read everything under the lock."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._fence_s
        lock = ["START TRANSACTION", node_sql.LOCK + " NOWAIT"]
        while True:
            try:
                results = await self._control.run([*lock, *LOOK, MARK], self._fence_s)
                return status_of(results[2:]), Mark(*results[-1].rows[0])
            except ConnectionBroken:
                self._control.close()  # and the lock goes with it
                raise
            except ServerError as error:
                if error.errno == NO_SUCH_COLUMN_ERRNO:
                    self._control.close()
                    reason = f"its data was made by another version of this software: {error.message}"
                    raise ConnectionBroken(reason, sent=False) from error
                if error.errno != LOCK_HELD_ERRNO or loop.time() > give_up_at:
                    raise
            await self.leave()
            await self._end_other_coordinators()
            await asyncio.sleep(0.005)  # the ended transaction is rolled back by its own thread

    async def change(self, assignments: str) -> None:
        """The row is locked and looked at: change it and let it go."""
        update = f"UPDATE _replication.meta SET {assignments} WHERE id = 1"
        await self._control.run([update, "COMMIT"], self._fence_s)

    async def leave(self) -> None:
        """The row is locked: let it go as it is."""
        await self._control.run(["ROLLBACK"], self._fence_s)

    async def _end_other_coordinators(self) -> None:
        ours = [session.thread_id for session in self._ours]
        await end_others(self._control, "coordinator", ours, self._fence_s)

    async def admit(self, effect: Admit) -> Reply:
        async with self._control.lock:
            status, _ = await self.lock_and_look()
            if (status.epoch, status.owner) != (effect.epoch, effect.owner):
                await self.leave()
                return Outbid(status)
            node = NOBODY if effect.rows_differ else self._node
            names = f"cluster_id = {node_sql.quote(effect.cluster_id)}, node = {node_sql.quote(node)}"
            await self.change(f"{names}, copy_note = ''")
        return Admitted()

    async def confirm_epoch(self, _: ConfirmEpoch) -> Reply:
        async with self._control.lock:
            results = await self._control.run([node_sql.FENCE, "COMMIT"], self._confirm_s)
        epoch, owner = results[0].rows[0]
        return EpochSeen(epoch, owner)

    async def note_copy(self, effect: NoteCopy) -> Reply:
        async with self._control.lock:
            status, _ = await self.lock_and_look()
            is_ours = (status.epoch, status.owner) == (effect.epoch, effect.owner)
            if not is_ours or status.copy_note != effect.previous:
                await self.leave()
                return Misplaced(status) if is_ours else Outbid(status)
            await self.change(f"copy_note = {node_sql.quote(effect.note)}")
        return CopyNoted()


def status_of(results: list[StatementResult]) -> NodeStatus:
    """Results of LOOK -> what the node says of itself. Raises ConnectionBroken where its log and its meta row disagree, which no
    command of ours can have left so."""
    meta, log_begin, log_end, tail = results[:4]
    cluster_id, node, epoch, owner, master, committed, applied, applied_entries, copy_note, *said_end = meta.rows[0]
    end = log_end_of(log_end)
    if Position(*said_end) != end.position:
        said = Position(*said_end)
        raise ConnectionBroken(f"its log ends at {end.position}, its meta row says {said}", sent=False)
    return NodeStatus(
        cluster_id=cluster_id,
        node=node,
        epoch=epoch,
        owner=owner,
        master=master,
        log_begin=position_of(log_begin),
        log_end=end,
        committed_timestamp=committed,
        applied_timestamp=applied,
        applied_entries=applied_entries,
        tail=tuple(Position(epoch, timestamp) for epoch, timestamp in tail.rows),
        copy_note=copy_note,
    )
