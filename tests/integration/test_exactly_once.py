"""Requests with a key on a real cluster: once, whatever dies between the first try and the last."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import wait_until_equal
from recording_client import Connection

from cluster_layout import NODES

EQUAL_S = 60.0
CLIENTS, INSERTS = 6, 60
KEEP_S = 3
PATIENT = "0-1"
"""A name whose client waits for its answer."""
REQUESTS = "SELECT idempotency_key, digest, timestamp, made_at FROM _replication.requests ORDER BY idempotency_key"
ROWS = "SELECT name, id, timestamp FROM distributed_db.users WHERE email = 'once' ORDER BY name"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("once")) as handle:
        yield handle


async def insert_once(connection: Connection, name: str) -> dict[str, Any]:
    """Sent until it is answered with success, as a careful client does; cut short on purpose now and then."""
    asked = {"query": "INSERT INTO users (name, email) VALUES (?, 'once')", "params": [name]}
    hasty = int(name.partition("-")[2] or 0) % 3 == 0
    for number in range(500):
        status, body = await connection.post(asked, 0.004 if hasty and number < 2 else 15.0, name)
        if status == 200:
            return body
        assert status in (0, 503), (status, body)
        await asyncio.sleep(0.05)  # a moment for whatever fails to come back
    raise AssertionError(f"{name} was never answered")


async def client(cluster: ClusterHandle, number: int, told: dict[str, dict[str, Any]]) -> None:
    connection = Connection(cluster.port("coordinator"))
    for place in range(INSERTS):
        name = f"{number}-{place}"
        told[name] = await insert_once(connection, name)
    connection.close()


async def once(cluster: ClusterHandle, name: str) -> dict[str, Any]:
    connection = Connection(cluster.port("coordinator"))
    try:
        return await insert_once(connection, name)
    finally:
        connection.close()


async def harm(cluster: ClusterHandle) -> None:
    for name in ("coordinator", "master", "coordinator"):
        await asyncio.sleep(0.6)  # so long all is well
        victim = cluster.get("coordinator", "/status").json()["current_master"] if name == "master" else name
        await asyncio.to_thread(cluster.kill, victim)
        await asyncio.to_thread(cluster.start, victim)


async def test_each_insert_is_there_once_and_as_it_was_told_although_everything_dies(cluster: ClusterHandle) -> None:
    told: dict[str, dict[str, Any]] = {}
    await asyncio.gather(*(client(cluster, number, told) for number in range(CLIENTS)), harm(cluster))
    await asyncio.to_thread(wait_until_equal, cluster, EQUAL_S)
    rows = cluster.rows_on("replica-1", ROWS)
    assert rows == sorted((name, body["last_insert_id"], body["timestamp"]) for name, body in told.items())
    assert any(body.get("repeated") for body in told.values()), "nothing was sent twice"
    known = [cluster.rows_on(node.name, REQUESTS) for node in NODES]
    assert len(known[0]) == CLIENTS * INSERTS
    assert all(each == known[0] for each in known)
    assert [timestamp for *_, timestamp, _ in known[0]] == [timestamp for *_, timestamp in sorted(rows)]


async def test_a_node_that_lost_its_disk_knows_the_keys_again(cluster: ClusterHandle) -> None:
    victim = "replica-3"
    cluster.kill(victim)
    data = cluster.node(victim).data
    data.rename(data.with_name("lost"))
    cluster.start(victim)
    await asyncio.to_thread(wait_until_equal, cluster, EQUAL_S)
    assert cluster.rows_on(victim, REQUESTS) == cluster.rows_on("mysql-master", REQUESTS)


def test_keys_are_forgotten_by_all_nodes_alike_after_the_set_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {"IDEMPOTENCY_KEEP_S": str(KEEP_S)}
    with private_cluster(tmp_path_factory.mktemp("forgetful"), environment=environment) as handle:
        asyncio.run(once(handle, PATIENT))
        assert handle.get("coordinator", f"/transactions/{PATIENT}").json()["fate"] == "committed"
        deadline_s = time.monotonic() + 10 * KEEP_S
        while any(handle.rows_on(node.name, REQUESTS) for node in NODES):
            assert time.monotonic() < deadline_s, "never forgotten"
            time.sleep(0.1)  # nobody tells: looked again
        assert handle.get("coordinator", f"/transactions/{PATIENT}").json()["fate"] == "not committed"
        again = asyncio.run(once(handle, PATIENT))
        assert "repeated" not in again
        wait_until_equal(handle, EQUAL_S)
