"""The demo's count: what is held to be lost, double, foreign or late, and that each is said with an example."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_counting import Row, Tally, count

NODES = ("mysql-master", "replica-1", "replica-2", "replica-3")


def tally_of(*markers: str) -> Tally:
    """The n-th of them has timestamp n, was answered at second n and took half a second."""
    tally = Tally()
    for number, marker in enumerate(markers, 1):
        tally.acknowledge(marker, number, sent_at_s=number - 0.5, answered_at_s=float(number))
    return tally


def rows_of(tally: Tally) -> dict[str, list[Row]]:
    return {node: list(tally.acknowledged.items()) for node in NODES}


def test_rows_that_are_once_on_every_node_break_no_promise() -> None:
    tally = tally_of("a", "b", "c")
    result = count(tally, rows_of(tally))
    assert (result.acknowledged, result.lost, result.duplicates, list(result.broken)) == (3, 0, 0, [])
    assert result.found == dict.fromkeys(NODES, 3)


def test_a_row_that_one_node_lacks_is_lost() -> None:
    tally = tally_of("a", "b", "c")
    rows = rows_of(tally)
    rows["replica-2"].remove(("b", 2))
    result = count(tally, rows)
    assert (result.lost, result.found["replica-2"], result.found["replica-1"]) == (1, 2, 3)
    assert list(result.broken) == ["replica-2: 1 acknowledged writes that it lacks: b (timestamp 2)"]


def test_a_row_that_every_node_lacks_is_lost_once() -> None:
    tally = tally_of("a", "b")
    result = count(tally, {node: [("a", 1)] for node in NODES})
    assert result.lost == 1
    assert len(result.broken) == len(NODES)


def test_a_row_that_is_there_twice_and_one_that_nobody_wrote_are_said() -> None:
    tally = tally_of("a", "b")
    rows = rows_of(tally)
    rows["replica-1"] += [("a", 1), ("ghost", 9)]
    result = count(tally, rows)
    assert (result.lost, result.duplicates) == (0, 1)
    assert list(result.broken) == [
        "replica-1: 1 rows that it has twice: a (timestamp 1)",
        "replica-1: 1 rows that no client was told of: ghost",
    ]


def test_a_row_with_another_timestamp_than_its_client_was_told_is_said() -> None:
    tally = tally_of("a")
    result = count(tally, {"replica-3": [("a", 7)]})
    assert list(result.broken) == [
        "replica-3: 1 rows with another timestamp than their client was told: a (timestamp 1)"
    ]


def test_a_failed_request_is_a_broken_promise_and_its_row_may_be_there_only_if_its_fate_is_unknown() -> None:
    tally = tally_of("a")
    tally.fail("maybe", "no answer", is_unknown=True)
    tally.fail("no", "503, not committed", is_unknown=False)
    said = "2 requests failed: maybe: no answer; no: 503, not committed"
    assert list(count(tally, {"replica-1": [("a", 1), ("maybe", 2)]}).broken) == [said]
    broken = count(tally, {"replica-1": [("a", 1), ("no", 2)]}).broken
    assert list(broken) == ["replica-1: 1 rows that no client was told of: no", said]


def test_of_many_lost_rows_the_earliest_are_named() -> None:
    tally = tally_of(*"abcdef")
    broken = count(tally, {"replica-1": []}).broken
    named = "a (timestamp 1), b (timestamp 2), c (timestamp 3) …"
    assert list(broken) == [f"replica-1: 6 acknowledged writes that it lacks: {named}"]


# --- over time


@pytest.mark.parametrize(
    ("from_s", "to_s", "pause_s"),
    [
        (1.0, 3.0, 1.0),
        (1.5, 1.7, 0.7),  # the pause that began at 1 lasts
        (3.5, 20.0, 12.0),
        (17.0, 20.0, 5.0),  # the last acknowledgement was at 15
    ],
)
def test_the_longest_pause_reaches_into_the_stretch_of_time(from_s: float, to_s: float, pause_s: float) -> None:
    tally = Tally(answered_at_s=[1.0, 2.0, 3.0, 15.0])
    assert tally.longest_pause_s(from_s, to_s) == pytest.approx(pause_s)


def test_without_any_acknowledgement_all_of_it_is_a_pause() -> None:
    assert Tally().longest_pause_s(2.0, 5.0) == 3.0


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_the_longest_pause_is_that_of_a_plain_search(times: list[float], one: float, other: float) -> None:
    from_s, to_s = sorted((one, other))
    tally = Tally(answered_at_s=sorted(times))
    before = [time for time in sorted(times) if time < from_s]
    within = [time for time in sorted(times) if from_s <= time <= to_s]
    edges = [before[-1] if before else (within[0] if within else from_s), *within, to_s]
    assert tally.longest_pause_s(from_s, to_s) == max(later - earlier for earlier, later in pairwise(edges))


@given(st.lists(st.floats(0, 30), max_size=50), st.integers(1, 20))
def test_slots_count_every_acknowledgement_of_their_time_once(times: list[float], slots: int) -> None:
    tally = Tally(answered_at_s=sorted(times))
    counts = tally.slots(31.0, slots, 1.0)
    assert len(counts) == slots
    assert sum(counts) == sum(time >= 31.0 - slots for time in times)


def test_the_rate_is_of_the_newest_and_the_median_too() -> None:
    tally = Tally(answered_at_s=[1.0, 8.5, 9.0, 9.5], took_s=[9.0, 0.003, 0.001, 0.002])
    assert tally.rate(10.0, 2.0) == 1.5
    assert tally.p50_ms(newest=3) == 2.0
    assert Tally().p50_ms() == 0.0


def test_a_median_does_not_depend_on_the_order() -> None:
    times = [number / 1e3 for number in range(1, 100)]
    random.Random(1).shuffle(times)
    assert Tally(took_s=times).p50_ms() == pytest.approx(50.0)
