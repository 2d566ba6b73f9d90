"""Timestamps: what do two servers gain, odd and even, against one?

    make experiment-timestamps

Clients insert while timestamp server 1 is well, 50 ms away, frozen, and killed; once with a coordinator that knows both servers,
as shipped, and once with one that knows only server 1. Besides, the servers themselves are asked: how many grants a second one
and both of them give, and in which order numbers come when one caller goes from one to the other, with and without `after`.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial

import msgspec
from experiment_cluster import READY_S, TIMESTAMP_SERVERS, ExperimentCluster
from experiment_run import Experiment, Say, in_turn, markdown_table, run, spread_text
from fault_measuring import frozen
from granted_numbers import Numbers, numbers_of, out_of_order_share
from steady_writes import SteadyWrites, steady_writes
from timestamp_calls import granted_in_order, grants_per_second
from waiting import wait_until
from write_figures import Stretch, stretch

from cluster_layout import HOST

FIRST = TIMESTAMP_SERVERS[0]
DELAY_MS = 50.0
WELL, FAR, FROZEN, KILLED = "well", "far", "frozen", "killed"
CONDITIONS = {WELL: "well", FAR: "50 ms away", FROZEN: "frozen", KILLED: "killed"}
TITLES = {2: "two servers (as shipped)", 1: "server 1 alone"}
TRACE_MS = 100
"""A point of the trace stands for so long."""


class TimestampPlan(msgspec.Struct, frozen=True):
    """Times in seconds."""

    rounds: int = 3
    clients: int = 16
    warm_up_s: float = 0.7
    condition_s: float = 2.5
    grant_s: float = 1.5
    grant_callers: int = 8
    grant_count: int = 64
    """What the coordinator asks for at least."""
    order_calls: int = 400


class WriterRow(msgspec.Struct, frozen=True):
    """What writers met with so many servers known to the coordinator, while server 1 was in one condition."""

    servers: int
    round: int
    condition: str
    figures: Stretch
    numbers: Numbers


class GrantRow(msgspec.Struct, frozen=True):
    servers: int
    round: int
    grants_per_second: float


class OrderRow(msgspec.Struct, frozen=True):
    """`out_of_order`: share of the numbers that are below one that the same caller was given before."""

    with_after: bool
    round: int
    out_of_order: float


class TracePoint(msgspec.Struct, frozen=True):
    """The greatest odd and even number that a write had got so many ms after the beginning; 0: none yet."""

    ms: float
    odd: int
    even: int


class TimestampFound(msgspec.Struct, frozen=True):
    """`trace` is of the first round with two servers; `trace_marks_ms`: condition -> from when to when it lasted."""

    writers: list[WriterRow]
    grants: list[GrantRow]
    orders: list[OrderRow]
    trace: list[TracePoint]
    trace_marks_ms: dict[str, tuple[float, float]]


class Conditions:
    """What happens to server 1, and how it ends."""

    def __init__(self, cluster: ExperimentCluster) -> None:
        self._cluster = cluster
        self.by_name: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
            WELL: contextlib.nullcontext,
            FAR: self._far,
            FROZEN: lambda: frozen(self._pid()),
            KILLED: self._killed,
        }

    def _pid(self) -> int:
        pid = self._cluster.handle.pids()[FIRST]
        assert pid is not None
        return pid

    @contextlib.contextmanager
    def _far(self) -> Iterator[None]:
        self._cluster.delay({FIRST: DELAY_MS})
        yield
        self._cluster.delay({FIRST: 0.0})

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        os.kill(self._pid(), signal.SIGKILL)
        yield
        self._cluster.handle.start(FIRST)


def measure(cluster: ExperimentCluster, plan: TimestampPlan, seed: int, say: Say) -> TimestampFound:
    found = TimestampFound([], [], [], [], {})
    chance = random.Random(seed)
    for number in range(plan.rounds):
        for servers in in_turn(list(TITLES), number):
            urls = ",".join(f"http://{HOST}:{cluster.lines.ports[name]}" for name in TIMESTAMP_SERVERS[:servers])
            with cluster.coordinator({"TIMESTAMP_URLS": urls}):
                measured = partial(_writers, cluster, plan, servers, number)
                rows, trace, marks_ms = cluster.undisturbed(measured, say)
            found.writers.extend(rows)
            if servers == 2 and number == 0:
                found.trace.extend(trace)
                found.trace_marks_ms.update(marks_ms)
            told = ", ".join(f"{row.condition} {row.figures.per_second:,.0f}/s" for row in rows)
            say(f"round {number + 1} of {plan.rounds}, {TITLES[servers]}: {told}")
        ports = [cluster.handle.port(name) for name in TIMESTAMP_SERVERS]
        for servers in in_turn(list(TITLES), number):
            asked = grants_per_second(ports[:servers], plan.grant_callers, plan.grant_s, plan.grant_count)
            found.grants.append(GrantRow(servers, number, asyncio.run(asked)))
        for with_after in (False, True):
            granted = asyncio.run(granted_in_order(ports, plan.order_calls, chance, with_after=with_after))
            found.orders.append(OrderRow(with_after, number, out_of_order_share(granted)))
    return found


def _writers(
    cluster: ExperimentCluster, plan: TimestampPlan, servers: int, number: int
) -> tuple[list[WriterRow], list[TracePoint], dict[str, tuple[float, float]]]:
    conditions, marks_ns = Conditions(cluster), {}
    with steady_writes(cluster.port, plan.clients) as writes:
        time.sleep(plan.warm_up_s)  # connections and caches
        first_ns = time.monotonic_ns()
        for condition, begin in conditions.by_name.items():
            began_ns = time.monotonic_ns()
            with begin():
                time.sleep(plan.condition_s)  # the time that is measured
                marks_ns[condition] = (began_ns, time.monotonic_ns())
            _wait_until_it_goes_on(cluster, writes)
    rows = []
    for condition, (began_ns, ended_ns) in marks_ns.items():
        timestamps = [each.timestamp for each in writes.acknowledged if began_ns <= each.answered_ns < ended_ns]
        figures = stretch(writes.acknowledged, began_ns, ended_ns)
        rows.append(WriterRow(servers, number, condition, figures, numbers_of(timestamps)))
    marks_ms = {
        condition: ((began_ns - first_ns) / 1e6, (ended_ns - first_ns) / 1e6)
        for condition, (began_ns, ended_ns) in marks_ns.items()
    }
    return rows, trace_of(writes, first_ns), marks_ms


def _wait_until_it_goes_on(cluster: ExperimentCluster, writes: SteadyWrites) -> None:
    """What is left of one condition must not be counted to the next: a server that failed is asked last until it has answered."""
    now_ns = time.monotonic_ns()
    wait_until(lambda: writes.goes_on_after(now_ns), READY_S)
    wait_until(lambda: not cluster.status()["timestamp_service_errors"], READY_S)


def trace_of(writes: SteadyWrites, began_ns: int) -> list[TracePoint]:
    points: list[TracePoint] = []
    odd = even = 0
    for write in sorted(writes.acknowledged):
        ms = (write.answered_ns - began_ns) / 1e6
        while ms >= 0 and len(points) * TRACE_MS <= ms:
            points.append(TracePoint(len(points) * TRACE_MS, odd, even))
        odd = max(odd, write.timestamp) if write.timestamp % 2 else odd
        even = even if write.timestamp % 2 else max(even, write.timestamp)
    return points


def rows_of(found: TimestampFound, servers: int, condition: str) -> list[WriterRow]:
    return [row for row in found.writers if (row.servers, row.condition) == (servers, condition)]


def table(found: TimestampFound) -> str:
    lines = []
    for condition, told in CONDITIONS.items():
        for servers, title in TITLES.items():
            rows = rows_of(found, servers, condition)
            lines.append(
                (
                    told,
                    title,
                    spread_text([row.figures.per_second for row in rows]),
                    spread_text([row.figures.p99_ms for row in rows], 1),
                    spread_text([row.figures.longest_pause_ms for row in rows]),
                    spread_text([100 * row.numbers.odd_share for row in rows]),
                    spread_text([100 * row.numbers.used_share for row in rows]),
                )
            )
    head = (
        "server 1 is",
        "the coordinator knows",
        "writes/s",
        "p99, ms",
        "longest pause, ms",
        "odd, %",
        "used numbers, %",
    )
    grants = [
        f"{TITLES[servers]}: "
        + spread_text([row.grants_per_second for row in found.grants if row.servers == servers])
        + " grants/s"
        for servers in TITLES
    ]
    orders = [
        f"{'with' if with_after else 'without'} after: "
        + spread_text([100 * row.out_of_order for row in found.orders if row.with_after == with_after], 1)
        + " % of the numbers below an earlier one"
        for with_after in (False, True)
    ]
    return "\n".join((markdown_table(head, lines), "", *(f"- {text}" for text in (*grants, *orders))))


TIMESTAMPS = Experiment(
    "timestamps",
    TimestampPlan(),
    TimestampPlan(rounds=1, clients=4, warm_up_s=0.2, condition_s=0.7, grant_s=0.3, order_calls=60),
    TimestampFound,
    measure,
    table,
)

if __name__ == "__main__":
    sys.exit(run(TIMESTAMPS))
