"""`POST /query` and `POST /explain-replication`, from bytes to bytes: the hot path of the HTTP door.

A bare ASGI callable: an ordinary FastAPI route with one model and no database at all answers 2,000 to 3,000 requests a
second on one core, which is less than the cluster commits. The routes stay in the application's OpenAPI; they are answered here.

A write that rests on the schema is judged by the catalogue at hand, and sent with that catalogue's version. If the schema changed
before its turn came, it comes back as stale, unexecuted, and is judged anew. Schema changes go one after the other, so
that each is judged by what the one before it left.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any

import errors
import msgspec
from driver import Driver
from errors import QueryError
from long_work import in_steps
from made_values import with_values

from adapters.mysql_session import ConnectionBroken, ServerError, StatementResult
from adapters.node_reader import ConnectionIsNew, NodeReader, RowsExceeded
from adapters.outcomes import DISTURBANCES
from adapters.schema_reader import SchemaReader, SchemaUnknown
from replication.effects import Acknowledge, Fail, ReadRefused, Refuse, Stale
from statements.parameters import BadParameters, bind, bind_in_steps
from statements.query_parser import Kind, Refused, Statement, parse, parse_in_steps
from statements.schema_judge import judge_in_steps
from statements.schema_merging import may_merge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONG_TEXT_CHARS = 16_384
"""A longer text is parsed in steps, so that it delays nobody else's request by more than a step."""
RETRY_READ_S = 0.02
SHUTDOWN_ERRNO = 1053
READ_DISTURBANCES = (DISTURBANCES | {SHUTDOWN_ERRNO}) - {errors.TIMED_OUT_ERRNO, 1290, 1792, 1836}
"""Not those that a write meets at a server that only reads: there the statement is what is wrong."""
EXPLAIN_PATH = "/explain-replication"
TIME_TYPE = 11
"""MySQL's type code of TIME, which goes beyond 24 hours and has no JSON form of its own."""


