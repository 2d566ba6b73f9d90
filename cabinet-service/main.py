"""Cabinet service: proposes, over HTTP, which replicas a write should wait for.

Wiring only: the rule is in quorum_selection.py, the shapes in cabinet_contract.py. A request reads the collector once
and answers from that one reading, so weights of two moments never meet in one proposal.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import cabinet_points as points
import crash_point
import httpx
import service_log
from access import OFF, Access, access_from_environment
from api_docs import serve_docs
from cabinet_contract import CabinetError, CabinetHealth, QuorumAnswer, QuorumRefusal, SelectQuorumRequest
from crash_point import ConnectionCut
from draining import Draining
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from guarded_api import GuardedApi, service_rules
from metrics_client import CollectorUnavailableError, MetricsClient
from metrics_contract import ClusterMetrics
from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict
from quorum_selection import QuorumRequestError, select_quorum
from starlette.exceptions import HTTPException

# the master of a cluster in which nobody has been elected yet
MASTER_INITIAL = "mysql-master"
STOPPING = "This service is being stopped: ask again in a moment; until then, wait for whichever replicas answer first."


class CabinetSettings(BaseSettings):
    """From the environment, names in capitals. Refused at start when out of range."""

    model_config = SettingsConfigDict(frozen=True)

    metrics_url: HttpUrl = HttpUrl("http://127.0.0.1:8003")
    # above 5 s the coordinator has long decided without advice
    metrics_timeout_ms: int = Field(default=250, ge=1, le=5_000)
    # 0 asks anew every time; above 1 s the advice would be about another cluster than the one that is there
    metrics_cache_ms: int = Field(default=100, ge=0, le=1_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: CabinetSettings = app.state.settings
    metrics = MetricsClient(
        str(settings.metrics_url),
        timeout_ms=settings.metrics_timeout_ms,
        cache_ms=settings.metrics_cache_ms,
        token=app.state.service_token,
        transport=app.state.transport,
    )
    app.state.metrics = metrics
    try:
        yield
    finally:
        await metrics.aclose()


def metrics_of(request: Request) -> MetricsClient:
    metrics: MetricsClient = request.app.state.metrics
    return metrics


Metrics = Annotated[MetricsClient, Depends(metrics_of)]
router = APIRouter()


@router.post(
    "/select-quorum",
    response_model=QuorumAnswer,
    summary="Select a quorum",
    responses={
        400: {"model": CabinetError, "description": "The body is not text"},
        413: {"model": CabinetError, "description": "The body is too large"},
        422: {"model": CabinetError, "description": "Not a question that is answered here; the message says what is"},
        503: {
            "model": QuorumRefusal | CabinetError,
            "description": "Too few nodes are usable; or the collector does not answer; or this service is being stopped",
        },
    },
)
async def select(body: SelectQuorumRequest, metrics: Metrics) -> QuorumAnswer | JSONResponse:
    """The replicas that answer best, from one reading of the metrics; all weights with it."""
    cluster = await _metrics_from(metrics)
    master = _master_to_leave_out(body.master, cluster)
    selection = select_quorum(cluster.nodes, master=master, operation=body.operation, quorum_size=body.quorum_size)
    if not selection.satisfied:
        refusal = QuorumRefusal(
            message=f"{selection.reason}. Bring replicas back and ask again.",
            operation=body.operation,
            quorum_size=selection.quorum_size,
            weights=dict(selection.weights),
            excluded=dict(selection.excluded),
            master=master,
        )
        return JSONResponse(refusal.model_dump(), status_code=503)
    crash_point.reach(points.ANSWER)
    return QuorumAnswer(
        operation=body.operation,
        quorum=list(selection.quorum),
        quorum_size=selection.quorum_size,
        weights=dict(selection.weights),
        excluded=dict(selection.excluded),
        master=master,
        reason=selection.reason,
    )


@router.get(
    "/health",
    summary="Health",
    responses={503: {"model": CabinetError, "description": "This service is being stopped"}},
)
async def health(metrics: Metrics) -> CabinetHealth:
    """200 without the collector too: restarting this service would not bring the collector back."""
    try:
        await metrics.read()
    except CollectorUnavailableError as error:
        return CabinetHealth(metrics_collector=f"unreachable: {error}")
    return CabinetHealth(metrics_collector="reachable")


async def _metrics_from(collector: MetricsClient) -> ClusterMetrics:
    try:
        crash_point.reach(points.COLLECTOR_BEFORE)
        cluster = await collector.read()
        crash_point.reach(points.COLLECTOR_AFTER)
    except ConnectionCut as cut:
        raise CollectorUnavailableError(str(cut)) from cut
    return cluster


def _master_to_leave_out(asked: str | None, cluster: ClusterMetrics) -> str:
    if asked is None:
        return cluster.master or MASTER_INITIAL
    if asked not in cluster.nodes:
        raise QuorumRequestError(
            f"master {asked!r} is not a node of this cluster; known: {', '.join(sorted(cluster.nodes))}"
        )
    return asked


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse(CabinetError(message=message).model_dump(), status_code=status)


async def _on_malformed_body(_: Request, error: RequestValidationError) -> JSONResponse:
    faults = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return _error(422, f'{faults}. Send Content-Type: application/json and a body such as {{"operation": "write"}}.')


async def _on_impossible_request(_: Request, error: QuorumRequestError) -> JSONResponse:
    return _error(422, f"{error}.")


async def _on_missing_metrics(_: Request, error: CollectorUnavailableError) -> JSONResponse:
    return _error(
        503, f"{error}. No quorum can be proposed; until it is back, wait for whichever replicas answer first."
    )


async def _on_http_error(_: Request, error: HTTPException) -> JSONResponse:
    response = _error(error.status_code, f"{error.detail}: this service has POST /select-quorum and GET /health.")
    response.headers.update(error.headers or {})
    return response


async def _on_cut(request: Request, _: ConnectionCut) -> Response:
    crash_point.hang_up(request.client)
    return Response()  # reaches nobody


def create_app(
    settings: CabinetSettings, transport: httpx.AsyncBaseTransport | None = None, access: Access = OFF
) -> FastAPI:
    """`transport` is how the collector is reached; None is the network."""
    rules = service_rules(access.tokens, CabinetError)
    app = GuardedApi(
        rules,
        title="Cabinet service",
        description="Proposes the replicas that a write should wait for. Advice: nothing rests on it.",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Draining, refusal=CabinetError(message=STOPPING).model_dump_json().encode())
    app.state.settings = settings
    app.state.transport = transport
    app.state.service_token = access.service_token
    app.include_router(router)
    serve_docs(app)
    app.exception_handler(RequestValidationError)(_on_malformed_body)
    app.exception_handler(QuorumRequestError)(_on_impossible_request)
    app.exception_handler(CollectorUnavailableError)(_on_missing_metrics)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(ConnectionCut)(_on_cut)
    return app


service_log.set_up("cabinet-service")
crash_point.arm(points.POINTS, os.environ)
app = create_app(CabinetSettings(), access=access_from_environment("cabinet-service", "SERVICE_TOKEN"))
