"""The list-append checker finds each anomaly of the literature, and none in what a strictly serializable system
answered.

Three kinds of proof: the smallest history of each name; a simulated system with one rule broken, in the style of a
mutation test; and the definition itself, tried on small histories (small_histories.py).
"""

import random

import pytest
from anomaly import GeneratorBug
from checker_proofs import SEEDS, costs_less_than_its_square, histories_of_broken
from cycle_search import Cycle, simple_part
from dependency_graph import Dependency, Edge
from history import Append, History, MicroOperation, Operation, Outcome, Read
from list_append_checker import check
from simulated_lists import (
    AnswersOneStaleRead,
    AppliesARetryTwice,
    AppliesHalfOfAnAcknowledgedBatch,
    AppliesHalfOfAnUnansweredBatch,
    AppliesWhatFailed,
    DropsAnAcknowledgedSuffix,
    HasTwoOrdersOfAList,
    LosesAnAcknowledgedAppend,
    LosesWhatWasSeen,
    ReadsASnapshotBeforeWriting,
    ReadsFromALaggingReplica,
    System,
    simulate,
)
from small_histories import is_strictly_serializable, small_list_history

OPERATIONS = 250


def ok(process: int, begin_ns: int, end_ns: int, *micros: MicroOperation) -> Operation:
    return Operation(process, begin_ns, end_ns, Outcome.OK, micros)


def fail(process: int, begin_ns: int, end_ns: int, *micros: MicroOperation) -> Operation:
    return Operation(process, begin_ns, end_ns, Outcome.FAIL, micros)


def info(process: int, begin_ns: int, *micros: MicroOperation) -> Operation:
    return Operation(process, begin_ns, None, Outcome.INFO, micros)


def names(*operations: Operation, **final_reads: tuple[int, ...]) -> set[str]:
    return {anomaly.name for anomaly in check(History(list(operations), final_reads))}


# ------------------------------------------------------------------------------------------ by name, the smallest


def test_an_empty_history_is_a_correct_one() -> None:
    assert names() == set()


def test_a_correct_history_with_every_outcome_passes() -> None:
    assert not names(
        ok(1, 0, 5, Append("x", 1), Read("x", (1,)), Append("x", 2), Read("x", (1, 2))),
        info(2, 6, Append("x", 3), Append("y", 1)),
        fail(3, 6, 8, Append("x", 4)),
        ok(4, 10, 12, Read("x", (1, 2)), Read("y", ())),
        ok(1, 13, 15, Read("x", (1, 2, 3)), Read("y", (1,)), Read("z", ())),
        x=(1, 2, 3),
        y=(1,),
    )


def test_garbage_read() -> None:
    assert "garbage-read" in names(ok(1, 0, 1, Append("x", 1)), ok(2, 2, 3, Read("x", (1, 9))), x=(1, 9))


def test_duplicate_write() -> None:
    assert "duplicate-write" in names(ok(1, 0, 1, Append("x", 1)), ok(2, 2, 3, Read("x", (1, 1))), x=(1, 1))


def test_duplicate_write_that_only_the_last_read_shows() -> None:
    assert "duplicate-write" in names(ok(1, 0, 1, Append("x", 1)), x=(1, 1))


def test_g1a_a_read_of_what_failed() -> None:
    assert names(fail(1, 0, 9, Append("x", 1)), ok(2, 0, 9, Read("x", (1,))), x=()) >= {"G1a"}


def test_g1b_a_read_between_two_appends_of_one_transaction() -> None:
    assert "G1b" in names(ok(1, 0, 9, Append("x", 1), Append("x", 2)), ok(2, 0, 9, Read("x", (1,))), x=(1, 2))


def test_a_transaction_may_see_its_own_list_between_its_appends() -> None:
    assert not names(ok(1, 0, 9, Append("x", 1), Read("x", (1,)), Append("x", 2)), x=(1, 2))


def test_internal_two_reads_differ_without_an_append_between() -> None:
    assert "internal" in names(
        ok(1, 0, 9, Append("x", 1)), ok(2, 0, 9, Read("x", ()), Read("y", ()), Read("x", (1,))), x=(1,)
    )


def test_internal_a_transaction_does_not_see_its_own_append() -> None:
    assert "internal" in names(ok(1, 0, 9, Append("x", 1), Read("x", ())), x=(1,))


