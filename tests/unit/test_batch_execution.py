"""What the master is sent for a batch, packet by packet, and what comes out: against a small stand-in for a server's session.

What MySQL makes of such packets is tested with a real one (test_atomic_batches.py of the integration tests).
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.batch_execution import SAVEPOINT, UNDO, BatchExecution, ReadLimits
from adapters.mysql_session import Column, ServerError, StatementResult
from adapters.node_sql import GUARD_FAILED_ERRNO
from replication.effects import ExecuteBatch
from replication.log import LOG_BEGIN
from replication.values import Disturbed, Executed, Refusal, Rejected, Request, RequestStatement, ResultSet

LIMITS = ReadLimits(rows_max=3, milliseconds_max=50)
HEAD = "INSERT INTO t (a) VALUES "
DUPLICATE = (1062, "23000")
LOCK_WAIT = (1205, "HY000")
A = Column("a", 8)


def row(key: str, expected: int | None = None) -> RequestStatement:
    return RequestStatement(f"{HEAD}({key})", True, 0, len(HEAD), expected_rows=expected)


def update(key: str, expected: int | None = None) -> RequestStatement:
    return RequestStatement(f"UPDATE t SET b = ({key})", expected_rows=expected)


def read(expected: int | None = None) -> RequestStatement:
    return RequestStatement("SELECT a FROM t", is_read=True, expected_rows=expected)


def effect_of(*requests: tuple[RequestStatement, ...]) -> ExecuteBatch:
    numbered = tuple((2 * n, Request(n, statements, 0)) for n, statements in enumerate(requests, start=1))
    return ExecuteBatch("node", 0, 1, "us", LOG_BEGIN, 1_000_000, numbered)


class Stopped(Exception):
    """The packet ends here."""

    def __init__(self, errno: int, sqlstate: str) -> None:
        super().__init__(errno, sqlstate)
        self.errno, self.sqlstate = errno, sqlstate


class Session:
    """A table with one unique column and a savepoint. A key that says how it fails does so."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.packets: list[list[str]] = []
        self._saved: list[str] = []
        self._last = StatementResult(0, 0, None, ())

    def run(self, packet: list[str]) -> tuple[list[StatementResult], ServerError | None]:
        self.packets.append(packet)
        results: list[StatementResult] = []
        for place, text in enumerate(packet):
            try:
                results.append(self._one(text))
            except Stopped as stopped:
                return results, ServerError(stopped.errno, stopped.sqlstate, "no", place)
        return results, None

    def _one(self, text: str) -> StatementResult:
        if text == SAVEPOINT:
            self._saved = list(self.keys)
        elif text == UNDO:
            self.keys = list(self._saved)
        elif "@fence = IF(" in text:
            self._check(text)
        elif not text.startswith("SET "):
            self._last = self._statement(text)
            return self._last
        return StatementResult(0, 0, None, ())

    def _check(self, text: str) -> None:
        for wanted in re.findall(r"(?:ROW_COUNT|FOUND_ROWS)\(\) (<=|=) (\d+)", text):
            count = len(self._last.rows) if "FOUND" in text else self._last.rows_affected
            if not (count == int(wanted[1]) or (wanted[0] == "<=" and count < int(wanted[1]))):
                raise Stopped(GUARD_FAILED_ERRNO, "21000")

    def _statement(self, text: str) -> StatementResult:
        if text.startswith("SELECT"):
            return StatementResult(0, 0, (A,), [(key,) for key in self.keys])
        if text.startswith("UPDATE"):
            return StatementResult(len(self.keys), 0, None, ())
        added = re.findall(r"\((\w+)\)", text.partition("VALUES ")[2])
        for key in added:
            if key.startswith("locked"):
                raise Stopped(*LOCK_WAIT)
            if key in self.keys or added.count(key) > 1:
                raise Stopped(*DUPLICATE)
        self.keys += added
        return StatementResult(len(added), len(self.keys) - len(added) + 1, None, ())


