"""The only loop: takes an event, steps the replicator, carries out the effects in order.

Everything happens on one event loop, so steps never overlap. A command on a node is a task of its own that ends in an event.
Whatever goes wrong that was not foreseen ends the process: a half-dead coordinator that still answers its health check is
worse than a dead one, and a restarted one takes over by election alone.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine
from typing import Protocol, TypeVar

import crash_point
from coordinator_points import AFTER, BEFORE
from crash_point import ConnectionCut
from recent_writes import RecentWrites
from traffic import Traffic

from adapters.mysql_node import CommandFailed
from replication.effects import (
    Acknowledge,
    Answer,
    Effect,
    ExecuteBatch,
    Fail,
    NodeCommand,
    NodeEffect,
    ReadAllowed,
    ReadRefused,
    Refuse,
    Report,
    RequestTimestamps,
    SnapshotsTaken,
    Stale,
    SwitchoverEnded,
)
from replication.events import (
    AdviceArrived,
    DifferenceFound,
    Event,
    NodeFailed,
    NodeReplied,
    PauseSkipped,
    ReadArrived,
    ReadFinished,
    SwitchoverRequested,
    TimestampsGranted,
    TimestampsRefused,
    VerificationRequested,
    Woken,
    WriteArrived,
)
from replication.replicator import Replicator
from replication.replies import Reply, RowsStored
from replication.state import MILLISECOND_NS, Phase
from replication.values import Certainty, ReadNeed, Request, RequestStatement

log = logging.getLogger("coordinator")

FATAL_EXIT_STATUS = 70
ANSWERS_AT_ONCE = 8
"""So many writes are answered in one turn of the event loop. Each answer has to be written and brings the client's next request;
between them the nodes' replies are to be heard, for which the next batch waits."""
SOON_NS = 10 * MILLISECOND_NS

Told = TypeVar("Told", bound=Effect)
WriteAnswer = Acknowledge | Refuse | Fail | Stale


class Node(Protocol):
    async def carry_out(self, effect: NodeEffect) -> Reply: ...

    def close(self) -> None: ...


class Timestamps(Protocol):
    async def fetch(self, count: int, after: int) -> TimestampsGranted | TimestampsRefused: ...