def test_internal_an_append_between_two_reads_is_not_seen() -> None:
    assert "internal" in names(ok(1, 0, 9, Read("x", ()), Append("x", 1), Read("x", ())), x=(1,))


def test_internal_a_transaction_sees_what_it_appends_only_later() -> None:
    assert names(ok(1, 0, 9, Read("x", (1,)), Append("x", 1)), x=(1,)) == {"internal"}


def test_incompatible_order() -> None:
    assert names(
        ok(1, 0, 9, Append("x", 1)),
        ok(2, 0, 9, Append("x", 2)),
        ok(3, 0, 9, Read("x", (1, 2))),
        ok(4, 0, 9, Read("x", (2, 1))),
        x=(1, 2),
    ) == {"incompatible-order"}


def test_a_list_without_one_order_accuses_nobody_else() -> None:
    """By its length alone the read of (2) would be one of (1), and would have missed T1."""
    assert names(
        ok(1, 0, 9, Append("x", 1)),
        ok(2, 0, 9, Append("x", 2), Append("y", 1)),
        ok(3, 0, 9, Read("x", (1, 2))),
        ok(4, 0, 9, Read("x", (2,)), Read("y", (1,))),
        x=(1, 2),
        y=(1,),
    ) == {"incompatible-order"}
    assert names(
        ok(1, 0, 9, Append("x", 1)),
        ok(2, 0, 9, Append("x", 2), Append("y", 1)),
        ok(3, 0, 9, Read("x", (1,)), Read("y", ())),
        x=(2,),
        y=(1,),
    ) == {"lost-write", "observed-then-lost"}


def test_dirty_update() -> None:
    assert "dirty-update" in names(fail(1, 0, 9, Append("x", 1)), ok(2, 0, 9, Append("x", 2)), x=(1, 2))


def test_lost_update() -> None:
    assert names(ok(1, 0, 9, Read("x", ()), Append("x", 1)), ok(2, 0, 9, Read("x", ()), Append("x", 2)), x=(1, 2)) == {
        "lost-update",
        "G-single",
    }


def test_lost_write() -> None:
    assert "lost-write" in names(ok(1, 0, 1, Append("x", 1)), x=())


def test_observed_then_lost() -> None:
    assert names(info(1, 0, Append("x", 1)), ok(2, 0, 9, Read("x", (1,))), x=()) >= {"observed-then-lost"}


def test_partial_apply() -> None:
    assert names(info(1, 0, Append("x", 1), Append("y", 1)), x=(1,), y=()) >= {"partial-apply"}


def test_an_operation_without_an_answer_may_have_happened_as_a_whole_or_not_at_all() -> None:
    batch = info(1, 0, Append("x", 1), Append("y", 1))
    assert not names(batch, x=(1,), y=(1,))
    assert not names(batch, x=(), y=())


def test_fail_but_applied() -> None:
    assert names(fail(1, 0, 1, Append("x", 1)), x=(1,)) == {"fail-but-applied"}


def test_a_list_that_nobody_read_at_the_end_is_no_pass() -> None:
    assert names(ok(1, 0, 1, Append("x", 1)), ok(1, 2, 3, Append("y", 1)), x=(1,)) == {"no-final-read"}


def test_g0_two_writes_in_opposite_orders() -> None:
    assert "G0" in names(
        ok(1, 0, 9, Append("x", 1), Append("y", 1)), ok(2, 0, 9, Append("x", 2), Append("y", 2)), x=(1, 2), y=(2, 1)
    )


def test_g0_by_an_append_that_is_not_there_and_so_comes_behind_all_that_are() -> None:
    assert "G0" in names(
        ok(1, 0, 9, Append("x", 1), Append("y", 1)), ok(2, 0, 9, Append("x", 2), Append("y", 2)), x=(2,), y=(1, 2)
    )


def test_g1c_two_transactions_that_saw_each_other() -> None:
    assert names(
        ok(1, 0, 9, Append("x", 1), Read("y", (1,))), ok(2, 0, 9, Append("y", 1), Read("x", (1,))), x=(1,), y=(1,)
    ) == {"G1c"}


def test_g_single_read_skew() -> None:
    assert names(
        ok(1, 0, 9, Append("x", 1), Append("y", 1)), ok(2, 0, 9, Read("x", (1,)), Read("y", ())), x=(1,), y=(1,)
    ) == {"G-single"}


