"""HTTP door of the metrics collector: settings, routes, wiring."""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import service_log
from access import access_from_environment
from api_docs import serve_docs
from collector import Collector
from collector_metrics import CollectorMetrics
from crash_journal import CrashJournal
from draining import Draining
from exposition import TOLD, prefers_text
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse
from guarded_api import GuardedApi, service_rules
from metrics_contract import ClusterMetrics, CollectorHealth, MetricsRefusal, NodeMetrics
from node_metrics import ClusterTracker
from node_probe import MySqlNodeProbe, NodeAddress, Probe
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

DEFAULT_NODES = (
    "mysql-master=127.0.0.1:13306,replica-1=127.0.0.1:13307,replica-2=127.0.0.1:13308,replica-3=127.0.0.1:13309"
)
STOPPING = "The metrics collector is being stopped: ask again in a moment."
_NODE = re.compile(r"(?P<id>[a-z0-9][a-z0-9-]{0,62})=(?P<host>[^\s=:]+):(?P<port>[0-9]{1,5})")

TimeoutMs = Annotated[int, Field(ge=10, le=60_000)]


def parse_nodes(text: str) -> tuple[NodeAddress, ...]:
    """`id=host:port,id=host:port`; ValueError says which part is wrong."""
    nodes = []
    for part in text.split(","):
        match = _NODE.fullmatch(part.strip())
        if match is None or not 0 < int(match["port"]) < 65_536:
            raise ValueError(f"{part!r} is not like replica-1=127.0.0.1:13307")
        nodes.append(NodeAddress(match["id"], match["host"], int(match["port"])))
    if len({node.id for node in nodes}) < len(nodes):
        raise ValueError("two nodes have the same id")
    if len({(node.host, node.port) for node in nodes}) < len(nodes):
        raise ValueError("two nodes have the same address")
    return tuple(nodes)


