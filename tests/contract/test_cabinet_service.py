"""The Cabinet service over HTTP, in process; the metrics collector behind it is a function."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest
from cabinet_contract import CabinetError, CabinetHealth, QuorumAnswer, QuorumRefusal

Collector = Callable[[httpx.Request], Any]


def node(name: str, latency_ms: float | None = 1.0, lag_ms: float | None = 0.0, **other: Any) -> dict[str, Any]:
    return {
        "id": name,
        "healthy": True,
        "latency_ms": latency_ms,
        "latency_ms_min": latency_ms,
        "latency_ms_p99": latency_ms,
        "lag_ms": lag_ms,
        "lag_entries": 0,
        "uptime_s": 60.0,
        "crash_count": 0,
        "epoch": 1,
        "is_master": False,
        "applied_timestamp": 5,
        "committed_timestamp": 5,
        "log_end_timestamp": 5,
        "last_probe_age_ms": 10.0,
        "error": None,
    } | other


def metrics(*replicas: dict[str, Any], master: str | None = "mysql-master") -> dict[str, Any]:
    nodes = {each["id"]: each for each in (node("mysql-master", is_master=True), *replicas)}
    return {"nodes": nodes, "master": master, "epoch": 1, "collected_at": "2025-11-23T16:30:00+00:00"}


THREE_REPLICAS = metrics(node("replica-1", 9), node("replica-2", 1, 1), node("replica-3", 5, 100))


def answering(body: dict[str, Any]) -> Collector:
    return lambda request: httpx.Response(200, json=body)


async def frozen(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.fixture
def main(load_service: Callable[[str], ModuleType]) -> ModuleType:
    return load_service("cabinet-service")


@asynccontextmanager
async def service(main: ModuleType, collector: Collector, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = main.create_app(main.CabinetSettings(**settings), httpx.MockTransport(collector))
    async with (
        main.lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cabinet") as client,
    ):
        yield client


async def test_the_readmes_question_gets_two_of_three_replicas_with_weights_and_a_reason(main: ModuleType) -> None:
    async with service(main, answering(THREE_REPLICAS)) as client:
        response = await client.post("/select-quorum", json={"operation": "write"})
    assert response.status_code == 200
    assert response.json() == {
        "operation": "write",
        "quorum": ["replica-2", "replica-1"],
        "quorum_size": 2,
        "weights": {"replica-2": 1 / 3, "replica-1": 0.1, "replica-3": 1 / 106},
        "excluded": {},
        "master": "mysql-master",
        "reason": (
            "highest weight 1 / (latency_ms + lag_ms + 1), 2 of 3 replicas: replica-2 (0.3333), replica-1 (0.1)"
        ),
        "satisfied": True,
    }
    QuorumAnswer.model_validate_json(response.content)


async def test_a_dead_replica_is_named_with_its_cause_and_not_chosen(main: ModuleType) -> None:
    dead = node("replica-2", None, None, healthy=False, error="no answer within 500 ms")
    async with service(main, answering(metrics(node("replica-1"), dead, node("replica-3")))) as client:
        answer = (await client.post("/select-quorum", json={"operation": "write"})).json()
    assert answer["quorum"] == ["replica-1", "replica-3"]
    assert answer["excluded"] == {"replica-2": "unhealthy: no answer within 500 ms"}


async def test_too_few_living_replicas_are_a_503_that_offers_no_quorum(main: ModuleType) -> None:
    dead = [node(f"replica-{k}", None, None, healthy=False, error="connection refused") for k in (2, 3)]
    async with service(main, answering(metrics(node("replica-1", 1), *dead))) as client:
        response = await client.post("/select-quorum", json={"operation": "write"})
    assert response.status_code == 503
    refusal = QuorumRefusal.model_validate_json(response.content)
    assert refusal.message.startswith(
        "a write quorum needs 2 of 3 replicas and 1 can be chosen: replica-2 is unhealthy"
    )
    assert refusal.weights == {"replica-1": 0.5}
    assert sorted(refusal.excluded) == ["replica-2", "replica-3"]
    assert "quorum" not in response.json()


async def test_a_read_is_answered_with_the_one_best_replica(main: ModuleType) -> None:
    async with service(main, answering(THREE_REPLICAS)) as client:
        answer = (await client.post("/select-quorum", json={"operation": "read"})).json()
    assert (answer["quorum"], answer["quorum_size"]) == (["replica-2"], 1)


@pytest.mark.parametrize(
    ("collectors_master", "asked", "left_out"),
    [("replica-1", None, "replica-1"), ("replica-1", "replica-2", "replica-2"), (None, None, "mysql-master")],
)
async def test_the_master_left_out_is_the_one_asked_for_else_the_collectors_else_the_original(
    main: ModuleType, collectors_master: str | None, asked: str | None, left_out: str
) -> None:
    body = metrics(node("replica-1"), node("replica-2"), node("replica-3"), master=collectors_master)
    question = {"operation": "write"} | ({} if asked is None else {"master": asked})
    async with service(main, answering(body)) as client:
        answer = (await client.post("/select-quorum", json=question)).json()
    assert answer["master"] == left_out
    assert left_out not in answer["weights"]
    assert len(answer["weights"]) == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", "JSON"),
        (b"[]", "body"),
        (b"{}", "body.operation: Field required"),
        (b'{"operation": "delete"}', "'write' or 'read'"),
        (b'{"operation": 5}', "'write' or 'read'"),
        (b'{"operation": "write", "quorum_size": "many"}', "body.quorum_size"),
        (b'{"operation": "write", "quorum_size": 0}', "body.quorum_size"),
        (b'{"operation": "write", "quorum_size": 1}', "ask for 2 to 3"),
        (b'{"operation": "write", "quorum_size": 4}', "ask for 2 to 3"),
        (b'{"operation": "write", "master": "replica-9"}', "known: mysql-master, replica-1, replica-2, replica-3"),
        (b'{"operation": "write", "quorumsize": 3}', "body.quorumsize"),
    ],
)
async def test_a_body_that_cannot_be_answered_is_a_422_that_says_why(
    main: ModuleType, body: bytes, expected: str
) -> None:
    async with service(main, answering(THREE_REPLICAS)) as client:
        response = await client.post("/select-quorum", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert expected in CabinetError.model_validate_json(response.content).message


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/select-quorum", 405), ("GET", "/quorum", 404)])
async def test_a_wrong_address_is_told_the_right_ones(main: ModuleType, method: str, path: str, status: int) -> None:
    async with service(main, answering(THREE_REPLICAS)) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert "POST /select-quorum" in CabinetError.model_validate_json(response.content).message


@pytest.mark.parametrize(
    ("collector", "cause"),
    [
        (refusing, "connection refused"),
        (frozen, "no answer within 30 ms"),
        (lambda request: httpx.Response(500), "status 500"),
        (lambda request: httpx.Response(200, text="<html>"), "has not the shape of /metrics"),
        (answering(metrics() | {"nodes": {}}), "it knows no node yet"),
    ],
)
async def test_without_metrics_there_is_no_advice_and_the_service_itself_is_well(
    main: ModuleType, collector: Collector, cause: str
) -> None:
    async with service(main, collector, metrics_timeout_ms=30) as client:
        response = await client.post("/select-quorum", json={"operation": "write"})
        health = await client.get("/health")
    assert response.status_code == 503
    message = CabinetError.model_validate_json(response.content).message
    assert message.startswith("the metrics collector at http://127.0.0.1:8003/ gives no metrics: ")
    assert cause in message
    assert health.status_code == 200
    told = CabinetHealth.model_validate_json(health.content)
    assert told.metrics_collector.startswith("unreachable: ")
    assert cause in told.metrics_collector


async def test_health_says_that_the_collector_is_reachable(main: ModuleType) -> None:
    async with service(main, answering(THREE_REPLICAS)) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok", "service": "cabinet-service", "metrics_collector": "reachable"}


async def test_a_nan_from_the_collector_excludes_one_replica_and_leaves_the_others(main: ModuleType) -> None:
    text = httpx.Response(200, json=THREE_REPLICAS).text.replace('"latency_ms":1,', '"latency_ms":NaN,')
    assert "NaN" in text
    async with service(main, lambda request: httpx.Response(200, text=text)) as client:
        answer = (await client.post("/select-quorum", json={"operation": "write"})).json()
    assert answer["quorum"] == ["replica-1", "replica-3"]
    assert answer["excluded"] == {"replica-2": "unmeasured: latency_ms is nan, not a finite number of zero or more"}


def test_the_collectors_address_comes_from_the_environment(
    load_service: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_URL", "http://metrics-collector:8003")
    settings = load_service("cabinet-service").app.state.settings
    assert str(settings.metrics_url) == "http://metrics-collector:8003/"


@pytest.mark.parametrize(
    ("name", "value"), [("METRICS_URL", "8003"), ("METRICS_TIMEOUT_MS", "0"), ("METRICS_CACHE_MS", "-1")]
)
def test_a_setting_out_of_range_is_refused_at_start(
    load_service: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.lower()):
        load_service("cabinet-service")
