"""Whom a fault strikes, and for how long: drawn from the schedule's own chance."""

from links import MS, NAMES
from simulated_processes import Coordinator
from world import World


class FaultDraws:
    """Base of all faults."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.random

    @property
    def node(self) -> str:
        return self.chance.choice(NAMES)

    @property
    def nodes(self) -> list[str]:
        return self.chance.sample(NAMES, self.chance.choice((1, 1, 2, 2, 3, 4)))

    @property
    def coordinator(self) -> Coordinator | None:
        alive = self.world.alive
        return self.chance.choice(alive) if alive else None

    @property
    def duration_ns(self) -> int:
        """10 ms to 2 s, short ones more often."""
        return 10 * MS + int(self.chance.random() ** 2 * 1_990 * MS)
