"""The Cabinet service over HTTP, in process; the metrics collector behind it is a function."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

import httpx
import pytest
from adviser import AdviserSettings
from cabinet_contract import CabinetError, QuorumAnswer, QuorumRefusal
from metrics_contract import NodeMetrics
from stand_in_collector import Collector, adviser_in_process, answering, dead, node
from stand_in_collector import metrics as metrics_of


def metrics(*replicas: NodeMetrics, master: str | None = "mysql-master") -> dict[str, Any]:
    return metrics_of(node("mysql-master", is_master=True), *replicas, master=master)


THREE_REPLICAS = metrics(node("replica-1", 9), node("replica-2", 1, 1), node("replica-3", 5, 100))


@pytest.fixture
def main(load_service: Callable[[str], ModuleType]) -> ModuleType:
    return load_service("cabinet-service")


def service(main: ModuleType, collector: Collector) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return adviser_in_process(main, AdviserSettings(), collector)


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
    body = metrics(node("replica-1"), dead("replica-2"), node("replica-3"))
    async with service(main, answering(body)) as client:
        answer = (await client.post("/select-quorum", json={"operation": "write"})).json()
    assert answer["quorum"] == ["replica-1", "replica-3"]
    assert answer["excluded"] == {"replica-2": "unhealthy: no answer within 500 ms"}


async def test_too_few_living_replicas_are_a_503_that_offers_no_quorum(main: ModuleType) -> None:
    body = metrics(node("replica-1", 1), dead("replica-2"), dead("replica-3"))
    async with service(main, answering(body)) as client:
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


async def test_a_nan_from_the_collector_excludes_one_replica_and_leaves_the_others(main: ModuleType) -> None:
    body = metrics(node("replica-1", 9), node("replica-2"), node("replica-3", 5, 100))
    body["nodes"]["replica-2"]["latency_ms"] = math.nan
    text = json.dumps(body)
    assert "NaN" in text
    async with service(main, lambda request: httpx.Response(200, text=text)) as client:
        answer = (await client.post("/select-quorum", json={"operation": "write"})).json()
    assert answer["quorum"] == ["replica-1", "replica-3"]
    assert answer["excluded"] == {"replica-2": "unmeasured: latency_ms is nan, not a finite number of zero or more"}
