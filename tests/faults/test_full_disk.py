"""A disk without a free block: the cluster goes on without that node, which neither crashes nor spoils anything, and is level
again when there is space.

InnoDB goes on for a while on space that it took before, so the load here makes the tables grow until the node refuses.

Hard case: a young server. InnoDB gives each of its 32 redo log files its full size only when it first gets there, and ends itself
(an assertion in log0files_governor.cc, seen with 9.7.4) where there is no space for that. So the node is made to go round once;
afterwards its redo log is as large as it will ever be, as after some minutes of any node's life.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from equal_nodes import wait_until_equal
from fault_cluster import FaultCluster, fault_cluster
from recording_client import Connection
from root_connection import connect_as_root

CLIENTS = 4
REFUSAL_S = 60.0
GROWTH_ROWS = 200
REDO_FILES = 32
REDO_ROUNDS_MAX = 200
ELEMENTS_BYTES = 30_000
STARTED = "[Server] MySQL Server - start."


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultCluster]:
    with fault_cluster(tmp_path_factory.mktemp("full-disk")) as started:
        yield started


_first_ids = count(1_000_000, 1_000_000)


class Growth:
    """Clients that insert large rows until told to stop."""

    def __init__(self, port: int, first_id: int, elements: str) -> None:
        self._port = port
        self._elements = elements
        self._ids = count(first_id)
        self._stopped = False
        self.acknowledged: list[int] = []
        self.refused: list[object] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    def stop(self) -> None:
        self._stopped = True

    async def _client(self) -> None:
        connection = Connection(self._port)
        while not self._stopped:
            key = next(self._ids)
            sql = f"INSERT INTO lists (id, elements) VALUES ({key}, {self._elements})"
            status, body = await connection.query(sql)
            if status == 200:
                self.acknowledged.append(key)
            else:
                self.refused.append((status, body))
        connection.close()

    async def more(self, rows: int) -> None:
        """Wait until so many more were acknowledged."""
        target = len(self.acknowledged) + rows
        async with asyncio.timeout(REFUSAL_S):
            while len(self.acknowledged) < target:  # noqa: ASYNC110 (the load is not made for tests to listen to)
                await asyncio.sleep(0.05)  # the load and the cluster tell nobody: looked again


def sizes_in(folder: Path) -> set[int]:
    """Of the files that are there; one may go away while they are looked at."""
    sizes = set()
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it went away
            sizes.add(file.stat().st_size)
    return sizes


def make_the_redo_log_go_round(cluster: FaultCluster, node: str) -> None:
    """Past the cluster, in a schema of its own, which is gone afterwards."""
    folder = cluster.handle.node(node).data / "#innodb_redo"
    ((capacity_bytes,),) = cluster.handle.rows_on(node, "SELECT @@innodb_redo_log_capacity")
    full_size = {capacity_bytes // REDO_FILES}
    cluster.handle.rows_on(node, "CREATE DATABASE scratch")
    cluster.handle.rows_on(node, "CREATE TABLE scratch.large (id INT PRIMARY KEY, filling LONGBLOB NOT NULL)")
    for key in range(REDO_ROUNDS_MAX):
        sizes = sizes_in(folder)
        if sizes == full_size:
            break
        cluster.handle.rows_on(node, f"REPLACE INTO scratch.large VALUES ({key % 4}, REPEAT('x', 4000000))")
    cluster.handle.rows_on(node, "DROP DATABASE scratch")
    assert sizes == full_size, sizes


def give_the_log_room(cluster: FaultCluster, node: str) -> None:
    """As truncation leaves it: free pages within its file. Its oldest row is made large for a moment, and never committed."""
    connection = connect_as_root(cluster.handle.node(node).socket, autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE _replication.log SET payload = REPEAT('x', 8000000) ORDER BY last_timestamp LIMIT 1")
    connection.rollback()
    connection.close()


def starts_of(cluster: FaultCluster, node: str) -> int:
    return (cluster.handle.folder / "log" / f"{node}.log").read_text(errors="replace").count(STARTED)


async def wait_until_it_left_the_quorum(cluster: FaultCluster, node: str) -> None:
    """Neither master nor level: it counts for no commit."""
    async with asyncio.timeout(REFUSAL_S):
        while True:
            status = await asyncio.to_thread(cluster.status)
            if status and status["current_master"] not in (None, node) and status["nodes"][node]["state"] != "level":
                return
            await asyncio.sleep(0.05)  # the load and the cluster tell nobody: looked again


LOG_GROWS = f"'{'x' * ELEMENTS_BYTES}'"
"""The statement's text is large, and with it the log."""
ROWS_GROW = f"REPEAT('x', {ELEMENTS_BYTES})"
"""Only the users' tables grow: their statement is what meets the full disk, and not the log."""


@pytest.mark.parametrize("role", ["other-1", "master"])
@pytest.mark.parametrize("elements", [LOG_GROWS, ROWS_GROW], ids=["log_grows", "rows_grow"])
async def test_a_node_with_a_full_disk_leaves_the_quorum_without_a_crash_and_comes_back_with_space(
    cluster: FaultCluster, role: str, elements: str
) -> None:
    await asyncio.to_thread(cluster.wait_until_level)
    cluster.status()
    node = cluster.name_of(role)
    make_the_redo_log_go_round(cluster, node)
    if elements == ROWS_GROW:
        give_the_log_room(cluster, node)
    starts, processes = starts_of(cluster, node), cluster.processes()
    growth = Growth(cluster.handle.port("coordinator"), next(_first_ids), elements)
    running = asyncio.create_task(growth.run())
    try:
        await growth.more(GROWTH_ROWS)
        await asyncio.to_thread(cluster.disks[node].fill)
        await wait_until_it_left_the_quorum(cluster, node)
        await growth.more(GROWTH_ROWS)
        await asyncio.to_thread(cluster.disks[node].give_space_back)
        await growth.more(GROWTH_ROWS)
    finally:
        growth.stop()
        await running
    await asyncio.to_thread(cluster.wait_until_level)
    wait_until_equal(cluster.handle, within_s=15)
    held = {key for (key,) in cluster.handle.rows_on(node, "SELECT id FROM distributed_db.lists")}
    assert set(growth.acknowledged) <= held
    assert cluster.processes() == processes
    assert starts_of(cluster, node) == starts, "the server was started again"
    assert growth.refused == [], "a client was told of the full disk"
