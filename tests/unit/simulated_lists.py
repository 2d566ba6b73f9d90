"""Histories of a system that is strictly serializable by construction, and of the same system with one rule broken.

Twenty clients append to lists and read them; each operation takes effect at one instant between its invocation and its
return, on one copy of the data. That is the definition of strict serializability, so every clean history passes,
whatever the seed. Some operations fail (they never take effect), some never get an answer: half of those take effect,
possibly after their client gave up.

A broken system overrides one step. What the clients are told stays as it was: the checkers must see the difference in
what is read.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from history import Append, History, MicroOperation, Operation, Outcome, Read

CLIENTS = 20
KEYS_AT_A_TIME = 5
APPENDS_PER_KEY = 24
FAILED_SHARE = 0.03
UNKNOWN_SHARE = 0.05
MS = 1_000_000

Values = tuple[int, ...]


@dataclass
class Planned:
    """What a client will ask, and when it will take effect; `effect_ns` None: never."""

    process: int
    invoked_ns: int
    effect_ns: int | None
    returned_ns: int
    outcome: Outcome
    asked: tuple[Append | Read, ...]

    @property
    def appends(self) -> tuple[Append, ...]:
        return tuple(each for each in self.asked if isinstance(each, Append))

    @property
    def reads(self) -> tuple[Read, ...]:
        return tuple(each for each in self.asked if isinstance(each, Read))


class Keys:
    """Keys rotate: a list takes so many appends, then a new one takes its place."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._active = list(range(KEYS_AT_A_TIME))
        self._appends: Counter[int] = Counter()

    def read(self) -> Read:
        return Read(f"list-{self._rng.choice(self._active)}", None)

    def append(self) -> Append:
        place = self._rng.randrange(KEYS_AT_A_TIME)
        key = self._active[place]
        self._appends[key] += 1
        if self._appends[key] == APPENDS_PER_KEY:
            self._active[place] = max(self._active) + 1
        return Append(f"list-{key}", self._appends[key])


