"""An application behind the real server, with the protocol that the coordinator has."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from http_protocol import HttpProtocol


class Served:
    """While it is entered, the application is answered for at the port that this gives."""

    def __init__(self, application: Any, **settings: Any) -> None:
        """`settings`: uvicorn's, over those of the coordinator."""
        options: dict[str, Any] = {"access_log": False, "proxy_headers": False, "log_level": "critical"} | settings
        config = uvicorn.Config(application, port=0, http=HttpProtocol, lifespan="off", **options)
        self.server = uvicorn.Server(config)

    async def __aenter__(self) -> int:
        self.task = asyncio.get_running_loop().create_task(self.server.serve())
        await until(lambda: self.server.started)
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.task


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 (nobody would set an event)
            await asyncio.sleep(0.005)  # looked at again
