"""The coordinator: the cluster's HTTP door. Settings, routes and wiring; the protocol is in `replication/`."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import coordinator_points as points
import crash_point
import errors
import msgspec
import status_view
from admission import Admission
from config import CoordinatorSettings
from crash_point import ConnectionCut
from draining import Draining
from driver import Driver
from errors import QueryError, bad_request
from exactly_once import ExactlyOnce
from fastapi import FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from node_reading import NodeReading
from query_contract import (
    BatchAnswer,
    BatchRequest,
    ElectionsAnswer,
    ErrorAnswer,
    ExplainAnswer,
    FateAnswer,
    HealthAnswer,
    QueryRequest,
    ReadAnswer,
    ReadBatchAnswer,
    ReadyAnswer,
    StatusAnswer,
    SwitchoverAnswer,
    SwitchoverRequest,
    WriteAnswer,
)
from query_endpoint import EXPLAIN_PATH, QueryEndpoint, Receive, Scope, Send
from verification_run import Pace
from verifier import Verifier
from verify_contract import VerifyAnswer, VerifyRequest

from adapters.batch_execution import ReadLimits
from adapters.mysql_node import MySQLNode, NodePasswords, NodeTimeouts
from adapters.mysql_session import MySQLSession
from adapters.node_checksums import NodeChecksums
from adapters.node_reader import NodeReader
from adapters.schema_reader import SESSION as SCHEMA_SESSION
from adapters.schema_reader import SchemaReader
from adapters.service_clients import AdviceClient, TimestampClient
from replication.effects import Acknowledge
from replication.replicator import Replicator

log = logging.getLogger("coordinator")

QUERY_PATHS = ("/query", EXPLAIN_PATH)
VERIFY_WAIT_S = 60.0
"""How long `POST /verify` waits for the end of a comparison at most."""
FORGET_INTERVAL_S = 60.0
HISTORIANS_MAX = 2
"""Connections, a node, for looking at what became of requests."""
LOOP_STALE_S = 5.0
"""A loop that took no step for so long is stuck: the heartbeat alone makes several a second."""


class Coordinator:
    """Everything that lives as long as the process."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        addresses = settings.addresses
        self.original_master = next(iter(addresses))
        connect_timeout_s = settings.connect_timeout_ms / 1000
        timeouts = NodeTimeouts(
            connect_s=connect_timeout_s,
            confirm_s=settings.confirm_timeout_ms / 1000,
            fence_s=settings.fence_timeout_ms / 1000,
            store_s=settings.store_timeout_ms / 1000,
            copy_s=settings.copy_timeout_ms / 1000,
            change_s=settings.schema_change_timeout_ms / 1000,
        )
        passwords = NodePasswords(
            coordinator=settings.coordinator_db_password.get_secret_value(),
            cloner=settings.cloner_db_password.get_secret_value(),
            ddl=settings.ddl_db_password.get_secret_value(),
        )
        checksums = {
            name: NodeChecksums(
                host,
                port,
                settings.verifier_db_password.get_secret_value(),
                connect_timeout_s=connect_timeout_s,
                timeout_s=settings.verify_query_timeout_ms / 1000,
            )
            for name, (host, port) in addresses.items()
        }
        read_limits = ReadLimits(settings.read_rows_max, settings.batch_read_timeout_ms)
        nodes = {
            name: MySQLNode(name, addresses, passwords, settings.database, timeouts, checksums[name], read_limits)
            for name in addresses
        }
        self.readers = {
            name: NodeReader(
                host,
                port,
                settings.reader_db_password.get_secret_value(),
                settings.database,
                connect_timeout_s=connect_timeout_s,
                read_timeout_s=settings.read_timeout_ms / 1000,
                rows_max=settings.read_rows_max,
                connections_max=settings.reader_connections_max,
            )
            for name, (host, port) in addresses.items()
        }
        self.timestamps = TimestampClient(settings.timestamp_urls.split(","), settings.timestamp_timeout_ms / 1000)
        self.advice = AdviceClient(settings.cabinet_url, settings.seer_url, settings.advice_timeout_ms / 1000)
        self._advice_interval_s = settings.advice_interval_ms / 1000
        self.replicator = Replicator(
            list(addresses), owner=str(uuid.uuid4()), new_cluster_id=str(uuid.uuid4()), settings=settings.replication
        )
        deadline_ns, change_deadline_ns = (
            milliseconds * 1_000_000
            for milliseconds in (settings.request_deadline_ms, settings.schema_change_deadline_ms)
        )
        self.driver = Driver(self.replicator, dict(nodes), self.timestamps, deadline_ns, change_deadline_ns)
        schema_password = settings.schema_reader_db_password.get_secret_value()
        self.schema = SchemaReader(
            self.driver,
            self.replicator.state,
            {
                name: MySQLSession(
                    host,
                    port,
                    "schema_reader",
                    schema_password,
                    setup=[SCHEMA_SESSION],
                    connect_timeout_s=connect_timeout_s,
                )
                for name, (host, port) in addresses.items()
            },
            settings.database,
            settings.read_timeout_ms / 1000,
        )
        self.historians = {
            name: NodeReader(
                host,
                port,
                settings.historian_db_password.get_secret_value(),
                "_replication",
                connect_timeout_s=connect_timeout_s,
                read_timeout_s=settings.read_timeout_ms / 1000,
                rows_max=settings.read_rows_max,
                connections_max=HISTORIANS_MAX,
                account="historian",
            )
            for name, (host, port) in addresses.items()
        }
        history = NodeReading(self.driver, self.historians)
        self._keep_keys_s = settings.idempotency_keep_s
        self.once = ExactlyOnce(history, settings.idempotency_keep_s, settings.request_deadline_ms)
        self.query = QueryEndpoint(
            self.driver,
            NodeReading(self.driver, self.readers),
            self.schema,
            self.once,
            Admission(settings.requests_max, settings.request_bytes_max),
            settings.body_bytes_max,
            settings.batch_statements_max,
            settings.request_deadline_ms,
        )
        pace = Pace(settings.verify_chunk_rows, settings.verify_pause_ms / 1000)
        self.verifier = Verifier(self.driver, self.replicator.state, checksums, pace)
        self._verify_interval_s = settings.verify_interval_s
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        crash_point.reach(points.START_BEFORE)
        self.driver.start()
        self._begin(self._ask_for_advice(), "asking for advice")
        if self._verify_interval_s:
            self._begin(
                self.verifier.repeat(self._verify_interval_s, self._verification_ended), "comparing now and then"
            )
        self._begin(self._forget_keys(), "forgetting keys")
        crash_point.reach(points.START_AFTER)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.verifier.stop()
        await self.driver.stop()
        for reader in (*self.readers.values(), *self.historians.values()):
            reader.close()
        self.schema.close()
        await self.timestamps.close()
        await self.advice.close()

    async def _ask_for_advice(self) -> None:
        while True:
            with contextlib.suppress(ConnectionCut):  # a test's crash point hung up: there is a next time
                crash_point.reach(points.ADVICE_BEFORE)
                advice = await self.advice.fetch(self.replicator.state.master)
                crash_point.reach(points.ADVICE_AFTER)
                self.driver.advise(advice)
            await asyncio.sleep(self._advice_interval_s)  # advice is asked for so often

    async def _forget_keys(self) -> None:
        while True:
            await asyncio.sleep(min(FORGET_INTERVAL_S, self._keep_keys_s))  # it is looked for so often
            with contextlib.suppress(QueryError):  # nobody could be asked: there is a next time
                while await self.once.has_old_ones():
                    if not isinstance(await self.driver.write((self.once.forgetting(),)), Acknowledge):
                        break

    def _begin(self, work: Coroutine[None, None, None], what: str) -> None:
        """Something that goes on as long as the process."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda task: self._must_not_fail(task, what))
        self._tasks.append(task)

    def _must_not_fail(self, task: asyncio.Task[None], what: str) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed in an unforeseen way", what, exc_info=task.exception())
            self.driver.die(f"{what} failed in an unforeseen way")

    def _verification_ended(self, task: asyncio.Task[None]) -> None:
        self._must_not_fail(task, "comparing all rows")

    async def verify(self, *, wait: bool) -> int:
        """Begin a comparison of all nodes' rows, unless one is under way; the HTTP status that says so."""
        if self.verifier.is_running:
            return 409
        self.verifier.begin(self._verification_ended)
        if wait:
            await self.verifier.wait(VERIFY_WAIT_S)
        return 202 if self.verifier.is_running else 200

    def verification(self, status: int = 200) -> VerifyAnswer:
        """How far the comparison is, and what came of the last one."""
        last = self.verifier.last
        message = "a comparison is under way" if self.verifier.is_running else "no comparison was made yet"
        if status != 409 and not self.verifier.is_running and last is not None:
            message = f"{last.outcome} at {last.timestamp}" + (f": {last.reason}" if last.reason else "")
        return VerifyAnswer(
            success=status != 409,
            message=message,
            running=self.verifier.is_running,
            progress=self.verifier.progress,
            last=last,
        )

    def why_not_ready(self, purpose: Literal["write", "read"]) -> str:
        """Empty: one can be answered now."""
        stale_s = (time.monotonic_ns() - self.driver.stepped_at_ns) / 1e9
        if stale_s > LOOP_STALE_S:
            return f"the protocol took no step for {stale_s:.0f} s"
        if purpose == "read":
            return status_view.why_not_readable(self.replicator)
        return status_view.why_not_writable(self.replicator)

    def health(self) -> HealthAnswer:
        reason = self.why_not_ready("write")
        status: Literal["ok", "unavailable"] = "unavailable" if reason else "ok"
        return HealthAnswer(
            status=status, service="coordinator", can_write=not reason, reason=reason or "writes are taken"
        )


