"""A client that goes away ends what is done for it alone.

HTTP does not tell: somebody has to listen while the work goes on. Most work has ended before that is worth its price, so
listening begins late.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

LISTEN_AFTER_S = 0.05


class ClientGone(Exception):
    """Nobody is there to be answered."""


class ClientWatch:
    """Around work that has no effect but its answer: cancels it, and raises ClientGone, when the client is gone."""

    def __init__(self, receive: Receive) -> None:
        """`receive`: ASGI's, after the whole request has come."""
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_gone = False
        self._cancelled_before = 0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelled_before = self._task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(LISTEN_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        assert self._task is not None
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timer is not None
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        if self._is_gone:
            assert self._task is not None
            # cancelled by somebody else, too: that goes on
            if self._task.uncancel() <= self._cancelled_before and isinstance(error, asyncio.CancelledError):
                raise ClientGone from error
