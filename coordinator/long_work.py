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


class Pauses:
    """For work of many short steps, with a `pause` behind each."""

    def __init__(self) -> None:
        self._begun_ns = time.monotonic_ns()

    async def pause(self) -> None:
        """Others run, if they have waited for long enough."""
        if time.monotonic_ns() - self._begun_ns > STEPS_NS:
            await asyncio.sleep(0)  # others may run between two steps
            self._begun_ns = time.monotonic_ns()


async def in_steps(steps: Generator[None, None, Result]) -> Result:
    """Run to the end; now and then others run between two steps, each of which is short."""
    pauses = Pauses()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result
        await pauses.pause()
