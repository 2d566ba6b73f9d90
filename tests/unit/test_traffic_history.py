"""The last five minutes, out of counters that only grow."""

import pytest
from traffic import Traffic
from traffic_history import SECONDS_MAX, TrafficHistory

SECOND_NS = 1_000_000_000
BEGAN_NS = 5_000 * SECOND_NS


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def history(traffic: Traffic) -> TrafficHistory:
    traffic.ended("write", "ok", 7_000_000)  # before anybody counted
    history = TrafficHistory(traffic)
    history.sample(BEGAN_NS, {})
    return history


def test_the_first_sample_only_begins(history: TrafficHistory) -> None:
    assert (history.newest, history.after(0)) == (0, [])


def test_a_second_is_what_happened_in_it(traffic: Traffic, history: TrafficHistory) -> None:
    for kind, outcome in (
        *[("write", "ok")] * 3,
        *[("batch", "ok"), ("schema change", "ok"), ("explain", "ok")],
        *[("read", "ok")] * 2,
        *[("write", "unavailable"), ("read", "timed_out"), ("unknown", "overloaded")],
        *[("write", "constraint"), ("unknown", "unauthenticated")],
        ("read", "client_gone"),
    ):
        traffic.ended(kind, outcome, 2_000_000)
    history.sample(BEGAN_NS + SECOND_NS, {"replica-1": 0.5})
    (second,) = history.after(0)
    assert (second.number, second.writes, second.reads, second.failed, second.refused) == (1, 5.0, 2.0, 3.0, 2.0)
    assert second.weights == {"replica-1": 0.5}


def test_latencies_are_those_of_the_second_and_not_of_all_that_was_before(
    traffic: Traffic, history: TrafficHistory
) -> None:
    for _ in range(100):
        traffic.ended("write", "ok", 400_000_000)
    history.sample(BEGAN_NS + SECOND_NS, {})
    for _ in range(99):
        traffic.ended("write", "ok", 1_500_000)
    traffic.ended("write", "ok", 150_000_000)
    traffic.ended("read", "ok", 700_000)
    history.sample(BEGAN_NS + 2 * SECOND_NS, {})
    slow, fast = history.after(0)
    assert slow.write_ms_p50 == 400.0
    assert slow.read_ms_p50 is None
    assert fast.write_ms_p50 is not None
    assert 1.0 < fast.write_ms_p50 < 2.0
    assert fast.write_ms_p99 == 2.0
    assert fast.read_ms_p50 == 0.75


def test_a_second_without_requests_has_rates_of_zero_and_no_latency(history: TrafficHistory) -> None:
    history.sample(BEGAN_NS + SECOND_NS, {})
    (second,) = history.after(0)
    assert (second.writes, second.reads, second.failed, second.refused) == (0, 0, 0, 0)
    assert (second.write_ms_p50, second.write_ms_p99, second.read_ms_p50, second.read_ms_p99) == (None,) * 4


def test_a_process_that_was_frozen_has_a_hole_and_a_rate_over_all_of_the_time(
    traffic: Traffic, history: TrafficHistory
) -> None:
    history.sample(BEGAN_NS + SECOND_NS, {})
    for _ in range(80):
        traffic.ended("write", "ok", 1_000_000)
    history.sample(BEGAN_NS + 9 * SECOND_NS, {})
    assert [(second.number, second.writes) for second in history.after(0)] == [(1, 0.0), (9, 10.0)]


def test_samples_that_are_early_or_late_by_a_little_leave_no_hole(history: TrafficHistory) -> None:
    for number in range(1, 50):
        late_ns = 1_000_000 * (7 * number % 40)
        history.sample(BEGAN_NS + number * SECOND_NS + late_ns, {})
    assert [second.number for second in history.after(0)] == list(range(1, 50))


def test_a_sample_right_after_one_that_was_late_is_left_out_and_its_requests_are_the_next_ones(
    traffic: Traffic, history: TrafficHistory
) -> None:
    """They were divided by 30 ms: a peak that never was."""
    history.sample(BEGAN_NS + 1_970_000_000, {})
    for _ in range(50):
        traffic.ended("write", "ok", 1_000_000)
    history.sample(BEGAN_NS + 2 * SECOND_NS, {})
    history.sample(BEGAN_NS + 3 * SECOND_NS, {})
    assert [(second.number, second.writes) for second in history.after(0)] == [(2, 0.0), (3, 48.5)]


def test_five_minutes_are_kept_and_whoever_has_had_some_gets_the_rest(history: TrafficHistory) -> None:
    for number in range(1, SECONDS_MAX + 11):
        history.sample(BEGAN_NS + number * SECOND_NS, {})
    kept = [second.number for second in history.after(0)]
    assert kept == list(range(11, SECONDS_MAX + 11))
    assert history.after(kept[-3]) == history.after(0)[-2:]
    assert history.after(kept[-1]) == []
