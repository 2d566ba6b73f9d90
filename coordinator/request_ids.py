"""A request's identity, from the client's header to the last service that is asked for its sake, and in every line that is logged
meanwhile.

A client may name it (X-Request-ID, up to 128 printable characters); else it is made where somebody needs it. What the coordinator
asks of the other services is not for one request (numbers are fetched ahead, advice at intervals): such a call has an identity of
its own, and carries it on.

The other services use the same file, and their images copy it.
"""

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx  # not every service has it: some call nobody

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-request-id"
FAILED = 500
"""An answer from this status on is logged."""
_FIT = re.compile(rb"[!-~]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default="")

log = logging.getLogger("requests")


def current() -> str:
    """Of the request that is answered now; empty: of none, or of one that nobody named."""
    return _current.get()


def new() -> str:
    return secrets.token_hex(8)


def take(given: bytes) -> str:
    """From now on this is answered. A name that does not fit gives way to one of ours."""
    name = given.decode("ascii") if _FIT.fullmatch(given) else new()
    _current.set(name)
    return name


def forget() -> None:
    """Nobody named what is answered from now on. (A request that was pipelined begins in the task of the one before it.)"""
    _current.set("")


def given_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == HEADER:
            return value
    return b""


def header() -> list[tuple[bytes, bytes]]:
    """What an answer says of it; nothing where it has none."""
    name = _current.get()
    return [(HEADER, name.encode())] if name else []


async def sign(request: "httpx.Request") -> None:
    """A hook of httpx: a call to another service says for which request it is."""
    request.headers.setdefault("x-request-id", current() or new())


class RequestIds:
    """A pure ASGI wrapper: every answer says its request's identity, a failed one is logged. `quiet_paths`: whose failures are
    news to nobody, because somebody asks all the time."""

    def __init__(self, app: App, quiet_paths: Iterable[str]) -> None:
        self._app = app
        self._quiet_paths = frozenset(quiet_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = take(given_in(scope["headers"]))

        async def send_with_name(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, name.encode())]}
                if message["status"] >= FAILED and scope["path"] not in self._quiet_paths:
                    log.warning("%s %s: %d", scope["method"], scope["path"], message["status"])
            await send(message)

        await self._app(scope, receive, send_with_name)
