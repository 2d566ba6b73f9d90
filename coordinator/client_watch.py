"""A client that goes away ends what is done for it alone.

HTTP does not tell: somebody has to listen while the work goes on. Most work has ended before that is worth its price, so
listening begins late; and one timer looks after all work that is under way, because a timer each costs more than the listening.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

LOOK_S = 0.05
"""Who was there at two looks is listened for."""


class ClientGone(Exception):
    """Nobody is there to be answered."""


class ClientTooSlow(Exception):
    """It is there, and does not take its answer."""


class ClientWatches:
    """The work that is under way."""

    def __init__(self) -> None:
        self._under_way: dict[ClientWatch, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def around(self, receive: Receive) -> "ClientWatch":
        """`receive`: ASGI's, after the whole request has come."""
        return ClientWatch(self, receive)

    def begun(self, watch: "ClientWatch") -> None:
        self._under_way[watch] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def ended(self, watch: "ClientWatch") -> None:
        del self._under_way[watch]

    def _look(self) -> None:
        self._timer = None
        for watch in self._under_way:
            watch.seen()
        if self._under_way:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)


class ClientWatch:
    """Around work that has no effect but its answer: cancels it, and raises ClientGone, when the client is gone."""

    def __init__(self, watches: ClientWatches, receive: Receive) -> None:
        self._watches = watches
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._was_seen = self._is_gone = False
        self._cancelled_before = 0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelled_before = self._task.cancelling()
        self._watches.begun(self)

    def seen(self) -> None:
        """It is still under way."""
        if self._was_seen and self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        self._was_seen = True

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # what else may come is nothing to us
        self._is_gone = True
        assert self._task is not None
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watches.ended(self)
        if self._listening is not None:
            self._listening.cancel()
        if self._is_gone:
            assert self._task is not None
            # cancelled by somebody else, too: that goes on
            if self._task.uncancel() <= self._cancelled_before and isinstance(error, asyncio.CancelledError):
                raise ClientGone from error
