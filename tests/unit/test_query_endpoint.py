"""The hot route from bytes to bytes: what is taken for a query, where a read goes, and how MySQL's values become JSON."""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import crash_point
import pytest
from admission import Admission
from driver import Driver
from errors import QueryError
from exactly_once import ExactlyOnce
from node_reading import NodeReading
from query_endpoint import QueryEndpoint
from query_request import LONG_TEXT_CHARS, body_of, bound
from traffic import Traffic

from adapters.mysql_session import Column, ConnectionBroken, ServerError, StatementResult
from adapters.node_reader import ConnectionIsNew, NodeReader
from adapters.schema_reader import SchemaReader, SchemaUnknown
from replication.effects import Acknowledge, Fail, ReadAllowed, ReadRefused, Refuse, Stale
from replication.values import STRONG, Executed, ReadLevel, ReadNeed, Refusal, Rejected, RequestStatement, ResultSet
from statements.schema_catalogue import Catalogue, ColumnFacts, Table, UniqueKey

LONGLONG, STRING, BLOB, DATETIME, DECIMAL, TIME = 8, 253, 252, 12, 246, 11
STATEMENTS_MAX = 5


class StubDriver:
    """Gives leave at once, and keeps what it was asked and told."""

    def __init__(self) -> None:
        self.write_answer: Acknowledge | Refuse | Fail | None = None
        self.refusal: ReadRefused | None = None
        self.leave_given_ns: list[int] = []
        self.finished: list[str] = []
        self.needs: list[ReadNeed] = []
        self.requests: list[tuple[RequestStatement, ...]] = []
        self.written: list[tuple[str, bool, bool]] = []
        self.versions: list[int] = []
        self.rows_at: list[tuple[int, int]] = []
        self.stale_answers = 0
        """How many writes that rest on the schema come back as stale before one is answered."""
        self.changes_at_once, self.most_changes_at_once = 0, 0

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.leave_given_ns.append(time.monotonic_ns())
        self.needs.append(need)
        # others run between the leave and whoever waits for it
        await asyncio.sleep(0.01)  # others run meanwhile
        return self.refusal or ReadAllowed(1, "replica-1", 77, 0, time.monotonic_ns())

    def read_finished(self, node: str, latency_ns: int) -> None:
        self.finished.append(node)

    async def write(
        self, statements: tuple[RequestStatement, ...], schema_version: int, row_schema: int
    ) -> Acknowledge | Refuse | Fail | Stale:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.requests.append(statements)
        self.written += [(each.sql, each.inserts, each.rand_seed != 0) for each in statements]
        self.versions.append(schema_version)
        self.rows_at.append((statements[0].row_at, row_schema))
        if schema_version and self.stale_answers:
            self.stale_answers -= 1
            return Stale(1)
        assert self.write_answer is not None
        return self.write_answer

    async def change_schema(self, sql: str) -> Acknowledge | Refuse | Fail | Stale:
        self.changes_at_once += 1
        self.most_changes_at_once = max(self.most_changes_at_once, self.changes_at_once)
        await asyncio.sleep(0.005)  # others run meanwhile
        self.changes_at_once -= 1
        self.written.append((sql, False, False))
        assert self.write_answer is not None
        return self.write_answer


class StubSchema:
    """One table `t`, of another version at every reading."""

    def __init__(self, unknown: SchemaUnknown | None = None) -> None:
        self._unknown = unknown
        self.readings = 0
        self.soon: Catalogue | None = None
        """What is at hand for who can do without."""

    def at_hand(self) -> Catalogue | None:
        return None

    def at_hand_or_soon(self, deadline_ns: int) -> Catalogue | None:
        return self.soon

    async def catalogue(self, deadline_ns: int) -> Catalogue:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        if self._unknown is not None:
            raise self._unknown
        self.readings += 1
        columns = {name: ColumnFacts(name, "int") for name in ("id", "a")}
        table = Table("d", "t", columns, (UniqueKey("PRIMARY", ("id",)),))
        return Catalogue(self.readings, "d", [table])


class StubReader:
    def __init__(self, *answers: StatementResult | Exception) -> None:
        self._answers = list(answers)
        self.leaves_ns: list[int] = []
        self.texts: list[str] = []
        self.breaks_off: Exception | None = None
        """What a stream fails with after its rows."""
        self.goes_on: asyncio.Event | None = None
        """What a read waits for."""
        self.begun = asyncio.Event()
        self.given_up = 0
        self.streams: list[StubStream] = []

    async def read(self, texts: Sequence[str], leave_ns: int) -> list[StatementResult]:
        self.begun.set()
        try:
            await asyncio.sleep(0)  # a turn of the loop, as the real one takes
            if self.goes_on is not None:
                await self.goes_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        self.leaves_ns.append(leave_ns)
        self.texts += texts
        results = []
        for _ in texts:
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            results.append(answer)
        return results

    async def open_stream(self, text: str, leave_ns: int) -> "StubStream":
        self.streams.append(StubStream((await self.read([text], leave_ns))[0], self.breaks_off))
        return self.streams[-1]


