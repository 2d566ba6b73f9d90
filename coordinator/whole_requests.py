"""Requests that come whole and are answered whole: the short way from the server to the application.

ASGI hands a request over in parts and takes its answer in parts. What that takes of uvicorn and of the wrappers (a scope, a cycle
with an event, four messages, two regular expressions a header) was a fifth of what a query costs at the door. A request that
is here as a whole when its head is read, and that the application says it answers in one piece, goes without.

Invariant: nobody can tell by an answer which way its request went. All that is seldom goes uvicorn's way: a body in parts, an
answer in parts, Expect, an upgrade, HTTP/1.0, a server that is being stopped.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from crash_point import ConnectionCut
from draining import Draining
from security_headers import SECURITY_HEADERS
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from http_protocol import HttpProtocol

Headers = Sequence[tuple[bytes, bytes]]


def lines_of(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


HEADERS = ((b"content-type", b"application/json"), *SECURITY_HEADERS)
"""Of every answer here, beside its own."""
_LINES = lines_of(HEADERS)
_CLOSE = b"connection: close\r\n"

log = logging.getLogger("uvicorn.error")


class WholeAnswer(NamedTuple):
    status: int
    headers: Headers
    """Beside HEADERS and the body's length. Nobody looks again whether HTTP has such ones."""
    body: bytes


class WholeApp(Protocol):
    """What an application is beside ASGI, that answers in one piece."""

    def takes_whole(self, target: bytes, headers: Headers) -> bool:
        """Whether it answers a POST there, by its head."""

    def answer_whole(self, request: "WholeRequest") -> Coroutine[Any, Any, WholeAnswer | None]:
        """None: the client is to hear nothing, and its connection is ended."""


class DrainingWhole(Draining):
    """Draining's promise for both ways."""

    _app: WholeApp  # type: ignore[assignment]  # and ASGI's

    def takes_whole(self, target: bytes, headers: Headers) -> bool:
        return not self._is_stopping and self._app.takes_whole(target, headers)

    def answer_whole(self, request: "WholeRequest") -> Coroutine[Any, Any, WholeAnswer | None]:
        """Its end is told by `whole_ended`."""
        self._in_flight += 1
        return self._app.answer_whole(request)

    def whole_ended(self, request: "WholeRequest") -> None:
        if self._is_stopping:
            request.keep_alive = False
        self._ended()


class WholeRequest:
    """One request. The server takes it for one of its cycles: it has what uvicorn asks of them."""

    __slots__ = (
        "_gone",
        "_protocol",
        "body",
        "client",
        "disconnected",
        "headers",
        "keep_alive",
        "response_complete",
        "target",
    )

    more_body = False

    def __init__(self, protocol: "HttpProtocol", body: bytes, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self._gone: asyncio.Event | None = None
        self.target = protocol.url
        self.headers = protocol.headers
        self.client = protocol.client
        self.body = body
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False

    async def run_asgi(self, app: DrainingWhole) -> None:
        """To the end of its answer."""
        protocol = self._protocol
        answer = None
        try:
            answer = await app.answer_whole(self)
            if protocol.flow.write_paused:
                await protocol.flow.drain()
        except ConnectionCut:
            pass  # a test's crash point
        except Exception:  # as uvicorn does
            log.exception("a whole request failed in an unforeseen way")
        finally:
            app.whole_ended(self)
        if self.disconnected:
            return
        if answer is None:
            protocol.connection.abort()
            return
        head = b"%b%b%b%bcontent-length: %d\r\n%b\r\n" % (
            STATUS_LINE[answer.status],
            protocol.default_lines,
            _LINES,
            lines_of(answer.headers),
            len(answer.body),
            b"" if self.keep_alive else _CLOSE,
        )
        protocol.connection.write(head + answer.body)
        self.response_complete = True
        if not self.keep_alive:
            protocol.connection.close()
        protocol.on_response_complete()

    async def receive(self) -> dict[str, str]:
        """ASGI's, after the whole request has come: waits until the client is gone."""
        if not self.disconnected:
            self._gone = asyncio.Event()
            await self._gone.wait()
        return {"type": "http.disconnect"}

    @property
    def message_event(self) -> "WholeRequest":
        """Uvicorn tells a cycle's event that the connection is lost."""
        return self

    def set(self) -> None:
        if self._gone is not None:
            self._gone.set()
