"""HTTP door of one timestamp server: settings, routes, wiring.

The process ends rather than goes on when the state folder is not to be trusted or the allocator contradicts itself: the
coordinator has a second timestamp server, and a wrong number cannot be taken back.
"""

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import crash_point
import service_log
import timestamp_points as points
from access import access_from_environment
from api_docs import serve_docs
from crash_point import ConnectionCut
from draining import Draining
from fastapi import Body, FastAPI, Query, Request, Response
from guarded_api import GuardedApi, service_rules
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from reservation_file import ReservationFile
from starlette.exceptions import HTTPException
from timestamp_allocator import AllocatorInvariantError, TimestampAllocator, TimestampsExhaustedError
from timestamp_contract import (
    AFTER_MAX,
    COUNT_MAX,
    SERVER_COUNT,
    STEP,
    TimestampAnswer,
    TimestampHealth,
    TimestampRefusal,
    TimestampRequest,
)
from timestamp_metrics import TimestampMetrics
from timestamp_server import ReservationFailedError, TimestampServer

BODY_BYTES_MAX = 1024
STOPPING = (
    "No timestamp was handed out: this server is being stopped. Ask the other one, or this one again in a moment."
)
USAGE = f"Send count (1 to {COUNT_MAX}) and after (0 to {AFTER_MAX}), both optional."

_log = logging.getLogger(__name__)


class TimestampSettings(BaseSettings):
    """From the environment. No default for SERVER_ID and STATE_DIR: two servers that share one would repeat numbers."""

    model_config = SettingsConfigDict(frozen=True)

    server_id: Annotated[int, Field(ge=1, le=SERVER_COUNT)]
    state_dir: Path
    reservation_window: Annotated[int, Field(ge=2, le=1_000_000_000)] = 10_000
    """Numbers reserved ahead. A start skips at most this many, plus what was left of the window before."""


def _sentence(error: ValidationError, *, upper_names: bool = False) -> str:
    """All of pydantic's findings as one sentence each: which field, what is wrong, what was sent."""
    findings = []
    for finding in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in finding["loc"]) or "body"
        text = f"{name.upper() if upper_names else name}: {finding['msg']}"
        if finding["type"] not in ("missing", "extra_forbidden", "json_invalid"):
            text += f", not {repr(finding['input'])[:100]}"
        findings.append(text + ".")
    return " ".join(findings)


def load_settings() -> TimestampSettings:
    """Ends the process with a sentence instead of a stack trace: the reader is whoever wrote the environment."""
    try:
        return TimestampSettings.model_validate({})
    except ValidationError as error:
        raise SystemExit(f"timestamp-service does not start: {_sentence(error, upper_names=True)}") from error


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: TimestampSettings = app.state.settings
    file = ReservationFile.open(settings.state_dir, settings.server_id, crash_point.reach)
    try:
        allocator = TimestampAllocator(
            server_id=settings.server_id,
            durable_bound=file.reserved_until,
            window_count=settings.reservation_window,
        )
        server = TimestampServer(allocator, file)
        await server.start()
        app.state.server = server
        try:
            yield
        finally:
            await server.stop()
    finally:
        file.close()


service_log.set_up("timestamp-service")
app = GuardedApi(
    service_rules(access_from_environment("timestamp-service", "SERVICE_TOKEN").tokens, TimestampRefusal),
    title="Timestamp service",
    description="Numbers that are never handed out twice: server 1 has the odd ones, server 2 the even ones.",
    lifespan=lifespan,
)
app.add_middleware(Draining, refusal=TimestampRefusal(message=STOPPING).model_dump_json().encode())
app.state.settings = load_settings()
app.exposition.add(TimestampMetrics(lambda: app.state.server))
crash_point.arm(points.POINTS, os.environ)


async def timestamp(request: Request) -> Response:
    """POST with `{"count": n, "after": t}`, or GET with query parameters. Both optional; nothing at all: one number."""
    try:
        if request.method == "POST":
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return _answer(TimestampRefusal(message=f"The body is longer than {BODY_BYTES_MAX} bytes."), 413)
            # Strict: "5" and 5.0 in JSON are a caller's mistake, and true is not 1.
            wanted = TimestampRequest.model_validate_json(bytes(body), strict=True) if body else TimestampRequest()
        else:
            wanted = TimestampRequest.model_validate(dict(request.query_params))
    except ValidationError as error:
        return _answer(TimestampRefusal(message=f"{_sentence(error)} {USAGE}"), 422)
    server: TimestampServer = app.state.server
    try:
        taken = await server.take(wanted.count, wanted.after)
    except ReservationFailedError as error:
        message = f"No timestamp was handed out: {error}. Free space or repair the disk, or ask the other server."
        return _answer(TimestampRefusal(message=message), 503)
    except TimestampsExhaustedError as error:
        message = f"No timestamp was handed out: {error}. Ask for fewer, or ask the other server."
        return _answer(TimestampRefusal(message=message), 503)
    crash_point.reach(points.ANSWER)
    return _answer(
        TimestampAnswer(
            timestamp=taken.first,
            first=taken.first,
            last=taken.last,
            step=STEP,
            count=taken.count,
            server_id=app.state.settings.server_id,
        ),
        200,
    )


