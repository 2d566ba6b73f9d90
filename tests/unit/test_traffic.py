"""What is counted at the door and at the nodes."""

import pytest
from traffic import SECONDS, Histogram, Traffic, quantile


def test_a_value_is_counted_up_to_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 7):
        histogram.observe(value)
    assert (histogram.counts, histogram.total) == ([2, 1, 1, 1], 15.0)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.5),
        ([2, 2, 0, 0], 0.5, 1.0),
        ([0, 4, 0, 0], 0.75, 1.75),
        ([0, 0, 10, 0], 1.0, 5.0),
        ([1, 0, 0, 99], 0.99, 5.0),
    ],
)
def test_a_quantile_lies_between_the_bounds_that_it_was_counted_in(
    counts: list[int], share: float, expected: float | None
) -> None:
    assert quantile((1, 2, 5), counts, share) == expected


def test_requests_are_counted_by_kind_and_outcome_and_timed_by_kind() -> None:
    traffic = Traffic()
    traffic.ended("write", "ok", 3_000_000)
    traffic.ended("write", "unavailable", 2_000_000_000)
    traffic.ended("read", "ok", 1_000_000)
    traffic.refused(1235)
    traffic.refused(None)
    assert traffic.requests == {("write", "ok"): 1, ("write", "unavailable"): 1, ("read", "ok"): 1}
    assert traffic.errnos == {1235: 1}
    assert traffic.seconds["write"].total == pytest.approx(2.003)
    assert traffic.seconds["read"].counts[SECONDS.index(0.001)] == 1


def test_each_replicas_stores_are_timed() -> None:
    traffic = Traffic()
    for replica, nanoseconds in (("replica-1", 500_000), ("replica-1", 40_000_000_000), ("replica-2", 1)):
        traffic.stored(replica, nanoseconds)
    assert (traffic.store_seconds["replica-1"].counts[-1], sum(traffic.store_seconds["replica-1"].counts)) == (1, 2)
    assert sum(traffic.store_seconds["replica-2"].counts) == 1
