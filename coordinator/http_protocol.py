"""Uvicorn's HTTP protocol, with what a public door needs beside it. `uvicorn --http http_protocol:HttpProtocol` names it.

The head and the body of an answer are written together. Uvicorn writes the head as soon as it has it, and then the body: two
system calls, two packets and two wake-ups of the client for every answer. On the hot path that was a sixth of the coordinator's
time. The hard case is an answer whose body comes late (a stream): its head does not wait for it, but for the end of this turn of
the event loop at most.

A request has so long to arrive, and its head is so large at most. Uvicorn waits for ever: a thousand clients that send a byte a
minute (Slowloris) would hold a thousand connections.
"""

import asyncio
from typing import Any

import msgspec
from errors import bad_request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from whole_requests import WholeRequest, lines_of

ARRIVAL_S = 30.0
"""From a request's first byte (or from the connection's beginning) to its last one."""
HEAD_BYTES_MAX = 64 << 10
_REFUSAL = msgspec.json.encode(bad_request(431, f"the head of a request is larger than {HEAD_BYTES_MAX} bytes").body())
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
)


class JoiningTransport:
    """A transport that keeps the first bytes of an answer back until the next ones come, or until the loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        if self._kept:
            data, self._kept = self._kept + data, b""
            self._transport.write(data)
        elif data.startswith(b"HTTP/"):
            self._kept = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._kept:
            data, self._kept = self._kept, b""
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's own."""
        return getattr(self._transport, name)


class HttpProtocol(HttpToolsProtocol):
    arrival_s = ARRIVAL_S

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._overdue: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        is_plain = not self.access_log and self.limit_concurrency is None
        self._takes_whole = getattr(self.app, "takes_whole", None) if is_plain else None
        self._whole_body: bytes | None = None
        """Of a request that may come whole, while its last byte has not come."""
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.connection = transport
        self.transport = JoiningTransport(transport, self.loop)  # type: ignore[assignment]  # it is one but for its class
        self._overdue = self.loop.call_later(self.arrival_s, self._give_up)

    @property
    def default_lines(self) -> bytes:
        """The server's own headers, as they are written. It has new ones each second: the date."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_lines = lines_of(headers)
        return self._default_lines

    def on_headers_complete(self) -> None:
        if (
            self._takes_whole is not None
            and self._takes_whole(self.url, self.headers)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
        ):
            self._whole_body = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._whole_body == b"":
            self._whole_body = body
            return
        self._take_uvicorns_way()
        super().on_body(body)

    def on_message_complete(self) -> None:
        body, self._whole_body = self._whole_body, None
        if body is None:
            super().on_message_complete()
            return
        before = self.cycle
        request: Any = WholeRequest(self, body, keep_alive=self.parser.should_keep_alive())
        self.cycle = request
        if before is None or before.response_complete:
            self._start_asgi_task(request, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))

    def _take_uvicorns_way(self) -> None:
        """A request that comes in parts. Does nothing for one that is on that way."""
        if self._whole_body is not None:
            body, self._whole_body = self._whole_body, None
            super().on_headers_complete()
            super().on_body(body)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.transport.is_closing():
            self._take_uvicorns_way()
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()
        elif not cycle.more_body:
            # the whole of a request has come
            self._head_bytes = 0
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None
            return
        if self._overdue is None:
            self._overdue = self.loop.call_later(self.arrival_s, self._give_up)

    def _give_up(self) -> None:
        self._overdue = None
        if not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        super().connection_lost(exc)
