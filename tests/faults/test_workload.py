"""What the workload asks and what it makes of an answer: a wrong "failed" would be a false alarm, a wrong "ok" a blind eye."""

from typing import Any

import pytest
from history import (
    Append,
    Balances,
    CompareAndSet,
    MicroOperation,
    Outcome,
    Read,
    RegisterRead,
    Transfer,
)
from transactions import answers_of, batch_of, oddity_of
from workload import RoundKeys, elements_of, outcome_of, sql_of, sql_of_balances, with_answer

from statements.parameters import bind
from statements.query_parser import Kind, parse

REQUESTS: list[tuple[tuple[MicroOperation, ...], Kind]] = [
    ((Append("3", 17), Append("5", 18)), Kind.WRITE),
    ((Read("3", None), Read("5", None)), Kind.READ),
    ((CompareAndSet("3", 1, 2, None),), Kind.WRITE),
    ((RegisterRead("3", None),), Kind.READ),
    ((Transfer("1", "2", 4),), Kind.WRITE),
]


@pytest.mark.parametrize(("micro_operations", "kind"), REQUESTS)
def test_the_cluster_takes_every_statement_for_what_it_is(
    micro_operations: tuple[MicroOperation, ...], kind: Kind
) -> None:
    assert parse(sql_of(micro_operations)).kind is kind


def test_the_cluster_takes_the_statements_around_a_round() -> None:
    keys = RoundKeys.of_round(2)
    for sql in (*keys.statements_that_make_them(), *keys.statements_that_remove_them()):
        assert parse(sql).kind is Kind.WRITE
    assert parse(sql_of_balances(keys.accounts)).kind is Kind.READ


def test_appends_to_several_lists_are_one_statement_that_gives_each_its_own_value() -> None:
    assert sql_of((Append("3", 17), Append("5", 18))) == (
        "UPDATE lists SET elements = CONCAT(elements, CASE id WHEN 3 THEN ',17' WHEN 5 THEN ',18' END) WHERE id IN (3, 5)"
    )


def test_no_two_rounds_share_a_row() -> None:
    first, second = RoundKeys.of_round(7), RoundKeys.of_round(8)
    assert first.lists[-1] < second.lists[0]
    assert first.registers[-1] < second.registers[0]
    assert first.accounts[-1] < second.accounts[0]


@pytest.mark.parametrize(
    ("status", "body", "was_sent", "outcome"),
    [
        (200, {"committed": True}, True, Outcome.OK),
        (503, {"committed": False}, True, Outcome.FAIL),
        (409, {"committed": False}, True, Outcome.FAIL),
        (503, {"committed": "unknown"}, True, Outcome.INFO),
        (500, {}, True, Outcome.INFO),
        (0, {}, True, Outcome.INFO),
        (0, {}, False, Outcome.FAIL),
    ],
)
def test_only_what_surely_did_not_happen_counts_as_failed(
    status: int, body: dict[str, Any], was_sent: bool, outcome: Outcome
) -> None:
    assert outcome_of(status, body, was_sent=was_sent) is outcome


@pytest.mark.parametrize(("text", "elements"), [("", ()), (",7", (7,)), (",7,12", (7, 12))])
def test_a_list_is_read_from_its_text(text: str, elements: tuple[int, ...]) -> None:
    assert elements_of(text) == elements


def test_an_answer_is_put_into_the_micro_operation_that_asked() -> None:
    lists = {"data": [{"id": 3, "elements": ",17"}, {"id": 5, "elements": ""}]}
    assert with_answer(Read("3", None), lists) == Read("3", (17,))
    assert with_answer(Read("4", None), lists) == Read("4", ())
    assert with_answer(CompareAndSet("3", 1, 2, None), {"rows_affected": 0}) == CompareAndSet("3", 1, 2, changed=False)
    assert with_answer(RegisterRead("3", None), {"data": [{"id": 3, "value": 9}]}) == RegisterRead("3", 9)
    accounts = {"data": [{"id": 1, "balance": 96}, {"id": 2, "balance": 104}]}
    assert with_answer(Balances(None), accounts) == Balances({"1": 96, "2": 104})
    assert with_answer(Transfer("1", "2", 4), {"rows_affected": 2}) == Transfer("1", "2", 4)


MIXED: tuple[MicroOperation, ...] = (Read("3", None), Append("3", 17), Transfer("1", "2", 4), Read("3", None))
RESULTS = [
    {"rows_affected": 1, "data": [{"id": 3, "elements": ""}]},
    *({"rows_affected": 1, "last_insert_id": 0},) * 3,
    {"rows_affected": 1, "data": [{"id": 3, "elements": ",17"}]},
]


def test_a_batch_has_a_statement_for_each_micro_operation_and_two_for_a_transfer() -> None:
    statements = batch_of(MIXED)["statements"]
    kinds = [parse(bind(each["query"], each.get("params", []))).kind for each in statements]
    assert kinds == [Kind.READ, Kind.WRITE, Kind.WRITE, Kind.WRITE, Kind.READ]
    assert ["expect" in each for each in statements] == [False, True, True, True, False]


def test_a_batch_s_answer_is_put_into_the_micro_operations_that_asked() -> None:
    body = {"results": RESULTS}
    answered = [with_answer(micro, one) for micro, one in zip(MIXED, answers_of(MIXED, body), strict=True)]
    assert answered == [Read("3", ()), *MIXED[1:3], Read("3", (17,))]
    assert oddity_of(MIXED, body) == ""


def test_a_batch_that_did_not_do_what_it_expects_and_was_acknowledged_is_odd() -> None:
    wrong = [*RESULTS[:2], {"rows_affected": 0, "last_insert_id": 0}, *RESULTS[3:]]
    assert "affected 0 rows" in oddity_of(MIXED, {"results": wrong})
    assert "4 results" in oddity_of(MIXED, {"results": RESULTS[1:]})