def executed(session: Session, effect: ExecuteBatch, *, merges: bool = True) -> BatchExecution:
    execution = BatchExecution(effect, LIMITS, merges=merges)
    while not execution.is_done:
        execution.took(*session.run(execution.next_packet()))
        assert len(session.packets) < 100, "it comes to no end"
    return execution


def test_a_batch_of_single_writes_is_one_packet_without_a_savepoint_and_opens_behind_the_guard() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"),), (update("x"),), (row("2"),)))
    (packet,) = session.packets
    assert packet[0].startswith("SET @fence = (SELECT IF(epoch = 1")
    assert packet[0].endswith(", timestamp = 1.000000, @write_timestamp = 2, @row_timestamp = 2, @row_step = 0")
    assert packet[1::2] == [f"{HEAD}(1)", "UPDATE t SET b = (x)", f"{HEAD}(2)"]
    assert execution.outcomes == [(Executed(1, 1),), (Executed(1, 0),), (Executed(1, 2),)]


def test_a_batch_of_nothing_is_the_guard_alone() -> None:
    session = Session()
    assert executed(session, effect_of()).outcomes == []
    assert [len(packet) for packet in session.packets] == [1]


def test_a_request_of_several_statements_stands_behind_a_savepoint_at_one_timestamp() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"), update("x"))))
    assert session.packets[0][1] == SAVEPOINT
    pins = [text for text in session.packets[0] if text.startswith("SET @write_timestamp")]
    assert pins == ["SET @write_timestamp = 2, @row_timestamp = 2, @row_step = 0"] * 2
    assert execution.outcomes == [(Executed(1, 1), Executed(1, 0))]


def test_inserts_of_one_request_are_one_statement_and_each_has_its_own_id() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"), row("2"), update("x"), row("3"), row("4"))))
    texts = [text for text in session.packets[0] if not text.startswith(("SET", SAVEPOINT))]
    assert texts == [f"{HEAD}(1), (2)", "UPDATE t SET b = (x)", f"{HEAD}(3), (4)"]
    assert execution.outcomes == [tuple(Executed(*did) for did in ((1, 1), (1, 2), (2, 0), (1, 3), (1, 4)))]


@pytest.mark.parametrize("merges", [True, False])
def test_of_a_refused_request_nothing_is_left_its_statement_is_named_and_the_others_stand(merges: bool) -> None:
    session = Session()
    effect = effect_of((row("1"),), (row("2"), row("3"), row("1")), (row("2"),), (update("x"), row("4")))
    execution = executed(session, effect, merges=merges)
    assert session.keys == ["1", "2", "4"]
    assert execution.a_run_failed is merges
    refused = Rejected(*DUPLICATE, "no", 2)
    assert execution.outcomes == [
        (Executed(1, 1),),
        refused,
        (Executed(1, 2),),
        (Executed(2, 0), Executed(1, 3)),
    ]


def test_a_refused_request_at_the_end_is_undone_too() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"),), (row("2"), row("1"))))
    assert session.keys == ["1"]
    assert isinstance(execution.outcomes[-1], Rejected)


def test_a_disturbance_ends_the_batch() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"),), (row("2"), row("locked")), (row("3"),)))
    assert execution.outcomes == [(Executed(1, 1),), Disturbed(*LOCK_WAIT, "no")]


def test_a_read_sees_what_stands_before_it_and_leaves_no_limit_behind() -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"), read(), row("2"), read())))
    first, second = ResultSet((A,), (("1",),)), ResultSet((A,), (("1",), ("2",)))
    assert execution.outcomes == [(Executed(1, 1), Executed(1, 0, first), Executed(1, 2), Executed(2, 0, second))]
    limits = [text for text in session.packets[0] if "sql_select_limit" in text]
    assert [("sql_select_limit = 4, max_execution_time = 50" in text) for text in limits] == [True, False, True, False]
    assert limits[-1].endswith("sql_select_limit = 18446744073709551615, max_execution_time = 0")


