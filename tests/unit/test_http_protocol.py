"""An answer is one write; one whose body comes later does not keep its head back; a request has so long to arrive."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_protocol import HEAD_BYTES_MAX, HttpProtocol, JoiningTransport
from served_application import Served

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Written:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
async def pair() -> tuple[Written, JoiningTransport]:
    written: Any = Written()
    return written, JoiningTransport(written, asyncio.get_running_loop())


async def test_head_and_body_are_one_write(pair: tuple[Written, JoiningTransport]) -> None:
    written, transport = pair
    for body in (b"first", b"second"):
        transport.write(HEAD)
        transport.write(body)
    assert written.writes == [HEAD + b"first", HEAD + b"second"]
    await asyncio.sleep(0)  # the loop's next turn
    assert len(written.writes) == 2


async def test_a_head_without_a_body_is_written_in_the_loops_next_turn(pair: tuple[Written, JoiningTransport]) -> None:
    written, transport = pair
    transport.write(HEAD)
    assert written.writes == []
    await asyncio.sleep(0)  # the loop's next turn
    assert written.writes == [HEAD]
    transport.write(b"late")
    assert written.writes == [HEAD, b"late"]


async def test_nothing_is_kept_back_from_a_connection_that_is_closed(pair: tuple[Written, JoiningTransport]) -> None:
    written, transport = pair
    transport.write(HEAD)
    assert not transport.is_closing()
    transport.close()
    assert (written.writes, transport.is_closing()) == ([HEAD], True)
    await asyncio.sleep(0)  # the loop's next turn: there is nothing left to write


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """/plain: a body at once; /slow: its body comes in two parts, late; /empty: none."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass  # its body is nothing to the answer
    if scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in (1, 2):
            await asyncio.sleep(0.02)  # others run meanwhile
            await send({"type": "http.response.body", "body": b"part %d" % number, "more_body": number == 1})
        return
    if scope["path"] == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    if scope["path"] == "/slower":
        await asyncio.sleep(0.3)  # longer than a request may take to arrive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with Served(application) as port:
        yield port


async def ask(port: int, *requests: bytes, until: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(b"%b HTTP/1.1\r\nHost: x\r\n\r\n" % request for request in requests))
    async with asyncio.timeout(5):
        answer = await reader.readuntil(until)
    writer.close()
    return answer


async def test_uvicorn_answers_every_kind_of_request_as_ever(port: int) -> None:
    assert (await ask(port, b"GET /plain", until=b"done")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"200 OK" in await ask(port, b"HEAD /plain", until=b"\r\n\r\n")
    assert b"204 No Content" in await ask(port, b"GET /empty", until=b"\r\n\r\n")
    pipelined = await ask(port, b"GET /plain", b"GET /empty", b"GET /slow", until=b"0\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", pipelined) == [b"200", b"204", b"200"]
    assert b"part 1\r\n6\r\npart 2" in pipelined


async def test_the_head_of_a_stream_comes_before_its_first_part(port: int) -> None:
    assert (await ask(port, b"GET /slow", until=b"\r\n\r\n")).endswith(b"\r\n\r\n")


# ------------------------------------------------------------------------------------------ slow clients


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpProtocol, "arrival_s", 0.1)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /plain HTTP/1.1\r\nHo", b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"]
)
@pytest.mark.parametrize("before", [b"", b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_request_that_does_not_arrive_is_not_waited_for(
    soon: None, port: int, before: bytes, sent: bytes
) -> None:
    """`before`: a whole one, on the same connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        if before:
            writer.write(before)
            await reader.readuntil(b"done")
        if before and not sent:
            # an idle connection has a time of its own, and a longer one
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.3)
        else:
            writer.write(sent)
            assert await reader.read() == b""
    writer.close()


async def test_a_request_may_take_longer_than_it_takes_to_arrive(soon: None, port: int) -> None:
    assert (await ask(port, b"GET /slower", until=b"done")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_head_has_an_end(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /plain HTTP/1.1\r\n")
    line = b"X-Header: " + b"x" * 1000 + b"\r\n"
    for _ in range(HEAD_BYTES_MAX // len(line) - 1):
        writer.write(line)
    writer.write(b"\r\n")
    assert b"200 OK" in await reader.readuntil(b"done")
    writer.write(b"GET /plain HTTP/1.1\r\n" + line * (HEAD_BYTES_MAX // len(line) + 1))
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
    writer.close()
