"""SEER service: ranks, over HTTP, the nodes that could become master.

Wiring only: the rule is in leader_election.py, the shapes in seer_contract.py. Asking changes nothing anywhere: an
election is the coordinator's act, and this is one of its advisers.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import crash_point
import httpx
import seer_points as points
import service_log
from access import OFF, Access, access_from_environment
from api_docs import serve_docs
from crash_point import ConnectionCut
from draining import Draining
from fastapi import APIRouter, Body, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from guarded_api import GuardedApi, service_rules
from leader_election import Scores, UnknownCandidateError, rank_candidates
from metrics_client import CollectorUnavailableError, MetricsClient
from metrics_contract import ClusterMetrics
from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict
from seer_contract import CandidateScores, ElectLeaderRequest, LeaderAnswer, LeaderRefusal, SeerError, SeerHealth
from starlette.exceptions import HTTPException

STOPPING = "This service is being stopped: ask again in a moment; until then, use the last scores or the node order."


class SeerSettings(BaseSettings):
    """From the environment, names in capitals. Refused at start when out of range."""

    model_config = SettingsConfigDict(frozen=True)

    metrics_url: HttpUrl = HttpUrl("http://127.0.0.1:8003")
    # above 5 s the coordinator has long decided without advice
    metrics_timeout_ms: int = Field(default=250, ge=1, le=5_000)
    # 0 asks anew every time; above 1 s the advice would be about another cluster than the one that is there
    metrics_cache_ms: int = Field(default=100, ge=0, le=1_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: SeerSettings = app.state.settings
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
# an empty body asks the same as {}
Question = Annotated[ElectLeaderRequest, Body(default_factory=ElectLeaderRequest)]
router = APIRouter()


@router.post(
    "/elect-leader",
    response_model=LeaderAnswer,
    summary="Rank the candidates",
    responses={
        400: {"model": SeerError, "description": "The body is not text"},
        413: {"model": SeerError, "description": "The body is too large"},
        422: {"model": SeerError, "description": "Not a question that is answered here; the message says what is"},
        503: {
            "model": LeaderRefusal | SeerError,
            "description": "Too few nodes are usable; or the collector does not answer; or this service is being stopped",
        },
    },
)
async def elect(body: Question, metrics: Metrics) -> LeaderAnswer | JSONResponse:
    """Whom to make master, by latency, stability and lag, from one reading of the metrics; asking changes nothing."""
    cluster = await _metrics_from(metrics)
    master = _master_to_leave_out(body, cluster)
    offered = cluster.nodes if body.candidates is None else body.candidates
    ranking = rank_candidates(cluster.nodes, [name for name in offered if name != master])
    if ranking.leader is None:
        refusal = LeaderRefusal(
            message=f"{ranking.reason}. Bring a node back and ask again.",
            excluded=dict(ranking.excluded),
            master=master,
        )
        return JSONResponse(refusal.model_dump(), status_code=503)
    crash_point.reach(points.ANSWER)
    return LeaderAnswer(
        leader=ranking.leader,
        ranking=list(ranking.ranking),
        scores={name: _answered(scores) for name, scores in ranking.scores.items()},
        excluded=dict(ranking.excluded),
        master=master,
        reason=ranking.reason,
    )


@router.get(
    "/health",
    summary="Health",
    responses={503: {"model": SeerError, "description": "This service is being stopped"}},
)
async def health(metrics: Metrics) -> SeerHealth:
    """200 without the collector too: restarting this service would not bring the collector back."""
    try:
        await metrics.read()
    except CollectorUnavailableError as error:
        return SeerHealth(metrics_collector=f"unreachable: {error}")
    return SeerHealth(metrics_collector="reachable")


def _answered(scores: Scores) -> CandidateScores:
    return CandidateScores(**asdict(scores), total=scores.total)


async def _metrics_from(collector: MetricsClient) -> ClusterMetrics:
    try:
        crash_point.reach(points.COLLECTOR_BEFORE)
        cluster = await collector.read()
        crash_point.reach(points.COLLECTOR_AFTER)
    except ConnectionCut as cut:
        raise CollectorUnavailableError(str(cut)) from cut
    return cluster


def _master_to_leave_out(body: ElectLeaderRequest, cluster: ClusterMetrics) -> str | None:
    if body.master is not None:
        if body.master not in cluster.nodes:
            raise UnknownCandidateError(
                f"master {body.master!r} is not a node of this cluster; known: {', '.join(sorted(cluster.nodes))}"
            )
        return body.master
    # named candidates are those that the coordinator has fenced; a deposed master may rightly be one of them
    return cluster.master if body.candidates is None else None


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse(SeerError(message=message).model_dump(), status_code=status)


async def _on_malformed_body(_: Request, error: RequestValidationError) -> JSONResponse:
    faults = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return _error(
        422, f'{faults}. Send Content-Type: application/json and a body such as {{}}, or {{"candidates": [names]}}.'
    )


async def _on_unknown_candidate(_: Request, error: UnknownCandidateError) -> JSONResponse:
    return _error(422, f"{error}.")


async def _on_missing_metrics(_: Request, error: CollectorUnavailableError) -> JSONResponse:
    return _error(503, f"{error}. No leader can be proposed; until it is back, use the last scores or the node order.")


async def _on_http_error(_: Request, error: HTTPException) -> JSONResponse:
    response = _error(error.status_code, f"{error.detail}: this service has POST /elect-leader and GET /health.")
    response.headers.update(error.headers or {})
    return response


async def _on_cut(request: Request, _: ConnectionCut) -> Response:
    crash_point.hang_up(request.client)
    return Response()  # reaches nobody


def create_app(
    settings: SeerSettings, transport: httpx.AsyncBaseTransport | None = None, access: Access = OFF
) -> FastAPI:
    """`transport` is how the collector is reached; None is the network."""
    rules = service_rules(access.tokens, SeerError)
    app = GuardedApi(
        rules,
        title="SEER service",
        description="Ranks the nodes that could become master. Advice: nothing rests on it.",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Draining, refusal=SeerError(message=STOPPING).model_dump_json().encode())
    app.state.settings = settings
    app.state.transport = transport
    app.state.service_token = access.service_token
    app.include_router(router)
    serve_docs(app)
    app.exception_handler(RequestValidationError)(_on_malformed_body)
    app.exception_handler(UnknownCandidateError)(_on_unknown_candidate)
    app.exception_handler(CollectorUnavailableError)(_on_missing_metrics)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(ConnectionCut)(_on_cut)
    return app


service_log.set_up("seer-service")
crash_point.arm(points.POINTS, os.environ)
app = create_app(SeerSettings(), access=access_from_environment("seer-service", "SERVICE_TOKEN"))
