"""What comes in at `POST /query` and `/explain-replication`: from the bytes of a body to texts with their values."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import errors
import msgspec
import request_ids
import row_lines
from access import Role, Tokens
from errors import QueryError
from exactly_once import check_key
from long_work import in_steps
from query_answers import refused
from query_contract import STALENESS_MS_MAX, TIMESTAMP_MAX
from result_rows import RowFormat

from replication.state import MILLISECOND_NS
from replication.values import STRONG, ReadLevel, ReadNeed
from statements.parameters import BadParameters, bind, bind_in_steps
from statements.query_parser import Refused

LONG_TEXT_CHARS = 16_384
"""A longer text is read in steps, so that it delays nobody else's request by more than a step."""


class RequestHead(NamedTuple):
    """What the headers say of a request."""

    key: str | None = None
    """With which it takes effect once."""
    as_lines: bool = False
    role: Role | None = None
    """Of who asks; None: access is off."""


PLAIN_HEAD = RequestHead()
ANYTHING = b"*/*"
"""What most clients accept, and need not be looked at."""


def head_of(headers: Sequence[tuple[bytes, bytes]], tokens: Tokens | None = None) -> RequestHead:
    """Takes the identity that the client gave. Raises QueryError."""
    head = PLAIN_HEAD
    request_ids.forget()
    for name, value in headers:
        if name == b"idempotency-key":
            head = head._replace(key=check_key(value.decode("latin-1")))
        elif name == request_ids.HEADER:
            request_ids.take(value)
        elif name == b"accept" and wants_lines(value):
            head = head._replace(as_lines=True)
    return head if tokens is None else head._replace(role=_role_in(headers, tokens))


def are_lines_wanted(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the answer to a read is to come as lines."""
    for name, value in headers:  # noqa: SIM110 (on the hot path, any() takes three times as long)
        if name == b"accept" and wants_lines(value):
            return True
    return False


def wants_lines(accept: bytes) -> bool:
    return accept != ANYTHING and row_lines.are_wanted(accept)


def _role_in(headers: Sequence[tuple[bytes, bytes]], tokens: Tokens) -> Role:
    role = tokens.role_in(headers)
    if role is None:
        raise errors.unauthenticated()
    return role


class Expectation(msgspec.Struct, forbid_unknown_fields=True):
    rows_affected: Annotated[int, msgspec.Meta(ge=0, le=TIMESTAMP_MAX)]


class BatchStatement(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    params: list[Any] | dict[str, Any] | None = None
    expect: Expectation | None = None

    @property
    def expected_rows(self) -> int | None:
        return None if self.expect is None else self.expect.rows_affected


class QueryBody(msgspec.Struct, forbid_unknown_fields=True):
    """Either a query, or statements; and what reads need, and how their rows are to look."""

    query: str | None = None
    params: list[Any] | dict[str, Any] | None = None
    statements: list[BatchStatement] | None = None
    level: ReadLevel | None = None
    max_staleness_ms: Annotated[int, msgspec.Meta(ge=0, le=STALENESS_MS_MAX)] | None = None
    format: RowFormat | None = None
    after_timestamp: Annotated[int, msgspec.Meta(ge=0, le=TIMESTAMP_MAX)] | None = None


_decode_body = msgspec.json.Decoder(QueryBody).decode


def body_of(data: bytes) -> QueryBody:
    """Raises QueryError."""
    try:
        body = _decode_body(data)
    except msgspec.ValidationError as error:
        raise _no_query(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.bad_request(400, f"the body is not JSON: {error}") from error
    if body.statements is None:
        if body.query is None:
            raise _no_query("there is no `query`")
    elif body.query is not None or body.params is not None:
        raise _no_query("beside `statements` there can be no other field")
    return body


def need_of(body: QueryBody) -> ReadNeed:
    """Raises QueryError."""
    level, staleness_ms, after = body.level, body.max_staleness_ms, body.after_timestamp
    if level is None and staleness_ms is None and after is None:
        return STRONG
    if level is None:
        level = ReadLevel.ANY if staleness_ms is None else ReadLevel.BOUNDED
    if (level is ReadLevel.BOUNDED) is not (staleness_ms is not None):
        raise errors.bad_request(422, "max_staleness_ms and the level bounded belong together")
    return ReadNeed(level, (staleness_ms or 0) * MILLISECOND_NS, after or 0)


def _no_query(why: str) -> QueryError:
    wanted = '{"query": "…"} or {"statements": [{"query": "…"}, …]}'
    return errors.bad_request(422, f"the body must be {wanted}: {why}")


async def bound(query: str, params: Sequence[Any] | dict[str, Any] | None) -> str:
    """The text with its values. Raises QueryError."""
    if params is None:
        return query
    try:
        if len(query) <= LONG_TEXT_CHARS:
            return bind(query, params)
        return await in_steps(bind_in_steps(query, params))
    except BadParameters as bad:
        raise errors.bad_request(422, str(bad)) from bad
    except Refused as refusal:
        raise refused(refusal) from refusal
