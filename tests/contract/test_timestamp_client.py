"""The coordinator's client of both timestamp servers: whose turn it is, and what one that hangs costs."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from adapters.service_clients import AdviceClient, TimestampClient
from replication.events import AdviceArrived, TimestampsGranted, TimestampsRefused

TIMEOUT_S = 1.0
PROMPTLY_S = 0.5


class Server:
    """Hands out numbers of one parity over HTTP, unless it hangs."""

    def __init__(self, server_id: int) -> None:
        self.asked = 0
        self.hangs = False
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self._last = server_id - 2

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the client hung up
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                asked = json.loads(await reader.readexactly(int(length.split(b":")[1])))
                self.asked += 1
                if self.hangs:
                    continue
                first = max(self._last, asked["after"] + asked["after"] % 2) + 2
                self._last = first + 2 * (asked["count"] - 1)
                numbers = {"timestamp": first, "first": first, "last": self._last, "step": 2}
                body = json.dumps({**numbers, "count": asked["count"], "server_id": 1}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


@contextlib.asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[TimestampClient, list[Server]]]:
    servers = [Server(1), Server(2)]
    listening = [await asyncio.start_server(server.serve, "127.0.0.1", 0) for server in servers]
    for server, listener in zip(servers, listening, strict=True):
        server.port = listener.sockets[0].getsockname()[1]
    client = TimestampClient([f"http://127.0.0.1:{server.port}" for server in servers], TIMEOUT_S)
    try:
        yield client, servers
    finally:
        await client.close()
        for server, listener in zip(servers, listening, strict=True):
            listener.close()
            for writer in server.writers:
                writer.close()
                await writer.wait_closed()


async def took_s(client: TimestampClient) -> float:
    began = time.monotonic()
    assert isinstance(await client.fetch(1, 0), TimestampsGranted)
    return time.monotonic() - began


async def test_both_servers_are_called_in_turn() -> None:
    async with two_servers() as (client, servers):
        for _ in range(6):
            await client.fetch(1, 0)
        assert [server.asked for server in servers] == [3, 3]


async def test_a_server_that_hangs_holds_up_one_call_and_not_every_second_one() -> None:
    async with two_servers() as (client, servers):
        servers[0].hangs = True
        times_s = [await took_s(client) for _ in range(20)]
        assert times_s[0] >= TIMEOUT_S
        assert max(times_s[1:]) < PROMPTLY_S


async def test_a_server_that_answers_again_gets_its_turns_again() -> None:
    async with two_servers() as (client, servers):
        servers[0].hangs = True
        await client.fetch(1, 0)
        servers[0].hangs = False
        async with asyncio.timeout(10):
            while client.errors:  # noqa: ASYNC110 (nobody tells that it was asked again)
                await asyncio.sleep(0.01)  # see above
        before = servers[0].asked
        for _ in range(6):
            await client.fetch(1, 0)
        assert servers[0].asked - before == 3


@pytest.mark.parametrize(
    "raised", [AttributeError("'NoneType' object has no attribute 'getpeername'"), OSError(107, "not connected")]
)
async def test_a_connection_that_is_reset_as_soon_as_it_is_open_is_a_failed_call_and_no_end_of_the_coordinator(
    raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By uvloop's sockets and by asyncio's: seen with a proxy that takes connections for a server that was killed."""

    async def reset(_: httpx.AsyncHTTPTransport, __: httpx.Request) -> httpx.Response:
        raise raised

    async with two_servers() as (client, _):
        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", reset)
        refused = await client.fetch(1, 0)
        assert isinstance(refused, TimestampsRefused)
        assert "reset" in refused.reason
    advice = AdviceClient("http://cabinet", "http://seer", TIMEOUT_S)
    assert await advice.fetch("mysql-master") == AdviceArrived((), ())
    await advice.close()


async def test_where_both_hang_the_answer_names_both_and_the_first_that_is_back_is_used() -> None:
    async with two_servers() as (client, servers):
        for server in servers:
            server.hangs = True
        refused = await client.fetch(1, 0)
        assert isinstance(refused, TimestampsRefused)
        assert all(str(server.port) in refused.reason for server in servers)
        servers[1].hangs = False
        assert isinstance(await client.fetch(1, 0), TimestampsGranted)
