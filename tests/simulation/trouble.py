"""What goes wrong, each fault by its name, and how much of each a schedule gets.

Swarm testing (Groce et al. 2012): a schedule draws how often each fault strikes it, many of them never. All faults at once
drown the rare course of events that takes three of one kind and none of another.
"""

from collections.abc import Callable
from functools import partial

from disk_harm import DiskHarm
from links import MS, NAMES, Direction
from model_node import ModelNode
from partitions import BOTH, Partitions
from simulated_processes import Coordinator
from world import World

from replication.effects import (
    Admit,
    CommitBatch,
    ConfirmEpoch,
    CopyData,
    ExecuteBatch,
    Fence,
    OpenSnapshot,
    PrepareRow,
    RunSchemaChange,
    StoreRows,
)

Fault = Callable[["Trouble"], None]


class Trouble(DiskHarm, Partitions):
    """The faults of one schedule."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        strength = self.chance.choice((0.2, 0.5, 1.0))
        draws = [self.chance.choice((0.0, 0.0, 1.0, 1.0, 3.0)) for _ in FAULTS]
        self._rates = [rate * draw * strength for (_, rate), draw in zip(FAULTS, draws, strict=True)]

    def strike(self) -> None:
        """Perhaps something goes wrong now."""
        for (fault, _), rate in zip(FAULTS, self._rates, strict=True):
            if rate and self.chance.random() < rate:
                self.world.happened(fault.__name__)
                fault(self)

    def heal(self) -> None:
        """Everything answers again; one coordinator is left."""
        world = self.world
        world.note("all is well again")
        world.links.heal()
        for server in world.servers.values():
            server.down_until_ns = server.frozen_until_ns = 0
            server.dies_in_command = None
            server.node.disk_full = False
        world.ambush = None
        for timestamp_server in world.timestamps.servers:
            timestamp_server.down_until_ns = 0
        for coordinator in world.coordinators[:-1]:
            if coordinator.alive:
                world.kill_coordinator(coordinator)
        newest = world.coordinators[-1]
        newest.stops_in, newest.frozen_until_ns = None, 0
        world.thaw_coordinator(newest)

    # ------------------------------------------------------------------------------------------ processes

    def kill_node(self) -> None:
        self.world.crash_node(self.node, self.duration_ns)

    def kill_node_in_command(self) -> None:
        self.world.servers[self.node].dies_in_command = self.chance.random() < 0.5

    def freeze_node(self) -> None:
        name = self.node
        self.world.note(name, "is frozen")
        self.world.servers[name].frozen_until_ns = self.world.now_ns + self.duration_ns

    def freeze_nodes(self) -> None:
        for name in self.nodes:
            self.world.servers[name].frozen_until_ns = self.world.now_ns + self.duration_ns

    def freeze_coordinator(self) -> None:
        if coordinator := self.coordinator:
            self.world.freeze_coordinator(coordinator, self.duration_ns)

    def stop_coordinator_at_an_effect(self) -> None:
        if coordinator := self.coordinator:
            coordinator.stops_in = self.chance.randrange(1, 30)
            coordinator.stops_for_ns = self.duration_ns if self.chance.random() < 0.5 else 0

    def kill_coordinator(self) -> None:
        if coordinator := self.coordinator:
            self.world.kill_coordinator(coordinator, told=self.chance.random() < 0.7)

    def start_second_coordinator(self) -> None:
        if len(self.world.alive) < 3:
            self.world.start_coordinator()

    def ambush(self) -> None:
        """Something happens at the very moment at which the next command of a certain kind is sent."""
        kinds = (
            CommitBatch,
            CommitBatch,
            CommitBatch,
            CommitBatch,
            PrepareRow,
            ExecuteBatch,
            StoreRows,
            Fence,
            Admit,
            ConfirmEpoch,
            CopyData,
            CopyData,
            RunSchemaChange,
            RunSchemaChange,
            OpenSnapshot,
        )
        span_ns, draw = self.duration_ns, self.chance.randrange(7)

        def strike(coordinator: Coordinator, name: str) -> None:
            world, until_ns = self.world, self.world.now_ns + span_ns
            if draw == 0:
                world.servers[name].frozen_until_ns = until_ns
            elif draw == 1:
                world.servers[name].frozen_until_ns = until_ns
                world.kill_coordinator(coordinator, told=self.chance.random() < 0.5)
            elif draw == 2:
                world.freeze_coordinator(coordinator, span_ns)
                self.start_second_coordinator()
            elif draw == 3:
                world.servers[name].dies_in_command = self.chance.random() < 0.5
            elif draw == 4:
                world.links.cut([coordinator.name], [name], (Direction.TO_COORDINATOR,), until_ns, vanish=True)
            elif draw == 5:
                world.links.cut([coordinator.name], [name], (Direction.TO_NODE,), until_ns, vanish=False)
            else:
                self.take_over_behind(coordinator)

        self.world.ambush = (self.chance.choice(kinds), strike)

    def turn_wall_clock(self) -> None:
        if coordinator := self.coordinator:
            coordinator.wall_offset_us += self.chance.randrange(-3_600_000_000, 3_600_000_000)

    def kill_everything(self) -> None:
        for name in NAMES:
            self.world.crash_node(name, self.duration_ns)
        for coordinator in self.world.alive:
            self.world.kill_coordinator(coordinator)

    # ------------------------------------------------------------------------------------------ two coordinators

    def take_over_behind(self, old: Coordinator) -> None:
        """A second coordinator takes over all but one node while `old` hears nothing; then it hears what was said before."""
        world, now_ns = self.world, self.world.now_ns
        left = old.replicator.state.master or self.node
        world.links.cut(
            [old.name], NAMES, (Direction.TO_COORDINATOR,), now_ns + self.chance.randrange(350 * MS), vanish=False
        )
        if len(world.alive) < 3:
            new = world.start_coordinator()
            world.links.cut([new.name], [left], BOTH, now_ns + self.duration_ns, vanish=True)

    def take_over_and_harm_two(self) -> None:
        """A second coordinator takes over three nodes; two of those come back empty, and only the first one sees them."""
        world = self.world
        old = self.coordinator
        if old is None or old.replicator.state.master is None or len(world.alive) > 2:
            return
        left = old.replicator.state.master
        taken = self.chance.sample([name for name in NAMES if name != left], 3)
        until_ns = world.now_ns + 2_000 * MS
        world.links.cut([old.name], taken, BOTH, until_ns, vanish=True)
        new = world.start_coordinator()
        world.links.cut([new.name], [left], BOTH, until_ns, vanish=True)

        def come_back_empty(name: str) -> None:
            if self.may_harm(name):
                self.harm(ModelNode(name), 10 * MS)
            world.links.heal_link(old.name, name)
            world.links.cut([new.name], [name], BOTH, until_ns, vanish=True)

        for place, name in enumerate(taken[:2]):
            again_ns = world.now_ns + self.chance.randrange(100 * MS, 500 * MS) + place * 200 * MS
            world.at(again_ns, partial(come_back_empty, name))

    # ------------------------------------------------------------------------------------------ timestamps

    def kill_timestamp_server(self) -> None:
        self._stop_timestamp_server(self.chance.randrange(2))

    def kill_both_timestamp_servers(self) -> None:
        self._stop_timestamp_server(0)
        self._stop_timestamp_server(1)

    def _stop_timestamp_server(self, index: int) -> None:
        server = self.world.timestamps.servers[index]
        server.down_until_ns = self.world.now_ns + self.duration_ns
        server.restart()


FAULTS: tuple[tuple[Fault, float], ...] = (
    (Trouble.kill_node, 0.05),
    (Trouble.kill_node_in_command, 0.04),
    (Trouble.freeze_node, 0.05),
    (Trouble.freeze_nodes, 0.01),
    (Trouble.lose_disk, 0.02),
    (Trouble.keep_copy, 0.03),
    (Trouble.restore_copy, 0.03),
    (Trouble.fill_disk, 0.01),
    (Trouble.damage_rows, 0.01),
    (Trouble.freeze_coordinator, 0.03),
    (Trouble.stop_coordinator_at_an_effect, 0.03),
    (Trouble.kill_coordinator, 0.02),
    (Trouble.start_second_coordinator, 0.02),
    (Trouble.ambush, 0.05),
    (Trouble.turn_wall_clock, 0.01),
    (Trouble.kill_everything, 0.003),
    (Trouble.kill_timestamp_server, 0.03),
    (Trouble.kill_both_timestamp_servers, 0.01),
    (Trouble.deafen_coordinator, 0.02),
    (Trouble.mute_coordinator, 0.02),
    (Trouble.cut_coordinator_off, 0.02),
    (Trouble.isolate_nodes, 0.02),
    (Trouble.cut_one_channel, 0.02),
    (Trouble.bridge, 0.01),
    (Trouble.take_over_and_harm_two, 0.003),
    (Trouble.swizzle, 0.01),
)
"""Each fault and how often it strikes a round in a schedule that has an ordinary share of it."""
