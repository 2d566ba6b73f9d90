"""The production replicator among simulated nodes under seeded trouble: no promise may break in any schedule (design section 9).

SIMULATION_SEEDS=20000 runs more of them; a failure says how it is seen again.
"""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from schedules import KINDS, failure, run

from replication.messages import Acknowledge

HERE = Path(__file__).resolve().parent
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "300"))
CHUNK = 50
"""Schedules in one test: many small tests would cost more lines than they tell."""

REGRESSIONS = (2, 39, 54, 66, 116, 188, 330, 417, 474, 616, 710, 784, 1596, 2238, 2259, 3859)
"""Seeds that once found something (tests/README.md says what)."""


def run_all(seeds: range, kind: str) -> None:
    failures = [found for seed in seeds if (found := failure(seed, kind))]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_promise_breaks_in_random_schedules(first: int) -> None:
    run_all(range(first, min(first + CHUNK, SEEDS)), "plain")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_no_promise_breaks_with_tight_limits_nonsense_advice_and_constant_switchovers(kind: str) -> None:
    run_all(range(SEEDS // 4), kind)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_once_went_wrong_stays_right(seed: int) -> None:
    run_all(range(seed, seed + 1), "plain")


def test_the_schedules_are_not_idle() -> None:
    """All is well in a world where nothing happens: writes must be acknowledged, and masters change."""
    worlds = [run(seed) for seed in range(20)]
    answers = [write.answer for world in worlds for write in world.writes.values()]
    assert sum(isinstance(answer, Acknowledge) for answer in answers) > len(answers) / 3
    epochs = [world.coordinators[-1].replicator.state.epoch for world in worlds]
    assert sum(epochs) / len(epochs) > 3
    assert sum(len(world.coordinators) > 1 for world in worlds) > 5
    assert sum(read.seen is not None for world in worlds for read in world.reads.values()) > len(worlds) * 20


def traces_digest() -> str:
    digest = blake2b()
    for seed in (1, 17, 784):
        digest.update("\n".join(run(seed).trace).encode())
    return digest.hexdigest()


def test_one_seed_is_one_schedule_in_every_process() -> None:
    """Hashes of strings differ from process to process; a decision that hung on the order of a set would show here."""
    digests = set()
    for hash_seed in ("1", "2"):
        path = os.pathsep.join([str(HERE), str(HERE.parents[1] / "coordinator")])
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", "import test_random_schedules as t; print(t.traces_digest())"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        digests.add(done.stdout.strip())
    assert digests == {traces_digest()}


def test_a_failure_names_its_seed_and_the_command_that_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedules.check", lambda *_: 1 / 0)
    found = failure(7)
    assert found is not None
    assert found.startswith("seed 7, kind plain: ZeroDivisionError")
    assert found.endswith("make simulate SEEDS=1 SEED=7 KIND=plain")
