"""The white-box check: the cluster says itself in which order everything happened, so replay that order and compare.
Linear.

Every write's answer names its timestamp, every read's the timestamp that it had at least reached. If these are true,
then

(a) a read is the list as the writes up to some place made it: no write before that place is missing, none behind it is
    there, the same place for all lists that it read, and not before the timestamp that it names;
(b) what began after something had returned has a later place, or for a read no earlier one;
(c) no two writes have one timestamp;
(d) the log of the nodes, if it is given, has each acknowledged write at its timestamp and no failed one anywhere.

It trusts the labels that it checks, so it complements the black-box check (list_append_checker.py) and does not replace
it: a cluster that labels wrongly and answers rightly fails here, one whose labels fit a wrong answer fails there. In
return it needs no search, and with the log no INFO stays open.

`exact_reads`: a read's timestamp is its place, not only a floor. Ours is a floor: the node may apply more between the
leave to read and the read.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from anomaly import Anomaly, Narrator
from history import LAST_READER, Balances, History, Operation, Outcome, Read, RegisterRead
from list_observations import KeyObservations, observe
from log_places import END, Versions, Window, closed_too_early, place_of_read, place_of_write
from replicated_log import Entries, LogView, settled_timestamps


def check(history: History, entries: Entries | None = None, *, exact_reads: bool = False) -> list[Anomaly]:
    """Every anomaly found. Raises GeneratorBug if the workload broke a rule of its own."""
    operations = history.operations_and_last_reads()
    narrator = Narrator(operations)
    log = None if entries is None else LogView(operations, entries)
    replay = _Replay(operations, settled_timestamps(operations, log), log is not None, exact_reads, narrator)
    anomalies = list(_no_timestamp(operations, narrator))
    anomalies += _timestamp_twice(replay.timestamps, narrator)
    anomalies += _labels_out_of_order(operations, narrator)
    if log is not None:
        anomalies += log.anomalies(narrator)
    return anomalies + replay.anomalies()


# ------------------------------------------------------------------------------------------ labels


def _no_timestamp(operations: Sequence[Operation], narrator: Narrator) -> Iterator[Anomaly]:
    """Without one an operation is not checked here, and that is no pass."""
    missing = [
        number
        for number, operation in enumerate(operations)
        if operation.outcome is Outcome.OK
        and operation.timestamp is None
        and operation.process != LAST_READER
        and (operation.is_write or _is_read(operation))
    ]
    if missing:
        yield Anomaly(
            "no-timestamp",
            f"{len(missing)} answers name no timestamp, the first is that of {narrator.full(missing[0])}",
        )


def _timestamp_twice(timestamps: Mapping[int, int], narrator: Narrator) -> Iterator[Anomaly]:
    first_by_timestamp: dict[int, int] = {}
    for number, timestamp in timestamps.items():
        first = first_by_timestamp.setdefault(timestamp, number)
        if first != number:
            who = f"{narrator.full(first)} and {narrator.full(number)}"
            yield Anomaly("timestamp-twice", f"{who} are two writes with timestamp {timestamp}")


def _labels_out_of_order(operations: Sequence[Operation], narrator: Narrator) -> Iterator[Anomaly]:
    """Rule (b) for reads by their labels alone; by what they saw, and for writes, it is part of the replay."""
    windows = {
        number: place_of_write(operation.timestamp)
        for number, operation in enumerate(operations)
        if operation.outcome is Outcome.OK and operation.timestamp is not None
    }
    reads = {number for number in windows if not operations[number].is_write}
    for anomaly in closed_too_early(operations, windows, reads, narrator):
        yield Anomaly("label-too-early", anomaly.sentence)


def _is_read(operation: Operation) -> bool:
    return any(isinstance(micro, Read | RegisterRead | Balances) for micro in operation.micro_operations)


# ------------------------------------------------------------------------------------------ replay


class _Replay:
    """All lists, write by write in the order of timestamps; each read must be a moment of it."""

    def __init__(
        self,
        operations: Sequence[Operation],
        timestamps: dict[int, int],
        has_log: bool,
        exact_reads: bool,
        narrator: Narrator,
    ) -> None:
        self.timestamps = timestamps
        self._operations = operations
        self._has_log = has_log
        self._narrator = narrator
        self._windows = {number: place_of_write(timestamp) for number, timestamp in timestamps.items()}
        for number, operation in enumerate(operations):
            if operation.outcome is Outcome.OK and number not in self._windows and _is_read(operation):
                self._windows[number] = place_of_read(operation, exact=exact_reads)

    def anomalies(self) -> list[Anomaly]:
        observations = observe(self._operations)
        keys = observations.keys.values()
        found = [
            Anomaly(
                "wrong-read",
                f"{self._narrator.full(each.reader)} read {each.key} as {list(each.values)}, not {each.expected}",
            )
            for each in observations.internal_contradictions
        ]
        found += (anomaly for key in keys for anomaly in self._order(key))
        for key in keys:
            self._narrow_unsettled(key, self._versions(key))
        for key in keys:
            found += self._replay(key, self._versions(key))
        empty = {number for number, window in self._windows.items() if window.is_empty}
        found += (self._no_moment(number) for number in sorted(empty))
        rest = {number: window for number, window in self._windows.items() if number not in empty}
        return [*found, *closed_too_early(self._operations, rest, rest.keys(), self._narrator)]

    def _order(self, key: KeyObservations) -> Iterator[Anomaly]:
        if not key.order_is_trusted:
            yield Anomaly("no-one-order", f"the reads of {key.key} do not follow from one order of its writes")
        never = [value for value in key.order if not self._may_have_happened(key.writer_by_value.get(value))]
        if never:
            yield Anomaly("never-happened", f"{key.key} was read with {never}, whose writes never happened")
        places = [(self._place(key, value), value) for value in key.order]
        known = [(place, value) for place, value in places if place is not None]
        for (place, value), (place_behind, value_behind) in pairwise(known):
            if place_behind < place:
                yield Anomaly(
                    "wrong-order",
                    f"{key.key} was read with {value}, timestamp {place}, before {value_behind}, timestamp"
                    f" {place_behind}",
                )

    def _replay(self, key: KeyObservations, versions: Versions) -> Iterator[Anomaly]:
        for reader, version in key.external_reads if key.order_is_trusted else ():
            if not self._operations[reader].is_write:
                self._windows[reader].narrow(versions.at_least[len(version)], versions.below[len(version)])
            elif reader in self.timestamps:
                yield from self._read_by_a_write(reader, versions, len(version))

    def _place(self, key: KeyObservations, value: int) -> int | None:
        writer = key.writer_by_value.get(value)
        return None if writer is None else self.timestamps.get(writer)

    def _may_have_happened(self, writer: int | None) -> bool:
        if writer is None:
            return False
        outcome = self._operations[writer].outcome
        return outcome is Outcome.OK or (outcome is Outcome.INFO and (not self._has_log or writer in self.timestamps))

    def _versions(self, key: KeyObservations) -> Versions:
        """As they were read, and behind them what surely happened and nobody saw: it comes before no later place than this."""
        seen = set(key.order)
        unseen: list[tuple[int, int]] = []
        for value, writer in key.writer_by_value.items():
            if value not in seen and writer in self.timestamps:
                unseen.append((self.timestamps[writer], value))
            elif value not in seen and writer in self._windows and self._operations[writer].outcome is Outcome.INFO:
                # it was seen in another list, so it happened
                unseen.append((min(self._windows[writer].below.place, END - 1), value))
        unseen.sort()
        return Versions(
            key.key,
            [*key.order, *(value for _, value in unseen)],
            [*(self._place(key, value) for value in key.order), *(place for place, _ in unseen)],
        )

    def _read_by_a_write(self, reader: int, versions: Versions, length: int) -> Iterator[Anomaly]:
        """It reads just before its own place."""
        at_least, below = versions.at_least[length], versions.below[length]
        if not at_least.place < self.timestamps[reader] <= below.place:
            yield Anomaly(
                "wrong-read",
                f"{self._narrator.full(reader)} read {versions.key} between {at_least} and {below}",
            )

    def _narrow_unsettled(self, key: KeyObservations, versions: Versions) -> None:
        """An INFO that was seen came behind what is before it in the list, and before what is behind it."""
        for i, value in enumerate(key.order if key.order_is_trusted else ()):
            writer = key.writer_by_value.get(value)
            if writer is not None and writer not in self.timestamps and self._may_have_happened(writer):
                window = self._windows.setdefault(writer, Window())
                window.narrow(versions.at_least[i], versions.below[i + 1])

    def _no_moment(self, number: int) -> Anomaly:
        window = self._windows[number]
        operation = self._operations[number]
        sentence = f"{self._narrator.full(number)} came {window}: there is no such moment"
        if operation.process == LAST_READER:
            return Anomaly("lost-write", f"{window.below} is missing: {sentence}")
        return Anomaly("half-applied" if operation.is_write else "wrong-read", sentence)
