"""How long the steps of long work take, on whatever machine: of this thread's processor time, and without what is not the work's.

The steps are the same at every try, so what others on the machine cost one of them they do not cost it each time. What the test
run keeps in memory is not looked through by the garbage collector meanwhile: a coordinator does not have it.
"""

import gc
import time
from collections.abc import Callable, Generator
from functools import cache
from typing import Any, TypeVar

STEP_MS_MAX = 2.0
SANE_LOOP_MS = 3.0
"""What `_loop_ms` takes on a machine of today: a slower one is given as much more time."""
TRIES_MAX = 9

Result = TypeVar("Result")


def _loop_ms() -> float:
    began = time.thread_time()
    total = 0
    for number in range(50_000):
        total += number % 7
    assert total
    return (time.thread_time() - began) * 1e3


@cache
def step_limit_ms() -> float:
    return STEP_MS_MAX * max(1.0, min(_loop_ms() for _ in range(10)) / SANE_LOOP_MS)


def timed(steps: Generator[None, None, Result], taken_ms: list[float]) -> Result:
    """Runs it to its end, and adds what each step took; the last one gives back what the work has used."""
    while True:
        began = time.thread_time()
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result
        finally:
            taken_ms.append((time.thread_time() - began) * 1e3)


def longest_step_ms(run: Callable[[list[float]], Any]) -> float:
    """`run` does the work and adds its steps' times to the list; done again while a step seems to take too long."""
    best: list[float] = []
    run(best)
    tries = 1
    if max(best) > step_limit_ms():
        gc.collect()
        gc.freeze()
    while max(best) > step_limit_ms() and tries < TRIES_MAX:
        again: list[float] = []
        run(again)
        best = [min(pair) for pair in zip(best, again, strict=True)]
        tries += 1
    gc.unfreeze()
    return max(best)