class StubStream:
    """Gives a result row by row."""

    def __init__(self, result: StatementResult, breaks_off: Exception | None) -> None:
        self.columns = result.columns
        self._rows = list(result.rows)
        self._breaks_off = breaks_off
        self.is_closed = False

    async def rows(self) -> list[tuple[Any, ...]]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        if not self._rows and self._breaks_off is not None:
            raise self._breaks_off
        part, self._rows = self._rows[:1], self._rows[1:]
        return part

    def close(self) -> None:
        self.is_closed = True


def endpoint_of(
    driver: StubDriver,
    reader: StubReader | None = None,
    deadline_ms: int = 1000,
    schema: StubSchema | None = None,
    room: Admission | None = None,
    traffic: Traffic | None = None,
) -> QueryEndpoint:
    readers = cast(dict[str, NodeReader], {"replica-1": reader or StubReader()})
    schema_reader = cast(SchemaReader, schema or StubSchema())
    reading = NodeReading(cast(Driver, driver), readers)
    return QueryEndpoint(
        cast(Driver, driver),
        reading,
        schema_reader,
        ExactlyOnce(reading, 60, deadline_ms),
        room or Admission(9, 1 << 22),
        1 << 20,
        STATEMENTS_MAX,
        deadline_ms,
        1.0,
        traffic or Traffic(),
    )


async def answered(endpoint: QueryEndpoint, data: bytes) -> dict[str, Any]:
    """What is answered in one piece."""
    answer = await endpoint.answer(data)
    assert isinstance(answer, dict)
    return answer


def query_body(sql: str) -> bytes:
    return json.dumps({"query": sql}).encode()


async def over_asgi(
    endpoint: QueryEndpoint, *messages: dict[str, Any], accept: str = "*/*"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of one request, whose client stays to the end."""
    arriving, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        if not arriving:
            await asyncio.Event().wait()
        return arriving.pop(0)

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        sent.append(message)

    headers = [(b"accept", accept.encode())]
    await endpoint({"type": "http", "method": "POST", "path": "/query", "headers": headers}, receive, send)
    start, *parts = sent
    assert [bool(part.get("more_body")) for part in parts] == [True] * (len(parts) - 1) + [False]
    return start["status"], dict(start["headers"]), b"".join(part["body"] for part in parts)


async def answer_to(result: StatementResult) -> str:
    """The JSON text of a read's answer."""
    endpoint = endpoint_of(StubDriver(), StubReader(result))
    status, headers, body = await over_asgi(endpoint, {"type": "http.request", "body": query_body("SELECT 1")})
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    assert headers[b"content-length"] == str(len(body)).encode()
    return body.decode()


def one_row(**values: tuple[int, object]) -> StatementResult:
    """A result of one row; each column with its type code and value."""
    columns = [Column(name, code) for name, (code, _) in values.items()]
    return StatementResult(1, 0, columns, [tuple(value for _, value in values.values())])


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        (LONGLONG, None, "null"),
        (LONGLONG, 0, "0"),
        (LONGLONG, 18_446_744_073_709_551_615, "18446744073709551615"),
        (LONGLONG, -9_223_372_036_854_775_808, "-9223372036854775808"),
        (5, 0.1, "0.1"),
        (5, 1e300, "1e300"),
        (DECIMAL, Decimal("12345678901234567890.1234567890"), '"12345678901234567890.1234567890"'),
        (DECIMAL, Decimal("0.10"), '"0.10"'),
        (DECIMAL, Decimal("-5"), '"-5"'),
        (DATETIME, datetime(2025, 11, 23, 16, 30), '"2025-11-23T16:30:00"'),
        (DATETIME, datetime(2025, 11, 23, 16, 30, 0, 1), '"2025-11-23T16:30:00.000001"'),
        (DATETIME, datetime(2025, 11, 23, 16, 30, 0, 500_000), '"2025-11-23T16:30:00.500000"'),
        (10, date(2025, 1, 2), '"2025-01-02"'),
        (TIME, timedelta(hours=1), '"01:00:00"'),
        (TIME, None, "null"),
        (STRING, 'größe ✓ 😀 "quoted"\n', '"größe ✓ 😀 \\"quoted\\"\\n"'),
        (STRING, "", '""'),
        (BLOB, b"\x00\xffabc", f'"{base64.b64encode(bytes([0, 255]) + b"abc").decode()}"'),
        (BLOB, b"", '""'),
    ],
)
async def test_every_value_arrives_exactly(code: int, value: object, text: str) -> None:
    assert f'"data":[{{"value":{text}}}]' in await answer_to(one_row(value=(code, value)))


async def test_an_answer_names_the_node_and_how_far_it_is() -> None:
    answer = json.loads(await answer_to(one_row(a=(LONGLONG, 1), b=(STRING, None))))
    assert answer == {
        "success": True,
        "message": "Read successful",
        "data": [{"a": 1, "b": None}],
        "rows_affected": 1,
        "executed_on": "replica-1",
        "applied_timestamp": 77,
        "staleness_ms": 0,
    }


# ------------------------------------------------------------------------------------------ lines

LINES = "application/x-ndjson"


async def lines_of(reader: StubReader, **fields: object) -> list[dict[str, Any]]:
    body = json.dumps({"query": "SELECT a FROM t", **fields}).encode()
    request = {"type": "http.request", "body": body}
    status, headers, text = await over_asgi(
        endpoint_of(StubDriver(), reader), request, accept=f"text/html, {LINES};q=1"
    )
    assert (status, headers[b"content-type"]) == (200, LINES.encode())
    assert b"content-length" not in headers
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


