"""The routes of the coordinator's HTTP door, and how its errors are said. The two that carry queries are answered by
query_endpoint.py; here they have their place in the OpenAPI.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import crash_point
import msgspec
import status_view
from access import Role, Tokens
from composition import Coordinator
from crash_point import ConnectionCut
from errors import QueryError, bad_request, denied, unauthenticated
from fastapi import FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from guarded_api import GuardedApi, Rules
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
from query_endpoint import EXPLAIN_PATH, QUERY_PATHS
from starlette.types import Lifespan
from verify_contract import VerifyAnswer, VerifyRequest


def role_for(method: str, path: str) -> Role:
    """What a route needs: admin for what moves or loads the cluster, and for what somebody adds. The two that carry queries want
    a role by their statements."""
    return Role.READ if method in ("GET", "HEAD", "OPTIONS") or path in QUERY_PATHS else Role.ADMIN


def refuse(held: Role | None, needed: Role) -> bytes:
    error = unauthenticated() if held is None else denied(held.name.lower(), needed.name.lower())
    return msgspec.json.encode(error.body())


def create_api(
    coordinator_of: Callable[[], Coordinator], description: str, lifespan: Lifespan[FastAPI], tokens: Tokens | None
) -> FastAPI:
    """The FastAPI application: everything but the hot path is answered by it. `tokens`: None, access is off."""
    api = GuardedApi(
        Rules(tokens, role_for, ErrorAnswer, refuse),
        title="Distributed MySQL coordinator",
        description=description,
        lifespan=lifespan,
        version="0.1.0",
        redoc_url=None,
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
        return msgspec.structs.asdict(await coordinator_of().once.fate_of_key(key))

    @api.get("/transactions", response_model=FateAnswer, responses=fates)
    async def fate_at(timestamp: Annotated[int, Query(ge=1, le=1 << 62)]) -> dict[str, Any]:
        """Whether a write with this timestamp is committed."""
        return msgspec.structs.asdict(await coordinator_of().once.fate_at(timestamp))

    @api.exception_handler(QueryError)
    async def query_error(_: Request, error: QueryError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    @api.get("/status", response_model=StatusAnswer)
    async def status() -> dict[str, Any]:
        coordinator = coordinator_of()
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
        return coordinator_of().verification()

    @api.post(
        "/verify",
        response_model=VerifyAnswer,
        responses={202: {"model": VerifyAnswer}, 409: {"model": VerifyAnswer}},
    )
    async def verify(request: VerifyRequest | None = None) -> JSONResponse:
        """Compare every row of every table on all nodes at one timestamp, while writes go on. Who differs is rebuilt."""
        coordinator = coordinator_of()
        status = await coordinator.verify(wait=request is not None and request.wait)
        return JSONResponse(coordinator.verification(status).model_dump(), status_code=status)

    @api.get("/health", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
    async def health() -> JSONResponse:
        answer = coordinator_of().health()
        return JSONResponse(answer.model_dump(), status_code=200 if answer.can_write else 503)

    @api.get("/ready", response_model=ReadyAnswer, responses={422: {"model": ErrorAnswer}, 503: {"model": ReadyAnswer}})
    async def ready(purpose: Annotated[Literal["write", "read"], Query(alias="for")] = "write") -> JSONResponse:
        """Whether a write (or a strong read) sent now would be answered at once."""
        coordinator = coordinator_of()
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
