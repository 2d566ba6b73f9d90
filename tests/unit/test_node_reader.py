"""A reader's connections: how old one is, whom it serves next, and what a failure leaves behind. No server is needed."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import asyncmy
import pytest
from asyncmy.errors import OperationalError

from adapters.mysql_session import ConnectionBroken, ResultBounds
from adapters.node_reader import ConnectionIsNew, NodeReader


class Cursor:
    """Takes what sets a session up."""

    async def __aenter__(self) -> "Cursor":
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def execute(self, text: str) -> None:
        return


class OneRow:
    """A result."""

    description = (("1", 3),)
    fields = (SimpleNamespace(name="1", type_code=3, flags=0, charsetnr=63),)
    affected_rows = insert_id = 1
    rows = None
    has_next = False

    def __init__(self) -> None:
        self._left = [(1,)]

    async def _read_rowdata_packet_unbuffered(self) -> tuple[int] | None:
        return self._left.pop() if self._left else None

    def _take_pending_rows(self) -> list[tuple[int]]:
        return []


class Connection:
    """Answers every statement with one row."""

    def __init__(self) -> None:
        self._result = OneRow()

    def cursor(self) -> Cursor:
        return Cursor()

    async def query(self, text: str, *, unbuffered: bool) -> int:
        self._result = OneRow()
        return 1

    def thread_id(self) -> int:
        return 7

    def close(self) -> None:
        return


class Door:
    """Stands for asyncmy.connect: opens when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opens = asyncio.Event()
        self.opens.set()
        self.error: Exception | None = None
        self.count = 0

    async def connect(self, **_: Any) -> Connection:
        self.count += 1
        self.asked.set()
        await self.opens.wait()
        if self.error is not None:
            raise self.error
        return Connection()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door()
    monkeypatch.setattr(asyncmy, "connect", door.connect)
    return door


def reader_of(*, connections_max: int = 1, connect_timeout_s: float = 5.0) -> NodeReader:
    return NodeReader(
        "node",
        3306,
        "secret",
        "database",
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=5.0,
        bounds=ResultBounds(10, 1 << 20),
        connections_max=connections_max,
    )


async def test_a_connection_is_as_old_as_the_servers_greeting_and_not_as_the_wish_for_it(door: Door) -> None:
    """Leave that was given while it was being opened is older: another server may have come meanwhile."""
    reader = reader_of()
    door.opens.clear()
    opener = asyncio.create_task(reader.read(["SELECT 1"], time.monotonic_ns()))
    await door.asked.wait()
    leave_ns = time.monotonic_ns()
    door.opens.set()
    with pytest.raises(ConnectionIsNew):
        await opener
    with pytest.raises(ConnectionIsNew):
        await reader.read(["SELECT 1"], leave_ns)
    assert (await reader.read(["SELECT 1"], time.monotonic_ns()))[0].rows == [(1,)]
    assert door.count == 1


async def test_the_connection_used_last_is_used_next_so_few_are_opened(door: Door) -> None:
    reader = reader_of(connections_max=8)
    with pytest.raises(ConnectionIsNew):
        await reader.read(["SELECT 1"], time.monotonic_ns())
    for _ in range(20):
        await reader.read(["SELECT 1"], time.monotonic_ns())
    assert door.count == 1


@pytest.mark.parametrize("error", [OSError("refused"), OperationalError(1040, "Too many connections")])
async def test_a_connection_that_cannot_be_opened_is_given_back_and_tried_again(door: Door, error: Exception) -> None:
    reader = reader_of()
    door.error = error
    for _ in range(3):
        with pytest.raises(ConnectionBroken, match="cannot connect") as broken:
            await reader.read(["SELECT 1"], time.monotonic_ns())
        assert broken.value.sent is False
    door.error = None
    with pytest.raises(ConnectionIsNew):
        await reader.read(["SELECT 1"], time.monotonic_ns())
    assert (await reader.read(["SELECT 1"], time.monotonic_ns()))[0].rows == [(1,)]


async def test_a_server_that_does_not_greet_is_waited_for_no_longer_than_said(door: Door) -> None:
    reader = reader_of(connect_timeout_s=0.05)
    door.opens.clear()
    with pytest.raises(ConnectionBroken, match="no connection within 50 ms"):
        await reader.read(["SELECT 1"], time.monotonic_ns())


async def test_a_client_that_goes_away_takes_no_connection_with_it(door: Door) -> None:
    reader = reader_of()
    door.opens.clear()
    impatient = asyncio.create_task(reader.read(["SELECT 1"], time.monotonic_ns()))
    await door.asked.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    door.opens.set()
    with pytest.raises(ConnectionIsNew):
        await reader.read(["SELECT 1"], time.monotonic_ns())
