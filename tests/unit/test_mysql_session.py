"""A connection to something that is not a MySQL server, or not any more: one error, whatever the client library makes of it."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult

GREETING = (
    b"\x0a9.7.4\x00"
    + struct.pack("<I", 5)
    + b"saltsalt\x00"
    + struct.pack("<H", 0xF7FF)  # capabilities, but for TLS
    + b"\xff"
    + struct.pack("<HH", 2, 0x0008)
    + b"\x15"
    + bytes(10)
    + b"saltsaltsalt\x00"
    + b"mysql_native_password\x00"
)
OK = b"\x00\x00\x00\x02\x00\x00\x00"
DUPLICATE = b"\xff" + struct.pack("<H", 1062) + b"#23000Duplicate entry"


def packet(sequence: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([sequence]) + payload


@asynccontextmanager
async def session_with(*answers: bytes) -> AsyncIterator[MySQLSession]:
    """A session with a server that says these bytes in turn, the first without being asked, and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for place, answer in enumerate(answers):
            if place:
                await reader.read(65_536)
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        session = MySQLSession("127.0.0.1", port, "user", "password", setup=[], connect_timeout_s=2.0)
        try:
            yield session
        finally:
            session.close()


LOGGED_IN = (packet(0, GREETING), packet(2, OK))

NOT_MYSQL = [
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    bytes(200),
    b"\xff" * 200,
    packet(0, b"\x0a"),
    packet(0, b"\x0aabc"),
    packet(0, b"\x0a" + b"a" * 79),
    packet(0, b"\xff\x10\x04Too many connections"),
    packet(0, GREETING[:30]),
]


@pytest.mark.parametrize("greeting", NOT_MYSQL)
async def test_what_does_not_greet_as_mysql_does_cannot_be_connected_to(greeting: bytes) -> None:
    async with session_with(greeting) as session:
        with pytest.raises(ConnectionBroken, match="cannot connect: ") as broken:
            await session.open()
        assert broken.value.sent is False
        assert not session.is_open


NOT_AN_ANSWER = [
    b"",
    b"\x00",
    packet(1, b""),
    packet(1, b"\xfb/etc/passwd"),
    packet(1, b"\x01") + packet(2, b"\x03def"),
    packet(1, b"\xfe" * 9),
    packet(1, b"\x00\xff\xff\xff"),
    packet(1, b"\xff\x00"),
    packet(7, OK),
]


@pytest.mark.parametrize("answer", NOT_AN_ANSWER)
async def test_an_answer_that_is_none_breaks_the_connection_and_the_command_may_have_run(answer: bytes) -> None:
    async with session_with(*LOGGED_IN, answer) as session:
        await session.open()
        with pytest.raises(ConnectionBroken, match="the connection broke: ") as broken:
            await session.run(["SELECT 1"], 2.0)
        assert broken.value.sent is True
        assert not session.is_open
        with pytest.raises(ConnectionBroken, match="the connection is closed") as closed:
            await session.run(["SELECT 1"], 2.0)
        assert closed.value.sent is False


async def test_an_error_of_mysqls_own_leaves_the_connection_open() -> None:
    async with session_with(*LOGGED_IN, packet(1, DUPLICATE), packet(1, OK)) as session:
        await session.open()
        with pytest.raises(ServerError) as error:
            await session.run(["INSERT"], 2.0)
        assert (error.value.errno, error.value.sqlstate, error.value.message) == (1062, "23000", "Duplicate entry")
        assert error.value.place == 0
        assert (await session.run(["INSERT"], 2.0))[0].rows_affected == 0


async def test_the_results_before_an_error_are_kept_and_its_place_is_told() -> None:
    more = b"\x00\x01\x00\x0a\x00\x00\x00"  # one row affected, and a further result follows
    async with session_with(*LOGGED_IN, packet(1, more) + packet(2, more) + packet(3, DUPLICATE)) as session:
        await session.open()
        results = [StatementResult(0, 0, None, ())]
        with pytest.raises(ServerError) as error:
            await session.run(["INSERT", "INSERT", "INSERT", "INSERT"], 2.0, results)
        assert (error.value.place, len(results)) == (2, 3)
