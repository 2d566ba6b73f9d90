"""A seeded world around the production replicator: nodes, network, timestamp servers, clients, and what goes wrong.

One schedule is one seed. Time is simulated; every delay, loss and crash comes from the seed, so a failure is replayed by
its number. A command that timed out may still be carried out later (a packet in the socket buffer of a frozen server).
"""

import heapq
import random
from collections.abc import Callable

from model_node import CommandLost, ModelNode

from replication.log import Position
from replication.messages import (
    Acknowledge,
    Certainty,
    Effect,
    Event,
    Fail,
    Fence,
    NodeCommand,
    NodeEffect,
    NodeFailed,
    NodeReplied,
    ReadAllowed,
    ReadArrived,
    ReadFinished,
    ReadRefused,
    Refuse,
    Request,
    RequestTimestamps,
    TimestampsGranted,
    TimestampsRefused,
    Woken,
    WriteArrived,
)
from replication.replicator import Replicator
from replication.state import Phase

MS = 1_000_000
NAMES = ("mysql-master", "replica-1", "replica-2", "replica-3")
TIMEOUT_NS = 400 * MS
DEADLINE_NS = 3_000 * MS


class Coordinator:
    """One run of a coordinator process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.replicator = Replicator(NAMES, owner=name, new_cluster_id=f"cluster-of-{name}")
        self.alive = True
        self.frozen_until_ns = 0
        self.wake_at_ns: int | None = None


class Write:
    """A client's write and what it was told."""

    def __init__(self, sql: str, invoked_ns: int) -> None:
        self.sql = sql
        self.invoked_ns = invoked_ns
        self.answered_ns: int | None = None
        self.answer: Acknowledge | Refuse | Fail | None = None


class Read:
    """A strong read: what it saw, and what it had to see."""

    def __init__(self, must_see: int) -> None:
        self.must_see = must_see
        self.seen: int | None = None


