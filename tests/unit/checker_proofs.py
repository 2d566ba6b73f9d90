"""What the tests of the checkers have in common: operations with labels, and the proofs that each checker has to pass.

The label is the timestamp that the answer named; who the client was means nothing to the checkers that trust it.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from anomaly import Anomaly
from history import History, MicroOperation, Operation, Outcome
from simulated_lists import System
from simulated_registers import RegisterSystem
from small_histories import Entries, explained_by_timestamps

SEEDS = 20
AnySystem = TypeVar("AnySystem", System, RegisterSystem)


class LabelChecker(Protocol):
    """A checker that trusts timestamps."""

    def __call__(
        self, history: History, entries: Entries | None = None, *, exact_reads: bool = False
    ) -> list[Anomaly]: ...


def ok(begin_ns: int, end_ns: int, timestamp: int | None, *micros: MicroOperation) -> Operation:
    return Operation(1, begin_ns, end_ns, Outcome.OK, micros, timestamp)


def fail(begin_ns: int, *micros: MicroOperation) -> Operation:
    return Operation(2, begin_ns, begin_ns + 1, Outcome.FAIL, micros)


def info(begin_ns: int, *micros: MicroOperation) -> Operation:
    return Operation(3, begin_ns, None, Outcome.INFO, micros)


def passes_what_an_order_by_timestamp_explains(
    check: LabelChecker, small_history: Callable[[random.Random], tuple[History, Entries]], *, exact_reads: bool
) -> None:
    """And nothing else, as it has the log."""
    passed = 0
    for seed in range(1_000):
        history, entries = small_history(random.Random(seed))
        fits = explained_by_timestamps(history, entries, exact_reads=exact_reads)
        anomalies = check(history, entries, exact_reads=exact_reads)
        assert (not anomalies) == fits, f"seed {seed}: {history} {entries} {anomalies}"
        passed += fits
    assert 100 < passed < 900, passed


def accuses_nothing_that_an_order_by_timestamp_explains(
    check: LabelChecker, small_history: Callable[[random.Random], tuple[History, Entries]]
) -> None:
    """Without the log it may let something else pass, but seldom does."""
    caught = missed = 0
    for seed in range(1_000):
        history, _ = small_history(random.Random(seed))
        fits, is_accused = explained_by_timestamps(history, None), bool(check(history))
        assert not (is_accused and fits), f"seed {seed}: {history}"
        caught += is_accused
        missed += not is_accused and not fits
    assert caught > 20 * missed, (caught, missed)


def histories_of_broken(
    simulate: Callable[[int, int, type[AnySystem]], tuple[AnySystem, History]],
    system: type[AnySystem],
    operations_total: int,
) -> Iterator[tuple[int, AnySystem, History]]:
    """By seed; in each the system has broken its rule."""
    for seed in range(SEEDS):
        broken, history = simulate(seed, operations_total, system)
        assert broken.hits, f"seed {seed} broke nothing"
        yield seed, broken, history


def costs_less_than_its_square(
    check: Callable[[History], list[Anomaly]],
    simulate: Callable[[int, int], tuple[System, History]],
) -> None:
    """Ten times the history, not a hundred times the time."""

    def seconds(history: History) -> float:
        begin_s = time.process_time()
        assert check(history) == []
        return time.process_time() - begin_s

    (_, short), (_, long) = simulate(0, 1_000), simulate(0, 10_000)
    short_s, long_s = min(seconds(short) for _ in range(3)), min(seconds(long) for _ in range(2))
    print(f"1,000 operations: {short_s:.3f} s, 10,000 operations: {long_s:.3f} s")
    assert long_s < 40 * short_s
