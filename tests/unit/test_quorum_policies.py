"""The pairs that the Cabinet experiment waits for: a write path which waits for one does wait, and decides nothing else."""

import random
from collections import Counter
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from quorum_policies import Choose, fixed_pair, policy, proposed_pair, random_pair, write_path_that_awaits
from ranking_stand_in import answer_of
from replicator_bench import MASTER, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench
from seer_contract import LeaderAnswer

from replication.effects import Acknowledge, CommitBatch, ExecuteBatch, PrepareRow, StoreRows
from replication.events import AdviceArrived

REPLICAS = (REPLICA_1, REPLICA_2, REPLICA_3)


def test_the_fixed_pair_is_the_first_two_by_name() -> None:
    assert fixed_pair(REPLICAS, (REPLICA_3, REPLICA_2)) == (REPLICA_1, REPLICA_2)


def test_random_pairs_are_any_two_and_the_same_again_with_the_same_seed() -> None:
    choose, again = (random_pair(random.Random("seed")) for _ in range(2))
    drawn = [choose(REPLICAS, ()) for _ in range(600)]
    assert drawn == [again(REPLICAS, ()) for _ in range(600)]
    counts = Counter(frozenset(pair) for pair in drawn)
    assert [len(pair) for pair in counts] == [2, 2, 2]
    assert min(counts.values()) > 150


@pytest.mark.parametrize(
    ("proposal", "pair"),
    [
        ((REPLICA_3, REPLICA_1), (REPLICA_3, REPLICA_1)),
        ((), (REPLICA_1, REPLICA_2)),
        ((MASTER, REPLICA_3), (REPLICA_1, REPLICA_2)),
    ],
)
def test_the_proposed_pair_is_cabinets_if_it_is_one_of_replicas(
    proposal: tuple[str, ...], pair: tuple[str, ...]
) -> None:
    assert proposed_pair(REPLICAS, proposal) == pair


def test_a_setting_that_names_no_policy_ends_the_start() -> None:
    with pytest.raises(KeyError):
        policy("fastest", "")


@pytest.fixture
def waits_for(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A cluster whose writes wait for the pair, or the choice, that the test is parametrized with."""
    choose: Choose = request.param
    with patch("replication.replicator.WritePath", write_path_that_awaits(choose)):
        yield serving_bench()


def write_stored_by(bench: Bench, *replicas: str) -> int:
    write = bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    for name in replicas:
        bench.do(StoreRows, name)
    return write


@pytest.mark.parametrize("waits_for", [fixed_pair], indirect=True)
def test_a_write_is_not_committed_before_the_fixed_pair_has_it(waits_for: Bench) -> None:
    write = write_stored_by(waits_for, REPLICA_1, REPLICA_3)
    assert not waits_for.waiting(CommitBatch), "any two would do for the product"
    waits_for.do(StoreRows, REPLICA_2)
    waits_for.do(CommitBatch, MASTER)
    assert isinstance(waits_for.answers[write], Acknowledge)


@pytest.mark.parametrize("waits_for", [proposed_pair], indirect=True)
def test_who_waits_for_a_proposal_goes_by_the_one_of_when_the_row_was_first_stored(waits_for: Bench) -> None:
    waits_for.step(AdviceArrived(quorum=(REPLICA_1, REPLICA_3), ranking=()))
    write = write_stored_by(waits_for, REPLICA_1)
    waits_for.step(AdviceArrived(quorum=(REPLICA_1, REPLICA_2), ranking=()))
    waits_for.do(StoreRows, REPLICA_2)
    assert not waits_for.waiting(CommitBatch)
    waits_for.do(StoreRows, REPLICA_3)
    waits_for.do(CommitBatch, MASTER)
    assert isinstance(waits_for.answers[write], Acknowledge)


@pytest.mark.parametrize("waits_for", [lambda _, __: ()], indirect=True)
def test_the_products_own_rule_still_holds_where_nobody_is_waited_for(waits_for: Bench) -> None:
    write_stored_by(waits_for, REPLICA_2)
    assert not waits_for.waiting(CommitBatch)
    waits_for.do(StoreRows, REPLICA_3)
    assert waits_for.waiting(CommitBatch)


def test_the_stand_in_for_seer_answers_in_seers_shape() -> None:
    answer = LeaderAnswer.model_validate_json(answer_of([REPLICA_2, REPLICA_1], MASTER))
    assert (answer.leader, answer.ranking) == (REPLICA_2, [REPLICA_2, REPLICA_1])
