"""The six services in process over ASGI, each with what is behind it replaced: no MySQL, no network, its own state folder."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from adviser import AdviserSettings
from coordinator_in_process import NAMES, InProcessCluster, Load
from crash_journal import ServerRun
from node_metrics import NodeReading
from node_probe import NodeAddress, ProbeAnswer
from stand_in_collector import adviser_in_process, answering, metrics, node

SERVICES = ("coordinator", "timestamp-1", "timestamp-2", "metrics-collector", "cabinet-service", "seer-service")
COLLECTOR_SETTINGS = {
    "COLLECTOR_DB_PASSWORD": "secret-of-collector",
    "NODES": ",".join(f"{name}=127.0.0.1:{port}" for port, name in enumerate(NAMES, 1)),
}
TELLING = answering(
    metrics(
        node("mysql-master", 1, 0, 99, is_master=True),
        node("replica-1", 4, 0, 99),
        node("replica-2", 1, 1, 99),
        node("replica-3", 3, 0, 99, 1),
    )
)
"""A collector that Cabinet and SEER can ask: four healthy nodes."""
SETTLED_S = 10.0
"""How long the collector's first probes may take."""


class HealthyNode:
    """What the collector probes: a node that is well, and level."""

    async def ask(self) -> ProbeAnswer:
        await asyncio.sleep(0)  # a turn of the loop, as a connection takes one
        reading = NodeReading(
            epoch=1,
            master="mysql-master",
            committed_timestamp=5,
            applied_timestamp=5,
            applied_entries=1,
            committed_entries=1,
            log_end_timestamp=5,
            latency_ns=2_000_000,
            uptime_s=60.0,
        )
        return ProbeAnswer(reading, ServerRun("uuid", 100))

    async def close(self) -> None:
        return


class ServicesInProcess:
    """Starts any of them, by the name that the design gives it."""

    def __init__(self, load: Load, monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
        self._load, self._monkeypatch, self._state_dir = load, monkeypatch, state_dir
        self.cluster = InProcessCluster(load, monkeypatch)
        """The nodes behind the coordinator."""
        self.settings: dict[str, str] = {}
        """Of the coordinator, where they differ from a test's usual ones."""

    @asynccontextmanager
    async def run(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the service, which does its work from the first request on."""
        runs: dict[str, Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]] = {
            "coordinator": lambda: self.cluster.run(wait=True, **self.settings),
            "timestamp-1": lambda: self._timestamps(1),
            "timestamp-2": lambda: self._timestamps(2),
            "metrics-collector": self._collector,
            "cabinet-service": lambda: self._adviser("cabinet-service"),
            "seer-service": lambda: self._adviser("seer-service"),
        }
        async with runs[name]() as client:
            yield client

    @asynccontextmanager
    async def _timestamps(self, server_id: int) -> AsyncIterator[httpx.AsyncClient]:
        self._monkeypatch.setenv("SERVER_ID", str(server_id))
        self._monkeypatch.setenv("STATE_DIR", str(self._state_dir))
        async with _served(self._load("timestamp-service")) as client:
            yield client

    @asynccontextmanager
    async def _collector(self) -> AsyncIterator[httpx.AsyncClient]:
        for setting, value in (COLLECTOR_SETTINGS | {"STATE_DIR": str(self._state_dir)}).items():
            self._monkeypatch.setenv(setting, value)
        main = self._load("metrics-collector")
        main.app.state.make_probe = _healthy
        async with _served(main) as client:
            async with asyncio.timeout(SETTLED_S):
                while True:
                    if all((await client.get("/health")).json()["nodes"].values()):
                        break
                    await asyncio.sleep(0.005)  # nobody tells: looked again
            yield client

    @asynccontextmanager
    async def _adviser(self, folder: str) -> AsyncIterator[httpx.AsyncClient]:
        main = self._load(folder)
        async with adviser_in_process(main, AdviserSettings(), TELLING) as client:
            yield client


def _healthy(_: object, __: NodeAddress) -> HealthyNode:
    return HealthyNode()


@asynccontextmanager
async def _served(main: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=main.app)
    async with (
        main.app.router.lifespan_context(main.app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


class Door:
    """A service for tests that are not asynchronous themselves: it runs while it is asked."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self._runner, self._client = runner, client

    def send(self, request: httpx.Request) -> httpx.Response:
        return self._runner.run(self._client.send(request))

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **options))


@contextmanager
def door_of(services: ServicesInProcess, name: str) -> Iterator[Door]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        client = runner.run(stack.enter_async_context(services.run(name)))
        try:
            yield Door(runner, client)
        finally:
            runner.run(stack.aclose())
