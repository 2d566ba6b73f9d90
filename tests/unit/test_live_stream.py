"""Server-sent events to those who look: what each is sent and when, who is turned away, and what is left when all have gone."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import live_stream
import pytest
from client_watch import ClientWatches
from errors import QueryError
from live_stream import VIEWERS_MAX, LiveEvents, LiveStream, are_wanted, event

Event = tuple[str, Any]


class StandInView:
    """In LiveView's place: what it shows is what the test has put there."""

    def __init__(self) -> None:
        self.master = "mysql-master"
        self.held: list[str] = []
        self.newest_second = 2
        self.states_made = 0
        self.fails = False

    def outline(self) -> tuple[object, ...]:
        if self.fails:
            raise RuntimeError("unforeseen")
        return (self.master,)

    def state(self) -> dict[str, object]:
        self.states_made += 1
        return {"master": self.master}

    def elections(self) -> list[str]:
        return list(self.held)

    def traffic(self, after: int = 0) -> dict[str, object]:
        return {"number": list(range(after + 1, self.newest_second + 1))}


class Viewer:
    """One client, over ASGI. It takes what it is sent, unless told not to."""

    def __init__(self, stream: LiveStream, peer: tuple[str, int] = ("127.0.0.1", 1)) -> None:
        self.sent: list[Any] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.has_left = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        response = LiveEvents(stream, ClientWatches(), {"role": None})
        scope = {"type": "http", "client": peer}
        self.task = asyncio.create_task(response(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, object]:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        self.sent.append(message)
        for name, body in events_in(message.get("body", b"")):
            self.events.put_nowait((name, body))

    async def next(self) -> Event:
        async with asyncio.timeout(5):
            return await self.events.get()

    async def next_names(self, count: int) -> list[str]:
        return [(await self.next())[0] for _ in range(count)]


def events_in(body: bytes) -> list[Event]:
    """As the specification reads them."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture
def view() -> StandInView:
    return StandInView()


@pytest.fixture
async def stream(view: StandInView) -> AsyncIterator[LiveStream]:
    stream = LiveStream(view)  # type: ignore[arg-type]  # it has what is used of one
    yield stream
    await stream.stop()


def test_an_event_is_two_lines_and_an_empty_one_whatever_is_in_it() -> None:
    sent = event("state", {"reason": "line\nbreak\r\n\ndata: x", "unit": "µs"})
    assert sent.count(b"\n") == 3
    assert sent.endswith(b"\n\n")
    assert events_in(sent) == [("state", {"reason": "line\nbreak\r\n\ndata: x", "unit": "µs"})]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", True),
        ("text/html, Text/Event-Stream;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
    ],
)
def test_a_stream_is_sent_to_who_accepts_its_type(accept: str, expected: bool) -> None:
    assert are_wanted(accept) is expected


async def test_a_stream_begins_with_all_there_is(stream: LiveStream) -> None:
    viewer = Viewer(stream)
    told = [await viewer.next() for _ in range(4)]
    assert told == [
        ("viewer", {"role": None}),
        ("elections", {"elections": []}),
        ("traffic", {"number": [1, 2]}),
        ("state", {"master": "mysql-master"}),
    ]
    assert viewer.sent[0]["status"] == 200
    assert (b"content-type", b"text/event-stream") in viewer.sent[0]["headers"]


async def test_then_come_states_and_of_the_rest_what_is_new(stream: LiveStream, view: StandInView) -> None:
    viewer = Viewer(stream)
    await viewer.next_names(4)
    assert await viewer.next() == ("state", {"master": "mysql-master"})
    view.newest_second, view.held, view.master = 4, ["another"], "replica-1"
    told = [await viewer.next() for _ in range(3)]
    assert told == [
        ("elections", {"elections": ["another"]}),
        ("traffic", {"number": [3, 4]}),
        ("state", {"master": "replica-1"}),
    ]
    assert await viewer.next() == ("state", {"master": "replica-1"})


async def test_what_matters_is_shown_at_once(
    stream: LiveStream, view: StandInView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "STATE_S", 60.0)
    viewer = Viewer(stream)
    await viewer.next_names(4)
    view.master = "replica-2"
    assert await viewer.next() == ("state", {"master": "replica-2"})


async def test_a_picture_is_made_once_for_all_viewers_and_not_while_there_is_none(
    stream: LiveStream, view: StandInView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "STATE_S", 60.0)
    viewers = [Viewer(stream) for _ in range(5)]
    for viewer in viewers:
        await viewer.next_names(4)
    assert view.states_made == 1
    for viewer in viewers:
        viewer.has_left.set()
    await asyncio.gather(*(viewer.task for viewer in viewers))
    view.master = "replica-1"
    await asyncio.sleep(4 * live_stream.LOOK_S)  # nothing is to happen in it
    assert view.states_made == 1
    later = Viewer(stream)
    assert (await later.next_names(3), await later.next()) == (
        ["viewer", "elections", "traffic"],
        ("state", {"master": "replica-1"}),
    )


async def test_there_is_room_for_so_many_and_again_when_one_has_left(stream: LiveStream) -> None:
    viewers = [Viewer(stream) for _ in range(VIEWERS_MAX)]
    for viewer in viewers:
        await viewer.next_names(1)
    turned_away = Viewer(stream)
    with pytest.raises(QueryError) as refusal:
        await turned_away.task
    assert (refusal.value.status, turned_away.sent) == (429, [])
    viewers[0].has_left.set()
    await viewers[0].task
    assert await Viewer(stream).next_names(1) == ["viewer"]


async def test_who_takes_its_events_slowly_is_sent_the_newest_and_has_missed_no_second(
    stream: LiveStream, view: StandInView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "STATE_S", 0.02)
    monkeypatch.setattr(live_stream, "LOOK_S", 0.005)
    slow, quick = Viewer(stream), Viewer(stream)
    await slow.next_names(4)
    slow.takes.clear()
    for second in range(3, 9):
        view.newest_second, view.master = second, f"master-{second}"
        while (await quick.next()) != ("state", {"master": view.master}):
            pass  # older ones
    while not slow.events.empty():
        slow.events.get_nowait()
    slow.takes.set()
    numbers: list[int] = []
    masters: list[str] = []
    while "master-8" not in masters:
        name, body = await slow.next()
        numbers += body["number"] if name == "traffic" else []
        masters += [body["master"]] if name == "state" else []
    # one was on its way when it stopped to take any
    assert len(masters) <= 2
    assert numbers == sorted(set(numbers))
    assert set(range(4, 9)) <= set(numbers)


async def test_who_takes_nothing_is_hung_up_on(stream: LiveStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "SEND_S", 0.05)
    hung_up: list[object] = []
    monkeypatch.setattr("crash_point.hang_up", hung_up.append)
    viewer = Viewer(stream)
    await viewer.next_names(4)
    viewer.takes.clear()
    async with asyncio.timeout(5):
        await viewer.task
    assert hung_up == [("127.0.0.1", 1)]
    assert stream._viewers == 0


async def test_the_kernel_keeps_little_of_what_a_viewer_does_not_read(stream: LiveStream) -> None:
    """It was given megabytes: a viewer that read nothing was not noticed for ten minutes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as theirs,
        listening.accept()[0] as ours,
    ):
        before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        viewer = Viewer(stream, theirs.getsockname())
        await viewer.next_names(4)
        after = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert after == 2 * live_stream.SOCKET_BYTES < before


async def test_a_coordinator_that_is_being_stopped_ends_its_streams_and_begins_none(stream: LiveStream) -> None:
    viewer = Viewer(stream)
    await viewer.next_names(4)
    stream.send_away()
    async with asyncio.timeout(5):
        await viewer.task
    assert viewer.sent[-1] == {"type": "http.response.body", "body": b""}
    with pytest.raises(QueryError) as refusal:
        await Viewer(stream).task
    assert refusal.value.status == 503


async def test_a_picture_that_cannot_be_made_ends_the_streams_and_is_logged_and_the_next_viewer_begins_anew(
    stream: LiveStream, view: StandInView, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = Viewer(stream)
    await viewer.next_names(4)
    with caplog.at_level(logging.ERROR):
        view.fails = True
        async with asyncio.timeout(5):
            await viewer.task
    assert "the live page's picture could not be made" in caplog.text
    view.fails = False
    assert await Viewer(stream).next_names(4) == ["viewer", "elections", "traffic", "state"]
