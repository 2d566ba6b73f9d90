"""Real services that are told to stop while they are asked: who was in flight is answered, who comes is refused, and they end.

The services run as the runner starts them, without MySQL and without each other: a request is held by a body of which the rest is
still to come, or in the coordinator by nodes that are not there. The last test stops a whole cluster's coordinator.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster_handle import ClusterHandle
from equal_nodes import wait_until_equal
from free_ports import free_port_offset
from waiting import wait_until

from cluster_layout import BY_NAME, ROOT, Layout, make_private_folder
from local_process import http_health

START_S = 30.0
STATE_S = 5.0
QUICK_S = 2.5
"""Below the 3 s for which uvicorn waits for connections: whoever needs longer was held up."""
INSERT = json.dumps({"query": "INSERT INTO users (name, email) VALUES ('n', 'e')"}).encode()
QUESTIONS = {
    "timestamp-1": ("/timestamp", b'{"count": 3, "after": 10}', 200),
    "cabinet-service": ("/select-quorum", b'{"operation": "fly"}', 422),
    "seer-service": ("/elect-leader", b'{"candidates": "all"}', 422),
    "coordinator": ("/query", b'{"query": "SELEC 1"}', 400),
}
"""Of each service: a question, and the status of its own answer. The metrics collector has none that can be held."""
PLAIN = ("--loop", "asyncio", "--http", "h11")
"""What uvicorn falls back on where a service's requirements name nothing faster."""


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def is_refusal(self) -> bool:
        """Whether it is what a service says that is being stopped, in every respect."""
        if "is being stopped" not in self.text:
            return False
        assert (self.status, self.headers["retry-after"], self.headers["connection"]) == (503, "1", "close")
        assert (self.headers["content-type"], self.body["success"]) == ("application/json", False)
        return True


