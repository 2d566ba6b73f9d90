"""The helper services, as seen from here: numbers are needed, advice is welcome, and neither may ever hold anything up
longer than its time-out.
"""

import httpx
from cabinet_contract import QuorumAnswer
from pydantic import ValidationError
from seer_contract import LeaderAnswer
from timestamp_contract import TimestampAnswer, TimestampRequest

from replication.events import AdviceArrived, TimestampsGranted, TimestampsRefused


class TimestampClient:
    """Spreads its calls over both servers and goes on with one."""

    def __init__(self, urls: list[str], timeout_s: float) -> None:
        self._urls = urls
        self._next = 0
        self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=False)
        self.errors: dict[str, str] = {}
        """Server -> why its last call failed; for people."""

    async def fetch(self, count: int, after: int) -> TimestampsGranted | TimestampsRefused:
        """`count` numbers greater than `after`, of whichever server answers first in turn."""
        request = TimestampRequest(count=count, after=after)
        body = request.model_dump_json().encode()
        for _ in self._urls:
            url = self._urls[self._next % len(self._urls)]
            self._next += 1
            try:
                response = await self._client.post(
                    f"{url}/timestamp", content=body, headers={"content-type": "application/json"}
                )
                response.raise_for_status()
                answer = TimestampAnswer.model_validate_json(response.content)
            except (httpx.HTTPError, ValidationError) as error:
                self.errors[url] = str(error) or type(error).__name__
                continue
            self.errors.pop(url, None)
            return TimestampsGranted(answer.first, answer.last, answer.step)
        return TimestampsRefused("; ".join(f"{url}: {error}" for url, error in sorted(self.errors.items())))

    async def close(self) -> None:
        await self._client.aclose()


class AdviceClient:
    """Cabinet's quorum and SEER's ranking; the last ones are kept while a service is away."""

    def __init__(self, cabinet_url: str, seer_url: str, timeout_s: float) -> None:
        self._cabinet_url = cabinet_url
        self._seer_url = seer_url
        self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=False)
        self.quorum: tuple[str, ...] = ()
        self.ranking: tuple[str, ...] = ()

    async def fetch(self, master: str | None) -> AdviceArrived:
        self.quorum = await self._quorum(master) or self.quorum
        self.ranking = await self._ranking() or self.ranking
        return AdviceArrived(self.quorum, self.ranking)

    async def _quorum(self, master: str | None) -> tuple[str, ...]:
        body = {"operation": "write"} | ({"master": master} if master else {})
        try:
            response = await self._client.post(f"{self._cabinet_url}/select-quorum", json=body)
            response.raise_for_status()
            return tuple(QuorumAnswer.model_validate_json(response.content).quorum)
        except (httpx.HTTPError, ValidationError):
            return ()

    async def _ranking(self) -> tuple[str, ...]:
        try:
            response = await self._client.post(f"{self._seer_url}/elect-leader", json={})
            response.raise_for_status()
            return tuple(LeaderAnswer.model_validate_json(response.content).ranking)
        except (httpx.HTTPError, ValidationError):
            return ()

    async def close(self) -> None:
        await self._client.aclose()