def test_g_nonadjacent_long_fork() -> None:
    assert names(
        ok(1, 0, 9, Append("x", 1)),
        ok(2, 0, 9, Append("y", 1)),
        ok(3, 0, 9, Read("x", (1,)), Read("y", ())),
        ok(4, 0, 9, Read("x", ()), Read("y", (1,))),
        x=(1,),
        y=(1,),
    ) == {"G-nonadjacent"}


def test_g2_item_write_skew() -> None:
    assert names(
        ok(1, 0, 9, Read("x", ()), Append("y", 1)), ok(2, 0, 9, Read("y", ()), Append("x", 1)), x=(1,), y=(1,)
    ) == {"G2-item"}


def test_g2_item_of_two_who_also_append_to_a_list_that_they_read() -> None:
    assert names(
        ok(1, 0, 9, Read("x", ()), Read("z", ()), Append("z", 1), Append("y", 1)),
        ok(2, 0, 9, Read("y", ()), Append("x", 1)),
        x=(1,),
        y=(1,),
        z=(1,),
    ) == {"G2-item"}


def test_the_weaker_name_is_told_where_a_long_fork_and_a_write_skew_share_transactions() -> None:
    assert names(
        ok(1, 0, 9, Read("z", ()), Append("x", 1), Append("w", 1)),
        ok(2, 0, 9, Read("w", ()), Append("y", 1), Append("z", 1)),
        ok(3, 0, 9, Read("x", (1,)), Read("y", ())),
        ok(4, 0, 9, Read("x", ()), Read("y", (1,))),
        w=(1,),
        x=(1,),
        y=(1,),
        z=(1,),
    ) == {"G-nonadjacent"}


def test_a_walk_that_meets_itself_is_parted_where_no_two_rw_become_neighbours() -> None:
    def walk(*steps: tuple[int, int, Dependency]) -> Cycle:
        return [Edge(*step) for step in steps]

    rw, wr = Dependency.RW, Dependency.WR
    # it arrives at 0 by rw at first: the part between the visits begins and ends without rw
    between = walk((0, 8, wr), (8, 0, wr))
    assert simple_part([*walk((9, 0, rw)), *between, *walk((0, 9, wr))]) == between
    # the part between the visits begins and ends with rw: the other part has none there
    between = walk((0, 8, rw), (8, 7, wr), (7, 0, rw))
    assert simple_part([*walk((9, 0, wr)), *between, *walk((0, 9, wr))]) == walk((9, 0, wr), (0, 9, wr))
    loop = walk((0, 1, wr), (1, 2, rw), (2, 3, wr), (3, 0, rw))
    assert simple_part(loop) == loop


def test_g0_realtime_a_write_that_came_too_late() -> None:
    assert names(ok(1, 0, 1, Append("x", 1)), ok(2, 2, 3, Append("x", 2)), x=(2, 1)) == {"G0-realtime"}


def test_g1c_realtime_a_read_of_the_future() -> None:
    assert names(ok(1, 0, 1, Read("x", (1,))), ok(2, 2, 3, Append("x", 1)), x=(1,)) == {"G1c-realtime"}


def test_g_single_realtime_a_stale_read() -> None:
    stale = ok(2, 2, 3, Read("x", ()))
    assert names(ok(1, 0, 1, Append("x", 1)), stale, x=(1,)) == {"G-single-realtime"}
    assert names(ok(1, 0, 2, Append("x", 1)), stale, x=(1,)) == set()  # they overlap


def test_g_nonadjacent_realtime_a_long_fork_that_a_clock_sees() -> None:
    assert names(
        ok(4, 0, 4, Append("y", 1)),
        ok(3, 0, 9, Read("x", (1,)), Read("y", ())),
        ok(2, 0, 9, Append("x", 1)),
        ok(1, 5, 9, Read("x", ())),
        x=(1,),
        y=(1,),
    ) == {"G-nonadjacent-realtime"}


def test_g2_item_realtime_a_write_skew_that_a_clock_sees() -> None:
    assert names(
        ok(1, 5, 9, Read("x", ())),
        ok(2, 0, 9, Append("x", 1), Read("y", ())),
        ok(3, 0, 4, Append("y", 1)),
        x=(1,),
        y=(1,),
    ) == {"G2-item-realtime"}


def test_a_value_that_was_appended_twice_is_the_workload_s_fault() -> None:
    with pytest.raises(GeneratorBug, match="1 is appended to x twice: by T0 and by T1"):
        names(ok(1, 0, 1, Append("x", 1)), info(2, 2, Append("x", 1)), x=(1,))


