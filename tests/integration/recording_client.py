"""A client that writes down what it was told, so that a test can compare it with what the nodes hold.

Raw HTTP/1.1 over asyncio streams: the load generator shares two cores with everything that it loads.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Answered:
    """One request and its fate. `status` 0: the connection broke before there was an answer."""

    marker: str
    status: int
    body: dict[str, Any]
    sent_ns: int
    answered_ns: int

    @property
    def committed(self) -> bool | str:
        """True, False or "unknown"."""
        if self.status == 200:
            return True
        answer: bool | str = self.body.get("committed", "unknown")
        return answer


@dataclass
class Record:
    """Everything that all clients were told."""

    answers: list[Answered] = field(default_factory=list)

    def with_status(self, status: int) -> list[Answered]:
        return [answer for answer in self.answers if answer.status == status]

    @property
    def acknowledged(self) -> list[Answered]:
        return self.with_status(200)

    def statuses(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for answer in self.answers:
            counts[answer.status] = counts.get(answer.status, 0) + 1
        return dict(sorted(counts.items()))

    def longest_pause_s(self) -> float:
        """Longest time without any acknowledgement."""
        times = sorted(answer.answered_ns for answer in self.acknowledged)
        return max((later - earlier for earlier, later in pairwise(times)), default=0) / 1e9


class Connection:
    """A keep-alive connection that is opened again when it broke."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._port = port
        self._host = host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def query(self, sql: str, timeout_s: float = 30.0) -> tuple[int, dict[str, Any]]:
        """(status, body); status 0 where the connection broke."""
        return await self.post({"query": sql}, timeout_s)

    async def post(self, asked: dict[str, Any], timeout_s: float = 30.0, key: str = "") -> tuple[int, dict[str, Any]]:
        """As query, with any body. `key`: the Idempotency-Key."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(asked, key)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
            return 0, {}

    async def _exchange(self, asked: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        body = json.dumps(asked).encode()
        keyed = f"idempotency-key: {key}\r\n" if key else ""
        head = f"POST /query HTTP/1.1\r\nhost: x\r\n{keyed}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Load:
    """Clients that insert marked rows one after another until told to stop, or until `count` rows were tried."""

    def __init__(
        self,
        port: int,
        clients: int,
        label: str,
        count: int | None = None,
        clash_every: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self._port = port
        self._host = host
        self._clients = clients
        self._label = label
        self._count = count
        self._clash_every = clash_every
        self._next = 0
        self._stopped = False
        self.record = Record()

    async def run(self) -> Record:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))
        return self.record

    def stop(self) -> None:
        self._stopped = True

    async def _client(self) -> None:
        connection = Connection(self._port, self._host)
        while not self._stopped and (self._count is None or self._next < self._count):
            number, self._next = self._next, self._next + 1
            marker = f"{self._label}-{number}"
            # every n-th row takes an id that is taken: it violates the primary key
            clash = self._clash_every and number % self._clash_every == 0
            columns, values = ("id, name, email", "1, 'clash'") if clash else ("name, email", "'load'")
            sent_ns = time.monotonic_ns()
            status, body = await connection.query(f"INSERT INTO users ({columns}) VALUES ({values}, '{marker}')")
            self.record.answers.append(Answered(marker, status, body, sent_ns, time.monotonic_ns()))
            if status == 0:
                await asyncio.sleep(0.05)  # nobody listens: a moment before the next try
        connection.close()
