"""The experiments in their quick form, on one real cluster: that they run, and that what they find has the shape and the sense
that no machine can change. How much is gained is for the figures, and for no test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import cabinet_experiment as cabinet
import msgspec
import pytest
import seer_experiment as seer
import timestamps_experiment as timestamps
from experiment_cluster import REPLICAS, ExperimentCluster, experiment_cluster
from experiment_run import Experiment

pytestmark = pytest.mark.alone

SEED = 7
GRANTED_AHEAD_MAX = 400
"""Four clients make batches of four at most, for which 128 numbers are asked for at once, when 64 are left."""
Plan = TypeVar("Plan")
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExperimentCluster]:
    """One for all three: each of them brings its own coordinator, and leaves the lines as they were."""
    with experiment_cluster(Path(tmp_path_factory.mktemp("experiments"))) as started:
        yield started


def found_by(experiment: Experiment[Plan, Found], cluster: ExperimentCluster) -> Found:
    """What its quick form found, as it would be kept: in JSON and back."""
    found = experiment.measure(cluster, experiment.quick, SEED, print)
    print(experiment.table(found))
    return msgspec.json.decode(msgspec.json.encode(found), type=experiment.found)


def test_cabinet_every_choice_takes_writes_and_a_pair_that_must_answer_waits_for_the_far_ones(
    cluster: ExperimentCluster,
) -> None:
    found = found_by(cabinet.CABINET, cluster)
    conditions = (cabinet.EVEN, cabinet.UNEVEN)
    expected = {(choice, condition) for choice in cabinet.CHOICES for condition in conditions}
    assert {(row.choice, row.condition) for row in found.rows} == expected
    assert len(found.rows) == len(expected)
    assert [row.refused for row in found.rows] == [0] * len(expected)
    for row in found.rows:
        assert row.figures.writes > 0
        # two of three replicas are 5 ms away or farther, each way: whoever is waited for, no two answer sooner
        if row.condition == cabinet.UNEVEN:
            assert row.figures.p50_ms is not None
            assert row.figures.p50_ms > 2 * sorted(cabinet.DELAYS_MS)[1]
            assert sum(row.rates) > 0


def test_seer_whoever_is_ranked_first_becomes_master_and_no_acknowledged_write_is_missing(
    cluster: ExperimentCluster,
) -> None:
    found = found_by(seer.SEER_CHOICE, cluster)
    assert [row.choice for row in found.rows] == list(seer.SEER_CHOICE.quick.choices)
    for row in found.rows:
        best = next(name for name in row.ranking if name in REPLICAS)
        assert row.master == best
        assert row.fault_by_candidate == seer.faults_in(0)
        assert row.after.writes > 0
        assert min(row.pause_ms, row.election_ms) > 0
        assert bool(row.scores) == (row.choice == seer.SEER)
    assert found.acknowledged <= found.stored_rows <= found.acknowledged + found.refused


def test_timestamps_two_servers_outlive_the_loss_of_one_and_one_alone_does_not(cluster: ExperimentCluster) -> None:
    found = found_by(timestamps.TIMESTAMPS, cluster)
    cases = [(servers, condition) for servers in timestamps.TITLES for condition in timestamps.CONDITIONS]
    assert sorted((row.servers, row.condition) for row in found.writers) == sorted(cases)
    for row in found.writers:
        if row.servers == 2:
            assert row.figures.writes > 0
        else:
            assert row.numbers.odd_share in (0.0, 1.0)
            if row.condition in (timestamps.FROZEN, timestamps.KILLED):
                assert row.figures.writes < GRANTED_AHEAD_MAX
    assert min(found.trace[-1].odd, found.trace[-1].even) > 0, "both servers granted numbers"
    assert {row.servers: row.grants_per_second > 0 for row in found.grants} == {1: True, 2: True}
    by_after = {row.with_after: row.out_of_order for row in found.orders}
    assert by_after[True] == 0
    assert by_after[False] > 0, "60 calls to two servers at random, and each happened to be above all before"
