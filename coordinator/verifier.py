"""Comparisons of all nodes' rows, one at a time: begun by somebody or by the clock, repeated where something came in between.

A run that nothing was wrong with is never called anything but complete: an election, a schema change or a lost node in the middle
begins it again, and in the end says so.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

from crash_point import ConnectionCut
from verification_run import Interrupted, Loop, Pace, Snapshot, VerificationRun, sentence_of
from verify_contract import Comparison, Progress

from replication.state import Phase, ReplicationState

log = logging.getLogger("coordinator")

ATTEMPTS = 5
RETRY_S = 1.0
"""Pause before a comparison is begun again."""


class Verifier:
    """Begins comparisons and remembers the last one."""

    def __init__(self, loop: Loop, state: ReplicationState, snapshots: Mapping[str, Snapshot], pace: Pace) -> None:
        self._new_run: Callable[[], VerificationRun] = lambda: VerificationRun(loop, state, snapshots, pace)
        self._state = state
        self._run: VerificationRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._nobody_waits = asyncio.Event()
        self.last: Comparison | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def progress(self) -> Progress | None:
        run = self._run
        if run is None:
            return None
        return Progress(
            timestamp=run.timestamp,
            nodes=run.nodes,
            table=run.table,
            tables_done=run.tables_done,
            tables=run.tables,
            rows=run.rows,
            chunks=run.chunks,
        )

    def begin(self, ended: Callable[[asyncio.Task[None]], None]) -> asyncio.Task[None]:
        """Begin one in the background; none may be running. `ended` hears of the task's end."""
        assert not self.is_running
        self._run = self._new_run()  # whoever asks before it goes on sees that it is there
        self._task = asyncio.create_task(self._verify())
        self._task.add_done_callback(ended)
        return self._task

    async def wait(self, within_s: float) -> None:
        """Until the one under way is done, or so long, or until nobody is to wait any more."""
        if self._task is not None:
            sent_away = asyncio.create_task(self._nobody_waits.wait())
            await asyncio.wait({self._task, sent_away}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            sent_away.cancel()

    def send_away(self) -> None:
        """Let those go who wait for the end of one: the process is being stopped."""
        self._nobody_waits.set()

    async def repeat(self, interval_s: float, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """One after another, with a pause in between, for ever."""
        while True:
            await asyncio.sleep(interval_s)  # the pause that was asked for
            if not self.is_running and self._state.phase is Phase.SERVING:
                self.begin(ended)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _verify(self) -> None:
        began_at_us, began_ns = time.time_ns() // 1000, time.monotonic_ns()
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_S)  # what ended the last attempt may need a moment
            run = self._run = self._new_run()
            try:
                await run.compare()
                reason = ""
            except Interrupted as interrupted:
                reason = str(interrupted)
                if interrupted.may_repeat and not run.differences:
                    log.info("the comparison of all rows is begun again: %s", reason)
                    continue
            except ConnectionCut as cut:
                reason = str(cut)
            break
        outcome: Literal["equal", "differs", "incomplete"]
        outcome = "differs" if run.differences else "incomplete" if reason else "equal"
        self._run = None
        self.last = Comparison(
            outcome=outcome,
            reason=reason,
            timestamp=run.timestamp,
            nodes=run.nodes,
            left_out=run.left_out,
            tables=run.tables_done,
            rows=run.rows,
            chunks=run.chunks,
            began_at_us=began_at_us,
            duration_ms=(time.monotonic_ns() - began_ns) / 1e6,
            differences=run.differences,
        )
        self._report(self.last)

    @staticmethod
    def _report(result: Comparison) -> None:
        for difference in result.differences:
            who = ", ".join(difference.wrong_nodes)
            if who:
                verdict = f"{who} will be rebuilt"
            elif result.left_out:
                verdict = (
                    f"no majority: {difference.groups}; compare again when {', '.join(result.left_out)} is there too"
                )
            else:
                verdict = f"no majority: {difference.groups}; a person must decide"
            log.error("DIFFERENCE at %d: %s: %s", result.timestamp, sentence_of(difference), verdict)
        level = logging.INFO if result.outcome == "equal" else logging.WARNING
        text = "rows of all nodes compared at %d: %s %s (%d tables, %d rows, %.0f ms)"
        log.log(
            level, text, result.timestamp, result.outcome, result.reason, result.tables, result.rows, result.duration_ms
        )
