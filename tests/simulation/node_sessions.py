"""A coordinator's five connections with each node, from both ends: what `adapters/mysql_node.py` and MySQL's threads do.

Each connection carries one command at a time, the next waits for its lock. A time-out closes it, and only a fence opens a
new one (but each snapshot has one of its own, which no fence ends). What was sent over a connection that its sender has closed is
still executed when it arrives, before the server notices the end: a COMMIT in the buffer of a frozen server is accepted at the
thaw. Across connections there is no order at all.

Hard case: the fence. It opens its connections first and looks afterwards, so all of them lead to the server that was looked
at; and where it finds its lock held, it ends every connection but its own, with whatever they had still to do. In any case it
ends the copiers of others, so nobody's late command wipes a node that it has, and their schema changes, which are then over,
made or not.

A copy takes its time: the node is bare first, then all that is durable is the donor's, and the server starts anew.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from links import MS, Channel, Direction, Links, Patience
from model_node import CommandLost
from simulated_processes import Coordinator, Server

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
    ReadLog,
    ReadPositions,
    RunSchemaChange,
    StoreRows,
    TruncateLog,
)
from replication.events import Event, NodeFailed, NodeReplied
from replication.log import Entry
from replication.replies import CopyEnded, Fenced, Reply
from replication.values import Certainty

LOCK_WAIT_NS = 2_000 * MS
COPY_NS_MAX = 600 * MS
CHANGE_NS_MAX = 300 * MS
RESTART_NS = 100 * MS
CHANNELS = {
    Fence: Channel.CONTROL,
    Admit: Channel.CONTROL,
    NoteCopy: Channel.CONTROL,
    ConfirmEpoch: Channel.CONTROL,
    ReadLog: Channel.LOG,
    ReadPositions: Channel.LOG,
    MeasureLog: Channel.LOG,
    TruncateLog: Channel.LOG,
    CopyData: Channel.COPIER,
    RunSchemaChange: Channel.SCHEMA,
    OpenSnapshot: Channel.SNAPSHOT,
}
"""Everything else goes over the writer."""


class Surroundings(Protocol):
    """What sessions need of the world."""

    now_ns: int
    links: Links
    patience: Patience
    servers: dict[str, Server]

    def at(self, time_ns: int, action: Callable[[], None]) -> None: ...

    def within(self, span_ns: int) -> int:
        """A random time from 0 on, below `span_ns`."""

    def on(self, coordinator: Coordinator, action: Callable[[], None]) -> None:
        """Now, or when the coordinator is thawed, or never."""

    def event(self, coordinator: Coordinator, event: Event) -> None: ...

    def executed(self, server: Server, effect: NodeEffect, event: Event) -> None: ...

    def replaced(self, name: str) -> None:
        """All data of the node is other data now."""

    def crash_node(self, name: str, for_ns: int) -> None: ...

    def happened(self, what: str) -> None: ...


class Command:
    """One effect on its way, and whether its sender still waits for the answer."""

    __slots__ = ("arrived_ns", "done", "effect", "round_trips", "sent_ns", "session", "waited_for_lock_ns")

    def __init__(self, effect: NodeEffect, session: "Session", sent_ns: int) -> None:
        self.effect = effect
        self.session = session
        self.sent_ns = sent_ns
        self.round_trips = 0
        """So many were begun; each has its own time-out."""
        self.arrived_ns = 0
        self.waited_for_lock_ns = 0
        self.done = False


class Connection:
    """The server's end of one TCP connection."""

    __slots__ = ("broken", "channel", "inbox", "last_arrival_ns", "name", "owner", "paused", "run")

    def __init__(self, name: str, owner: "Line", channel: Channel, run: int) -> None:
        self.name = name
        self.owner = owner
        self.channel = channel
        self.run = run
        self.broken = False
        self.inbox: deque[Command | None] = deque()
        """What has arrived and is not executed yet; None: the sender has closed it."""
        self.paused = False
        """Something is scheduled that goes on with the inbox."""
        self.last_arrival_ns = 0
        """What is sent later does not arrive before this."""