class QueryBody(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    params: list[Any] | dict[str, Any] | None = None


_decode_body = msgspec.json.Decoder(QueryBody).decode
_encode = msgspec.json.Encoder(decimal_format="string").encode


class QueryEndpoint:
    """Parses, routes and answers one query."""

    def __init__(
        self,
        driver: Driver,
        readers: dict[str, NodeReader],
        schema: SchemaReader,
        body_bytes_max: int,
        deadline_ms: int,
    ) -> None:
        self._driver = driver
        self._readers = readers
        self._schema = schema
        self._schema_changes = asyncio.Lock()
        self._body_bytes_max = body_bytes_max
        self._deadline_ns = deadline_ms * 1_000_000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI door."""
        answer = self.explain if scope["path"] == EXPLAIN_PATH else self.answer
        try:
            status, headers, body = 200, [], await answer(await self._body(receive))
        except QueryError as error:
            status, headers, body = error.status, _error_headers(error), error.body()
        except asyncio.CancelledError:
            # uvicorn waits no longer; left to itself it would answer 500, which says nothing of what became of it
            cut_off = errors.cut_off(False)
            status, headers, body = cut_off.status, _error_headers(cut_off), cut_off.body()
        payload = _encode(body)
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    async def _body(self, receive: Receive) -> bytes:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise errors.bad_request(400, "the client went away before its request was complete")
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > self._body_bytes_max:
                raise errors.bad_request(
                    413, f"the request is larger than {self._body_bytes_max} bytes: send it in parts"
                )
            if not message.get("more_body"):
                return body

    async def answer(self, body: bytes) -> dict[str, object]:
        """The body of a successful answer. Raises QueryError."""
        statement = await self._parse(await text_of(body))
        if statement.kind is Kind.READ:
            return await self._read(statement)
        return await self._write(statement)

    async def explain(self, body: bytes) -> dict[str, object]:
        """What would become of the query. Nothing of it is executed; where it rests on the schema, that is read."""
        text = await text_of(body)
        statement: Statement | None = None
        refusal: QueryError | None = None
        try:
            statement = await self._parse(text)
            await self._judge(statement, time.monotonic_ns() + self._deadline_ns)
        except QueryError as error:
            if error.kind == "unavailable":
                raise
            refusal = error
        return explanation(statement, refusal)

    async def _parse(self, text: str) -> Statement:
        try:
            if len(text) <= LONG_TEXT_CHARS:
                return parse(text)
            return await in_steps(parse_in_steps(text))
        except Refused as refusal:
            raise errors.refused(refusal.reason, refusal.errno, refusal.sqlstate) from refusal

    # ------------------------------------------------------------------------------------------ writes

    async def _judge(self, statement: Statement, deadline_ns: int) -> int:
        """The version of the schema that the statement was found exact by; 0 if it rests on none. Raises QueryError."""
        if not statement.rests_on_schema:
            return 0
        try:
            catalogue = self._schema.at_hand() or await self._schema.catalogue(deadline_ns)
            await in_steps(judge_in_steps(statement, catalogue))
        except SchemaUnknown as unknown:
            raise errors.unavailable(str(unknown), False) from unknown
        except Refused as refusal:
            raise errors.refused(refusal.reason, refusal.errno, refusal.sqlstate) from refusal
        return catalogue.version

    async def _send(self, statement: Statement) -> Acknowledge | Refuse | Fail:
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        if statement.kind is Kind.SCHEMA_CHANGE:
            async with self._schema_changes:
                await self._judge(statement, time.monotonic_ns() + self._deadline_ns)
                changed = await self._driver.change_schema(statement.text)
            assert not isinstance(changed, Stale)  # it was sent without a version
            return changed
        text = with_values(statement.text, statement.splices)
        row_at, row_schema = self._row_at(statement, deadline_ns)
        while True:
            answer = await self._driver.write(
                text,
                inserts=statement.inserts,
                uses_random=statement.uses_random,
                schema_version=await self._judge(statement, deadline_ns),
                row_at=row_at,
                row_schema=row_schema,
            )
            if not isinstance(answer, Stale):
                return answer
            if time.monotonic_ns() > deadline_ns:
                raise errors.unavailable("the schema changes all the time", False)

    def _row_at(self, statement: Statement, deadline_ns: int) -> tuple[int, int]:
        """Where the row begins by which it may be executed together with its like, and by which version of the schema; (0, 0):
        it may not, or the schema is not at hand, and nobody waits for it."""
        if statement.plain is None:
            return 0, 0
        catalogue = self._schema.at_hand_or_soon(deadline_ns)
        if catalogue is None or not may_merge(statement.plain, catalogue):
            return 0, 0
        return statement.row_at, catalogue.version

    async def _write(self, statement: Statement) -> dict[str, object]:
        try:
            answer = await self._send(statement)
        except asyncio.CancelledError as stopped:
            # it may be in the log already, and then it will be made
            raise errors.cut_off("unknown") from stopped
        if isinstance(answer, Acknowledge):
            entry, quorum = answer.entry, answer.quorum
            return {
                "success": True,
                "message": f"Write successful (timestamp: {entry.timestamp}, quorum: {len(quorum)}/{answer.quorum_size})",
                "timestamp": entry.timestamp,
                "rows_affected": entry.rows_affected,
                "executed_on": answer.master,
                "last_insert_id": entry.insert_id,
                "quorum": quorum,
                "committed": True,
            }
        if isinstance(answer, Refuse):
            raise errors.rejected(answer.error.errno, answer.error.sqlstate, answer.error.message)
        committed: errors.Committed = "unknown" if answer.committed is None else False
        disturbance = answer.disturbance
        if disturbance is None:
            raise errors.unavailable(answer.reason, committed)
        raise errors.unavailable(answer.reason, committed, disturbance.errno, disturbance.sqlstate)

    # ------------------------------------------------------------------------------------------ reads

    async def _read(self, statement: Statement) -> dict[str, object]:
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        while True:
            # leave is given between asking and waking up: only what is older than the first is surely older than it
            asked_ns = time.monotonic_ns()
            leave = await self._driver.read_leave(deadline_ns)
            if isinstance(leave, ReadRefused):
                raise errors.unavailable(leave.reason, False)
            started_ns = time.monotonic_ns()
            try:
                result = await self._readers[leave.node].read(statement.text, asked_ns)
            except ServerError as error:
                raise _read_error(leave.node, error) from error
            except RowsExceeded as exceeded:
                raise errors.bad_request(413, str(exceeded)) from exceeded
            except ConnectionIsNew:
                continue
            except ConnectionBroken as broken:
                if time.monotonic_ns() > deadline_ns:
                    raise errors.unavailable(f"{leave.node} does not answer: {broken}", False) from broken
            else:
                data = rows_as_objects(result)
                return {
                    "success": True,
                    "message": "Read successful",
                    "data": data,
                    "rows_affected": len(data),
                    "executed_on": leave.node,
                    "applied_timestamp": leave.applied_timestamp,
                }
            finally:
                self._driver.read_finished(leave.node, time.monotonic_ns() - started_ns)
            await asyncio.sleep(RETRY_READ_S)  # the node's connection broke: a moment for the protocol to notice


def _read_error(node: str, error: ServerError) -> QueryError:
    """What MySQL said of the statement, or of itself: that is no fault of the request."""
    if error.errno in READ_DISTURBANCES:
        reason = f"{node} could not run it: {error.message}"
        return errors.unavailable(reason, False, error.errno, error.sqlstate)
    return errors.rejected(error.errno, error.sqlstate, error.message)


def explanation(statement: Statement | None, refusal: QueryError | None) -> dict[str, object]:
    """The body of an answer to POST /explain-replication."""
    told: dict[str, object] = {"kind": "refused", "verb": None, "tables": [], "pins": [], "replicated": None}
    if statement is not None:
        told |= {"verb": statement.verb, "tables": statement.tables}
    if statement is not None and refusal is None:
        is_logged = statement.kind is not Kind.READ
        replicated = with_values(statement.text, statement.splices) if is_logged else None
        told |= {"kind": statement.kind.value, "pins": statement.pins, "replicated": replicated}
    told["rests_on_schema"] = statement is not None and statement.rests_on_schema
    told["refusal"] = None
    if refusal is not None:
        told["refusal"] = {"reason": refusal.message, "errno": refusal.errno, "sqlstate": refusal.sqlstate}
    return told


async def text_of(body: bytes) -> str:
    """The query of a request's body, its parameters bound. Raises QueryError with what is wrong."""
    try:
        asked = _decode_body(body)
    except msgspec.ValidationError as error:
        raise errors.bad_request(422, f'the body must be {{"query": "…"}}: {error}') from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.bad_request(400, f"the body is not JSON: {error}") from error
    if asked.params is None:
        return asked.query
    try:
        if len(asked.query) <= LONG_TEXT_CHARS:
            return bind(asked.query, asked.params)
        return await in_steps(bind_in_steps(asked.query, asked.params))
    except BadParameters as bad:
        raise errors.bad_request(422, str(bad)) from bad
    except Refused as refusal:
        raise errors.refused(refusal.reason, refusal.errno, refusal.sqlstate) from refusal


def rows_as_objects(result: StatementResult) -> list[dict[str, Any]]:
    """Rows by column name; of columns with the same name the last counts (name them with AS)."""
    columns = result.columns or ()
    names = [column[0] for column in columns]
    times = [place for place, column in enumerate(columns) if column[1] == TIME_TYPE]
    if not times:
        return [dict(zip(names, row, strict=True)) for row in result.rows]
    rows = []
    for row in result.rows:
        values = list(row)
        for place in times:
            values[place] = time_text(values[place])
        rows.append(dict(zip(names, values, strict=True)))
    return rows


def time_text(value: object) -> object:
    """A TIME as MySQL writes it: [-]HH:MM:SS[.ffffff], hours up to 838."""
    if not isinstance(value, timedelta):
        return value
    total_us = value // timedelta(microseconds=1)
    sign, total_us = ("-", -total_us) if total_us < 0 else ("", total_us)
    seconds, us = divmod(total_us, 1_000_000)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{us:06d}" if us else text


def _error_headers(error: QueryError) -> list[tuple[bytes, bytes]]:
    return [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]
