"""The helper services, as seen from here: numbers are needed, advice is welcome, and neither may ever hold anything up
longer than its time-out.

Their certificates are verified by what SSL_CERT_FILE names: OpenSSL reads it. (httpx would only with `trust_env`, which would
also send calls within the cluster to the machine's proxy.)
"""

import asyncio
import contextlib
import ssl
import time

import httpx
import request_ids
from access import bearer
from cabinet_contract import QuorumAnswer
from pydantic import SecretStr, ValidationError
from seer_contract import LeaderAnswer
from timestamp_contract import TimestampAnswer, TimestampRequest

from replication.events import AdviceArrived, TimestampsGranted, TimestampsRefused

ASK_AGAIN_S = 0.5


class Transport(httpx.AsyncHTTPTransport):
    """httpx's, that calls a connection lost which was reset as soon as it was open, as it calls any other. AnyIO then asks a
    socket for its peer that is gone, and what comes out is no httpx.HTTPError."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except (AttributeError, OSError) as error:
            raise httpx.ConnectError(f"the connection was reset as soon as it was open ({error})") from error


def _client(timeout_s: float, token: SecretStr | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=timeout_s,
        trust_env=False,
        transport=Transport(verify=ssl.create_default_context()),
        headers=bearer(token),
        event_hooks={"request": [request_ids.sign]},
    )


class TimestampClient:
    """Calls both servers in turn. One that failed comes last, and is asked again beside the calls until it answers: if its
    turn came as before, every second call would wait for its time-out for as long as it hangs."""

    def __init__(self, urls: list[str], timeout_s: float, token: SecretStr | None = None) -> None:
        self._urls = urls
        self._next = 0
        self._client = _client(timeout_s, token)
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.errors: dict[str, str] = {}
        """Server -> why its last call failed; for people, and for the order."""
        self.failures = dict.fromkeys(urls, 0)
        """Server -> how many calls failed."""

    async def fetch(self, count: int, after: int) -> TimestampsGranted | TimestampsRefused:
        """`count` numbers greater than `after`, of whichever server answers first in turn."""
        in_turn = [self._urls[(self._next + place) % len(self._urls)] for place in range(len(self._urls))]
        self._next += 1
        for url in sorted(in_turn, key=self.errors.__contains__):
            granted = await self._call(url, count, after)
            if granted is not None:
                return granted
            self._ask_again(url)
        return TimestampsRefused("; ".join(f"{url}: {error}" for url, error in sorted(self.errors.items())))

    async def _call(self, url: str, count: int, after: int) -> TimestampsGranted | None:
        request = TimestampRequest(count=count, after=after)
        try:
            response = await self._client.post(
                f"{url}/timestamp", content=request.model_dump_json(), headers={"content-type": "application/json"}
            )
            response.raise_for_status()
            answer = TimestampAnswer.model_validate_json(response.content)
        except (httpx.HTTPError, ValidationError) as error:
            self.errors[url] = str(error) or type(error).__name__
            self.failures[url] += 1
            return None
        self.errors.pop(url, None)
        return TimestampsGranted(answer.first, answer.last, answer.step)

    def _ask_again(self, url: str) -> None:
        task = self._asking.get(url)
        if task is not None and not task.done():
            return
        if task is not None:
            task.result()  # nothing that it did not foresee is passed over
        self._asking[url] = asyncio.get_running_loop().create_task(self._until_it_answers(url))

    async def _until_it_answers(self, url: str) -> None:
        """For one number, which nobody uses: they are plenty."""
        while url in self.errors:
            await asyncio.sleep(ASK_AGAIN_S)  # not to load a server that is in trouble
            await self._call(url, count=1, after=0)

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._client.aclose()


class AdviceClient:
    """Cabinet's quorum and SEER's ranking; the last ones are kept while a service is away."""

    def __init__(self, cabinet_url: str, seer_url: str, timeout_s: float, token: SecretStr | None = None) -> None:
        self._cabinet_url = cabinet_url
        self._seer_url = seer_url
        self._client = _client(timeout_s, token)
        self.quorum: QuorumAnswer | None = None
        self.quorum_at_ns = 0
        """When Cabinet said so, on the monotonic clock."""
        self.ranking: LeaderAnswer | None = None
        self.ranking_at_ns = 0

    async def fetch(self, master: str | None) -> AdviceArrived:
        await self._ask_cabinet(master)
        await self._ask_seer()
        return AdviceArrived(
            () if self.quorum is None else tuple(self.quorum.quorum),
            () if self.ranking is None else tuple(self.ranking.ranking),
        )

    async def _ask_cabinet(self, master: str | None) -> None:
        body = {"operation": "write"} | ({"master": master} if master else {})
        with contextlib.suppress(httpx.HTTPError, ValidationError):  # the last answer is kept
            response = await self._client.post(f"{self._cabinet_url}/select-quorum", json=body)
            response.raise_for_status()
            self.quorum = QuorumAnswer.model_validate_json(response.content)
            self.quorum_at_ns = time.monotonic_ns()

    async def _ask_seer(self) -> None:
        with contextlib.suppress(httpx.HTTPError, ValidationError):  # the last answer is kept
            response = await self._client.post(f"{self._seer_url}/elect-leader", json={})
            response.raise_for_status()
            self.ranking = LeaderAnswer.model_validate_json(response.content)
            self.ranking_at_ns = time.monotonic_ns()

    async def close(self) -> None:
        await self._client.aclose()
