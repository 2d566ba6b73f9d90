"""How the master executes a batch: what goes into the next packet, and what the answers mean. Pure.

A packet has all that is left of the batch, and MySQL stops at its first error; so there is one packet more for each error. A
request of one statement needs nothing to be undone, for MySQL undoes a statement that fails. One of several stands behind a
savepoint. Inserts that may be are executed as one statement (merged_inserts.py), within a request, or over requests of one each.

A read sees what stands before it, and nobody else writes meanwhile: it is the request's own place in the order of all writes.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile

import msgspec

from adapters.merged_inserts import Run, runs_of
from adapters.mysql_session import ServerError, StatementResult
from adapters.node_sql import FAIL, GUARD_FAILED_ERRNO, guard, pins_of, seconds
from adapters.outcomes import outcome_of
from replication.effects import ExecuteBatch
from replication.log import Entry
from replication.values import (
    Disturbed,
    Executed,
    Outcome,
    Refusal,
    Rejected,
    Request,
    RequestStatement,
    ResultSet,
)

SAVEPOINT = "SAVEPOINT request"
UNDO = "ROLLBACK TO SAVEPOINT request"
UNLIMITED = "sql_select_limit = 18446744073709551615, max_execution_time = 0"
TIME_EXCEEDED_ERRNO = 3024


class ReadLimits(msgspec.Struct, frozen=True):
    """Of a read among writes, for which all other writes wait."""

    rows_max: int
    milliseconds_max: int


class _Step(msgspec.Struct):
    """What is executed as one statement, with what belongs to it."""

    request: int
    """Number of the (first) request."""
    statement: int
    """Which of its statements it is, or begins with."""
    asked: RequestStatement
    run: Run
    begins: int
    """Place in the packet of the first statement that belongs to it."""
    text: int
    """Place of its own text; behind that comes the check of what it did, if there is one."""


class BatchExecution:
    """How far the requests of one ExecuteBatch are."""

    def __init__(self, effect: ExecuteBatch, limits: ReadLimits, *, merges: bool) -> None:
        self.outcomes: list[Outcome] = []
        self.a_run_failed = False
        self._effect = effect
        self._limits = limits
        self._merge_from = 0 if merges else len(effect.requests)
        """Requests in front of this one are executed one statement after the other."""
        self.is_open = False
        """The guard has let it pass."""
        self._undoes = False
        """What the request that was begun last did is to be undone first."""
        self._steps: list[_Step] = []
        self._packet: list[str] = []
        self._opening = ""
        self._done: list[Executed] = []
        """Of the request that is not complete yet."""

    @property
    def is_done(self) -> bool:
        if self.outcomes and isinstance(self.outcomes[-1], Disturbed):
            return True
        return self.is_open and not self._undoes and len(self.outcomes) == len(self._effect.requests)

    # ------------------------------------------------------------------------------------------ the next packet

    def next_packet(self) -> list[str]:
        """The guard is in the first statement of the first one."""
        effect = self._effect
        self._packet, self._steps, self._opening = [], [], ""
        if self._undoes:
            self._packet += [UNDO, f"SET {UNLIMITED}"]
        if not self.is_open:
            self._opening = (
                f"{guard(effect.epoch, effect.owner, effect.previous, None)}, timestamp = {seconds(effect.now_us)}"
            )
        number = len(self.outcomes)
        while number < len(effect.requests):
            timestamp, request = effect.requests[number]
            if _is_alone(request):
                number = self._add_alone(number)
                continue
            self._open()
            begins = len(self._packet)
            self._packet.append(SAVEPOINT)
            for statement, run in self._runs_in(timestamp, request, merges=number >= self._merge_from):
                self._add(number, statement, request.statements[statement], run, begins)
                begins = len(self._packet)
            number += 1
        self._open()
        return self._packet

    def _open(self) -> None:
        """The guard as a statement of its own, unless it stands already."""
        if self._opening:
            self._packet.append(f"SET {self._opening}")
            self._opening = ""

    def _add_alone(self, number: int) -> int:
        """Requests of one statement, as many as follow one another; the number of the first that is not one."""
        alone = list(takewhile(lambda asked: _is_alone(asked[1]), self._effect.requests[number:]))
        entries = [writing(timestamp, request.statements[0]) for timestamp, request in alone]
        for run in runs_of(entries, self._merge_from - number):
            self._add(number, 0, self._effect.requests[number][1].statements[0], run, len(self._packet))
            number += len(run.entries)
        return number

    @staticmethod
    def _runs_in(timestamp: int, request: Request, *, merges: bool) -> Iterator[tuple[int, Run]]:
        """What a request of several statements is executed as: (number of the first statement, run)."""
        together: list[Entry] = []
        for number, statement in enumerate(request.statements):
            is_plain = not statement.is_read and statement.expected_rows is None
            if is_plain:
                together.append(writing(timestamp, statement))
            if not is_plain or number == len(request.statements) - 1:
                first = number + is_plain - len(together)
                for run in runs_of(together, 0 if merges else len(together)):
                    yield first, run
                    first += len(run.entries)
                together = []
            if not is_plain:
                yield number, Run([writing(timestamp, statement)])

    def _add(self, request: int, statement: int, asked: RequestStatement, run: Run, begins: int) -> None:
        limits, opening = self._limits, self._opening and f"{self._opening}, "
        self._opening = ""
        if asked.is_read:
            limited = f"sql_select_limit = {limits.rows_max + 1}, max_execution_time = {limits.milliseconds_max}"
            self._packet.append(f"SET {opening}{limited}")
        else:
            self._packet.append(f"SET {opening}{pins_of(run)}")
        self._steps.append(_Step(request, statement, asked, run, begins, len(self._packet)))
        self._packet.append(run.sql)
        if asked.is_read:
            condition = f"FOUND_ROWS() <= {limits.rows_max}"
            if asked.expected_rows is not None:
                condition = f"FOUND_ROWS() = {asked.expected_rows} AND {condition}"
            self._packet.append(f"SET @fence = IF({condition}, 1, {FAIL}), {UNLIMITED}")
        elif asked.expected_rows is not None:
            self._packet.append(f"SET @fence = IF(ROW_COUNT() = {asked.expected_rows}, 1, {FAIL})")

    # ------------------------------------------------------------------------------------------ the answers

    def took(self, results: Sequence[StatementResult], failure: ServerError | None) -> None:
        """The results of the last packet, up to its end, or up to its first error. Raises what is no request's fault."""
        failed: _Step | None = None
        for step in self._steps:
            if failure is not None and not self._ended_before(failure, step):
                failed = step
                break
            self._note(step, results[step.text])
        if failure is not None and (failed is None or failure.place < failed.begins):
            raise failure
        self.is_open = True
        self._undoes = False
        if failed is not None:
            assert failure is not None
            self._note_failure(failed, failure, results)

    @staticmethod
    def _ended_before(failure: ServerError, step: _Step) -> bool:
        has_check = step.asked.is_read or step.asked.expected_rows is not None
        return step.text + has_check < failure.place

    def _note(self, step: _Step, result: StatementResult) -> None:
        request = self._effect.requests[step.request][1]
        if _is_alone(request):
            self.outcomes += [(did,) for did in executed(step, result)]
            return
        self._done += executed(step, result)
        if len(self._done) == len(request.statements):
            self.outcomes.append(tuple(self._done))
            self._done = []

    def _note_failure(self, step: _Step, failure: ServerError, results: Sequence[StatementResult]) -> None:
        is_alone = _is_alone(self._effect.requests[step.request][1])
        self._done, self._undoes = [], not is_alone
        if len(step.run.entries) > 1:
            # only one by one do they tell which of them it was
            self.a_run_failed = True
            self._merge_from = step.request + (len(step.run.entries) if is_alone else 1)
            return
        if failure.place > step.text and failure.errno == GUARD_FAILED_ERRNO:
            outcome: Outcome = _unmet(step, results[step.text], self._limits.rows_max)
        elif step.asked.is_read and failure.errno == TIME_EXCEEDED_ERRNO:
            outcome = Rejected(failure.errno, failure.sqlstate, failure.message, step.statement)
        else:
            outcome = outcome_of(failure, step.statement)
        self.outcomes.append(outcome)


