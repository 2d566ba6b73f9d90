"""One round of the nemesis: clients at work, faults in the middle, and then the proof that nothing was harmed.

A round ends only when everything is healed: writes are taken again, all nodes are level members, and hold equal rows.
What a client was told is then checked against all that can be read (history_checks.py), and the round's rows are
removed, so that the next round begins like the first.

A process that ends by itself is a failure too, whatever the cluster makes of it: the coordinator ends itself at a breach
of an invariant, and a start would hide that.
"""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import evidence
import fault_actions
from equal_nodes import wait_until_equal
from fault_actions import Struck
from fault_cluster import FaultCluster
from fault_schedule import FULL_DISK, KILL, LOST_DISK, POWER_CUT, RESTART, Round
from history import History, Outcome
from history_checks import Totals, check_all
from insert_workload import InsertWorkload
from log_entries import end_of_log, entries_after
from recording_client import Connection
from schema_workload import HAPPENED_BEFORE_ERRNOS, SchemaWorkload
from workload import RoundKeys, Workload

from cluster_layout import NODES

CALM_WRITES = 60
WRITES_AGAIN_S = 30.0
"""Twice the longest pause between elections and a start of a node; what takes longer is stuck."""
EQUAL_S = 15.0
OVERLAP_SHARE = 0.5
MAY_END_PROCESSES = (KILL, LOST_DISK, POWER_CUT, RESTART, FULL_DISK)
"""A full disk among them: see fault_actions.py. (That it need not, shows test_full_disk.py.)"""


class Anomalous(AssertionError):
    """A promise was broken; the message is the evidence in short."""


@dataclass
class RoundReport:
    """What a round came to, in one line."""

    planned: Round
    struck: list[str] = field(default_factory=list)
    history: History = field(default_factory=History)
    level_after_s: float = 0.0

    def _count(self, outcome: Outcome) -> int:
        return sum(operation.outcome is outcome for operation in self.history.operations)

    def longest_pause_s(self) -> float:
        """Longest time without an acknowledged write."""
        times = sorted(
            operation.returned_ns or 0
            for operation in self.history.operations
            if operation.is_write and operation.outcome is Outcome.OK
        )
        return max((later - earlier for earlier, later in pairwise(times)), default=0) / 1e9

    def __str__(self) -> str:
        counts = ", ".join(f"{self._count(outcome)} {outcome.value}" for outcome in Outcome)
        what = "; and ".join(self.struck) or str(self.planned)
        return (
            f"round {self.planned.number}: {what} | {counts} | longest pause {self.longest_pause_s():.1f} s"
            f" | level after {self.level_after_s:.1f} s"
        )


async def _run_statements(cluster: FaultCluster, statements: list[str]) -> None:
    """Statements that may be run twice: one that was taken although its answer was lost answers 409, or says that what it
    was to drop is not there."""
    connection = Connection(cluster.handle.port("coordinator"))
    deadline_s = time.monotonic() + WRITES_AGAIN_S
    for sql in statements:
        while True:
            status, body = await connection.query(sql)
            if status in (200, 409) or body.get("error", {}).get("errno") in HAPPENED_BEFORE_ERRNOS:
                break
            assert time.monotonic() < deadline_s, f"{sql[:80]}: {status} {body}"
            await asyncio.sleep(0.1)  # a moment before the next try
    connection.close()


async def _acknowledged_more(workload: Workload, writes: int) -> None:
    target = workload.acknowledged + writes
    try:
        async with asyncio.timeout(WRITES_AGAIN_S):
            while workload.acknowledged < target:  # noqa: ASYNC110 (the load is not made for tests to listen to)
                await asyncio.sleep(0.02)  # see above
    except TimeoutError:
        raise Anomalous(f"no {writes} writes were acknowledged within {WRITES_AGAIN_S} s") from None


async def _strike(cluster: FaultCluster, planned: Round, report: RoundReport) -> None:
    """All faults of the round, overlapping, and their undoing."""
    struck: list[Struck] = []
    for number, fault in enumerate(planned.faults):
        struck.append(await asyncio.to_thread(fault_actions.strike, cluster, fault))
        report.struck.append(str(struck[-1]))
        is_last = number == len(planned.faults) - 1
        await asyncio.sleep(fault.seconds if is_last else fault.seconds * OVERLAP_SHARE)  # so long the fault holds
    may_be_down = {name for each in struck if each.fault.name in MAY_END_PROCESSES for name in each.names}
    _nobody_ended_by_itself(cluster, may_be_down)
    for each in struck:
        await asyncio.to_thread(fault_actions.undo, cluster, each)


