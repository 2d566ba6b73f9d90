"""The SEER service over HTTP, in process; the metrics collector behind it is a function."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType

import httpx
import pytest
from adviser import AdviserSettings
from seer_contract import LeaderAnswer, LeaderRefusal, SeerError
from stand_in_collector import Collector, adviser_in_process, answering, dead, metrics, node

MASTER_IS_DEAD = metrics(
    dead("mysql-master"), node("replica-1", 4, 0, 99), node("replica-2", 1, 1, 99), node("replica-3", 3, 0, 99, 1)
)


@pytest.fixture
def main(load_service: Callable[[str], ModuleType]) -> ModuleType:
    return load_service("seer-service")


def service(main: ModuleType, collector: Collector) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return adviser_in_process(main, AdviserSettings(), collector)


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