def _is_alone(request: Request) -> bool:
    """One write by itself: MySQL undoes what it does when it fails."""
    statements = request.statements
    return len(statements) == 1 and statements[0].expected_rows is None and not statements[0].is_read


def writing(timestamp: int, statement: RequestStatement) -> Entry:
    """The entry that the statement becomes if it changes a row; its id is not known yet."""
    return Entry(timestamp, statement.sql, 1, 0, statement.rand_seed, statement.row_at)


def executed(step: _Step, result: StatementResult) -> list[Executed]:
    """What each statement of the run would have been told. Ids that the server made for one statement count up by one."""
    if step.asked.is_read:
        found = ResultSet(tuple(result.columns or ()), tuple(result.rows))
        return [Executed(len(found.rows), 0, found)]
    first = result.insert_id if step.asked.inserts else 0
    count = len(step.run.entries)
    if count == 1:
        return [Executed(result.rows_affected, first)]
    return [Executed(1, first and first + place) for place in range(count)]


def _unmet(step: _Step, result: StatementResult, rows_max: int) -> Rejected:
    """What came out is not what may."""
    if step.asked.is_read and len(result.rows) > rows_max:
        message = f"the result has more than {rows_max} rows: add a LIMIT or a WHERE"
        return Rejected(GUARD_FAILED_ERRNO, "21000", message, step.statement, Refusal.ROWS_MAX)
    count = len(result.rows) if step.asked.is_read else result.rows_affected
    did = "found" if step.asked.is_read else "affected"
    message = f"it {did} {count} rows, and {step.asked.expected_rows} are expected"
    return Rejected(GUARD_FAILED_ERRNO, "21000", message, step.statement, Refusal.EXPECTATION)