class CollectorSettings(BaseSettings):
    """From the environment, checked against each other."""

    model_config = SettingsConfigDict(frozen=True)

    state_dir: Path
    collector_db_password: SecretStr
    nodes: Annotated[tuple[NodeAddress, ...], NoDecode] = parse_nodes(DEFAULT_NODES)
    probe_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 200
    connect_timeout_ms: TimeoutMs = 500
    probe_timeout_ms: TimeoutMs = 500
    retry_pause_ms: Annotated[int, Field(ge=0, le=60_000)] = 500
    """After a probe without an answer, before the next connection."""
    latency_window_probes: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Answers that minimum and p99 look back on: 300 are a minute at five a second."""
    latency_smoothing: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Weight of the newest latency in the smoothed one: at 0.2 half of a change shows after four answers."""

    @field_validator("nodes", mode="before")
    @classmethod
    def _parse_nodes(cls, value: object) -> object:
        return parse_nodes(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_time_outs(self) -> Self:
        if self.connect_timeout_ms > self.probe_timeout_ms:
            raise ValueError(
                f"CONNECT_TIMEOUT_MS ({self.connect_timeout_ms}) is above PROBE_TIMEOUT_MS ({self.probe_timeout_ms}): "
                "a dead host would be noticed later than a slow one"
            )
        if self.probe_timeout_ms > 25 * self.probe_interval_ms:
            raise ValueError(
                f"PROBE_TIMEOUT_MS ({self.probe_timeout_ms}) is above 25 times PROBE_INTERVAL_MS "
                f"({self.probe_interval_ms}): a frozen node would look healthy for 25 missed probes"
            )
        return self

    @property
    def answer_age_ms_max(self) -> int:
        """Twice the longest time between the outcomes of two probes while all is well with the collector."""
        return 2 * (self.probe_interval_ms + self.connect_timeout_ms + self.probe_timeout_ms)


def load_settings() -> CollectorSettings:
    """Ends the process with a sentence instead of a stack trace: the reader is whoever wrote the environment."""
    try:
        return CollectorSettings.model_validate({})
    except ValidationError as error:
        findings = (
            f"{'.'.join(str(part) for part in finding['loc']).upper() or 'settings'}: {finding['msg']}"
            for finding in error.errors(include_url=False)
        )
        raise SystemExit(f"metrics-collector does not start: {'; '.join(findings)}.") from error


def make_mysql_probe(settings: CollectorSettings, address: NodeAddress) -> Probe:
    return MySqlNodeProbe(
        address,
        password=settings.collector_db_password.get_secret_value(),
        connect_timeout_ms=settings.connect_timeout_ms,
        probe_timeout_ms=settings.probe_timeout_ms,
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: CollectorSettings = app.state.settings
    make_probe: Callable[[CollectorSettings, NodeAddress], Probe] = app.state.make_probe
    journal = CrashJournal.open(settings.state_dir)
    try:
        tracker = ClusterTracker(
            [node.id for node in settings.nodes],
            window_sample_count=settings.latency_window_probes,
            smoothing=settings.latency_smoothing,
            answer_age_ms_max=settings.answer_age_ms_max,
        )
        collector = Collector(
            {node.id: make_probe(settings, node) for node in settings.nodes},
            tracker,
            journal,
            interval_ms=settings.probe_interval_ms,
            retry_pause_ms=settings.retry_pause_ms,
        )
        app.state.tracker, app.state.journal, app.state.collector = tracker, journal, collector
        collector.start()
        try:
            yield
        finally:
            await collector.stop()
    finally:
        journal.close()


service_log.set_up("metrics-collector")
app = GuardedApi(
    service_rules(access_from_environment("metrics-collector", "SERVICE_TOKEN").tokens, MetricsRefusal),
    title="Metrics collector",
    description="Latency, lag, uptime and restarts of each node, as last measured.",
    lifespan=lifespan,
    has_own_metrics=True,
)
app.add_middleware(Draining, refusal=MetricsRefusal(message=STOPPING).model_dump_json().encode())
app.state.settings = load_settings()
# Where tests put probes that need no MySQL.
app.state.make_probe = make_mysql_probe
app.exposition.add(CollectorMetrics(lambda: _all_nodes(), lambda: app.state.collector.journal_failure is None))

_STOPPING: dict[int | str, dict[str, Any]] = {
    503: {"model": MetricsRefusal, "description": "The collector is being stopped"}
}


@app.get("/metrics", summary="All nodes", response_model=ClusterMetrics, responses=_STOPPING | TOLD)
async def get_metrics(request: Request) -> ClusterMetrics | Response:
    """Every node as last seen, and who is master by what they tell. For whoever would rather have text: what
    /metrics/prometheus says."""
    if prefers_text(request.headers.get("accept", "")):
        return app.exposition.answer(request)
    view = app.state.tracker.master_view()
    return ClusterMetrics(
        nodes=_all_nodes(),
        master=view.master,
        epoch=view.epoch,
        collected_at=datetime.now(UTC),
    )


@app.get(
    "/metrics/{node_id}",
    summary="One node",
    responses=_STOPPING | {404: {"model": MetricsRefusal, "description": "No node has this name"}},
)
async def get_node_metrics(node_id: Annotated[str, PathParameter(examples=["replica-1"])]) -> NodeMetrics:
    """One node as last seen."""
    nodes = _all_nodes()
    if node_id not in nodes:
        raise HTTPException(404, f"unknown node {node_id!r}; known: {', '.join(nodes)}")
    return nodes[node_id]


@app.get(
    "/health",
    summary="Health",
    response_model=CollectorHealth,
    responses={
        503: {
            "model": CollectorHealth | MetricsRefusal,
            "description": "A node is probed no more; or the collector is being stopped",
        }
    },
)
async def get_health() -> JSONResponse:
    """Asks the tasks, not the web server: an HTTP loop that answers while nobody probes is not healthy."""
    dead = app.state.collector.dead_tasks()
    message = app.state.collector.journal_failure
    if dead:
        ends = "; ".join(f"the probe task of {node_id} ended: {why}" for node_id, why in dead.items())
        message = f"{ends}. Restart the collector."
    health = CollectorHealth(
        status="failed" if dead else "degraded" if message else "ok",
        nodes={node_id: node.healthy for node_id, node in _all_nodes().items()},
        message=message,
    )
    return JSONResponse(health.model_dump(), 503 if dead else 200)


serve_docs(app)


@app.exception_handler(StarletteHTTPException)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Every refusal in one shape."""
    if not isinstance(error, StarletteHTTPException):
        raise error
    return JSONResponse(MetricsRefusal(message=error.detail).model_dump(), error.status_code, error.headers)


def _all_nodes() -> dict[str, NodeMetrics]:
    tracker: ClusterTracker = app.state.tracker
    journal: CrashJournal = app.state.journal
    now_ns = time.monotonic_ns()
    return {
        address.id: tracker.node(address.id, journal.crash_count(address.id), now_ns)
        for address in app.state.settings.nodes
    }
