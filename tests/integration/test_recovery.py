"""Losing more than one process: frozen masters, lost data, everything at once, a second coordinator."""

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cluster_handle import ClusterHandle
from equal_nodes import check_record, wait_until_equal
from recording_client import Load, Record
from under_load import acknowledged_more, under_load

from cluster_layout import MEMBERS, ROOT
from local_process import port_is_free

FOUR_LEVEL_MEMBERS = [("level", True)] * 4


def master_of(cluster: ClusterHandle) -> str:
    master: str = cluster.get("coordinator", "/status").json()["current_master"]
    return master


def wait_until_all_are_members(cluster: ClusterHandle, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while True:
        nodes = cluster.get("coordinator", "/status").json()["nodes"].values()
        if [(node["state"], node["member"]) for node in nodes] == FOUR_LEVEL_MEMBERS:
            return
        assert time.monotonic() < deadline_s, nodes
        time.sleep(0.05)  # nobody tells: looked again


async def test_a_frozen_master_is_replaced_and_can_do_no_harm_when_it_is_thawed(cluster: ClusterHandle) -> None:
    master = master_of(cluster)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 200, within_s=10)
        await asyncio.to_thread(cluster.freeze, master)
        await acknowledged_more(load, 300, within_s=10)
        await asyncio.to_thread(cluster.thaw, master)
        await acknowledged_more(load, 300, within_s=10)

    record = await under_load(cluster, "freeze-master", act)
    assert set(record.statuses()) == {200}
    assert master_of(cluster) != master
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "freeze-master")
    print(f"longest pause in acknowledgements: {record.longest_pause_s() * 1000:.0f} ms")


async def test_a_switchover_under_load_fails_no_request(cluster: ClusterHandle) -> None:
    async def act(load: Load) -> None:
        for target in ("replica-1", "replica-2", "replica-3", "mysql-master"):
            await acknowledged_more(load, 100, within_s=10)
            answer = await asyncio.to_thread(
                httpx.post, cluster.url("coordinator") + "/switchover", json={"to": target}, timeout=15, trust_env=False
            )
            assert answer.json() == {"success": True, "message": f"{target} is master", "current_master": target}

    wait_until_all_are_members(cluster, within_s=15)
    record = await under_load(cluster, "switchover", act)
    assert set(record.statuses()) == {200}
    wait_until_equal(cluster, within_s=5)
    check_record(cluster, record, "switchover")
    last = cluster.get("coordinator", "/elections").json()["elections"][-1]
    assert (last["master"], last["reason"]) == ("mysql-master", "a planned switchover to mysql-master")
    assert sum(last["step_ms"].values()) == pytest.approx(last["duration_ms"], abs=0.1)


async def test_a_node_that_lost_its_data_is_filled_again_and_counts_again(cluster: ClusterHandle) -> None:
    wait_until_all_are_members(cluster, within_s=15)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 200, within_s=10)
        await asyncio.to_thread(cluster.kill, "replica-2")
        shutil.rmtree(cluster.node("replica-2").data)
        await acknowledged_more(load, 100, within_s=10)
        await asyncio.to_thread(cluster.start, "replica-2")
        await acknowledged_more(load, 100, within_s=10)

    record = await under_load(cluster, "lost-data", act)
    assert set(record.statuses()) == {200}
    wait_until_all_are_members(cluster, within_s=30)
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "lost-data")


async def test_a_node_that_comes_back_with_an_old_copy_of_its_data_counts_only_when_it_is_level_and_proven(
    cluster: ClusterHandle, tmp_path: Path
) -> None:
    """Somebody restored a backup of its folder: it has forgotten what it acknowledged since."""
    wait_until_all_are_members(cluster, within_s=15)
    data = cluster.node("replica-3").data
    cluster.stop("replica-3")
    shutil.copytree(data, tmp_path / "backup", symlinks=True)
    cluster.start("replica-3")
    wait_until_all_are_members(cluster, within_s=30)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 200, within_s=10)
        await asyncio.to_thread(cluster.kill, "replica-3")
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "backup", data, symlinks=True)
        await asyncio.to_thread(cluster.start, "replica-3")
        await acknowledged_more(load, 100, within_s=10)

    record = await under_load(cluster, "old-copy", act)
    assert set(record.statuses()) == {200}
    wait_until_all_are_members(cluster, within_s=30)
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "old-copy")
    told = await asyncio.to_thread(Path(cluster.record("coordinator")["log"]).read_text)
    assert "replica-3 came back with an old copy of its data: it counts for nothing until it is level" in told


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_is_killed_at_once_and_started_in_any_order(cluster: ClusterHandle, seed: int) -> None:
    order = [member.name for member in MEMBERS]
    random.Random(seed).shuffle(order)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 500, within_s=10)
        await asyncio.to_thread(cluster.kill, *order)

    label = f"outage-{seed}"
    record = await under_load(cluster, label, act)
    for name in order:
        with contextlib.suppress(AssertionError):  # the coordinator waits for a quorum, and is not waited for
            cluster.start(name)
    cluster.up()
    wait_until_equal(cluster, within_s=20)
    check_record(cluster, record, label)


@contextlib.contextmanager
def second_coordinator(cluster: ClusterHandle, log: Path) -> Iterator[int]:
    """Another coordinator beside the cluster's own, with the same settings; yields its port."""
    pid = cluster.record("coordinator")["pid"]
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    port = next(port for port in range(18_950, 18_999) if port_is_free(port))
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "main:app",
        "--app-dir",
        "coordinator",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=output) as process:
        try:
            deadline_s = time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx.HTTPError):  # not yet
                    if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=1, trust_env=False).status_code == 200:
                        break
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.05)  # nobody tells: looked again
            yield port
        finally:
            process.terminate()
            process.wait(20)


async def test_a_second_coordinator_takes_over_and_the_first_refuses_writes_and_strong_reads(
    cluster: ClusterHandle, tmp_path: Path
) -> None:
    records: list[Record] = []

    async def act(load: Load) -> None:
        await acknowledged_more(load, 100, within_s=10)
        with second_coordinator(cluster, tmp_path / "second.log") as port:
            other = Load(port, 4, "two-b", count=200)
            records.append(await other.run())

    try:
        records.append(await under_load(cluster, "two-a", act, clients=4))
        assert cluster.query("SELECT 1").status_code == 503
        refused = cluster.query("INSERT INTO users (name, email) VALUES ('x', 'two-x')")
        assert (refused.status_code, refused.json()["committed"]) == (503, False)
    finally:
        cluster.kill("coordinator")
        cluster.start("coordinator")
    assert set(records[0].statuses()) == {200}
    wait_until_equal(cluster, within_s=10)
    both = Record(records[0].answers + records[1].answers)
    check_record(cluster, both, "two")