def _nobody_ended_by_itself(cluster: FaultCluster, may_be_down: set[str]) -> None:
    missing = set(cluster.handle.pids()) - cluster.running() - may_be_down
    if missing:
        raise Anomalous(f"{', '.join(sorted(missing))} ended by itself")


async def run_round(
    cluster: FaultCluster, planned: Round, seed: int, totals: Totals, report: RoundReport, clients: int = 16
) -> None:
    """Raises Anomalous with the reason; `report.history` is what the clients saw, in either case."""
    keys = RoundKeys.of_round(planned.number)
    log_begin = await asyncio.to_thread(end_of_log, cluster.handle, NODES[0].name)
    await _run_statements(cluster, keys.statements_that_make_them())
    workload = Workload(cluster.handle.port("coordinator"), keys, f"{seed}/{planned.number}", clients)
    report.history = workload.history
    changes = SchemaWorkload(cluster.handle.port("coordinator"), f"{seed}/{planned.number}")
    inserts = InsertWorkload(cluster.handle.port("coordinator"), f"{seed}/{planned.number}")
    running = asyncio.gather(workload.run(), changes.run(), inserts.run())
    try:
        await _acknowledged_more(workload, CALM_WRITES)
        await _strike(cluster, planned, report)
        await _acknowledged_more(workload, CALM_WRITES)
    finally:
        workload.stop()
        changes.stop()
        inserts.stop()
        await running
    await asyncio.to_thread(_nobody_ended_by_itself, cluster, set())
    began_s = time.monotonic()
    await asyncio.to_thread(cluster.wait_until_level)
    report.level_after_s = time.monotonic() - began_s
    try:
        await asyncio.to_thread(wait_until_equal, cluster.handle, EQUAL_S)
    except AssertionError:
        totals.nodes_that_differ += 1
        raise
    await workload.read_everything()
    entries = await asyncio.to_thread(entries_after, cluster.handle, NODES[0].name, log_begin)
    anomalies = await asyncio.to_thread(check_all, workload.history, entries)
    totals.count(workload.history, anomalies)
    wrong = await asyncio.to_thread(changes.check, cluster.handle, NODES[0].name)
    totals.count_changes(changes.acknowledged, len(wrong))
    wrong_rows = await asyncio.to_thread(inserts.check, cluster.handle, NODES[0].name)
    totals.count_inserts(inserts.acknowledged, inserts.settled, inserts.weak_reads, len(wrong_rows))
    wrong += wrong_rows
    if anomalies or workload.oddities or wrong:
        raise Anomalous("\n".join([*map(str, anomalies), *workload.oddities, *wrong]))
    await _run_statements(cluster, keys.statements_that_remove_them())
    await _run_statements(cluster, inserts.statements_that_remove_them())
    await _run_statements(cluster, changes.statements_that_remove_them(cluster.handle, NODES[0].name))


async def play(
    cluster: FaultCluster, planned: Round, seed: int, totals: Totals, evidence_folder: Path, replay: str
) -> RoundReport:
    """A round, with evidence if it fails: `replay` is the command that plays it again."""
    report = RoundReport(planned)
    try:
        await run_round(cluster, planned, seed, totals, report)
    except Exception as failure:  # whatever it is, its evidence is kept
        reason = f"{report}\n{type(failure).__name__}: {failure}"
        folder = evidence_folder / f"seed-{seed}-round-{planned.number}"
        told = await asyncio.to_thread(evidence.keep, folder, cluster, report.history, str(planned), reason, replay)
        with contextlib.suppress(AssertionError):  # what does not heal is told by the first failure
            await asyncio.to_thread(cluster.heal)
        raise Anomalous(f"{reason}\n{told}") from failure
    return report


def seed_of_the_day() -> int:
    """A new seed for a run that was given none."""
    return random.SystemRandom().randrange(1_000_000)