class Driver:
    """Runs one replicator against real nodes, services and clocks."""

    def __init__(
        self,
        replicator: Replicator,
        nodes: dict[str, Node],
        timestamps: Timestamps,
        deadline_ns: int,
        change_deadline_ns: int,
        traffic: Traffic,
    ) -> None:
        """How long a write, and a schema change, may wait for its answer; `traffic`: where it is counted what the nodes do."""
        self.replicator = replicator
        self._nodes = nodes
        self._timestamps = timestamps
        self._deadline_ns = deadline_ns
        self._change_deadline_ns = change_deadline_ns
        self._traffic = traffic
        self.recent = RecentWrites()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._waiting: dict[int, asyncio.Future[WriteAnswer]] = {}
        self._answers: deque[WriteAnswer] = deque()
        """Not told yet."""
        self._is_telling = False
        """The rest of the answers is told in the next turn of the loop."""
        self._readers: dict[int, asyncio.Future[ReadAllowed | ReadRefused]] = {}
        self._switchover: asyncio.Future[SwitchoverEnded] | None = None
        self._snapshots: asyncio.Future[SnapshotsTaken] | None = None
        self._last_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ns = 0
        self.stepped_at_ns = 0
        """When the loop last took a step; the health check asks for it."""

    # ------------------------------------------------------------------------------------------ outside

    def write(
        self, statements: tuple[RequestStatement, ...], schema_version: int = 0, row_schema: int = 0
    ) -> asyncio.Future[WriteAnswer]:
        """One request. Resolves when its fate is known or its deadline has passed. The versions are those of a Request."""
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        return self._arrives(Request(self._next_id(), statements, deadline_ns, False, schema_version, row_schema))

    def change_schema(self, sql: str) -> asyncio.Future[WriteAnswer]:
        """Resolves when the schema change was made or refused, or its deadline has passed: that may be long."""
        deadline_ns = time.monotonic_ns() + self._change_deadline_ns
        change = (RequestStatement(sql),)
        return self._arrives(Request(self._next_id(), change, deadline_ns, changes_schema=True))

    def _arrives(self, request: Request) -> asyncio.Future[WriteAnswer]:
        """A future, and no coroutine around it: each one in a chain of them is woken in vain. It is forgotten when it is told;
        every request is told once, whether or not somebody still waits."""
        future: asyncio.Future[WriteAnswer]
        future = self._waiting[request.request_id] = asyncio.get_running_loop().create_future()
        self.dispatch(WriteArrived(request))
        return future

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused:
        """Resolves when the read may run, and where. Follow it with `read_finished`."""
        read_id = self._next_id()
        future: asyncio.Future[ReadAllowed | ReadRefused]
        future = self._readers[read_id] = asyncio.get_running_loop().create_future()
        self.dispatch(ReadArrived(read_id, deadline_ns, need))
        try:
            return await future
        finally:
            self._readers.pop(read_id, None)

    async def switchover(self, target: str) -> SwitchoverEnded:
        """Resolves when `target` is master, or when it is clear that it does not become so."""
        if self._switchover is not None:
            return SwitchoverEnded(False, self.replicator.state.master, "a switchover is under way")
        future: asyncio.Future[SwitchoverEnded]
        future = self._switchover = asyncio.get_running_loop().create_future()
        self.dispatch(SwitchoverRequested(target))
        return await future

    async def take_snapshots(self) -> SnapshotsTaken:
        """Resolves when all nodes that can have a snapshot open at one timestamp. For one caller at a time."""
        future: asyncio.Future[SnapshotsTaken]
        future = self._snapshots = asyncio.get_running_loop().create_future()
        self.dispatch(VerificationRequested())
        return await future

    def difference_found(self, node: str, reason: str) -> None:
        """A commit quorum has other rows than `node`."""
        self.dispatch(DifferenceFound(node, reason))

    def read_finished(self, node: str, latency_ns: int) -> None:
        self.dispatch(ReadFinished(node, latency_ns))

    def elect_now(self) -> None:
        """End the pause before an election, if there is one."""
        self.dispatch(PauseSkipped())

    def advise(self, advice: AdviceArrived) -> None:
        self.dispatch(advice)

    def start(self) -> None:
        self.dispatch(Woken())

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for node in self._nodes.values():
            node.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ the loop

    def dispatch(self, event: Event) -> None:
        """One step. Never called from within a step: effects are carried out by tasks and futures."""
        self.stepped_at_ns = now_ns = time.monotonic_ns()
        try:
            effects = self.replicator.step(event, now_ns, time.time_ns() // 1000)
            for effect in effects:
                self._perform(effect)
            if self._answers and not self._is_telling:
                self._tell_some()
            self._set_timer(now_ns)
        except Exception:  # noqa: BLE001 (it ends the process)
            self.die("a step of the protocol failed")

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, NodeCommand):
            if isinstance(effect, ExecuteBatch):
                self._traffic.batch_sizes.observe(len(effect.requests))
            self._spawn(self._command(effect))
        elif isinstance(effect, Answer):
            if isinstance(effect, Acknowledge):
                self.recent.acknowledged(effect, self.stepped_at_ns)
            self._answers.append(effect)
        elif isinstance(effect, ReadAllowed | ReadRefused):
            self._answer_reader(effect)
        elif isinstance(effect, SwitchoverEnded):
            waiting_switchover, self._switchover = self._switchover, None
            self._tell(waiting_switchover, effect)
        elif isinstance(effect, SnapshotsTaken):
            waiting_snapshots, self._snapshots = self._snapshots, None
            self._tell(waiting_snapshots, effect)
        elif isinstance(effect, RequestTimestamps):
            self._spawn(self._fetch_timestamps(effect))
        elif isinstance(effect, Report):
            log.log(logging.getLevelNamesMapping()[effect.severity.upper()], effect.text)
        else:
            raise TypeError(f"no such effect: {effect}")

    def _tell_some(self) -> None:
        answers = self._answers
        for _ in range(min(ANSWERS_AT_ONCE, len(answers))):
            answer = answers.popleft()
            self._tell(self._waiting.pop(answer.request_id, None), answer)
        self._is_telling = bool(answers)
        if answers:
            asyncio.get_running_loop().call_soon(self._tell_some)

    def _answer_reader(self, effect: ReadAllowed | ReadRefused) -> None:
        told = self._tell(self._readers.get(effect.read_id), effect)
        if not told and isinstance(effect, ReadAllowed):
            # the client went away meanwhile: nobody reads at that node
            asyncio.get_running_loop().call_soon(self.read_finished, effect.node, 0)

    @staticmethod
    def _tell(waiting: asyncio.Future[Told] | None, effect: Told) -> bool:
        """Hand an answer to whoever waits for it. False: nobody does, or a crash point cut the connection."""
        if waiting is None or waiting.done():
            return False
        try:
            crash_point.reach(BEFORE[type(effect)])
        except ConnectionCut as cut:
            waiting.set_exception(cut)
            return False
        waiting.set_result(effect)
        return True

    async def _command(self, effect: NodeEffect) -> None:
        node = self._nodes[effect.node]
        certainty = Certainty.NOT_APPLIED
        began_ns = time.perf_counter_ns()
        try:
            crash_point.reach(BEFORE[type(effect)])
            certainty = Certainty.UNKNOWN
            reply = await node.carry_out(effect)
            if isinstance(reply, RowsStored):
                self._traffic.stored(effect.node, time.perf_counter_ns() - began_ns)
            crash_point.reach(AFTER[type(effect)])
        except CommandFailed as failure:
            self.dispatch(NodeFailed(effect.node, effect.command, failure.certainty, failure.reason))
        except ConnectionCut as cut:
            node.close()
            self.dispatch(NodeFailed(effect.node, effect.command, certainty, str(cut)))
        else:
            self.dispatch(NodeReplied(effect.node, effect.command, reply))

    async def _fetch_timestamps(self, effect: RequestTimestamps) -> None:
        answer: TimestampsGranted | TimestampsRefused
        try:
            crash_point.reach(BEFORE[RequestTimestamps])
            answer = await self._timestamps.fetch(effect.count, effect.after)
            crash_point.reach(AFTER[RequestTimestamps])
        except ConnectionCut as cut:
            answer = TimestampsRefused(str(cut))
        self.dispatch(answer)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a command failed in an unforeseen way", exc_info=task.exception())
            self.die("a command failed in an unforeseen way")

    def _set_timer(self, now_ns: int) -> None:
        is_soon = self._timer is not None and self._timer_at_ns - now_ns <= SOON_NS
        if is_soon and self.replicator.state.phase is Phase.SERVING:
            return  # then all is looked at anyway; while writes come, the idle flush is never farther away
        wake_at_ns = self.replicator.wake_at_ns
        if wake_at_ns is None or (self._timer is not None and self._timer_at_ns <= wake_at_ns):
            return  # a timer that fires early does no harm, and is cheaper than a new one each step
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.001, (wake_at_ns - time.monotonic_ns()) / 1e9)
        self._timer_at_ns = wake_at_ns
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.dispatch(Woken())

    def die(self, why: str) -> None:
        """End the process at once: no answer is better than a wrong one."""
        log.critical("%s: the coordinator ends", why, exc_info=True)
        for handler in logging.getLogger().handlers:
            handler.flush()
        os._exit(FATAL_EXIT_STATUS)
