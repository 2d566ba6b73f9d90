"""Reads that may be behind: at a node that is good enough for what the read needs, without asking anybody.

Whatever node it is, it shows a state that all nodes pass through, for nothing is applied that is not committed. How old that is
at most follows from the rounds in which the epoch is confirmed (reads.py). When one began that succeeded, nobody but us had
committed anything, so `committed_timestamp` was all that any client had been told of: a node that has applied that much was
complete then. The bound holds for a deposed coordinator too: its rounds succeed no more, so all it knows grows old.

Hard case: the server came back without its data, and nobody has noticed yet. What is known of a node is of the server that
answered last (`heard_ns`), so whoever reads does it over a connection that is older than that question.

A bounded read for which no node is known to be new enough becomes a strong one; that is never slower than a strong one is. Other
reads wait for a node, up to their deadline: for a master, or for one that has applied the write they name.
"""

from bisect import bisect_right

from replication.effects import ReadAllowed, ReadRefused
from replication.events import ReadArrived
from replication.progress import NodeProgress, expected_ns
from replication.state import MILLISECOND_NS, Phase, ReplicationState
from replication.values import ReadLevel, ReadNeed

APART_NS = 20 * MILLISECOND_NS
MOMENTS_MAX = 6_000


class Moments:
    """When everything committed was known, and up to which timestamp that was. Both grow."""

    def __init__(self) -> None:
        self._times_ns: list[int] = []
        self._committed: list[int] = []

    def add(self, time_ns: int, committed: int) -> None:
        """The newest is always kept, older ones some way apart, for a few minutes."""
        if len(self._times_ns) > 1 and self._times_ns[-1] - self._times_ns[-2] < APART_NS:
            self._times_ns.pop()
            self._committed.pop()
        self._times_ns.append(time_ns)
        self._committed.append(committed)
        if len(self._times_ns) > MOMENTS_MAX:
            del self._times_ns[: MOMENTS_MAX // 2], self._committed[: MOMENTS_MAX // 2]

    def complete_at_ns(self, applied: int) -> int | None:
        """When a node that has applied so much had everything; None: longer ago than is known."""
        place = bisect_right(self._committed, applied)
        return self._times_ns[place - 1] if place else None


class WeakReads:
    """Reads of all levels but strong, from arrival to leave."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._waiting: list[ReadArrived] = []
        self.moments = Moments()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def arrived(self, read: ReadArrived) -> bool:
        """False: it is to be a strong read."""
        if self._release(read):
            return True
        if read.need.level is ReadLevel.BOUNDED and read.need.after_timestamp <= self._state.committed_timestamp:
            return False
        self._waiting.append(read)
        return True

    def advance(self) -> list[ReadArrived]:
        """After every step: who can read now, does. Answers with those that are to be strong reads."""
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, []
        return [read for read in waiting if not self.arrived(read)]

    def _release(self, read: ReadArrived) -> bool:
        good = [node for node in self._candidates(read.need.level) if self._is_good(node, read.need)]
        if not good:
            return False
        node = min(good, key=expected_ns)
        node.reads_under_way += 1
        staleness_ns = self.staleness_ns(node)
        self._state.emit(ReadAllowed(read.read_id, node.name, node.applied_timestamp, staleness_ns, node.heard_ns))
        return True

    def _candidates(self, level: ReadLevel) -> list[NodeProgress]:
        """Nodes whose rows are whole and nobody doubts, and whose connections are open."""
        state = self._state
        nodes = list(state.nodes.values())
        if level is ReadLevel.LEADER:
            nodes = [state.master_progress] if state.phase is Phase.SERVING else []
        return [node for node in nodes if node.fenced and node.member and node.dispute is None]

    def _is_good(self, node: NodeProgress, need: ReadNeed) -> bool:
        if node.applied_timestamp < need.after_timestamp:
            return False
        if need.level is not ReadLevel.BOUNDED:
            return True
        staleness_ns = self.staleness_ns(node)
        return staleness_ns is not None and staleness_ns <= need.max_staleness_ns

    def staleness_ns(self, node: NodeProgress) -> int | None:
        """Every write that was acknowledged so long ago is in the node's rows; None: nobody can tell."""
        complete_at_ns = self.moments.complete_at_ns(node.applied_timestamp)
        return None if complete_at_ns is None else self._state.now_ns - complete_at_ns

    # ------------------------------------------------------------------------------------------ ends

    def refuse_all(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            self._state.emit(ReadRefused(read.read_id, reason))

    def expire(self) -> None:
        now_ns = self._state.now_ns
        late = [read for read in self._waiting if read.deadline_ns <= now_ns]
        if late:
            self._waiting = [read for read in self._waiting if read.deadline_ns > now_ns]
            for read in late:
                self._state.emit(ReadRefused(read.read_id, self._lack(read.need)))

    @staticmethod
    def _lack(need: ReadNeed) -> str:
        if need.after_timestamp:
            return f"no node that could be read at had applied {need.after_timestamp} before the deadline"
        return "no node could be read at before the deadline"

    @property
    def wake_at_ns(self) -> int | None:
        return min((read.deadline_ns for read in self._waiting), default=None)
