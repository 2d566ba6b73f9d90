"""Quorum sizes against every set of nodes there is (Raft section 5.4; flexible quorums, Howard, Malkhi, Spiegelman 2016)."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.log import Position
from replication.quorum import QuorumSizes, counted_replicas, most_complete, rank_candidates

NODE_COUNTS = range(3, 10)


def subsets(nodes: int, size: int) -> Iterator[frozenset[int]]:
    return (frozenset(chosen) for chosen in itertools.combinations(range(nodes), size))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_every_election_meets_every_commit(nodes: int) -> None:
    sizes = QuorumSizes.of(nodes)
    assert all(a & b for a in subsets(nodes, sizes.election) for b in subsets(nodes, sizes.commit))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_every_election_meets_every_other_so_an_epoch_has_one_owner(nodes: int) -> None:
    sizes = QuorumSizes.of(nodes)
    assert all(a & b for a in subsets(nodes, sizes.election) for b in subsets(nodes, sizes.election))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_every_confirmation_of_a_strong_read_meets_every_election(nodes: int) -> None:
    sizes = QuorumSizes.of(nodes)
    assert all(a & b for a in subsets(nodes, sizes.confirmation) for b in subsets(nodes, sizes.election))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_no_smaller_election_would_do(nodes: int) -> None:
    sizes = QuorumSizes.of(nodes)
    smaller = sizes.election - 1
    misses_a_commit = any(not a & b for a in subsets(nodes, smaller) for b in subsets(nodes, sizes.commit))
    misses_another = any(not a & b for a in subsets(nodes, smaller) for b in subsets(nodes, smaller))
    assert misses_a_commit or misses_another


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_replicas_counted_are_the_readme_s_formula(nodes: int) -> None:
    sizes = QuorumSizes.of(nodes)
    replicas = nodes - 1
    assert sizes.commit_replicas == -((replicas + 1) // -2)
    assert sizes.commit == 1 + sizes.commit_replicas <= nodes


def test_four_nodes_commit_with_two_replicas_and_elect_with_three() -> None:
    assert QuorumSizes.of(4) == QuorumSizes(nodes=4, commit_replicas=2, commit=3, election=3)


def test_one_node_that_forgot_everything_unnoticed_cannot_hide_a_committed_write() -> None:
    """With four nodes any commit and any election have two nodes in common, one more than the rules of Raft need."""
    sizes = QuorumSizes.of(4)
    assert all(len(a & b) >= 2 for a in subsets(4, sizes.election) for b in subsets(4, sizes.commit))


# ---------------------------------------------------------------------------------------------- choices

names = st.sampled_from(["replica-1", "replica-2", "replica-3", "replica-4"])


@given(st.sets(names), st.lists(names), st.integers(0, 4))
def test_the_replicas_named_in_an_answer_really_have_the_row(
    appended: set[str], preferred: list[str], size: int
) -> None:
    counted = counted_replicas(appended, list(dict.fromkeys(preferred)), size)
    assert set(counted) <= appended
    assert len(set(counted)) == len(counted) == (size if len(appended) >= size else 0)


def test_cabinet_s_choice_is_named_first_but_nobody_waits_for_it() -> None:
    preferred = ("replica-3", "replica-2")
    assert counted_replicas({"replica-1", "replica-2", "replica-3"}, preferred, 2) == ("replica-2", "replica-3")
    assert counted_replicas({"replica-1", "replica-2"}, preferred, 2) == ("replica-1", "replica-2")
    assert counted_replicas({"replica-3"}, preferred, 2) == ()


@given(st.dictionaries(names, st.builds(Position, st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_no_log_is_greater_than_the_authoritative_one(log_ends: dict[str, Position]) -> None:
    chosen = most_complete(log_ends)
    assert not any(end > log_ends[chosen] for end in log_ends.values())
    assert chosen == min(name for name in log_ends if log_ends[name] == log_ends[chosen])


def test_a_short_log_of_a_newer_epoch_beats_a_long_one_of_an_older() -> None:
    assert most_complete({"replica-1": Position(2, 50), "replica-2": Position(3, 20)}) == "replica-2"


@given(st.sets(names), st.none() | names, st.lists(names, unique=True))
def test_every_fenced_node_is_a_candidate_once_and_nobody_else(
    fenced: set[str], incumbent: str | None, ranking: list[str]
) -> None:
    order = rank_candidates(fenced, incumbent, ranking)
    assert sorted(order) == sorted(fenced)
    if incumbent in fenced:
        assert order[0] == incumbent


def test_candidates_are_the_incumbent_then_seer_s_ranking_then_by_name() -> None:
    fenced = ["replica-1", "replica-2", "replica-3", "mysql-master"]
    assert rank_candidates(fenced, "replica-3", ["replica-2", "unknown"]) == (
        "replica-3",
        "replica-2",
        "mysql-master",
        "replica-1",
    )
