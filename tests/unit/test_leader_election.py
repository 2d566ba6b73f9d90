"""SEER's rule against the README's formula, a brute force, and what a score must not decide (papers: S1)."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leader_election import UnknownCandidateError, rank_candidates, score
from metrics_contract import NodeMetrics
from stand_in_collector import by_name, node

# few distinct figures, so that equal totals are common
figures = st.sampled_from([0.0, 1.0, 4.0, 20.0]) | st.floats(0, 1e9)
nodes_drawn = st.lists(
    st.tuples(
        st.sampled_from([f"replica-{k}" for k in range(1, 8)]),
        figures,
        figures,
        figures,
        st.integers(0, 3) | st.integers(0, 10**9),
        st.booleans(),
    ),
    unique_by=lambda drawn: drawn[0],
    max_size=7,
).map(
    lambda drawn: by_name(
        *(node(name, latency, lag, uptime, crashes, healthy=up) for name, latency, lag, uptime, crashes, up in drawn)
    )
)


def unbeaten_by_brute_force(nodes: dict[str, NodeMetrics]) -> list[str]:
    """The leader is the living node that no other beats: more points, or as many and the smaller name."""

    def points(each: NodeMetrics) -> float:
        assert each.latency_ms is not None
        assert each.lag_ms is not None
        assert each.uptime_s is not None
        stability = each.uptime_s / (each.uptime_s + each.crash_count * 100 + 1)
        return 0.4 * (1 / (each.latency_ms + 1)) + 0.4 * stability + 0.2 * (1 / (each.lag_ms + 1))

    def beats(one: NodeMetrics, other: NodeMetrics) -> bool:
        return points(one) > points(other) or (points(one) == points(other) and one.id < other.id)

    living = [each for each in nodes.values() if each.healthy]
    return [each.id for each in living if not any(beats(other, each) for other in living)]


@given(nodes_drawn)
def test_the_leader_is_the_one_candidate_that_no_other_beats(nodes: dict[str, NodeMetrics]) -> None:
    leader = rank_candidates(nodes, nodes).leader
    assert unbeaten_by_brute_force(nodes) == ([] if leader is None else [leader])


@given(nodes_drawn, st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_are_listed_changes_nothing(
    nodes: dict[str, NodeMetrics], random: Random
) -> None:
    shuffled = list(nodes.items())
    random.shuffle(shuffled)
    names = list(nodes)
    random.shuffle(names)
    assert repr(rank_candidates(dict(shuffled), names)) == repr(rank_candidates(nodes, nodes))


@given(nodes_drawn)
def test_ranking_and_exclusions_name_every_candidate_exactly_once(nodes: dict[str, NodeMetrics]) -> None:
    ranked = rank_candidates(nodes, nodes)
    assert sorted([*ranked.ranking, *ranked.excluded]) == sorted(nodes)
    assert tuple(ranked.scores) == ranked.ranking


@given(nodes_drawn)
def test_every_total_lies_within_0_to_1_and_never_rises_along_the_ranking(nodes: dict[str, NodeMetrics]) -> None:
    ranked = rank_candidates(nodes, nodes)
    totals = [ranked.scores[name].total for name in ranked.ranking]
    assert totals == sorted(totals, reverse=True)
    assert all(0 <= total <= 1 for total in totals)


@given(nodes_drawn)
def test_without_its_leader_the_ranking_keeps_its_order(nodes: dict[str, NodeMetrics]) -> None:
    """So the coordinator may take the next of the ranking when bringing up the first fails."""
    ranked = rank_candidates(nodes, nodes)
    assert rank_candidates(nodes, [name for name in nodes if name != ranked.leader]).ranking == ranked.ranking[1:]


def test_the_scores_are_the_readmes_formulas() -> None:
    scores = score(latency_ms=3, uptime_s=99, crash_count=1, lag_ms=1)
    assert (scores.latency_score, scores.stability_score, scores.lag_score) == (0.25, 99 / 200, 0.5)
    assert scores.total == pytest.approx(0.4 * 0.25 + 0.4 * 99 / 200 + 0.2 * 0.5)


def test_the_score_alone_would_elect_a_node_that_lacks_acknowledged_writes() -> None:
    """S1, with its numbers: why completeness is a filter before the ranking and can never be a term of it."""
    complete = node("replica-1", latency_ms=20, uptime_s=600, crash_count=1, lag_ms=0, log_end_timestamp=105)
    behind = node("replica-3", latency_ms=1, uptime_s=3600, crash_count=0, lag_ms=5, log_end_timestamp=100)
    nodes = by_name(complete, behind)
    ranked = rank_candidates(nodes, nodes)
    assert ranked.scores["replica-1"].total == pytest.approx(0.561, abs=5e-4)
    assert ranked.scores["replica-3"].total == pytest.approx(0.633, abs=5e-4)
    assert ranked.leader == "replica-3"

    committed_timestamp = 105
    eligible = [name for name, each in nodes.items() if (each.log_end_timestamp or 0) >= committed_timestamp]
    assert rank_candidates(nodes, eligible).leader == "replica-1"


def test_no_lag_is_large_enough_for_its_share_to_keep_a_fast_node_from_winning() -> None:
    """S1's second half: a million behind at 0 ms totals 0.80, a complete node at 5 ms 0.667."""
    years_s = 1e9
    behind = score(latency_ms=0, uptime_s=years_s, crash_count=0, lag_ms=1e6).total
    complete = score(latency_ms=5, uptime_s=years_s, crash_count=0, lag_ms=0).total
    assert behind == pytest.approx(0.80, abs=5e-4)
    assert complete == pytest.approx(0.667, abs=5e-4)


