"""A schedule is its seed's, and never asks for more than the promises cover."""

import subprocess
import sys

import pytest
from fault_schedule import DISK_FAULTS, EVERYBODY, LOST_DISK, OLD_DISK, SECONDS_MAX, SECONDS_MIN, Round, round_of

from cluster_layout import ROOT

ROUNDS = 2_000


def rounds(seed: int) -> list[Round]:
    return [round_of(seed, number) for number in range(ROUNDS)]


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert rounds(7) == rounds(7)
    assert rounds(7) != rounds(8)


@pytest.mark.parametrize("seed", range(5))
def test_at_most_one_disk_is_harmed_in_a_round(seed: int) -> None:
    for planned in rounds(seed):
        on_disks = [fault for fault in planned.faults if fault.name in DISK_FAULTS]
        assert len(on_disks) <= 1, planned
        assert all(len(fault.targets) == 1 for fault in on_disks if fault.name in (LOST_DISK, OLD_DISK)), planned


@pytest.mark.parametrize("seed", range(5))
def test_faults_that_overlap_strike_different_processes(seed: int) -> None:
    for planned in rounds(seed):
        targets = [target for fault in planned.faults for target in fault.targets]
        assert len(set(targets)) == len(targets), planned


def test_every_fault_and_every_process_comes_up_and_each_lasts_as_long_as_it_may() -> None:
    faults = [fault for planned in rounds(0) for fault in planned.faults]
    assert {target for fault in faults for target in fault.targets} == set(EVERYBODY)
    assert len({fault.name for fault in faults}) == 14
    assert all(SECONDS_MIN <= fault.seconds <= SECONDS_MAX for fault in faults)
    assert {len(planned.faults) for planned in rounds(0)} == {1, 2}


def test_those_who_come_back_do_so_in_an_order_of_the_seeds() -> None:
    outages = [fault for planned in rounds(0) for fault in planned.faults if set(fault.targets) == set(EVERYBODY)]
    assert len({fault.targets for fault in outages}) > 10


def test_without_disks_no_disk_is_touched() -> None:
    planned = [round_of(0, number, with_disks=False) for number in range(ROUNDS)]
    assert not {fault.name for each in planned for fault in each.faults} & set(DISK_FAULTS)


def test_the_long_form_finds_all_that_it_imports_when_it_is_run_as_a_script() -> None:
    command = [sys.executable, "tests/faults/run_nemesis.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "--seed" in done.stdout) == (0, True), done.stderr
