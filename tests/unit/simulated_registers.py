"""Histories of compare-and-set on registers and of transfers between accounts: of a correct system, and with one rule
broken.

The clients, their times and outcomes are those of simulated_lists.py. A client compares with what it saw last or with
what is there, so many attempts are refused and many are not.
"""

import random
from dataclasses import dataclass, field

from history import (
    Balances,
    CompareAndSet,
    History,
    MicroOperation,
    Operation,
    Outcome,
    RegisterRead,
    Transfer,
)
from simulated_lists import Planned, plan

REGISTERS = ("a", "b", "c")
ACCOUNTS = ("anna", "bert", "cora")
BALANCE = 100


@dataclass
class RegisterSystem:
    """One copy of the data; operations one by one, in the order of their effects."""

    rng: random.Random
    planned: list[Planned]
    values: dict[str, list[int]] = field(default_factory=lambda: {key: [0] for key in REGISTERS})
    """Each register's values, the last is what it holds."""
    set_by: dict[int, Planned] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, BALANCE))
    known: dict[tuple[int, str], int] = field(default_factory=dict)
    """What a process saw last."""
    timestamp: int = 0
    entries: dict[int, set[tuple[str, int]]] = field(default_factory=dict)
    hits: int = 0
    fresh: int = 0
    effects: int = 0

    def run(self) -> History:
        operations: dict[int, Operation] = {}
        order = sorted((each.effect_ns, i) for i, each in enumerate(self.planned) if each.effect_ns is not None)
        for _, i in order:
            operations[i] = self.take_effect(self.planned[i])
        for i, each in enumerate(self.planned):
            if i not in operations:
                operations[i] = self.operation(each, self.attempt(each, self.rng.choice(REGISTERS)))
        return History(
            [operations[i] for i in range(len(self.planned))],
            initial_registers=dict.fromkeys(REGISTERS, 0),
            accounts_total=BALANCE * len(ACCOUNTS),
        )

    def operation(self, planned: Planned, micro: MicroOperation) -> Operation:
        is_answered = planned.outcome is Outcome.OK
        returned_ns = None if planned.outcome is Outcome.INFO else planned.returned_ns
        timestamp = self.timestamp if is_answered else None
        return Operation(planned.process, planned.invoked_ns, returned_ns, planned.outcome, (micro,), timestamp)

    def take_effect(self, planned: Planned) -> Operation:
        self.effects += 1
        chance, key = self.rng.random(), self.rng.choice(REGISTERS)
        if chance < 0.5:
            return self.operation(planned, self.compare_and_set(planned, self.attempt(planned, key)))
        if chance < 0.75:
            value = self.read(planned, key)
            self.known[planned.process, key] = value
            return self.operation(planned, RegisterRead(key, value if planned.outcome is Outcome.OK else None))
        if chance < 0.9:
            source, target = self.rng.sample(ACCOUNTS, 2)
            transfer = Transfer(source, target, self.rng.randint(1, 5))
            self.timestamp += self.rng.randint(1, 3)
            self.transfer(transfer)
            return self.operation(planned, transfer)
        answered = self.read_balances() if planned.outcome is Outcome.OK else None
        return self.operation(planned, Balances(answered))

    def attempt(self, planned: Planned, key: str) -> CompareAndSet:
        self.fresh += 1
        expected = self.rng.choice([self.known.get((planned.process, key), 0), self.values[key][-1]])
        return CompareAndSet(key, expected, self.fresh, None)

    def compare_and_set(self, planned: Planned, attempt: CompareAndSet) -> CompareAndSet:
        self.timestamp += self.rng.randint(1, 3)
        self.entries[self.timestamp] = {(attempt.key, attempt.new)}
        changed = self.compare(planned, attempt)
        if changed:
            self.set(planned, attempt)
            self.known[planned.process, attempt.key] = attempt.new
        answer = self.answer(planned, attempt, changed) if planned.outcome is Outcome.OK else None
        return CompareAndSet(attempt.key, attempt.expected, attempt.new, answer)

    def is_late(self) -> bool:
        return self.effects > len(self.planned) / 2

    # what a broken system overrides

    def compare(self, planned: Planned, attempt: CompareAndSet) -> bool:
        return self.values[attempt.key][-1] == attempt.expected

    def set(self, planned: Planned, attempt: CompareAndSet) -> None:
        self.values[attempt.key].append(attempt.new)
        self.set_by[attempt.new] = planned

    def answer(self, planned: Planned, attempt: CompareAndSet, changed: bool) -> bool:
        return changed

    def read(self, planned: Planned, key: str) -> int:
        return self.values[key][-1]

    def transfer(self, transfer: Transfer) -> None:
        self.balances[transfer.from_account] -= transfer.amount
        self.balances[transfer.to_account] += transfer.amount

    def read_balances(self) -> dict[str, int]:
        return dict(self.balances)


