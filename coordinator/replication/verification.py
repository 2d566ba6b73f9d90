"""Snapshots of all nodes at one timestamp, so that their rows can be compared while writes go on (design promise 4).

Any snapshot of the master is at some timestamp, since a batch's rows and the applied timestamp are committed together: it is
opened first, wherever it is, and tells its timestamp T. Each replica applies up to T and no further (a *limit*, which shipping.py
keeps) for the moment that it takes to open its own; then its limit is lifted. Rows are appended meanwhile, so no write waits;
strong reads go to the master for that moment, since no other node has applied everything.

Before T is known the limit is what was committed when the master was asked: no replica has applied more, and T is no less.

Invariant: every snapshot that is handed on is at T; nothing is applied past a limit; and a limit always ends: with the node's
snapshot, its failure, the epoch, a schema change, or the deadline, after which the node is left out of this run and said so.

Hard case: a server behind a new connection may have come back with other data. The snapshot itself says which epoch and owner
it is of and how far it was applied, and all that is compared is read in it, so no fence has to open these connections.
"""

from replication.effects import OpenSnapshot, SnapshotsTaken
from replication.progress import NodeProgress
from replication.replies import SnapshotOpened
from replication.shipping import Shipping
from replication.state import MILLISECOND_NS, Phase, ReplicationState

PATIENCE_NS = 2_000 * MILLISECOND_NS
"""How long all of it may take; a replica that is not there by then is left out."""


class Verification:
    """The alignment under way, if `is_under_way`."""

    def __init__(self, state: ReplicationState, shipping: Shipping) -> None:
        self._state = state
        self._shipping = shipping
        self.is_under_way = False
        self._deadline_ns = 0
        self._timestamp: int | None = None
        self._asked: dict[int, str] = {}
        """Command -> the node that opens a snapshot."""
        self._waiting: dict[str, None] = {}
        """Replicas without a snapshot yet."""
        self._taken: list[str] = []
        self._left_out: dict[str, str] = {}

    def begin(self) -> None:
        state = self._state
        if self.is_under_way:
            state.emit(SnapshotsTaken(0, (), (), "snapshots are being opened already"))
            return
        if state.phase is not Phase.SERVING:
            state.emit(SnapshotsTaken(0, (), (), f"the cluster is {state.phase.value}"))
            return
        if state.schema_in_flux:
            state.emit(SnapshotsTaken(0, (), (), "a schema change is under way"))
            return
        self.is_under_way = True
        self._deadline_ns = state.now_ns + PATIENCE_NS
        self._timestamp = None
        self._asked, self._waiting, self._taken, self._left_out = {}, {}, [], {}
        for node in state.replicas:
            if node.sound:
                self._waiting[node.name] = None
                node.apply_limit = state.committed_timestamp
            else:
                self._left_out[node.name] = node.reason or f"it is {node.state.value}, and no member"
        self._open(state.master_progress)

    def _open(self, node: NodeProgress) -> None:
        state = self._state
        command = state.next_command()
        self._asked[command] = node.name
        state.emit(OpenSnapshot(node.name, command, state.epoch, state.owner, self._timestamp))

    # ------------------------------------------------------------------------------------------ replies

    def opened(self, command: int, reply: SnapshotOpened) -> None:
        name = self._asked.pop(command, None)
        if name is None or not self.is_under_way:
            return
        state = self._state
        if name == state.master:
            self._timestamp = reply.timestamp
            self._taken.append(name)
            for waiting in self._waiting:
                node = state.nodes[waiting]
                if node.apply_limit is not None:
                    node.apply_limit = max(node.apply_limit, reply.timestamp)
        elif self._fits(reply.timestamp):
            self._taken.append(name)
            self._release(name)

    def _fits(self, timestamp: int) -> bool:
        """Whether a replica's snapshot is the wanted one; else it is thrown away, and another is opened."""
        return timestamp == self._timestamp

    def failed(self, command: int, reason: str) -> bool:
        """Whether `command` was to open a snapshot."""
        name = self._asked.pop(command, None)
        if name is None:
            return False
        if self.is_under_way:
            if name == self._state.master:
                self.interrupt(f"{name} opens no snapshot: {reason}")
            else:
                self._leave_out(name, f"it opens no snapshot: {reason}")
        return True

    # ------------------------------------------------------------------------------------------ progress

    def advance(self) -> None:
        """After every step: ask who has come to the timestamp, leave out who cannot, end when all are settled."""
        state = self._state
        if not self.is_under_way:
            return
        if state.phase is not Phase.SERVING:
            self.interrupt("the cluster elects")
        elif state.schema_in_flux:
            self.interrupt("a schema change began")
        elif self._timestamp is None:
            if state.now_ns >= self._deadline_ns:
                self.interrupt(f"{state.master} opened no snapshot in time")
        else:
            for name in list(self._waiting):
                self._advance_replica(state.nodes[name])
            if not self._waiting:
                self._end()

    def _advance_replica(self, node: NodeProgress) -> None:
        if not node.sound or node.apply_limit is None:
            self._leave_out(node.name, node.reason or "it was away for a moment")
        elif self._state.now_ns >= self._deadline_ns:
            self._leave_out(
                node.name, f"it has come to {node.applied_timestamp} only, not to {self._timestamp}, in time"
            )
        elif node.applied_timestamp == self._timestamp and node.name not in self._asked.values():
            self._open(node)

    def _leave_out(self, name: str, reason: str) -> None:
        self._left_out[name] = reason
        self._release(name)

    def _release(self, name: str) -> None:
        """It applies what it has meanwhile been sent."""
        self._waiting.pop(name, None)
        node = self._state.nodes[name]
        node.apply_limit = None
        self._shipping.ship(node)

    def _end(self) -> None:
        assert self._timestamp is not None
        self.is_under_way = False
        left_out = tuple(sorted(self._left_out.items()))
        if len(self._taken) > 1:
            self._state.emit(SnapshotsTaken(self._timestamp, tuple(self._taken), left_out))
        else:
            self._state.emit(
                SnapshotsTaken(self._timestamp, (), left_out, "there is nobody to compare the master with")
            )

    def interrupt(self, reason: str) -> None:
        """Whatever is open is of no use any more; who waits for it is told, and closes it."""
        if not self.is_under_way:
            return
        self.is_under_way = False
        for name in self._waiting:
            self._state.nodes[name].apply_limit = None
        self._waiting = {}
        self._state.emit(SnapshotsTaken(0, (), tuple(sorted(self._left_out.items())), reason))

    @property
    def wake_at_ns(self) -> int | None:
        return self._deadline_ns if self.is_under_way else None
