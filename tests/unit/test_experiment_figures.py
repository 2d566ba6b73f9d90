"""What the experiments compute from what they saw: stretches of writes, numbers of timestamp servers, tables and files."""

import math
from pathlib import Path
from typing import Any

import cabinet_experiment as cabinet
import msgspec
import pytest
import seer_experiment as seer
import timestamps_experiment as timestamps
from experiment_cluster import REPLICAS
from experiment_run import Experiment, Result, in_turn, markdown_table, spread_text
from granted_numbers import Numbers, numbers_of, out_of_order_share
from hypothesis import given
from hypothesis import strategies as st
from steady_writes import SteadyWrites
from write_figures import Stretch, Write, percentile, rates, stretch

MS = 1_000_000
FIGURES = Path(__file__).parent.parent / "experiments" / "figures"


def writes_at(*answered_ms: float, took_ms: float = 2.0) -> list[Write]:
    return [Write(int(each * MS), int(took_ms * MS), number) for number, each in enumerate(answered_ms, 1)]


# --- stretches


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], hundredths: int) -> None:
    enough = math.ceil(hundredths * len(values) / 100)
    expected = min(value for value in values if sum(other <= value for other in values) >= enough)
    assert percentile(values, hundredths / 100) == expected


def test_a_stretch_counts_what_was_answered_from_its_beginning_on_and_before_its_end() -> None:
    seen = writes_at(0, 10, 15, 20) + writes_at(12, took_ms=30.0)
    assert stretch(seen, 10 * MS, 20 * MS) == Stretch(3, 300.0, 2.0, 30.0, 5.0)


def test_a_stretch_without_an_acknowledgement_is_one_pause_and_has_no_latency() -> None:
    assert stretch(writes_at(1, 100), 10 * MS, 60 * MS) == Stretch(0, 0.0, None, None, 50.0)


def test_the_ends_of_a_stretch_bound_a_pause_too() -> None:
    assert stretch(writes_at(11, 12), 10 * MS, 60 * MS).longest_pause_ms == 48.0


@given(st.lists(st.integers(0, 99)), st.integers(1, 99))
def test_each_write_is_in_one_of_two_neighbouring_stretches(times: list[int], border: int) -> None:
    seen = writes_at(*times)
    parts = [stretch(seen, begin * MS, end * MS).writes for begin, end in ((0, border), (border, 100))]
    assert sum(parts) == len(times)


def test_rates_are_a_second_and_leave_out_what_does_not_fill_its_width() -> None:
    assert rates(writes_at(0, 4, 5, 14, 15), 0, 15 * MS, 5 * MS) == [400.0, 200.0, 200.0]
    assert rates(writes_at(1, 11), 0, 14 * MS, 5 * MS) == [200.0, 0.0]


# --- numbers


def test_numbers_of_two_servers_that_take_turns() -> None:
    # odd ones of one request, even ones of the next, odd ones again, and a restart in between
    assert numbers_of([1, 3, 5, 6, 8, 10, 11, 10_001]) == Numbers(5 / 8, 2, 8 / 10_001, 9_989)


def test_one_server_alone_leaves_every_other_number_out() -> None:
    found = numbers_of(range(1, 2_000, 2))
    assert (found.odd_share, found.turns, found.gap_most) == (1.0, 0, 1)
    assert found.used_share == pytest.approx(0.5, abs=0.001)


def test_no_numbers_have_no_share() -> None:
    assert numbers_of([]) == Numbers(0.0, 0, 0.0, 0)


@given(st.lists(st.integers(1, 100), min_size=2, unique=True))
def test_a_number_below_any_that_was_granted_before_is_out_of_order(granted: list[int]) -> None:
    below = sum(any(earlier > number for earlier in granted[:place]) for place, number in enumerate(granted))
    assert out_of_order_share(granted) == below / (len(granted) - 1)
    assert out_of_order_share(sorted(granted)) == 0


# --- what is tried in which order


def test_every_replica_is_at_every_distance_once() -> None:
    for offset in range(3):
        phases = cabinet.delays_by_phase(offset)
        assert all(sorted(phase.values()) == sorted(cabinet.DELAYS_MS) for phase in phases)
        for replica in REPLICAS:
            assert sorted(phase[replica] for phase in phases) == sorted(cabinet.DELAYS_MS)


def test_over_three_rounds_every_candidate_has_every_fault() -> None:
    rounds = [seer.faults_in(number) for number in range(3)]
    for name in REPLICAS:
        assert sorted(faults[name] for faults in rounds) == sorted(seer.FAULTS)
    assert all(seer.with_fault(faults, seer.SLOW) in faults for faults in rounds)


def test_each_round_begins_with_another_choice() -> None:
    assert [in_turn("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_trace_has_the_greatest_number_of_each_server_at_each_moment() -> None:
    writes = SteadyWrites(0, 0)
    writes.acknowledged += [Write(50 * MS, 1, 7), Write(20 * MS, 1, 4), Write(150 * MS, 1, 9), Write(260 * MS, 1, 12)]
    found = timestamps.trace_of(writes, 0)
    assert [(point.ms, point.odd, point.even) for point in found] == [(0, 0, 0), (100, 7, 4), (200, 9, 4)]


# --- tables and files


def test_a_spread_names_the_median_the_least_and_the_most_of_what_there_is() -> None:
    assert spread_text([3.0, 1_000.0, 2.0]) == "3 (2 to 1,000)"
    assert spread_text([1.25, None], 1) == "1.2 (1.2 to 1.2)"
    assert spread_text([None]) == ""


def test_a_table_is_markdown() -> None:
    assert markdown_table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    "experiment", [cabinet.CABINET, seer.SEER_CHOICE, timestamps.TIMESTAMPS], ids=lambda each: each.name
)
def test_what_is_kept_of_an_experiment_is_what_its_table_and_picture_are_made_of(
    experiment: Experiment[Any, Any],
) -> None:
    stored = (FIGURES / f"{experiment.name}.json").read_bytes()
    result = msgspec.json.decode(stored, type=Result)
    found = msgspec.convert(result.found, experiment.found)
    assert msgspec.json.decode(msgspec.json.encode(found)) == result.found
    assert result.plan["rounds"] >= 3
    readme = (FIGURES.parent / "README.md").read_text()
    assert experiment.table(found) in readme, "the README shows another run than the one that is kept"
    assert 0 < (FIGURES / f"{experiment.name}.png").stat().st_size < 100_000
