"""`/verify` over HTTP, in process: what is compared, what is said of it, and what is done about it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from coordinator_in_process import NAMES, InProcessCluster, Load, until_status
from verify_contract import VerifyAnswer

from replication.effects import NodeEffect, OpenSnapshot
from replication.replies import Reply


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> InProcessCluster:
    return InProcessCluster(load_service, monkeypatch)


@pytest.fixture
async def client(cluster: InProcessCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with cluster.run() as client:
        for number in range(5):
            response = await client.post("/query", json={"query": f"INSERT INTO users (name) VALUES ('{number}')"})
            response.raise_for_status()
        yield client


def checked(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert VerifyAnswer.model_validate_json(response.content, strict=True).model_dump(mode="json") == body
    return body


async def verify(client: httpx.AsyncClient, status: int = 200) -> dict[str, Any]:
    return checked(await client.post("/verify", json={"wait": True}), status)


async def test_before_the_first_comparison_there_is_none(client: httpx.AsyncClient) -> None:
    body = checked(await client.get("/verify"))
    assert (body["running"], body["progress"], body["last"]) == (False, None, None)
    assert body["message"] == "no comparison was made yet"


async def test_equal_nodes_are_said_to_be_equal_at_a_timestamp(client: httpx.AsyncClient) -> None:
    body = await verify(client)
    last = body["last"]
    assert (last["outcome"], last["reason"], last["differences"], last["left_out"]) == ("equal", "", [], {})
    assert (last["nodes"], last["tables"], last["rows"]) == (list(NAMES), 1, 5)
    assert body["message"] == f"equal at {last['timestamp']}"
    assert checked(await client.get("/verify")) == body


async def test_a_replica_whose_row_differs_is_named_with_table_and_key_and_rebuilt(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    model = cluster.nodes["replica-2"].model
    await until_status(client, lambda status: model.applied == status["committed_timestamp"])
    model.damage(2)
    key = str(model.data[2].timestamp)
    last = (await verify(client))["last"]
    assert last["outcome"] == "differs"
    (difference,) = last["differences"]
    assert (difference["table"], difference["what"]) == ("distributed_db.users", "rows")
    assert difference["wrong_nodes"] == ["replica-2"]
    assert difference["groups"] == [["mysql-master", "replica-1", "replica-3"], ["replica-2"]]
    assert (difference["key_columns"], difference["keys"]) == (["id"], [[key]])
    assert (difference["first_key"], difference["last_key"], difference["more_keys"]) == ([key], [key], False)
    response = await client.post("/query", json={"query": "INSERT INTO users (name) VALUES ('meanwhile')"})
    response.raise_for_status()
    for number in range(3):
        await until_status(client, lambda status: status["nodes"]["replica-2"]["state"] != "diverged")
        await client.post("/query", json={"query": f"INSERT INTO users (name) VALUES ('after {number}')"})
    await until_status(client, lambda status: is_whole(status, "replica-2"))
    assert not cluster.nodes["replica-2"].model.damaged
    assert (await verify(client))["last"]["outcome"] == "equal"


async def test_a_master_whose_row_differs_is_replaced_and_rebuilt(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.nodes["mysql-master"].model.damage(0)
    last = (await verify(client))["last"]
    assert last["outcome"] == "differs"
    assert last["differences"][0]["wrong_nodes"] == ["mysql-master"]
    await until_status(client, lambda status: status["current_master"] not in (None, "mysql-master"))
    await until_status(client, lambda status: is_whole(status, "mysql-master"))
    assert not cluster.nodes["mysql-master"].model.damaged
    assert (await verify(client))["last"]["outcome"] == "equal"


async def test_where_two_differ_from_two_it_is_said_and_nothing_is_touched(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    models = [cluster.nodes[name].model for name in ("replica-1", "replica-2")]
    await until_status(client, lambda status: all(model.applied == status["committed_timestamp"] for model in models))
    for model in models:
        model.damage(1)
    last = (await verify(client))["last"]
    assert last["outcome"] == "differs"
    assert last["differences"][0]["wrong_nodes"] == []
    assert last["differences"][0]["groups"] == [["mysql-master", "replica-3"], ["replica-1", "replica-2"]]
    status = (await client.get("/status")).json()
    assert all(is_whole(status, name) for name in NAMES)


async def test_one_comparison_at_a_time_whose_progress_can_be_seen(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.comparisons_go_on.clear()
    begun = checked(await client.post("/verify"), 202)
    assert (begun["running"], begun["message"]) == (True, "a comparison is under way")
    async with asyncio.timeout(5):
        while not (body := checked(await client.get("/verify")))["progress"]["nodes"]:  # noqa: ASYNC110 (the route is what is asked)
            await asyncio.sleep(0.005)  # see above
    assert body["progress"]["nodes"] == list(NAMES)
    refused = checked(await client.post("/verify"), 409)
    assert (refused["success"], refused["message"]) == (False, "a comparison is under way")
    cluster.comparisons_go_on.set()
    async with asyncio.timeout(5):
        while checked(await client.get("/verify"))["running"]:  # noqa: ASYNC110 (the route is what is asked)
            await asyncio.sleep(0.005)  # see above
    assert checked(await client.get("/verify"))["last"]["outcome"] == "equal"


async def test_whoever_waits_for_a_comparison_is_sent_away_when_the_coordinator_is_stopped(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.comparisons_go_on.clear()
    waiting = asyncio.create_task(client.post("/verify", json={"wait": True}))
    async with asyncio.timeout(5):
        while not checked(await client.get("/verify"))["running"]:  # noqa: ASYNC110 (the route is what is asked)
            await asyncio.sleep(0.005)  # see above
    assert not waiting.done()
    sys.modules["coordinator_main"].application.stop_waiting()
    async with asyncio.timeout(5):
        assert checked(await waiting, 202)["message"] == "a comparison is under way"
    cluster.comparisons_go_on.set()


async def test_a_node_that_is_away_is_left_out_and_named(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    cluster.nodes["replica-3"].is_down = True
    await until_status(client, lambda status: status["nodes"]["replica-3"]["state"] == "away")
    last = (await verify(client))["last"]
    assert last["nodes"] == list(NAMES[:3])
    assert list(last["left_out"]) == ["replica-3"]
    assert last["outcome"] == "equal"


async def test_what_came_in_between_is_said_and_no_comparison_is_called_equal_that_was_not_made(
    cluster: InProcessCluster, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifier.RETRY_S", 0.01)
    node = cluster.nodes["mysql-master"]
    carry_out = node.carry_out

    async def refuse(effect: NodeEffect) -> Reply:
        return (
            await cluster.nodes["replica-1"].carry_out(effect)
            if isinstance(effect, OpenSnapshot)
            else await carry_out(effect)
        )

    monkeypatch.setattr(node, "carry_out", refuse)
    cluster.nodes["replica-1"].is_down = True
    last = (await verify(client))["last"]
    assert last["outcome"] == "incomplete"
    assert last["reason"] == "mysql-master opens no snapshot: connection refused"


async def test_comparisons_go_on_by_themselves_where_that_is_wanted(cluster: InProcessCluster) -> None:
    async with cluster.run(VERIFY_INTERVAL_S="1") as client, asyncio.timeout(10):
        while checked(await client.get("/verify"))["last"] is None:  # noqa: ASYNC110 (the route is what is asked)
            await asyncio.sleep(0.02)  # see above


@pytest.mark.parametrize("body", ['{"wait": 3}', '{"now": true}', "[]"])
async def test_a_body_that_is_not_as_published_is_refused(client: httpx.AsyncClient, body: str) -> None:
    response = await client.post("/verify", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert not (await client.get("/verify")).json()["running"]


def is_whole(status: dict[str, Any], name: str) -> bool:
    node = status["nodes"][name]
    return bool(node["state"] == "level" and node["member"])