def test_equal_totals_go_by_node_name() -> None:
    nodes = by_name(node("replica-3"), node("replica-2"), node("mysql-master"))
    assert rank_candidates(nodes, nodes).ranking == ("mysql-master", "replica-2", "replica-3")


def test_a_crash_costs_as_much_as_a_hundred_seconds_of_uptime() -> None:
    crashed = score(latency_ms=1, uptime_s=1000, crash_count=1, lag_ms=0)
    assert crashed.stability_score == 1000 / 1101


def test_a_dead_candidate_is_left_out_with_the_collectors_cause() -> None:
    nodes = by_name(node("replica-1", 0, healthy=False, error="no answer within 500 ms"), node("replica-2", 50))
    ranked = rank_candidates(nodes, nodes)
    assert ranked.leader == "replica-2"
    assert ranked.excluded == {"replica-1": "unhealthy: no answer within 500 ms"}


@pytest.mark.parametrize("figure", [None, math.nan, math.inf, -math.inf, -1, 10**400])
@pytest.mark.parametrize("field", ["latency_ms", "lag_ms", "uptime_s", "crash_count"])
def test_a_figure_that_cannot_be_measured_excludes_its_candidate_and_spoils_no_other(
    field: str, figure: float | None
) -> None:
    # model_copy does not validate: the rule must hold whatever the contract lets through
    nodes = by_name(node("replica-1", 0).model_copy(update={field: figure}), node("replica-2", 9), node("replica-3", 8))
    ranked = rank_candidates(nodes, nodes)
    assert ranked.ranking == ("replica-3", "replica-2")
    assert ranked.excluded["replica-1"].startswith(f"unmeasured: {field} is ")


def test_a_node_that_has_just_started_has_no_stability_yet_and_can_still_be_ranked() -> None:
    nodes = by_name(node("replica-1", 0, 0, uptime_s=0))
    assert rank_candidates(nodes, nodes).scores["replica-1"].stability_score == 0


def test_only_the_candidates_offered_are_ranked() -> None:
    nodes = by_name(node("replica-1", 0), node("replica-2", 5), node("replica-3", 9))
    ranked = rank_candidates(nodes, ["replica-3", "replica-2", "replica-3"])
    assert ranked.ranking == ("replica-2", "replica-3")


def test_a_candidate_that_is_no_node_is_refused_with_the_names_that_are() -> None:
    nodes = by_name(node("replica-1"), node("replica-2"))
    with pytest.raises(
        UnknownCandidateError, match="replica-9: not a node of this cluster; known: replica-1, replica-2"
    ):
        rank_candidates(nodes, ["replica-9", "replica-1"])


def test_without_a_living_candidate_there_is_no_leader() -> None:
    nodes = by_name(node("replica-1", healthy=False, error="refused"))
    ranked = rank_candidates(nodes, nodes)
    assert ranked.leader is None
    assert ranked.reason == "no candidate can be ranked: replica-1 is unhealthy: refused"
