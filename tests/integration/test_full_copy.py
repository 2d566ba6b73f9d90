"""Log truncation and full copies on real processes: who was away for too long is filled again, whatever is killed meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import check_record, wait_until_equal
from recording_client import Load
from under_load import acknowledged_more, under_load

RETENTION = {"LOG_RETENTION_MB": "1", "LOG_CHECK_MS": "200"}
LOG_SIZE = "SELECT MAX(bytes_total) - MIN(bytes_total) FROM _replication.log"
LOG_RANGE = "SELECT MIN(last_timestamp), MAX(last_timestamp) FROM _replication.log"
FILLER = "INSERT INTO users (name, email) VALUES " + ", ".join(f"('filler', '{'x' * 200}')" for _ in range(2_000))
STATE_S = 60.0


@pytest.fixture(scope="module")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """A cluster whose nodes keep a megabyte of log."""
    with private_cluster(tmp_path_factory.mktemp("small-log"), environment=RETENTION) as handle:
        yield handle


def node_status(cluster: ClusterHandle, name: str) -> dict[str, Any]:
    status: dict[str, Any] = cluster.get("coordinator", "/status").json()["nodes"][name]
    return status


def wait_for(cluster: ClusterHandle, name: str, *states: str, is_member: bool | None = None) -> None:
    deadline_s = time.monotonic() + STATE_S
    while True:
        with contextlib.suppress(OSError, KeyError, ValueError):  # it does not answer, or not with that, yet
            seen = node_status(cluster, name)
            if seen["state"] in states and is_member in (None, seen["member"]):
                return
        assert time.monotonic() < deadline_s, node_status(cluster, name)
        time.sleep(0.02)  # nobody tells: looked again


def leave_behind(cluster: ClusterHandle, name: str) -> None:
    """Kill the node, write more than a log keeps, make the coordinator forget what it has in memory, and wait until no log
    reaches back to the node's any more."""
    wait_for(cluster, name, "level", is_member=True)
    copied_slowly = "SET PERSIST clone_autotune_concurrency = 0, PERSIST clone_max_data_bandwidth = 10"
    cluster.rows_on(name, copied_slowly)
    cluster.kill(name)
    others = [other for other in cluster.nodes if other != name]
    last = max(cluster.rows_on(other, LOG_RANGE)[0][1] for other in others)
    for _ in range(5):
        cluster.query(FILLER).raise_for_status()
    cluster.kill("coordinator")
    cluster.start("coordinator")
    deadline_s = time.monotonic() + STATE_S
    while any(cluster.rows_on(other, LOG_RANGE)[0][0] <= last for other in others):
        cluster.query(FILLER).raise_for_status()
        assert time.monotonic() < deadline_s, "the log was not truncated"


def is_well_again(cluster: ClusterHandle, name: str) -> None:
    wait_for(cluster, name, "level", is_member=True)
    wait_until_equal(cluster, within_s=15)


async def test_the_log_of_every_node_stays_bounded_under_load(small_log: ClusterHandle) -> None:
    for _ in range(12):
        response = await asyncio.to_thread(small_log.query, FILLER)
        response.raise_for_status()
    written = small_log.rows_on("mysql-master", "SELECT MAX(bytes_total) FROM _replication.log")[0][0]
    deadline_s = time.monotonic() + STATE_S
    while True:
        sizes = {name: small_log.rows_on(name, LOG_SIZE)[0][0] for name in small_log.nodes}
        if all(size < 3 << 20 for size in sizes.values()):
            break
        assert time.monotonic() < deadline_s, sizes
        await asyncio.sleep(0.05)  # nobody tells: looked again
    assert written > 4 << 20


@pytest.mark.parametrize("name", ["replica-2", "mysql-master"])
async def test_a_node_that_was_away_for_too_long_gets_a_full_copy_under_load(
    small_log: ClusterHandle, name: str
) -> None:
    await asyncio.to_thread(leave_behind, small_log, name)
    label = f"copy-{name}"

    async def act(load: Load) -> None:
        await asyncio.to_thread(small_log.start, name)
        await asyncio.to_thread(wait_for, small_log, name, "copying")
        await acknowledged_more(load, 200, within_s=30)
        await asyncio.to_thread(wait_for, small_log, name, "level", is_member=True)
        await acknowledged_more(load, 50, within_s=10)

    record = await under_load(small_log, label, act, clients=4)
    assert set(record.statuses()) == {200}
    is_well_again(small_log, name)
    check_record(small_log, record, label)
    assert small_log.rows_on(name, "SELECT node FROM _replication.meta") == [(name,)]


@pytest.mark.parametrize("victim", ["the copied node", "the donor", "the coordinator"])
async def test_whoever_is_killed_during_a_copy_the_node_is_level_in_the_end(
    small_log: ClusterHandle, victim: str
) -> None:
    name = "replica-3"
    await asyncio.to_thread(leave_behind, small_log, name)
    label = f"killed-{victim.rpartition(' ')[2]}"

    async def act(load: Load) -> None:
        await asyncio.to_thread(small_log.start, name)
        await asyncio.to_thread(wait_for, small_log, name, "copying")
        reason = (await asyncio.to_thread(node_status, small_log, name))["reason"]
        donor = next(other for other in small_log.nodes if other in reason)
        killed = {"the copied node": name, "the donor": donor, "the coordinator": "coordinator"}[victim]
        await asyncio.to_thread(small_log.kill, killed)
        await asyncio.to_thread(small_log.start, killed)
        await acknowledged_more(load, 50, within_s=30)

    record = await under_load(small_log, label, act, clients=4)
    assert set(record.statuses()) <= ({200} if victim != "the coordinator" else {0, 200})
    is_well_again(small_log, name)
    check_record(small_log, record, label)
