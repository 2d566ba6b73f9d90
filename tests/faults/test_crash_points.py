"""Every service crashes at every arrow of its paths, and nothing is lost: all crash points with all that can happen there.

`make test` takes every point with exit, the strongest of them, and of the rest a few that are the hardest; with
CRASH_CASES=all every point is taken with exit, freeze and cut, and every one of the coordinator's with another coordinator
that takes over while the first one is frozen there. A point that was never reached fails.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_handle import ClusterHandle, private_cluster
from coordinator_points import AFTER, BEFORE
from coordinator_points import POINTS as COORDINATOR_POINTS
from crash_case import TAKE_OVER, CrashCase, state_of
from crash_drives import POINTS, Drive, drive_of
from crash_point import Action

from replication.effects import Acknowledge, CommitBatch, ExecuteBatch, StoreRows

EXITS = [(point, "exit") for point in POINTS]
HARDEST = [
    (BEFORE[CommitBatch], TAKE_OVER),
    (AFTER[CommitBatch], TAKE_OVER),
    (AFTER[StoreRows], "cut"),
    (AFTER[CommitBatch], "cut"),
    (BEFORE[Acknowledge], "cut"),
    (BEFORE[CommitBatch], "freeze"),
]
ALL = [(point, str(action)) for point in POINTS for action in Action] + [
    (point, TAKE_OVER) for point in COORDINATOR_POINTS
]
CASES = ALL if os.environ.get("CRASH_CASES") == "all" else EXITS + HARDEST


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """One cluster for all of them: what a crash leaves behind, the next one finds."""
    with private_cluster(tmp_path_factory.mktemp("crash")) as handle:
        handle.query("INSERT INTO users (id, name, email) VALUES (1, 'first', 'first')").raise_for_status()
        yield handle


def mend(cluster: ClusterHandle) -> None:
    """After a failure, so that it stays the only one."""
    for pid in cluster.pids().values():
        if pid is not None and state_of(pid) == "T":
            os.kill(pid, signal.SIGCONT)
    with contextlib.suppress(AssertionError):  # it may be dead already
        cluster.kill("coordinator")
    cluster.up()


@pytest.mark.parametrize(("point", "action"), CASES, ids=[f"{point}-{action}" for point, action in CASES])
async def test_nothing_is_lost_and_nodes_are_equal_after_a_crash_at(
    cluster: ClusterHandle, tmp_path: Path, point: str, action: str
) -> None:
    try:
        await CrashCase(cluster, point, action, drive_of(point), tmp_path).run()
    except BaseException:  # a run that is broken off leaves as much to mend
        mend(cluster)
        raise


async def test_a_point_that_is_never_reached_fails(cluster: ClusterHandle, tmp_path: Path) -> None:
    case = CrashCase(cluster, BEFORE[ExecuteBatch], "exit", Drive(at=10**9), tmp_path, hit_s=3.0)
    with pytest.raises(AssertionError, match="was never reached within"):
        await case.run()