async def test_a_result_can_be_had_as_lines_and_the_last_one_says_that_it_is_whole() -> None:
    result = StatementResult(2, 0, [Column("a", LONGLONG), Column("b", TIME)], [(1, timedelta(hours=30)), (2, None)])
    head, *rows, end = await lines_of(StubReader(result))
    columns = [{"name": "a", "type": "BIGINT"}, {"name": "b", "type": "TIME"}]
    told = {"success": True, "executed_on": "replica-1", "applied_timestamp": 77, "staleness_ms": 0, "columns": columns}
    assert head == {"result": told}
    assert rows == [{"row": {"a": 1, "b": "30:00:00"}}, {"row": {"a": 2, "b": None}}]
    assert end == {"end": {"rows_affected": 2}}


async def test_lines_have_the_form_that_is_asked_for() -> None:
    result = StatementResult(1, 0, [Column("a", LONGLONG), Column("a", LONGLONG)], [(2**63 - 1, 1)])
    (_, row, _) = await lines_of(StubReader(result), format={"rows": "arrays", "integers": "text"})
    assert row == {"row": ["9223372036854775807", "1"]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ServerError(3024, "HY000", "Query execution was interrupted", 0), "timed_out"),
        (ConnectionBroken("the connection broke", sent=True), "unavailable"),
    ],
)
async def test_lines_that_break_off_end_with_the_error(error: Exception, kind: str) -> None:
    reader = StubReader(one_row(a=(LONGLONG, 1)))
    reader.breaks_off = error
    _, row, last = await lines_of(reader)
    assert row == {"row": {"a": 1}}
    assert last["error"]["error"]["kind"] == kind
    assert (last["error"]["success"], last["error"]["committed"]) == (False, False)


async def test_what_fails_before_its_first_line_and_what_has_no_rows_is_answered_as_ever() -> None:
    error = ServerError(1146, "42S02", "Table 'd.t' doesn't exist", 0)
    request = {"type": "http.request", "body": query_body("SELECT a FROM t")}
    status, headers, _ = await over_asgi(endpoint_of(StubDriver(), StubReader(error)), request, accept=LINES)
    assert (status, headers[b"content-type"]) == (400, b"application/json")
    driver = StubDriver()
    driver.write_answer = Acknowledge(1, 5, (Executed(1, 0),), "mysql-master", ("replica-1",), 2)
    request = {"type": "http.request", "body": query_body("DELETE FROM u")}
    status, headers, _ = await over_asgi(endpoint_of(driver), request, accept=LINES)
    assert (status, headers[b"content-type"]) == (200, b"application/json")


