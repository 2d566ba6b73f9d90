"""Registers and accounts: each wrong answer is found where it can be told, and a correct system is never accused.

By the smallest history of each name, by simulated systems with one rule broken, and against the definition on small
histories: the checkers that trust timestamps together pass exactly those that some order in the order of the timestamps
explains, if they have the log, and never accuse another if they have not.
"""

import pytest
import register_checker
import witness_checker
from anomaly import Anomaly, GeneratorBug
from checker_proofs import (
    SEEDS,
    accuses_nothing_that_an_order_by_timestamp_explains,
    histories_of_broken,
    info,
    ok,
    passes_what_an_order_by_timestamp_explains,
)
from history import Balances, CompareAndSet, History, Operation, Outcome, RegisterRead, Transfer
from simulated_registers import (
    AnswersOneStaleRegister,
    AppliesFailedChanges,
    ChangesAndDeniesIt,
    ComparesWithThePast,
    LosesAChange,
    MovesHalf,
    ReadsBetweenHalves,
    RefusesWhatItHolds,
    RegisterSystem,
    simulate_registers,
)
from small_histories import Entries, small_register_history

OPERATIONS = 300


def cas(expected: int, new: int, changed: bool | None) -> CompareAndSet:
    return CompareAndSet("r", expected, new, changed)


def read(value: int | None) -> RegisterRead:
    return RegisterRead("r", value)


def names(*operations: Operation, entries: Entries | None = None) -> set[str]:
    history = History(list(operations), initial_registers={"r": 0})
    return {anomaly.name for anomaly in register_checker.check(history, entries)}


# ------------------------------------------------------------------------------------------ by name, the smallest


def test_a_correct_history_passes() -> None:
    assert not names(
        ok(0, 1, 5, cas(0, 1, True)),
        ok(2, 3, 6, cas(0, 2, False)),
        ok(2, 3, 6, read(1)),
        ok(4, 5, 9, cas(1, 3, True)),
        ok(6, 7, 9, read(3)),
    )


def test_wrong_change_from_a_value_that_it_did_not_hold() -> None:
    """A lost update: both saw 0, both changed it."""
    assert names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 6, cas(0, 2, True))) == {"wrong-change"}


def test_wrong_refusal_although_it_held_what_was_expected() -> None:
    assert names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 7, cas(1, 2, False))) == {"wrong-refusal"}
    assert names(ok(0, 9, 5, cas(0, 1, False))) == {"wrong-refusal"}
    assert not names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 4, cas(1, 2, False)))  # not yet


def test_wrong_value_that_nobody_or_nobody_who_succeeded_has_set() -> None:
    failed = Operation(2, 0, 9, Outcome.FAIL, (cas(0, 1, None),))
    assert names(ok(0, 9, 5, read(7))) == {"wrong-value"}
    assert names(failed, ok(0, 9, 5, read(1))) == {"wrong-value"}


def test_a_stale_read_by_its_own_label() -> None:
    assert names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 6, read(0))) == {"wrong-read"}
    assert not names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 4, read(0)))
    assert not names(ok(0, 9, 5, cas(0, 1, True)), ok(0, 9, 4, read(1)))  # the label is a floor


def test_a_stale_read_by_real_time() -> None:
    assert names(ok(0, 1, 5, cas(0, 1, True)), ok(2, 3, 4, read(0))) == {"stale-read"}


def test_a_read_that_is_older_than_what_an_earlier_read_saw() -> None:
    change = ok(0, 9, 5, cas(0, 1, True))
    assert names(change, ok(1, 2, 3, read(1)), ok(3, 4, 3, read(0))) == {"stale-read"}


def test_an_unanswered_change_explains_what_was_seen_after_it() -> None:
    assert not names(info(0, cas(0, 1, None)), ok(1, 9, 5, cas(1, 2, True)))
    assert not names(info(0, cas(0, 1, None)), ok(1, 9, 5, read(1)), ok(1, 9, 6, cas(0, 2, False)))
    assert not names(info(0, cas(0, 1, None)), ok(1, 9, 5, cas(0, 2, False)))


def test_two_unanswered_changes_of_one_value_cannot_both_have_happened() -> None:
    both = [info(0, cas(0, 1, None)), info(0, cas(0, 2, None))]
    assert not names(*both, ok(1, 9, 5, read(1)))
    assert names(*both, ok(1, 9, 5, read(1)), ok(1, 9, 6, read(2))) == {"wrong-value"}


def test_an_unanswered_change_has_a_place_between_what_it_found_and_what_was_found_after_it() -> None:
    changes = ok(0, 1, 5, cas(0, 1, True)), ok(2, 3, 7, cas(2, 3, True))
    assert not names(*changes, info(0, cas(1, 2, None)))
    assert names(*changes, info(4, cas(1, 2, None))) == {"write-too-early"}


