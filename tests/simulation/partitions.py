"""Links that are cut, from 10 ms to 2 s: one direction or both, one connection or all, whom from whom."""

from functools import partial

from fault_draws import FaultDraws
from links import NAMES, Channel, Direction
from simulated_processes import Coordinator

BOTH = (Direction.TO_NODE, Direction.TO_COORDINATOR)


class Partitions(FaultDraws):
    """What happens to links."""

    def _cut(self, coordinators: list[Coordinator], directions: tuple[Direction, ...]) -> None:
        names, nodes = [coordinator.name for coordinator in coordinators], self.nodes
        self.world.note("cut", *names, "from", *nodes, *directions)
        until_ns = self.world.now_ns + self.duration_ns
        self.world.links.cut(names, nodes, directions, until_ns, vanish=self.chance.random() < 0.5)

    def deafen_coordinator(self) -> None:
        """Commands arrive and are executed; the replies do not."""
        if coordinator := self.coordinator:
            self._cut([coordinator], (Direction.TO_COORDINATOR,))

    def mute_coordinator(self) -> None:
        if coordinator := self.coordinator:
            self._cut([coordinator], (Direction.TO_NODE,))

    def cut_coordinator_off(self) -> None:
        if coordinator := self.coordinator:
            self._cut([coordinator], BOTH)

    def isolate_nodes(self) -> None:
        self._cut(self.world.alive, BOTH)

    def cut_one_channel(self) -> None:
        """One connection hangs while the others pass."""
        if coordinator := self.coordinator:
            channels, until_ns = [self.chance.choice(list(Channel))], self.world.now_ns + self.duration_ns
            vanish = self.chance.random() < 0.5
            directions = [self.chance.choice(BOTH)]
            self.world.links.cut([coordinator.name], self.nodes, directions, until_ns, vanish=vanish, channels=channels)

    def bridge(self) -> None:
        """Two coordinators see the cluster in two parts that overlap in one or two nodes."""
        alive = self.world.alive
        if len(alive) < 2:
            self.world.start_coordinator()
            alive = self.world.alive
        order, until_ns = self.chance.sample(NAMES, 4), self.world.now_ns + self.duration_ns
        for coordinator, hidden in zip(alive[-2:], (order[:1], order[-2:]), strict=False):
            self.world.links.cut([coordinator.name], hidden, BOTH, until_ns, vanish=False)

    def swizzle(self) -> None:
        """Links stop one by one and heal in another order (FoundationDB's swizzle-clogging)."""
        world = self.world
        ends = [(coordinator.name, name) for coordinator in world.alive for name in NAMES]
        ends = self.chance.sample(ends, self.chance.randrange(1, len(ends) + 1)) if ends else []
        span_ns = self.duration_ns
        vanish = self.chance.random() < 0.3

        def stop(end: tuple[str, str]) -> None:
            world.links.cut([end[0]], [end[1]], BOTH, world.now_ns + 2 * span_ns, vanish=vanish)

        for place, end in enumerate(ends):
            world.at(world.now_ns + place * span_ns // 8, partial(stop, end))
        for place, end in enumerate(self.chance.sample(ends, len(ends))):
            heal_ns = world.now_ns + span_ns + place * span_ns // 8
            world.at(heal_ns, partial(world.links.heal_link, *end))
