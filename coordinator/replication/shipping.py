"""Bringing nodes level: what each node is sent next, and how a node that comes back finds its place.

One storing command at a time and node; each carries all that the node lacks (up to a size), so a slow node gets fewer,
larger commands and delays nobody. A row is applied only when it is known to be committed, in the same transaction as the
next append: one durable commit per replica and batch. Only a schema change is executed by itself, over another connection, while
the node goes on storing rows; then its row can be applied.

Hard case: a node whose unapplied tail lost an election. Only rows after its applied timestamp can differ (applied means
committed), so the last position of its tail that our log has is the common point; the rest is dropped with the next
rows. A node that applied a row that our log lacks must be impossible: it is quarantined and reported. Where our log no
longer reaches back to it nobody can tell, and the node gets a full copy (copying.py).
"""

from collections.abc import Callable

import msgspec

from replication.divergence import compared_with, set_aside
from replication.effects import Admit, Fence, ReadLog, ReadPositions, StoreRows
from replication.log import (
    LOG_BEGIN,
    Batch,
    ChangeStep,
    EntryName,
    LogDamaged,
    LogRow,
    Position,
    SchemaChange,
    batch_of,
    check_chain,
    cut,
)
from replication.progress import NodeProgress, NodeState, common_point
from replication.replies import Diverged, LogGone, LogRead, PositionsRead
from replication.schema_changes import order_change
from replication.state import Phase, ReplicationState


