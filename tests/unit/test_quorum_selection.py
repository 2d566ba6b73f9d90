"""Cabinet's rule against the README's formula, a brute force, and the failures that weights invite (papers: C1, C5)."""

import itertools
import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_contract import NodeMetrics
from quorum_selection import QuorumRequestError, select_quorum, weight, write_quorum_size
from stand_in_collector import by_name, node

MASTER = "mysql-master"
REPLICAS = ("replica-1", "replica-2", "replica-3")


def cluster(*replicas: NodeMetrics) -> dict[str, NodeMetrics]:
    return by_name(node(MASTER, is_master=True), *replicas)


# few distinct figures, so that equal weights are common
figures = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.25]) | st.floats(0, 1e9)
nodes_drawn = st.lists(
    st.tuples(st.sampled_from([f"replica-{k}" for k in range(1, 8)]), figures, figures, st.booleans()),
    unique_by=lambda drawn: drawn[0],
    max_size=7,
).map(lambda drawn: [node(name, latency, lag, healthy=up) for name, latency, lag, up in drawn])


def best_subset_by_brute_force(replicas: list[NodeMetrics], size: int) -> tuple[str, ...]:
    """Try every subset; the best has the greatest weights, compared from the greatest down, then the smallest names."""

    def rank(each: NodeMetrics) -> tuple[float, str]:
        assert each.latency_ms is not None
        assert each.lag_ms is not None
        return -1 / (each.latency_ms + each.lag_ms + 1), each.id

    living = [each for each in replicas if each.healthy]
    subsets = itertools.combinations(living, min(size, len(living)))
    return tuple(name for _, name in min(sorted(rank(each) for each in subset) for subset in subsets))


@given(nodes_drawn)
def test_the_quorum_is_the_best_of_all_subsets_of_its_size(replicas: list[NodeMetrics]) -> None:
    selection = select_quorum(cluster(*replicas), master=MASTER, operation="write")
    assert selection.quorum == best_subset_by_brute_force(replicas, selection.quorum_size)


@given(nodes_drawn, st.randoms(use_true_random=False))
def test_the_order_in_which_nodes_are_listed_changes_nothing(replicas: list[NodeMetrics], random: Random) -> None:
    shuffled = list(cluster(*replicas).items())
    random.shuffle(shuffled)
    straight = select_quorum(cluster(*replicas), master=MASTER, operation="write")
    again = select_quorum(dict(shuffled), master=MASTER, operation="write")
    assert repr(again) == repr(straight)


@given(nodes_drawn)
def test_weights_and_exclusions_name_every_replica_exactly_once(replicas: list[NodeMetrics]) -> None:
    selection = select_quorum(cluster(*replicas), master=MASTER, operation="write")
    assert sorted([*selection.weights, *selection.excluded]) == sorted(each.id for each in replicas)
    assert all(0 <= each <= 1 for each in selection.weights.values())


@given(nodes_drawn)
def test_a_proposal_is_satisfied_exactly_when_the_living_replicas_suffice(replicas: list[NodeMetrics]) -> None:
    selection = select_quorum(cluster(*replicas), master=MASTER, operation="write")
    living = [each for each in replicas if each.healthy]
    assert selection.satisfied == (len(living) >= math.ceil(Fraction(len(replicas) + 1, 2)))
    assert set(selection.quorum) <= {each.id for each in living}


def test_the_weight_is_the_readmes_formula() -> None:
    assert weight(latency_ms=0, lag_ms=0) == 1.0
    assert weight(latency_ms=1, lag_ms=2) == 0.25


