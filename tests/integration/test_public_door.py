"""What strangers may do at the door of a real cluster: it stays ready for others, and its memory stays within bounds."""

import asyncio
import contextlib
import http.client
import json
import random
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from cluster_handle import ClusterHandle, private_cluster
from recording_client import Load
from waiting import wait_until

pytestmark = pytest.mark.alone

MB = 1 << 20
IDLE_CONNECTIONS = 1_000
SLOW_CLIENTS = 1_000
BUSY_CLIENTS = 64
WRONG_BODIES = 10_000
ROOM_MB = 64
"""What the coordinator may hold more than before: a thousand connections, and what Python keeps of freed memory."""
STREAM_ROOM_MB = 16
"""What two results may take that are sent as they come."""
LARGE_ROWS, LARGE_ROW_BYTES = 100_000, 1_000
DIGITS = "(VALUES ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9))"
LARGE = (
    "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n, REPEAT('x', 985) AS filling"
    f" FROM {DIGITS} AS a(d), {DIGITS} AS b(d), {DIGITS} AS c(d), {DIGITS} AS d(d), {DIGITS} AS e(d)"
)
"""100,000 rows, 100 MB."""
LONG = (
    "SELECT COUNT(*) AS n FROM information_schema.collations a, information_schema.collations b,"
    " information_schema.collations c WHERE a.id + b.id + c.id < 0"
)
"""Seconds of a server's work."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("door")) as handle:
        handle.query("INSERT INTO users (name, email) VALUES ('first', 'first')").raise_for_status()
        yield handle


@pytest.fixture(autouse=True)
def many_files() -> None:
    """A test's clients are as many open files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert most > 2 * (IDLE_CONNECTIONS + SLOW_CLIENTS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def memory_mb(cluster: ClusterHandle) -> float:
    """What the coordinator has in memory now."""
    status = Path(f"/proc/{cluster.pids()['coordinator']}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


class Memory:
    """Looks at the coordinator's memory again and again, beside what a test does."""

    def __init__(self, cluster: ClusterHandle) -> None:
        self._cluster = cluster
        self.before_mb = self.most_mb = memory_mb(cluster)

    async def watch(self) -> None:
        while True:
            self.most_mb = max(self.most_mb, await asyncio.to_thread(memory_mb, self._cluster))
            await asyncio.sleep(0.1)  # looked at so often

    @property
    def grown_mb(self) -> float:
        return self.most_mb - self.before_mb


@contextlib.asynccontextmanager
async def watched(cluster: ClusterHandle, what: str) -> AsyncIterator[Memory]:
    memory = Memory(cluster)
    watching = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        watching.cancel()
    print(f"{what}: from {memory.before_mb:.0f} to {memory.most_mb:.0f} MB at most")


def is_ready(cluster: ClusterHandle) -> bool:
    return cluster.get("coordinator", "/ready").status_code == 200


async def connections(cluster: ClusterHandle, count: int, sent: bytes) -> list[socket.socket]:
    """Each has sent this."""
    loop, opened = asyncio.get_running_loop(), []
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", cluster.port("coordinator")))
        await loop.sock_sendall(connection, sent)
        opened.append(connection)
    return opened


async def test_a_thousand_idle_connections_and_a_thousand_slow_ones_do_not_keep_busy_ones_waiting(
    cluster: ClusterHandle,
) -> None:
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    async with watched(cluster, f"{IDLE_CONNECTIONS} idle, {SLOW_CLIENTS} slow, {BUSY_CLIENTS} busy") as memory:
        idle = await connections(cluster, IDLE_CONNECTIONS, health)
        slow = await connections(
            cluster, SLOW_CLIENTS, b"POST /query HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{"
        )
        load = Load(cluster.port("coordinator"), BUSY_CLIENTS, "busy")
        running = asyncio.create_task(load.run())
        await asyncio.sleep(5)  # the load's time
        assert await asyncio.to_thread(is_ready, cluster)
        load.stop()
        record = await running
        # whoever was idle all the time is served at once
        loop = asyncio.get_running_loop()
        for connection in idle:
            first = await loop.sock_recv(connection, 4096)
            assert first.startswith(b"HTTP/1.1 200 ")
            await loop.sock_sendall(connection, health)
            assert (await asyncio.wait_for(loop.sock_recv(connection, 4096), 5)).startswith(b"HTTP/1.1 200 ")
    assert set(record.statuses()) == {200}
    assert len(record.acknowledged) > BUSY_CLIENTS
    assert memory.grown_mb < ROOM_MB
    for connection in (*idle, *slow):
        connection.close()


async def test_a_hundred_megabytes_are_sent_as_lines_in_bounded_memory_also_to_who_takes_them_slowly(
    cluster: ClusterHandle,
) -> None:
    async with watched(cluster, "a result of 100 MB, twice") as memory:
        sizes = await asyncio.gather(*(lines_of(cluster, pause_s) for pause_s in (0.0, 0.001)))
    for rows, size in sizes:
        assert rows == LARGE_ROWS
        assert size > LARGE_ROWS * LARGE_ROW_BYTES
    assert memory.grown_mb < STREAM_ROOM_MB


async def lines_of(cluster: ClusterHandle, pause_s: float) -> tuple[int, int]:
    """Rows, all of them, and bytes of the large result."""
    url = f"http://127.0.0.1:{cluster.port('coordinator')}/query"
    headers = {"accept": "application/x-ndjson"}
    numbers, size, last = set(), 0, ""
    async with (
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
        client.stream("POST", url, json={"query": LARGE}, headers=headers) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            size += len(line)
            last = line
            if line.startswith('{"row"'):
                numbers.add(json.loads(line)["row"]["n"])
                if pause_s and len(numbers) % 100 == 0:
                    await asyncio.sleep(pause_s)  # slower than the server
    assert json.loads(last) == {"end": {"rows_affected": LARGE_ROWS}}
    return len(numbers), size


async def test_the_same_result_in_one_piece_is_refused_before_it_is_held(cluster: ClusterHandle) -> None:
    async with watched(cluster, "a result of 100 MB in one piece") as memory:
        answer = await asyncio.to_thread(cluster.query, LARGE)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "bad_request")
    assert memory.grown_mb < ROOM_MB


async def test_a_statement_of_ten_megabytes_is_refused(cluster: ClusterHandle) -> None:
    async with watched(cluster, "statements of 10 MB") as memory:
        for _ in range(5):
            text = f"INSERT INTO users (name, email) VALUES ('{'x' * (10 * MB)}', 'large')"
            answer = await asyncio.to_thread(cluster.query, text)
            assert (answer.status_code, answer.json()["committed"]) == (413, False)
    assert memory.grown_mb < ROOM_MB
    assert cluster.query("SELECT COUNT(*) AS n FROM users WHERE email = 'large'").json()["data"] == [{"n": 0}]


async def test_ten_thousand_wrong_requests_leave_nothing_behind(cluster: ClusterHandle) -> None:
    draw = random.Random(7)
    async with watched(cluster, f"{WRONG_BODIES} wrong requests") as memory:
        statuses = await asyncio.to_thread(send_wrong_ones, cluster, draw)
        assert is_ready(cluster)
    assert sum(statuses.values()) == WRONG_BODIES
    assert set(statuses) <= {400, 404, 405, 413, 422}, statuses
    assert memory.grown_mb < ROOM_MB


def send_wrong_ones(cluster: ClusterHandle, draw: random.Random) -> dict[int, int]:
    """How often each status was answered."""
    statuses: dict[int, int] = {}
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port("coordinator"), timeout=20)
    for _ in range(WRONG_BODIES):
        path = draw.choice(("/query", "/query", "/switchover", "/nowhere", "/transactions"))
        body = draw.choice((broken_json, random_bytes, wrong_fields, wrong_sql))(draw)
        method = draw.choice(("POST", "POST", "POST", "PUT", "DELETE"))
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    connection.close()
    return statuses