# A plain Starlette route: FastAPI's around it cost a quarter of the requests per second, on the path of every write.
app.add_route("/timestamp", timestamp, methods=["GET", "POST"])

_REFUSALS: dict[int | str, dict[str, Any]] = {
    422: {"model": TimestampRefusal, "description": "No such count or after"},
    500: {"model": TimestampRefusal, "description": "The server contradicts itself, and ends to be started anew"},
    503: {"model": TimestampRefusal, "description": "No number can be handed out; ask the other server"},
}
_TOO_LONG: dict[int | str, dict[str, Any]] = {413: {"model": TimestampRefusal, "description": "The body is too long"}}


# The two below are for the OpenAPI alone: the route above comes first, and answers.
@app.post("/timestamp", summary="Take numbers", response_model=TimestampAnswer, responses=_REFUSALS | _TOO_LONG)
async def take_by_body(
    wanted: Annotated[TimestampRequest, Body(default_factory=TimestampRequest)],
) -> Response:
    """`count` numbers above `after`, both optional; without a body: one number. Nobody else is ever given them."""
    raise NotImplementedError("POST /timestamp is answered by timestamp")


@app.get("/timestamp", summary="Take numbers", response_model=TimestampAnswer, responses=_REFUSALS)
async def take_by_query(
    count: Annotated[int, Query(ge=1, le=COUNT_MAX, examples=[3])] = 1,
    after: Annotated[int, Query(ge=0, le=AFTER_MAX, examples=[100])] = 0,
) -> Response:
    """The same, for a browser or curl. It takes numbers like a POST: never behind a cache."""
    raise NotImplementedError("GET /timestamp is answered by timestamp")


@app.get(
    "/health",
    summary="Health",
    response_model=TimestampHealth,
    responses={503: {"model": TimestampRefusal, "description": "The server is being stopped"}},
)
async def get_health() -> Response:
    """How far the numbers have come, and whether the disk takes reservations."""
    server: TimestampServer = app.state.server
    server_id = app.state.settings.server_id
    failure = server.reservation_failure
    health = TimestampHealth(
        status="ok" if failure is None else "degraded",
        service=f"timestamp-{server_id}",
        server_id=server_id,
        last_timestamp=server.last_timestamp,
        reserved_until=server.reserved_until,
        message=failure,
    )
    return _answer(health, 200)


serve_docs(app)


@app.exception_handler(HTTPException)
async def refuse(_: Request, error: Exception) -> Response:
    """Unknown path or method, in the shape of every other refusal."""
    if not isinstance(error, HTTPException):
        raise error
    response = _answer(
        TimestampRefusal(message=f"{error.detail}. The paths are /timestamp (GET, POST) and /health (GET)."),
        error.status_code,
    )
    response.headers.update(error.headers or {})
    return response


@app.exception_handler(ConnectionCut)
async def hang_up(request: Request, _: Exception) -> Response:
    crash_point.hang_up(request.client)
    return Response()  # reaches nobody


@app.exception_handler(AllocatorInvariantError)
async def end_the_process(_: Request, error: Exception) -> Response:
    """A 500 alone would let a server go on that contradicts itself. A restart begins above everything handed out."""
    _log.critical("the allocator contradicts itself, ending: %s", error)
    signal.raise_signal(signal.SIGTERM)
    # once more: not to wait for what is in flight, and to end with another status than 0
    signal.raise_signal(signal.SIGTERM)
    return _answer(TimestampRefusal(message=f"No timestamp was handed out, the server restarts: {error}."), 500)


def _answer(body: BaseModel, status_code: int) -> Response:
    # GET takes numbers like POST does: an answer from a cache would hand them out twice. (So every answer says no-store.)
    return Response(body.model_dump_json(), status_code, media_type="application/json")
