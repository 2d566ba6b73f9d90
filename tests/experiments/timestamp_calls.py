"""Asking the timestamp servers themselves, past the coordinator: how many grants a second, and in which order.

Raw HTTP/1.1 over asyncio streams: clients and servers share the cores, and what the clients use the servers lack.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence

from cluster_layout import HOST


class TimestampConnection:
    """A keep-alive connection to one server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def grant(self, count: int, after: int = 0) -> int:
        """The last of `count` numbers greater than `after`."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(f"GET /timestamp?count={count}&after={after} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        body = await reader.readexactly(length)
        assert lines[0].split()[1] == b"200", body
        return int(json.loads(body)["last"])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def grants_per_second(ports: Sequence[int], callers: int, seconds: float, count: int) -> float:
    """So many callers ask for `count` numbers at a time, spread over the servers at these ports."""
    ends_s = time.monotonic() + seconds

    async def call(port: int) -> int:
        connection, granted = TimestampConnection(port), 0
        while time.monotonic() < ends_s:
            await connection.grant(count)
            granted += 1
        connection.close()
        return granted

    granted = await asyncio.gather(*(call(ports[number % len(ports)]) for number in range(callers)))
    return sum(granted) / seconds


async def granted_in_order(ports: Sequence[int], calls: int, chance: random.Random, *, with_after: bool) -> list[int]:
    """One caller asks for one number after another, each time a server drawn by chance; `with_after`: above those that it has."""
    connections = [TimestampConnection(port) for port in ports]
    granted: list[int] = []
    for _ in range(calls):
        after = max(granted, default=0) if with_after else 0
        granted.append(await chance.choice(connections).grant(1, after))
    for connection in connections:
        connection.close()
    return granted
