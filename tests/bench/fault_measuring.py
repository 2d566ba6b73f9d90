"""What faults cost: the same INSERT load with one replica slow, and the time to the next write when the master fails.

A slow replica is frozen half of the time (SIGSTOP, SIGCONT), 50 ms away (a TCP proxy delays each byte both ways), or frozen. What
is left is held against the same system's own figure, taken on the same servers.

Failover is timed by a client that nobody could have sooner: from the moment of the fault it tries all servers at once, again and
again; the project's has one address. Nothing else loads the system meanwhile.

Hard case: a frozen process neither answers nor ends politely. Whatever happens it is thawed; and the keeper kills it if we are.
"""

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
import pymysql
from measuring import FAILURES, Plan, Say, described, in_rounds, measure, systems_by_round, warm_up
from results import HEALTHY, FailoverTime, Results
from systems import CannotDelay, Door, RunningSystem, SystemKind

FREEZE_S = 0.5
DELAY_MS = 50.0
HALF_FROZEN, DELAYED, FROZEN = "frozen half of the time", "50 ms away", "frozen"
CONDITIONS = (HEALTHY, HALF_FROZEN, DELAYED)
LAST = FROZEN
"""It costs some systems a member."""
FAULTS = {"kill -9": signal.SIGKILL, "freeze": signal.SIGSTOP}
FAILOVER_S_MAX = 90.0
TRY_AGAIN_S = 0.02
SLOW_PLACE = 1


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def half_frozen(pid: int) -> Iterator[None]:
    """Frozen and running in turn, from now on."""
    end = threading.Event()

    def go() -> None:
        while not end.is_set():
            with frozen(pid):
                end.wait(FREEZE_S)
            end.wait(FREEZE_S)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def under(system: RunningSystem, condition: str) -> contextlib.AbstractContextManager[None]:
    if condition == HALF_FROZEN:
        return half_frozen(system.server_pid(SLOW_PLACE))
    if condition == FROZEN:
        return frozen(system.server_pid(SLOW_PLACE))
    if condition == DELAYED:
        return system.delayed(DELAY_MS)
    return contextlib.nullcontext()


def measure_slow(results: Results, kinds: Sequence[SystemKind], plan: Plan, say: Say, keep: Callable[[], None]) -> None:
    def measure_system(system: RunningSystem, kind: SystemKind, number: int) -> None:
        # in another order each round: what gets faster while it runs must not look like a slow replica's doing
        first = number % len(CONDITIONS)
        for condition in (*CONDITIONS[first:], *CONDITIONS[:first], LAST):
            _measure_condition(results, system, kind, condition, number, plan, say)

    with_replicas = [kind for kind in kinds if kind.has_replicas]
    in_rounds("slow", measure_system, results, with_replicas, plan, say, keep, with_proxy=True)


def _measure_condition(
    results: Results, system: RunningSystem, kind: SystemKind, condition: str, number: int, plan: Plan, say: Say
) -> None:
    try:
        with under(system, condition):
            found = measure(system, kind, "insert", plan.slow_clients, plan.slow_seconds)
    except CannotDelay as error:
        if number == 0:
            results.note("slow", f"{kind.title}, {condition}: not measured: {error}")
        return
    results.slow.append(dataclasses.replace(found, round=number, condition=condition))
    say(f"  {condition:<23}: {described(found)}")
    system.wait_until_level()


def measure_failover(
    results: Results, kinds: Sequence[SystemKind], plan: Plan, say: Say, keep: Callable[[], None]
) -> None:
    """Every fault strikes a system that was just started."""
    able = [kind for kind in kinds if kind.fails_over]
    for kind in (kind for kind in kinds if kind.has_replicas and not kind.fails_over):
        results.note("failover", f"{kind.title}: has no failover of its own")
    for number, kind in systems_by_round(able, plan.failovers):
        for fault in FAULTS:
            try:
                with kind.start(plan.folder / kind.name, False) as system:
                    warm_up(system, kind)
                    system.wait_until_level()
                    seconds = seconds_to_next_write(system, FAULTS[fault])
            except FAILURES as error:
                say(f"  {kind.title} failed: {error}")
                results.note("failover", f"{kind.title}, {fault}, round {number + 1}: {error}")
                continue
            results.failover.append(FailoverTime(kind.name, fault, number, seconds))
            after = "no write in time" if seconds is None else f"a write after {seconds:.3f} s"
            say(f"{fault} of the server that takes the writes, {number + 1} of {plan.failovers}: {kind.title}: {after}")
        keep()


def seconds_to_next_write(system: RunningSystem, fault: signal.Signals) -> float | None:
    """Strike server 0, and try all doors until one takes a write."""
    pid, doors = system.server_pid(0), system.doors()
    done, lock = threading.Event(), threading.Lock()
    acknowledged_s: list[float] = []
    began_s = time.monotonic()

    def knock(door: Door) -> None:
        while not done.is_set():
            try:
                door()
            except (httpx.HTTPError, pymysql.MySQLError, OSError):
                done.wait(TRY_AGAIN_S)
                continue
            with lock:
                acknowledged_s.append(time.monotonic())
            done.set()

    os.kill(pid, fault)
    threads = [threading.Thread(target=knock, args=(door,), daemon=True) for door in doors]
    try:
        for thread in threads:
            thread.start()
        done.wait(FAILOVER_S_MAX)
    finally:
        done.set()
        if fault == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    return min(acknowledged_s) - began_s if acknowledged_s else None
