"""What must be true of the nodes together after every step, whatever any coordinator believes (design section 9).

Seen from above: every disk at once, and what was on any disk before. A row is committed when so many members as a commit
takes have stored it, each while it was in that row's epoch (Raft section 5.4.2: copies of an older epoch's row count for
nothing); so is all before it.

  one owner      an epoch has one coordinator that got past the counting of nodes
  log matching   two rows of one position are the same row, and so is all before them
  no fork        a row becomes committed only as a continuation of all that is committed
  changed        a node's schema is exactly the changes that are done up to its applied timestamp, and at most one more, whose
                 intent is committed and did not fail
  applied        a node's data is exactly the committed entries up to its applied timestamp (so equal data at equal timestamps)
  snapshots      those that are compared with each other are at one timestamp, and show what is committed up to there
  rebuilt        a node that was told that its rows differ is a member only with other rows
  never lost     the most complete log of any election quorum of members has everything committed
  acknowledged   what is acknowledged is committed, at that very place

Only what changed is looked at: a schedule stays fast.
"""

from collections.abc import Sequence

from model_node import ModelNode
from simulated_processes import Server

from replication.log import LOG_BEGIN, ChangeStep, Entry, LogRow, Position, batch_of, check_chain, end_after
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
        self.changes: list[str] = []
        """Schema changes that are done, in order."""
        self.changes_until: dict[int, int] = {0: 0}
        self._intents: dict[str, ChangeStep] = {}
        """Of all committed schema changes: how far each has come."""
        self.place: dict[str, int] = {}
        """Statement of a committed entry -> its timestamp."""
        self.committed_ns: dict[str, int] = {}

    # ------------------------------------------------------------------------------------------ coordinators

    def elected(self, epoch: int, owner: str) -> None:
        known = self._owners.setdefault(epoch, owner)
        if known != owner:
            raise InvariantBroken(f"one owner: epoch {epoch} was {known}'s, and is {owner}'s")

    def acknowledged(self, texts: Sequence[str], timestamp: int) -> None:
        for sql in texts:
            if self.place.get(sql) != timestamp:
                raise InvariantBroken(f"acknowledged: {sql} at {timestamp} is not committed")

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
        self._changed(node)
        if node.is_member and node.damaged and node.is_told:
            raise InvariantBroken(f"rebuilt: {name} was told that its rows differ, and is a member with them")
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
            self._note_change(each, now_ns)
            self.changes_until[each.last_timestamp] = len(self.changes)
            self.entries_until[each.last_timestamp] = len(self.entries)
        self.committed_end = row.position

    def _note_change(self, row: LogRow, now_ns: int) -> None:
        change = batch_of(row).change
        if change is None:
            return
        self._intents[change.sql] = change.step
        if change.step is ChangeStep.DONE:
            self.changes.append(change.sql)
            self.place[change.sql], self.committed_ns[change.sql] = row.last_timestamp, now_ns
        elif change.step is ChangeStep.FAILED:
            for server in self._servers.values():
                if server.node.is_member and change.sql in server.node.schema:
                    raise InvariantBroken(
                        f"changed: {server.node.name} made {change.sql}, which is said to have failed"
                    )

    def place_of_change(self, sql: str) -> int:
        """Where it is in the log; behind everything, if its outcome is not known yet; 0: it was not made."""
        if self._intents.get(sql) is ChangeStep.INTENT:
            return self.committed_end.timestamp + 1
        return self.place.get(sql, 0)

    def _changed(self, node: ModelNode) -> None:
        until = self.changes_until[node.applied]
        more = node.schema[until:]
        known = [sql for sql in more if self._intents.get(sql, ChangeStep.FAILED) is not ChangeStep.FAILED]
        expected = self.changes[until : until + len(more)] or known
        if node.schema[:until] != self.changes[:until] or len(more) > 1 or more != expected:
            raise InvariantBroken(
                f"changed: {node.name} has made {node.schema}; up to {node.applied} there are {self.changes[:until]}"
            )

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
        for index in range(start, 0 if node.damaged else expected):
            mine, theirs = data[index], self.entries[index]
            if mine.timestamp != theirs.timestamp or mine.sql != theirs.sql:
                raise InvariantBroken(
                    f"applied: {node.name} has {mine.sql} at {mine.timestamp}; "
                    f"committed is {theirs.sql} at {theirs.timestamp}"
                )

    def compared(self, timestamp: int, name: str, snapshot: tuple[int, list[Entry]]) -> bool:
        """Whether the snapshot shows what is committed; one that does not is of a node whose rows were damaged."""
        found, data = snapshot
        if found != timestamp:
            raise InvariantBroken(f"snapshots: {name}'s is at {found}, it is compared at {timestamp}")
        committed = self.entries[: self.entries_until[timestamp]]
        equal = [(entry.timestamp, entry.sql) for entry in data] == [(each.timestamp, each.sql) for each in committed]
        if not equal and not any("by nobody" in entry.sql for entry in data):
            raise InvariantBroken(f"snapshots: {name}'s at {timestamp} does not show what is committed")
        return equal

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
