"""Headers that every answer of every service has: no guessing of types, no copy in a cache, no page of ours in somebody's frame.

The coordinator's hot path writes them as they stand; `SecurityHeaders` puts them on everything else.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
PAGE_HEADERS = ((b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'"))
"""Beside them, on HTML."""


class SecurityHeaders:
    """A pure ASGI wrapper. What an answer says itself stays."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                said = dict(headers)
                added: tuple[tuple[bytes, bytes], ...] = SECURITY_HEADERS
                if said.get(b"content-type", b"").startswith(b"text/html"):
                    added += PAGE_HEADERS
                headers += [header for header in added if header[0] not in said]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers)