async def test_a_client_that_leaves_ends_its_read() -> None:
    gone = asyncio.Event()
    messages = [{"type": "http.request", "body": query_body("SELECT a FROM t")}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await gone.wait()
            return {"type": "http.disconnect"}
        return messages.pop()

    async def send(message: Any) -> None:
        raise AssertionError(f"nobody is there to get {message}")

    scope = {"type": "http", "method": "POST", "path": "/query", "headers": [], "client": ("127.0.0.1", 1)}
    reader = StubReader(one_row(a=(LONGLONG, 1)))
    reader.goes_on = asyncio.Event()
    room = Admission(9, 1 << 22)
    asked = asyncio.create_task(endpoint_of(StubDriver(), reader, room=room)(scope, receive, send))
    await reader.begun.wait()
    gone.set()
    async with asyncio.timeout(5):
        await asked
    assert reader.given_up == 1
    assert room.requests == 0


async def test_a_client_that_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[object] = []
    monkeypatch.setattr(crash_point, "hang_up", cut.append)
    request = {"type": "http.request", "body": query_body("SELECT a FROM t")}
    taken: list[str] = []
    stays = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if taken:
            await stays.wait()
        return request

    async def send(message: Any) -> None:
        taken.append(message["type"])
        if len(taken) > 2:
            await stays.wait()

    peer, headers = ("127.0.0.1", 1), [(b"accept", LINES.encode())]
    scope = {"type": "http", "method": "POST", "path": "/query", "headers": headers, "client": peer}
    reader = StubReader(one_row(a=(LONGLONG, 1)))
    async with asyncio.timeout(5):
        await endpoint_of(StubDriver(), reader)(scope, receive, send)
    assert cut == [peer]
    assert reader.streams[0].is_closed


# ------------------------------------------------------------------------------------------ requests


async def text_of(data: bytes) -> str:
    body = body_of(data)
    assert body.query is not None
    return await bound(body.query, body.params)


@pytest.mark.parametrize("body", [b'{"query": "SELECT 1"}', b' {"query":"SELECT 1"}\n', b'{"query": "SELECT\\u00201"}'])
async def test_the_query_is_the_text_in_the_body(body: bytes) -> None:
    assert await text_of(body) == "SELECT 1"


async def test_parameters_are_bound_in_a_short_text_and_in_a_long_one() -> None:
    for blanks in (0, 2 * LONG_TEXT_CHARS):
        body = json.dumps({"query": f"SELECT ?,{' ' * blanks} ?", "params": ["it's", 2]}).encode()
        assert await text_of(body) == f"SELECT 'it''s',{' ' * blanks} 2"
        body = json.dumps({"query": f"SELECT :a,{' ' * blanks} :b", "params": {"b": 2, "a": None}}).encode()
        assert await text_of(body) == f"SELECT NULL,{' ' * blanks} 2"


async def test_whole_numbers_of_any_size_arrive_as_they_were_sent() -> None:
    for number in (2**53 + 1, -(2**63), 2**64 - 1, 10**40 + 1):
        assert await text_of(b'{"query": "SELECT ?", "params": [%d]}' % number) == f"SELECT {number}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"SELECT 1", 400),
        (b'{"query": "SELECT 1"', 400),
        (b'{"query": "SELECT 1"} more', 400),
        (b'{"query": "\xe9"}', 400),
        (b'{"query": "\\ud800"}', 400),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"query": 1}', 422),
        (b'{"query": ["SELECT 1"]}', 422),
        (b'{"Query": "SELECT 1"}', 422),
        (b'{"query": "SELECT 1", "params": 1}', 422),
        (b'{"query": "SELECT 1", "params": "x"}', 422),
        (b'{"query": "SELECT 1", "params": [1]}', 422),
        (b'{"query": "SELECT ?", "params": []}', 422),
        (b'{"query": "SELECT ?", "params": [[1]]}', 422),
        (b'{"query": "SELECT ?", "params": [NaN]}', 400),
        (b'{"params": []}', 422),
        (b'{"query": "SELECT 1", "statements": [{"query": "SELECT 1"}]}', 422),
        (b'{"params": [], "statements": [{"query": "SELECT 1"}]}', 422),
        (b'{"statements": {"query": "SELECT 1"}}', 422),
        (b'{"statements": ["SELECT 1"]}', 422),
        (b'{"statements": [{"params": []}]}', 422),
        (b'{"statements": [{"query": "SELECT 1", "expect": 1}]}', 422),
        (b'{"statements": [{"query": "SELECT 1", "expect": {}}]}', 422),
        (b'{"statements": [{"query": "SELECT 1", "expect": {"rows_affected": -1}}]}', 422),
        (b'{"statements": [{"query": "SELECT 1", "expect": {"rows": 1}}]}', 422),
    ],
)
async def test_a_body_that_is_no_query_is_refused_with_what_is_wrong(body: bytes, status: int) -> None:
    with pytest.raises(QueryError) as refused:
        await text_of(body)
    assert (refused.value.status, refused.value.kind, refused.value.committed) == (status, "bad_request", False)


async def test_every_request_is_counted_by_its_kind_and_what_became_of_it() -> None:
    driver, traffic = StubDriver(), Traffic()
    driver.write_answer = Acknowledge(1, 7, (Executed(1, 1),), "mysql-master", ("replica-1", "replica-2"), 2)
    endpoint = endpoint_of(driver, StubReader(StatementResult(0, 0, [], [])), traffic=traffic)
    texts = ("INSERT INTO users (name) VALUES ('x')", "SELECT 1", "SELECT SLEEP(1)", "no SQL")
    for body in (*map(query_body, texts), b"no JSON", batch_body("DELETE FROM u", "DELETE FROM v")):
        driver.write_answer = driver.write_answer if b"INSERT" in body else Fail(1, False, "no quorum")
        await over_asgi(endpoint, {"type": "http.request", "body": body})
    assert traffic.requests == {
        ("write", "ok"): 1,
        ("read", "ok"): 1,
        ("unknown", "refused"): 1,
        ("unknown", "syntax"): 1,
        ("unknown", "bad_request"): 1,
        ("batch", "unavailable"): 1,
    }
    assert traffic.errnos == {1235: 1, 1064: 1}
    assert {kind: sum(histogram.counts) for kind, histogram in traffic.seconds.items()} == {
        "write": 1,
        "read": 1,
        "unknown": 3,
        "batch": 1,
    }


async def test_a_client_that_goes_away_in_the_middle_of_its_request_runs_nothing() -> None:
    driver = StubDriver()
    first = {"type": "http.request", "body": query_body("DELETE FROM users")[:-3], "more_body": True}
    status, _, body = await over_asgi(endpoint_of(driver), first, {"type": "http.disconnect"})
    assert (status, json.loads(body)["error"]["kind"]) == (400, "bad_request")
    assert driver.written == []


async def test_a_request_may_come_in_pieces() -> None:
    reader = StubReader(one_row(a=(LONGLONG, 1)))
    body = query_body("SELECT 'größe'")
    pieces = [
        {"type": "http.request", "body": body[n : n + 1], "more_body": n + 1 < len(body)} for n in range(len(body))
    ]
    status, *_ = await over_asgi(endpoint_of(StubDriver(), reader), *pieces)
    assert (status, reader.texts) == (200, ["SELECT 'größe'"])


