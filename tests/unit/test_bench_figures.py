"""What `make bench` makes of what it sees: load generators' outputs, costs of processes, medians, ratios, goals.

`wrk_output.txt` and `sysbench_output.txt` are what the programs printed in a run against a cluster and a server of this project.
"""

import dataclasses
from pathlib import Path

import pytest
from bench_goals import GROUP, PROJECT, goals, ratio, slow_ratios
from bench_report import markdown
from hypothesis import given
from hypothesis import strategies as st
from load_generators import LoadFailed, corrected_histogram, parse_histogram, parse_sysbench, parse_wrk, percentile
from process_costs import ProcessCost, costs_between, parse_cpu_ticks, parse_written_bytes
from results import HEALTHY, FailoverTime, GrowthStretch, IdleUse, Measurement, Results, load, save, summaries

HERE = Path(__file__).parent
WRK = (HERE / "wrk_output.txt").read_text()
SYSBENCH = (HERE / "sysbench_output.txt").read_text()
PLAIN = Measurement(
    system=PROJECT,
    work="insert",
    clients=64,
    round=0,
    condition=HEALTHY,
    operations=1000,
    errors=0,
    per_second=1000.0,
    p50_ms=2.0,
    p99_ms=9.0,
    cpu_ms={"coordinator": 0.2, "servers": 0.5},
    generator_cpu_ms=0.1,
    written_bytes=2048.0,
)


def test_what_wrk_printed_is_read() -> None:
    found = parse_wrk(WRK, cpu_s=0.5)
    assert (found.operations, found.errors, found.cpu_s) == (2094, 0, 0.5)
    assert found.per_second == pytest.approx(1043.39, abs=0.01)
    assert (found.p50_ms, found.p99_ms) == (6.581, 44.968)


def test_answers_other_than_200_are_no_acknowledged_operations() -> None:
    text = 'RESULT {"requests": 10, "duration_us": 2000000, "p50_us": 1500, "p99_us": 9000, "not_200": 4, "lost": 1, "late": 2}'
    found = parse_wrk(text)
    assert (found.operations, found.errors, found.per_second) == (6, 7, 3.0)
    assert (found.p50_ms, found.p99_ms) == (1.5, 9.0)


@pytest.mark.parametrize(
    "text",
    [
        "unable to connect to 127.0.0.1:1 Connection refused",
        'RESULT {"requests": 3, "duration_us": 9, "p50_us": 1, "p99_us": 2, "not_200": 3, "lost": 0, "late": 0}',
    ],
)
def test_a_load_of_which_nothing_was_acknowledged_has_failed(text: str) -> None:
    with pytest.raises(LoadFailed, match=r"wrk: "):
        parse_wrk(text)


def test_what_sysbench_printed_is_read() -> None:
    found = parse_sysbench(SYSBENCH)
    assert (found.operations, found.errors, found.per_second) == (6231, 0, 6210.62)
    # sysbench itself says that 95 % took 3.30 ms at most
    histogram = parse_histogram(SYSBENCH)
    assert (sum(histogram.values()), percentile(histogram, 0.95)) == (6231, 3.304)
    # what was asked late is on top
    assert (found.p50_ms, found.p99_ms) > (percentile(histogram, 0.5), percentile(histogram, 0.99))


def test_a_load_that_sysbench_gave_up_has_failed_with_its_words() -> None:
    with pytest.raises(LoadFailed, match=r"sysbench: FATAL: `thread_run' function failed"):
        parse_sysbench(SYSBENCH + "FATAL: `thread_run' function failed: sql_load.lua:25: SQL error, errno = 1290\n")


@given(st.dictionaries(st.integers(1, 40), st.integers(1, 4), min_size=1), st.integers(1, 40))
def test_the_correction_adds_the_waits_that_were_not_begun(histogram: dict[int, int], expected: int) -> None:
    """Whoever waited 35 where 10 is expected stands for waits of 25 and 15 as well."""
    waits = [wait for wait, count in histogram.items() for _ in range(count)]
    begun_late = [
        later
        for wait in waits
        if wait >= 2 * expected
        for later in range(wait - expected, expected, -expected)
        if later > expected
    ]
    corrected = corrected_histogram({float(wait): count for wait, count in histogram.items()}, float(expected))
    assert sorted(wait for wait, count in corrected.items() for _ in range(count)) == sorted(
        map(float, waits + begun_late)
    )


