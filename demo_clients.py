"""The demo's clients: eight that write through the public door, one row after another, and keep every answer.

They send nothing twice and wait for each answer as long as the door may take (10 s, and the way): so a request that was held
during an election and one that failed can be told apart.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

import httpx

from demo_counting import Tally

CLIENTS = 8
PAUSE_S = 0.03
"""Between an answer and a client's next write: some 250 writes a second, which leaves two cores room for servers and display."""
ANSWER_S = 15.0
INSERT = "INSERT INTO users (name, email) VALUES (?, ?)"
NAME = "demo"
"""In all rows of the demo; the marker is the email."""


class Clients:
    """All clients, and what they were told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._markers = (f"{NAME}-{number}" for number in itertools.count(1))
        self._stopped = False
        self.began_at_s = 0.0
        self.tally = Tally()

    async def run(self) -> None:
        """Write until told to stop; returns when the last answer has come."""
        self.began_at_s = time.monotonic()
        # no proxy of the environment's: the cluster is on loopback
        async with httpx.AsyncClient(base_url=self._url, timeout=ANSWER_S, trust_env=False) as http:
            await asyncio.gather(*(self._client(http) for _ in range(CLIENTS)))

    def stop(self) -> None:
        self._stopped = True

    async def _client(self, http: httpx.AsyncClient) -> None:
        while not self._stopped:
            await self._write(http, next(self._markers))
            await asyncio.sleep(PAUSE_S)  # its pace, see there

    async def _write(self, http: httpx.AsyncClient, marker: str) -> None:
        sent_at_s = time.monotonic()
        try:
            answer = await http.post("/query", json={"query": INSERT, "params": [NAME, marker]})
        except httpx.TransportError as error:
            self.tally.fail(marker, f"no answer ({error!r})", is_unknown=True)
            return
        body: Mapping[str, Any] = answer.json()
        if answer.status_code == 200:
            self.tally.acknowledge(marker, int(body["timestamp"]), sent_at_s=sent_at_s, answered_at_s=time.monotonic())
        else:
            is_unknown = body.get("committed") == "unknown"
            self.tally.fail(marker, f"{answer.status_code}, {body.get('message')}", is_unknown=is_unknown)
