"""What the wrapper around every service does at SIGTERM: who is still answered, who is refused, and when the server hears."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from cabinet_contract import CabinetError
from draining import DRAIN_S, Draining, Message, Receive, Send
from metrics_contract import MetricsRefusal
from pydantic import BaseModel
from query_contract import ErrorAnswer
from security_headers import SECURITY_HEADERS
from seer_contract import SeerError
from timestamp_contract import TimestampRefusal

from cluster import STOP_S
from cluster_layout import SERVICES, Layout

REFUSAL = b'{"success":false,"message":"being stopped"}'
CLOSE = (b"connection", b"close")
HTTP = {"type": "http", "method": "GET", "path": "/"}


class HeldService:
    """Answers each request when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_answer = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.fails = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        self.begun += 1
        self.has_begun.set()
        await self.may_answer.wait()
        if self.fails:
            raise RuntimeError("unforeseen")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b"true"})


class Server:
    """In uvicorn's place: a handler that counts, and connections."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.sends_away = 0
        self.service = HeldService()
        self.app = Draining(self.service, REFUSAL, self.send_away, bound_s=60)

    def handle_exit(self, number: int, _: FrameType | None) -> None:
        self.told.append(number)

    def send_away(self) -> None:
        self.sends_away += 1

    async def start(self) -> None:
        await self.exchange({"type": "lifespan"})

    async def exchange(self, scope: dict[str, Any] = HTTP, parts: list[Message] | None = None) -> list[Message]:
        """One request, whose `parts` are taken from the list as they are read; what was sent back."""
        sent: list[Message] = []
        unread = [{"type": "http.request"}] if parts is None else parts

        async def receive() -> Message:
            return unread.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(dict(scope), receive, send)
        return sent

    async def request_in_flight(self) -> "asyncio.Task[list[Message]]":
        self.service.has_begun.clear()
        task = asyncio.create_task(self.exchange())
        await self.service.has_begun.wait()
        return task

    async def terminate(self) -> None:
        """A real signal. The loop hears of it through its own pipe."""
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(3):
            await asyncio.sleep(0.01)  # a signal is heard of a turn of the loop later


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    before = signal.signal(signal.SIGTERM, made.handle_exit)
    yield made
    signal.signal(signal.SIGTERM, before)


def is_refused(sent: list[Message]) -> bool:
    start, body = sent
    assert {(b"retry-after", b"1"), (b"content-length", b"%d" % len(REFUSAL)), CLOSE} <= set(start["headers"])
    assert set(SECURITY_HEADERS) <= set(start["headers"])
    return (start["status"], body["body"]) == (503, REFUSAL)


async def test_with_nothing_in_flight_the_server_is_told_at_once_and_what_still_comes_is_refused(
    server: Server,
) -> None:
    await server.start()
    await server.terminate()
    assert server.told == [signal.SIGTERM]
    assert is_refused(await server.exchange())
    assert (server.service.begun, server.sends_away) == (0, 0)


async def test_what_is_in_flight_is_answered_before_the_server_is_told_and_what_comes_is_refused(
    server: Server,
) -> None:
    await server.start()
    requests = [await server.request_in_flight() for _ in range(2)]
    await server.terminate()
    assert is_refused(await server.exchange())
    assert (server.told, server.service.begun, server.sends_away) == ([], 2, 1)
    server.service.may_answer.set()
    answers = await asyncio.gather(*requests)
    assert server.told == [signal.SIGTERM]
    for start, body in answers:
        assert (start["status"], start["headers"], body["body"]) == (200, [(b"x-own", b"1"), CLOSE], b"true")


async def test_before_the_signal_answers_go_through_as_they_are(server: Server) -> None:
    await server.start()
    server.service.may_answer.set()
    start, _ = await server.exchange()
    assert start["headers"] == [(b"x-own", b"1")]
    assert server.told == []


async def test_a_request_that_fails_or_is_cancelled_is_not_waited_for(server: Server) -> None:
    await server.start()
    failing, cancelled = [await server.request_in_flight() for _ in range(2)]
    await server.terminate()
    cancelled.cancel()
    server.service.fails = True
    server.service.may_answer.set()
    await asyncio.gather(failing, cancelled, return_exceptions=True)
    assert isinstance(failing.exception(), RuntimeError)
    assert cancelled.cancelled()
    assert server.told == [signal.SIGTERM]


async def test_a_second_signal_is_the_servers_own_whatever_is_in_flight(server: Server) -> None:
    await server.start()
    request = await server.request_in_flight()
    await server.terminate()
    assert server.told == []
    await server.terminate()
    assert server.told == [signal.SIGTERM]
    assert is_refused(await server.exchange())
    server.service.may_answer.set()
    assert (await request)[0]["status"] == 200


async def test_two_signals_at_the_same_moment_are_two(server: Server) -> None:
    await server.start()
    request = await server.request_in_flight()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0.01)  # a signal is heard of a turn of the loop later
    assert server.told == [signal.SIGTERM]
    server.service.may_answer.set()
    await request


async def test_after_the_bound_the_server_is_told_although_something_is_in_flight(server: Server) -> None:
    server.app = Draining(server.service, REFUSAL, bound_s=0.05)
    await server.start()
    request = await server.request_in_flight()
    await server.terminate()
    async with asyncio.timeout(5):
        while not server.told:  # noqa: ASYNC110 (a signal handler tells nobody)
            await asyncio.sleep(0.005)  # see above
    assert not request.done()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


async def test_a_signal_before_the_service_has_started_is_the_servers_own(server: Server) -> None:
    await server.terminate()
    assert server.told == [signal.SIGTERM]


async def test_sigint_is_left_to_the_server(server: Server) -> None:
    before = signal.getsignal(signal.SIGINT)
    await server.start()
    assert signal.getsignal(signal.SIGINT) is before


async def test_where_no_server_listens_to_the_signal_it_is_left_alone() -> None:
    server = Server()
    await server.start()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_body_is_read_to_its_end_before_it_is_refused(server: Server) -> None:
    """A connection that is closed over bytes that nobody has read is reset, and the answer with it."""
    await server.start()
    await server.terminate()
    part: Message = {"type": "http.request", "body": b"a", "more_body": True}
    for last in ({"type": "http.request", "body": b"b", "more_body": False}, {"type": "http.disconnect"}):
        parts = [part, part, last]
        assert is_refused(await server.exchange(parts=parts))
        assert parts == []


# ---------------------------------------------------------------------------------------------- how it is used


def test_whoever_stops_a_service_waits_longer_than_it_may_take(tmp_path: Path) -> None:
    for service in SERVICES:
        command = " ".join(Layout(tmp_path, 0).service_command(service.name, Path("python")))
        found = re.search(r"--timeout-graceful-shutdown (\d+)", command)
        assert found is not None
        assert DRAIN_S + int(found[1]) + 2 < STOP_S["service"]


def refusal_of(app: Any) -> bytes:
    """As the application was wired, in whichever of the two ways."""
    if isinstance(app, Draining):
        return app._refusal
    (wired,) = [middleware.kwargs["refusal"] for middleware in app.user_middleware if middleware.cls is Draining]
    assert isinstance(wired, bytes)
    return wired


@pytest.mark.parametrize(
    ("folder", "shape"),
    [
        ("coordinator", ErrorAnswer),
        ("timestamp-service", TimestampRefusal),
        ("metrics-collector", MetricsRefusal),
        ("cabinet-service", CabinetError),
        ("seer-service", SeerError),
    ],
)
def test_every_service_refuses_in_its_own_published_shape_and_says_that_it_is_being_stopped(
    folder: str,
    shape: type[BaseModel],
    load_service: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, value in {"SERVER_ID": "1", "STATE_DIR": str(tmp_path), "COLLECTOR_DB_PASSWORD": "x"}.items():
        monkeypatch.setenv(name, value)
    refusal = refusal_of(load_service(folder).app)
    body = json.loads(refusal)
    assert shape.model_validate_json(refusal, strict=True).model_dump() == body
    assert body["success"] is False
    assert "is being stopped" in body["message"]
    assert "again in a moment" in body["message"]
    if shape is ErrorAnswer:
        assert (body["committed"], body["error"]["kind"]) == (False, "unavailable")
