"""Which faults strike, whom and for how long: a schedule out of a seed. Pure; fault_actions.py carries it out.

A round is one fault, or two that overlap, under load; between rounds everything is healed and checked. A round depends
on the seed and its own number alone, so that one round of an hour can be played again by itself.

Roles, not names, are struck: "master" is whoever is master at that moment, "other-1" the first of the other nodes by
name. A name would lose its meaning after the first election, and the schedule would no longer be the seed's.

What may meet. Any number of processes may be killed, frozen or cut off at the same time. A disk is harmed alone: at most one
disk fault a round, and a round begins only when all four nodes are level members again; that is the promise (one lost disk
at a time), and no more. A power cut harms no disk that keeps its word, so it may strike all at once.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from cluster_layout import MEMBERS, SERVICES

MASTER = "master"
OTHERS = ("other-1", "other-2", "other-3")
NODE_ROLES = (MASTER, *OTHERS)
SERVICE_NAMES = tuple(service.name for service in SERVICES)
EVERYBODY = (*NODE_ROLES, *SERVICE_NAMES)

KILL, FREEZE, RESTART = "kill -9", "freeze", "restart"
HOLD_TO, HOLD_FROM, HOLD_BOTH = "one-way cut to", "one-way cut from", "two-way cut"
RESET, DELAY, SWIZZLE = "connections reset", "delay", "links cut one by one"
FULL_DISK, LOST_DISK, OLD_DISK, POWER_CUT = "disk full", "disk lost", "old copy of a disk", "power cut"
SECOND = "second coordinator"
LINE_FAULTS = (HOLD_TO, HOLD_FROM, HOLD_BOTH, RESET, DELAY, SWIZZLE)
DISK_FAULTS = (FULL_DISK, LOST_DISK, OLD_DISK, POWER_CUT)
SECONDS_MIN, SECONDS_MAX = 3.0, 20.0
DELAY_MS_MAX = 800
TWO_FAULTS_SHARE = 0.35
MASTER_OR_COORDINATOR_SHARE = 0.4

_WEIGHTS = {
    KILL: 22,
    FREEZE: 20,
    RESTART: 6,
    HOLD_TO: 5,
    HOLD_FROM: 5,
    HOLD_BOTH: 4,
    RESET: 6,
    DELAY: 6,
    SWIZZLE: 4,
    FULL_DISK: 6,
    LOST_DISK: 6,
    OLD_DISK: 5,
    SECOND: 5,
    POWER_CUT: 10,
}


@dataclass(frozen=True)
class Fault:
    """`targets` are roles, in the order in which they come back. `seconds`: how long it lasts."""

    name: str
    targets: tuple[str, ...]
    seconds: float
    delay_ms: int = 0

    def __str__(self) -> str:
        whom = "everybody" if set(self.targets) == set(EVERYBODY) else " + ".join(self.targets)
        extra = f" {self.delay_ms} ms" if self.delay_ms else ""
        return f"{self.name}{extra}: {whom}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class Round:
    number: int
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"round {self.number}: " + "; and ".join(str(fault) for fault in self.faults)


def fault(chance: random.Random, name: str, targets: tuple[str, ...], scale: float = 1.0, delay_ms: int = 0) -> Fault:
    order = chance.sample(targets, len(targets))
    return Fault(name, tuple(order), scale * chance.uniform(SECONDS_MIN, SECONDS_MAX), delay_ms)


def _one_member(chance: random.Random) -> str:
    if chance.random() < MASTER_OR_COORDINATOR_SHARE:
        return chance.choice((MASTER, "coordinator"))
    return chance.choice(EVERYBODY)


def _members(chance: random.Random) -> tuple[str, ...]:
    """One, two or all ten processes."""
    share = chance.random()
    if share < 0.12:
        return EVERYBODY
    first = _one_member(chance)
    if share < 0.4:
        return (first, chance.choice([name for name in EVERYBODY if name != first]))
    return (first,)


def _nodes(chance: random.Random) -> tuple[str, ...]:
    return tuple(chance.sample(NODE_ROLES, chance.choice((1, 1, 1, 2, 2, 4))))


def random_fault(chance: random.Random, names: tuple[str, ...], scale: float) -> Fault:
    name = chance.choices(names, [_WEIGHTS[name] for name in names])[0]
    delay_ms = 0
    if name in (KILL, FREEZE):
        targets = _members(chance)
    elif name == RESTART:
        targets = (_one_member(chance),)
    elif name == POWER_CUT:
        # the timestamp servers have disks too
        targets = EVERYBODY if chance.random() < 0.5 else (chance.choice(NODE_ROLES),)
    elif name == SECOND:
        targets = ("coordinator",)
    elif name in (FULL_DISK, LOST_DISK, OLD_DISK):
        targets = (chance.choice((MASTER, MASTER, *OTHERS)),)
    elif name == SWIZZLE:
        targets = tuple(chance.sample(NODE_ROLES, chance.randint(2, 4)))
    else:
        targets = _nodes(chance)
        delay_ms = chance.randint(20, DELAY_MS_MAX) if name == DELAY else 0
    return fault(chance, name, targets, scale, delay_ms)


def round_of(seed: int, number: int, scale: float = 1.0, *, with_disks: bool = True) -> Round:
    """The same seed and number: the same round, whatever was before it."""
    chance = random.Random(f"{seed}/{number}")
    names = tuple(name for name in _WEIGHTS if with_disks or name not in DISK_FAULTS)
    first = random_fault(chance, names, scale)
    if chance.random() >= TWO_FAULTS_SHARE or len(first.targets) == len(EVERYBODY):
        return Round(number, (first,))
    quick = (KILL, FREEZE, HOLD_TO, HOLD_FROM, HOLD_BOTH, RESET, DELAY)
    while True:
        second = random_fault(chance, quick, scale)
        if not set(first.targets) & set(second.targets):
            return Round(number, (first, second))


def schedule(seed: int, scale: float = 1.0, *, first: int = 0, with_disks: bool = True) -> Iterator[Round]:
    """Rounds without end."""
    number = first
    while True:
        yield round_of(seed, number, scale, with_disks=with_disks)
        number += 1


assert len(EVERYBODY) == len(MEMBERS)
