"""Running something while clients write, and waiting for them to get on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from recording_client import Load, Record


class ServedCluster(Protocol):
    """Where clients reach a cluster, whatever it is made of."""

    @property
    def host(self) -> str: ...

    def port(self, name: str, /) -> int: ...


async def under_load(
    cluster: ServedCluster, label: str, act: Callable[[Load], Awaitable[None]], clients: int = 16
) -> Record:
    """Run `act` while clients write; returns what they were told."""
    load = Load(cluster.port("coordinator"), clients, label, host=cluster.host)
    running = asyncio.create_task(load.run())
    try:
        await act(load)
    finally:
        load.stop()
        record = await running
    return record


async def acknowledged_more(load: Load, rows: int, within_s: float) -> None:
    """Wait until `rows` more writes were acknowledged."""
    target = len(load.record.acknowledged) + rows
    async with asyncio.timeout(within_s):
        while len(load.record.acknowledged) < target:  # noqa: ASYNC110 (the load is not made for tests to listen to)
            await asyncio.sleep(0.01)  # see above