def broken_json(draw: random.Random) -> bytes:
    return b'{"query": "SELECT 1"}'[: draw.randrange(21)]


def random_bytes(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(2000))


def wrong_fields(draw: random.Random) -> bytes:
    values: tuple[object, ...] = (None, 1, [], {}, "SELECT 1")
    return json.dumps(
        {draw.choice(("query", "params", "statements", "x")): draw.choice(values), "level": "none"}
    ).encode()


def wrong_sql(draw: random.Random) -> bytes:
    words = draw.choices(("SELECT", "FROM", "(", "users", "'", ",", "WHERE", "INSERT", ";", "--"), k=draw.randrange(40))
    return json.dumps({"query": " ".join(["SELEC", *words])}).encode()


def test_a_client_that_goes_away_ends_its_read_on_the_server(cluster: ClusterHandle) -> None:
    for query, accept in ((LONG, "application/json"), (LARGE, "application/x-ndjson")):
        connection = socket.create_connection(("127.0.0.1", cluster.port("coordinator")))
        body = json.dumps({"query": query}).encode()
        head = f"POST /query HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: running_reads(cluster) == 1, 5)
        began = time.monotonic()
        connection.close()
        wait_until(lambda: running_reads(cluster) == 0, 5)
        print(f"ended after {time.monotonic() - began:.2f} s")


def running_reads(cluster: ClusterHandle) -> int:
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'reader' AND command = 'Query'"
    return sum(int(cluster.rows_on(name, query)[0][0]) for name in cluster.nodes)
