"""Two real timestamp servers under concurrent requests, killed with SIGKILL again and again: no number twice, none back.

"Back" is judged by real time: whatever one server answered before a request was sent is below what that request gets.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_ports

SERVICE_DIR = Path(__file__).resolve().parents[2] / "timestamp-service"
# of the coordinator it uses three files, crash_point.py, draining.py and api_docs.py
IMPORTS = {"PYTHONPATH": str(SERVICE_DIR.parent / "coordinator")}
SERVER_IDS = (1, 2)
CLIENTS_PER_SERVER = 4
KILLS_PER_SERVER = 5
ANSWERS_BETWEEN_KILLS = 300
# Small, so that a kill often falls between a reservation and the numbers that it is for.
WINDOW = 20
START_TIMEOUT_S = 30
SEED = 20_231


class ServerProcess:
    """One server on one state folder, over all its lives."""

    def __init__(self, server_id: int, port: int, state_dir: Path) -> None:
        self.server_id, self.port = server_id, port
        self._state_dir = state_dir
        self._log = state_dir.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ,
            **IMPORTS,
            "SERVER_ID": str(self.server_id),
            "STATE_DIR": str(self._state_dir),
            "RESERVATION_WINDOW": str(WINDOW),
        }
        command = [sys.executable, "-m", "uvicorn", "main:app", "--app-dir", str(SERVICE_DIR), "--no-access-log"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], env=environment, stdout=log, stderr=log
            )

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(OSError), contextlib.closing(self.connection()) as connection:  # not yet
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.02)  # nobody tells: looked again
        raise AssertionError(f"not ready after {START_TIMEOUT_S} s: {self._log.read_text()}")

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def end(self, with_signal: signal.Signals = signal.SIGKILL) -> int:
        assert self._process is not None
        self._process.send_signal(with_signal)
        return self._process.wait(timeout=10)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None


class History:
    """All answers of one server, checked as they come in."""

    def __init__(self, server_id: int) -> None:
        self._server_id = server_id
        self._lock = threading.Lock()
        self._last_answered = 0
        self.ranges: list[tuple[int, int]] = []
        self.violations: list[str] = []

    def before_request(self) -> int:
        with self._lock:
            return self._last_answered

    def answered(self, floor: int, after: int, count: int, answer: dict[str, int]) -> None:
        first, last = answer["first"], answer["last"]
        with self._lock:
            if first <= max(floor, after):
                self.violations.append(f"{first}..{last} came after {floor} had been answered, with after={after}")
            if (first - self._server_id) % 2 or last != first + 2 * (count - 1):
                self.violations.append(f"{answer} is not {count} numbers of server {self._server_id}")
            self.ranges.append((first, last))
            self._last_answered = max(self._last_answered, last)

    def numbers(self) -> list[int]:
        return [number for first, last in self.ranges for number in range(first, last + 1, 2)]


def ask_for_ever(server: ServerProcess, history: History, stop: threading.Event, seed: int) -> None:
    rng = random.Random(seed)
    while not stop.is_set():
        ended = contextlib.suppress(OSError, http.client.HTTPException)  # it is killed now and then: ask the next one
        with ended, contextlib.closing(server.connection()) as client:
            while not stop.is_set():
                floor, wanted = history.before_request(), rng.randint(1, 2 * WINDOW)
                after = max(0, floor + rng.randint(-50, 50))
                client.request("POST", "/timestamp", json.dumps({"count": wanted, "after": after}))
                response = client.getresponse()
                body = response.read()
                if response.status != 200:
                    history.violations.append(f"status {response.status}: {body!r}")
                else:
                    history.answered(floor, after, wanted, json.loads(body))
        stop.wait(0.01)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    started = [
        ServerProcess(server_id, port, tmp_path / f"timestamp-{server_id}")
        for server_id, port in zip(SERVER_IDS, free_ports(18_801), strict=False)
    ]
    try:
        for server in started:
            server.start()
        for server in started:
            server.wait_until_ready()
        yield started
    finally:
        for server in started:
            if server.is_running():
                server.end()


def test_no_number_is_handed_out_twice_or_goes_back_while_the_servers_are_killed(servers: list[ServerProcess]) -> None:
    stop, rng = threading.Event(), random.Random(SEED)
    histories = {server.server_id: History(server.server_id) for server in servers}
    clients = [
        threading.Thread(target=ask_for_ever, args=(server, histories[server.server_id], stop, SEED + i))
        for server in servers
        for i in range(CLIENTS_PER_SERVER)
    ]
    for client in clients:
        client.start()
    try:
        for _ in range(KILLS_PER_SERVER):
            for server in servers:
                wait_for_more_answers(histories[server.server_id], rng.randint(1, ANSWERS_BETWEEN_KILLS))
                server.end()
                server.start()
            for server in servers:
                server.wait_until_ready()
        for server in servers:
            wait_for_more_answers(histories[server.server_id], 10)
    finally:
        stop.set()
        for client in clients:
            client.join()

    numbers = [number for history in histories.values() for number in history.numbers()]
    assert [violation for history in histories.values() for violation in history.violations] == []
    assert len(numbers) == len(set(numbers))
    assert len(numbers) > 0


def wait_for_more_answers(history: History, count: int) -> None:
    wanted, deadline_s = len(history.ranges) + count, time.monotonic() + START_TIMEOUT_S
    while len(history.ranges) < wanted:
        assert time.monotonic() < deadline_s, f"fewer than {count} answers in {START_TIMEOUT_S} s"
        time.sleep(0.002)  # nobody tells: looked again


def test_a_second_process_on_the_same_state_folder_ends_with_a_sentence(
    servers: list[ServerProcess], tmp_path: Path
) -> None:
    environment = os.environ | IMPORTS | {"SERVER_ID": "1", "STATE_DIR": str(tmp_path / "timestamp-1")}
    command = [sys.executable, "-m", "uvicorn", "main:app", "--app-dir", str(SERVICE_DIR), "--port", "0"]
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert second.returncode != 0
    assert "in use by another process" in second.stderr


def test_a_polite_end_gives_the_folder_back_and_loses_nothing(servers: list[ServerProcess]) -> None:
    server, history = servers[1], History(2)
    for _ in range(3):
        with contextlib.closing(server.connection()) as client:
            client.request("GET", "/timestamp")
            history.answered(history.before_request(), 0, 1, json.loads(client.getresponse().read()))
        assert server.end(signal.SIGTERM) == 0
        server.start()
        server.wait_until_ready()
    assert history.violations == []