class Shipping:
    """Sends nodes what they lack."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self.met_difference: Callable[[NodeProgress, Diverged], None] = lambda _node, _reply: None
        """Told when a node turns out to have other data than the log says."""
        self._lookups: dict[int, str] = {}
        """Reads of the authoritative log under way: command -> node for whose sake it is read."""

    def forget(self) -> None:
        """A new epoch begins: answers to older look-ups mean nothing."""
        self._lookups.clear()

    # ------------------------------------------------------------------------------------------ fence

    def fence(self, node: NodeProgress) -> None:
        state = self._state
        node.state = NodeState.FENCING
        node.forget_change()
        node.asked_ns = state.now_ns
        node.command = state.next_command()
        state.emit(Fence(node.name, node.command, state.epoch, state.owner))

    # ------------------------------------------------------------------------------------------ match

    def match(self, node: NodeProgress) -> None:
        """Find where the log of a freshly fenced node and ours part. Needs `state.source`."""
        state = self._state
        status, source = node.status, state.source
        assert status is not None
        assert source is not None
        if node.diverged:
            set_aside(state, node)
        elif node.distrusted and status.cluster_id:
            whose = "an old copy of its data" if status.node == node.name else f"a copy of {status.node}'s data"
            state.report("warning", f"{node.name} came back with {whose}: it counts for nothing until it is level")
            self._disown(node)
        elif state.phase is Phase.SERVING and status.applied_timestamp > state.committed_timestamp:
            # a copy of the master, made between its COMMIT and our hearing of that
            state.lose_node(node, f"it applied {status.applied_timestamp}, which the master has not reported yet")
        elif node.member and status.node != node.name:
            self._name(node, state.cluster_id)
        elif status.cluster_id not in ("", state.cluster_id):
            node.member = False
            if status.log_end.position != LOG_BEGIN:
                self._quarantine(node, f"it belongs to cluster {status.cluster_id}, this is {state.cluster_id}")
                return
            # the founding of another cluster was cut short here: make it an empty node like any other
            self._disown(node)
        elif state.window.holds(status.log_end.position):
            self._level(node, status.log_end.position)
        else:
            command = state.next_command()
            self._lookups[command] = node.name
            node.command = command
            first, last = status.applied_timestamp, status.log_end.position.timestamp
            state.emit(ReadPositions(source, command, first, last))

    def _disown(self, node: NodeProgress) -> None:
        """Write on its disk that it is no member, for the next coordinator. It is filled and tried like an empty one."""
        self._name(node, "")

    def _name(self, node: NodeProgress, cluster_id: str) -> None:
        """Write on its disk whose data it has, its own, and whether it is a member."""
        state = self._state
        node.command = state.next_command()
        state.emit(Admit(node.name, node.command, state.epoch, state.owner, cluster_id))

    def named(self, node: NodeProgress) -> None:
        assert node.status is not None
        cluster_id = self._state.cluster_id if node.member else ""
        node.distrusted = False
        if node.member:
            node.copied_from = ""
        node.status = msgspec.structs.replace(node.status, cluster_id=cluster_id, node=node.name)
        self.match(node)

    def positions_read(self, command: int, reply: PositionsRead) -> None:
        node = self._lookup_done(command)
        if node is None or node.state is not NodeState.MATCHING or node.status is None:
            return
        common = common_point(node.status, frozenset(reply.positions))
        if common is None and node.status.applied_timestamp < reply.log_begin.timestamp:
            self._leave_behind(node, rows_are_gone(node, reply.log_begin))
        elif common is None:
            applied = node.status.tail[0] if node.status.tail else node.status.log_end.position
            self._quarantine(node, f"it applied {applied}, which the log does not have")
        else:
            self._level(node, common)

    def _level(self, node: NodeProgress, position: Position) -> None:
        node.level_at(position, self._state.window.end.position, self._state.now_ns)
        if position != node.disk_end:
            self._state.report("warning", f"{node.name}: rows after {position} lost an election and are dropped")
        self.ship(node)

    def _quarantine(self, node: NodeProgress, reason: str) -> None:
        node.quarantine(reason)
        self._state.report("error", f"{node.name} is quarantined: {reason}")

    # ------------------------------------------------------------------------------------------ ship

    def ship_all(self) -> None:
        state = self._state
        for name in state.preferred_quorum:
            # Cabinet's choice first: the sending itself costs time
            if name in state.nodes:
                self.ship(state.nodes[name])
        for node in state.nodes.values():
            self.ship(node)

    def ship(self, node: NodeProgress) -> None:
        """Send `node` what it lacks, if it is free and lacks something that may be sent now."""
        state = self._state
        if node.state is not NodeState.LEVEL or not node.idle or state.source is None:
            return
        if state.phase is Phase.SERVING and node.name == state.master:
            return  # the master gets its rows by executing them
        assert node.log_end is not None
        to_apply = self._apply_until(node) > node.applied_timestamp
        to_append = state.window.end.position != node.log_end
        to_drop = node.disk_end != node.log_end
        if not to_append and not to_drop and not (to_apply and self._apply_is_due()):
            return
        start = node.applied_timestamp if to_apply else node.log_end.timestamp
        if self._gives_the_log_up(node):
            self._leave_behind(node, "a full copy is quicker than the rest of the log")
        elif not state.window.covers(start):
            self._read_for(node, start)
        else:
            self._store(node, state.window.after(start, state.settings.chunk_bytes_max))

    def _gives_the_log_up(self, node: NodeProgress) -> bool:
        """Whether the log has filled it for a while, and at that pace would for longer than that again: a log of many schema
        changes takes minutes, a copy of what they left seconds. Only for who counts for nothing (a voter's rows are worth more
        than that time), and once: one that cannot keep up with the writes would be behind after every copy."""
        state = self._state
        if node.member or node.copied_from or node.waits_for_change or state.phase is not Phase.SERVING:
            return False
        since_ns, applied = node.filled_from
        if state.now_ns - since_ns < state.settings.log_patience_ns:
            return False
        node.filled_from = (state.now_ns, node.applied_timestamp)
        return state.committed_timestamp - node.applied_timestamp > node.applied_timestamp - applied

    def _apply_until(self, node: NodeProgress) -> int:
        """What may be applied there: what is committed, unless it executes a schema change, its rows are in doubt, or it is
        about to open a snapshot."""
        if node.dispute is not None or node.waits_for_change:
            return node.applied_timestamp
        committed = self._state.committed_timestamp
        return committed if node.apply_limit is None else min(committed, node.apply_limit)

    def _apply_is_due(self) -> bool:
        state = self._state
        idle = state.now_ns - state.committed_at_ns >= state.settings.idle_flush_ns
        return idle or state.phase is not Phase.SERVING

    @property
    def flush_at_ns(self) -> int | None:
        """When the next idle flush is due; None: nobody waits for one."""
        state = self._state
        for node in state.nodes.values():
            if node.name == state.master or node.state is not NodeState.LEVEL or not node.idle:
                continue
            if node.applied_timestamp < self._apply_until(node):
                return state.committed_at_ns + state.settings.idle_flush_ns
        return None

    def _read_for(self, node: NodeProgress, after_timestamp: int) -> None:
        state = self._state
        assert state.source is not None
        node.command = state.next_command()
        self._lookups[node.command] = node.name
        bytes_max = state.settings.chunk_bytes_max
        state.emit(ReadLog(state.source, node.command, after_timestamp, bytes_max))

    def log_gone(self, command: int, reply: LogGone) -> None:
        """The rows that a node lacks were removed from the authoritative log."""
        node = self._lookup_done(command)
        if node is not None and node.state is NodeState.LEVEL:
            self._leave_behind(node, rows_are_gone(node, reply.log_begin))

    def _leave_behind(self, node: NodeProgress, reason: str) -> None:
        node.needs_copy(reason)
        self._state.report("warning", f"{node.name}: {node.reason}")

    def log_read(self, command: int, reply: LogRead) -> None:
        """Raises LogDamaged where the rows are not what was written, or are not there."""
        node = self._lookup_done(command)
        if node is None or node.state is not NodeState.LEVEL:
            return
        if not reply.rows:
            raise LogDamaged(f"rows after {reply.before.position} are missing")
        check_chain(reply.before, reply.rows)
        self._store(node, cut(reply.rows, self._state.settings.chunk_bytes_max))

    def _store(self, node: NodeProgress, rows: tuple[LogRow, ...]) -> None:
        """`rows` follow the node's applied timestamp, or its log's end. Only in the first case may any be applied: what is
        committed may have grown since the rows were asked for, and no row may be passed over."""
        state = self._state
        assert node.log_end is not None
        assert node.disk_end is not None
        log_end = node.log_end.timestamp
        follow_applied = bool(rows) and rows[0].previous_timestamp <= node.applied_timestamp
        committed = self._apply_until(node) if follow_applied else node.applied_timestamp
        apply, change = self._appliable(node, rows, committed)
        if change is not None and not apply:
            if change.step is ChangeStep.FAILED:
                reason = f"it has made a schema change that is said to have failed: {change.sql[:200]}"
                self.met_difference(node, Diverged(reason, EntryName(change.intent_timestamp + 1), None))
            else:
                self._change_schema(node, change)
            self.ship(node)
            return
        node.command = state.next_command()
        state.emit(
            StoreRows(
                node.name,
                node.command,
                epoch=state.epoch,
                owner=state.owner,
                master=state.master or "",
                log_end=node.disk_end,
                applied_timestamp=node.applied_timestamp,
                drop_after=node.log_end if node.disk_end != node.log_end else None,
                append=tuple(row for row in rows if row.last_timestamp > log_end),
                apply=apply,
                committed_timestamp=state.committed_timestamp,
            )
        )

    # ------------------------------------------------------------------------------------------ schema changes

    def _appliable(
        self, node: NodeProgress, rows: tuple[LogRow, ...], committed: int
    ) -> tuple[tuple[tuple[LogRow, Batch], ...], SchemaChange | None]:
        """What can be applied of the committed `rows`, and the schema change that is in the way of the rest: it has to be
        executed, or it was executed and should not have been."""
        apply: list[tuple[LogRow, Batch]] = []
        for row in rows:
            if node.applied_timestamp < row.last_timestamp <= committed:
                batch = compared_with(batch_of(row), self._state.overruled)
                change = batch.change
                if change is not None and change.step is not ChangeStep.INTENT:
                    is_executed = change.intent_timestamp == node.executed_change
                    if is_executed is not (change.step is ChangeStep.DONE):
                        return tuple(apply), change
                apply.append((row, batch))
        return tuple(apply), None

    def _change_schema(self, node: NodeProgress, change: SchemaChange) -> None:
        node.waits_for_change = change.intent_timestamp
        order_change(self._state, node, change)

    def schema_changed(self, node: NodeProgress) -> None:
        """It executed the change that it waited for, or has long ago."""
        node.executed_change, node.waits_for_change = node.waits_for_change, 0
        self.ship(node)

    # ------------------------------------------------------------------------------------------ look-ups

    def lookup_failed(self, command: int, reason: str) -> bool:
        """Whether `command` was a look-up of the authoritative log, whose source then does not answer. The node for whose
        sake it was is looked at afresh too: nothing else would ever ask again for it."""
        node = self._lookup_done(command)
        if node is None:
            return False
        self._state.lose_node(node, f"the rows that it lacks could not be read: {reason}")
        return True

    def _lookup_done(self, command: int) -> NodeProgress | None:
        name = self._lookups.pop(command, None)
        if name is None:
            return None
        node = self._state.nodes[name]
        if node.command != command:
            return None
        node.command = None
        return node


def rows_are_gone(node: NodeProgress, log_begin: Position) -> str:
    """Why the log cannot fill it."""
    return f"it has applied {node.applied_timestamp}, and the log begins at {log_begin}: it needs a full copy"