async def test_what_is_run_has_neither_comments_around_it_nor_a_semicolon() -> None:
    driver = StubDriver()
    driver.write_answer = Acknowledge(1, 5, (Executed(1, 9),), "replica-2", ("replica-1", "replica-3"), 2)
    sql = "/* a */ INSERT INTO users (name) VALUES (RAND()) ; -- b"
    answer = await answered(endpoint_of(driver), query_body(sql))
    assert driver.written == [("INSERT INTO users (name) VALUES (RAND())", True, True)]
    assert (answer["message"], answer["executed_on"]) == ("Write successful (timestamp: 5, quorum: 2/2)", "replica-2")
    assert answer["last_insert_id"] == 9


async def test_a_long_text_is_parsed_in_steps_between_which_others_run() -> None:
    driver = StubDriver()
    driver.write_answer = Acknowledge(1, 5, (Executed(1, 0),), "replica-2", ("replica-1", "replica-3"), 2)
    rows = ", ".join(f"('name {n}', 'x')" for n in range(20_000))
    sql = f"INSERT INTO users (name, email) VALUES {rows}"
    assert len(sql) > LONG_TEXT_CHARS
    turns, is_done = 0, False

    async def others() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)  # a turn of the loop, as the real one takes

    task = asyncio.create_task(others())
    await endpoint_of(driver).answer(query_body(sql))
    is_done = True
    await task
    assert turns > 10
    assert driver.written == [(sql, True, False)]


# ------------------------------------------------------------------------------------------ read levels


@pytest.mark.parametrize(
    ("asked", "need"),
    [
        ({}, STRONG),
        ({"level": "strong"}, ReadNeed()),
        ({"level": "leader"}, ReadNeed(ReadLevel.LEADER)),
        ({"level": "any"}, ReadNeed(ReadLevel.ANY)),
        ({"level": "bounded", "max_staleness_ms": 250}, ReadNeed(ReadLevel.BOUNDED, 250_000_000)),
        ({"max_staleness_ms": 0}, ReadNeed(ReadLevel.BOUNDED)),
        ({"after_timestamp": 5}, ReadNeed(ReadLevel.ANY, 0, 5)),
        ({"level": "leader", "after_timestamp": 5}, ReadNeed(ReadLevel.LEADER, 0, 5)),
    ],
)
async def test_what_a_read_needs_is_asked_of_the_protocol(asked: dict[str, Any], need: ReadNeed) -> None:
    driver = StubDriver()
    one = json.dumps({"query": "SELECT 1", **asked}).encode()
    several = json.dumps({"statements": [{"query": "SELECT 1"}], **asked}).encode()
    for body in (one, several):
        answer = await answered(endpoint_of(driver, StubReader(one_row(a=(LONGLONG, 1)))), body)
        assert (answer["executed_on"], answer["applied_timestamp"], answer["staleness_ms"]) == ("replica-1", 77, 0)
    assert driver.needs == [need, need]


async def test_rows_look_as_the_request_wants_them_in_a_batch_too() -> None:
    wanted = {"format": {"rows": "arrays", "integers": "text"}}
    one = json.dumps({"query": "SELECT 1", **wanted}).encode()
    answer = await answered(endpoint_of(StubDriver(), StubReader(one_row(a=(LONGLONG, 2**63 - 1)))), one)
    rows = {"columns": [{"name": "a", "type": "BIGINT"}], "data": [[str(2**63 - 1)]]}
    assert {name: answer[name] for name in rows} == rows
    driver = StubDriver()
    results = (Executed(1, 0), Executed(1, 0, ResultSet((Column("a", LONGLONG),), ((2**63 - 1,),))))
    driver.write_answer = Acknowledge(1, 5, results, "replica-2", ("replica-1", "replica-3"), 2)
    several = json.dumps({"statements": [{"query": "DELETE FROM t"}, {"query": "SELECT 1"}], **wanted}).encode()
    batch = await answered(endpoint_of(driver), several)
    assert cast(list[Any], batch["results"])[1] == {"rows_affected": 1, **rows}


@pytest.mark.parametrize("form", [{"rows": "tables"}, {"integers": 1}, {"row": "arrays"}, "arrays", {"columns": "yes"}])
async def test_a_format_that_is_none_is_refused(form: object) -> None:
    with pytest.raises(QueryError) as refused:
        await endpoint_of(StubDriver()).answer(json.dumps({"query": "SELECT 1", "format": form}).encode())
    assert (refused.value.status, refused.value.kind) == (422, "bad_request")


@pytest.mark.parametrize(
    "asked",
    [
        {"level": "bounded"},
        {"level": "any", "max_staleness_ms": 5},
        {"level": "quorum"},
        {"level": "bounded", "max_staleness_ms": -1},
        {"after_timestamp": "5"},
        {"max_staleness_ms": 1.5},
    ],
)
async def test_a_need_that_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as refused:
        await endpoint_of(StubDriver()).answer(json.dumps({"query": "SELECT 1", **asked}).encode())
    assert (refused.value.status, refused.value.kind) == (422, "bad_request")


async def test_a_write_has_no_read_level() -> None:
    driver = StubDriver()
    for asked in ({"query": "DELETE FROM t"}, {"statements": [{"query": "DELETE FROM t"}, {"query": "SELECT 1"}]}):
        with pytest.raises(QueryError) as refused:
            await endpoint_of(driver).answer(json.dumps(asked | {"level": "any"}).encode())
        assert refused.value.status == 422
    assert driver.requests == []


