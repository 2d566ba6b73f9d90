"""`POST /query` and `POST /explain-replication`: the hot path of the HTTP door.

query_request.py has what comes in, query_writes.py how writes are sent, query_answers.py what goes out.

A bare ASGI callable: an ordinary FastAPI route with one model and no database at all answers 2,000 to 3,000 requests a
second on one core, which is less than the cluster commits. The routes stay in the application's OpenAPI; they are answered here.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import crash_point
import errors
import msgspec
import request_ids
from access import Role, Tokens
from admission import NOBODYS, Admission, Visit
from client_watch import ClientGone, ClientTooSlow, ClientWatches
from crash_point import ConnectionCut
from driver import Driver
from errors import QueryError
from exactly_once import ExactlyOnce, First
from guarded_api import UNAUTHENTICATED
from long_work import Pauses, in_steps
from made_values import with_values
from node_reading import NodeReading, blaming
from query_answers import (
    Answer,
    batch_again,
    batch_answer,
    explanation,
    read_answer,
    read_batch_answer,
    refused,
    rejected,
    write_again,
    write_answer,
)
from query_request import LONG_TEXT_CHARS, PLAIN_HEAD, BatchStatement, RequestHead, body_of, bound, head_of, need_of
from query_writes import QueryWrites
from result_rows import PLAIN, RowFormat
from row_lines import RowLines
from traffic import CLIENT_GONE, OK, Traffic
from whole_requests import HEADERS, Headers, WholeAnswer, WholeRequest

from adapters.mysql_session import StatementResult
from adapters.schema_reader import SchemaReader
from replication.effects import ReadAllowed, Refuse
from replication.values import STRONG, ReadNeed
from statements.query_parser import Kind, Refused, Statement, parse, parse_in_steps
from statements.sql_checks import UNSUPPORTED

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EXPLAIN_PATH = "/explain-replication"
QUERY_PATHS = ("/query", EXPLAIN_PATH)

log = logging.getLogger("coordinator")

Watch = Callable[[], AbstractContextManager[None]]
"""Makes what stands around a read."""
_encode = msgspec.json.Encoder(decimal_format="string").encode


class Asked(NamedTuple):
    """One request, by whichever door it came."""

    path: str
    headers: Headers
    client: tuple[str, int] | None
    receive: Receive
    send: Send | None
    body: bytes | None = None
    """None: it is still to be received."""


class QueryEndpoint:
    """Parses, routes and answers one query."""

    def __init__(
        self,
        driver: Driver,
        reading: NodeReading,
        schema: SchemaReader,
        once: ExactlyOnce,
        admission: Admission,
        body_bytes_max: int,
        statements_max: int,
        deadline_ms: int,
        stream_timeout_s: float,
        traffic: Traffic,
        tokens: Tokens | None = None,
    ) -> None:
        """`tokens`: None, access is off."""
        self._tokens = tokens
        self._reading = reading
        self._admission = admission
        self._watches = ClientWatches()
        self._body_bytes_max = body_bytes_max
        self._statements_max = statements_max
        self._deadline_ns = deadline_ms * 1_000_000
        self._writes = QueryWrites(driver, schema, once, self._deadline_ns)
        self._stream_timeout_s = stream_timeout_s
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI door: for what comes in parts, or is to go out in parts."""
        answer = await self._answered(Asked(scope["path"], scope["headers"], scope.get("client"), receive, send))
        if answer is not None:
            length = (b"content-length", b"%d" % len(answer.body))
            headers = [*HEADERS, *answer.headers, length]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})

    def answer_whole(self, request: WholeRequest) -> Coroutine[Any, Any, WholeAnswer | None]:
        """The other door."""
        path = request.target.decode()
        return self._answered(Asked(path, request.headers, request.client, request.receive, None, request.body))

    async def _answered(self, asked: "Asked") -> WholeAnswer | None:
        """None: it was sent, or there is nobody to be answered."""
        began_ns = time.perf_counter_ns()
        visit = self._admission.visit()
        outcome, error = OK, None
        try:
            head = head_of(asked.headers, self._tokens)
            with visit:
                data = asked.body
                if data is None:
                    data = await self._body(asked.receive, visit)
                else:
                    visit.take(len(data))
                    self._check_size(len(data))
                if asked.path == EXPLAIN_PATH:
                    visit.kind = "explain"
                    answer: Answer | RowLines = await self.explain(data)
                else:
                    answer = await self.answer(data, head, visit, partial(self._watches.around, asked.receive))
                if isinstance(answer, RowLines):
                    assert asked.send is not None, "who asks for lines comes by ASGI's door"
                    give_up_at = asyncio.get_running_loop().time() + self._stream_timeout_s
                    with self._watches.around(asked.receive):
                        await answer.send(asked.send, give_up_at)
                    return None
            return WholeAnswer(200, request_ids.header(), _encode(answer))
        except ClientGone:
            outcome = CLIENT_GONE
            return None
        except ClientTooSlow:
            outcome = CLIENT_GONE
            # what is left of its answer would wait in our memory for as long as it likes
            crash_point.hang_up(asked.client)
            return None
        except QueryError as told:
            error = told
        except asyncio.CancelledError:
            # uvicorn waits no longer; left to itself it would answer 500, which says nothing of what became of it
            error = errors.cut_off(False)
        except ConnectionCut:  # a test's crash point
            raise
        except Exception:  # the client is told in words, whatever it was
            log.exception("POST %s failed in an unforeseen way", asked.path)
            error = errors.unforeseen()
        finally:
            if error is not None:
                outcome = error.kind
            self._traffic.ended(visit.kind, outcome, time.perf_counter_ns() - began_ns)
        self._traffic.refused(error.errno)
        _tell_failure(asked.path, error)
        return WholeAnswer(error.status, [*_error_headers(error), *request_ids.header()], _encode(error.body()))

    async def _body(self, receive: Receive, visit: Visit) -> bytes:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise errors.bad_request(400, "the client went away before its request was complete")
            part: bytes = message.get("body", b"")
            visit.take(len(part))
            body += part
            self._check_size(len(body))  # the server reads the rest, and forgets it
            if not message.get("more_body"):
                return body

    def _check_size(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise errors.bad_request(413, f"the request is larger than {self._body_bytes_max} bytes: send it in parts")

    async def answer(
        self, data: bytes, head: RequestHead = PLAIN_HEAD, visit: Visit = NOBODYS, watch: Watch = nullcontext
    ) -> Answer | RowLines:
        """The body of a successful answer, or one that sends itself. `watch`: around reads. Raises QueryError."""
        body = body_of(data)
        form = body.format or PLAIN
        if body.statements is not None:
            visit.kind = "batch"
            return await self._answer_batch(body.statements, need_of(body), form, head, watch)
        assert body.query is not None
        statement, need = await self._parse(await bound(body.query, body.params)), need_of(body)
        visit.kind = statement.kind.value
        if statement.kind is Kind.READ:
            deadline_ns = time.monotonic_ns() + self._deadline_ns
            with watch():
                if head.as_lines:
                    leave, stream = await self._reading.open_stream(statement.text, need, deadline_ns)
                    return RowLines(leave, stream, form)
                leave, (result,) = await self._reading.read([statement.text], need, deadline_ns)
            return read_answer(result, leave, form)
        check_may_write(head.role)
        check_is_strong(need)
        answer = await self._writes.write([statement], [None], head.key, is_batch=False)
        if isinstance(answer, First):
            return write_again(answer)
        if isinstance(answer, Refuse):
            raise rejected(answer.error)
        return write_answer(answer)

    async def explain(self, data: bytes) -> Answer:
        """What would become of the query. Nothing of it is executed; where it rests on the schema, that is read."""
        body = body_of(data)
        if body.query is None:
            raise errors.bad_request(
                422, "only one query can be explained at a time: send each of the statements as `query`"
            )
        text = await bound(body.query, body.params)
        statement: Statement | None = None
        refusal: QueryError | None = None
        try:
            statement = await self._parse(text)
            if statement.rests_on_schema:
                await self._writes.judge([statement], time.monotonic_ns() + self._deadline_ns)
        except QueryError as error:
            if error.kind == "unavailable":
                raise
            refusal = error
        replicated = with_values(statement.text, statement.splices) if statement is not None else ""
        return explanation(statement, refusal, replicated)

    async def _parse(self, text: str) -> Statement:
        try:
            if len(text) <= LONG_TEXT_CHARS:
                return parse(text)
            return await in_steps(parse_in_steps(text))
        except Refused as refusal:
            raise refused(refusal) from refusal

    # ------------------------------------------------------------------------------------------ batches

    async def _answer_batch(
        self,
        asked: list[BatchStatement],
        need: ReadNeed,
        form: RowFormat,
        head: RequestHead,
        watch: Watch,
    ) -> Answer:
        if not 0 < len(asked) <= self._statements_max:
            raise errors.bad_request(
                422, f"a batch has 1 to {self._statements_max} statements, and this one {len(asked)}"
            )
        statements, pace = [], Pauses()
        for index, each in enumerate(asked):
            with blaming(index):
                statements.append(await self._parse(await bound(each.query, each.params)))
            await pace.pause()
        expected = [each.expected_rows for each in asked]
        if all(statement.kind is Kind.READ for statement in statements):
            with watch():
                leave, results = await self._read_batch(statements, expected, need)
            return read_batch_answer(results, leave, form)
        check_may_write(head.role)
        check_is_strong(need)
        for index, statement in enumerate(statements):
            with blaming(index):
                check_in_batch(statement)
        answer = await self._writes.write(statements, expected, head.key, is_batch=True)
        if isinstance(answer, First):
            return batch_again(answer, [statement.kind is Kind.READ for statement in statements])
        if isinstance(answer, Refuse):
            with blaming(answer.error.statement):
                raise rejected(answer.error)
        return batch_answer(answer, form)

    async def _read_batch(
        self, statements: list[Statement], expected: list[int | None], need: ReadNeed
    ) -> tuple[ReadAllowed, list[StatementResult]]:
        texts = [statement.text for statement in statements]
        leave, results = await self._reading.read(texts, need, time.monotonic_ns() + self._deadline_ns)
        for index, (result, count) in enumerate(zip(results, expected, strict=True)):
            if count not in (None, len(result.rows)):
                with blaming(index):
                    raise errors.unmet(f"it found {len(result.rows)} rows, and {count} are expected")
        return leave, results


def check_may_write(role: Role | None) -> None:
    """Raises QueryError (403) where who asks may only read. None: access is off."""
    if role is not None and role < Role.WRITE:
        raise errors.denied(role.name.lower(), "write")


def check_is_strong(need: ReadNeed) -> None:
    """Raises QueryError where a write asks for what only a read can have."""
    if need is not STRONG:
        raise errors.bad_request(
            422, "level, max_staleness_ms and after_timestamp are of reads: a write is always strong"
        )


def check_in_batch(statement: Statement) -> None:
    """Raises QueryError for what cannot stand among writes."""
    if statement.kind is Kind.SCHEMA_CHANGE:
        raise refused(Refused("a schema change cannot be undone: send it as a request of its own", UNSUPPORTED))
    if statement.asks_server:
        raise refused(Refused("beside writes only tables can be read: send it as a request of its own", UNSUPPORTED))


def _tell_failure(path: str, error: QueryError) -> None:
    """An error has an identity in any case, by which a client can ask what it was; and is logged where it is not the client's."""
    if not request_ids.current():
        request_ids.take(b"")
    if error.status >= request_ids.FAILED:
        log.warning("POST %s: %d: %s", path, error.status, error.message)


def _error_headers(error: QueryError) -> list[tuple[bytes, bytes]]:
    if error.status == 401:
        return [UNAUTHENTICATED]
    return [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]
