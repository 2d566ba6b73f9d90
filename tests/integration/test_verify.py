"""Rows that differ on real nodes, under load: found by a comparison or by an entry's result, and healed, and no write lost."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import check_record, wait_until_equal
from recording_client import Load, Record
from under_load import acknowledged_more, under_load

pytestmark = pytest.mark.alone

STATE_S = 60.0
ROWS = 5_000
DAMAGED = 2_345
"""Id of the row that is damaged, in the middle of the others."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """A cluster with rows in it; the tests follow each other on it, and each leaves it whole."""
    with private_cluster(tmp_path_factory.mktemp("verify")) as handle:
        for _ in range(ROWS // 500):
            values = ", ".join("('old', 'old')" for _ in range(500))
            handle.query(f"INSERT INTO users (name, email) VALUES {values}").raise_for_status()
        wait_until_equal(handle, within_s=15)
        yield handle


def status(cluster: ClusterHandle) -> dict[str, Any]:
    body: dict[str, Any] = cluster.get("coordinator", "/status").json()
    return body


def verify(cluster: ClusterHandle) -> dict[str, Any]:
    """One comparison, waited for; its result."""
    response = httpx.post(cluster.url("coordinator") + "/verify", json={"wait": True}, timeout=90, trust_env=False)
    assert response.status_code == 200, response.text
    last: dict[str, Any] = response.json()["last"]
    return last


def wait_until_whole(cluster: ClusterHandle, names: list[str] | None = None) -> None:
    deadline_s = time.monotonic() + STATE_S
    while True:
        nodes = status(cluster)["nodes"]
        wanted = [nodes[name] for name in names or nodes]
        if all(node["state"] == "level" and node["member"] for node in wanted):
            return
        assert time.monotonic() < deadline_s, nodes
        time.sleep(0.02)  # nobody tells: looked again


def log_of(cluster: ClusterHandle) -> str:
    return (cluster.folder / "log" / "coordinator.log").read_text()


def check(cluster: ClusterHandle, record: Record, label: str) -> None:
    assert set(record.statuses()) == {200}, "no request failed"
    wait_until_whole(cluster)
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, label)


async def test_a_clean_cluster_under_load_verifies_clean_every_time(cluster: ClusterHandle) -> None:
    results: list[dict[str, Any]] = []

    async def act(load: Load) -> None:
        for _ in range(5):
            await acknowledged_more(load, 50, within_s=20)
            results.append(await asyncio.to_thread(verify, cluster))

    record = await under_load(cluster, "clean", act)
    for result in results:
        assert (result["outcome"], result["reason"], result["left_out"]) == ("equal", "", {}), result
        assert len(result["nodes"]) == 4
        assert result["rows"] >= ROWS
    timestamps = [result["timestamp"] for result in results]
    assert timestamps == sorted(set(timestamps)), "each at a later one"
    check(cluster, record, "clean")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("replica-2", f"UPDATE distributed_db.users SET email = 'OLD' WHERE id = {DAMAGED}"),
        ("replica-1", f"DELETE FROM distributed_db.users WHERE id = {DAMAGED}"),
        ("replica-3", f"INSERT INTO distributed_db.users (id, name, email) VALUES ({10**9}, 'ghost', 'ghost')"),
    ],
)
async def test_a_row_damaged_on_a_replica_behind_our_back_is_found_and_healed_under_load(
    cluster: ClusterHandle, name: str, damage: str
) -> None:
    key = str(10**9 if "INSERT" in damage else DAMAGED)
    label = f"damaged-{name}"

    async def act(load: Load) -> None:
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(cluster.rows_on, name, damage)
        result = await asyncio.to_thread(verify, cluster)
        assert result["outcome"] == "differs", result
        (difference,) = result["differences"]
        assert (difference["table"], difference["what"]) == ("distributed_db.users", "rows")
        assert (difference["wrong_nodes"], difference["key_columns"]) == ([name], ["id"])
        assert (difference["first_key"], difference["last_key"], difference["keys"]) == ([key], [key], [[key]])
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(wait_until_whole, cluster)
        again = await asyncio.to_thread(verify, cluster)
        assert (again["outcome"], len(again["nodes"])) == ("equal", 4), again

    record = await under_load(cluster, label, act)
    check(cluster, record, label)
    assert f"{name} DIVERGED: rows of distributed_db.users, id = {key}" in log_of(cluster)
    assert cluster.rows_on(name, "SELECT COUNT(*) FROM distributed_db.users WHERE name = 'ghost'") == [(0,)]


async def test_a_master_with_a_damaged_row_is_replaced_and_healed_under_load(cluster: ClusterHandle) -> None:
    master: str = status(cluster)["current_master"]

    async def act(load: Load) -> None:
        await acknowledged_more(load, 50, within_s=20)
        damage = f"UPDATE distributed_db.users SET name = 'wrong' WHERE id = {DAMAGED}"
        await asyncio.to_thread(cluster.rows_on, master, damage)
        result = await asyncio.to_thread(verify, cluster)
        assert result["outcome"] == "differs", result
        assert result["differences"][0]["wrong_nodes"] == [master]
        await acknowledged_more(load, 50, within_s=20)
        assert status(cluster)["current_master"] not in (None, master)
        await asyncio.to_thread(wait_until_whole, cluster)

    record = await under_load(cluster, "damaged-master", act)
    check(cluster, record, "damaged-master")
    assert cluster.query(f"SELECT name FROM users WHERE id = {DAMAGED}").json()["data"] == [{"name": "old"}]


async def test_a_difference_that_an_entry_meets_on_a_replica_heals_too(cluster: ClusterHandle) -> None:
    master = status(cluster)["current_master"]
    name = next(node for node in cluster.nodes if node != master)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(cluster.rows_on, name, f"DELETE FROM distributed_db.users WHERE id = {DAMAGED}")
        answer = await asyncio.to_thread(cluster.query, f"UPDATE users SET name = 'newer' WHERE id = {DAMAGED}")
        assert (answer.status_code, answer.json()["rows_affected"]) == (200, 1)
        await asyncio.to_thread(wait_for_copy, cluster, name)
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(wait_until_whole, cluster)

    record = await under_load(cluster, "met", act)
    check(cluster, record, "met")
    assert cluster.rows_on(name, f"SELECT name FROM distributed_db.users WHERE id = {DAMAGED}") == [("newer",)]


async def test_where_all_replicas_contradict_the_master_it_is_the_master_that_is_healed(cluster: ClusterHandle) -> None:
    """The row is missing on the master alone: it changes none, and they all change one."""
    master: str = status(cluster)["current_master"]

    async def act(load: Load) -> None:
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(cluster.rows_on, master, f"DELETE FROM distributed_db.users WHERE id = {DAMAGED}")
        answer = await asyncio.to_thread(cluster.query, f"UPDATE users SET name = 'newest' WHERE id = {DAMAGED}")
        assert answer.status_code == 200
        await asyncio.to_thread(wait_for_copy, cluster, master)
        await acknowledged_more(load, 50, within_s=20)
        await asyncio.to_thread(wait_until_whole, cluster)

    record = await under_load(cluster, "contradicted", act)
    check(cluster, record, "contradicted")
    rows = {
        name: cluster.rows_on(name, f"SELECT name FROM distributed_db.users WHERE id = {DAMAGED}")
        for name in cluster.nodes
    }
    assert set(map(tuple, rows.values())) == {(("newest",),)}, rows


def wait_for_copy(cluster: ClusterHandle, name: str) -> None:
    deadline_s = time.monotonic() + STATE_S
    while status(cluster)["nodes"][name]["state"] != "copying":
        assert time.monotonic() < deadline_s, status(cluster)["nodes"][name]
        time.sleep(0.01)  # nobody tells: looked again


async def test_a_coordinator_that_dies_after_a_comparison_leaves_the_rebuilding_to_the_next_one(
    cluster: ClusterHandle,
) -> None:
    """The mark is on the node's disk by then, or nothing is known of it, until the next comparison."""
    master = status(cluster)["current_master"]
    name = next(node for node in cluster.nodes if node != master)
    cluster.rows_on(name, f"DELETE FROM distributed_db.users WHERE id = {DAMAGED}")
    before = log_of(cluster).count(f"{name} is set aside")
    assert verify(cluster)["outcome"] == "differs"
    deadline_s = time.monotonic() + STATE_S
    # said as soon as it is found: on a slow machine it may be a member again before the comparison ends
    while log_of(cluster).count(f"{name} is set aside") == before:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)  # nobody tells: looked again
    cluster.kill("coordinator")
    cluster.start("coordinator")
    wait_until_whole(cluster)
    wait_until_equal(cluster, within_s=15)
    assert verify(cluster)["outcome"] == "equal"