def plan(rng: random.Random, operations_total: int) -> list[Planned]:
    keys = Keys(rng)
    free_at_ns = [rng.randrange(MS) for _ in range(CLIENTS)]
    processes = list(range(CLIENTS))
    planned: list[Planned] = []
    for _ in range(operations_total):
        client = min(range(CLIENTS), key=free_at_ns.__getitem__)
        invoked_ns = free_at_ns[client] + rng.randrange(MS // 2)
        returned_ns = invoked_ns + int(rng.expovariate(1 / (2 * MS))) + 2
        effect_ns: int | None = rng.randrange(invoked_ns + 1, returned_ns)
        asked = tuple(keys.append() if rng.random() < 0.5 else keys.read() for _ in range(rng.randint(1, 4)))
        outcome = Outcome.OK
        chance = rng.random()
        if chance < FAILED_SHARE:
            outcome, effect_ns = Outcome.FAIL, None
        elif chance < FAILED_SHARE + UNKNOWN_SHARE:
            outcome = Outcome.INFO
            late_ns = rng.randrange(20 * MS)
            effect_ns = rng.choice([None, effect_ns, returned_ns + late_ns])
        planned.append(Planned(processes[client], invoked_ns, effect_ns, returned_ns, outcome, asked))
        free_at_ns[client] = returned_ns + 1
        if outcome is Outcome.INFO:
            processes[client] = max(processes) + 1
    return planned


@dataclass
class System:
    """One copy of the data; operations one by one, in the order of their effects."""

    rng: random.Random
    planned: list[Planned]
    lists: dict[str, Values] = field(default_factory=dict)
    effects: list[Planned] = field(default_factory=list)
    """Those that took effect, in order."""
    reached: list[int] = field(default_factory=list)
    """The log's end at each of them."""
    effect_of: dict[Append, int] = field(default_factory=dict)
    """The place in `effects` of who appended it."""
    timestamp: int = 0
    entries: dict[int, set[tuple[str, int]]] = field(default_factory=dict)
    """The log."""
    hits: int = 0
    """How often the broken rule made a difference that some client was, or will be, shown."""

    def run(self) -> History:
        answers: dict[int, Operation] = {}
        order = sorted((each.effect_ns, i) for i, each in enumerate(self.planned) if each.effect_ns is not None)
        for _, i in order:
            answers[i] = self.operation(self.planned[i], self.take_effect(self.planned[i]))
        operations = [
            answers[i] if i in answers else self.operation(each, each.asked) for i, each in enumerate(self.planned)
        ]
        keys = {micro.key for each in self.planned for micro in each.asked}
        return History(operations, {key: self.lists.get(key, ()) for key in sorted(keys)})

    def operation(self, planned: Planned, answered: tuple[MicroOperation, ...]) -> Operation:
        if planned.outcome is not Outcome.OK:
            returned_ns = planned.returned_ns if planned.outcome is Outcome.FAIL else None
            return Operation(planned.process, planned.invoked_ns, returned_ns, planned.outcome, planned.asked)
        return Operation(
            planned.process, planned.invoked_ns, planned.returned_ns, Outcome.OK, answered, self.timestamp, "master"
        )

    def take_effect(self, planned: Planned) -> tuple[MicroOperation, ...]:
        """What it is answered."""
        self.before(planned)
        if planned.appends:
            self.timestamp += self.rng.randint(1, 3)
            self.entries[self.timestamp] = {(each.key, each.value) for each in planned.appends}
        self.effects.append(planned)
        self.reached.append(self.timestamp)
        answered: list[MicroOperation] = []
        for micro in planned.asked:
            if isinstance(micro, Append):
                self.append(planned, micro)
                answered.append(micro)
            else:
                answered.append(Read(micro.key, self.read(planned, micro.key)))
        return tuple(answered)

    # what a broken system overrides

    def before(self, planned: Planned) -> None:
        pass  # a right one does nothing beforehand

    def append(self, planned: Planned, micro: Append) -> None:
        self.effect_of[micro] = len(self.effects) - 1
        self.lists[micro.key] = (*self.lists.get(micro.key, ()), micro.value)

    def read(self, planned: Planned, key: str) -> Values:
        return self.lists.get(key, ())

    def is_late(self, share: float = 0.5) -> bool:
        return len(self.effects) > share * len(self.planned)


class LabelsReadsWithAFloor(System):
    """Correct: a read names what was surely applied when it was let in, and saw what was there when it ran."""

    def operation(self, planned: Planned, answered: tuple[MicroOperation, ...]) -> Operation:
        operation = super().operation(planned, answered)
        if not is_answered_read(planned):
            return operation
        ended = (
            reached
            for earlier, reached in zip(reversed(self.effects), reversed(self.reached), strict=True)
            if earlier.returned_ns < planned.invoked_ns
        )
        return msgspec.structs.replace(operation, timestamp=self.rng.randint(next(ended, 0), self.timestamp))


class LosesAnAcknowledgedAppend(System):
    def append(self, planned: Planned, micro: Append) -> None:
        if not self.hits and self.is_late() and planned.outcome is Outcome.OK:
            self.hits += 1
        else:
            super().append(planned, micro)


class LosesWhatWasSeen(System):
    def read(self, planned: Planned, key: str) -> Values:
        values = super().read(planned, key)
        if not self.hits and self.is_late() and planned.outcome is Outcome.OK and values:
            self.hits += 1
            self.lists[key] = values[:-1]
        return values


class AppliesARetryTwice(System):
    def before(self, planned: Planned) -> None:
        if not self.hits and self.is_late() and self.effects[-CLIENTS].appends:
            self.hits += 1
            for retried in self.effects[-CLIENTS].appends:
                self.append(planned, retried)


class ReadsThePast(System):
    """Base of those whose reads are of an older moment: of the state before the effect `as_of`."""

    as_of: int | None = None

    def read(self, planned: Planned, key: str) -> Values:
        if self.as_of is None:
            return super().read(planned, key)
        own = len(self.effects) - 1
        places = ((value, self.effect_of[Append(key, value)]) for value in self.lists.get(key, ()))
        return tuple(value for value, place in places if place < self.as_of or place == own)

    def acknowledged_before(self, planned: Planned) -> int | None:
        """The last write of what is read that was acknowledged before this read began: it must be seen."""
        keys = {micro.key for micro in planned.reads}
        for place in range(len(self.effects) - 1, -1, -1):
            effect = self.effects[place]
            touches = any(micro.key in keys for micro in effect.appends)
            if touches and effect.outcome is Outcome.OK and effect.returned_ns < planned.invoked_ns:
                return place
        return None


class AnswersOneStaleRead(ReadsThePast):
    def before(self, planned: Planned) -> None:
        self.as_of = None
        if not self.hits and self.is_late() and is_answered_read(planned):
            self.as_of = self.acknowledged_before(planned)
            self.hits += self.as_of is not None


class ReadsFromALaggingReplica(ReadsThePast):
    """Of each hundred reads two go there."""

    def before(self, planned: Planned) -> None:
        self.as_of = None
        goes_there = self.rng.random() < 0.02 or (self.is_late() and not self.hits)
        if goes_there and is_answered_read(planned):
            self.as_of = self.acknowledged_before(planned)
            self.hits += self.as_of is not None


class ReadsASnapshotBeforeWriting(ReadsThePast):
    """Snapshot isolation without a look at who wrote meanwhile."""

    def before(self, planned: Planned) -> None:
        self.as_of = None
        if planned.reads and planned.appends and planned.outcome is Outcome.OK:
            self.as_of = len(self.effects)
            while self.as_of and (self.effects[self.as_of - 1].effect_ns or 0) > planned.invoked_ns:
                self.as_of -= 1
            self.hits += self.as_of < len(self.effects)


class AppliesWhatFailed(System):
    def run(self) -> History:
        for each in self.planned:
            if each.outcome is Outcome.FAIL and each.appends:
                each.effect_ns = (each.invoked_ns + each.returned_ns) // 2
                self.hits += 1
        return super().run()


class AppliesHalfOfAnAcknowledgedBatch(System):
    def append(self, planned: Planned, micro: Append) -> None:
        is_victim = planned.outcome is Outcome.OK and len(planned.appends) > 1 and micro == planned.appends[-1]
        if not self.hits and self.is_late() and is_victim:
            self.hits += 1
        else:
            super().append(planned, micro)


class AppliesHalfOfAnUnansweredBatch(System):
    def append(self, planned: Planned, micro: Append) -> None:
        is_victim = planned.outcome is Outcome.INFO and len(planned.appends) > 1 and micro == planned.appends[-1]
        if is_victim:
            self.hits += 1
        else:
            super().append(planned, micro)

    def run(self) -> History:
        batches = [each for each in self.planned[len(self.planned) // 2 :] if len(each.appends) > 1 and each.effect_ns]
        self.rng.choice(batches).outcome = Outcome.INFO
        return super().run()


class DropsAnAcknowledgedSuffix(System):
    """A new master that did not have the last writes."""

    def before(self, planned: Planned) -> None:
        if self.hits or not self.is_late():
            return
        self.hits += 1
        kept = len(self.effects) - 3 * CLIENTS
        for key, values in self.lists.items():
            self.lists[key] = tuple(value for value in values if self.effect_of[Append(key, value)] < kept)


class HasTwoOrdersOfAList(System):
    """Two nodes applied two writes in different order."""

    def read(self, planned: Planned, key: str) -> Values:
        values = super().read(planned, key)
        if len(values) < 3 or not self.is_late() or planned.outcome is not Outcome.OK or self.rng.random() < 0.9:
            return values
        self.hits += 1
        return (values[1], values[0], *values[2:])


def is_answered_read(planned: Planned) -> bool:
    return planned.outcome is Outcome.OK and not planned.appends


def simulate(seed: int, operations_total: int, system: type[System] = System) -> tuple[System, History]:
    rng = random.Random(seed)
    running = system(rng, plan(rng, operations_total))
    return running, running.run()