def create_api(coordinator_of: Any) -> FastAPI:
    """The FastAPI application: everything but the hot path is answered by it."""
    api = FastAPI(
        title="Distributed MySQL coordinator", description=__doc__, lifespan=lifespan, version="0.1.0", redoc_url=None
    )
    errors: dict[int | str, dict[str, Any]]
    errors = {status: {"model": ErrorAnswer} for status in (400, 403, 409, 413, 422, 429, 503, 504)}

    @api.post("/query", response_model=WriteAnswer | ReadAnswer | BatchAnswer | ReadBatchAnswer, responses=errors)
    async def query(
        request: QueryRequest | BatchRequest,
        idempotency_key: Annotated[
            str | None,
            Header(description="A write with a key takes effect once, however often it is sent", max_length=128),
        ] = None,
    ) -> Response:
        """Run one SQL statement, or several that take effect together or not at all. A write is acknowledged when it can never be
        lost, a read sees all of those.
        """
        raise NotImplementedError("POST /query is answered by QueryEndpoint")

    explained: dict[int | str, dict[str, Any]] = {status: errors[status] for status in (400, 413, 422, 429, 503)}

    @api.post(EXPLAIN_PATH, response_model=ExplainAnswer, responses=explained)
    async def explain(request: QueryRequest) -> Response:
        """What would become of a query, without doing it: its kind, what would be replicated, or why it is refused."""
        raise NotImplementedError("POST /explain-replication is answered by QueryEndpoint")

    fates: dict[int | str, dict[str, Any]] = {status: errors[status] for status in (422, 503)}

    @api.get("/transactions/{key:path}", response_model=FateAnswer, responses=fates)
    async def fate_of_key(key: str) -> dict[str, Any]:
        """What became of the request that was sent with this Idempotency-Key."""
        once: ExactlyOnce = coordinator_of().once
        return msgspec.structs.asdict(await once.fate_of_key(key))

    @api.get("/transactions", response_model=FateAnswer, responses=fates)
    async def fate_at(timestamp: Annotated[int, Query(ge=1, le=1 << 62)]) -> dict[str, Any]:
        """Whether a write with this timestamp is committed."""
        once: ExactlyOnce = coordinator_of().once
        return msgspec.structs.asdict(await once.fate_at(timestamp))

    @api.exception_handler(QueryError)
    async def query_error(_: Request, error: QueryError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    @api.get("/status", response_model=StatusAnswer)
    async def status() -> dict[str, Any]:
        coordinator: Coordinator = coordinator_of()
        return status_view.status(coordinator.replicator, coordinator.original_master, coordinator.timestamps.errors)

    @api.get("/elections", response_model=ElectionsAnswer)
    async def elections() -> dict[str, Any]:
        """The newest elections: why, how long each step took, who was ranked how."""
        history = coordinator_of().replicator.election.history
        return {"elections": msgspec.to_builtins(history.records)}

    @api.post("/elections", response_model=StatusAnswer)
    async def elect_now() -> dict[str, Any]:
        """End the pause that is made after many elections in a row: elect now."""
        coordinator_of().driver.elect_now()
        return await status()

    @api.post("/switchover", response_model=SwitchoverAnswer, responses={409: {"model": SwitchoverAnswer}})
    async def switchover(request: SwitchoverRequest) -> JSONResponse:
        """Make a level replica the master. Writes are held for a moment; none fails."""
        ended = await coordinator_of().driver.switchover(request.to)
        message = f"{ended.master} is master" if ended.done else ended.reason
        answer = SwitchoverAnswer(success=ended.done, message=message, current_master=ended.master)
        return JSONResponse(answer.model_dump(), status_code=200 if ended.done else 409)

    @api.get("/verify", response_model=VerifyAnswer)
    async def verification() -> VerifyAnswer:
        """How far the comparison of all nodes' rows is, and what came of the last one."""
        answer: VerifyAnswer = coordinator_of().verification()
        return answer

    @api.post(
        "/verify",
        response_model=VerifyAnswer,
        responses={202: {"model": VerifyAnswer}, 409: {"model": VerifyAnswer}},
    )
    async def verify(request: VerifyRequest | None = None) -> JSONResponse:
        """Compare every row of every table on all nodes at one timestamp, while writes go on. Who differs is rebuilt."""
        coordinator: Coordinator = coordinator_of()
        status = await coordinator.verify(wait=request is not None and request.wait)
        return JSONResponse(coordinator.verification(status).model_dump(), status_code=status)

    @api.get("/health", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
    async def health() -> JSONResponse:
        answer = coordinator_of().health()
        return JSONResponse(answer.model_dump(), status_code=200 if answer.can_write else 503)

    @api.get("/ready", response_model=ReadyAnswer, responses={422: {"model": ErrorAnswer}, 503: {"model": ReadyAnswer}})
    async def ready(purpose: Annotated[Literal["write", "read"], Query(alias="for")] = "write") -> JSONResponse:
        """Whether a write (or a strong read) sent now would be answered at once."""
        coordinator: Coordinator = coordinator_of()
        reason = coordinator.why_not_ready(purpose)
        answer = ReadyAnswer(ready=not reason, service="coordinator", reason=reason or f"a {purpose} is taken")
        return JSONResponse(answer.model_dump(), status_code=503 if reason else 200)

    @api.exception_handler(404)
    @api.exception_handler(405)
    async def no_such_route(request: Request, error: Exception) -> JSONResponse:
        status = getattr(error, "status_code", 404)
        message = f"{request.method} {request.url.path} is not offered; GET /docs lists what is"
        headers = getattr(error, "headers", None)
        return JSONResponse(QueryError(status, "no_such_route", message).body(), status_code=status, headers=headers)

    @api.exception_handler(ConnectionCut)
    async def no_answer(request: Request, _: Exception) -> Response:
        crash_point.hang_up(request.client)
        return Response()  # reaches nobody

    @api.exception_handler(RequestValidationError)
    async def bad_body(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse(bad_request(422, f"the request does not fit: {faults}").body(), status_code=422)

    return api


class Application:
    """The ASGI application: queries take the short way, everything else goes through FastAPI."""

    def __init__(self) -> None:
        self.coordinator: Coordinator | None = None
        self.api = create_api(lambda: self.coordinator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in QUERY_PATHS and scope["method"] == "POST":
            assert self.coordinator is not None
            try:
                await self.coordinator.query(scope, receive, send)
            except ConnectionCut:
                crash_point.hang_up(scope["client"])
                while (await receive())["type"] != "http.disconnect":
                    pass  # or the server, which was given no response, would make one up
        else:
            await self.api(scope, receive, send)

    def stop_waiting(self) -> None:
        """The process is to end soon: whoever waits for something long is told how far it is."""
        assert self.coordinator is not None
        self.coordinator.verifier.send_away()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Start and stop the coordinator of `application`."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO"),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # one line a request and a call is more than all the rest of the log, and says less
    for noisy in ("httpx", "asyncmy"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    application.coordinator = coordinator = Coordinator(CoordinatorSettings())  # type: ignore[call-arg]  # from the environment
    await coordinator.start()
    # what is there now stays; what a request makes is gone with it, so it is seldom worth looking for garbage (5 % of the time)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    try:
        yield
    finally:
        await coordinator.stop()


crash_point.arm(points.POINTS, os.environ)
application = Application()
app = Draining(application, msgspec.json.encode(errors.stopping().body()), application.stop_waiting)
