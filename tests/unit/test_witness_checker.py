"""The white-box check: what does not follow from the cluster's own order is found, and labels that lie are.

By the smallest history of each name, by the simulated systems of simulated_lists.py, and against the definition on
small histories.
"""

import pytest
from checker_proofs import (
    SEEDS,
    accuses_nothing_that_an_order_by_timestamp_explains,
    costs_less_than_its_square,
    fail,
    histories_of_broken,
    info,
    ok,
    passes_what_an_order_by_timestamp_explains,
)
from history import Append, History, Operation, Outcome, Read, Transfer
from simulated_lists import (
    AnswersOneStaleRead,
    AppliesARetryTwice,
    AppliesHalfOfAnAcknowledgedBatch,
    AppliesHalfOfAnUnansweredBatch,
    AppliesWhatFailed,
    DropsAnAcknowledgedSuffix,
    HasTwoOrdersOfAList,
    LabelsReadsWithAFloor,
    LosesAnAcknowledgedAppend,
    LosesWhatWasSeen,
    ReadsASnapshotBeforeWriting,
    ReadsFromALaggingReplica,
    System,
    simulate,
)
from small_histories import Entries, small_list_history
from witness_checker import check

OPERATIONS = 250


def names(
    *operations: Operation, entries: Entries | None = None, exact_reads: bool = False, **final_reads: tuple[int, ...]
) -> set[str]:
    history = History(list(operations), final_reads)
    return {anomaly.name for anomaly in check(history, entries, exact_reads=exact_reads)}


# ------------------------------------------------------------------------------------------ labels


def test_two_writes_have_one_timestamp() -> None:
    assert names(ok(0, 9, 5, Append("x", 1)), ok(0, 9, 5, Transfer("a", "b", 1)), x=(1,)) == {"timestamp-twice"}


def test_a_write_comes_before_what_had_returned() -> None:
    assert names(ok(0, 1, 5, Append("x", 1)), ok(2, 3, 4, Append("y", 1)), x=(1,), y=(1,)) == {"write-too-early"}
    assert not names(ok(0, 2, 5, Append("x", 1)), ok(2, 3, 4, Append("y", 1)), x=(1,), y=(1,))  # they overlap


def test_a_write_comes_before_what_an_earlier_read_had_reached() -> None:
    late = ok(2, 3, 5, Append("x", 1))
    assert names(ok(0, 1, 5, Read("y", ())), late, x=(1,)) == {"write-too-early"}
    assert not names(ok(0, 1, 4, Read("y", ())), late, x=(1,))


def test_a_write_comes_before_what_an_earlier_read_had_seen_whatever_its_label() -> None:
    assert names(
        ok(0, 9, 7, Append("x", 1)), ok(0, 1, 2, Read("x", (1,))), ok(3, 4, 6, Append("y", 1)), x=(1,), y=(1,)
    ) == {"write-too-early"}


def test_a_read_names_a_place_before_what_had_returned() -> None:
    assert names(ok(0, 1, 5, Append("x", 1)), ok(2, 3, 4, Read("x", (1,))), x=(1,)) == {"label-too-early"}
    assert not names(ok(0, 1, 5, Append("x", 1)), ok(2, 3, 5, Read("x", (1,))), x=(1,))


def test_an_answer_without_a_timestamp_is_no_pass() -> None:
    assert names(ok(0, 1, None, Append("x", 1)), x=(1,)) == {"no-timestamp"}
    assert names(ok(0, 1, None, Read("x", ()))) == {"no-timestamp"}


# ------------------------------------------------------------------------------------------ replay


def test_a_correct_history_passes() -> None:
    assert not names(
        ok(0, 5, 10, Append("x", 1), Read("x", (1,)), Append("x", 2)),
        info(1, Append("x", 3), Append("y", 1)),
        ok(6, 8, 14, Read("x", (1, 2, 3)), Append("y", 2)),
        ok(9, 10, 14, Read("y", (1, 2)), Read("x", (1, 2, 3))),
        fail(9, Append("x", 4)),
        x=(1, 2, 3),
        y=(1, 2),
    )


def test_a_read_lacks_a_write_before_the_place_that_it_names() -> None:
    stale = ok(0, 9, 6, Read("x", ()))
    assert names(ok(0, 9, 5, Append("x", 1)), stale, x=(1,)) == {"wrong-read"}
    assert not names(ok(0, 9, 7, Append("x", 1)), stale, x=(1,))