class World:
    """Nodes, coordinators and clients of one schedule."""

    def __init__(
        self, seed: int, *, trouble: float = 1.0, replicator: Callable[[str], Coordinator] = Coordinator
    ) -> None:
        self.random = random.Random(seed)
        self.trouble = trouble
        self._make = replicator
        self.now_ns = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._ties = 0
        self.nodes = {name: ModelNode(name) for name in NAMES}
        self.down_until: dict[str, int] = {}
        self.frozen_until: dict[str, int] = {}
        self._copies: dict[str, ModelNode] = {}
        self._harmed: tuple[str, int, Position] | None = None
        """The node whose disk was harmed last, and its epoch and log's end before."""
        self._server_run = dict.fromkeys(NAMES, 0)
        self._reader_opened_ns: dict[tuple[str, str], int] = {}
        self._connected: dict[tuple[str, str], int] = {}
        """(coordinator, node) -> the run of the server that its connections are to: only a fence connects anew."""
        self._fences: dict[tuple[str, str], int] = {}
        """(coordinator, node) -> fences carried out: each closes the connection that a transaction lives on."""
        self.coordinators: list[Coordinator] = []
        self.writes: dict[int, Write] = {}
        self.reads: dict[int, Read] = {}
        self.acknowledged_timestamp = 0
        self._last_id = 0
        self._last_number = [1, 2]
        self.trace: list[str] = []

    # ------------------------------------------------------------------------------------------ time

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        self._ties += 1
        heapq.heappush(self._queue, (max(time_ns, self.now_ns), self._ties, action))

    def run_until(self, end_ns: int) -> None:
        while self._queue and self._queue[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(self._queue)
            action()
        self.now_ns = end_ns

    def _delay(self) -> int:
        if self.random.random() < 0.02 * self.trouble:
            return self.random.randrange(1 * MS, 2 * TIMEOUT_NS)
        return self.random.randrange(MS // 20, 2 * MS)

    def _unlucky(self, chance: float) -> bool:
        return self.random.random() < chance * self.trouble

    # ------------------------------------------------------------------------------------------ coordinators

    def start_coordinator(self) -> Coordinator:
        coordinator = self._make(f"coordinator-{len(self.coordinators) + 1}")
        self.coordinators.append(coordinator)
        self._step(coordinator, Woken())
        return coordinator

    def _step(self, coordinator: Coordinator, event: Event) -> None:
        if not coordinator.alive:
            return
        if coordinator.frozen_until_ns > self.now_ns:
            self.at(coordinator.frozen_until_ns, lambda: self._step(coordinator, event))
            return
        self.trace.append(f"{self.now_ns} {coordinator.name} {event}")
        effects = coordinator.replicator.step(event, self.now_ns, self.now_ns // 1000)
        for effect in effects:
            self._perform(coordinator, effect)
        wake = coordinator.replicator.wake_at_ns
        if wake is not None and (coordinator.wake_at_ns is None or wake < coordinator.wake_at_ns):
            coordinator.wake_at_ns = wake
            self.at(max(wake, self.now_ns + MS), lambda: self._wake(coordinator))

    def _wake(self, coordinator: Coordinator) -> None:
        coordinator.wake_at_ns = None
        self._step(coordinator, Woken())

    def _perform(self, coordinator: Coordinator, effect: Effect) -> None:
        match effect:
            case Acknowledge() | Refuse() | Fail():
                self._answered(effect)
            case ReadAllowed():
                self._read_at(coordinator, effect)
            case ReadRefused():
                self.reads.pop(effect.read_id, None)
            case RequestTimestamps():
                self._grant(coordinator, effect)
            case _ if isinstance(effect, NodeCommand):
                self._send(coordinator, effect)

    def _grant(self, coordinator: Coordinator, effect: RequestTimestamps) -> None:
        event: Event
        if self._unlucky(0.03):
            event = TimestampsRefused("both servers are away")
        else:
            server = self.random.randrange(2)
            first = self._last_number[server]
            if first <= effect.after:
                first += ((effect.after - first) // 2 + 1) * 2
            last = first + 2 * (effect.count - 1)
            self._last_number[server] = last + 2
            event = TimestampsGranted(first, last, 2)
        self.at(self.now_ns + self._delay(), lambda: self._step(coordinator, event))

    # ------------------------------------------------------------------------------------------ network

    def _send(self, coordinator: Coordinator, effect: NodeEffect) -> None:
        sent_ns, name = self.now_ns, effect.node
        connection = f"{coordinator.name}, connection {self._fences.get((coordinator.name, name), 0)}"
        done = [False]

        def reply(event: Event) -> None:
            if not done[0]:
                done[0] = True
                self._step(coordinator, event)

        def carry_out() -> None:
            if self.down_until.get(name, 0) > self.now_ns:
                failure = NodeFailed(name, effect.command, Certainty.UNKNOWN, "connection refused")
                self.at(self.now_ns + self._delay(), lambda: reply(failure))
                return
            thaw = self.frozen_until.get(name, 0)
            if thaw > self.now_ns:
                self.at(thaw + self.random.randrange(MS), carry_out)
                return
            event: Event
            try:
                self._check_connection(coordinator, effect)
                event = NodeReplied(name, effect.command, self.nodes[name].carry_out(effect, connection))
            except CommandLost as lost:
                event = NodeFailed(name, effect.command, Certainty.NOT_APPLIED, str(lost))
            self.trace.append(f"{self.now_ns} {name} {effect} -> {event}")
            if not self._unlucky(0.01):
                self.at(self.now_ns + self._delay(), lambda: reply(event))

        if not self._unlucky(0.01):
            self.at(sent_ns + self._delay(), carry_out)
        timeout = NodeFailed(name, effect.command, Certainty.UNKNOWN, "no answer in time")
        self.at(sent_ns + TIMEOUT_NS, lambda: reply(timeout))

    def _check_connection(self, coordinator: Coordinator, effect: NodeEffect) -> None:
        ends = (coordinator.name, effect.node)
        if isinstance(effect, Fence):
            self._connected[ends] = self._server_run[effect.node]
            self._fences[ends] = self._fences.get(ends, 0) + 1
        elif self._connected.get(ends) != self._server_run[effect.node]:
            raise CommandLost("the connection broke when the server went down")

    # ------------------------------------------------------------------------------------------ clients

    def write(self, sql: str, coordinator: Coordinator) -> None:
        self._last_id += 1
        request = Request(self._last_id, sql, True, False, 0, self.now_ns + DEADLINE_NS)
        self.writes[self._last_id] = Write(sql, self.now_ns)
        self._step(coordinator, WriteArrived(request))

    def read(self, coordinator: Coordinator) -> None:
        self._last_id += 1
        self.reads[self._last_id] = Read(self.acknowledged_timestamp)
        self._step(coordinator, ReadArrived(self._last_id, self.now_ns + DEADLINE_NS))

    def _answered(self, answer: Acknowledge | Refuse | Fail) -> None:
        write = self.writes[answer.request_id]
        assert write.answer is None, f"{write.sql} was answered twice"
        write.answer, write.answered_ns = answer, self.now_ns
        if isinstance(answer, Acknowledge):
            self.acknowledged_timestamp = max(self.acknowledged_timestamp, answer.entry.timestamp)

    def _read_at(self, coordinator: Coordinator, effect: ReadAllowed) -> None:
        ends = (f"reader of {coordinator.name}", effect.node)
        leave_ns = self.now_ns

        def look() -> None:
            self._step(coordinator, ReadFinished(effect.node, MS))
            run = self._server_run[effect.node]
            if self.down_until.get(effect.node, 0) > self.now_ns:
                return
            if self._connected.get(ends) != run:
                self._connected[ends], self._reader_opened_ns[ends] = run, self.now_ns
            if self._reader_opened_ns[ends] > leave_ns:
                # a connection that is younger than the leave proves nothing of the server behind it: ask again
                self._step(coordinator, ReadArrived(effect.read_id, self.now_ns + DEADLINE_NS))
                return
            self.reads[effect.read_id].seen = self.nodes[effect.node].applied

        self.at(self.now_ns + self._delay(), look)

    # ------------------------------------------------------------------------------------------ trouble

    def crash_node(self, name: str, for_ns: int) -> None:
        self.nodes[name].crash()
        self._server_run[name] += 1
        self.down_until[name] = self.now_ns + for_ns

    def freeze_node(self, name: str, for_ns: int) -> None:
        self.frozen_until[name] = self.now_ns + for_ns

    def lose_disk(self, name: str, for_ns: int) -> None:
        """The node comes back with an empty data folder."""
        self.nodes[name] = ModelNode(name)
        self._server_run[name] += 1
        self.down_until[name] = self.now_ns + for_ns

    def keep_copy(self, name: str) -> None:
        """Someone copies the node's data folder."""
        copy = self.nodes[name].copy()
        self._copies[name] = copy

    def has_copy(self, name: str) -> bool:
        return name in self._copies

    def restore_copy(self, name: str, for_ns: int) -> None:
        """The node comes back with the copy of its data folder: it has forgotten what it promised since."""
        self.nodes[name] = self._copies.pop(name)
        self._server_run[name] += 1
        self.down_until[name] = self.now_ns + for_ns

    def may_harm_a_disk(self, name: str) -> bool:
        """No promise covers two disks at once: the last one that was harmed must have all again that it forgot."""
        if self._harmed is not None:
            harmed, epoch, position = self._harmed
            node = self.nodes[harmed]
            if not node.cluster_id or node.epoch < epoch or node.log_end.position < position:
                return False
            state = self.coordinators[-1].replicator.state
            if state.phase is not Phase.SERVING or not (state.nodes[harmed].member and state.nodes[harmed].fenced):
                return False
        if not all(node.cluster_id for node in self.nodes.values()):
            return False
        node = self.nodes[name]
        self._harmed = (name, node.epoch, node.log_end.position)
        return True

    def heal(self) -> None:
        self.trouble = 0.0
        self.down_until.clear()
        self.frozen_until.clear()
        for coordinator in self.coordinators[:-1]:
            coordinator.alive = False
        self.coordinators[-1].frozen_until_ns = 0
