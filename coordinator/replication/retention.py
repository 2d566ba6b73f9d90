"""Log truncation: the log is bounded by size and by age, and a node that needs more than that gets a full copy.

Only rows that a node has applied are removed there, and its last applied row always stays: it is what the next row is chained to
and where a common point is looked for. So truncation can make nothing unsafe; it only decides who is filled from the log and
who by a copy. Each node is told by itself, and need not do it at the same moment.

What a commit quorum has still to apply stays on all nodes. A replica stores every row while it executes a schema change for an
hour, and gets what it has not applied from the master's log afterwards. If all replicas did so and found it gone, each would need
a copy, and there would be nobody left to commit with.

Where to cut is found without reading the log: each row says how many bytes of payload lie before it, so a few rows in
between, looked up by key, tell where the wanted size is kept. What is cut is thereby right to a part of the log's length
(`MARKS`); the next look, a few seconds later, is at a shorter log and more exact.
"""

from replication.copying import Copying
from replication.effects import MeasureLog, TruncateLog
from replication.log import Position
from replication.progress import NodeProgress, NodeState
from replication.replies import LogMark, LogMeasured
from replication.state import Phase, ReplicationState

MARKS = 32


def cut_at(marks: tuple[LogMark, ...], bytes_end: int, bytes_kept: int, oldest_us: int) -> int | None:
    """Timestamp of the last mark before which everything may go: more than `bytes_kept` lie behind it, or it is older than
    `oldest_us`. None: all must stay."""
    past = [mark.timestamp for mark in marks if bytes_end - mark.bytes_total >= bytes_kept or mark.now_us < oldest_us]
    return max(past, default=None)


def probes(first: int, last: int) -> tuple[int, ...]:
    """`MARKS` timestamps, evenly spread from `first` to `last`."""
    return tuple(sorted({first + (last - first) * part // (MARKS - 1) for part in range(MARKS)}))


class Retention:
    """Looks at the master's log now and then, and tells the nodes what to remove."""

    def __init__(self, state: ReplicationState, copying: Copying) -> None:
        self._state = state
        self._copying = copying
        self._look_at_ns = 0
        self._measure_command: int | None = None
        self.log_bytes: int | None = None
        """Payload that the master's log held when it was looked at last; None: it was not yet."""

    def advance(self) -> None:
        """Look, if it is time."""
        state = self._state
        if state.phase is not Phase.SERVING or state.now_ns < self._look_at_ns:
            return
        self._look_at_ns = state.now_ns + state.settings.log_check_ns
        if self._has_open_change:
            return  # the intent must be found by whoever takes over
        begin, end = state.master_progress.log_begin.timestamp, state.committed_timestamp
        if begin < end:
            self._measure_command = state.next_command()
            state.emit(MeasureLog(state.master_progress.name, self._measure_command, probes(begin, end)))

    def measured(self, command: int, reply: LogMeasured) -> None:
        state = self._state
        if command != self._measure_command or state.phase is not Phase.SERVING:
            return
        self._measure_command = None
        if reply.marks:
            self.log_bytes = state.window.end.bytes_total - reply.marks[0].bytes_total
        oldest_us = state.wall_us - state.settings.log_age_us_max
        cut = cut_at(reply.marks, state.window.end.bytes_total, state.settings.log_bytes_max, oldest_us)
        floor = self._copying.floor_timestamp
        if cut is None or self._has_open_change:
            return
        before = min([cut, *([] if floor is None else [floor]), *self._needed_by_quorum])
        for node in state.nodes.values():
            upto = min(before, node.applied_timestamp)
            if node.state is NodeState.LEVEL and node.truncate_command is None and node.log_begin.timestamp < upto:
                node.truncate_command = state.next_command()
                state.emit(TruncateLog(node.name, node.truncate_command, upto))

    @property
    def _needed_by_quorum(self) -> list[int]:
        """What the replicas have applied that are nearest to the master, as many as a commit needs."""
        level = [node.applied_timestamp for node in self._state.replicas if node.state is NodeState.LEVEL]
        return sorted(level, reverse=True)[: self._state.sizes.commit_replicas]

    @property
    def _has_open_change(self) -> bool:
        """One that is beginning, or that the log says is open: it may not be taken on yet, in a new epoch."""
        return self._state.schema_in_flux or self._state.window.end.open_change != 0

    def truncated(self, node: NodeProgress, command: int, log_begin: Position) -> None:
        if command == node.truncate_command:
            node.truncate_command = None
            node.log_begin = log_begin

    def failed(self, command: int) -> bool:
        """Whether `command` was the look under way. A later one will do."""
        if command != self._measure_command:
            return False
        self._measure_command = None
        return True

    @property
    def wake_at_ns(self) -> int | None:
        return self._look_at_ns if self._state.phase is Phase.SERVING else None
