"""What Cabinet and SEER have in common over HTTP: their settings, their health, and a collector that tells nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

import httpx
import pytest
from adviser import AdviserSettings
from cabinet_contract import CabinetError, CabinetHealth
from seer_contract import SeerError, SeerHealth
from stand_in_collector import Collector, adviser_in_process, answering, frozen, metrics, node, refusing

LoadService = Callable[[str], ModuleType]
ALL_WELL = metrics(node("mysql-master", is_master=True), *(node(f"replica-{k}") for k in (1, 2, 3)))


class Cabinet:
    folder, question, body = "cabinet-service", "/select-quorum", {"operation": "write"}
    error, health = CabinetError, CabinetHealth


class Seer:
    folder, question, body = "seer-service", "/elect-leader", dict[str, str]()
    error, health = SeerError, SeerHealth


Adviser = type[Cabinet] | type[Seer]


@pytest.fixture(params=[Cabinet, Seer], ids=lambda adviser: adviser.folder)
def adviser(request: pytest.FixtureRequest) -> Adviser:
    chosen: Adviser = request.param
    return chosen


Service = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def service(adviser: Adviser, load_service: LoadService) -> Service:
    main = load_service(adviser.folder)

    def run(collector: Collector, **settings: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return adviser_in_process(main, AdviserSettings(**settings), collector)

    return run


@pytest.mark.parametrize("status", [404, 405])
async def test_a_wrong_address_is_told_the_right_ones(adviser: Adviser, service: Service, status: int) -> None:
    async with service(answering(ALL_WELL)) as client:
        response = await client.get(adviser.question if status == 405 else "/nothing-of-ours")
    assert response.status_code == status
    assert f"POST {adviser.question}" in adviser.error.model_validate_json(response.content).message


@pytest.mark.parametrize(
    ("collector", "cause"),
    [
        (refusing, "connection refused"),
        (frozen, "no answer within 30 ms"),
        (lambda request: httpx.Response(500), "status 500"),
        (lambda request: httpx.Response(200, text="<html>"), "has not the shape of /metrics"),
        (answering(metrics()), "it knows no node yet"),
    ],
)
async def test_without_metrics_there_is_no_advice_and_the_service_itself_is_well(
    adviser: Adviser, service: Service, collector: Collector, cause: str
) -> None:
    async with service(collector, metrics_timeout_ms=30) as client:
        response = await client.post(adviser.question, json=adviser.body)
        health = await client.get("/health")
    assert response.status_code == 503
    message = adviser.error.model_validate_json(response.content).message
    assert message.startswith("the metrics collector at http://127.0.0.1:8003/ gives no metrics: ")
    assert cause in message
    assert health.status_code == 200
    told = adviser.health.model_validate_json(health.content)
    assert told.metrics_collector.startswith("unreachable: ")
    assert cause in told.metrics_collector


async def test_health_says_that_the_collector_is_reachable(adviser: Adviser, service: Service) -> None:
    async with service(answering(ALL_WELL)) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok", "service": adviser.folder, "metrics_collector": "reachable"}


def test_the_collectors_address_comes_from_the_environment(
    adviser: Adviser, load_service: LoadService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_URL", "http://metrics-collector:8003")
    settings = load_service(adviser.folder).app.state.settings
    assert str(settings.metrics_url) == "http://metrics-collector:8003/"


@pytest.mark.parametrize(
    ("name", "value"), [("METRICS_URL", "8003"), ("METRICS_TIMEOUT_MS", "0"), ("METRICS_CACHE_MS", "-1")]
)
def test_a_setting_out_of_range_is_refused_at_start(
    adviser: Adviser, load_service: LoadService, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.lower()):
        load_service(adviser.folder)


async def test_a_body_that_is_too_large_is_not_held(adviser: Adviser, service: Service) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 16 << 20:
            sent += 1 << 16
            yield b" " * (1 << 16)

    async with service(answering(ALL_WELL)) as client:
        response = await client.post(adviser.question, content=endless())
    assert response.status_code == 413
    assert "larger than 1048576 bytes" in adviser.error.model_validate_json(response.content).message
    assert sent < 2 << 20