@pytest.mark.parametrize(
    ("statement", "said", "refusal"),
    [
        (update("x", 5), "it affected 1 rows, and 5 are expected", Refusal.EXPECTATION),
        (row("2", 2), "it affected 1 rows, and 2 are expected", Refusal.EXPECTATION),
        (read(0), "it found 1 rows, and 0 are expected", Refusal.EXPECTATION),
    ],
)
def test_a_request_that_does_not_do_what_it_expects_is_undone(
    statement: RequestStatement, said: str, refusal: Refusal
) -> None:
    session = Session()
    execution = executed(session, effect_of((row("1"), statement, update("y")), (row("9"),)))
    (unmet, done) = execution.outcomes
    assert isinstance(unmet, Rejected)
    assert (unmet.message, unmet.refusal, unmet.statement) == (said, refusal, 1)
    assert done == (Executed(1, 1),)
    assert session.keys == ["9"]
    assert session.packets[1][:2] == [UNDO, "SET sql_select_limit = 18446744073709551615, max_execution_time = 0"]


def test_what_a_request_expects_of_one_statement_alone_is_checked_too() -> None:
    session = Session()
    execution = executed(session, effect_of((update("x", 1),), (row("1"),)))
    assert isinstance(execution.outcomes[0], Rejected)
    assert session.keys == ["1"]


def test_a_read_with_more_rows_than_an_answer_may_have_refuses_the_request() -> None:
    session = Session()
    execution = executed(session, effect_of((*map(row, "1234"), read(4))))
    (refused,) = execution.outcomes
    assert isinstance(refused, Rejected)
    assert (refused.refusal, refused.statement, session.keys) == (Refusal.ROWS_MAX, 4, [])


def test_an_error_in_front_of_all_requests_is_none_of_theirs() -> None:
    execution = BatchExecution(effect_of((row("1"), row("2"))), LIMITS, merges=True)
    execution.next_packet()
    with pytest.raises(ServerError):
        execution.took([], ServerError(1037, "HY001", "out of memory", 0))


keys = st.sampled_from(["1", "2", "3", "4", "5"])
counts = st.sampled_from([None, None, None, 0, 1, 2])
statements = st.one_of(st.builds(row, keys, counts), st.builds(update, keys, counts), st.builds(read, counts))


def one_by_one(requests: list[tuple[RequestStatement, ...]]) -> tuple[list[str], list[object]]:
    """What each request does by the rules, without packets."""
    keys: list[str] = []
    outcomes: list[object] = []
    for request in requests:
        mine, told = list(keys), list[Executed]()
        refused: int | None = None
        for number, statement in enumerate(request):
            if statement.is_read:
                did = Executed(len(mine), 0, ResultSet((A,), tuple((key,) for key in mine)))
            elif statement.inserts:
                key = statement.sql[len(HEAD) + 1 : -1]
                did = Executed(1, len(mine) + 1)
                if key in mine:
                    refused = number
                    break
                mine.append(key)
            else:
                did = Executed(len(mine), 0)
            told.append(did)
            too_many = statement.is_read and did.rows_affected > LIMITS.rows_max
            if too_many or statement.expected_rows not in (None, did.rows_affected):
                refused = number
                break
        outcomes.append(tuple(told) if refused is None else refused)
        keys = mine if refused is None else keys
    return keys, outcomes


@given(
    requests=st.lists(st.lists(statements, min_size=1, max_size=5).map(tuple), max_size=6),
    merges=st.booleans(),
)
def test_packets_do_what_the_statements_do_one_by_one(
    requests: list[tuple[RequestStatement, ...]], merges: bool
) -> None:
    session = Session()
    execution = executed(session, effect_of(*requests), merges=merges)
    told = [outcome.statement if isinstance(outcome, Rejected) else outcome for outcome in execution.outcomes]
    assert (session.keys, told) == one_by_one(requests)
