"""What must be true of the nodes together after every step, whatever any coordinator believes (design section 9).

Seen from above: every disk at once, and what was on any disk before. A row is committed when so many members as a commit
takes have stored it, each while it was in that row's epoch (Raft section 5.4.2: copies of an older epoch's row count for
nothing); so is all before it.

  one owner      an epoch has one coordinator that got past the counting of nodes
  log matching   two rows of one position are the same row, and so is all before them
  no fork        a row becomes committed only as a continuation of all that is committed
  applied        a node's data is exactly the committed entries up to its applied timestamp (so equal data at equal timestamps)
  never lost     the most complete log of any election quorum of members has everything committed
  acknowledged   what is acknowledged is committed, at that very place

Only what changed is looked at: a schedule stays fast.
"""

from model_node import ModelNode
from simulated_processes import Server

from replication.log import LOG_BEGIN, Entry, LogRow, Position, batch_of, check_chain, end_after
from replication.quorum import QuorumSizes


class InvariantBroken(AssertionError):
    """The message names the rule, the node and the numbers."""


class Disk:
    """What was seen of one node's disk so far."""

    def __init__(self) -> None:
        self.log: list[LogRow] = []
        self.rows = 0
        self.positions: dict[Position, None] = {}
        self.data: list[Entry] = []
        self.entries = 0


class WorldInvariants:
    """Everything that is known from above."""

    def __init__(self, servers: dict[str, Server]) -> None:
        sizes = QuorumSizes.of(len(servers))
        self._commit = 1 + sizes.commit_replicas
        self._election = sizes.election
        self._servers = servers
        self._disks = {name: Disk() for name in servers}
        self._rows: dict[Position, LogRow] = {}
        self._holders: dict[Position, dict[str, None]] = {}
        """Row -> the members that stored it in its own epoch."""
        self._owners: dict[int, str] = {}
        self.committed: dict[Position, None] = {LOG_BEGIN: None}
        self.committed_end = LOG_BEGIN
        self.entries: list[Entry] = []
        """Committed, in order."""
        self.entries_until: dict[int, int] = {0: 0}
        """Last timestamp of a committed row -> entries up to there."""
        self.place: dict[str, int] = {}
        """Statement of a committed entry -> its timestamp."""
        self.committed_ns: dict[str, int] = {}

    # ------------------------------------------------------------------------------------------ coordinators

    def elected(self, epoch: int, owner: str) -> None:
        known = self._owners.setdefault(epoch, owner)
        if known != owner:
            raise InvariantBroken(f"one owner: epoch {epoch} was {known}'s, and is {owner}'s")

    def acknowledged(self, entry: Entry) -> None:
        if self.place.get(entry.sql) != entry.timestamp:
            raise InvariantBroken(f"acknowledged: {entry.sql} at {entry.timestamp} is not committed")

    # ------------------------------------------------------------------------------------------ disks

    def changed(self, name: str, now_ns: int, *, admitted: bool = False) -> None:
        """A command changed `name`'s disk, or its disk was exchanged."""
        node, disk = self._servers[name].node, self._disks[name]
        if node.log is not disk.log or len(node.log) < disk.rows:
            common = 0
            while common < min(disk.rows, len(node.log)) and disk.log[common] is node.log[common]:
                common += 1
            disk.positions = dict.fromkeys(row.position for row in node.log[:common])
            disk.log, disk.rows = node.log, common
        for index in range(disk.rows, len(node.log)):
            self._stored(node, disk, index, now_ns)
        disk.rows = len(node.log)
        if admitted:
            for row in node.log:
                self._counted(node, row, now_ns)
        self._applied(node, disk)
        self._never_lost()

    def _stored(self, node: ModelNode, disk: Disk, index: int, now_ns: int) -> None:
        row = node.log[index]
        position = row.position
        known = self._rows.get(position)
        if known is None:
            self._rows[position] = row
            if index > 0:
                self._check_link(node.name, node.log[index - 1], row)
        elif known.checksum != row.checksum:
            raise InvariantBroken(f"log matching: {node.name} has another row at {position} than some node had")
        if index > 0 and node.log[index - 1].position != row.previous:
            raise InvariantBroken(f"log matching: {node.name} has {position} after {node.log[index - 1].position}")
        disk.positions[position] = None
        self._counted(node, row, now_ns)

    def _check_link(self, name: str, before: LogRow, row: LogRow) -> None:
        check_chain(end_after(before), [row])
        if row.last_timestamp <= before.last_timestamp or row.first_timestamp <= before.last_timestamp:
            raise InvariantBroken(f"log matching: {name}'s log does not grow from {before.position} to {row.position}")

    def _counted(self, node: ModelNode, row: LogRow, now_ns: int) -> None:
        if node.is_member and row.epoch == node.epoch and row.position not in self.committed:
            holders = self._holders.setdefault(row.position, {})
            holders[node.name] = None
            if len(holders) >= self._commit:
                self._became_committed(row, now_ns)

    def _became_committed(self, row: LogRow, now_ns: int) -> None:
        chain = [row]
        while chain[-1].previous in self._rows and chain[-1].previous not in self.committed:
            chain.append(self._rows[chain[-1].previous])
        if chain[-1].previous != self.committed_end:
            raise InvariantBroken(
                f"no fork: {row.position} becomes committed, it continues {chain[-1].previous}, "
                f"but everything up to {self.committed_end} is committed"
            )
        for each in reversed(chain):
            self.committed[each.position] = None
            for entry in batch_of(each).entries:
                self.entries.append(entry)
                self.place[entry.sql] = entry.timestamp
                self.committed_ns[entry.sql] = now_ns
            self.entries_until[each.last_timestamp] = len(self.entries)
        self.committed_end = row.position

    def _applied(self, node: ModelNode, disk: Disk) -> None:
        expected = self.entries_until.get(node.applied)
        if expected is None:
            raise InvariantBroken(f"applied: {node.name} applied {node.applied}, which is not committed")
        data = node.data
        start = disk.entries if data is disk.data else 0
        disk.data, disk.entries = data, len(data)
        if len(data) != expected:
            raise InvariantBroken(
                f"applied: {node.name} has {len(data)} entries at {node.applied}, where {expected} are committed"
            )
        for index in range(start, expected):
            mine, theirs = data[index], self.entries[index]
            if mine.timestamp != theirs.timestamp or mine.sql != theirs.sql:
                raise InvariantBroken(
                    f"applied: {node.name} has {mine.sql} at {mine.timestamp}; "
                    f"committed is {theirs.sql} at {theirs.timestamp}"
                )

    def _never_lost(self) -> None:
        """A member that lacks something committed is outvoted in every election quorum that it could be part of."""
        members = [server.node for server in self._servers.values() if server.node.is_member]
        lacking = [node for node in members if not self._has_everything(node)]
        for node in lacking:
            end = node.log_end.position
            behind = [other.name for other in members if other.log_end.position <= end]
            if len(behind) >= self._election:
                raise InvariantBroken(
                    f"never lost: {', '.join(behind)} could elect by {node.name}'s log, which ends at {end} "
                    f"without the committed {self.committed_end}"
                )

    def _has_everything(self, node: ModelNode) -> bool:
        end = self.committed_end
        return end in self._disks[node.name].positions or node.applied >= end.timestamp
