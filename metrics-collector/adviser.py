"""What Cabinet and SEER have in common: a service that answers a question from one reading of the metrics collector, so that
figures of two moments never meet in one answer. Advice: nothing rests on it, and every refusal says what to do without.

Their rules, shapes and routes are their own. Both import this very file, and their images copy it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import crash_point
import httpx
from access import OFF, Access
from api_docs import serve_docs
from crash_point import ConnectionCut
from draining import Draining
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from guarded_api import GuardedApi, service_rules
from metrics_client import CollectorUnavailableError, MetricsClient
from metrics_contract import ClusterMetrics
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.exceptions import HTTPException

Answers = dict[int | str, dict[str, Any]]
"""As FastAPI takes them: by status."""


class AdviserSettings(BaseSettings):
    """From the environment, names in capitals. Refused at start when out of range."""

    model_config = SettingsConfigDict(frozen=True)

    metrics_url: HttpUrl = HttpUrl("http://127.0.0.1:8003")
    # above 5 s the coordinator has long decided without advice
    metrics_timeout_ms: int = Field(default=250, ge=1, le=5_000)
    # 0 asks anew every time; above 1 s the advice would be about another cluster than the one that is there
    metrics_cache_ms: int = Field(default=100, ge=0, le=1_000)


@dataclass(frozen=True)
class Adviser:
    """One of the two, in words and shapes."""

    title: str
    description: str
    question: str
    """Method and path."""
    body_example: str
    advice: str
    """What it proposes: "quorum"."""
    without: str
    """What to do while it cannot, as the end of a sentence."""
    error: type[BaseModel]
    """A refusal that has a message and nothing else to say."""
    health: type[BaseModel]
    wrong_question: type[Exception]
    """Raised by its rule for a question that cannot be answered."""
    collector_points: tuple[str, str]
    """Crash points before and after the collector is asked."""

    @property
    def stopping(self) -> str:
        return f"This service is being stopped: ask again in a moment; until then, {self.without}."

    def refusal(self, status: int, message: str) -> JSONResponse:
        return JSONResponse(self.error(message=message).model_dump(), status_code=status)

    def refusals(self, unavailable: type[BaseModel]) -> Answers:
        """What the OpenAPI says of them. `unavailable`: the shape of a 503 that has more to tell."""
        return {
            400: {"model": self.error, "description": "The body is not text"},
            413: {"model": self.error, "description": "The body is too large"},
            422: {"model": self.error, "description": "Not a question that is answered here; the message says what is"},
            503: {
                "model": unavailable | self.error,
                "description": "Too few nodes are usable; or the collector does not answer; or this service is being stopped",
            },
        }

    async def metrics_from(self, collector: MetricsClient) -> ClusterMetrics:
        """Raises CollectorUnavailableError."""
        before, after = self.collector_points
        try:
            crash_point.reach(before)
            cluster = await collector.read()
            crash_point.reach(after)
        except ConnectionCut as cut:
            raise CollectorUnavailableError(str(cut)) from cut
        return cluster


def metrics_of(request: Request) -> MetricsClient:
    metrics: MetricsClient = request.app.state.metrics
    return metrics


Metrics = Annotated[MetricsClient, Depends(metrics_of)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: AdviserSettings = app.state.settings
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


def adviser_app(
    adviser: Adviser,
    router: APIRouter,
    numbers: Collector,
    settings: AdviserSettings,
    transport: httpx.AsyncBaseTransport | None = None,
    access: Access = OFF,
) -> FastAPI:
    """`router` has the adviser's own routes, `numbers` is what they count into and Prometheus is told. `transport` is how the
    collector is reached; None is the network."""
    app = GuardedApi(
        service_rules(access.tokens, adviser.error),
        title=adviser.title,
        description=adviser.description,
        lifespan=lifespan,
    )
    app.add_middleware(Draining, refusal=adviser.error(message=adviser.stopping).model_dump_json().encode())
    app.exposition.add(numbers)
    app.state.numbers = numbers
    app.state.settings = settings
    app.state.transport = transport
    app.state.service_token = access.service_token
    app.include_router(router)
    _add_health(app, adviser)
    serve_docs(app)
    _add_refusals(app, adviser)
    return app


def _add_health(app: FastAPI, adviser: Adviser) -> None:
    stopped: Answers = {503: {"model": adviser.error, "description": "This service is being stopped"}}

    @app.get("/health", summary="Health", response_model=adviser.health, responses=stopped)
    async def health(metrics: Metrics) -> BaseModel:
        """200 without the collector too: restarting this service would not bring the collector back."""
        try:
            await metrics.read()
        except CollectorUnavailableError as error:
            return adviser.health(metrics_collector=f"unreachable: {error}")
        return adviser.health(metrics_collector="reachable")


def _add_refusals(app: FastAPI, adviser: Adviser) -> None:
    @app.exception_handler(RequestValidationError)
    async def malformed_body(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        wanted = f"Send Content-Type: application/json and a body such as {adviser.body_example}."
        return adviser.refusal(422, f"{faults}. {wanted}")

    @app.exception_handler(adviser.wrong_question)
    async def wrong_question(_: Request, error: Exception) -> JSONResponse:
        return adviser.refusal(422, f"{error}.")

    @app.exception_handler(CollectorUnavailableError)
    async def missing_metrics(_: Request, error: CollectorUnavailableError) -> JSONResponse:
        return adviser.refusal(
            503, f"{error}. No {adviser.advice} can be proposed; until it is back, {adviser.without}."
        )

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        offered = f"this service has {adviser.question} and GET /health"
        response = adviser.refusal(error.status_code, f"{error.detail}: {offered}.")
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ConnectionCut)
    async def cut(request: Request, _: ConnectionCut) -> Response:
        crash_point.hang_up(request.client)
        return Response()  # reaches nobody