@pytest.mark.parametrize(("replica_count", "size"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_a_write_quorum_with_the_master_is_more_than_half_of_all_nodes(replica_count: int, size: int) -> None:
    assert write_quorum_size(replica_count) == size
    assert 2 * (size + 1) > replica_count + 1


def test_two_of_three_replicas_are_chosen_by_weight_and_the_master_is_not_one_of_them() -> None:
    nodes = cluster(node("replica-1", 9, 0), node("replica-2", 1, 1), node("replica-3", 5, 100))
    selection = select_quorum(nodes, master=MASTER, operation="write")
    assert selection.quorum == ("replica-2", "replica-1")
    assert selection.weights == {"replica-2": 1 / 3, "replica-1": 1 / 10, "replica-3": 1 / 106}
    assert selection.reason == (
        "highest weight 1 / (latency_ms + lag_ms + 1), 2 of 3 replicas: replica-2 (0.3333), replica-1 (0.1)"
    )


def test_equal_weights_go_by_node_name() -> None:
    nodes = cluster(node("replica-3", 1, 2), node("replica-2", 2, 1), node("replica-1", 3, 0))
    assert select_quorum(nodes, master=MASTER, operation="write").quorum == ("replica-1", "replica-2")


def test_after_a_failover_the_old_master_is_a_replica_like_any_other() -> None:
    nodes = cluster(node("replica-1", 0, 0), node("replica-2", 5, 0), node("replica-3", 9, 0))
    selection = select_quorum(nodes, master="replica-1", operation="write")
    assert selection.quorum == (MASTER, "replica-2")


def test_a_dead_replica_is_left_out_with_the_collectors_cause() -> None:
    dead = node("replica-1", 0, 0, healthy=False, error="no answer within 500 ms")
    selection = select_quorum(cluster(dead, node("replica-2"), node("replica-3")), master=MASTER, operation="write")
    assert selection.quorum == ("replica-2", "replica-3")
    assert selection.excluded == {"replica-1": "unhealthy: no answer within 500 ms"}


def test_a_heavy_replica_alone_is_no_quorum() -> None:
    """C1: at 1, 9 and 9 ms the first holds more than half of all weight; one lost disk would lose the write."""
    nodes = cluster(node("replica-1", 1), node("replica-2", 9), node("replica-3", 9))
    selection = select_quorum(nodes, master=MASTER, operation="write")
    assert selection.weights["replica-1"] > sum(selection.weights.values()) / 2
    assert len(selection.quorum) == 2


def test_a_dead_replica_does_not_lower_the_size_of_the_quorum() -> None:
    nodes = cluster(
        node("replica-1"), node("replica-2", healthy=False, error="refused"), node("replica-3", healthy=False)
    )
    selection = select_quorum(nodes, master=MASTER, operation="write")
    assert selection.quorum_size == 2
    assert not selection.satisfied
    assert selection.reason == (
        "a write quorum needs 2 of 3 replicas and 1 can be chosen: replica-2 is unhealthy: refused; "
        "replica-3 is unhealthy: the metrics collector gives no cause"
    )


@pytest.mark.parametrize("figure", [None, math.nan, math.inf, -math.inf, -0.001])
@pytest.mark.parametrize("field", ["latency_ms", "lag_ms"])
def test_a_figure_that_cannot_be_measured_excludes_its_node_and_spoils_no_other(
    field: str, figure: float | None
) -> None:
    # model_copy does not validate: the rule must hold whatever the contract lets through
    broken = node("replica-1").model_copy(update={field: figure})
    selection = select_quorum(
        cluster(broken, node("replica-2", 3), node("replica-3", 2)), master=MASTER, operation="write"
    )
    assert selection.quorum == ("replica-3", "replica-2")
    assert selection.excluded["replica-1"].startswith(f"unmeasured: {field} is ")


def test_a_negative_lag_does_not_make_a_weight_infinite() -> None:
    nodes = cluster(node("replica-1", 0).model_copy(update={"lag_ms": -1.0}), node("replica-2"), node("replica-3"))
    assert "replica-1" not in select_quorum(nodes, master=MASTER, operation="write").weights


def test_figures_too_large_to_add_still_give_a_weight() -> None:
    nodes = cluster(node("replica-1", 1.7e308, 1.7e308), node("replica-2"), node("replica-3"))
    assert select_quorum(nodes, master=MASTER, operation="write").weights["replica-1"] == 0.0


def test_a_read_needs_the_one_best_replica() -> None:
    nodes = cluster(node("replica-1", 9), node("replica-2", 1), node("replica-3", healthy=False))
    assert select_quorum(nodes, master=MASTER, operation="read").quorum == ("replica-2",)


def test_a_larger_write_quorum_may_be_asked_for() -> None:
    nodes = cluster(*(node(name) for name in REPLICAS))
    assert select_quorum(nodes, master=MASTER, operation="write", quorum_size=3).quorum == REPLICAS


@pytest.mark.parametrize("size", [-1, 0, 1, 4])
def test_a_size_that_is_no_write_quorum_is_refused(size: int) -> None:
    nodes = cluster(*(node(name) for name in REPLICAS))
    with pytest.raises(QuorumRequestError, match="ask for 2 to 3"):
        select_quorum(nodes, master=MASTER, operation="write", quorum_size=size)


def test_a_master_without_replicas_gives_no_quorum() -> None:
    selection = select_quorum(cluster(), master=MASTER, operation="write")
    assert not selection.satisfied
    assert selection.reason.endswith("the cluster has no more replicas")