class Session:
    """The coordinator's end, and its lock."""

    __slots__ = ("busy", "channel", "connection", "waiting")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.connection: Connection | None = None
        self.busy: Command | None = None
        self.waiting: deque[NodeEffect] = deque()


class Line:
    """One coordinator's sessions with one node."""

    def __init__(
        self, world: Surroundings, coordinator: Coordinator, server: Server, connections: dict[Connection, None]
    ) -> None:
        """`connections`: all that the server has, of every coordinator."""
        self._world = world
        self._connections = connections
        self.coordinator = coordinator
        self._server = server
        self._opened = 0
        channels = (
            Channel.WRITER,
            Channel.CONTROL,
            Channel.LOG,
            Channel.COPIER,
            Channel.SCHEMA,
            Channel.SNAPSHOT,
        )
        self._sessions = {channel: Session(channel) for channel in channels}
        self.writer, self.control, self.log, self.copier, self.schema, self.snapshot = self._sessions.values()
        self.on_the_way = 0
        """Commands that were sent and have not been executed yet."""

    # ------------------------------------------------------------------------------------------ the coordinator's end

    def send(self, effect: NodeEffect) -> None:
        session = self._sessions[CHANNELS.get(type(effect), Channel.WRITER)]
        if isinstance(effect, Fence):
            self._close(self.writer)
            self._close(self.schema)
        session.waiting.append(effect)
        self._next(session)

    def process_ended(self, *, told: bool) -> None:
        """The coordinator's process is gone. `told`: its kernel closes the connections; otherwise the machine is gone too."""
        for session in self._sessions.values():
            if told:
                self._hang_up(session.connection)
            session.connection = None

    def _next(self, session: Session) -> None:
        world = self._world
        if session.busy is not None or not session.waiting or not self.coordinator.alive:
            return
        command = session.busy = Command(session.waiting.popleft(), session, world.now_ns)
        if isinstance(command.effect, OpenSnapshot):
            connection, session.connection = session.connection, None
            self._hang_up(connection)
        if isinstance(command.effect, Fence | OpenSnapshot):
            self._trip(session.channel, Direction.TO_NODE, lambda: self._accept(command))
            patience = world.patience
            self._bound(command, patience.connect_ns if session.connection is None else patience.confirm_ns)
        elif session.connection is None:
            self._later(command, Certainty.NOT_APPLIED, "the connection is closed")
        else:
            self._transmit(command)
            self._bound(command, self._timeout_ns(command.effect))

    def _timeout_ns(self, effect: NodeEffect) -> int:
        patience = self._world.patience
        match effect:
            case Fence() | Admit() | NoteCopy():
                return patience.fence_ns
            case ConfirmEpoch():
                return patience.confirm_ns
            case CopyData() | RunSchemaChange():
                return patience.copy_ns
        return patience.store_ns

    def _bound(self, command: Command, timeout_ns: int) -> None:
        """The command's next round trip begins: it may take so long."""
        world = self._world
        command.round_trips += 1
        number = command.round_trips

        def give_up() -> None:
            if command.round_trips == number:
                self._timed_out(command)

        world.at(world.now_ns + timeout_ns, lambda: world.on(self.coordinator, give_up))

    def _transmit(self, command: Command) -> None:
        connection = command.session.connection
        assert connection is not None
        self.on_the_way += self._over(connection, lambda: self._arrived(connection, command))

    def _trip(self, channel: Channel, direction: Direction, arrived: Callable[[], None], not_before_ns: int = 0) -> int:
        """When it arrives; 0: never."""
        world = self._world
        arrival_ns = world.links.arrival_ns(self.coordinator.name, self._server.name, channel, direction, world.now_ns)
        if arrival_ns is None:
            return 0
        arrival_ns = max(arrival_ns, not_before_ns)
        world.at(arrival_ns, arrived)
        return arrival_ns

    def _over(self, connection: Connection, arrived: Callable[[], None]) -> bool:
        """Send something to the node, behind what was sent over the same connection before."""
        arrival_ns = self._trip(connection.channel, Direction.TO_NODE, arrived, connection.last_arrival_ns)
        connection.last_arrival_ns = max(arrival_ns, connection.last_arrival_ns)
        return arrival_ns > 0

    def _answer(self, channel: Channel, action: Callable[[], None]) -> None:
        """Something goes back to the coordinator."""
        world = self._world
        if not self._trip(channel, Direction.TO_COORDINATOR, lambda: world.on(self.coordinator, action)):
            world.happened("a reply was lost")

    def _ended(self, command: Command, event: Event) -> None:
        if command.done:
            return
        command.done = True
        command.session.busy = None
        if isinstance(command.effect, CommitBatch) and command.session.waiting:
            did = "succeeded" if isinstance(event, NodeReplied) else "failed"
            self._world.happened(f"a commit {did} in front of a batch")
        self._world.event(self.coordinator, event)
        self._next(command.session)

    def _failed(self, command: Command, certainty: Certainty, reason: str) -> None:
        self._ended(command, NodeFailed(self._server.name, command.effect.command, certainty, reason))

    def _later(self, command: Command, certainty: Certainty, reason: str) -> None:
        world = self._world
        failed = partial(self._failed, command, certainty, reason)
        world.at(world.now_ns, lambda: world.on(self.coordinator, failed))

    def _timed_out(self, command: Command) -> None:
        if not command.done:
            command.session.busy = None
            self._close(command.session)
            self._failed(command, Certainty.UNKNOWN, "no answer in time")

    def _broken(self, command: Command, connection: Connection) -> None:
        """The server's end is gone: the first thing that is sent over it tells."""
        if command.session.connection is connection:
            command.session.connection = None
        self._failed(command, Certainty.UNKNOWN, "the connection broke")

    def _close(self, session: Session) -> None:
        connection, session.connection = session.connection, None
        self._hang_up(connection)
        if session.busy is not None:
            self._later(session.busy, Certainty.UNKNOWN, "the connection was closed")

    def _hang_up(self, connection: Connection | None) -> None:
        if connection is not None:
            self._over(connection, lambda: self._arrived(connection, None))

    def take_snapshot(self) -> tuple[int, list[Entry]] | None:
        """What the open snapshot shows, which is closed; None: it is gone."""
        connection = self.snapshot.connection
        if connection is None:
            return None
        shown = self._server.node.snapshots.get(connection.name)
        self._close(self.snapshot)
        return shown

    # ------------------------------------------------------------------------------------------ opening

    def _accept(self, opener: Command) -> None:
        """The server's side of opening connections for a fence, or one for a snapshot."""
        world, server, channel = self._world, self._server, opener.session.channel
        if server.down_until_ns > world.now_ns:
            self._answer(channel, lambda: self._refused(opener))
        elif server.frozen_until_ns > world.now_ns:
            world.at(server.frozen_until_ns + world.within(MS), lambda: self._accept(opener))
        elif not opener.done:
            run = server.run
            self._answer(channel, lambda: self._opened_to(opener, run))

    def _refused(self, fence: Command) -> None:
        """Nobody listens there: an older connection, too, is found broken."""
        if not fence.done:
            self.control.connection = None
            self._failed(fence, Certainty.NOT_APPLIED, "connection refused")

    def _opened_to(self, fence: Command, run: int) -> None:
        if fence.done:
            return
        if isinstance(fence.effect, OpenSnapshot):
            self.snapshot.connection = self._open(Channel.SNAPSHOT, run)
            self._transmit(fence)
            return
        if self.control.connection is None:
            self._close(self.log)
            self._close(self.copier)
            self.control.connection = self._open(Channel.CONTROL, run)
        if self.copier.connection is None:
            self.copier.connection = self._open(Channel.COPIER, run)
        for session in (self.writer, self.schema):
            self._hang_up(session.connection)
            session.connection = self._open(session.channel, run)
        if self.log.connection is None:
            self.log.connection = self._open(Channel.LOG, run)
        self._transmit(fence)
        self._bound(fence, self._timeout_ns(fence.effect))

    def _open(self, channel: Channel, run: int) -> Connection:
        self._opened += 1
        name = f"{self.coordinator.name}, {channel.value} {self._opened}"
        connection = Connection(name, self, channel, run)
        self._connections[connection] = None
        return connection

    # ------------------------------------------------------------------------------------------ the server's end

    def _arrived(self, connection: Connection, item: Command | None) -> None:
        """TCP keeps the order: the end of a connection waits for the command before it."""
        if item is not None:
            item.arrived_ns = self._world.now_ns
        connection.inbox.append(item)
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        world, server = self._world, self._server
        while connection.inbox and not connection.paused:
            item = connection.inbox[0]
            if connection.broken or connection.run != server.run or server.down_until_ns > world.now_ns:
                connection.inbox.popleft()
                self._connections.pop(connection, None)
                if item is not None:
                    self._reset(item, connection)
            elif server.frozen_until_ns > world.now_ns:
                # its threads go on in any order
                self._pause(connection, server.frozen_until_ns + world.within(world.within(20 * MS)))
            elif item is None:
                connection.inbox.popleft()
                self._connections.pop(connection, None)
                server.node.hang_up(connection.name)
            elif self._waits_for_the_lock(item, connection):
                self._pause(connection, world.now_ns + MS + world.within(20 * MS))
            else:
                connection.inbox.popleft()
                self._execute(connection, item)

    def _pause(self, connection: Connection, until_ns: int) -> None:
        def resume() -> None:
            connection.paused = False
            self._go_on(connection)

        connection.paused = True
        self._world.at(until_ns, resume)

    def _waits_for_the_lock(self, command: Command, connection: Connection) -> bool:
        holder = self._server.node.open
        if holder is None or holder.connection == connection.name:
            return False
        if not isinstance(command.effect, ExecuteBatch | NoteCopy | StoreRows):
            return False
        command.waited_for_lock_ns = command.waited_for_lock_ns or self._world.now_ns
        return self._world.now_ns - command.waited_for_lock_ns < LOCK_WAIT_NS

    def _reset(self, command: Command, connection: Connection) -> None:
        self.on_the_way -= 1
        self._answer(connection.channel, lambda: self._broken(command, connection))

    def _execute(self, connection: Connection, command: Command) -> None:
        world, server, effect = self._world, self._server, command.effect
        self.on_the_way -= 1
        dies, server.dies_in_command = server.dies_in_command, None
        if dies is False:
            world.happened("a node died before the commit of a command")
            world.crash_node(server.name, 100 * MS)
            return
        if isinstance(effect, CopyData):
            self._copy(connection, command, effect)
            return
        if isinstance(effect, RunSchemaChange):
            self._change(connection, command, effect, dies=bool(dies))
            return
        if isinstance(effect, Fence) and server.node.accepts(effect):
            self._end_other_changes()
        is_locked = server.node.open is not None
        event: Event
        try:
            event = NodeReplied(server.name, effect.command, server.node.carry_out(effect, connection.name))
        except CommandLost as lost:
            event = NodeFailed(server.name, effect.command, Certainty.NOT_APPLIED, str(lost))
        if isinstance(effect, Fence) and is_locked and server.node.open is None:
            spared = (Channel.COPIER, Channel.SNAPSHOT)
            self._kill_the_others(lambda connection: connection.channel not in spared)
        if isinstance(event, NodeReplied) and isinstance(event.reply, Fenced):
            self._end_other_copiers()
        self._note(command, event)
        world.executed(server, effect, event)
        if dies:
            world.happened("a node died after the commit of a command")
            world.crash_node(server.name, 100 * MS)
        else:
            self._answer(connection.channel, lambda: self._ended(command, event))

    def _copy(self, connection: Connection, command: Command, effect: CopyData) -> None:
        """All data is dropped at once; the donor's is there a while later, unless something comes in between."""
        world, server, donor = self._world, self._server, self._world.servers[effect.donor]
        self._end_other_copiers()
        if command.done or not self.coordinator.alive:
            world.happened("a copy was begun after its sender had given up or died")
        donor_run = donor.run
        if donor.down_until_ns > world.now_ns or donor.node.is_bare:
            self._answer_copy(connection, command, None)
            return
        server.node.lay_bare()
        world.replaced(server.name)
        connection.paused = True

        def end() -> None:
            connection.paused = False
            if connection.run != server.run or server.down_until_ns > world.now_ns:
                self._answer(connection.channel, lambda: self._broken(command, connection))
            elif connection.broken or donor.run != donor_run or donor.node.is_bare:
                world.happened("a copy was cut short")
                self._answer_copy(connection, command, None)
            else:
                world.happened("a copy was completed")
                server.node.become(donor.node)
                self._answer_copy(connection, command, CopyEnded())
                world.crash_node(server.name, RESTART_NS)
                world.replaced(server.name)

        world.at(world.now_ns + MS + world.within(COPY_NS_MAX), end)

    def _answer_copy(self, connection: Connection, command: Command, reply: CopyEnded | None) -> None:
        name, number = self._server.name, command.effect.command
        failure = NodeFailed(name, number, Certainty.UNKNOWN, "the copy failed")
        event = NodeReplied(name, number, reply) if reply is not None else failure
        self._answer(connection.channel, lambda: self._ended(command, event))

    def _change(self, connection: Connection, command: Command, effect: RunSchemaChange, *, dies: bool) -> None:
        """A schema change takes its time, and is over when its connection or its server is."""
        world, server = self._world, self._server
        node, event = server.node, None
        try:
            reply = node.begin_change(effect, connection.name)
        except CommandLost as lost:
            event = NodeFailed(server.name, effect.command, Certainty.NOT_APPLIED, str(lost))
            self._answer(connection.channel, lambda: self._ended(command, event))
            return
        if reply is not None:
            self._tell(connection, command, reply)
            return
        connection.paused = True
        if dies:
            world.happened("a node died in a schema change")
            world.crash_node(server.name, 100 * MS)

        def end() -> None:
            if server.frozen_until_ns > world.now_ns:
                world.at(server.frozen_until_ns + world.within(MS), end)
                return
            connection.paused = False
            if connection.name not in server.node.changing:
                self._answer(connection.channel, lambda: self._broken(command, connection))
            else:
                self._tell(connection, command, server.node.end_change(connection.name))
            self._go_on(connection)

        world.at(world.now_ns + MS + world.within(CHANGE_NS_MAX), end)

    def _tell(self, connection: Connection, command: Command, reply: Reply) -> None:
        event = NodeReplied(self._server.name, command.effect.command, reply)
        self._world.executed(self._server, command.effect, event)
        self._answer(connection.channel, lambda: self._ended(command, event))

    def _end_other_changes(self) -> None:
        self._kill_the_others(lambda connection: connection.channel is Channel.SCHEMA)

    def _end_other_copiers(self) -> None:
        self._kill_the_others(lambda connection: connection.channel is Channel.COPIER)

    def _kill_the_others(self, are_meant: Callable[[Connection], bool]) -> None:
        ours = [session.connection for session in self._sessions.values()]
        for connection in self._connections:
            if connection not in ours and not connection.broken and are_meant(connection):
                connection.broken = True
                self._abandon_change(connection)
                for command in connection.inbox:
                    if command is not None:
                        self._world.happened("a fence ended a connection with a command still to be executed")

    def _abandon_change(self, connection: Connection) -> None:
        world, server = self._world, self._server
        if connection.name in server.node.changing:
            world.happened("a fence ended a schema change under way")
            server.node.abandon_change(connection.name, lambda: world.within(2) == 1)
            world.replaced(server.name)

    def _note(self, command: Command, event: Event) -> None:
        """Faults that were asked for must really happen: a test wants to see each of these."""
        world = self._world
        if command.done or not self.coordinator.alive:
            kind = "a command" if isinstance(event, NodeReplied) else "a command that fails"
            world.happened(f"{kind} was executed after its sender had given up or died")
        if isinstance(command.effect, CommitBatch) and isinstance(event, NodeReplied):
            if command.arrived_ns < self._server.frozen_until_ns <= world.now_ns:
                world.happened("a commit in flight at a node's freeze was executed at the thaw")
            if command.done or not self.coordinator.alive:
                world.happened("a commit was executed after its sender had given up or died")