# ------------------------------------------------------------------------------------------ batches


def batch_body(*statements: str | dict[str, Any]) -> bytes:
    asked = [{"query": each} if isinstance(each, str) else each for each in statements]
    return json.dumps({"statements": asked}).encode()


async def test_a_batch_is_one_request_and_is_told_what_each_statement_did() -> None:
    driver = StubDriver()
    found = ResultSet((Column("a", LONGLONG),), ((7,),))
    results = (Executed(1, 9), Executed(1, 0, found), Executed(3, 0))
    driver.write_answer = Acknowledge(1, 5, results, "replica-2", ("replica-1", "replica-3"), 2)
    update = {"query": "UPDATE t SET a = ? WHERE b = ?", "params": ["it's", 2]}
    batch = batch_body(
        "INSERT INTO t (a) VALUES (RAND())", "SELECT a FROM t", update | {"expect": {"rows_affected": 3}}
    )
    answer = await answered(endpoint_of(driver), batch)
    ((insert, read, write),) = driver.requests
    assert (insert.inserts, insert.rand_seed != 0, insert.is_read) == (True, True, False)
    assert (read.sql, read.is_read) == ("SELECT a FROM t", True)
    assert (write.sql, write.expected_rows) == ("UPDATE t SET a = 'it''s' WHERE b = 2", 3)
    assert answer == {
        "success": True,
        "message": "Batch successful (timestamp: 5, quorum: 2/2)",
        "timestamp": 5,
        "rows_affected": 4,
        "results": [
            {"rows_affected": 1, "last_insert_id": 9},
            {"rows_affected": 1, "data": [{"a": 7}]},
            {"rows_affected": 3, "last_insert_id": 0},
        ],
        "executed_on": "replica-2",
        "quorum": ("replica-1", "replica-3"),
        "committed": True,
    }


async def test_a_batch_of_reads_goes_to_one_node_and_is_no_write() -> None:
    driver, reader = StubDriver(), StubReader(one_row(a=(LONGLONG, 1)), one_row(b=(LONGLONG, 2)))
    answer = await answered(endpoint_of(driver, reader), batch_body("SELECT a FROM t", "SHOW TABLES"))
    assert answer["results"] == [{"rows_affected": 1, "data": [{"a": 1}]}, {"rows_affected": 1, "data": [{"b": 2}]}]
    assert (answer["executed_on"], answer["applied_timestamp"], driver.requests) == ("replica-1", 77, [])


@pytest.mark.parametrize(
    ("statements", "status", "kind", "index"),
    [
        ([], 422, "bad_request", None),
        (["SELECT 1"] * (STATEMENTS_MAX + 1), 422, "bad_request", None),
        (["DELETE FROM t", "nonsense"], 400, "syntax", 1),
        (["DELETE FROM t", "SELECT 1", {"query": "SELECT ?", "params": []}], 422, "bad_request", 2),
        (["DELETE FROM t", "CREATE TABLE u (a INT)"], 400, "refused", 1),
        (["SHOW TABLES", "DELETE FROM t"], 400, "refused", 0),
        (["DELETE FROM t", "SELECT * FROM information_schema.tables"], 400, "refused", 1),
        (["DELETE FROM t", "EXPLAIN SELECT * FROM t"], 400, "refused", 1),
        (["DELETE FROM t", "SELECT a FROM t FOR UPDATE"], 400, "refused", 1),
        (["UPDATE t SET a = 1", "DELETE FROM t LIMIT 5"], 400, "refused", 1),
    ],
)
async def test_a_batch_with_a_statement_that_is_refused_is_not_sent(
    statements: list[Any], status: int, kind: str, index: int | None
) -> None:
    driver = StubDriver()
    with pytest.raises(QueryError) as refused:
        await endpoint_of(driver).answer(batch_body(*statements))
    error = refused.value
    assert (error.status, error.kind, error.statement_index, error.committed) == (status, kind, index, False)
    assert driver.requests == []


@pytest.mark.parametrize(
    ("rejected", "status", "kind"),
    [
        (Rejected(1062, "23000", "Duplicate entry", 1), 409, "constraint"),
        (Rejected(1242, "21000", "it affected 0 rows", 1, Refusal.EXPECTATION), 409, "expectation"),
        (Rejected(1242, "21000", "too many rows", 1, Refusal.ROWS_MAX), 413, "bad_request"),
        (Rejected(3024, "HY000", "time exceeded", 1), 504, "timed_out"),
    ],
)
async def test_what_a_statement_of_a_batch_was_refused_for_is_said_with_its_place(
    rejected: Rejected, status: int, kind: str
) -> None:
    driver = StubDriver()
    driver.write_answer = Refuse(1, rejected, "replica-2")
    with pytest.raises(QueryError) as refused:
        await endpoint_of(driver).answer(batch_body("DELETE FROM u", "INSERT INTO u (a) VALUES (1)"))
    error = refused.value
    assert (error.status, error.kind, error.statement_index, error.committed) == (status, kind, 1, False)
    if kind == "constraint":
        assert (error.errno, error.sqlstate) == (1062, "23000")


