"""The loop: one task per node asks its probe and writes the outcome into the tracker and the crash journal.

All nodes are asked on one common grid of time, a few milliseconds apart. Common, because lag is measured between
answers of different nodes, and a lagging node asked just after the master would look better than one asked long after
it. Apart, because probes that run at the same instant measure each other's CPU time. And each time another node is the
first, because the first probe after a pause meets cold caches (0.4 ms here, as much as the probe itself): with a fixed
order the first node would look slow for ever.

Hard case: a task that dies of a bug. The node's figures would stay as they are and look healthy. So the tracker takes
an old answer for none, and `dead_tasks` names what died, for /health.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from crash_journal import CrashJournal
from node_metrics import ClusterTracker
from node_probe import Probe, ProbeError

_log = logging.getLogger(__name__)

_STAGGER_MS = 3


class Collector:
    """Runs from `start` to `stop` on one event loop."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        tracker: ClusterTracker,
        journal: CrashJournal,
        *,
        interval_ms: int,
        retry_pause_ms: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._probes = dict(probes)
        self._tracker = tracker
        self._journal = journal
        self._interval_ns = interval_ms * 1_000_000
        self._retry_pause_ns = retry_pause_ms * 1_000_000
        self._clock_ns = clock_ns
        self._start_ns = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saving = asyncio.Lock()
        self.journal_failure: str | None = None
        """Why the crash counts are not durable; None if they are."""

    def start(self) -> None:
        self._start_ns = self._clock_ns()
        for index, node_id in enumerate(self._probes):
            self._tasks[node_id] = asyncio.create_task(self._watch(node_id, index), name=node_id)

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    def dead_tasks(self) -> dict[str, str]:
        """Node by node, what ended its task, which should never end."""
        return {
            node_id: repr(None if task.cancelled() else task.exception())
            for node_id, task in self._tasks.items()
            if task.done()
        }

    async def _watch(self, node_id: str, index: int) -> None:
        error: str | None = None
        tick = 0
        while True:
            await asyncio.sleep((self._due_ns(index, tick) - self._clock_ns()) / 1e9)  # until the node's next turn
            was, error = error, await self._probe(node_id)
            if error != was:
                _log.warning("%s: %s", node_id, error or "answers again")
            # After a failure the connection is made anew. The pause bounds how many half-open connections pile up in
            # the backlog of a frozen server, which it has to work off when it goes on.
            earliest_ns = self._clock_ns() + (self._retry_pause_ns if error else 0)
            tick = max(tick + 1, -((self._start_ns - earliest_ns) // self._interval_ns))

    def _due_ns(self, index: int, tick: int) -> int:
        node_count = len(self._probes)
        # Never more than the interval, however many nodes there are.
        stagger_ns = min(_STAGGER_MS * 1_000_000, self._interval_ns // node_count)
        return self._start_ns + tick * self._interval_ns + (index + tick) % node_count * stagger_ns

    async def _probe(self, node_id: str) -> str | None:
        """Why there was no answer; None if there was one."""
        try:
            answer = await self._probes[node_id].ask()
        except ProbeError as error:
            self._tracker.failed(node_id, str(error), self._clock_ns())
            return str(error)
        self._tracker.answered(node_id, answer.reading, self._clock_ns())
        self._journal.saw(node_id, answer.run)
        if not self._journal.is_durable:
            await self._save_journal()
        return None

    async def _save_journal(self) -> None:
        """A full disk costs the durability of the counts, not the metrics. Tried again with the next answer."""
        async with self._saving:
            if self._journal.is_durable:
                return
            try:
                await asyncio.to_thread(self._journal.save)
            except OSError as error:
                if self.journal_failure is None:
                    _log.error("crash counts cannot be saved: %s", error)
                self.journal_failure = f"crash counts cannot be saved and would be lost at a restart: {error}"
            else:
                self.journal_failure = None
