"""Compare-and-set on registers, replayed in the order of timestamps; and accounts whose sum never changes.

A register's history is a chain: each change names the value that it found (`expected`), and each value is set by one
operation only. So between two acknowledged changes there is either nothing, or a chain of operations without an answer
(INFO) that leads from the value that the first one left to the value that the second one found; the values themselves
tell which. A read shows a place in the chain, and from there it is judged like a read of a list (log_places.py).
"Unchanged" means that the register did not hold `expected` at that place.

Without the nodes' log the place of an INFO is not known. Then a verdict is given only where every place that it could
have had leads to the same one: this check misses things rather than accuse a correct cluster. With the log it is exact.

Whether timestamps as such are true is the witness checker's question.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anomaly import Anomaly, GeneratorBug, Narrator
from history import Balances, CompareAndSet, History, Operation, Outcome, RegisterRead
from log_places import BEGIN, Versions, Window, closed_too_early, place_of_read, place_of_write
from replicated_log import Entries, LogView, settled_timestamps


def check(history: History, entries: Entries | None = None, *, exact_reads: bool = False) -> list[Anomaly]:
    """Every anomaly of registers and of accounts. Raises GeneratorBug if the workload broke a rule of its own."""
    return [*check_registers(history, entries, exact_reads=exact_reads), *check_balances(history)]


# ------------------------------------------------------------------------------------------ accounts


def check_balances(history: History) -> list[Anomaly]:
    """Each transfer leaves the sum as it was, so a read that has another sum saw half of one, or half of one was lost."""
    narrator = Narrator(history.operations)
    anomalies: list[Anomaly] = []
    total, accounts = history.accounts_total, None
    for number, operation in enumerate(history.operations):
        for micro in operation.micro_operations:
            if not isinstance(micro, Balances) or micro.values is None:
                continue
            total = sum(micro.values.values()) if total is None else total
            accounts = micro.values.keys() if accounts is None else accounts
            if micro.values.keys() != accounts:
                differing = sorted(micro.values.keys() ^ accounts)
                anomalies.append(Anomaly("wrong-accounts", f"{narrator.full(number)} differs in accounts {differing}"))
            elif sum(micro.values.values()) != total:
                sentence = (
                    f"{narrator.full(number)} read accounts that hold {sum(micro.values.values())} and not {total}"
                )
                anomalies.append(Anomaly("wrong-balance", f"{sentence}: {micro.values}"))
    return anomalies


# ------------------------------------------------------------------------------------------ registers


@dataclass
class Register:
    """What was asked of one register, and what was read. Operations by number."""

    key: str
    initial: int
    attempts: dict[int, CompareAndSet] = field(default_factory=dict)
    setter_by_value: dict[int, int] = field(default_factory=dict)
    reads: list[tuple[int, int]] = field(default_factory=list)


def check_registers(history: History, entries: Entries | None = None, *, exact_reads: bool = False) -> list[Anomaly]:
    operations = history.operations
    narrator = Narrator(operations)
    log = None if entries is None else LogView(operations, entries)
    timestamps = settled_timestamps(operations, log)
    windows = {number: place_of_write(timestamp) for number, timestamp in timestamps.items()}
    judged: set[int] = set()
    anomalies: list[Anomaly] = []
    for register in _registers(history):
        chain = Chain(register, operations, timestamps, has_log=log is not None)
        anomalies += chain.build(narrator)
        judged.update(register.attempts.keys() & windows.keys())
        for number, window in chain.windows(exact_reads=exact_reads):
            judged.add(number)
            windows.setdefault(number, window).narrow(window.at_least, window.below)
    empty = sorted(number for number in judged if windows[number].is_empty)
    anomalies += (
        Anomaly("wrong-read", f"{narrator.full(number)} came {windows.pop(number)}: there is no such moment")
        for number in empty
    )
    return [*anomalies, *closed_too_early(operations, windows, judged.difference(empty), narrator)]


def _registers(history: History) -> Iterable[Register]:
    registers = {key: Register(key, initial) for key, initial in history.initial_registers.items()}
    for number, operation in enumerate(history.operations):
        for micro in operation.micro_operations:
            if isinstance(micro, CompareAndSet | RegisterRead) and micro.key not in registers:
                raise GeneratorBug(f"nobody wrote down what register {micro.key} held in the beginning")
            if isinstance(micro, CompareAndSet):
                _observe_attempt(registers[micro.key], number, operation, micro)
            elif isinstance(micro, RegisterRead) and micro.value is not None and operation.outcome is Outcome.OK:
                registers[micro.key].reads.append((number, micro.value))
    return registers.values()


def _observe_attempt(register: Register, number: int, operation: Operation, attempt: CompareAndSet) -> None:
    if attempt.new == register.initial or attempt.new in register.setter_by_value:
        raise GeneratorBug(f"register {register.key} is set to {attempt.new} twice, the second time by T{number}")
    if operation.outcome is Outcome.OK and attempt.changed is None:
        raise GeneratorBug(f"T{number} was answered, but not whether it changed register {register.key}")
    register.setter_by_value[attempt.new] = number
    register.attempts[number] = attempt


class Chain:
    """The values of one register in their order, as far as somebody changed it or saw it changed."""

    def __init__(
        self, register: Register, operations: Sequence[Operation], timestamps: Mapping[int, int], *, has_log: bool
    ) -> None:
        self._register = register
        self._operations = operations
        self._timestamps = timestamps
        self._values = [register.initial]
        self._places: list[int | None] = [BEGIN]
        self._index = {register.initial: 0}
        self._unsettled = {
            attempt.new: number
            for number, attempt in register.attempts.items()
            if number not in timestamps and _may_have_happened(operations[number], attempt, has_log=has_log)
        }
        """What may have happened at a place that nobody knows."""

    def build(self, narrator: Narrator) -> list[Anomaly]:
        placed = sorted(
            (self._timestamps[number], number) for number in self._register.attempts.keys() & self._timestamps
        )
        for timestamp, number in placed:
            attempt = self._register.attempts[number]
            if self._operations[number].outcome is Outcome.INFO:
                happens = self._values[-1] == attempt.expected
            else:
                happens = bool(attempt.changed)
            if happens and not self._extend_to(attempt.expected):
                return [self._wrong_change(number, attempt, narrator)]
            if happens:
                self._add(attempt.new, timestamp)
        for _, value in self._register.reads:
            self._extend_to(value)
        return [*self._wrong_values(narrator), *self._wrong_refusals(narrator)]

    def windows(self, *, exact_reads: bool) -> Iterator[tuple[int, Window]]:
        """Of the reads, and of what was settled by being seen."""
        versions = Versions(self._register.key, self._values, self._places)
        for reader, value in self._register.reads:
            if self._operations[reader].is_write:
                continue  # its place is its timestamp, and before its own change it reads the place before
            window = place_of_read(self._operations[reader], exact=exact_reads)
            if value in self._index:
                length = self._index[value] + 1
                window.narrow(versions.at_least[length], versions.below[length])
            yield reader, window
        for i, value in enumerate(self._values):
            if value in self._unsettled:
                yield self._unsettled[value], Window(versions.at_least[i], versions.below[i + 1])

    def _add(self, value: int, place: int | None) -> None:
        self._index[value] = len(self._values)
        self._values.append(value)
        self._places.append(place)

    def _extend_to(self, wanted: int) -> bool:
        """Add the unsettled changes that lead from the last value to another; False if none do."""
        bridge: list[int] = []
        while wanted != self._values[-1]:
            setter = self._unsettled.get(wanted)
            if setter is None or wanted in bridge or wanted in self._index:
                return False
            bridge.append(wanted)
            wanted = self._register.attempts[setter].expected
        for value in reversed(bridge):
            self._add(value, None)
        return True

    # what is wrong

    def _wrong_change(self, number: int, attempt: CompareAndSet, narrator: Narrator) -> Anomaly:
        return Anomaly(
            "wrong-change",
            f"{narrator.full(number)} was told that it changed register {attempt.key} from {attempt.expected} to"
            f" {attempt.new}, but it held {self._values[-1]}, and nothing leads from that to {attempt.expected}",
        )

    def _wrong_values(self, narrator: Narrator) -> Iterator[Anomaly]:
        for reader, value in self._register.reads:
            if value not in self._index:
                setter = self._register.setter_by_value.get(value)
                by = "which nobody ever set" if setter is None else f"which {narrator.full(setter)} cannot have set"
                yield Anomaly(
                    "wrong-value", f"{narrator.full(reader)} read register {self._register.key} as {value}, {by}"
                )

    def _wrong_refusals(self, narrator: Narrator) -> Iterator[Anomaly]:
        """Unchanged, as answered, although the register surely held what was expected."""
        versions = Versions(self._register.key, self._values, self._places)
        left_by_unsettled = {self._register.attempts[number].expected for number in self._unsettled.values()}
        last = self._values[-1]
        for number, attempt in self._register.attempts.items():
            if attempt.changed is not False or number not in self._timestamps or attempt.expected not in self._index:
                continue
            i, place = self._index[attempt.expected], self._timestamps[number]
            if attempt.expected == last:
                surely_left_later = last not in left_by_unsettled
            else:
                next_place = self._places[i + 1]
                surely_left_later = next_place is not None and place < next_place
            if versions.below[i].place <= place and surely_left_later:
                yield Anomaly(
                    "wrong-refusal",
                    f"{narrator.full(number)} was told that register {attempt.key} does not hold {attempt.expected},"
                    f" but it held it from {versions.below[i]} to {versions.below[i + 1]}",
                )


def _may_have_happened(operation: Operation, attempt: CompareAndSet, *, has_log: bool) -> bool:
    if operation.outcome is Outcome.OK:
        return bool(attempt.changed)
    return operation.outcome is Outcome.INFO and not has_log