@given(st.lists(st.integers(1, 9), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(waits: list[int], share: float) -> None:
    found = percentile({float(wait): waits.count(wait) for wait in waits}, share)
    assert sum(wait <= found for wait in waits) >= share * len(waits)
    assert sum(wait < found for wait in waits) < share * len(waits)


def test_a_name_with_blanks_and_parentheses_does_not_move_the_fields_of_its_costs() -> None:
    stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 12 0 41 17 0 0 20 0 38 0 5000 1 2 3"
    assert parse_cpu_ticks(stat) == 41 + 17


def test_written_bytes_are_those_that_went_to_storage() -> None:
    io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"
    assert parse_written_bytes(io) == 4096


def test_a_process_that_began_meanwhile_counts_from_its_beginning_and_one_that_ended_not_at_all() -> None:
    before = {(1, 10): ProcessCost("coordinator", 2.0, 100), (2, 10): ProcessCost("replica-1", 5.0, 900)}
    after = {(1, 10): ProcessCost("coordinator", 2.5, 100), (2, 99): ProcessCost("replica-1", 0.25, 50)}
    found = costs_between(before, after, lambda name: name)
    assert (found.cpu_s, found.written_bytes) == ({"coordinator": 0.5, "replica-1": 0.25}, 50)


def _rounds(system: str, *rates: float, clients: int = 64, condition: str = HEALTHY) -> list[Measurement]:
    return [
        dataclasses.replace(PLAIN, system=system, clients=clients, round=number, per_second=rate, condition=condition)
        for number, rate in enumerate(rates)
    ]


def test_a_summary_is_the_median_of_the_rounds_with_the_least_and_the_most() -> None:
    found = summaries(_rounds(PROJECT, 900.0, 1500.0, 1000.0))[(PROJECT, "insert", 64, HEALTHY)]
    assert (found.rounds, found.per_second.median, found.per_second.least, found.per_second.most) == (
        3,
        1000,
        900,
        1500,
    )
    assert found.cpu_ms_in_all == pytest.approx(0.7)


def test_a_goal_is_a_ratio_of_medians_and_is_reached_or_not_or_not_measured() -> None:
    results = Results(load=[*_rounds(PROJECT, 2500.0, 2600.0, 9000.0), *_rounds(GROUP, 500.0, 100.0, 520.0)])
    found = {goal.text: goal for goal in goals(results)}
    against_group = found["INSERT, 64 clients: of Group Replication's per second"]
    assert (against_group.value, against_group.is_reached) == (5.2, True)
    # both have the same p99 here
    assert found["INSERT, 64 clients: of Group Replication's p99"].is_reached is False
    assert found["INSERT, 64 clients: of Galera's per second"].is_reached is None


def test_nothing_is_a_ratio_to_nothing() -> None:
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 1.0) is None


def test_a_slow_replica_is_held_against_the_same_systems_own_figure() -> None:
    rows = [*_rounds(PROJECT, 1000.0), *_rounds(PROJECT, 950.0, condition="frozen"), *_rounds(GROUP, 10.0)]
    results = Results(slow=rows)
    assert slow_ratios(results, PROJECT) == {"frozen": 0.95}
    assert slow_ratios(results, GROUP) == {"frozen": None}
    reached = [goal.is_reached for goal in goals(results) if "one replica frozen" in goal.text]
    assert reached == [True]


def _everything() -> Results:
    sizes = {"mysql-master": 200.0, "replica-1": 210.0}
    results = Results(
        systems={PROJECT: {"title": "this project", "version": "1", "promise": "it is on three disks"}},
        load=_rounds(PROJECT, 900.0, 1000.0),
        slow=[*_rounds(PROJECT, 1000.0), *_rounds(PROJECT, 950.0, condition="frozen")],
        failover=[FailoverTime(PROJECT, "kill -9", 0, 0.1), FailoverTime(PROJECT, "kill -9", 1, None)],
        growth=[GrowthStretch(1000, 50.0, 80.0, sizes, sizes), GrowthStretch(2000, 40.0, 81.0, sizes, sizes)],
        idle=[IdleUse(30.0, {"coordinator": 3.0, "seer-service": 0.5}, 4.0, 3.5)],
    )
    results.parts["load"] = {"began": "today", "commit": "abc", "machine": "one", "plan": "short"}
    results.note("load", "Galera: left out")
    return results


def test_growth_and_idleness_have_goals() -> None:
    found = {goal.text: goal for goal in goals(_everything())}
    growth = found["growth, 2,000 writes: the last stretch's of the first's per second"]
    assert (growth.value, growth.is_reached) == (0.8, False)
    memory = found["growth, 2,000 writes: the coordinator's memory, of that once its window of the log was full"]
    assert (memory.value, memory.is_reached) == (81.0 / 80.0, True)
    idle = found["idle: beyond what four idle servers use, of one core"]
    assert (idle.value, idle.is_reached) == (4.0, True)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    assert load(tmp_path / "bench.json") == Results()
    save(_everything(), tmp_path / "bench.json")
    assert load(tmp_path / "bench.json") == _everything()


def test_a_part_that_is_measured_again_replaces_only_itself() -> None:
    results = _everything()
    results.begin("load", {"began": "later"})
    assert (results.load, results.notes, len(results.slow)) == ([], {}, 2)


def test_the_report_has_a_line_for_all_of_it() -> None:
    text = markdown(_everything())
    for line in (
        "| this project | 950 (900 to 1,000) |",
        "| this project | 64 | 2.00 | 9.00 | 0.700 | 0.200 | 0.100 | 2.0 KB |  |",
        "| this project | frozen | 950 (950 to 950) | 0.95 x | 2.00 | 9.00 |  |",
        "| this project | kill -9 | 2 | 0.10 s (0.10 to 0.10) | 1 |",
        "| 2,000 | 40 | 81 | 210 | 210 |",
        "| four servers alone | 3.5 % |",
        "- load: Galera: left out",
    ):
        assert line in text


def test_an_empty_report_says_that_nothing_was_measured() -> None:
    text = markdown(Results())
    assert "not measured" in text
    assert "reached" not in text
