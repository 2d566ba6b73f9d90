"""Latency window, lag and master view against brute force."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_metrics import ClusterTracker, LatencyWindow, MasterView, NodeReading, ProgressHistory

MS = 1_000_000
NODES = ("mysql-master", "replica-1", "replica-2")


def reading(**changes: Any) -> NodeReading:
    values: dict[str, Any] = {
        "epoch": 1,
        "master": "mysql-master",
        "committed_timestamp": 0,
        "applied_timestamp": 0,
        "applied_entries": 0,
        "committed_entries": 0,
        "log_end_timestamp": 0,
        "latency_ns": MS,
        "uptime_s": 60.0,
    }
    return NodeReading(**(values | changes))


def new_tracker(answer_age_ms_max: int = 1_000) -> ClusterTracker:
    return ClusterTracker(NODES, window_sample_count=10, smoothing=0.5, answer_age_ms_max=answer_age_ms_max)


def lag_ms(tracker: ClusterTracker, node_id: str, now_ns: int = 0) -> float | None:
    return tracker.node(node_id, 0, now_ns).lag_ms


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=350), st.integers(1, 300))
def test_min_and_p99_are_those_of_the_last_samples_sorted_by_hand(samples: list[int], size: int) -> None:
    window = LatencyWindow(sample_count_max=size, smoothing=0.2)
    for sample in samples:
        window.add(sample)
    kept = samples[-size:]
    not_exceeded = [s for s in kept if sum(other <= s for other in kept) >= 0.99 * len(kept)]
    assert window.p99_ms == min(not_exceeded) / MS
    assert window.min_ms == min(kept) / MS


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50), st.floats(0.01, 1))
def test_the_smoothed_latency_is_the_weighted_sum_of_all_medians_of_three(samples: list[int], smoothing: float) -> None:
    window = LatencyWindow(sample_count_max=5, smoothing=smoothing)
    for sample in samples:
        window.add(sample)
    # of two the smaller one
    middles = [sorted(samples[max(0, i - 2) : i + 1])[min(i, 1) if i >= 2 else 0] for i in range(len(samples))]
    expected = middles[0] * (1 - smoothing) ** (len(middles) - 1)
    expected += sum(
        middle * smoothing * (1 - smoothing) ** (len(middles) - 1 - i) for i, middle in enumerate(middles) if i > 0
    )
    assert window.smoothed_ms is not None
    assert math.isclose(window.smoothed_ms, expected / MS, rel_tol=1e-6, abs_tol=1e-9)


def test_one_answer_that_was_held_up_changes_nothing_and_a_change_that_lasts_shows() -> None:
    window = LatencyWindow(sample_count_max=300, smoothing=0.2)
    for sample in (1 * MS, 1 * MS, 300 * MS, 1 * MS, 1 * MS):
        window.add(sample)
        assert window.smoothed_ms == 1
    shown = []
    for _ in range(5):
        window.add(21 * MS)
        assert window.smoothed_ms is not None
        shown.append(round(window.smoothed_ms, 2))
    assert shown == [1, 5, 8.2, 10.76, 12.81]


def test_a_window_without_samples_says_nothing() -> None:
    window = LatencyWindow(sample_count_max=5, smoothing=0.2)
    assert (window.smoothed_ms, window.min_ms, window.p99_ms) == (None, None, None)


def brute_force_behind_ns(seen: list[tuple[int, int]], applied: int, now_ns: int) -> int:
    """Look through everything ever seen for the first moment at which it was beyond `applied`."""
    return next((now_ns - when for timestamp, when in seen if timestamp > applied), 0)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 50)), max_size=60), st.integers(0, 70))
def test_lag_is_the_time_since_anyone_was_first_seen_beyond_the_node(
    sightings: list[tuple[int, int]], applied: int
) -> None:
    history, seen, now_ns = ProgressHistory(), [], 0
    for timestamp, pause_ns in sightings:
        now_ns += pause_ns
        history.seen(timestamp, now_ns)
        seen.append((timestamp, now_ns))
    assert history.behind_ns(applied, now_ns) == brute_force_behind_ns(seen, applied, now_ns)


def test_a_history_of_hours_stays_small_and_any_lag_right_to_2_percent_and_never_above_the_truth() -> None:
    history, count, step_ns = ProgressHistory(), 100_000, 50 * MS
    for step in range(1, count + 1):
        history.seen(step, step * step_ns)
        assert len(history) <= ProgressHistory.STEP_COUNT_BEFORE_THINNING
    now_ns = count * step_ns
    for applied in range(0, count, 97):
        truth_ns = now_ns - (applied + 1) * step_ns
        assert 0.98 * truth_ns <= history.behind_ns(applied, now_ns) <= truth_ns
    assert history.behind_ns(0, now_ns) == now_ns - step_ns
    assert history.behind_ns(count - 1, now_ns) == 0
    assert history.behind_ns(count, now_ns) == 0


def test_lag_grows_while_a_node_stands_still_and_is_zero_when_it_is_level() -> None:
    tracker = new_tracker()
    tracker.answered("mysql-master", reading(applied_timestamp=10), 100 * MS)
    for now_ms, expected in ((110, 10), (310, 210), (510, 410)):
        tracker.answered("replica-1", reading(applied_timestamp=8), now_ms * MS)
        assert lag_ms(tracker, "replica-1") == expected
    tracker.answered("replica-1", reading(applied_timestamp=10), 710 * MS)
    assert lag_ms(tracker, "replica-1") == 0
    assert lag_ms(tracker, "mysql-master") == 0


def test_a_replica_that_is_always_one_batch_behind_has_a_small_lag_for_ever() -> None:
    tracker = new_tracker()
    for tick in range(1, 500):
        tracker.answered("mysql-master", reading(applied_timestamp=10 * tick), tick * 200 * MS)
        tracker.answered("replica-1", reading(applied_timestamp=10 * tick - 1), (tick * 200 + 3) * MS)
        assert lag_ms(tracker, "replica-1") == 3


def test_a_replica_asked_before_the_master_is_not_blamed_for_what_came_after_its_answer() -> None:
    tracker = new_tracker()
    tracker.answered("replica-1", reading(applied_timestamp=10), 0)
    tracker.answered("mysql-master", reading(applied_timestamp=90), 1 * MS)
    assert lag_ms(tracker, "replica-1", now_ns=199 * MS) == 0


def test_a_commit_point_that_a_node_has_not_applied_itself_is_lag_too() -> None:
    tracker = new_tracker()
    tracker.answered("replica-1", reading(applied_timestamp=5, committed_timestamp=9), 0)
    tracker.answered("replica-1", reading(applied_timestamp=5, committed_timestamp=9), 40 * MS)
    assert lag_ms(tracker, "replica-1") == 40


def test_the_lag_of_a_node_that_stopped_answering_grows_from_what_it_last_told() -> None:
    tracker = new_tracker()
    tracker.answered("replica-1", reading(applied_timestamp=10), 0)
    tracker.failed("replica-1", "no answer within 500 ms", 200 * MS)
    assert lag_ms(tracker, "replica-1") == 0
    tracker.answered("mysql-master", reading(applied_timestamp=20), 300 * MS)
    tracker.failed("replica-1", "no answer within 500 ms", 800 * MS)
    assert lag_ms(tracker, "replica-1") == 500


READINGS = st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40)


@given(READINGS)
def test_lag_entries_is_the_most_that_anyone_committed_minus_what_the_node_applied(
    answers: list[tuple[str, int, int]],
) -> None:
    tracker = new_tracker()
    for position, (node_id, applied, committed) in enumerate(answers):
        tracker.answered(node_id, reading(applied_entries=applied, committed_entries=committed), position)
        most = max(max(a, c) for _, a, c in answers[: position + 1])
        assert tracker.node(node_id, 0, position).lag_entries == most - applied


@given(READINGS)
def test_no_lag_is_ever_negative_in_any_order_of_answers_and_failures(answers: list[tuple[str, int, int]]) -> None:
    tracker = new_tracker()
    for position, (node_id, applied, committed) in enumerate(answers):
        now_ns = position * MS
        if committed % 3 == 0:
            tracker.failed(node_id, "connection refused", now_ns)
        else:
            values = {"applied_timestamp": applied, "committed_timestamp": committed}
            tracker.answered(node_id, reading(**values, applied_entries=applied, committed_entries=committed), now_ns)
        for name in NODES:
            metrics = tracker.node(name, 0, now_ns)
            assert (metrics.lag_ms or 0) >= 0
            assert (metrics.lag_entries or 0) >= 0


def test_a_node_that_fails_keeps_its_figures_and_loses_its_health() -> None:
    tracker = new_tracker()
    tracker.answered("replica-1", reading(latency_ns=3 * MS, uptime_s=7.0), 0)
    tracker.failed("replica-1", "connection refused", 50 * MS)
    metrics = tracker.node("replica-1", 2, 100 * MS)
    assert (metrics.healthy, metrics.error) == (False, "connection refused")
    assert (metrics.latency_ms, metrics.uptime_s, metrics.crash_count) == (3.0, 7.0, 2)
    assert metrics.last_probe_age_ms == 100
    tracker.answered("replica-1", reading(latency_ns=3 * MS), 150 * MS)
    assert tracker.node("replica-1", 2, 150 * MS).healthy


def test_a_node_that_never_answered_has_no_figures() -> None:
    metrics = new_tracker().node("replica-1", 0, 5 * MS)
    assert not metrics.healthy
    assert metrics.error == "not probed yet"
    assert metrics.latency_ms is metrics.lag_ms is metrics.lag_entries is metrics.last_probe_age_ms is None


def test_an_old_answer_is_not_health() -> None:
    tracker = new_tracker(answer_age_ms_max=1_000)
    tracker.answered("replica-1", reading(), 0)
    assert tracker.node("replica-1", 0, 1_000 * MS).healthy
    late = tracker.node("replica-1", 0, 1_001 * MS)
    assert (late.healthy, late.error) == (False, "no probe has ended for 1001 ms")


def test_the_master_is_the_one_that_the_highest_epoch_names_even_if_its_teller_is_down() -> None:
    tracker = new_tracker()
    assert tracker.master_view() == MasterView(None, 0)
    tracker.answered("mysql-master", reading(epoch=3, master="mysql-master"), 0)
    tracker.answered("replica-1", reading(epoch=4, master="replica-1"), 0)
    tracker.failed("replica-1", "connection refused", MS)
    tracker.answered("mysql-master", reading(epoch=3, master="mysql-master"), 2 * MS)
    assert tracker.master_view() == MasterView("replica-1", 4)
    assert [tracker.node(name, 0, 2 * MS).is_master for name in NODES] == [False, True, False]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_within_an_epoch_the_named_master_with_the_later_commit_wins_in_any_order(order: tuple[int, ...]) -> None:
    tracker = new_tracker()
    told = [
        reading(epoch=4, master="", committed_timestamp=99),
        reading(epoch=4, master="replica-1", committed_timestamp=7),
        reading(epoch=4, master="mysql-master", committed_timestamp=5),
    ]
    for index in order:
        tracker.answered(NODES[index], told[index], 0)
    assert tracker.master_view() == MasterView("replica-1", 4)


def test_before_the_first_election_nobody_is_master() -> None:
    tracker = new_tracker()
    tracker.answered("replica-1", reading(epoch=0, master=""), 0)
    assert tracker.master_view() == MasterView(None, 0)


def test_an_unknown_node_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        new_tracker().node("replica-9", 0, 0)
