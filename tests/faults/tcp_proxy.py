"""A process that stands between the services and the nodes, one port a node, and makes the network bad on demand.

Each direction of a node's traffic has its own mode. PASS; DELAY (each byte comes so much later); HOLD (nothing comes
through). HOLD is what a one-way cut looks like over TCP: bytes that vanish are sent again by the kernel until the line is
back, so whatever was held comes out when it heals, in order, on the same connection. An answer to a request that was
given up long ago arrives this way, and only this way. Losing bytes for good would break the stream, which no network does.
CUT is the other kind: every connection is reset at once, and each new one too.

It is a process of its own, because a thread inside a busy test would itself be the slow network. One JSON line comes in
by stdin for each command, `{"node": …, "to_node": "hold", "from_node": "pass", "delay_ms": 0}`, and one goes out when it
is done. It ends when stdin does, so it never outlives who started it. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass, field
from functools import partial

HOST = "127.0.0.1"
PASS, DELAY, HOLD, CUT = "pass", "delay", "hold", "cut"
MODES = (PASS, DELAY, HOLD, CUT)
QUEUED_BYTES_MAX = 4 << 20
"""Beyond this the sender is not read from any more, as a full TCP window would have it."""


@dataclass
class Line:
    """One node's traffic, and its state."""

    target_port: int
    to_node: str = PASS
    from_node: str = PASS
    delay_s: float = 0.0
    connections: set[Connection] = field(default_factory=set)

    @property
    def is_cut(self) -> bool:
        return CUT in (self.to_node, self.from_node)

    def set(self, to_node: str, from_node: str, delay_ms: float) -> None:
        assert to_node in MODES, to_node
        assert from_node in MODES, from_node
        self.to_node, self.from_node, self.delay_s = to_node, from_node, delay_ms / 1000
        for connection in list(self.connections):
            if self.is_cut:
                connection.reset()
            else:
                connection.pump()


class Flow:
    """One direction of one connection: a queue of (due time, bytes); None stands for the end of the stream."""

    def __init__(self, line: Line, *, is_to_node: bool) -> None:
        self._line = line
        self._is_to_node = is_to_node
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.sink_is_full = False

    @property
    def _mode(self) -> str:
        return self._line.to_node if self._is_to_node else self._line.from_node

    def put(self, data: bytes | None) -> None:
        delay_s = self._line.delay_s if self._mode == DELAY else 0.0
        self._queue.append((asyncio.get_running_loop().time() + delay_s, data))
        self._queued_bytes += len(data or b"")
        self.pump()

    def pump(self) -> None:
        """Hand on what is due, as far as the mode and the receiver allow."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._queue and self._mode != HOLD and self.sink is not None and not self.sink_is_full:
            due_s, data = self._queue[0]
            if due_s > loop.time():
                self._timer = loop.call_at(due_s, self.pump)
                break
            self._queue.popleft()
            self._queued_bytes -= len(data or b"")
            if data is None:
                self.sink.close()
            elif not self.sink.is_closing():
                self.sink.write(data)
        self._hold_the_sender_back()

    def _hold_the_sender_back(self) -> None:
        if self.source is None or self.source.is_closing():
            return
        if self._queued_bytes > QUEUED_BYTES_MAX:
            self.source.pause_reading()
        elif not self.source.is_reading():
            self.source.resume_reading()


class End(asyncio.Protocol):
    """The client's or the node's end of a connection: what it says goes into `out`, what it is told comes from `into`."""

    def __init__(self, out: Flow, into: Flow, connection: Connection) -> None:
        self._out, self._into, self._connection = out, into, connection
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = self._out.source = self._into.sink = transport
        self._connection.made(self)

    def data_received(self, data: bytes) -> None:
        self._out.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._out.source = None
        self._out.put(None)
        self._connection.lost()

    def pause_writing(self) -> None:
        self._into.sink_is_full = True

    def resume_writing(self) -> None:
        self._into.sink_is_full = False
        self._into.pump()


class Connection:
    """A client's connection and the one to the node that belongs to it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._to_node, self._from_node = Flow(line, is_to_node=True), Flow(line, is_to_node=False)
        self.client = End(self._to_node, self._from_node, self)
        self.node = End(self._from_node, self._to_node, self)
        self._ends_open = 0
        self._connecting: asyncio.Task[None] | None = None

    def made(self, end: End) -> None:
        self._ends_open += 1
        self._line.connections.add(self)
        if self._line.is_cut:
            self.reset()
        elif end is self.client:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        else:
            # the client may have spoken, or gone, while this end was being connected
            self.pump()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.node, HOST, self._line.target_port)
        except OSError:
            self.reset()

    def lost(self) -> None:
        self._ends_open -= 1
        if self._ends_open <= 0:
            self._line.connections.discard(self)

    def pump(self) -> None:
        self._to_node.pump()
        self._from_node.pump()

    def reset(self) -> None:
        """RST to both ends: no farewell, nothing that was under way arrives."""
        for transport in (self.client.transport, self.node.transport):
            if transport is not None and not transport.is_closing():
                raw: socket.socket = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()


def client_over(line: Line) -> End:
    return Connection(line).client


async def serve(targets: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    lines = {node: Line(port) for node, port in targets.items()}
    ports = {}
    servers = []
    for node, line in lines.items():
        server = await loop.create_server(partial(client_over, line), HOST, 0)
        servers.append(server)
        ports[node] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := await commands.readline():
        wanted = json.loads(command)
        lines[wanted["node"]].set(wanted["to_node"], wanted["from_node"], wanted["delay_ms"])
        print("done", flush=True)


def main() -> None:
    targets = dict(argument.split("=") for argument in sys.argv[1:])
    asyncio.run(serve({node: int(port) for node, port in targets.items()}))


if __name__ == "__main__":
    main()
