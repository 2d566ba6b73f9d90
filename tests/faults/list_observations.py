"""What the operations of a history saw of each list, and the order of its versions that follows from it.

An append-only list shows its own past: the last element of a read names the write that made this version, and the
elements before it are all earlier versions in order. So the longest read of a list is the order of its writes
(Kingsbury and Alvaro, "Elle", 2020, section 3), as long as all other reads are prefixes of it; where one is not,
nothing about that list's order can be trusted.

A read says something about others only in its *external* part: what the transaction itself appended before is taken off
its end.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from anomaly import GeneratorBug
from history import LAST_READER, Append, Operation, Outcome, Read

Values = tuple[int, ...]


@dataclass(slots=True)
class KeyObservations:
    """One list. Operations are numbers, as everywhere in the checkers."""

    key: str
    writer_by_value: dict[int, int] = field(default_factory=dict)
    reads: list[tuple[int, Values]] = field(default_factory=list)
    """Every answered read of an OK operation, the last read not included."""
    external_reads: list[tuple[int, Values]] = field(default_factory=list)
    """(reader, version), the last read included."""
    final: Values | None = None
    longest: Values = ()
    """The longest read before the last one."""
    incompatible_reads: list[tuple[int, Values]] = field(default_factory=list)
    """Reads that are no prefixes of the longest."""
    order_is_trusted: bool = True

    @property
    def order(self) -> Values:
        """The versions of the list in order, as far as anyone saw them."""
        return self.longest if self.final is None or len(self.final) < len(self.longest) else self.final

    def seen(self) -> set[int]:
        """Every element that anyone ever saw."""
        seen = set(self.longest).union(self.final or ())
        for _, values in self.incompatible_reads:
            seen.update(values)
        return seen

    def first_reader(self, value: int) -> int | None:
        return next((reader for reader, values in self.reads if value in values), None)

    def conclude(self) -> None:
        self.longest = max((values for _, values in self.reads), key=len, default=())
        longest = self.longest
        self.incompatible_reads = [read for read in self.reads if read[1] != longest[: len(read[1])]]
        self.order_is_trusted = (
            not self.incompatible_reads and not self.last_read_contradicts() and len(set(self.order)) == len(self.order)
        )

    def last_read_contradicts(self) -> bool:
        """The last read is neither a prefix of the longest read before it nor longer than that."""
        if self.final is None:
            return False
        shared = min(len(self.final), len(self.longest))
        return self.final[:shared] != self.longest[:shared]


@dataclass(slots=True)
class InternalContradiction:
    """A read that does not fit what its own transaction had read and appended before."""

    reader: int
    key: str
    expected: str
    values: Values


@dataclass(slots=True)
class Observations:
    operations: Sequence[Operation]
    keys: dict[str, KeyObservations]
    internal_contradictions: list[InternalContradiction]


def observe(operations: Sequence[Operation]) -> Observations:
    """Raises GeneratorBug for a value that was appended twice."""
    observations = Observations(operations, {}, [])
    for number, operation in enumerate(operations):
        _observe_writes(observations.keys, number, operation)
        if operation.outcome is Outcome.OK:
            _observe_reads(observations, number, operation)
    for key in observations.keys.values():
        key.conclude()
    return observations


def _key(keys: dict[str, KeyObservations], key: str) -> KeyObservations:
    found = keys.get(key)
    if found is None:
        found = keys[key] = KeyObservations(key)
    return found


def _observe_writes(keys: dict[str, KeyObservations], number: int, operation: Operation) -> None:
    for micro in operation.micro_operations:
        if isinstance(micro, Append):
            writers = _key(keys, micro.key).writer_by_value
            if micro.value in writers:
                first = writers[micro.value]
                raise GeneratorBug(f"{micro.value} is appended to {micro.key} twice: by T{first} and by T{number}")
            writers[micro.value] = number


def _observe_reads(observations: Observations, number: int, operation: Operation) -> None:
    appends: dict[str, set[int]] = defaultdict(set)
    for each in operation.appends:
        appends[each.key].add(each.value)
    known: dict[str, Values] = {}
    appended: dict[str, Values] = {}
    for micro in operation.micro_operations:
        if isinstance(micro, Append):
            appended[micro.key] = (*appended.get(micro.key, ()), micro.value)
        elif isinstance(micro, Read) and micro.values is not None:
            key, values = micro.key, micro.values
            observed = _key(observations.keys, key)
            own = appended.pop(key, ())
            if operation.process == LAST_READER:
                observed.final = values
            else:
                observed.reads.append((number, values))
            if key in known:
                expected = known[key] + own
                if values != expected:
                    observations.internal_contradictions.append(
                        InternalContradiction(number, key, f"{list(expected)}", values)
                    )
            elif own and values[-len(own) :] != own:
                observations.internal_contradictions.append(
                    InternalContradiction(number, key, f"a list that ends with {list(own)}", values)
                )
            else:
                version = values[: len(values) - len(own)]
                observed.external_reads.append((number, version))
                if key in appends and not appends[key].isdisjoint(version):
                    observations.internal_contradictions.append(
                        InternalContradiction(number, key, "without what it appended itself later", values)
                    )
            known[key] = values
