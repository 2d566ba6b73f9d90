"""A seeded world around the production replicator: time, coordinators, nodes, timestamp servers, clients.

One schedule is one seed. Time is simulated; every delay, loss and crash comes from the seed, so a failure is replayed by
its number. What goes wrong is in `trouble.py`; what is true of the nodes is checked after every step
(`world_invariants.py`), what clients were told at the end (`client_history.py`).
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from client_history import ClientHistory, Read, Write
from links import MS, NAMES, Channel, Direction, Links, Patience
from model_node import ModelNode
from model_timestamps import TimestampServers
from node_sessions import Connection, Line
from row_comparison import groups_of, wrong_nodes
from simulated_processes import Coordinator, Server
from world_invariants import WorldInvariants

from replication.effects import (
    Acknowledge,
    Admit,
    Effect,
    ExecuteBatch,
    Fail,
    NodeCommand,
    NodeEffect,
    PrepareRow,
    ReadAllowed,
    ReadRefused,
    Refuse,
    RequestTimestamps,
    SnapshotsTaken,
)
from replication.events import (
    DifferenceFound,
    Event,
    NodeReplied,
    ReadArrived,
    ReadFinished,
    TimestampsGranted,
    TimestampsRefused,
    VerificationRequested,
    Woken,
    WriteArrived,
)
from replication.replies import Admitted
from replication.values import STRONG, ReadLevel, ReadNeed, Request, RequestStatement

DEADLINE_NS = 3_000 * MS
RETRY_READ_NS = 20 * MS
TIMESTAMP_TIMEOUT_NS = 200 * MS


class World:
    """Nodes, coordinators and clients of one schedule."""

    def __init__(
        self,
        seed: int,
        *,
        replicator: Callable[[str, random.Random], Coordinator] = Coordinator,
        patience: Patience | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.patience = patience or Patience()
        self._make = replicator
        self.now_ns = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._ties = 0
        self.links = Links(self.random)
        self.servers = {name: Server(name) for name in NAMES}
        self.timestamps = TimestampServers()
        self.coordinators: list[Coordinator] = []
        self._lines: dict[tuple[str, str], Line] = {}
        self._connections: dict[str, dict[Connection, None]] = {name: {} for name in NAMES}
        self._readers: dict[tuple[str, str], tuple[int, int]] = {}
        """(coordinator, node) -> the run of the server that its reader is connected to, and since when."""
        self.history = ClientHistory()
        self.invariants = WorldInvariants(self.servers)
        self.ambush: tuple[type[NodeCommand], Callable[[Coordinator, str], None]] | None = None
        """What happens when the next command of this kind is sent."""
        self.probes: Counter[str] = Counter()
        """What happened, by name."""
        self._last_id = 0
        self._trace: list[tuple[object, ...]] = []

    # ------------------------------------------------------------------------------------------ time

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        self._ties += 1
        heapq.heappush(self._queue, (max(time_ns, self.now_ns), self._ties, action))

    def run_until(self, end_ns: int) -> None:
        while self._queue and self._queue[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(self._queue)
            action()
        self.now_ns = end_ns

    def within(self, span_ns: int) -> int:
        return int(self.random.random() * span_ns)

    def happened(self, what: str) -> None:
        self.probes[what] += 1

    def note(self, *what: object) -> None:
        """One line of the trace; made into text only when somebody wants to see it."""
        self._trace.append((self.now_ns, *what))

    @property
    def trace(self) -> list[str]:
        return [" ".join(map(str, line)) for line in self._trace]

    # ------------------------------------------------------------------------------------------ coordinators

    @property
    def alive(self) -> list[Coordinator]:
        return [coordinator for coordinator in self.coordinators if coordinator.alive]

    def start_coordinator(self) -> Coordinator:
        coordinator = self._make(f"coordinator-{len(self.coordinators) + 1}", self.random)
        self.coordinators.append(coordinator)
        for server in self.servers.values():
            self._lines[coordinator.name, server.name] = Line(self, coordinator, server, self._connections[server.name])
        self.event(coordinator, Woken())
        return coordinator

    def kill_coordinator(self, coordinator: Coordinator, *, told: bool = True) -> None:
        """`told`: its kernel closes its connections."""
        self.note(coordinator.name, "is killed")
        coordinator.alive = False
        coordinator.backlog.clear()
        for name in NAMES:
            self._lines[coordinator.name, name].process_ended(told=told)

    def freeze_coordinator(self, coordinator: Coordinator, for_ns: int) -> None:
        self.note(coordinator.name, "is frozen for", for_ns)
        coordinator.frozen_until_ns = max(coordinator.frozen_until_ns, self.now_ns + for_ns)
        self.at(coordinator.frozen_until_ns, lambda: self.thaw_coordinator(coordinator))

    def thaw_coordinator(self, coordinator: Coordinator) -> None:
        """It goes on with the step it was in; then with what came meanwhile, in any order: time-outs before answers too."""
        if coordinator.frozen_until_ns > self.now_ns or not coordinator.alive:
            return
        coordinator.frozen_until_ns = 0
        rest, coordinator.rest = coordinator.rest, ()
        backlog, coordinator.backlog = coordinator.backlog, []
        self._perform_all(coordinator, rest)
        self.random.shuffle(backlog)
        for action in backlog:
            self.on(coordinator, action)

    def on(self, coordinator: Coordinator, action: Callable[[], None]) -> None:
        if not coordinator.alive:
            return
        if coordinator.frozen_until_ns > self.now_ns:
            coordinator.backlog.append(action)
        else:
            action()

    def event(self, coordinator: Coordinator, event: Event) -> None:
        if not coordinator.alive:
            return
        self._trace.append((self.now_ns, coordinator.name, event))
        wall_us = self.now_ns // 1000 + coordinator.wall_offset_us
        effects = coordinator.replicator.step(event, self.now_ns, wall_us)
        state = coordinator.replicator.state
        if state.master is not None and state.epoch != coordinator.epoch_noted:
            coordinator.epoch_noted = state.epoch
            self.invariants.elected(state.epoch, coordinator.name)
        self._perform_all(coordinator, effects)
        wake = coordinator.replicator.wake_at_ns
        if wake is not None and (coordinator.wake_at_ns is None or wake < coordinator.wake_at_ns):
            coordinator.wake_at_ns = wake
            self.at(max(wake, self.now_ns + MS), lambda: self.on(coordinator, lambda: self._wake(coordinator, wake)))

    def _wake(self, coordinator: Coordinator, timer_ns: int) -> None:
        """One timer, like the driver's: one that was put forward meanwhile is none any more."""
        if coordinator.wake_at_ns == timer_ns:
            coordinator.wake_at_ns = None
            self.event(coordinator, Woken())

    # ------------------------------------------------------------------------------------------ effects

    def _perform_all(self, coordinator: Coordinator, effects: Sequence[Effect]) -> None:
        for index, effect in enumerate(effects):
            if not coordinator.alive or coordinator.frozen_until_ns > self.now_ns:
                coordinator.rest = effects[index:]
                return
            if coordinator.stops_in is not None and self._stops(coordinator):
                self.happened(
                    "a coordinator stopped between two effects of a step" if index else "a coordinator stopped"
                )
                coordinator.rest = effects[index:]
                return
            self._perform(coordinator, effect)

    def _stops(self, coordinator: Coordinator) -> bool:
        """Whether it ends or stands still before the next effect."""
        assert coordinator.stops_in is not None
        coordinator.stops_in -= 1
        if coordinator.stops_in > 0:
            return False
        coordinator.stops_in = None
        if coordinator.stops_for_ns:
            self.freeze_coordinator(coordinator, coordinator.stops_for_ns)
        else:
            self.kill_coordinator(coordinator, told=self.random.random() < 0.8)
        return True

    def _perform(self, coordinator: Coordinator, effect: Effect) -> None:
        match effect:
            case Acknowledge() | Refuse() | Fail():
                self._answered(effect)
            case ReadAllowed():
                self._read_at(coordinator, effect)
            case ReadRefused():
                pass  # this reader asks no more
            case RequestTimestamps():
                self._grant(coordinator, effect)
            case SnapshotsTaken():
                self._compare(coordinator, effect)
            case _ if isinstance(effect, NodeCommand):
                self._lines[coordinator.name, effect.node].send(effect)
                if self.ambush is not None and isinstance(effect, self.ambush[0]):
                    (_, strike), self.ambush = self.ambush, None
                    strike(coordinator, effect.node)

    def _grant(self, coordinator: Coordinator, effect: RequestTimestamps) -> None:
        """Numbers whose answer is late are refused first; an answer may also come twice, the second time much later."""

        def deliver(event: TimestampsGranted | TimestampsRefused) -> None:
            self.on(coordinator, lambda: self.event(coordinator, event))

        event: TimestampsGranted | TimestampsRefused = self.timestamps.fetch(effect.count, effect.after, self.now_ns)
        late = isinstance(event, TimestampsGranted) and self.random.random() < 0.02 * self.links.trouble
        if late:
            self.happened("an answer with numbers came after its time-out")
            refusal = TimestampsRefused("no answer in time")
            self.at(self.now_ns + TIMESTAMP_TIMEOUT_NS, lambda: deliver(refusal))
        else:
            self.at(self.now_ns + self.links.delay_ns(), lambda: deliver(event))
        if late or self.random.random() < 0.05 * self.links.trouble:
            self.happened("an answer with numbers came twice or late")
            self.at(self.now_ns + TIMESTAMP_TIMEOUT_NS + self.within(2_000 * MS), lambda: deliver(event))

    # ------------------------------------------------------------------------------------------ comparisons

    def verify(self, coordinator: Coordinator) -> None:
        self.on(coordinator, lambda: self.event(coordinator, VerificationRequested()))

    def _compare(self, coordinator: Coordinator, effect: SnapshotsTaken) -> None:
        """What the run that waits for the snapshots finds in them, a while later."""
        if effect.refusal:
            self.happened("a comparison could not begin")
            return
        shown = {name: self._lines[coordinator.name, name].take_snapshot() for name in effect.nodes}
        found = {name: snapshot for name, snapshot in shown.items() if snapshot is not None}
        for name, snapshot in found.items():
            if not self.invariants.compared(effect.timestamp, name, snapshot):
                self.happened("a comparison saw a damaged row")
        self.happened("all nodes were compared at one timestamp" if len(found) == len(NAMES) else "some were compared")
        digests = {name: tuple(entry.sql for entry in data) for name, (_, data) in found.items()}
        wrong = wrong_nodes(groups_of(digests), coordinator.replicator.state.sizes.commit) if digests else []
        for name in wrong:
            self.happened("a node was found to differ")
            difference = DifferenceFound(name, "a row")
            tell = partial(self.on, coordinator, partial(self.event, coordinator, difference))
            self.at(self.now_ns + self.within(100 * MS), tell)

    # ------------------------------------------------------------------------------------------ nodes

    def executed(self, server: Server, effect: NodeEffect, event: Event) -> None:
        self._trace.append((self.now_ns, server.name, effect, "->", event))
        if isinstance(effect, ExecuteBatch | PrepareRow) or not isinstance(event, NodeReplied):
            return
        admitted = isinstance(effect, Admit) and isinstance(event.reply, Admitted)
        self.invariants.changed(server.name, self.now_ns, admitted=admitted)

    def crash_node(self, name: str, for_ns: int) -> None:
        self.note(name, "is killed for", for_ns)
        server = self.servers[name]
        for connection in list(server.node.changing):
            server.node.abandon_change(connection, lambda: self.within(2) == 1)
        server.node.crash()
        server.node.disk_full = False
        server.run += 1
        server.dies_in_command = None
        server.frozen_until_ns = 0
        server.down_until_ns = self.now_ns + for_ns

    def replaced(self, name: str) -> None:
        self.invariants.changed(name, self.now_ns)

    def exchange_disk(self, node: ModelNode, for_ns: int) -> None:
        """The server comes back with other data."""
        self.crash_node(node.name, for_ns)
        self.servers[node.name].node = node
        self.replaced(node.name)

    @property
    def late_commands(self) -> int:
        """Commands of dead coordinators that are still under way."""
        return sum(line.on_the_way for line in self._lines.values() if not line.coordinator.alive)

    # ------------------------------------------------------------------------------------------ clients

    def write(self, sql: str, coordinator: Coordinator, *, changes_schema: bool = False) -> None:
        """One statement."""
        self.request((RequestStatement(sql, not changes_schema),), coordinator, changes_schema=changes_schema)

    def request(
        self, statements: tuple[RequestStatement, ...], coordinator: Coordinator, *, changes_schema: bool = False
    ) -> None:
        """All of them, or none."""
        self._last_id += 1
        request_id = self._last_id
        self.history.writes[request_id] = Write(statements, self.now_ns)

        def arrive() -> None:
            request = Request(request_id, statements, self.now_ns + DEADLINE_NS, changes_schema)
            self.event(coordinator, WriteArrived(request))

        self.on(coordinator, arrive)

    def read(self, coordinator: Coordinator, need: ReadNeed = STRONG) -> None:
        self._last_id += 1
        read_id = self._last_id
        self.history.reads[read_id] = Read(self.now_ns, need)
        self.on(coordinator, lambda: self._ask_for_leave(coordinator, read_id))

    def _ask_for_leave(self, coordinator: Coordinator, read_id: int) -> None:
        read = self.history.reads[read_id]
        read.asked_ns = self.now_ns
        self.event(coordinator, ReadArrived(read_id, self.now_ns + DEADLINE_NS, read.need))

    def _answered(self, answer: Acknowledge | Refuse | Fail) -> None:
        write = self.history.writes[answer.request_id]
        assert write.answer is None, f"{write.name} was answered twice"
        write.answer, write.answered_ns = answer, self.now_ns
        if isinstance(answer, Acknowledge):
            self.invariants.acknowledged(write.texts, answer.timestamp)

    def _read_at(self, coordinator: Coordinator, effect: ReadAllowed) -> None:
        ends, read, server = (
            (coordinator.name, effect.node),
            self.history.reads[effect.read_id],
            self.servers[effect.node],
        )

        stale_ns = effect.staleness_ns
        # it may have been frozen between the step and this
        said_ns = coordinator.replicator.state.now_ns
        complete_at_ns = None if stale_ns is None else min(read.asked_ns, said_ns - stale_ns)

        def look() -> None:
            if server.frozen_until_ns > self.now_ns:
                self.at(server.frozen_until_ns + self.within(MS), look)
                return
            finished = ReadFinished(effect.node, MS)
            self.at(self.now_ns, lambda: self.on(coordinator, lambda: self.event(coordinator, finished)))
            if server.down_until_ns > self.now_ns or server.node.is_bare:
                return
            run, opened_ns = self._readers.get(ends, (-1, 0))
            if run != server.run:
                opened_ns = self.now_ns
                self._readers[ends] = (server.run, opened_ns)
            if not self.may_read_over(opened_ns, min(read.asked_ns, effect.known_ns)):
                again = partial(self._ask_for_leave, coordinator, effect.read_id)
                pause_ns = 0 if read.need.level is ReadLevel.STRONG else RETRY_READ_NS
                self.at(self.now_ns + pause_ns, lambda: self.on(coordinator, again))
                return
            seen, entries, changes = server.node.applied, len(server.node.data), tuple(server.node.schema)
            answered = partial(self.on, coordinator, partial(answer, seen, entries, changes))
            self._trip(ends, Direction.TO_COORDINATOR, answered)

        def answer(seen: int, entries: int, changes: tuple[str, ...]) -> None:
            read.allowed_from, read.seen, read.entries, read.node = effect.applied_timestamp, seen, entries, effect.node
            read.changes, read.answered_ns, read.complete_at_ns = changes, self.now_ns, complete_at_ns
            if read.need.level is not ReadLevel.STRONG:
                self.happened(f"a read of level {read.need.level.value} was answered by a {self._whose(effect.node)}")

        self._trip(ends, Direction.TO_NODE, look)

    def _whose(self, node: str) -> str:
        return "master" if any(each.replicator.state.master == node for each in self.alive) else "replica"

    def may_read_over(self, opened_ns: int, known_ns: int) -> bool:
        """A connection that is younger than what the leave rests on proves nothing of the server behind it."""
        return opened_ns <= known_ns

    def _trip(self, ends: tuple[str, str], direction: Direction, arrived: Callable[[], None]) -> None:
        arrival_ns = self.links.arrival_ns(*ends, Channel.READER, direction, self.now_ns)
        if arrival_ns is not None:
            self.at(arrival_ns, arrived)
