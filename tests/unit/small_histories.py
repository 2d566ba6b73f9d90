"""Small random histories, and the definition of strict serializability as a search: the oracle for the checkers.

The search tries every order that real time allows. It is exponential, and so short that it is seen to be right. With a
rule of precedence by timestamps it is the oracle for the checkers that trust those: some order must fit that is also
the order of the labels.
"""

import random
from collections.abc import Callable, Mapping

from history import Append, CompareAndSet, History, MicroOperation, Operation, Outcome, Read, RegisterRead

Values = tuple[int, ...]
State = Mapping[str, Values]
"""Lists, and registers as lists of one."""
Precedence = Callable[[Operation, Operation], bool]
Entries = dict[int, set[tuple[str, int]]]
KEYS = ("x", "y")
LONG_AFTER_NS = 1_000


# ------------------------------------------------------------------------------------------ the definition


def is_strictly_serializable(history: History) -> bool:
    return some_order_fits(history, returned_before)


def some_order_fits(history: History, must_precede: Precedence) -> bool:
    possible = [each for each in history.operations if each.outcome is not Outcome.FAIL]
    begin = {key: (value,) for key, value in history.initial_registers.items()}
    return _order_from(possible, begin, history.final_reads, must_precede)


def _order_from(remaining: list[Operation], state: State, final_reads: State, must_precede: Precedence) -> bool:
    if all(each.outcome is Outcome.INFO for each in remaining) and all(
        state.get(key, ()) == values for key, values in final_reads.items()
    ):
        return True  # what is left never happened
    for operation in remaining:
        others = [each for each in remaining if each is not operation]
        if any(must_precede(each, operation) for each in others):
            continue
        after = apply(operation, state)
        if after is not None and _order_from(others, after, final_reads, must_precede):
            return True
    return False


def apply(operation: Operation, state: State) -> State | None:
    """The state after it; None if its answers do not fit."""
    after = dict(state)
    for micro in operation.micro_operations:
        match micro:
            case Append(key, value):
                after[key] = (*after.get(key, ()), value)
            case Read(key, values):
                if values is not None and values != after.get(key, ()):
                    return None
            case CompareAndSet(key, expected, new, changed):
                holds = after[key] == (expected,)
                if changed is not None and changed != holds:
                    return None
                if holds:
                    after[key] = (new,)
            case RegisterRead(key, value):
                if value is not None and (value,) != after[key]:
                    return None
    return after


def returned_before(first: Operation, second: Operation) -> bool:
    return first.outcome is Outcome.OK and first.returned_ns is not None and first.returned_ns < second.invoked_ns


def is_in_order_of_timestamps(first: Operation, second: Operation) -> bool:
    """Whether the second must come later by their labels: writes have places, a read comes behind the place that it names."""
    if first.timestamp is None or second.timestamp is None or not first.is_write:
        return False
    return first.timestamp < second.timestamp or (first.timestamp == second.timestamp and not second.is_write)


def is_at_its_timestamp(first: Operation, second: Operation) -> bool:
    """The same where a read's label is its place."""
    if first.timestamp is None or second.timestamp is None or first.is_write or not second.is_write:
        return is_in_order_of_timestamps(first, second)
    return first.timestamp < second.timestamp


def read_labels_keep_time(history: History) -> bool:
    """A read names no place before that of what had returned before it was invoked."""
    return not any(
        returned_before(first, second) and first.timestamp > second.timestamp
        for first in history.operations
        for second in history.operations
        if first.timestamp is not None and second.timestamp is not None and not second.is_write
    )


def explained_by_timestamps(history: History, entries: Entries | None, *, exact_reads: bool = False) -> bool:
    """The definition for the checkers that trust labels and log: strictly serializable in just that order."""
    if entries is not None:
        written = {pair for pairs in entries.values() for pair in pairs}
        if any(each.outcome is Outcome.FAIL and written.intersection(pairs_of(each)) for each in history.operations):
            return False
        history = settled_by(history, entries)
    by_label = is_at_its_timestamp if exact_reads else is_in_order_of_timestamps
    fits = some_order_fits(history, lambda first, second: returned_before(first, second) or by_label(first, second))
    return fits and read_labels_keep_time(history)


def pairs_of(operation: Operation) -> set[tuple[str, int]]:
    appends = {(micro.key, micro.value) for micro in operation.micro_operations if isinstance(micro, Append)}
    return appends | {
        (micro.key, micro.new) for micro in operation.micro_operations if isinstance(micro, CompareAndSet)
    }