async def test_what_a_read_of_a_batch_of_reads_must_find_is_checked() -> None:
    reader = StubReader(one_row(a=(LONGLONG, 1)), one_row(a=(LONGLONG, 1)))
    none = {"query": "SELECT a FROM t", "expect": {"rows_affected": 0}}
    with pytest.raises(QueryError) as refused:
        await endpoint_of(StubDriver(), reader).answer(batch_body("SELECT a FROM t", none))
    assert (refused.value.status, refused.value.kind, refused.value.statement_index) == (409, "expectation", 1)


async def test_an_error_of_a_read_in_a_batch_names_the_read() -> None:
    reader = StubReader(ServerError(1054, "42S22", "Unknown column", 1))
    with pytest.raises(QueryError) as refused:
        await endpoint_of(StubDriver(), reader).answer(batch_body("SELECT a FROM t", "SELECT z FROM t"))
    assert (refused.value.status, refused.value.statement_index) == (400, 1)


async def test_only_a_query_is_explained() -> None:
    with pytest.raises(QueryError) as refused:
        await endpoint_of(StubDriver()).explain(batch_body("SELECT 1"))
    assert refused.value.status == 422


# ------------------------------------------------------------------------------------------ what rests on the schema

ACKNOWLEDGED = Acknowledge(1, 5, (Executed(1, 0),), "replica-2", ("replica-1", "replica-3"), 2)


async def test_a_write_that_rests_on_no_schema_asks_for_none() -> None:
    driver, schema = StubDriver(), StubSchema()
    driver.write_answer = ACKNOWLEDGED
    await endpoint_of(driver, schema=schema).answer(query_body("INSERT INTO t (a) VALUES (1)"))
    assert (driver.versions, schema.readings) == ([0], 0)


@pytest.mark.parametrize(
    ("text", "row_at"),
    [
        ("INSERT INTO t (a) VALUES (1)", 25),
        ("INSERT INTO u (a) VALUES (1)", 0),
        ("INSERT INTO t (a) VALUES (1 + 1)", 0),
    ],
)
async def test_a_plain_insert_says_where_its_row_begins_if_the_schema_at_hand_lets_it_be_merged(
    text: str, row_at: int
) -> None:
    driver, schema = StubDriver(), StubSchema()
    driver.write_answer = ACKNOWLEDGED
    await endpoint_of(driver, schema=schema).answer(query_body(text))
    schema.soon = await schema.catalogue(0)
    await endpoint_of(driver, schema=schema).answer(query_body(text))
    assert driver.rows_at == [(0, 0), (row_at, schema.soon.version if row_at else 0)]


async def test_a_write_that_rests_on_the_schema_is_judged_anew_until_its_version_holds() -> None:
    driver, schema = StubDriver(), StubSchema()
    driver.write_answer, driver.stale_answers = ACKNOWLEDGED, 3
    await endpoint_of(driver, schema=schema).answer(query_body("DELETE FROM t ORDER BY id LIMIT 5"))
    assert driver.versions == [1, 2, 3, 4]


async def test_a_value_that_is_made_is_the_same_in_every_try_of_one_request() -> None:
    driver = StubDriver()
    driver.write_answer, driver.stale_answers = ACKNOWLEDGED, 2
    await endpoint_of(driver).answer(query_body("REPLACE INTO t VALUES (1, UUID())"))
    assert len(driver.written) == 3
    assert len({sql for sql, *_ in driver.written}) == 1


async def test_a_schema_that_changes_all_the_time_ends_at_the_deadline() -> None:
    driver = StubDriver()
    driver.stale_answers, driver.write_answer = 1_000_000, ACKNOWLEDGED
    with pytest.raises(QueryError) as refused:
        await endpoint_of(driver, deadline_ms=30).answer(query_body("DELETE FROM t"))
    assert (refused.value.status, refused.value.committed) == (503, False)


@pytest.mark.parametrize("sql", ["DELETE FROM t LIMIT 5", "DROP DATABASE d"])
async def test_what_the_schema_forbids_is_refused_and_not_sent(sql: str) -> None:
    driver = StubDriver()
    with pytest.raises(QueryError) as refused:
        await endpoint_of(driver).answer(query_body(sql))
    assert (refused.value.status, refused.value.kind, refused.value.errno) == (400, "refused", 1235)
    assert driver.written == []


async def test_without_a_catalogue_nothing_that_rests_on_it_is_sent() -> None:
    driver, schema = StubDriver(), StubSchema(SchemaUnknown("no node tells its tables"))
    with pytest.raises(QueryError, match="no node tells its tables") as refused:
        await endpoint_of(driver, schema=schema).answer(query_body("DELETE FROM t"))
    assert (refused.value.status, refused.value.kind, refused.value.committed) == (503, "unavailable", False)
    assert driver.written == []


async def test_schema_changes_go_one_after_the_other_each_judged_by_what_the_one_before_left() -> None:
    driver, schema = StubDriver(), StubSchema()
    driver.write_answer = ACKNOWLEDGED
    endpoint = endpoint_of(driver, schema=schema)
    await asyncio.gather(*(endpoint.answer(query_body(f"ALTER TABLE t ADD COLUMN c{n} INT")) for n in range(5)))
    assert (driver.most_changes_at_once, len(driver.written), schema.readings) == (1, 5, 5)


