"""What the nodes' log says of a history's writes: what is in it happened, at its timestamp; what is not in it never
will.

So it settles every INFO, as etcd's robustness tests settle theirs from the write-ahead log, and it convicts answers: an
OK that is not in it, a FAIL that is. The log must reach from the history's first write to its last; `entries` maps a
timestamp to the (key, value) pairs that this entry wrote or tried to write.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from anomaly import Anomaly, Narrator
from history import Append, CompareAndSet, Operation, Outcome, Read, RegisterRead

Pair = tuple[str, int]
Entries = Mapping[int, Collection[Pair]]


class LogView:
    """The history's writes, looked up in the log."""

    def __init__(self, operations: Sequence[Operation], entries: Entries) -> None:
        self._operations = operations
        self._entries = entries
        self._timestamps: dict[Pair, list[int]] = {}
        for timestamp in sorted(entries):
            for pair in entries[timestamp]:
                self._timestamps.setdefault(pair, []).append(timestamp)

    def timestamps(self, number: int) -> list[int]:
        """Where anything of the operation is."""
        found = {each for pair in pairs_of(self._operations[number]) for each in self._timestamps.get(pair, ())}
        return sorted(found)

    def anomalies(self, narrator: Narrator) -> Iterator[Anomaly]:
        for number, operation in enumerate(self._operations):
            pairs = pairs_of(operation)
            if pairs:
                yield from self._of_one(number, operation, pairs, narrator)
        known = {pair for operation in self._operations for pair in pairs_of(operation)}
        # other keys are other histories': what nobody heard of for long may come when the next one has begun
        keys = {key for operation in self._operations for key in keys_of(operation)}
        for pair in sorted(self._timestamps.keys() - known):
            if pair[0] in keys:
                yield Anomaly(
                    "garbage-in-log", f"the log has {pair} at {self._timestamps[pair]}, which nobody asked for"
                )

    def _of_one(self, number: int, operation: Operation, pairs: list[Pair], narrator: Narrator) -> Iterator[Anomaly]:
        timestamps = self.timestamps(number)
        who = narrator.full(number)
        if len(timestamps) > 1:
            yield Anomaly("duplicate-in-log", f"{who} is in the log at {timestamps}")
        if operation.outcome is Outcome.FAIL and timestamps:
            yield Anomaly("failed-in-log", f"{who} was told that it never happens, but the log has it at {timestamps}")
        if operation.outcome is Outcome.INFO and timestamps:
            yield from self._whole(timestamps[0], pairs, who)
        if operation.outcome is Outcome.OK and operation.timestamp is not None and _must_be_in_log(operation):
            if timestamps:
                yield from self._whole(operation.timestamp, pairs, who)
            else:
                yield Anomaly("lost-from-log", f"{who} was told that it is committed, but it is not in the log")

    def _whole(self, timestamp: int, pairs: list[Pair], who: str) -> Iterator[Anomaly]:
        missing = sorted(set(pairs) - set(self._entries.get(timestamp, ())))
        if missing:
            yield Anomaly("not-at-its-timestamp", f"of {who} the log lacks {missing} at timestamp {timestamp}")


def pairs_of(operation: Operation) -> list[Pair]:
    """What it writes if it happens."""
    appends = [(micro.key, micro.value) for micro in operation.micro_operations if isinstance(micro, Append)]
    sets = [(micro.key, micro.new) for micro in operation.micro_operations if isinstance(micro, CompareAndSet)]
    return appends + sets


def keys_of(operation: Operation) -> set[str]:
    of_keys = (Append, Read, CompareAndSet, RegisterRead)
    return {micro.key for micro in operation.micro_operations if isinstance(micro, of_keys)}


def _must_be_in_log(operation: Operation) -> bool:
    """A compare-and-set that changed nothing need not be."""
    return not any(isinstance(micro, CompareAndSet) and not micro.changed for micro in operation.micro_operations)


def settled_timestamps(operations: Sequence[Operation], log: LogView | None) -> dict[int, int]:
    """Operation to timestamp, for all writes whose place is known: by their answer, or else by the log."""
    settled: dict[int, int] = {}
    for number, operation in enumerate(operations):
        if operation.outcome is Outcome.OK and operation.is_write and operation.timestamp is not None:
            settled[number] = operation.timestamp
        elif operation.outcome is Outcome.INFO and log is not None:
            found = log.timestamps(number)
            if found:
                settled[number] = found[0]
    return settled
