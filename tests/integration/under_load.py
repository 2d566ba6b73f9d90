"""Running something while clients write, and waiting for them to get on."""

import asyncio
from collections.abc import Awaitable, Callable

from cluster_handle import ClusterHandle
from recording_client import Load, Record


async def under_load(
    cluster: ClusterHandle, label: str, act: Callable[[Load], Awaitable[None]], clients: int = 16
) -> Record:
    """Run `act` while clients write; returns what they were told."""
    load = Load(cluster.port("coordinator"), clients, label)
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
            await asyncio.sleep(0.01)