def test_a_read_may_see_more_than_the_place_that_it_names_unless_that_is_exact() -> None:
    operations = ok(0, 9, 5, Append("x", 1)), ok(0, 9, 3, Read("x", (1,)))
    assert not names(*operations, x=(1,))
    assert names(*operations, x=(1,), exact_reads=True) == {"wrong-read"}


def test_a_read_of_two_lists_shows_no_one_place() -> None:
    writes = ok(0, 9, 5, Append("x", 1)), ok(0, 9, 6, Append("y", 1))
    assert names(*writes, ok(0, 9, 1, Read("x", ()), Read("y", (1,))), x=(1,), y=(1,)) == {"wrong-read"}
    assert not names(*writes, ok(0, 9, 1, Read("x", (1,)), Read("y", ())), x=(1,), y=(1,))


def test_a_write_reads_what_is_before_its_own_timestamp() -> None:
    first = ok(0, 9, 5, Append("x", 1))
    assert names(first, ok(0, 9, 6, Read("x", ()), Append("y", 1)), x=(1,), y=(1,)) == {"wrong-read"}
    assert names(first, ok(0, 9, 4, Read("x", (1,)), Append("y", 1)), x=(1,), y=(1,)) == {"wrong-read"}
    assert not names(first, ok(0, 9, 6, Read("x", (1,)), Append("y", 1)), x=(1,), y=(1,))


def test_a_transaction_does_not_see_its_own_append() -> None:
    assert names(ok(0, 9, 5, Append("x", 1), Read("x", ())), x=(1,)) == {"wrong-read"}


def test_a_stale_read_whose_label_is_honest() -> None:
    assert names(ok(0, 1, 5, Append("x", 1)), ok(2, 3, 4, Read("x", ())), x=(1,)) == {"label-too-early", "stale-read"}


def test_a_read_that_is_older_than_what_an_earlier_read_saw() -> None:
    write = ok(0, 9, 5, Append("x", 1))
    assert names(write, ok(1, 2, 3, Read("x", (1,))), ok(3, 4, 3, Read("x", ())), x=(1,)) == {"stale-read"}


def test_a_list_in_another_order_than_its_timestamps() -> None:
    assert "wrong-order" in names(ok(0, 9, 5, Append("x", 1)), ok(0, 9, 4, Append("x", 2)), x=(1, 2))


def test_a_list_with_two_orders() -> None:
    assert names(
        ok(0, 9, 5, Append("x", 1)),
        ok(0, 9, 6, Append("x", 2)),
        ok(0, 9, 1, Read("x", (2,))),
        ok(0, 9, 1, Read("x", (1, 2))),
        x=(1, 2),
    ) == {"no-one-order"}


def test_an_acknowledged_write_is_not_there_at_the_end() -> None:
    assert names(ok(0, 9, 5, Append("x", 1)), x=()) == {"lost-write"}


def test_what_failed_or_what_nobody_wrote_is_seen() -> None:
    assert names(fail(0, Append("x", 1)), x=(1,)) == {"never-happened"}
    assert names(x=(1,)) == {"never-happened"}


def test_half_of_an_unanswered_batch() -> None:
    assert names(info(0, Append("x", 1), Append("y", 1)), x=(1,), y=()) == {"lost-write"}


def test_an_unanswered_write_that_was_seen_between_two_others_has_a_place_between_them() -> None:
    writes = ok(0, 1, 5, Append("x", 1)), ok(2, 3, 7, Append("x", 3))
    assert not names(*writes, info(0, Append("x", 2)), x=(1, 2, 3))
    assert names(*writes, info(4, Append("x", 2)), x=(1, 2, 3)) == {"write-too-early"}


def test_an_unanswered_write_is_no_floor_for_what_began_after_its_client_gave_up() -> None:
    given_up = Operation(3, 0, 2, Outcome.INFO, (Append("x", 2),))
    assert not names(
        ok(0, 100, 50, Append("x", 1)),
        given_up,
        ok(0, 100, 10, Append("z", 1)),
        ok(5, 6, 3, Read("z", ())),
        x=(1, 2),
        z=(1,),
    )


# ------------------------------------------------------------------------------------------ with the log