class Connection:
    """Kept alive; a request can be sent in two parts."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._rest = b""

    def begin(self, path: str, body: bytes) -> None:
        half = len(body) // 2
        self._connection.putrequest("POST", path)
        self._connection.putheader("content-type", "application/json")
        self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body[:half])
        self._rest = body[half:]

    def end(self) -> Answer:
        self._connection.send(self._rest)
        return self.answer()

    def post(self, path: str, body: bytes) -> None:
        self._connection.request("POST", path, body, {"content-type": "application/json"})

    def answer(self) -> Answer:
        return Answer(self._connection.getresponse())

    def health(self) -> Answer:
        self._connection.request("GET", "/health")
        return self.answer()

    def close(self) -> None:
        self._connection.close()


class Service:
    """One process, as the runner would start it."""

    def __init__(
        self, name: str, layout: Layout, connections: contextlib.ExitStack, options: Sequence[str], **settings: str
    ) -> None:
        self.port = layout.port(name)
        self._connections = connections
        member = BY_NAME[name]
        if member.has_state:
            make_private_folder(layout.data(name))
        environment = layout.service_environment(
            name, {**os.environ, **settings}, dict.fromkeys(member.passwords, "none")
        )
        self._log = layout.cluster_dir / f"{name}.log"
        command = [*layout.service_command(name, Path(sys.executable)), *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def connection(self) -> Connection:
        connection = Connection(self.port)
        self._connections.callback(connection.close)
        return connection

    def is_up(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        return http_health(self.port) is not None

    def send(self, *signals: signal.Signals) -> None:
        for number in signals:
            self.process.send_signal(number)

    def refuses(self) -> bool:
        """Asked over a new connection: only an open socket can say so."""
        return self.connection().health().is_refusal

    def status(self, within_s: float = QUICK_S) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired as slow:
            raise AssertionError(self._log.read_text()) from slow


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    layout = Layout(tmp_path, free_port_offset())
    started: list[Service] = []
    with contextlib.ExitStack() as connections:

        def start_one(name: str, *options: str, **settings: str) -> Service:
            started.append(service := Service(name, layout, connections, options, **settings))
            wait_until(service.is_up, START_S)
            return service

        yield start_one
    for service in started:
        service.process.kill()
        service.process.wait()


@pytest.mark.parametrize(("name", "options"), [*((name, ()) for name in QUESTIONS), ("cabinet-service", PLAIN)])
def test_a_request_in_flight_is_answered_and_new_ones_are_refused_until_then(
    start: Start, name: str, options: tuple[str, ...]
) -> None:
    path, body, status = QUESTIONS[name]
    service = start(name, *options)
    kept, in_flight = service.connection(), service.connection()
    for connection in (in_flight, kept):
        connection.health()
    in_flight.begin(path, body)
    kept.health()  # sent later, so what was sent before is in the service's hands
    service.send(signal.SIGTERM)
    wait_until(service.refuses, STATE_S)
    kept.post(path, body)
    assert kept.answer().is_refusal
    assert service.process.poll() is None
    answer = in_flight.end()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert not answer.is_refusal
    assert service.status() == 0


@pytest.mark.parametrize("name", [*QUESTIONS, "metrics-collector"])
def test_with_nothing_in_flight_a_service_ends_at_once_whatever_is_connected(start: Start, name: str) -> None:
    service = start(name)
    service.connection().health()
    service.send(signal.SIGTERM)
    assert service.status() == 0


@pytest.mark.parametrize("name", ["timestamp-1", "coordinator"])
def test_a_frozen_service_answers_truly_when_it_goes_on_and_ends(start: Start, name: str) -> None:
    path, body, status = QUESTIONS[name]
    service = start(name)
    asked_before, asked_after = service.connection(), service.connection()
    for connection in (asked_before, asked_after):
        connection.health()
    service.send(signal.SIGSTOP)
    asked_before.post(path, body)
    service.send(signal.SIGTERM)
    asked_after.post(path, body)
    service.send(signal.SIGCONT)
    for connection in (asked_before, asked_after):
        answer = connection.answer()
        assert answer.is_refusal or answer.status == status
    assert service.status() == 0


# ---------------------------------------------------------------------------------------------- the coordinator's long requests


def test_a_held_write_is_answered_at_its_deadline_although_the_coordinator_is_being_stopped(start: Start) -> None:
    service = start("coordinator", REQUEST_DEADLINE_MS="4000")
    held = service.connection()
    held.post("/query", INSERT)
    service.connection().health()
    service.send(signal.SIGTERM)
    wait_until(service.refuses, STATE_S)
    refused = service.connection()
    refused.post("/query", INSERT)
    answer = refused.answer()
    assert answer.is_refusal
    assert (answer.body["committed"], answer.body["error"]["kind"]) == (False, "unavailable")
    answer = held.answer()
    assert (answer.status, answer.body["committed"]) == (503, False)
    assert "stopped" not in answer.text
    assert service.status() == 0


def test_whoever_waits_for_a_comparison_does_not_hold_the_stop_up(start: Start) -> None:
    service = start("coordinator")
    waiting = service.connection()
    waiting.post("/verify", b'{"wait": true}')
    service.connection().health()
    service.send(signal.SIGTERM)
    answer = waiting.answer()
    assert (answer.status, answer.body["running"]) == (202, True)
    assert service.status() == 0


def test_a_second_signal_ends_it_as_uvicorn_does_and_what_is_cut_off_is_told_what_is_known(start: Start) -> None:
    service = start("coordinator", REQUEST_DEADLINE_MS="60000")
    held = service.connection()
    held.post("/query", INSERT)
    service.connection().health()
    service.send(signal.SIGTERM)
    wait_until(service.refuses, STATE_S)
    service.send(signal.SIGTERM)
    answer = held.answer()
    assert (answer.status, answer.body["committed"], answer.headers["retry-after"]) == (503, "unknown", "1")
    assert service.status() == -signal.SIGTERM


def test_a_write_held_for_want_of_a_quorum_is_acknowledged_by_a_coordinator_that_is_being_stopped(
    cluster: ClusterHandle,
) -> None:
    marker = "held at the stop"
    pair = cluster.get("coordinator", "/status").json()["replicas"][:2]
    pids = cluster.pids()
    stop = threading.Thread(target=cluster.stop, args=["coordinator"])
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(cluster.up)
        held, kept, new = (Connection(cluster.port("coordinator")) for _ in range(3))
        for connection in (held, kept, new):
            afterwards.callback(connection.close)
        kept.health()
        cluster.freeze(*pair)
        held.post("/query", INSERT.replace(b"'e'", f"'{marker}'".encode()))
        kept.health()
        stop.start()
        afterwards.callback(stop.join)
        try:
            wait_until(lambda: http_says(cluster, "is being stopped"), STATE_S)
            for connection in (kept, new):
                connection.post("/query", INSERT)
                answer = connection.answer()
                assert answer.is_refusal
                assert (answer.body["committed"], answer.body["error"]["kind"]) == (False, "unavailable")
            assert cluster.pids()["coordinator"] == pids["coordinator"]
        finally:
            # by hand: the runner is at work, and whoever else wants it waits
            for name in pair:
                pid = pids[name]
                assert pid is not None
                os.kill(pid, signal.SIGCONT)
        answer = held.answer()
        assert (answer.status, answer.body["committed"], answer.headers["connection"]) == (200, True, "close")
        stop.join(STATE_S)
        assert not stop.is_alive()
        assert cluster.pids()["coordinator"] is None
    wait_until_equal(cluster, within_s=15)
    for node in pids:
        if BY_NAME[node].kind == "node":
            count = cluster.rows_on(node, f"SELECT COUNT(*) FROM distributed_db.users WHERE email = '{marker}'")
            assert count == [(1,)], node


def http_says(cluster: ClusterHandle, text: str) -> bool:
    return text in (http_health(cluster.port("coordinator")) or (0, ""))[1]
