"""The whole cluster under load, healthy and with one process killed: real mysqld, real kill -9, every row counted."""

import asyncio
import time

import pytest
from cluster_handle import ClusterHandle
from equal_nodes import check_record, wait_until_equal
from recording_client import Connection, Load, Record
from under_load import acknowledged_more, under_load

pytestmark = pytest.mark.alone

REPLICAS = ("replica-1", "replica-2", "replica-3")
SERVICES = ("timestamp-1", "timestamp-2", "cabinet-service", "seer-service", "metrics-collector")


def insert_row_one(cluster: ClusterHandle) -> None:
    """The row that the clashing inserts clash with."""
    cluster.query(
        "INSERT IGNORE INTO users (id, name, email) VALUES (1, 'first', 'first@example.com')"
    ).raise_for_status()


async def test_of_20_000_inserts_of_64_clients_exactly_the_acknowledged_are_on_all_nodes(
    cluster: ClusterHandle,
) -> None:
    insert_row_one(cluster)
    load = Load(cluster.port("coordinator"), 64, "many", count=20_000, clash_every=20)
    began = time.monotonic()
    record = await load.run()
    took_s = time.monotonic() - began
    level_after_s = wait_until_equal(cluster, within_s=2.0)
    assert record.statuses() == {200: 19_000, 409: 1_000}
    refused = record.with_status(409)
    assert all(answer.body["error"]["errno"] == 1062 and answer.body["committed"] is False for answer in refused)
    check_record(cluster, record, "many")
    print(
        f"{len(record.answers) / took_s:.0f} requests/s, nodes equal {level_after_s * 1000:.0f} ms after the last answer"
    )


async def test_nodes_are_equal_100_ms_after_the_last_write(cluster: ClusterHandle) -> None:
    load = Load(cluster.port("coordinator"), 8, "flush", count=200)
    record = await load.run()
    await asyncio.sleep(0.1)  # the 100 ms of the name
    wait_until_equal(cluster, within_s=0.001)
    check_record(cluster, record, "flush")


async def killed_under_load(cluster: ClusterHandle, name: str, label: str, equal_within_s: float) -> Record:
    """Kill it while clients write, and start it again: each write succeeds, and all are on all nodes."""

    async def act(load: Load) -> None:
        await acknowledged_more(load, 200, within_s=10)
        await asyncio.to_thread(cluster.kill, name)
        await acknowledged_more(load, 500, within_s=10)
        await asyncio.to_thread(cluster.start, name)
        await acknowledged_more(load, 200, within_s=10)

    record = await under_load(cluster, label, act)
    assert set(record.statuses()) == {200}
    wait_until_equal(cluster, within_s=equal_within_s)
    check_record(cluster, record, label)
    return record


@pytest.mark.parametrize("name", REPLICAS)
async def test_writes_go_on_while_a_replica_is_killed_and_it_is_level_again_after_its_start(
    cluster: ClusterHandle, name: str
) -> None:
    await killed_under_load(cluster, name, f"kill-{name}", equal_within_s=15)


@pytest.mark.parametrize("name", SERVICES)
async def test_writes_go_on_while_a_helper_service_is_killed(cluster: ClusterHandle, name: str) -> None:
    await killed_under_load(cluster, name, f"kill-{name}", equal_within_s=5)


async def test_without_any_timestamp_server_writes_wait_and_reads_go_on(cluster: ClusterHandle) -> None:
    connection = Connection(cluster.port("coordinator"))
    cluster.kill("timestamp-1", "timestamp-2")
    try:
        async with asyncio.timeout(10):
            # those that were granted ahead are used up first
            while True:
                writing = asyncio.create_task(connection.query("INSERT INTO users (name, email) VALUES ('n', 'stock')"))
                done, _ = await asyncio.wait([writing], timeout=1.0)
                if not done:
                    break
        assert cluster.get("coordinator", "/ready").status_code == 503
        assert cluster.query("SELECT 1 AS one").json()["data"] == [{"one": 1}]
    finally:
        cluster.start("timestamp-1", "timestamp-2")
    status, body = await writing
    connection.close()
    assert (status, body["committed"]) == (200, True)


async def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(cluster: ClusterHandle) -> None:
    master = cluster.get("coordinator", "/status").json()["current_master"]
    record = await killed_under_load(cluster, master, "kill-master", equal_within_s=15)
    status = cluster.get("coordinator", "/status").json()
    assert status["current_master"] != master
    assert master in status["replicas"]
    print(f"longest pause in acknowledgements: {record.longest_pause_s() * 1000:.0f} ms")


async def test_with_two_nodes_down_nothing_is_acknowledged_and_the_answer_is_true(cluster: ClusterHandle) -> None:
    """A write that began before the nodes went is held; answered at its deadline, or committed when a node is back."""
    status = cluster.get("coordinator", "/status").json()
    pair = status["replicas"][:2]
    cluster.kill(*pair)
    try:
        answer = cluster.query("INSERT INTO users (name, email) VALUES ('n', 'no-quorum')")
        assert answer.status_code == 503
        assert answer.json()["committed"] in (False, "unknown")
        assert int(answer.headers["retry-after"]) >= 1
        ready = cluster.get("coordinator", "/ready")
        assert ready.status_code == 503
        assert ready.json()["reason"]
        assert cluster.get("coordinator", "/health").json() == {
            "status": "ok",
            "service": "coordinator",
            "can_write": False,
            "reason": ready.json()["reason"],
        }
    finally:
        cluster.start(*pair)
    wait_until_equal(cluster, within_s=15)
    stored = cluster.rows_on(pair[0], "SELECT COUNT(*) FROM distributed_db.users WHERE email = 'no-quorum'")[0][0]
    assert stored <= (1 if answer.json()["committed"] == "unknown" else 0)


async def test_a_restarted_coordinator_finds_everything_that_was_acknowledged(cluster: ClusterHandle) -> None:
    async def act(load: Load) -> None:
        await acknowledged_more(load, 200, within_s=10)
        await asyncio.to_thread(cluster.kill, "coordinator")
        await asyncio.to_thread(cluster.start, "coordinator")
        await acknowledged_more(load, 200, within_s=10)

    record = await under_load(cluster, "kill-coordinator", act)
    assert set(record.statuses()) <= {0, 200}
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "kill-coordinator")
