"""Each kind of fault once or twice on a real cluster under load: the short form of `make test-faults`.

What every round must prove is in nemesis.py: every answer that clients got fits one strictly serial order of all requests,
nothing acknowledged is lost, nobody ended by itself, and four nodes with equal rows afterwards.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fault_schedule
import nemesis
import pytest
from cluster_handle import ClusterHandle
from equal_nodes import wait_until_equal
from fault_cluster import FaultCluster, fault_cluster
from fault_schedule import EVERYBODY, MASTER, NODE_ROLES, Fault, Round, round_of
from history_checks import Totals
from nemesis import Anomalous, play

from cluster_layout import ROOT

SEED = 3
RANDOM_ROUNDS = (0, 1)
SCALE = 0.25
NAMED_ROUNDS = {
    "the_master_and_the_coordinator_are_killed": [Fault(fault_schedule.KILL, (MASTER, "coordinator"), 1.5)],
    "everything_is_killed": [Fault(fault_schedule.KILL, EVERYBODY, 0.5)],
    "the_master_is_frozen": [Fault(fault_schedule.FREEZE, (MASTER,), 3.0)],
    "the_coordinator_is_frozen_and_the_master_killed": [
        Fault(fault_schedule.FREEZE, ("coordinator",), 2.0),
        Fault(fault_schedule.KILL, (MASTER,), 1.0),
    ],
    "answers_of_the_master_do_not_arrive": [Fault(fault_schedule.HOLD_FROM, (MASTER,), 3.0)],
    "nothing_arrives_at_the_master": [Fault(fault_schedule.HOLD_TO, (MASTER,), 3.0)],
    "links_are_cut_one_by_one": [Fault(fault_schedule.SWIZZLE, NODE_ROLES, 4.0)],
    "a_replica_is_far_away": [Fault(fault_schedule.DELAY, ("other-1",), 2.0, delay_ms=300)],
    "connections_to_the_master_are_reset": [Fault(fault_schedule.RESET, (MASTER,), 2.0)],
    "the_power_of_the_master_is_cut": [Fault(fault_schedule.POWER_CUT, (MASTER,), 1.5)],
    "the_power_of_everything_is_cut": [Fault(fault_schedule.POWER_CUT, EVERYBODY, 0.5)],
    "the_disk_of_the_master_is_lost": [Fault(fault_schedule.LOST_DISK, (MASTER,), 1.0)],
    "the_master_comes_back_with_an_old_copy_of_its_disk": [Fault(fault_schedule.OLD_DISK, (MASTER,), 2.0)],
    "a_second_coordinator_is_started_by_mistake": [Fault(fault_schedule.SECOND, ("coordinator",), 2.0)],
    "the_disk_of_the_master_is_full": [Fault(fault_schedule.FULL_DISK, (MASTER,), 3.0)],
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultCluster]:
    with fault_cluster(tmp_path_factory.mktemp("nemesis")) as started:
        yield started


@pytest.mark.parametrize("what", NAMED_ROUNDS)
async def test_every_promise_is_kept_when(cluster: FaultCluster, tmp_path: Path, what: str) -> None:
    number = list(NAMED_ROUNDS).index(what)
    replay = f'.venv/bin/python -m pytest "tests/faults/test_nemesis.py::test_every_promise_is_kept_when[{what}]"'
    totals = Totals()
    print(await play(cluster, Round(number, tuple(NAMED_ROUNDS[what])), SEED, totals, tmp_path, replay), totals)


@pytest.mark.parametrize("number", RANDOM_ROUNDS)
async def test_every_promise_is_kept_in_a_round_of_a_seeded_schedule(
    cluster: FaultCluster, tmp_path: Path, number: int
) -> None:
    planned = round_of(SEED, number + len(NAMED_ROUNDS), SCALE)
    name = "test_every_promise_is_kept_in_a_round_of_a_seeded_schedule"
    replay = f'.venv/bin/python -m pytest "tests/faults/test_nemesis.py::{name}[{number}]"'
    totals = Totals()
    print(await play(cluster, planned, SEED, totals, tmp_path, replay), totals)


def test_writes_that_vanish_fail_the_round_and_leave_evidence_that_can_be_checked_again(
    cluster: FaultCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every list keeps its first element only, on all nodes alike, past the coordinator: nothing but the clients' history
    can tell."""

    def lose_writes_once_equal(handle: ClusterHandle, within_s: float) -> float:
        waited_s = wait_until_equal(handle, within_s)
        for node in handle.nodes:
            handle.rows_on(node, "UPDATE distributed_db.lists SET elements = SUBSTRING_INDEX(elements, ',', 2)")
        return waited_s

    monkeypatch.setattr(nemesis, "wait_until_equal", lose_writes_once_equal)
    planned = Round(len(NAMED_ROUNDS) + len(RANDOM_ROUNDS), (Fault(fault_schedule.RESTART, ("seer-service",), 0.5),))
    totals = Totals()
    with pytest.raises(Anomalous) as failure:
        asyncio.run(play(cluster, planned, SEED, totals, tmp_path, "the command that plays it again"))
    told = str(failure.value)
    assert totals.lost > 0
    assert "play it again: the command that plays it again" in told
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "elections.json",
        "history.jsonl",
        "log",
        "reason.txt",
        "schedule.txt",
        "status.json",
    }
    assert len(list((folder / "log").iterdir())) >= 10
    (command,) = re.findall("check it again: (.*)", told)
    checked = subprocess.run(
        [sys.executable, *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 1
    assert "lost-write" in checked.stdout
