"""Whichever way a request goes through the server, its client sees the same; and what is seldom goes uvicorn's way."""

import asyncio
import re
from typing import Any

import pytest
from crash_point import ConnectionCut
from served_application import Served, until
from whole_requests import HEADERS, DrainingWhole, Headers, WholeAnswer, WholeRequest

BIG = 3 << 20
"""Bytes of an answer that no socket takes at once."""
REFUSAL = b'{"success":false}'


class Echo:
    """Answers with what it got, by either way. The body says what is wanted beside that."""

    def __init__(self, *, takes_whole: bool = True) -> None:
        self.short = takes_whole
        self.ways: list[str] = []
        self.held = asyncio.Event()
        self.held.set()
        self.gone = 0

    def takes_whole(self, target: bytes, headers: Headers) -> bool:
        return self.short and target == b"/query" and (b"accept", b"lines") not in headers

    async def answer_whole(self, request: WholeRequest) -> WholeAnswer | None:
        self.ways.append("whole")
        return await self._answer(request.headers, request.body, request.receive)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        self.ways.append("uvicorn")
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        answer = await self._answer(scope["headers"], body, receive)
        headers = [*HEADERS, *answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, headers: Headers, body: bytes, receive: Any) -> WholeAnswer:
        if body == b"wait for the end":
            assert (await receive())["type"] == "http.disconnect"
            assert (await receive())["type"] == "http.disconnect"
            self.gone += 1
        elif body == b"wait":
            await self.held.wait()
        elif body == b"cut":
            raise ConnectionCut
        elif body == b"fail":
            raise RuntimeError("unforeseen")
        elif body == b"big":
            return WholeAnswer(200, [], bytes(BIG))
        elif body == b"refuse":
            return WholeAnswer(503, [(b"retry-after", b"1"), (b"x-request-id", b"one")], REFUSAL)
        told = [b"%b=%b" % header for header in headers]
        return WholeAnswer(200, [], b"|".join([*told, body]))