def test_a_schema_change_does_not_wait_for_a_comparison_which_begins_again(cluster: ClusterHandle) -> None:
    response = httpx.post(cluster.url("coordinator") + "/verify", timeout=10, trust_env=False)
    assert response.status_code == 202, response.text
    while not cluster.get("coordinator", "/verify").json()["progress"]["chunks"]:
        assert cluster.get("coordinator", "/verify").json()["running"]
    began = time.monotonic()
    answer = cluster.query("ALTER TABLE users COMMENT 'changed while it is compared'")
    took_s = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    assert took_s < 2, "it waited for the snapshots"
    deadline_s = time.monotonic() + STATE_S
    while (body := cluster.get("coordinator", "/verify").json())["running"]:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)  # nobody tells: looked again
    assert (body["last"]["outcome"], body["last"]["left_out"]) == ("equal", {}), body
    assert body["last"]["timestamp"] > answer.json()["timestamp"] - 1
    assert "the comparison of all rows is begun again: a schema change began" in log_of(cluster)


async def test_a_comparison_costs_the_clients_little(cluster: ClusterHandle) -> None:
    """One run of 16 clients, comparisons in every other slice of it: the machine is not ours alone."""
    spans: list[tuple[int, int, bool]] = []

    async def act(load: Load) -> None:
        await acknowledged_more(load, 100, within_s=20)
        for number in range(6):
            began_ns = time.monotonic_ns()
            if number % 2:
                assert (await asyncio.to_thread(verify, cluster))["outcome"] == "equal"
            else:
                await asyncio.sleep(1.5)  # a stretch without a comparison, to compare with
            spans.append((began_ns, time.monotonic_ns(), bool(number % 2)))

    record = await under_load(cluster, "cost", act)
    latencies: dict[bool, list[float]] = {False: [], True: []}
    rates: dict[bool, list[float]] = {False: [], True: []}
    for began_ns, ended_ns, is_compared in spans:
        within = [answer for answer in record.answers if began_ns <= answer.sent_ns and answer.answered_ns <= ended_ns]
        times = sorted((answer.answered_ns - answer.sent_ns) / 1e6 for answer in within)
        latencies[is_compared].append(times[int(len(times) * 0.99)])
        rates[is_compared].append(len(times) / (ended_ns - began_ns) * 1e9)
    p99 = {key: statistics.median(values) for key, values in latencies.items()}
    rate = {key: statistics.median(values) for key, values in rates.items()}
    print(
        f"p99 ms {p99}, requests/s {rate}, with / without: {p99[True] / p99[False]:.2f}, {rate[True] / rate[False]:.2f}"
    )
    assert set(record.statuses()) == {200}
    assert p99[True] < 3 * p99[False], (latencies, rates)
    assert rate[True] > rate[False] / 2, (latencies, rates)
