"""The proxy makes the faults that it says, and nothing else: an echo server stands in for a node."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from node_lines import NodeLines, node_lines
from waiting import wait_until

ANSWER_S = 5.0
SILENCE_S = 0.2


class Echo:
    """What the node would be: says back what it hears, and remembers it and how many connections have ended."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ended = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed: the end
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # reset: an end like any other
            while data := connection.recv(65536):
                self.heard += data
                connection.sendall(data)
        self.ended += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may be closed already
            # a thread that waits in accept() is not woken by close() alone
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def node() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def lines(node: Echo) -> Iterator[NodeLines]:
    with node_lines({"replica-1": node.port}) as started:
        yield started


def connect(lines: NodeLines) -> socket.socket:
    return socket.create_connection(("127.0.0.1", lines.ports["replica-1"]), timeout=ANSWER_S)


def says_nothing(client: socket.socket) -> bool:
    client.settimeout(SILENCE_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(ANSWER_S)
    return False


def test_a_healthy_line_hands_on_everything_unchanged(lines: NodeLines) -> None:
    with connect(lines) as client:
        sent = bytes(range(256)) * 20_000
        writing = threading.Thread(target=client.sendall, args=(sent,))
        writing.start()
        came = b""
        while len(came) < len(sent) and (data := client.recv(65536)):
            came += data
        writing.join(ANSWER_S)
    assert came == sent


def test_a_one_way_cut_lets_the_request_arrive_and_holds_the_answer_until_it_is_healed(
    lines: NodeLines, node: Echo
) -> None:
    with connect(lines) as client:
        client.sendall(b"first")
        assert client.recv(5) == b"first"
        lines.hold("replica-1", from_node=True)
        client.sendall(b"second")
        wait_until(lambda: node.heard == b"firstsecond", ANSWER_S)
        assert says_nothing(client)
        lines.heal("replica-1")
        assert client.recv(6) == b"second"


def test_the_other_one_way_cut_holds_the_request_and_not_only_the_answer(lines: NodeLines, node: Echo) -> None:
    with connect(lines) as client:
        lines.hold("replica-1", to_node=True)
        client.sendall(b"held")
        assert says_nothing(client)
        assert node.heard == b""
        lines.heal("replica-1")
        assert client.recv(4) == b"held"


def test_a_new_connection_over_a_held_line_opens_and_stays_silent(lines: NodeLines, node: Echo) -> None:
    lines.hold("replica-1", to_node=True, from_node=True)
    with connect(lines) as client:
        client.sendall(b"hello")
        assert says_nothing(client)
        lines.heal("replica-1")
        assert client.recv(5) == b"hello"


def test_a_delay_comes_on_top_in_each_direction_and_keeps_the_order(lines: NodeLines) -> None:
    with connect(lines) as client:
        lines.delay("replica-1", 100)
        began_s = time.monotonic()
        for part in (b"a", b"b", b"c"):
            client.sendall(part)
        came = b""
        while len(came) < 3:
            came += client.recv(3)
        assert time.monotonic() - began_s >= 0.2
        lines.heal("replica-1")
        client.sendall(b"d")
        assert client.recv(1) == b"d"
    assert came == b"abc"


def test_a_cut_resets_every_connection_and_each_new_one_until_it_is_healed(lines: NodeLines) -> None:
    with connect(lines) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        lines.cut("replica-1")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionResetError), connect(lines) as second:
        second.recv(1)
    lines.heal("replica-1")
    with connect(lines) as third:
        third.sendall(b"y")
        assert third.recv(1) == b"y"


def test_a_node_that_does_not_run_resets_the_client(lines: NodeLines, node: Echo) -> None:
    node.close()
    with pytest.raises(ConnectionResetError), connect(lines) as client:
        client.recv(1)


def test_a_node_hears_the_last_words_of_a_client_that_went_while_the_line_was_held(
    lines: NodeLines, node: Echo
) -> None:
    with connect(lines) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        lines.hold("replica-1", to_node=True)
        client.sendall(b"last words")
    assert node.ended == 0
    lines.heal("replica-1")
    wait_until(lambda: node.heard == b"xlast words" and node.ended == 1, ANSWER_S)