# ------------------------------------------------------------------------------------------ reads


async def test_a_connection_must_be_older_than_the_leave_and_not_only_than_the_reading() -> None:
    driver, reader = StubDriver(), StubReader(one_row(a=(LONGLONG, 1)))
    await endpoint_of(driver, reader).answer(query_body("SELECT 1"))
    assert reader.leaves_ns[0] <= driver.leave_given_ns[0]


async def test_after_a_new_connection_leave_is_asked_for_again_and_every_try_is_finished() -> None:
    driver = StubDriver()
    reader = StubReader(ConnectionIsNew(), ConnectionBroken("gone", sent=True), one_row(a=(LONGLONG, 1)))
    await endpoint_of(driver, reader).answer(query_body("SELECT 1"))
    assert len(driver.leave_given_ns) == 3
    assert driver.finished == ["replica-1"] * 3
    assert reader.leaves_ns == sorted(set(reader.leaves_ns))


@pytest.mark.parametrize(
    "error", [ServerError(1146, "42S02", "no table", 0), ServerError(1317, "70100", "interrupted", 0), RuntimeError()]
)
async def test_a_read_that_fails_is_finished_too(error: Exception) -> None:
    driver = StubDriver()
    with pytest.raises((QueryError, RuntimeError)):
        await endpoint_of(driver, StubReader(error)).answer(query_body("SELECT 1"))
    assert driver.finished == ["replica-1"]


async def test_a_read_without_leave_is_not_done() -> None:
    driver, reader = StubDriver(), StubReader()
    driver.refusal = ReadRefused(1, "fewer than 3 nodes confirmed this coordinator before the deadline")
    with pytest.raises(QueryError, match="fewer than 3 nodes") as refused:
        await endpoint_of(driver, reader).answer(query_body("SELECT 1"))
    assert (refused.value.status, refused.value.committed) == (503, False)
    assert (reader.texts, driver.finished) == ([], [])


# ------------------------------------------------------------------------------------------ the end of the process


class HangingDriver(StubDriver):
    """Everything is under way, and nothing ends."""

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused:
        await asyncio.Event().wait()
        raise AssertionError

    async def write(
        self, statements: tuple[RequestStatement, ...], schema_version: int, row_schema: int
    ) -> Acknowledge | Refuse | Fail | Stale:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("sql", "committed"), [("SELECT 1", False), ("INSERT INTO t (id) VALUES (1)", "unknown"), ("SELECT", False)]
)
async def test_what_the_server_waits_for_no_longer_is_answered_with_what_is_known_of_it(
    sql: str, committed: object
) -> None:
    """Uvicorn cancels it; and makes up a 500 for whoever does not answer then."""
    body, is_whole = query_body(sql), sql != "SELECT"
    first = {"type": "http.request", "body": body[: None if is_whole else 9], "more_body": not is_whole}
    has_begun, never = asyncio.Event(), asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if has_begun.is_set():
            await never.wait()
        has_begun.set()
        return first

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/query", "headers": []}
    request = asyncio.create_task(endpoint_of(HangingDriver())(scope, receive, send))
    await has_begun.wait()
    await asyncio.sleep(0.01)  # others run meanwhile
    request.cancel()
    await request
    answer = json.loads(sent[1]["body"])
    assert (sent[0]["status"], answer["committed"], answer["error"]["kind"]) == (503, committed, "unavailable")
    assert (b"retry-after", b"1") in sent[0]["headers"]


# ------------------------------------------------------------------------------------------ how much is held


async def hanging(
    endpoint: QueryEndpoint, *messages: dict[str, Any]
) -> asyncio.Task[tuple[int, dict[bytes, bytes], bytes]]:
    task = asyncio.create_task(over_asgi(endpoint, *messages))
    await asyncio.sleep(0.01)  # it gets as far as it can
    return task


async def test_more_requests_than_there_is_room_for_are_told_so_and_those_that_are_in_stay() -> None:
    room = Admission(2, 1 << 20)
    endpoint = endpoint_of(HangingDriver(), room=room)
    whole = {"type": "http.request", "body": query_body("SELECT 1")}
    inside = [await hanging(endpoint, whole) for _ in range(2)]
    status, headers, body = await over_asgi(endpoint, whole)
    answer = json.loads(body)
    assert (status, answer["error"]["kind"], answer["committed"]) == (429, "overloaded", False)
    assert headers[b"retry-after"] == b"1"
    assert not any(task.done() for task in inside)
    for task in inside:
        task.cancel()
        assert (await task)[0] == 503
    assert (room.requests, room.bytes) == (0, 0)


async def test_bytes_are_counted_as_they_come_and_given_back() -> None:
    room = Admission(9, 1000)
    endpoint = endpoint_of(StubDriver(), StubReader(one_row(a=(LONGLONG, 1))), room=room)
    part = {"type": "http.request", "body": b" " * 600, "more_body": True}
    status, _, body = await over_asgi(endpoint, part, part)
    assert (status, json.loads(body)["error"]["kind"]) == (429, "overloaded")
    assert (room.requests, room.bytes) == (0, 0)
    status, *_ = await over_asgi(endpoint, part, {"type": "http.request", "body": query_body("SELECT 1")})
    assert status == 200