def settled_by(history: History, entries: Entries) -> History:
    """What the log says of unknown outcomes, taken at its word: it happened at that timestamp, or never."""
    timestamps = {pair: timestamp for timestamp, pairs in entries.items() for pair in pairs}
    settled: list[Operation] = []
    for each in history.operations:
        if each.outcome is Outcome.INFO:
            found = [timestamps[pair] for pair in pairs_of(each) if pair in timestamps]
            if found:
                settled.append(
                    Operation(each.process, each.invoked_ns, LONG_AFTER_NS, Outcome.OK, each.micro_operations, found[0])
                )
        else:
            settled.append(each)
    return History(settled, history.final_reads, history.initial_registers)


# ------------------------------------------------------------------------------------------ histories


class _Clients:
    """Up to five operations that take effect one by one; that is the order of their timestamps, but not always of time."""

    def __init__(self, rng: random.Random, begin: dict[str, Values]) -> None:
        self.rng = rng
        self.operations_total = rng.randint(2, 5)
        self.keeps_time = rng.random() < 0.7
        self.past = [begin]
        self.operations: list[Operation] = []
        self.entries: Entries = {}

    def choose_outcome(self) -> tuple[Outcome, bool]:
        """An outcome, and whether it happens."""
        outcome = self.rng.choices(list(Outcome), [8, 1, 2])[0]
        return outcome, outcome is Outcome.OK or self.rng.random() < (0.5 if outcome is Outcome.INFO else 0.1)

    def choose_past(self) -> tuple[int, dict[str, Values]]:
        """What is read is sometimes old."""
        place = len(self.past) - 1 if self.rng.random() < 0.75 else self.rng.randrange(len(self.past))
        return place, self.past[place]

    def took_effect(
        self, outcome: Outcome, micros: list[MicroOperation], after: dict[str, Values], read_place: int
    ) -> None:
        i = len(self.past) - 1
        self.past.append(after)
        invoked_ns = 2 * i - self.rng.randrange(5) if self.keeps_time else self.rng.randrange(2 * self.operations_total)
        returned_ns = None if outcome is Outcome.INFO else max(invoked_ns, 2 * i + self.rng.randrange(4))
        is_write = any(isinstance(micro, Append | CompareAndSet) for micro in micros)
        told = 2 * (i + 1) if is_write else max(0, 2 * read_place - self.rng.choice([0, 0, 0, 2]))
        timestamp = told if outcome is Outcome.OK else None
        self.operations.append(Operation(i, invoked_ns, returned_ns, outcome, tuple(micros), timestamp))

    def in_log(self, key: str, value: int) -> None:
        self.entries.setdefault(2 * len(self.past), set()).add((key, value))


def small_list_history(rng: random.Random) -> tuple[History, Entries]:
    """Now and then one reads the past, is lost or halved, or fails and happens. And the log."""
    clients = _Clients(rng, {})
    values = {key: iter(range(1, 100)) for key in KEYS}
    for _ in range(clients.operations_total):
        outcome, happens = clients.choose_outcome()
        place, read_from = clients.choose_past()
        after, own = dict(clients.past[-1]), dict[str, Values]()
        micros: list[MicroOperation] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(KEYS)
            if rng.random() < 0.5:
                value = next(values[key])
                micros.append(Append(key, value))
                if happens:
                    clients.in_log(key, value)
                if happens and rng.random() < 0.95:
                    after[key] = (*after.get(key, ()), value)
                    own[key] = (*own.get(key, ()), value)
            else:
                seen = read_from.get(key, ()) + own.get(key, ())
                micros.append(Read(key, seen if outcome is Outcome.OK else None))
        clients.took_effect(outcome, micros, after, place)
    rng.shuffle(clients.operations)
    final_reads = {key: clients.past[-1].get(key, ()) for key in KEYS}
    return History(clients.operations, final_reads), clients.entries


def small_register_history(rng: random.Random) -> tuple[History, Entries]:
    """Now and then one compares with the past, is lost, or fails and happens. And the log."""
    begin = dict.fromkeys(KEYS, (0,))
    clients = _Clients(rng, dict(begin))
    for i in range(clients.operations_total):
        outcome, happens = clients.choose_outcome()
        place, read_from = clients.choose_past()
        after = dict(clients.past[-1])
        key = rng.choice(KEYS)
        (held,) = read_from[key]
        micro: MicroOperation
        if rng.random() < 0.7:
            expected = held if rng.random() < 0.7 else rng.randrange(i + 2)
            changed = held == expected
            micro = CompareAndSet(key, expected, i + 1, changed if outcome is Outcome.OK else None)
            if happens:
                clients.in_log(key, i + 1)
            if happens and changed and rng.random() < 0.95:
                after[key] = (i + 1,)
        else:
            micro = RegisterRead(key, held if outcome is Outcome.OK else None)
        clients.took_effect(outcome, [micro], after, place)
    rng.shuffle(clients.operations)
    history = History(clients.operations, initial_registers=dict.fromkeys(KEYS, 0))
    return history, clients.entries
