"""A cluster for the demo's scenes that does what a test says: what its doors answer, what its nodes hold."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import httpx

from demo_clients import NAME, Clients
from demo_story import Stage
from demo_view import PlainView
from demo_watch import Watch

NAMES = ("mysql-master", "replica-1", "replica-2", "replica-3")
Json = dict[str, Any]


class StandInCluster:
    """A well cluster, until a test changes it. `on_command` is called with what the demo does to a node."""

    made_of = "nothing"

    def __init__(self) -> None:
        self.status: Json = {
            "current_master": NAMES[0],
            "epoch": 1,
            "committed_timestamp": 9,
            "nodes": {name: self.node("replica") for name in NAMES},
        }
        self.status["nodes"][NAMES[0]] = self.node("master")
        self.weights = {"replica-1": 0.7, "replica-2": 0.5, "replica-3": 0.1}
        self.excluded: dict[str, str] = {}
        self.elections: list[Json] = []
        self.comparisons: list[Json] = []
        self.was_compared = asyncio.Event()
        self.rows: dict[str, list[tuple[str, ...]]] = {name: [] for name in NAMES}
        self.on_command: Callable[[str, str], None] = lambda what, name: None
        self.done: list[tuple[str, str]] = []

    @staticmethod
    def node(role: str, state: str = "level", applied: int = 9) -> Json:
        return {"role": role, "state": state, "member": True, "reason": "", "applied_timestamp": applied}

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Of all its services."""
        path = request.url.path
        if path == "/select-quorum":
            return httpx.Response(
                200, json={"weights": self.weights, "excluded": self.excluded, "quorum": list(self.weights)[:2]}
            )
        if path == "/elections":
            return httpx.Response(200, json={"elections": self.elections})
        if path == "/verify":
            assert json.loads(request.content) == {"wait": True}
            self.was_compared.set()
            return httpx.Response(200, json={"message": "", "last": self.comparisons.pop(0)})
        assert path == "/status", path
        return httpx.Response(200, json=self.status)

    # --- as the demo has it in its hands

    def command(self, what: str, name: str) -> str:
        return f"{what} {name}"

    def url(self, name: str) -> str:
        return f"http://{name}"

    async def refuse_if_taken(self) -> None:
        pass  # nothing listens anywhere

    async def up(self, say: Callable[[str], None]) -> None:
        pass  # nothing is started

    async def kill(self, name: str) -> None:
        self._do("kill", name)

    async def start(self, name: str) -> None:
        self._do("start", name)

    async def freeze(self, name: str) -> None:
        self._do("freeze", name)

    async def thaw(self, name: str) -> None:
        self._do("thaw", name)

    def _do(self, what: str, name: str) -> None:
        self.done.append((what, name))
        self.on_command(what, name)

    async def rows_on(self, node: str, sql: str) -> list[tuple[str, ...]]:
        self.done.append((node, sql))
        return [(NAME,)] if sql.startswith("SELECT name") else self.rows[node]

    async def remove(self) -> None:
        self.done.append(("remove", ""))

    async def leave_evidence(self) -> str:
        self.done.append(("leave evidence", ""))
        return "its logs are kept"

    def keep(self) -> str:
        return "it goes on"


def stage_of(cluster: StandInCluster) -> Stage:
    """A stage whose clients write nothing by themselves; what is told goes nowhere but into `told`."""
    watch = Watch("http://coordinator", "http://cabinet-service", httpx.MockTransport(cluster.answer))
    return Stage(cluster, PlainView(io.StringIO()), Clients("http://coordinator"), watch, is_fast=True)