def test_an_acknowledged_write_is_not_in_the_log() -> None:
    write = ok(0, 1, 5, Append("x", 1), Append("y", 1))

    def names_with(entries: Entries) -> set[str]:
        return names(write, entries=entries, x=(1,), y=(1,))

    assert not names_with({5: {("x", 1), ("y", 1)}})
    assert names_with({}) == {"lost-from-log"}
    assert names_with({5: {("x", 1)}}) == {"not-at-its-timestamp"}
    assert names_with({6: {("x", 1), ("y", 1)}}) == {"not-at-its-timestamp"}
    assert names_with({5: {("x", 1), ("y", 1)}, 6: {("y", 1)}}) == {"duplicate-in-log"}


def test_a_failed_write_is_in_the_log() -> None:
    assert names(fail(0, Append("x", 1)), entries={5: {("x", 1)}}, x=()) == {"failed-in-log"}


def test_the_log_has_what_nobody_asked_for() -> None:
    assert names(ok(0, 9, 4, Read("x", ())), entries={5: {("x", 1)}}) == {"garbage-in-log"}
    assert not names(ok(0, 9, 4, Read("x", ())), entries={5: {("a list of another history", 1)}})


def test_the_log_settles_an_unanswered_write() -> None:
    write = info(0, Append("x", 1))
    assert not names(write, entries={5: {("x", 1)}}, x=(1,))
    assert not names(write, entries={}, x=())
    assert names(write, entries={5: {("x", 1)}}, x=()) == {"lost-write"}
    assert names(write, entries={}, x=(1,)) == {"never-happened"}
    assert names(write, ok(1, 2, 6, Read("x", ())), entries={5: {("x", 1)}}, x=(1,)) == {"wrong-read"}
    assert not names(write, ok(1, 2, 6, Read("x", ())), entries={7: {("x", 1)}}, x=(1,))


def test_the_log_has_half_of_an_unanswered_write() -> None:
    batch = info(0, Append("x", 1), Append("y", 1))
    assert "not-at-its-timestamp" in names(batch, entries={5: {("x", 1)}}, x=(1,), y=())


# ------------------------------------------------------------------------------------------ against the definition


@pytest.mark.parametrize("exact_reads", [False, True])
def test_with_the_log_small_histories_pass_if_and_only_if_an_order_by_timestamp_explains_them(
    exact_reads: bool,
) -> None:
    passes_what_an_order_by_timestamp_explains(check, small_list_history, exact_reads=exact_reads)


def test_without_the_log_no_history_that_an_order_by_timestamp_explains_is_accused() -> None:
    accuses_nothing_that_an_order_by_timestamp_explains(check, small_list_history)


# ------------------------------------------------------------------------------------------ simulated systems

DEFECTS: list[tuple[type[System], set[str]]] = [
    (LosesAnAcknowledgedAppend, {"lost-write"}),
    (LosesWhatWasSeen, {"no-one-order"}),
    (AppliesARetryTwice, {"no-one-order"}),
    (AnswersOneStaleRead, {"wrong-read"}),
    (ReadsFromALaggingReplica, {"wrong-read"}),
    (AppliesWhatFailed, {"never-happened"}),
    (AppliesHalfOfAnAcknowledgedBatch, {"lost-write"}),
    (AppliesHalfOfAnUnansweredBatch, {"lost-write"}),
    (DropsAnAcknowledgedSuffix, {"lost-write"}),
    (HasTwoOrdersOfAList, {"no-one-order"}),
    (ReadsASnapshotBeforeWriting, {"wrong-read"}),
]


@pytest.mark.parametrize("system", [System, LabelsReadsWithAFloor])
def test_a_strictly_serializable_system_is_never_accused(system: type[System]) -> None:
    for seed in range(SEEDS):
        correct, history = simulate(seed, OPERATIONS, system)
        exact_reads = system is System
        assert check(history, exact_reads=exact_reads) == [], f"seed {seed}"
        assert check(history, correct.entries, exact_reads=exact_reads) == [], f"seed {seed}"


@pytest.mark.parametrize(("system", "expected"), DEFECTS, ids=[system.__name__ for system, _ in DEFECTS])
def test_each_broken_rule_is_caught_in_every_history(system: type[System], expected: set[str]) -> None:
    for seed, broken, history in histories_of_broken(simulate, system, OPERATIONS):
        for entries in (None, broken.entries):
            assert expected <= {anomaly.name for anomaly in check(history, entries)}, f"seed {seed}"


# ------------------------------------------------------------------------------------------ cost


def test_the_cost_grows_with_the_history_and_not_with_its_square() -> None:
    costs_less_than_its_square(check, simulate)
