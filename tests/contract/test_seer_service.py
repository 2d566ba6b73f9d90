"""The SEER service over HTTP, in process; the metrics collector behind it is a function."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest
from seer_contract import LeaderAnswer, LeaderRefusal, SeerError, SeerHealth

Collector = Callable[[httpx.Request], Any]


def node(
    name: str,
    latency_ms: float | None = 1.0,
    lag_ms: float | None = 0.0,
    uptime_s: float | None = 99.0,
    crash_count: int = 0,
    **other: Any,
) -> dict[str, Any]:
    return {
        "id": name,
        "healthy": True,
        "latency_ms": latency_ms,
        "latency_ms_min": latency_ms,
        "latency_ms_p99": latency_ms,
        "lag_ms": lag_ms,
        "lag_entries": 0,
        "uptime_s": uptime_s,
        "crash_count": crash_count,
        "epoch": 1,
        "is_master": False,
        "applied_timestamp": 5,
        "committed_timestamp": 5,
        "log_end_timestamp": 5,
        "last_probe_age_ms": 10.0,
        "error": None,
    } | other


def dead(name: str) -> dict[str, Any]:
    return node(name, None, None, None, healthy=False, error="no answer within 500 ms")


def metrics(*nodes: dict[str, Any], master: str | None = "mysql-master") -> dict[str, Any]:
    return {
        "nodes": {each["id"]: each for each in nodes},
        "master": master,
        "epoch": 1,
        "collected_at": "2025-11-23T16:30:00+00:00",
    }


MASTER_IS_DEAD = metrics(
    dead("mysql-master"), node("replica-1", 4), node("replica-2", 1, 1), node("replica-3", 3, 0, 99.0, 1)
)


def answering(body: dict[str, Any]) -> Collector:
    return lambda request: httpx.Response(200, json=body)


async def frozen(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.fixture
def main(load_service: Callable[[str], ModuleType]) -> ModuleType:
    return load_service("seer-service")


@asynccontextmanager
async def service(main: ModuleType, collector: Collector, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = main.create_app(main.SeerSettings(**settings), httpx.MockTransport(collector))
    async with (
        main.lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://seer") as client,
    ):
        yield client


async def test_the_readmes_question_gets_a_leader_with_three_scores_and_a_total_each(main: ModuleType) -> None:
    async with service(main, answering(MASTER_IS_DEAD)) as client:
        response = await client.post("/elect-leader", json={})
    assert response.status_code == 200
    answer = LeaderAnswer.model_validate_json(response.content)
    assert answer.leader == "replica-2"
    assert answer.ranking == ["replica-2", "replica-1", "replica-3"]
    third = answer.scores["replica-3"]
    assert (third.latency_score, third.stability_score, third.lag_score) == (0.25, 99 / 200, 1.0)
    assert third.total == pytest.approx(0.4 * 0.25 + 0.4 * 99 / 200 + 0.2)
    assert answer.excluded == {}
    assert answer.master == "mysql-master"
    assert answer.reason == (
        "highest total of 40 % latency, 40 % stability and 20 % lag: "
        "replica-2 (0.696), replica-1 (0.676), replica-3 (0.498)"
    )
    assert answer.advice_only


async def test_an_empty_body_asks_the_same_as_an_empty_object(main: ModuleType) -> None:
    async with service(main, answering(MASTER_IS_DEAD)) as client:
        bare = await client.post("/elect-leader")
        braces = await client.post("/elect-leader", json={})
    assert bare.status_code == 200
    assert bare.json() == braces.json()


async def test_the_current_master_is_no_candidate_of_its_own_succession(main: ModuleType) -> None:
    alive = metrics(node("mysql-master", 0), node("replica-1", 9), node("replica-2", 9), node("replica-3", 9))
    async with service(main, answering(alive)) as client:
        answer = (await client.post("/elect-leader", json={})).json()
    assert answer["ranking"] == ["replica-1", "replica-2", "replica-3"]


async def test_without_a_known_master_every_node_is_a_candidate(main: ModuleType) -> None:
    nobody_leads = metrics(node("mysql-master", 9), node("replica-1", 1), master=None)
    async with service(main, answering(nobody_leads)) as client:
        answer = (await client.post("/elect-leader", json={})).json()
    assert (answer["ranking"], answer["master"]) == (["replica-1", "mysql-master"], None)


async def test_a_master_named_in_the_question_is_left_out_in_place_of_the_collectors(main: ModuleType) -> None:
    alive = metrics(node("mysql-master"), node("replica-1"), node("replica-2"))
    async with service(main, answering(alive)) as client:
        answer = (await client.post("/elect-leader", json={"master": "replica-1"})).json()
    assert (answer["ranking"], answer["master"]) == (["mysql-master", "replica-2"], "replica-1")


async def test_named_candidates_are_ranked_exactly_even_if_one_is_still_called_master(main: ModuleType) -> None:
    alive = metrics(node("mysql-master", 0), node("replica-1", 0), node("replica-2", 9))
    question = {"candidates": ["replica-2", "mysql-master"]}
    async with service(main, answering(alive)) as client:
        answer = (await client.post("/elect-leader", json=question)).json()
    assert answer["ranking"] == ["mysql-master", "replica-2"]


async def test_a_dead_candidate_is_named_with_its_cause_and_not_ranked(main: ModuleType) -> None:
    async with service(main, answering(metrics(dead("replica-1"), node("replica-2", 500)))) as client:
        answer = (await client.post("/elect-leader", json={})).json()
    assert answer["leader"] == "replica-2"
    assert answer["excluded"] == {"replica-1": "unhealthy: no answer within 500 ms"}


async def test_no_living_candidate_is_a_503_that_names_no_leader(main: ModuleType) -> None:
    async with service(main, answering(metrics(dead("replica-1"), dead("replica-2")))) as client:
        response = await client.post("/elect-leader", json={})
    assert response.status_code == 503
    refusal = LeaderRefusal.model_validate_json(response.content)
    assert refusal.message.startswith("no candidate can be ranked: replica-1 is unhealthy: no answer within 500 ms;")
    assert "leader" not in response.json()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", "JSON"),
        (b"[]", "body"),
        (b'{"candidates": []}', "body.candidates"),
        (b'{"candidates": "replica-1"}', "body.candidates"),
        (b'{"candidates": ["replica-1", "replica-9"]}', "replica-9: not a node of this cluster; known: mysql-master,"),
        (b'{"master": "replica-9"}', "'replica-9' is not a node of this cluster; known: mysql-master,"),
        (b'{"candidate": ["replica-1"]}', "body.candidate"),
    ],
)
async def test_a_body_that_cannot_be_answered_is_a_422_that_says_why(
    main: ModuleType, body: bytes, expected: str
) -> None:
    async with service(main, answering(MASTER_IS_DEAD)) as client:
        response = await client.post("/elect-leader", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert expected in SeerError.model_validate_json(response.content).message


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/elect-leader", 405), ("GET", "/leader", 404)])
async def test_a_wrong_address_is_told_the_right_ones(main: ModuleType, method: str, path: str, status: int) -> None:
    async with service(main, answering(MASTER_IS_DEAD)) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert "POST /elect-leader" in SeerError.model_validate_json(response.content).message


@pytest.mark.parametrize(
    ("collector", "cause"),
    [(refusing, "connection refused"), (frozen, "no answer within 30 ms")],
)
async def test_without_metrics_there_is_no_advice_and_the_service_itself_is_well(
    main: ModuleType, collector: Collector, cause: str
) -> None:
    async with service(main, collector, metrics_timeout_ms=30) as client:
        response = await client.post("/elect-leader", json={})
        health = await client.get("/health")
    assert response.status_code == 503
    assert cause in SeerError.model_validate_json(response.content).message
    assert health.status_code == 200
    told = SeerHealth.model_validate_json(health.content)
    assert told.metrics_collector.startswith("unreachable: ")
    assert cause in told.metrics_collector


async def test_health_says_that_the_collector_is_reachable(main: ModuleType) -> None:
    async with service(main, answering(MASTER_IS_DEAD)) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok", "service": "seer-service", "metrics_collector": "reachable"}


def test_the_collectors_address_comes_from_the_environment(
    load_service: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_URL", "http://metrics-collector:8003")
    settings = load_service("seer-service").app.state.settings
    assert str(settings.metrics_url) == "http://metrics-collector:8003/"


@pytest.mark.parametrize(
    ("name", "value"), [("METRICS_URL", "8003"), ("METRICS_TIMEOUT_MS", "0"), ("METRICS_CACHE_MS", "-1")]
)
def test_a_setting_out_of_range_is_refused_at_start(
    load_service: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.lower()):
        load_service("seer-service")
