"""Reads that may be behind, on a real cluster: at the node that the level allows, and never older than they say."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import wait_until_equal

INSERT = "INSERT INTO users (name, email) VALUES ('reader', 'x')"
COUNT = "SELECT COUNT(*) AS n, MAX(timestamp) AS newest FROM users"
REPLICAS = ("replica-1", "replica-2", "replica-3")
DEADLINE_MS = 3_000
EQUAL_S = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    environment = {"REQUEST_DEADLINE_MS": str(DEADLINE_MS)}
    with private_cluster(tmp_path_factory.mktemp("levels"), environment=environment) as handle:
        yield handle


def ask(cluster: ClusterHandle, sql: str, **asked: Any) -> tuple[int, dict[str, Any]]:
    answer = cluster.query(sql, **asked)
    return answer.status_code, answer.json()


def read(cluster: ClusterHandle, **asked: Any) -> dict[str, Any]:
    status, body = ask(cluster, COUNT, **asked)
    assert status == 200, body
    return body


def write(cluster: ClusterHandle) -> int:
    status, body = ask(cluster, INSERT)
    assert status == 200, body
    return int(body["timestamp"])


def test_a_client_reads_its_own_writes_wherever_it_reads(cluster: ClusterHandle) -> None:
    for _ in range(40):
        timestamp = write(cluster)
        body = read(cluster, level="any", after_timestamp=timestamp)
        assert body["data"][0]["newest"] >= timestamp
        assert body["applied_timestamp"] >= timestamp


def test_of_many_reads_at_once_each_sees_the_write_it_names(cluster: ClusterHandle) -> None:
    timestamp = write(cluster)
    time.sleep(0.1)  # longer than replicas take to apply the last write
    with ThreadPoolExecutor(8) as clients:
        bodies = list(clients.map(lambda _: read(cluster, after_timestamp=timestamp), range(80)))
    assert all(body["data"][0]["newest"] == timestamp for body in bodies)


def test_a_bounded_read_is_as_new_as_it_says(cluster: ClusterHandle) -> None:
    for bound_ms in (0, 5, 50, 1_000):
        timestamp = write(cluster)
        time.sleep(bound_ms / 1000)  # so long ago it was acknowledged
        body = read(cluster, level="bounded", max_staleness_ms=bound_ms)
        assert body["data"][0]["newest"] >= timestamp
        assert 0 <= body["staleness_ms"] <= bound_ms


def test_a_frozen_replica_is_read_at_no_longer_than_the_bound_allows(cluster: ClusterHandle) -> None:
    cluster.freeze("replica-3")
    try:
        for _ in range(60):
            write(cluster)
            time.sleep(0.01)  # longer than an idle flush
        nodes = {read(cluster, level="bounded", max_staleness_ms=300)["executed_on"] for _ in range(40)}
        assert "replica-3" not in nodes
    finally:
        cluster.thaw("replica-3")
    wait_until_equal(cluster, EQUAL_S)


def test_the_leader_is_read_at_the_master(cluster: ClusterHandle) -> None:
    status = cluster.get("coordinator", "/status").json()
    assert {read(cluster, level="leader")["executed_on"] for _ in range(10)} == {status["current_master"]}


def test_one_node_is_enough_for_any_and_it_says_how_old_it_is(cluster: ClusterHandle) -> None:
    timestamp = write(cluster)
    wait_until_equal(cluster, EQUAL_S)
    read(cluster, level="any")
    # the master last: whoever is elected meanwhile would be left, and be read as the leader
    cluster.kill(*REPLICAS[:2], "mysql-master")
    killed_s = time.monotonic()
    try:
        while True:
            body = read(cluster, level="any", after_timestamp=timestamp)
            if body["executed_on"] == "replica-3" and time.monotonic() - killed_s > 1.5:
                break
            time.sleep(0.05)  # the others are noticed to be away
        assert body["data"][0]["newest"] == timestamp
        assert body["staleness_ms"] > 1_000
        for level in ("strong", "leader"):
            status, refused = ask(cluster, COUNT, level=level)
            assert (status, refused["committed"]) == (503, False)
        status, refused = ask(cluster, COUNT, max_staleness_ms=500)
        assert status == 503
    finally:
        cluster.start("mysql-master", *REPLICAS[:2])
    wait_until_equal(cluster, EQUAL_S)
    assert read(cluster)["data"][0]["newest"] == timestamp
