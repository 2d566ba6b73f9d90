"""Places in the replicated log, and between which of them an operation must have taken effect.

A write has one place, its timestamp. A read has a *window*: it saw the writes that it saw, so it came at the place of
the last of them or later, and it did not see the next one, so it came before that. `applied_timestamp` in its answer is
a floor as well: the node had applied so much when the read was let in, and may have applied more when it ran. An empty
window is an anomaly, and so is one that closes before the place of something that had returned before the read began.

An INFO whose place is not known is no limit for others, but what was seen around it limits its own place.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anomaly import Anomaly, Narrator
from history import LAST_READER, Operation, Outcome

BEGIN, END = 0, 2**63
"""Before and behind every timestamp."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A place, and why it is one: the write of `value` to `key`, or `told`."""

    place: int
    key: str = ""
    value: int = 0
    told: str = ""

    def __str__(self) -> str:
        return self.told or f"{self.value} in {self.key}, timestamp {self.place}"


AT_BEGIN = Limit(BEGIN, told="the beginning")
AT_END = Limit(END, told="the end")


@dataclass(slots=True)
class Window:
    """At `at_least` or later, and before `below`."""

    at_least: Limit = AT_BEGIN
    below: Limit = AT_END

    @property
    def is_empty(self) -> bool:
        return self.at_least.place >= self.below.place

    def __str__(self) -> str:
        if self.at_least.place + 1 == self.below.place:
            return f"at {self.at_least}"
        return f"at or behind {self.at_least} and before {self.below}"

    def narrow(self, at_least: Limit, below: Limit) -> None:
        if at_least.place > self.at_least.place:
            self.at_least = at_least
        if below.place < self.below.place:
            self.below = below


@dataclass(slots=True)
class Versions:
    """The writes of one key in their order; version n has the first n of them. An unknown place is None."""

    key: str
    values: Sequence[int]
    places: Sequence[int | None]
    at_least: list[Limit] = field(default_factory=list)
    """For each version: the last of its writes."""
    below: list[Limit] = field(default_factory=list)
    """For each version: the first write that it lacks."""

    def __post_init__(self) -> None:
        limit = AT_BEGIN
        self.at_least.append(limit)
        for value, place in zip(self.values, self.places, strict=True):
            if place is not None and place > limit.place:
                limit = Limit(place, self.key, value)
            self.at_least.append(limit)
        limit = AT_END
        self.below.append(limit)
        for value, place in zip(reversed(self.values), reversed(self.places), strict=True):
            if place is not None and place < limit.place:
                limit = Limit(place, self.key, value)
            self.below.append(limit)
        self.below.reverse()


def place_of_read(operation: Operation, *, exact: bool) -> Window:
    """What the answer itself says of the place. The last reader comes behind everything."""
    if operation.process == LAST_READER:
        return Window(Limit(END - 1, told="the end, when all was quiet"))
    if operation.timestamp is None:
        return Window()
    told = f"timestamp {operation.timestamp}, which its answer names"
    return Window(Limit(operation.timestamp, told=told), Limit(operation.timestamp + 1, told=told) if exact else AT_END)


def place_of_write(timestamp: int) -> Window:
    told = f"its own timestamp {timestamp}"
    return Window(Limit(timestamp, told=told), Limit(timestamp + 1, told=told))


def closed_too_early(
    operations: Sequence[Operation], windows: Mapping[int, Window], judged: Collection[int], narrator: Narrator
) -> Iterator[Anomaly]:
    """Those of `judged` that began after the return of something with a later place than they can have."""
    latest: tuple[int, int] | None = None
    for number, is_return in _events(operations, windows):
        window = windows[number]
        if is_return:
            if latest is None or window.at_least.place > latest[0]:
                latest = (window.at_least.place, number)
        elif latest is not None and number in judged:
            place, earlier = latest
            room = window.below.place - place
            # a write does not share its place with what it came behind, a read does
            if room < (2 if operations[number].is_write else 1):
                yield Anomaly(
                    "write-too-early" if operations[number].is_write else "stale-read",
                    f"{narrator.full(number)} came {window}, although {narrator.full(earlier)} had returned before it"
                    f" was invoked and came {windows[earlier]}",
                )


def _events(operations: Sequence[Operation], windows: Mapping[int, Window]) -> list[tuple[int, bool]]:
    """(operation, whether it returned) in the order of time; what happened in the same nanosecond overlapped."""
    events: list[tuple[int, bool, int]] = []
    for number in windows:
        operation = operations[number]
        events.append((operation.invoked_ns, False, number))
        if operation.outcome is Outcome.OK and operation.returned_ns is not None:
            events.append((operation.returned_ns, True, number))
    return [(number, is_return) for _, is_return, number in sorted(events)]
