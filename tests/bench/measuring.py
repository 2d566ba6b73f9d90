"""Every kind of work on every system, by clients: the part `load` of a comparison, and one measurement as all parts take it.

Invariant: one system runs at a time, from empty data, and each round takes all of them, in another order than the round before;
so a machine that gets slower or faster meanwhile does it to all.

Hard case: a system that fails. What it did not do is noted, the others go on, and no figure is made up for it.
"""

import dataclasses
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pymysql
from load_generators import LoadFailed, run_load
from process_costs import costs_between, wait_until_calm
from results import HEALTHY, Measurement, Results
from systems import RunningSystem, SystemKind, fill

from runner_console import CannotRun

WARM_UP_CLIENTS, WARM_UP_S = 64, 2.0
FAILURES = (
    LoadFailed,
    CannotRun,
    OSError,
    RuntimeError,
    AssertionError,
    httpx.HTTPError,
    pymysql.MySQLError,
    subprocess.SubprocessError,
)
"""What ends one measurement or one system, and not the comparison."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured. `folder` is where the systems keep their data."""

    works: tuple[str, ...]
    clients: tuple[int, ...]
    rounds: int
    seconds: float
    slow_clients: int
    slow_seconds: float
    failovers: int
    folder: Path


def systems_by_round(kinds: Sequence[SystemKind], rounds: int) -> Iterator[tuple[int, SystemKind]]:
    for number in range(rounds):
        first = number % max(1, len(kinds))
        for kind in (*kinds[first:], *kinds[:first]):
            yield number, kind


def measure(system: RunningSystem, kind: SystemKind, work: str, clients: int, seconds: float) -> Measurement:
    """One load, and all that the system spent on it until it was calm again."""
    before = wait_until_calm(system.folder)
    load = run_load(system.protocol, system.port, work, clients, seconds)
    costs = costs_between(before, wait_until_calm(system.folder), system.group_of)
    each_ms = 1000 / load.operations
    return Measurement(
        system=kind.name,
        work=work,
        clients=clients,
        round=0,
        condition=HEALTHY,
        operations=load.operations,
        errors=load.errors,
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_ms={group: cpu_s * each_ms for group, cpu_s in costs.cpu_s.items()},
        generator_cpu_ms=load.cpu_s * each_ms,
        written_bytes=costs.written_bytes / load.operations,
    )


def warm_up(system: RunningSystem, kind: SystemKind) -> None:
    """Rows for work by key, connections and caches."""
    if kind.has_table:
        fill(system)
    run_load(system.protocol, system.port, kind.works[0], WARM_UP_CLIENTS, WARM_UP_S)


def in_rounds(
    part: str,
    measure_system: Callable[[RunningSystem, SystemKind, int], None],
    results: Results,
    kinds: Sequence[SystemKind],
    plan: Plan,
    say: Say,
    keep: Callable[[], None],
    *,
    with_proxy: bool = False,
) -> None:
    """Start each system in its turn, warm it up and measure it. `keep` is called after each: what was measured is not lost when a
    later one hangs."""
    for number, kind in systems_by_round(kinds, plan.rounds):
        say(f"{part}, round {number + 1} of {plan.rounds}: {kind.title}")
        try:
            with kind.start(plan.folder / kind.name, with_proxy) as system:
                warm_up(system, kind)
                measure_system(system, kind, number)
        except FAILURES as error:
            say(f"  {kind.title} failed: {error}")
            results.note(part, f"{kind.title}, round {number + 1}: {error}")
        keep()


def measure_loads(
    results: Results, kinds: Sequence[SystemKind], plan: Plan, say: Say, keep: Callable[[], None]
) -> None:
    def measure_system(system: RunningSystem, kind: SystemKind, number: int) -> None:
        for work in plan.works:
            if work in kind.works:
                _measure_work(results, system, kind, work, number, plan, say)

    asked = [kind for kind in kinds if set(plan.works) & set(kind.works)]
    in_rounds("load", measure_system, results, asked, plan, say, keep)


def _measure_work(
    results: Results, system: RunningSystem, kind: SystemKind, work: str, number: int, plan: Plan, say: Say
) -> None:
    for clients in plan.clients:
        try:
            found = measure(system, kind, work, clients, plan.seconds)
        except LoadFailed as error:
            say(f"  {work}, {clients} clients: {error}")
            results.note("load", f"{kind.title}, {work}, {clients} clients, round {number + 1}: {error}")
            continue
        results.load.append(dataclasses.replace(found, round=number))
        say(f"  {work:<6} {clients:>3} client{'s:' if clients > 1 else ': '} {described(found)}")


def described(found: Measurement) -> str:
    errors = f", {found.errors} errors" if found.errors else ""
    return (
        f"{found.per_second:>8,.0f}/s  p50 {found.p50_ms:7.2f} ms  p99 {found.p99_ms:7.2f} ms  "
        f"{sum(found.cpu_ms.values()):.2f} ms CPU{errors}"
    )
