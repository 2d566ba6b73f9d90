"""A history that was written down is the history that is read back: a failed run can be judged again, by a better checker."""

from pathlib import Path

import pytest
from history import (
    Append,
    Balances,
    CompareAndSet,
    History,
    MicroOperation,
    Operation,
    Outcome,
    Read,
    RegisterRead,
    Transfer,
)
from hypothesis import given
from hypothesis import strategies as st

NUMBER = st.integers(-(2**63), 2**63 - 1)
TIME_NS = st.integers(0, 2**62)
MICRO_OPERATIONS = st.one_of(
    st.builds(Append, key=st.text(), value=NUMBER),
    st.builds(Read, key=st.text(), values=st.none() | st.lists(NUMBER).map(tuple)),
    st.builds(CompareAndSet, key=st.text(), expected=NUMBER, new=NUMBER, changed=st.none() | st.booleans()),
    st.builds(RegisterRead, key=st.text(), value=st.none() | NUMBER),
    st.builds(Transfer, from_account=st.text(), to_account=st.text(), amount=NUMBER),
    st.builds(Balances, values=st.none() | st.dictionaries(st.text(), NUMBER)),
)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    outcome = draw(st.sampled_from(Outcome))
    invoked_ns = draw(TIME_NS)
    took_ns = draw(st.none() | TIME_NS if outcome is Outcome.INFO else TIME_NS)
    return Operation(
        process=draw(st.integers(0, 10_000)),
        invoked_ns=invoked_ns,
        returned_ns=None if took_ns is None else invoked_ns + took_ns,
        outcome=outcome,
        micro_operations=tuple(draw(st.lists(MICRO_OPERATIONS, max_size=4))),
        timestamp=draw(st.none() | NUMBER),
        node=draw(st.text(max_size=8)),
    )


HISTORIES = st.builds(
    History,
    operations=st.lists(operations(), max_size=5),
    final_reads=st.dictionaries(st.text(), st.lists(NUMBER).map(tuple), max_size=3),
    initial_registers=st.dictionaries(st.text(), NUMBER, max_size=3),
    accounts_total=st.none() | NUMBER,
)


@given(history=HISTORIES)
def test_what_was_saved_is_loaded(history: History, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    history.save(path)
    assert History.load(path) == history


def test_an_operation_is_one_line_of_json(tmp_path: Path) -> None:
    micro_operations: tuple[MicroOperation, ...] = (Append("list-1", 7), Read("list-1", (7,)))
    History([Operation(3, 10, 20, Outcome.OK, micro_operations, 5, "replica-1")], {"list-1": (7,)}).save(
        tmp_path / "history.jsonl"
    )
    assert (tmp_path / "history.jsonl").read_text().splitlines() == [
        '{"type":"Begin","initial_registers":{},"accounts_total":null}',
        '{"type":"Operation","process":3,"invoked_ns":10,"returned_ns":20,"outcome":"ok","micro_operations":'
        '[{"type":"Append","key":"list-1","value":7},{"type":"Read","key":"list-1","values":[7]}],'
        '"timestamp":5,"node":"replica-1"}',
        '{"type":"FinalRead","key":"list-1","values":[7]}',
    ]


def test_no_answer_is_told_from_an_empty_list(tmp_path: Path) -> None:
    history = History([Operation(1, 0, None, Outcome.INFO, (Read("a", None), Read("b", ())))])
    history.save(tmp_path / "history.jsonl")
    loaded = History.load(tmp_path / "history.jsonl")
    assert loaded.operations[0].micro_operations == (Read("a", None), Read("b", ()))


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.FAIL])
def test_only_an_operation_of_unknown_outcome_has_no_time_of_return(outcome: Outcome) -> None:
    Operation(1, 0, None, Outcome.INFO, ())
    with pytest.raises(ValueError, match="only an info operation"):
        Operation(1, 0, None, outcome, ())


def test_no_operation_returns_before_it_was_invoked() -> None:
    with pytest.raises(ValueError, match="returned before it was invoked"):
        Operation(1, 10, 9, Outcome.OK, ())