def test_unanswered_changes_that_only_lead_to_each_other_explain_nothing() -> None:
    assert names(info(0, cas(2, 1, None)), info(0, cas(1, 2, None)), ok(1, 9, 5, read(1))) == {"wrong-value"}


def test_a_change_comes_before_what_an_earlier_read_had_seen_whatever_its_label() -> None:
    change = ok(0, 9, 7, cas(0, 1, True))
    assert names(change, ok(1, 2, 3, read(1)), ok(3, 4, 6, cas(9, 2, False))) == {"write-too-early"}
    assert not names(change, ok(1, 2, 3, read(1)), ok(3, 4, 8, cas(9, 2, False)))


def test_an_operation_reads_the_register_before_its_own_change_of_it() -> None:
    assert not names(ok(0, 9, 5, read(0), cas(0, 1, True)))


def test_the_log_settles_an_unanswered_change() -> None:
    change, refused = info(0, cas(0, 1, None)), ok(0, 9, 7, cas(0, 2, False))
    assert not names(change, refused)
    assert not names(change, refused, entries={5: {("r", 1)}, 7: {("r", 2)}})
    assert names(change, refused, entries={7: {("r", 2)}}) == {"wrong-refusal"}
    assert names(change, refused, entries={7: {("r", 2)}, 8: {("r", 1)}}) == {"wrong-refusal"}


def test_a_value_that_is_set_twice_is_the_workload_s_fault() -> None:
    with pytest.raises(GeneratorBug, match="register r is set to 1 twice"):
        names(ok(0, 1, 5, cas(0, 1, True)), info(2, cas(1, 1, None)))
    with pytest.raises(GeneratorBug, match="register r is set to 0 twice"):
        names(ok(0, 1, 5, cas(1, 0, False)))


def test_accounts_that_hold_more_or_less_than_in_the_beginning() -> None:
    def balances(anna: int, bert: int) -> Operation:
        return ok(0, 9, 5, Balances({"anna": anna, "bert": bert}))

    def balance_names(total: int | None, *operations: Operation) -> set[str]:
        history = History([ok(0, 9, 4, Transfer("anna", "bert", 1)), *operations], accounts_total=total)
        return {anomaly.name for anomaly in register_checker.check(history)}

    assert not balance_names(200, balances(100, 100), balances(99, 101))
    assert balance_names(200, balances(99, 100)) == {"wrong-balance"}
    assert balance_names(None, balances(100, 100), balances(100, 101)) == {"wrong-balance"}
    assert balance_names(200, balances(100, 100), ok(0, 9, 5, Balances({"anna": 200}))) == {"wrong-accounts"}
    assert not balance_names(200, Operation(1, 0, None, Outcome.INFO, (Balances(None),)))


# ------------------------------------------------------------------------------------------ against the definition


def check_both(history: History, entries: Entries | None = None, *, exact_reads: bool = False) -> list[Anomaly]:
    """By the checkers that trust timestamps, together."""
    found = register_checker.check(history, entries, exact_reads=exact_reads)
    return found + witness_checker.check(history, entries, exact_reads=exact_reads)


@pytest.mark.parametrize("exact_reads", [False, True])
def test_with_the_log_small_histories_pass_if_and_only_if_an_order_by_timestamp_explains_them(
    exact_reads: bool,
) -> None:
    passes_what_an_order_by_timestamp_explains(check_both, small_register_history, exact_reads=exact_reads)


def test_without_the_log_no_history_that_an_order_by_timestamp_explains_is_accused() -> None:
    accuses_nothing_that_an_order_by_timestamp_explains(check_both, small_register_history)


# ------------------------------------------------------------------------------------------ simulated systems

DEFECTS: list[tuple[type[RegisterSystem], str]] = [
    (LosesAChange, "wrong-change"),
    (ComparesWithThePast, "wrong-change"),
    (RefusesWhatItHolds, "wrong-refusal"),
    (ChangesAndDeniesIt, "wrong-change"),
    (AnswersOneStaleRegister, "wrong-read"),
    (AppliesFailedChanges, "wrong-change"),
    (MovesHalf, "wrong-balance"),
    (ReadsBetweenHalves, "wrong-balance"),
]


def test_a_correct_system_is_never_accused() -> None:
    for seed in range(2 * SEEDS):
        system, history = simulate_registers(seed, OPERATIONS)
        assert register_checker.check(history) == [], f"seed {seed}"
        assert register_checker.check(history, system.entries, exact_reads=True) == [], f"seed {seed}"


@pytest.mark.parametrize(("system", "expected"), DEFECTS, ids=[system.__name__ for system, _ in DEFECTS])
def test_each_broken_rule_is_caught_in_every_history(system: type[RegisterSystem], expected: str) -> None:
    for seed, broken, history in histories_of_broken(simulate_registers, system, OPERATIONS):
        for entries in (None, broken.entries):
            anomalies = register_checker.check(history, entries)
            assert expected in {anomaly.name for anomaly in anomalies}, f"seed {seed}"
