"""The containers' health check: what it holds to be healthy, asked of real sockets."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import health_probe
import pytest

from cluster_layout import ROOT


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answered(listener: socket.socket, answer: bytes, path: str = "/health") -> int:
    """Port of a service that gives this answer to one request."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1024).startswith(f"GET {path} ".encode())
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("answer", "is_healthy"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\nx: 200\r\n\r\n", False),
        (b"", False),
        (b"200 OK\r\n", False),
    ],
)
def test_only_the_status_200_is_healthy(listener: socket.socket, answer: bytes, is_healthy: bool) -> None:
    port = answered(listener, answer)
    # as the container runs it: isolated, without site
    command = [sys.executable, "-IS", str(ROOT / "coordinator" / "health_probe.py"), str(port)]
    assert (subprocess.run(command, timeout=20, check=False).returncode == 0) == is_healthy


def test_another_path_can_be_asked(listener: socket.socket) -> None:
    port = answered(listener, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "/ready")
    command = [sys.executable, "-IS", str(ROOT / "coordinator" / "health_probe.py"), str(port), "/ready"]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0


def test_a_service_that_is_not_there_is_not_healthy(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert not health_probe.is_healthy(port)


def test_a_service_that_hangs_is_not_healthy(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_probe, "TIMEOUT_S", 0.1)
    assert not health_probe.is_healthy(listener.getsockname()[1])
