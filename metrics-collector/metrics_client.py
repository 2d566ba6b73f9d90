"""Reads the metrics collector for a service that ranks nodes.

Promise: `read` answers or raises `CollectorUnavailableError` within one time-out, also when the collector is frozen,
drips its answer byte by byte, or a thousand callers ask at once.

- One deadline spans the whole exchange. httpx's own time-outs start anew at every phase and every chunk, so a slow
  drip would pass them all.
- Callers share the request that is in flight. If each waited its turn to ask a frozen collector, the tenth would wait
  ten time-outs.
- An answer may serve again for a short age, counted from when it was asked for: nothing in it is known to be newer.
  A failure is never kept, so a collector that is back is seen at once. Past that age no answer is better than an old
  one: ranked by it, a node that died in between would still be the best.
"""

import asyncio
import ssl
import time
from collections.abc import Callable

import httpx
import request_ids
from access import bearer
from metrics_contract import ClusterMetrics
from pydantic import SecretStr, ValidationError

# below the 5 s after which uvicorn closes an idle connection, or a request could meet the close half way
KEEPALIVE_EXPIRY_S = 2.0


class CollectorUnavailableError(Exception):
    """No metrics to rank by; the message is a sentence with the cause."""


class MetricsClient:
    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        cache_ms: int,
        token: SecretStr | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._cache_ns = cache_ms * 1_000_000
        self._clock_ns = clock_ns
        self._answer: ClusterMetrics | None = None
        self._answer_asked_ns = 0
        self._in_flight: asyncio.Task[ClusterMetrics | CollectorUnavailableError] | None = None
        # trust_env off: a proxy set for the machine must not see calls within the cluster; OpenSSL itself reads SSL_CERT_FILE
        self._http = httpx.AsyncClient(
            base_url=url,
            transport=transport,
            timeout=None,
            trust_env=False,
            verify=ssl.create_default_context(),
            headers=bearer(token),
            event_hooks={"request": [request_ids.sign]},
            limits=httpx.Limits(keepalive_expiry=KEEPALIVE_EXPIRY_S),
        )

    async def read(self) -> ClusterMetrics:
        if self._answer is not None and self._clock_ns() - self._answer_asked_ns < self._cache_ns:
            return self._answer
        if self._in_flight is None:
            self._in_flight = asyncio.create_task(self._fetch())
        # shield: a caller that gives up must not take the answer away from the others
        outcome = await asyncio.shield(self._in_flight)
        if isinstance(outcome, CollectorUnavailableError):
            raise CollectorUnavailableError(str(outcome))
        return outcome

    async def aclose(self) -> None:
        if self._in_flight is not None:
            self._in_flight.cancel()
            await asyncio.gather(self._in_flight, return_exceptions=True)
        await self._http.aclose()

    async def _fetch(self) -> ClusterMetrics | CollectorUnavailableError:
        """Returns the failure instead of raising it: with every caller gone, nobody would collect the exception."""
        asked_ns = self._clock_ns()
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                response = await self._ask()
            answer = _parsed(response)
        except TimeoutError:
            return self._unavailable(f"no answer within {self._timeout_ms} ms")
        except (httpx.HTTPError, CollectorUnavailableError) as error:
            return self._unavailable(str(error) or type(error).__name__)
        else:
            self._answer, self._answer_asked_ns = answer, asked_ns
            return answer
        finally:
            self._in_flight = None

    async def _ask(self) -> httpx.Response:
        try:
            return await self._http.get("/metrics")
        except (AttributeError, OSError) as error:
            # AnyIO asks a socket for its peer that is gone, and what comes out is no httpx.HTTPError
            raise httpx.ConnectError(f"the connection was reset as soon as it was open ({error})") from error

    def _unavailable(self, cause: str) -> CollectorUnavailableError:
        return CollectorUnavailableError(f"the metrics collector at {self._url} gives no metrics: {cause}")


def _parsed(response: httpx.Response) -> ClusterMetrics:
    if response.status_code != httpx.codes.OK:
        raise CollectorUnavailableError(f"status {response.status_code}")
    try:
        answer = ClusterMetrics.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise CollectorUnavailableError(
            f"its answer has not the shape of /metrics ({where}: {first['msg']})"
        ) from error
    if not answer.nodes:
        raise CollectorUnavailableError("it knows no node yet")
    return answer