def post(body: bytes = b"body", *headers: bytes, target: bytes = b"/query", version: bytes = b"1.1") -> bytes:
    lines = [b"POST %b HTTP/%b" % (target, version), b"Host: x", *headers]
    if not any(header.lower().startswith(b"transfer-encoding") for header in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


LAST = post(b"last", b"Connection: close")
"""Behind others, so that the server ends the connection when it has answered all."""


async def exchange(port: int, *parts: bytes) -> bytes:
    """What comes back until the server ends the connection. The parts are sent one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            for number, part in enumerate(parts):
                if number:
                    await asyncio.sleep(0.03)  # a packet of its own
                writer.write(part)
            return re.sub(rb"date: [^\r]*", b"date: now", await reader.read())
    finally:
        writer.close()


CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK, TWO_CHUNKS = b"4\r\nbody\r\n0\r\n\r\n", b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "ways"),
    [
        ([post() + LAST], ["whole", "whole"]),
        ([post(b"") + LAST], ["whole", "whole"]),
        ([post(b"body", b"X-Any: of  mine ") + LAST], ["whole", "whole"]),
        ([post(b"refuse") + LAST], ["whole", "whole"]),
        ([post(b"body" * 50_000), LAST], None),
        ([post(b"body", b"Connection: close")], ["whole"]),
        ([post(ONE_CHUNK, CHUNKED) + LAST], ["whole", "whole"]),
        ([post(TWO_CHUNKS, CHUNKED) + LAST], ["uvicorn", "whole"]),
        ([post()[:-2], post()[-2:] + LAST], ["uvicorn", "whole"]),
        ([post()[:-4], post()[-4:] + LAST], ["uvicorn", "whole"]),
        ([post()[:20], post()[20:] + LAST], ["whole", "whole"]),
        ([post(target=b"/other") + LAST], ["uvicorn", "whole"]),
        ([post(target=b"/query?x=1") + LAST], ["uvicorn", "whole"]),
        ([post(b"body", b"Accept: lines") + LAST], ["uvicorn", "whole"]),
        ([post(b"body", b"Expect: 100-continue") + LAST], ["uvicorn", "whole"]),
        ([post(version=b"1.0")], ["uvicorn"]),
        ([post().replace(b"POST", b"PUT") + LAST], ["uvicorn", "whole"]),
        ([post() + post(target=b"/other") + post(b"wait") + LAST], ["whole", "uvicorn", "whole", "whole"]),
        ([post() + b"no request\r\n\r\n"], None),
        ([post(b"2\r\nbo\r\nnonsense", CHUNKED)], None),
    ],
)
async def test_both_ways_answer_alike_byte_for_byte(parts: list[bytes], ways: list[str] | None) -> None:
    """`ways`: None where it rests on how the packets come, or where a request is wrong."""
    short, other = Echo(), Echo(takes_whole=False)
    async with Served(DrainingWhole(short, REFUSAL)) as port:
        answer = await exchange(port, *parts)
    async with Served(DrainingWhole(other, REFUSAL)) as port:
        assert await exchange(port, *parts) == answer
    assert answer.startswith(b"HTTP/1.1 ")
    assert set(other.ways) <= {"uvicorn"}
    assert ways in (None, short.ways)


async def test_an_upgrade_is_left_to_uvicorn() -> None:
    app = Echo()
    async with Served(DrainingWhole(app, REFUSAL)) as port:
        answer = await exchange(port, post(b"", b"Connection: upgrade, close", b"Upgrade: other"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert app.ways == ["uvicorn"]


@pytest.mark.parametrize("settings", [{"access_log": True}, {"limit_concurrency": 9}])
async def test_what_uvicorn_does_for_each_request_is_done_for_each(settings: dict[str, Any]) -> None:
    app = Echo()
    async with Served(DrainingWhole(app, REFUSAL), **settings) as port:
        assert (await exchange(port, post() + LAST)).count(b"200 OK") == 2
    assert app.ways == ["uvicorn", "uvicorn"]


async def test_who_waits_for_its_client_hears_that_it_is_gone() -> None:
    app = Echo()
    async with Served(DrainingWhole(app, REFUSAL)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"wait for the end"))
        await until(lambda: bool(app.ways))
        writer.close()
        await until(lambda: app.gone == 1)
    assert app.ways == ["whole"]


@pytest.mark.parametrize("body", [b"cut", b"fail"])
async def test_without_an_answer_the_connection_ends_and_nothing_else(body: bytes) -> None:
    app = Echo()
    async with Served(DrainingWhole(app, REFUSAL)) as port:
        assert await exchange(port, post(body)) == b""
        assert b"200 OK" in await exchange(port, LAST)
    assert app.ways == ["whole", "whole"]


async def test_answers_wait_for_a_client_that_does_not_read_and_are_whole_when_it_does() -> None:
    app = Echo()
    async with Served(DrainingWhole(app, REFUSAL)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"big") * 8 + LAST)
        await until(lambda: len(app.ways) >= 2)
        await asyncio.sleep(0.1)  # so long nothing is read
        assert len(app.ways) < 8
        async with asyncio.timeout(10):
            answers = await reader.read()
        writer.close()
    assert answers.count(b"200 OK") == 9
    assert len(answers) > 8 * BIG


async def test_a_service_that_is_stopping_answers_what_is_in_flight_and_refuses_the_rest_on_either_way() -> None:
    app = Echo()
    draining = DrainingWhole(app, REFUSAL)
    served = Served(draining)
    draining._servers_handler = served.server.handle_exit
    async with served as port:
        app.held.clear()
        in_flight = asyncio.create_task(exchange(port, post(b"wait")))
        await until(lambda: bool(app.ways))
        draining._terminated()
        refused = await exchange(port, post())
        assert refused.startswith(b"HTTP/1.1 503")
        assert (b"connection: close" in refused, refused.endswith(REFUSAL)) == (True, True)
        assert not served.server.should_exit
        app.held.set()
        answer = await in_flight
        assert (answer.startswith(b"HTTP/1.1 200 OK"), b"connection: close" in answer) == (True, True)
        await served.task  # it ends as soon as the last is answered
    assert app.ways == ["whole"]