class LosesAChange(RegisterSystem):
    def set(self, planned: Planned, attempt: CompareAndSet) -> None:
        if not self.hits and self.is_late() and planned.outcome is Outcome.OK:
            self.hits += 1
        else:
            super().set(planned, attempt)


class ComparesWithThePast(RegisterSystem):
    """A lost update: two clients saw one value, and both change it."""

    def compare(self, planned: Planned, attempt: CompareAndSet) -> bool:
        is_now = super().compare(planned, attempt)
        is_past = attempt.expected in self.values[attempt.key][-3:]
        self.hits += is_past and not is_now and planned.outcome is Outcome.OK
        return is_past


class RefusesWhatItHolds(RegisterSystem):
    def compare(self, planned: Planned, attempt: CompareAndSet) -> bool:
        holds = super().compare(planned, attempt)
        is_refused = holds and planned.outcome is Outcome.OK and self.rng.random() < 0.1
        self.hits += is_refused
        return holds and not is_refused


class ChangesAndDeniesIt(RegisterSystem):
    def answer(self, planned: Planned, attempt: CompareAndSet, changed: bool) -> bool:
        is_denied = changed and self.is_late() and not self.hits
        self.hits += is_denied
        return changed and not is_denied


class AnswersOneStaleRegister(RegisterSystem):
    def read(self, planned: Planned, key: str) -> int:
        values = self.values[key]
        if planned.outcome is Outcome.OK and not self.hits and self.is_late():
            setter = self.set_by[values[-1]]
            if setter.outcome is Outcome.OK and setter.returned_ns < planned.invoked_ns:
                self.hits += 1
                return values[-2]
        return values[-1]


class AppliesFailedChanges(RegisterSystem):
    def run(self) -> History:
        for each in self.planned:
            if each.outcome is Outcome.FAIL:
                each.effect_ns = (each.invoked_ns + each.returned_ns) // 2
        return super().run()

    def take_effect(self, planned: Planned) -> Operation:
        if planned.outcome is not Outcome.FAIL:
            return super().take_effect(planned)
        attempt = self.attempt(planned, self.rng.choice(REGISTERS))
        return self.operation(planned, self.compare_and_set(planned, attempt))

    def set(self, planned: Planned, attempt: CompareAndSet) -> None:
        self.hits += planned.outcome is Outcome.FAIL
        super().set(planned, attempt)


class MovesHalf(RegisterSystem):
    def transfer(self, transfer: Transfer) -> None:
        super().transfer(transfer)
        if not self.hits and self.is_late():
            self.hits += 1
            self.balances[transfer.to_account] -= transfer.amount


class ReadsBetweenHalves(RegisterSystem):
    last: Transfer | None = None

    def transfer(self, transfer: Transfer) -> None:
        super().transfer(transfer)
        self.last = transfer

    def read_balances(self) -> dict[str, int]:
        balances = super().read_balances()
        if not self.hits and self.is_late() and self.last is not None:
            self.hits += 1
            balances[self.last.to_account] -= self.last.amount
        return balances


def simulate_registers(
    seed: int, operations_total: int, system: type[RegisterSystem] = RegisterSystem
) -> tuple[RegisterSystem, History]:
    rng = random.Random(seed)
    running = system(rng, plan(rng, operations_total))
    return running, running.run()
