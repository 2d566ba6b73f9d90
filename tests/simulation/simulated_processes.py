"""The processes that a schedule kills and freezes: a coordinator around the production replicator, a server around a node's disk.

A frozen process loses nothing: what happens to it meanwhile waits, and the step in whose middle it was frozen goes on first.
"""

import random
from collections.abc import Callable, Sequence

from links import NAMES
from model_node import ModelNode

from replication.effects import Effect
from replication.replicator import Replicator
from replication.state import ReplicationSettings

PLAIN = ReplicationSettings(numbers_ahead=8)
"""A schedule is short: numbers are to run out in it."""


class Coordinator:
    """One run of a coordinator process."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.replicator = self.make()
        self.alive = True
        self.frozen_until_ns = 0
        self.rest: Sequence[Effect] = ()
        """Effects of the step in whose middle it was frozen."""
        self.backlog: list[Callable[[], None]] = []
        """What happened to it while it was frozen."""
        self.stops_in: int | None = None
        """So many more effects, then it is killed or frozen, in the middle of a step."""
        self.stops_for_ns = 0
        """How long it is frozen then; 0: it is killed."""
        self.wake_at_ns: int | None = None
        self.wall_offset_us = 0
        self.epoch_noted = 0

    def make(self) -> Replicator:
        return Replicator(NAMES, self.name, f"cluster-of-{self.name}", PLAIN)


class Server:
    """A node's process around its disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.node = ModelNode(name)
        self.run = 0
        """Grows with each start: no connection outlives it."""
        self.down_until_ns = 0
        self.frozen_until_ns = 0
        self.dies_in_command: bool | None = None
        """It dies in the middle of the next command; True: after its durable commit."""
