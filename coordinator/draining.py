"""SIGTERM ends a service without cutting anybody off: what is in flight is answered, what comes meanwhile is refused with 503.

Uvicorn, told to stop, closes its listening socket first and cancels what is left after its own time-out. So it is told late.
Until then the sockets stay open, and a new request, on a new connection or on one that was kept alive, is refused in words.

    SIGTERM               refuse what comes; tell uvicorn as soon as nothing is in flight: at once, mostly
    a second one          uvicorn's own way of stopping, now
    the bound has passed  the same: somebody waits for the end of a schema change, or sends a body that never ends
    SIGINT                uvicorn's own, always

Invariant: a request is counted before the service sees it and until the service is done with it, and none begins after the
signal. Uvicorn ends the lifespan last, so what is behind a request (the coordinator's driver) goes on until all are answered.

Hard case: the signal comes before the service has started. Until the lifespan says so, uvicorn's handler is the one in force.

The exit status tells both ends apart: 0, all were answered; SIGTERM's, uvicorn cut the rest off.

A pure ASGI wrapper: it costs the hot path one counter. The other services use the same file, and their images copy it.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from types import FrameType
from typing import Any

from security_headers import SECURITY_HEADERS
from uvicorn import Server

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Handler = Callable[[int, FrameType | None], Any]

log = logging.getLogger("uvicorn.error")
"""Uvicorn's own: the one that every service has."""

DRAIN_S = 12.0
"""Above the 10 s after which the coordinator answers a held request in any case. Whoever stops a service waits longer before
SIGKILL: this, uvicorn's own time-out, and a moment (STOP_S in cluster.py)."""
RETRY_AFTER_S = 1
CLOSE = (b"connection", b"close")


class Draining:
    """Stands around a service's application."""

    def __init__(
        self, app: App, refusal: bytes, on_begin: Callable[[], None] | None = None, bound_s: float = DRAIN_S
    ) -> None:
        """`refusal` is the JSON body of a 503, in the shape of the service's other refusals. `on_begin` is called when requests
        are about to be waited for: some need not be."""
        self._app = app
        self._refusal = refusal
        self._on_begin = on_begin
        self._bound_s = bound_s
        self._in_flight = 0
        self._is_stopping = False
        self._overdue: asyncio.TimerHandle | None = None
        self._servers_handler: Handler | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(scope, receive, send)
        elif self._is_stopping:
            await self._refuse(receive, send)
        else:
            self._in_flight += 1
            try:
                await self._app(scope, receive, partial(self._send, send))
            finally:
                self._ended()

    def _ended(self) -> None:
        """One that was in flight."""
        self._in_flight -= 1
        if self._is_stopping and not self._in_flight:
            self._finish()

    def _send(self, send: Send, message: Message) -> Awaitable[None]:
        if self._is_stopping and message["type"] == "http.response.start":
            # the client's next request on this connection might meet its end half way, and nobody could tell what became of it
            message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
        return send(message)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._take_over()
            await send(message)

        await self._app(scope, receive, send_on)

    async def _refuse(self, receive: Receive, send: Send) -> None:
        # to the end of the body: a connection that is closed before is reset, and the client may never see why
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass  # the part is dropped
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._refusal)),
            (b"retry-after", b"%d" % RETRY_AFTER_S),
            *SECURITY_HEADERS,
            CLOSE,
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": self._refusal})

    # ------------------------------------------------------------------------------------------ the signal

    def _take_over(self) -> None:
        """SIGTERM is ours from now on, if there is a server that would stop at it."""
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler):
            self._servers_handler = handler
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)

    def _terminated(self) -> None:
        if self._is_stopping:
            self._give_way()
            return
        self._is_stopping = True
        if not self._in_flight:
            self._finish()
            return
        log.info("SIGTERM: requests in flight are answered first: %d", self._in_flight)
        self._overdue = asyncio.get_running_loop().call_later(self._bound_s, self._give_up)
        if self._on_begin is not None:
            self._on_begin()

    def _finish(self) -> None:
        """All are answered."""
        if self._overdue is not None:
            self._overdue.cancel()
        server = getattr(self._servers_handler, "__self__", None)
        if isinstance(server, Server):
            # not by its handler: it would end with the signal's status, as if somebody had been cut off
            server.should_exit = True
        else:
            self._give_way()

    def _give_up(self) -> None:
        log.warning("after %.0f s these requests are not waited for any longer: %d", self._bound_s, self._in_flight)
        self._give_way()

    def _give_way(self) -> None:
        """To the server's own handler: it stops as if we had not been there."""
        assert self._servers_handler is not None
        self._servers_handler(signal.SIGTERM, None)
