"""The routes of the coordinator's HTTP door, and how its errors are said. The two that carry queries are answered by
query_endpoint.py; here they have their place in the OpenAPI.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import crash_point
import errors
import msgspec
import route_answers as told
from access import Role, Tokens
from api_docs import serve_docs
from composition import Coordinator
from coordinator_metrics import CoordinatorMetrics
from crash_point import ConnectionCut
from errors import QueryError, bad_request, denied, unauthenticated
from exactly_once import KEY_BYTES_MAX
from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from guarded_api import BODY_TOO_LARGE, GuardedApi, Rules
from live_routes import PAGE_PATHS, add_live_routes
from query_contract import (
    TIMESTAMP_MAX,
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
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Lifespan, Scope
from verify_contract import VerifyAnswer, VerifyRequest

KEY_PATTERN = "^[ -~]+$"
"""Of an Idempotency-Key: printable ASCII."""


class AnythingConvertor(Convertor[str]):
    """The rest of a path, whatever is in it; Starlette's own `path` ends at a line break, and the request would be a 404."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", AnythingConvertor())


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
        Rules(tokens, role_for, ErrorAnswer, refuse, PAGE_PATHS),
        title="Distributed MySQL coordinator",
        description=description,
        lifespan=lifespan,
    )
    api.exposition.add(CoordinatorMetrics(lambda: coordinator_of().numbers))

    @api.post(
        "/query",
        summary="Run SQL",
        response_model=WriteAnswer | ReadAnswer | BatchAnswer | ReadBatchAnswer,
        responses=told.responses({200: told.QUERIED}, 400, 403, 409, 413, 422, 429, 503, 504),
    )
    async def query(
        request: QueryRequest | BatchRequest,
        idempotency_key: Annotated[
            str | None,
            Header(
                description="A write with a key takes effect once, however often it is sent",
                min_length=1,
                max_length=KEY_BYTES_MAX,
                pattern=KEY_PATTERN,
                examples=["order-4711"],
            ),
        ] = None,
    ) -> Response:
        """Run one SQL statement, or several that take effect together or not at all. A write is acknowledged when it can never be
        lost, a read sees all of those.
        """
        raise NotImplementedError("POST /query is answered by QueryEndpoint")

    @api.post(
        EXPLAIN_PATH,
        summary="Explain how SQL is replicated",
        response_model=ExplainAnswer,
        responses=told.responses({200: told.EXPLAINED}, 400, 413, 422, 429, 503),
    )
    async def explain(request: QueryRequest) -> Response:
        """What would become of a query, without doing it: its kind, what would be replicated, or why it is refused."""
        raise NotImplementedError("POST /explain-replication is answered by QueryEndpoint")

    fates = told.responses({200: told.FATE}, 422, 503, 504)

    @api.get("/transactions/{key:anything}", summary="Fate of a key", response_model=FateAnswer, responses=fates)
    async def fate_of_key(
        key: Annotated[str, Path(min_length=1, max_length=KEY_BYTES_MAX, pattern=KEY_PATTERN, examples=["order-4711"])],
    ) -> dict[str, Any]:
        """What became of the request that was sent with this Idempotency-Key."""
        return msgspec.structs.asdict(await coordinator_of().once.fate_of_key(key))

    @api.get("/transactions", summary="Fate of a timestamp", response_model=FateAnswer, responses=fates)
    async def fate_at(timestamp: Annotated[int, Query(ge=1, le=TIMESTAMP_MAX, examples=[5])]) -> dict[str, Any]:
        """Whether a write with this timestamp is committed."""
        return msgspec.structs.asdict(await coordinator_of().once.fate_at(timestamp))

    @api.exception_handler(QueryError)
    async def query_error(_: Request, error: QueryError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    @api.get(
        "/status", summary="Status", response_model=StatusAnswer, responses=told.responses({200: told.STATUS}, 503)
    )
    async def status() -> dict[str, Any]:
        """Who is master, what the cluster waits for, how far the log is and in what state each node is."""
        return coordinator_of().status()

    @api.get(
        "/elections",
        summary="Elections",
        response_model=ElectionsAnswer,
        responses=told.responses({200: told.ELECTIONS}, 503),
    )
    async def elections() -> dict[str, Any]:
        """The newest elections: why, how long each step took, who was ranked how."""
        history = coordinator_of().replicator.election.history
        return {"elections": msgspec.to_builtins(history.records)}

    @api.post(
        "/elections",
        summary="Elect now",
        response_model=StatusAnswer,
        responses=told.responses({200: told.STATUS}, 503),
    )
    async def elect_now() -> dict[str, Any]:
        """End the pause that is made after many elections in a row: elect now."""
        coordinator_of().driver.elect_now()
        return await status()

    @api.post(
        "/switchover",
        summary="Switch over",
        response_model=SwitchoverAnswer,
        responses=told.responses(
            {200: told.SWITCHED, 409: told.NOT_SWITCHED | {"model": SwitchoverAnswer}}, 400, 413, 422, 503
        ),
    )
    async def switchover(request: SwitchoverRequest) -> JSONResponse:
        """Make a level replica the master. Writes are held for a moment; none fails."""
        ended = await coordinator_of().driver.switchover(request.to)
        message = f"{ended.master} is master" if ended.done else ended.reason
        answer = SwitchoverAnswer(success=ended.done, message=message, current_master=ended.master)
        return JSONResponse(answer.model_dump(), status_code=200 if ended.done else 409)

    @api.get(
        "/verify",
        summary="State of the comparison",
        response_model=VerifyAnswer,
        responses=told.responses({200: told.COMPARED}, 503),
    )
    async def verification() -> VerifyAnswer:
        """How far the comparison of all nodes' rows is, and what came of the last one."""
        return coordinator_of().verification()

    @api.post(
        "/verify",
        summary="Compare all nodes",
        response_model=VerifyAnswer,
        responses=told.responses(
            {
                200: told.COMPARED,
                202: told.COMPARING | {"model": VerifyAnswer},
                409: told.ALREADY_COMPARING | {"model": VerifyAnswer},
            },
            *(400, 413, 422, 503),
        ),
    )
    async def verify(request: VerifyRequest | None = None) -> JSONResponse:
        """Compare every row of every table on all nodes at one timestamp, while writes go on. Who differs is rebuilt."""
        coordinator = coordinator_of()
        status = await coordinator.verify(wait=request is not None and request.wait)
        return JSONResponse(coordinator.verification(status).model_dump(), status_code=status)

    @api.get(
        "/health",
        summary="Health",
        response_model=HealthAnswer,
        responses={200: told.HEALTHY, 503: told.UNHEALTHY | {"model": HealthAnswer | ErrorAnswer}},
    )
    async def health() -> JSONResponse:
        """Whether this process works; a restart helps where it does not. Beside that, what a write would wait for."""
        answer = coordinator_of().health()
        return JSONResponse(answer.model_dump(), status_code=200 if answer.status == "ok" else 503)

    @api.get(
        "/ready",
        summary="Readiness",
        response_model=ReadyAnswer,
        responses=told.responses({200: told.READY, 503: told.NOT_READY | {"model": ReadyAnswer | ErrorAnswer}}, 422),
    )
    async def ready(
        purpose: Annotated[Literal["write", "read"], Query(alias="for", examples=["read"])] = "write",
    ) -> JSONResponse:
        """Whether a write (or a strong read) sent now would be answered at once."""
        coordinator = coordinator_of()
        reason = coordinator.why_not_ready(purpose)
        answer = ReadyAnswer(ready=not reason, service="coordinator", reason=reason or f"a {purpose} is taken")
        return JSONResponse(answer.model_dump(), status_code=503 if reason else 200)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code in (404, 405):
            message = f"{request.method} {request.url.path} is not offered; GET /docs lists what is"
            body = QueryError(error.status_code, "no_such_route", message).body()
        elif error.status_code == BODY_TOO_LARGE:
            body = bad_request(BODY_TOO_LARGE, error.detail).body()
        else:
            body = bad_request(error.status_code, f"the body is not JSON: {error.detail}").body()
        headers = {"allow": methods_at(api, request.scope)} if error.status_code == 405 else {}
        return JSONResponse(body, status_code=error.status_code, headers=headers)

    @api.exception_handler(Exception)
    async def unforeseen(_: Request, __: Exception) -> JSONResponse:
        error = errors.unforeseen()  # and the server logs what it was
        return JSONResponse(error.body(), status_code=error.status)

    @api.exception_handler(ConnectionCut)
    async def no_answer(request: Request, _: Exception) -> Response:
        crash_point.hang_up(request.client)
        return Response()  # reaches nobody

    @api.exception_handler(RequestValidationError)
    async def bad_body(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse(bad_request(422, f"the request does not fit: {faults}").body(), status_code=422)

    add_live_routes(api, coordinator_of, tokens)
    serve_docs(api)
    return api


def methods_at(api: FastAPI, scope: Scope) -> str:
    """The methods of all routes at the path of a request; Starlette names those of the first one only."""
    matching = [route for route in api.routes if route.matches(scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in matching for method in getattr(route, "methods", None) or ()}))
