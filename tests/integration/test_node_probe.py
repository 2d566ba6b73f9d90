"""The probe against one real mysqld: what it reads, and what it says when the server is frozen, killed or not MySQL."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from local_mysqld import local_mysqld
from node_probe import MySqlNodeProbe, NodeAddress, ProbeAnswer, ProbeError
from root_connection import connect_as_root
from waiting import wait_until

from local_process import LocalProcess, is_frozen
from mysql_server import fill_in, names_in, remove_stale_socket

ROOT = Path(__file__).resolve().parents[2]
PORT, PORT_WITH_NOBODY = islice(free_ports(18_810), 2)
CONNECT_TIMEOUT_MS, PROBE_TIMEOUT_MS = 200, 300
START_TIMEOUT_S = 60
PASSWORD = "collector-secret"
SMALL = [
    "--no-defaults",
    *(["--user=root"] if os.getuid() == 0 else []),
    "--secure-file-priv=NULL",
    "--innodb-buffer-pool-size=32M",
    "--innodb-numa-interleave=OFF",
    "--performance-schema=OFF",
    "--disable-log-bin",
    "--partial-revokes=ON",
]


class MySqlServer:
    """One mysqld in a folder of its own, set up by the project's init.sql."""

    def __init__(self, folder: Path) -> None:
        self._mysqld = str(local_mysqld())
        self._data, self._log = folder / "data", folder / "error.log"
        # A socket's path must be short, and pytest's folders are not.
        self.socket = Path(f"/tmp/node-probe-{os.getpid()}.sock")
        self._process: subprocess.Popen[bytes] | None = None
        self._common = [self._mysqld, *SMALL, f"--datadir={self._data}", f"--log-error={self._log}"]
        init_sql = folder / "init.sql"
        text = (ROOT / "mysql-config" / "init.sql").read_text()
        init_sql.write_text(fill_in(text, dict.fromkeys(names_in(text), PASSWORD)), encoding="utf-8")
        # The throw-away setup need not survive a power cut.
        fast = ["--innodb-flush-method=nosync", "--skip-innodb-doublewrite", f"--init-file={init_sql}"]
        subprocess.run([*self._common, *fast, "--initialize-insecure"], check=True, timeout=START_TIMEOUT_S)

    def start(self) -> None:
        remove_stale_socket(self.socket)
        where = ["--bind-address=127.0.0.1", f"--port={PORT}", f"--socket={self.socket}", "--skip-name-resolve"]
        pid_file = f"--pid-file={self._data / 'mysqld.pid'}"
        self._process = subprocess.Popen([*self._common, *where, pid_file, "--mysqlx=OFF"])
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            assert self._process.poll() is None, self._log.read_text()
            # It listens when it is ready. PyMySQL itself leaves a socket open when a connection is refused.
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):  # not yet
                client.connect(str(self.socket))
                return
            time.sleep(0.05)  # a starting server tells nobody
        raise AssertionError(self._log.read_text())

    def root(self) -> Any:
        return connect_as_root(self.socket)

    def run(self, *statements: str) -> None:
        with contextlib.closing(self.root()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def send(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def freeze(self) -> None:
        """Returns when no thread of it runs any more."""
        assert self._process is not None
        self.send(signal.SIGSTOP)
        deadline_s = time.monotonic() + 10
        while not is_frozen(LocalProcess("", self._process.pid, 0, leads_session=False)):
            assert time.monotonic() < deadline_s
            time.sleep(0.001)  # a process tells nobody that it froze

    def kill(self) -> None:
        assert self._process is not None
        self.send(signal.SIGKILL)
        self._process.wait(timeout=10)
        remove_stale_socket(self.socket)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySqlServer]:
    server = MySqlServer(tmp_path_factory.mktemp("mysql"))
    server.start()
    try:
        yield server
    finally:
        server.send(signal.SIGCONT)
        server.kill()


@pytest.fixture
def server(started: MySqlServer) -> Iterator[MySqlServer]:
    """The shared server, running, with the state that init.sql leaves."""
    yield started
    started.send(signal.SIGCONT)
    started.run(
        "DELETE FROM _replication.log WHERE last_timestamp > 0",
        "UPDATE _replication.meta SET epoch = 0, owner = '', master = '', "
        "committed_timestamp = 0, applied_timestamp = 0, applied_entries = 0",
    )


@contextlib.asynccontextmanager
async def probing(port: int = PORT, password: str = PASSWORD, host: str = "127.0.0.1") -> Any:
    probe = MySqlNodeProbe(
        NodeAddress("replica-1", host, port),
        password=password,
        connect_timeout_ms=CONNECT_TIMEOUT_MS,
        probe_timeout_ms=PROBE_TIMEOUT_MS,
    )
    try:
        yield probe
    finally:
        await probe.close()


async def failure_of(probe: MySqlNodeProbe) -> str:
    started_s = time.monotonic()
    with pytest.raises(ProbeError) as caught:
        await probe.ask()
    assert time.monotonic() - started_s < (CONNECT_TIMEOUT_MS + PROBE_TIMEOUT_MS) / 1000 + 0.5
    return str(caught.value)


async def ask_until_answered(probe: MySqlNodeProbe) -> ProbeAnswer:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            with contextlib.suppress(ProbeError):  # not yet
                return await probe.ask()
            await asyncio.sleep(0.05)  # a starting server tells nobody


async def test_a_node_as_init_sql_leaves_it_answers_with_zeros(server: MySqlServer) -> None:
    async with probing() as probe:
        reading = (await probe.ask()).reading
    assert (reading.epoch, reading.master, reading.log_end_timestamp) == (0, "", 0)
    assert (reading.applied_timestamp, reading.applied_entries, reading.committed_entries) == (0, 0, 0)
    assert reading.latency_ns > 0
    assert 0 <= reading.uptime_s < 600


async def test_each_probe_reads_the_present_state_and_entries_beyond_the_commit_point_do_not_count(
    server: MySqlServer,
) -> None:
    log_row = "INSERT INTO _replication.log VALUES ({0}, {0}, 3, 0, 0, {1}, 0, 0, '', REPEAT('x', 16), 0)"
    async with probing() as probe:
        await probe.ask()
        server.run(
            log_row.format(7, 4),
            log_row.format(9, 6),
            log_row.format(12, 8),
            "UPDATE _replication.meta SET epoch = 3, master = 'replica-2', "
            "committed_timestamp = 10, applied_timestamp = 7, applied_entries = 4",
        )
        reading = (await probe.ask()).reading
    assert (reading.epoch, reading.master) == (3, "replica-2")
    assert (reading.committed_timestamp, reading.applied_timestamp, reading.log_end_timestamp) == (10, 7, 12)
    assert (reading.applied_entries, reading.committed_entries) == (4, 6)


async def test_a_write_that_holds_the_fence_does_not_delay_the_probe(server: MySqlServer) -> None:
    with contextlib.closing(server.root()) as writer, writer.cursor() as cursor:
        writer.begin()
        cursor.execute("UPDATE _replication.meta SET epoch = 99")
        async with probing() as probe:
            assert (await probe.ask()).reading.epoch == 0
        writer.rollback()


async def test_the_run_is_the_same_for_all_connections_and_uptime_grows(server: MySqlServer) -> None:
    async with probing() as first, probing() as second:
        earlier = await first.ask()
        assert (await second.ask()).run == earlier.run
        await asyncio.sleep(0.01)  # time must pass to be counted
        assert (await first.ask()).reading.uptime_s > earlier.reading.uptime_s


async def test_a_frozen_server_fails_in_time_and_answers_anew_when_it_goes_on(server: MySqlServer) -> None:
    async with probing() as probe:
        before = await probe.ask()
        server.freeze()
        assert await failure_of(probe) == f"no answer within {PROBE_TIMEOUT_MS} ms"
        # Now on a new connection, which the kernel accepts in the frozen server's name.
        assert await failure_of(probe) == f"no answer within {PROBE_TIMEOUT_MS} ms"
        server.send(signal.SIGCONT)
        server.run("UPDATE _replication.meta SET epoch = 5")
        after = await ask_until_answered(probe)
    assert after.run == before.run
    assert after.reading.epoch == 5


async def test_a_killed_server_is_refused_and_comes_back_as_another_run(server: MySqlServer) -> None:
    async with probing() as probe:
        before = await probe.ask()
        server.kill()
        # 2006 or 2013, depending on which end notices first.
        assert (await failure_of(probe)).startswith("MySQL error 20")
        assert await failure_of(probe) == "connection refused"
        server.start()
        after = await ask_until_answered(probe)
    assert after.run.server_uuid == before.run.server_uuid
    assert after.run.started_at_s > before.run.started_at_s
    assert after.reading.uptime_s < 30


async def test_a_wrong_password_names_the_setting(server: MySqlServer) -> None:
    async with probing(password="wrong") as probe:
        assert "check COLLECTOR_DB_PASSWORD" in await failure_of(probe)


async def test_a_server_that_was_not_set_up_says_so(server: MySqlServer) -> None:
    server.run("RENAME TABLE _replication.meta TO _replication.hidden")
    try:
        async with probing() as probe:
            assert "run mysql-config/init.sql" in await failure_of(probe)
    finally:
        server.run("RENAME TABLE _replication.hidden TO _replication.meta")
    server.run("DELETE FROM _replication.meta")
    try:
        async with probing() as probe:
            assert "has no row" in await failure_of(probe)
    finally:
        server.run("INSERT INTO _replication.meta VALUES (1, '', '', 0, '', '', 0, 0, 0, 0, 0, NULL, NULL, '')")


async def test_the_probe_holds_one_connection_and_gives_it_back(server: MySqlServer) -> None:
    def connections() -> int:
        with contextlib.closing(server.root()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'collector'")
            return int(cursor.fetchone()[0])

    async with probing() as probe:
        for _ in range(20):
            await probe.ask()
        assert connections() == 1
    # The server notices the end a moment later.
    await asyncio.to_thread(wait_until, lambda: connections() == 0, START_TIMEOUT_S)


async def test_nobody_at_the_address_is_a_refused_connection() -> None:
    async with probing(PORT_WITH_NOBODY) as probe:
        assert await failure_of(probe) == "connection refused"


async def test_a_name_that_does_not_exist_is_named() -> None:
    async with probing(host="no-such-host.invalid") as probe:
        message = await failure_of(probe)
    assert "no-such-host.invalid" in message or "no answer" in message


@pytest.mark.parametrize(
    "greeting",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 200, b"\xff" * 200, b"\x05\x00\x00\x00\x0aabc"],
)
async def test_a_server_that_does_not_speak_mysql_is_an_error_and_never_a_crash(greeting: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", PORT_WITH_NOBODY)
    async with listening, probing(PORT_WITH_NOBODY) as probe:
        for _ in range(2):
            assert await failure_of(probe)


async def test_a_peer_that_drips_single_bytes_cannot_stretch_the_time_limit() -> None:
    stop = threading.Event()

    def drip(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is shut down: the end
            while not stop.is_set():
                peer, _ = listening.accept()
                with peer, contextlib.suppress(OSError):  # the probe hung up
                    peer.sendall(b"\xff\x00\x00\x00")
                    while not stop.wait(0.05):
                        peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", PORT_WITH_NOBODY)) as listening:
        listening.settimeout(5)
        dripping = threading.Thread(target=drip, args=(listening,))
        dripping.start()
        try:
            async with probing(PORT_WITH_NOBODY) as probe:
                assert await failure_of(probe) == f"no answer within {CONNECT_TIMEOUT_MS + PROBE_TIMEOUT_MS} ms"
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            await asyncio.to_thread(dripping.join)
