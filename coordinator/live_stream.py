"""The live page's stream: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) to who looks.

    viewer      once: the role of its token
    elections   all of them, whenever one has changed
    traffic     the seconds that this stream has not had yet: all of them at first, then one a second
    state       everything else, twice a second, and within a 20th of one when what matters has changed

So a viewer that comes later, or has lost its connection, needs nothing from before; and as a state comes twice a second in any
case, no other sign of life is needed.

Invariant: events are made once for all viewers, and only while there is one. Nobody has a queue: whoever takes its events slowly
is sent the newest when it is ready, and whoever takes nothing for SEND_S is hung up on. So a viewer costs the memory of one
picture at most. (The kernel would take megabytes of what nobody reads, minutes of it, so it is given little room.)

A stream ends by itself when the coordinator is being stopped.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import crash_point
import errors
import msgspec
from client_watch import ClientGone, ClientTooSlow, ClientWatches
from live_view import LiveView
from security_headers import Receive, Scope, Send
from starlette.responses import Response

MEDIA_TYPE = "text/event-stream"
VIEWERS_MAX = 32
STATE_S = 0.5
LOOK_S = 0.05
"""So often it is looked whether what matters has changed: nobody tells, because telling would be on the hot path."""
SEND_S = 10.0
SOCKET_BYTES = 16 << 10
"""Of a viewer's unread events in the kernel; as much again is its own bookkeeping."""

log = logging.getLogger("coordinator")

_encode = msgspec.json.Encoder(decimal_format="string").encode


def event(name: str, body: object) -> bytes:
    """One event as it is sent. JSON has no line break in it, so its data is one line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(body))


def are_wanted(accept: str) -> bool:
    """By the request's header `Accept`."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))


class Picture(msgspec.Struct, frozen=True):
    """What was to be seen at one moment, as events."""

    number: int
    state: bytes
    elections: bytes


class LiveStream:
    """Those who look, and what they are shown."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._viewers = 0
        self._run = 0
        """Streams that began in another run than this one are over."""
        self._is_stopped = False
        self._picture: Picture | None = None
        self._pictures = 0
        self._news = asyncio.Event()
        """Set when there is another picture, and then replaced."""
        self._making: asyncio.Task[None] | None = None
        self._seconds: dict[tuple[int, int], bytes] = {}
        """The traffic event of those who have had one second and are to have another."""

    # ------------------------------------------------------------------------------------------ who looks

    @contextlib.contextmanager
    def seat(self) -> Iterator[None]:
        """As long as somebody looks. Raises QueryError where no more may."""
        if self._is_stopped:
            raise errors.stopping()
        if self._viewers >= VIEWERS_MAX:
            raise errors.overloaded(f"{VIEWERS_MAX} viewers are looking, and no more are shown anything")
        if not self._viewers:
            self._picture = None  # it is from when somebody looked last
        self._viewers += 1
        if self._making is None or self._making.done():
            self._making = asyncio.get_running_loop().create_task(self._make_pictures())
        try:
            yield
        finally:
            self._viewers -= 1

    async def events(self) -> AsyncGenerator[bytes, None]:
        """What one viewer is sent, whenever it is ready for more. Ends when the stream is over."""
        run, number, second, elections = self._run, 0, 0, b""
        while run == self._run:
            news, picture = self._news, self._picture
            if picture is None or picture.number == number:
                await news.wait()
                continue
            parts = [picture.state]
            newest = self._view.newest_second
            if second != newest or not number:
                parts.insert(0, self._traffic(second, newest))
            if elections != picture.elections:
                parts.insert(0, picture.elections)
            number, second, elections = picture.number, newest, picture.elections
            yield b"".join(parts)

    def _traffic(self, after: int, newest: int) -> bytes:
        if (after, newest) not in self._seconds:
            self._seconds = {key: made for key, made in self._seconds.items() if key[1] == newest}
            self._seconds[after, newest] = event("traffic", self._view.traffic(after))
        return self._seconds[after, newest]

    # ------------------------------------------------------------------------------------------ what is shown

    async def _make_pictures(self) -> None:
        outline: tuple[object, ...] = ()
        made_at_s = 0.0
        try:
            while self._viewers:
                now_s, seen = time.monotonic(), self._view.outline()
                if self._picture is None or seen != outline or now_s - made_at_s >= STATE_S:
                    outline, made_at_s = seen, now_s
                    self._show()
                await asyncio.sleep(LOOK_S)  # looked at so often
        except Exception:  # the page is not worth the process: its streams end, and the next viewer begins anew
            log.exception("the live page's picture could not be made")
            self._end_streams()

    def _show(self) -> None:
        self._pictures += 1
        elections = event("elections", {"elections": self._view.elections()})
        self._picture = Picture(self._pictures, event("state", self._view.state()), elections)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _end_streams(self) -> None:
        self._run += 1
        self._tell()

    def send_away(self) -> None:
        """Nobody is shown anything any more: the coordinator is being stopped."""
        self._is_stopped = True
        self._end_streams()

    async def stop(self) -> None:
        self.send_away()
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)


class LiveEvents(Response):
    """The answer that is a stream."""

    def __init__(self, stream: LiveStream, watches: ClientWatches, viewer: dict[str, Any]) -> None:
        super().__init__()
        self._stream = stream
        self._watches = watches
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises QueryError, before anything is sent, where there is no room for another viewer."""
        with self._stream.seat():
            for ours in crash_point.sockets_to(scope["client"]):
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            try:
                with self._watches.around(receive):
                    await self._send(send)
            except ClientGone:
                return
            except ClientTooSlow:
                log.info("a viewer of the live page took nothing for %.0f s: it is hung up on", SEND_S)
                crash_point.hang_up(scope["client"])

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", MEDIA_TYPE.encode())]})
        await _send_part(send, event("viewer", self._viewer))
        async with contextlib.aclosing(self._stream.events()) as parts:
            async for part in parts:
                await _send_part(send, part)
        await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, part: bytes) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except TimeoutError as error:
        raise ClientTooSlow from error