def test_a_search_that_was_cut_short_is_no_pass() -> None:
    skew = [ok(1, 0, 9, Append("x", 1), Append("y", 1)), ok(2, 0, 9, Read("x", (1,)), Read("y", ()))]
    history = History(skew, {"x": (1,), "y": (1,)})
    assert [anomaly.name for anomaly in check(history, search_steps_max=0)] == ["search-cut-short", "G-single"]


def test_a_cycle_is_told_in_a_sentence_with_who_and_when() -> None:
    history = History(
        [ok(5, 1_000, 2_000, Append("list-4", 8)), ok(3, 1_003_000, 2_001_000, Read("list-4", ()))], {"list-4": (8,)}
    )
    assert [str(anomaly) for anomaly in check(history)] == [
        "G-single-realtime: T1 did not see T0's append of 8 to list-4, although T0 had returned before T1 was invoked."
        " T1 (process 3, 0.001002 s to 0.002000 s); T0 (process 5, 0.000000 s to 0.000001 s)"
    ]


def test_a_cycle_is_told_by_the_fewest_edges_however_much_happened_in_between() -> None:
    between = [ok(1, 2 * i, 2 * i + 1, Read("z", ())) for i in range(1, 7)]
    operations = [ok(2, 0, 1, Append("x", 1)), ok(3, 0, 12, Append("x", 2)), ok(4, 14, 15, Read("x", ())), *between]
    (anomaly,) = check(History(operations, {"x": (1, 2)}))
    assert "T2 did not see T0's append of 1 to x, although T0 had returned before T2 was invoked." in anomaly.sentence


# ------------------------------------------------------------------------------------------ against the definition


@pytest.mark.parametrize("thousand", range(3))
def test_small_histories_pass_if_and_only_if_some_order_explains_them(thousand: int) -> None:
    passed = 0
    for seed in range(1_000 * thousand, 1_000 * (thousand + 1)):
        history, _ = small_list_history(random.Random(seed))
        fits = is_strictly_serializable(history)
        assert (not check(history)) == fits, f"seed {seed}: {history}"
        passed += fits
    assert 100 < passed < 900


# ------------------------------------------------------------------------------------------ simulated systems

# each history must show all of these names, a cycle with or without real time
DEFECTS: list[tuple[type[System], set[str]]] = [
    (LosesAnAcknowledgedAppend, {"lost-write", "G-single"}),
    (LosesWhatWasSeen, {"lost-write"}),
    (AppliesARetryTwice, {"duplicate-write"}),
    (AppliesWhatFailed, {"G1a", "fail-but-applied", "dirty-update"}),
    (AppliesHalfOfAnAcknowledgedBatch, {"lost-write", "G-single"}),
    # the cycle is there because appends that nobody saw are in the graph, of unanswered operations too
    (AppliesHalfOfAnUnansweredBatch, {"partial-apply", "G-single"}),
    (DropsAnAcknowledgedSuffix, {"lost-write", "incompatible-order", "observed-then-lost"}),
    (HasTwoOrdersOfAList, {"incompatible-order"}),
    (ReadsASnapshotBeforeWriting, {"G-single", "lost-update"}),
]


def test_a_strictly_serializable_system_is_never_accused() -> None:
    for seed in range(3 * SEEDS):
        _, history = simulate(seed, OPERATIONS)
        assert check(history) == [], f"seed {seed}"


@pytest.mark.parametrize(("system", "expected"), DEFECTS, ids=[system.__name__ for system, _ in DEFECTS])
def test_each_broken_rule_is_caught_in_every_history(system: type[System], expected: set[str]) -> None:
    for seed, _, history in histories_of_broken(simulate, system, OPERATIONS):
        assert expected <= {anomaly.name.removesuffix("-realtime") for anomaly in check(history)}, f"seed {seed}"


@pytest.mark.parametrize("system", [AnswersOneStaleRead, ReadsFromALaggingReplica])
def test_a_stale_read_is_caught_by_real_time_and_by_nothing_else(system: type[System]) -> None:
    for seed, _, history in histories_of_broken(simulate, system, OPERATIONS):
        assert {anomaly.name for anomaly in check(history)} == {"G-single-realtime"}, f"seed {seed}"


# ------------------------------------------------------------------------------------------ cost


def test_the_cost_grows_with_the_history_and_not_with_its_square() -> None:
    costs_less_than_its_square(check, simulate)
