"""Work that takes longer than others should wait for: done in steps on the event loop, with pauses in which they run.

Not in a thread: the interpreter's lock would make the loop wait for it all the same, 5 ms at a time.
"""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

STEPS_NS = 500_000
"""After so long the others have their turn."""


async def in_steps(steps: Generator[None, None, Result]) -> Result:
    """Run to the end; now and then others run between two steps, each of which is short."""
    begun_ns = time.monotonic_ns()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result
        if time.monotonic_ns() - begun_ns > STEPS_NS:
            await asyncio.sleep(0)  # others may run between two steps
            begun_ns = time.monotonic_ns()
