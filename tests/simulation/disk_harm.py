"""Disks that are lost, come back with an old copy of their data, or are full, within what is promised.

Promised is one harmed disk at a time. Harmed is a member that has forgotten something, with or without knowing; one that says on
its disk that it is no member has nothing to say any more. So a second disk may be harmed while the first one is no member again
yet: nothing may be lost by that, though the cluster may have to stand still.
"""

from fault_draws import FaultDraws
from model_node import ModelNode
from world import World

from replication.log import Position


class DiskHarm(FaultDraws):
    """What happens to disks, and which of them are sound."""

    HARMED_MAX = 2

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._copies: dict[str, ModelNode] = {}
        self._harmed: dict[str, tuple[int, Position]] = {}
        """Nodes whose disk was harmed and that are no sound member again yet: their epoch and log's end before."""
        self._emptied: dict[str, None] = {}
        """Those of them that came back with nothing: no members, whatever a broken rule makes of them."""
        self._harms = 0
        self._harmed_max = self.chance.choice((1, self.HARMED_MAX))

    @property
    def two_are_silent(self) -> bool:
        """Whether the cluster may stand still: two of four have nothing to say. Their disks were harmed; or one is bare, because
        its copy was cut short, and the coordinator that would copy to it again is gone (coordinator/DESIGN.md)."""
        self._forget_the_sound()
        bare = {server.name for server in self.world.servers.values() if server.node.is_bare}
        return len(bare | self._harmed.keys()) > 1

    def may_harm(self, name: str) -> bool:
        self._forget_the_sound()
        nodes = {server.name: server.node for server in self.world.servers.values()}
        others = [other for other in self._harmed if other != name]
        if any(nodes[other].is_member and other not in self._emptied for other in others):
            return False
        if not nodes[name].is_member:
            return False
        founded = all(node.is_member or node.name in self._harmed for node in nodes.values())
        return founded and len(others) < self._harmed_max

    def harm(self, node: ModelNode, for_ns: int = 0) -> None:
        """The node of that name comes back with this disk."""
        self._harms += 1
        before = self.world.servers[node.name].node
        epoch, end = self._harmed.get(node.name, (before.epoch, before.log_end.position))
        self._harmed[node.name] = (max(epoch, before.epoch), max(end, before.log_end.position))
        if len(self._harmed) > 1:
            self.world.happened("a second disk was harmed before the first was a member again")
        self._emptied.pop(node.name, None)
        if not node.cluster_id:
            self._emptied[node.name] = None
        self.world.exchange_disk(node, for_ns or self.duration_ns)

    def _forget_the_sound(self) -> None:
        for name, (epoch, end) in list(self._harmed.items()):
            node = self.world.servers[name].node
            distrusted = any(each.replicator.state.nodes[name].distrusted for each in self.world.alive)
            if node.is_member and node.epoch >= epoch and node.log_end.position >= end and not distrusted:
                del self._harmed[name]
                self._emptied.pop(name, None)

    def lose_disk(self) -> None:
        name = self.node
        if self.may_harm(name):
            self.harm(ModelNode(name))

    def keep_copy(self) -> None:
        """Someone copies a node's data folder."""
        name = self.node
        self._copies[name] = self.world.servers[name].node.copy()

    def has_copy(self, name: str) -> bool:
        return name in self._copies

    def restore_copy(self) -> None:
        """A node comes back with an older copy of its data: it has forgotten what it promised since, and does not know it."""
        name = self.node
        if self.has_copy(name) and self.may_harm(name):
            self.harm(self._copies[name].copy())

    def damage_rows(self) -> None:
        """Somebody changes a row of one node behind everybody's back. One at a time: two would be no minority."""
        node = self.world.servers[self.node].node
        nodes = [server.node for server in self.world.servers.values()]
        if not node.data or node.open is not None or self._harmed:
            return
        if all(each.is_member and not each.damaged for each in nodes):
            node.damage(self.chance.randrange(len(node.data)))
            self.world.happened("a row was damaged")
            self.world.replaced(node.name)

    @property
    def damage_was_not_alone(self) -> bool:
        """A node's rows were damaged, and something else was harmed as well: another disk; a copy was made of it before anybody
        knew; or the coordinator that was just overruling what such a master had recorded. Then a person may have to decide."""
        was_damaged = self.world.probes["a row was damaged"] > 0
        copied = sum(server.node.damaged for server in self.world.servers.values()) > 1
        return was_damaged and (copied or self._harms > 0 or len(self.world.coordinators) > 1)

    def fill_disk(self) -> None:
        """Nothing can be written to a node's disk for a while."""
        node = self.world.servers[self.node].node
        node.disk_full = True

        def space() -> None:
            node.disk_full = False

        self.world.at(self.world.now_ns + self.duration_ns, space)
