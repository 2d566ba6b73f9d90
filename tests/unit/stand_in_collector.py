"""The metrics collector as those who ask it see it: what it tells of the nodes, and how it fails to tell."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import httpx
from metrics_contract import ClusterMetrics, NodeMetrics

Collector = Callable[[httpx.Request], Any]


def node(
    name: str,
    latency_ms: float | None = 1.0,
    lag_ms: float | None = 0.0,
    uptime_s: float | None = 60.0,
    crash_count: int = 0,
    *,
    healthy: bool = True,
    error: str | None = None,
    is_master: bool = False,
    log_end_timestamp: int | None = 5,
) -> NodeMetrics:
    return NodeMetrics(
        id=name,
        healthy=healthy,
        latency_ms=latency_ms,
        latency_ms_min=latency_ms,
        latency_ms_p99=latency_ms,
        lag_ms=lag_ms,
        lag_entries=0,
        uptime_s=uptime_s,
        crash_count=crash_count,
        epoch=1,
        is_master=is_master,
        applied_timestamp=5,
        committed_timestamp=5,
        log_end_timestamp=log_end_timestamp,
        last_probe_age_ms=10.0,
        error=error,
    )


def dead(name: str) -> NodeMetrics:
    """One that never answered."""
    return node(name, None, None, None, healthy=False, error="no answer within 500 ms")


def by_name(*nodes: NodeMetrics) -> dict[str, NodeMetrics]:
    return {each.id: each for each in nodes}


def metrics(*nodes: NodeMetrics, master: str | None = "mysql-master") -> dict[str, Any]:
    """Body of GET /metrics."""
    collected_at = datetime(2025, 11, 23, 16, 30, tzinfo=UTC)
    told = ClusterMetrics(nodes=by_name(*nodes), master=master, epoch=1, collected_at=collected_at)
    return told.model_dump(mode="json")


def answering(body: dict[str, Any]) -> Collector:
    return lambda request: httpx.Response(200, json=body)


async def frozen(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@asynccontextmanager
async def adviser_in_process(
    main: ModuleType, settings: object, collector: Collector
) -> AsyncIterator[httpx.AsyncClient]:
    """Cabinet or SEER, by its `main`, with that collector behind it."""
    app = main.create_app(settings, httpx.MockTransport(collector))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://adviser") as client,
    ):
        yield client
