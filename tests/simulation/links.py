"""The network between coordinators and nodes: what it delays, holds back and loses, each direction by itself.

Nodes never speak to each other, so a partition is a set of links from a coordinator to a node. TCP neither repeats nor
reorders what one connection carries; what really happens is that a packet of a cut link is sent again after the cut (it
comes late, perhaps long after its sender gave up) or never, that a command arrives whose answer does not, and that
connections overtake each other.

Hard case: one direction only. The node executes everything and the coordinator hears nothing of it.
"""

import enum
import random
from collections.abc import Iterable
from dataclasses import dataclass

MS = 1_000_000
NAMES = ("mysql-master", "replica-1", "replica-2", "replica-3")
TIMEOUT_NS = 400 * MS
COPY_TIMEOUT_NS = 3_000 * MS
SENT_AGAIN_NS_MAX = 100 * MS
"""How long after a cut the kernel sends again at most."""


class Direction(enum.Enum):
    TO_NODE = "to node"
    TO_COORDINATOR = "to coordinator"


class Channel(enum.Enum):
    """The connections that a coordinator has with a node (adapters/mysql_node.py), and the reader's."""

    WRITER = "writer"
    CONTROL = "control"
    LOG = "log"
    COPIER = "copier"
    SCHEMA = "schema"
    SNAPSHOT = "snapshot"
    READER = "reader"


@dataclass(frozen=True)
class Patience:
    """How long a coordinator waits for each kind of round trip (`NodeTimeouts` of adapters/mysql_node.py), in ns."""

    connect_ns: int = TIMEOUT_NS
    confirm_ns: int = TIMEOUT_NS
    fence_ns: int = TIMEOUT_NS
    store_ns: int = TIMEOUT_NS
    copy_ns: int = COPY_TIMEOUT_NS


End = tuple[str, str, Channel, Direction]
"""One direction of one connection: coordinator, node, channel, direction."""


class Links:
    """Which links are cut, and until when."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.trouble = 1.0
        """0: nothing is slow or lost any more."""
        self._cuts: dict[End, tuple[int, bool]] = {}
        """-> when it heals, and whether what is sent meanwhile vanishes."""

    def cut(
        self,
        coordinators: Iterable[str],
        nodes: Iterable[str],
        directions: Iterable[Direction],
        until_ns: int,
        *,
        vanish: bool,
        channels: Iterable[Channel] = Channel,
    ) -> None:
        """A later cut of the same link replaces the earlier one."""
        ends = [(c, n, ch, d) for c in coordinators for n in nodes for ch in channels for d in directions]
        for end in ends:
            self._cuts[end] = (until_ns, vanish)

    def heal(self) -> None:
        self.trouble = 0.0
        self._cuts.clear()

    def heal_link(self, coordinator: str, node: str) -> None:
        for end in [end for end in self._cuts if end[:2] == (coordinator, node)]:
            del self._cuts[end]

    def is_cut(self, coordinator: str, node: str, channel: Channel, direction: Direction, now_ns: int) -> bool:
        until_ns, _ = self._cuts.get((coordinator, node, channel, direction), (0, False))
        return until_ns > now_ns

    def delay_ns(self) -> int:
        draw = self._chance.random()
        if draw < 0.02 * self.trouble:
            return int(self._chance.random() * 2 * TIMEOUT_NS) + MS
        return int(self._chance.random() * 2 * MS) + MS // 20

    def arrival_ns(
        self, coordinator: str, node: str, channel: Channel, direction: Direction, now_ns: int
    ) -> int | None:
        """When something sent now arrives; None: never."""
        if self._chance.random() < 0.007 * self.trouble:
            return None
        arrival_ns = now_ns + self.delay_ns()
        if self._cuts:
            until_ns, vanish = self._cuts.get((coordinator, node, channel, direction), (0, False))
            if until_ns > now_ns:
                return None if vanish else until_ns + int(self._chance.random() * SENT_AGAIN_NS_MAX)
        return arrival_ns
