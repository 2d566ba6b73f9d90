"""What the demo sees of the cluster while it runs: GET /status of the coordinator and Cabinet's weights, asked again and again.

Scenes wait here for what they expect. What does not come in time is a sentence: what was expected, and what was seen instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

ASK_EVERY_S = 0.05
ANSWER_S = 5.0
Json = dict[str, Any]


class NotAsExpected(Exception):
    """A scene went otherwise: the message says what was expected and what was seen."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")


@dataclass(frozen=True)
class NodeSeen:
    """A node as /status and Cabinet told of it last."""

    name: str
    role: str
    state: str
    is_member: bool
    reason: str
    weight: float | None
    """Cabinet's; None: it is the master, or cannot be ranked."""
    is_chosen: bool
    """Whether it is in the write quorum that Cabinet proposes."""
    applied_timestamp: int

    @property
    def is_level(self) -> bool:
        return self.state == "level" and self.is_member


class Watch:
    """The newest answers. Every state of a node is kept, in the order in which it was seen."""

    def __init__(self, coordinator: str, cabinet: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._coordinator = coordinator
        self._cabinet = cabinet
        # no proxy of the environment's: the cluster is on loopback
        self._http = httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, transport=transport)
        self._changed = asyncio.Event()
        self._status: Json = {}
        self._advice: Json = {}
        self.states: dict[str, list[str]] = {}

    # --- asking

    async def run(self) -> None:
        """Ask until cancelled."""
        async with self._http:
            while True:
                try:
                    await self._look()
                except httpx.HTTPError as error:
                    raise NotAsExpected("answers of the coordinator and of Cabinet", repr(error)) from error
                await asyncio.sleep(ASK_EVERY_S)  # neither of them tells by itself

    async def _look(self) -> None:
        self._status = await self.get("/status")
        asked = {"operation": "write"} | ({"master": self.master} if self.master else {})
        # 503 is an answer too: too few replicas can be ranked
        self._advice = dict((await self._http.post(f"{self._cabinet}/select-quorum", json=asked)).json())
        for node in self.nodes:
            states = self.states.setdefault(node.name, [])
            if states[-1:] != [node.state]:
                states.append(node.state)
        self._changed.set()

    async def get(self, path: str) -> Json:
        """GET from the coordinator."""
        return dict((await self._http.get(self._coordinator + path)).raise_for_status().json())

    async def post(self, path: str, body: Json, timeout_s: float) -> Json:
        """POST to the coordinator."""
        answer = await self._http.post(self._coordinator + path, json=body, timeout=timeout_s)
        return dict(answer.raise_for_status().json())

    # --- what was seen

    @property
    def master(self) -> str | None:
        return self._status.get("current_master")

    @property
    def epoch(self) -> int:
        return int(self._status["epoch"])

    @property
    def nodes(self) -> list[NodeSeen]:
        """In the order in which the coordinator names them; empty before its first answer."""
        weights, quorum = self._advice.get("weights", {}), self._advice.get("quorum", [])
        return [
            NodeSeen(
                name=name,
                role=node["role"],
                state=node["state"],
                is_member=node["member"],
                reason=node["reason"],
                weight=weights.get(name) if name != self.master else None,
                is_chosen=name in quorum and name != self.master,
                applied_timestamp=node["applied_timestamp"] or 0,
            )
            for name, node in self._status.get("nodes", {}).items()
        ]

    def node(self, name: str) -> NodeSeen:
        return next(node for node in self.nodes if node.name == name)

    @property
    def quorum(self) -> list[str]:
        """The replicas that Cabinet proposes; empty while it cannot propose enough."""
        return list(self._advice.get("quorum", []))

    @property
    def excluded(self) -> dict[str, str]:
        """Replicas that Cabinet cannot rank, and why."""
        return dict(self._advice.get("excluded", {}))

    @property
    def is_settled(self) -> bool:
        """All four nodes are level members and have executed everything that is committed."""
        committed = self._status["committed_timestamp"]
        return all(node.is_level and node.applied_timestamp == committed for node in self.nodes)

    def forget_states(self, name: str) -> None:
        """What comes now is a new story."""
        self.states[name] = []

    def sentence(self) -> str:
        """All nodes, for a message."""
        nodes = ", ".join(
            f"{node.name} {node.state}{f' ({node.reason})' if node.reason else ''}" for node in self.nodes
        )
        return f"master {self.master or 'none'}; {nodes}"

    # --- waiting

    async def until(self, condition: Callable[[], bool], within_s: float, expected: str) -> float:
        """Wait for a state of what is seen; returns how long that took, in seconds."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._changed.clear()
                    await self._changed.wait()
                    if condition():
                        return time.monotonic() - began_s
        except TimeoutError:
            raise NotAsExpected(f"{expected}, within {within_s:.0f} s", self.sentence()) from None
