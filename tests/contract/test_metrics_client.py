"""The client that both advisers share: one deadline, one request in flight, a short age for its answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from metrics_client import CollectorUnavailableError, MetricsClient
from stand_in_collector import metrics, node

ANSWER = metrics(node("replica-1"))


class Collector:
    """Counts what it is asked; answers at once, or when told to, or not at all."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.was_asked = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        return httpx.Response(200, json=ANSWER)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms * 1_000_000


@asynccontextmanager
async def client_of(
    collector: Callable[[httpx.Request], Awaitable[httpx.Response]],
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    timeout_ms: int = 5_000,
    cache_ms: int = 100,
) -> AsyncIterator[MetricsClient]:
    async def handle(request: httpx.Request) -> httpx.Response:
        return await collector(request)

    client = MetricsClient(
        "http://collector",
        timeout_ms=timeout_ms,
        cache_ms=cache_ms,
        transport=httpx.MockTransport(handle),
        clock_ns=clock,
    )
    try:
        yield client
    finally:
        await client.aclose()


async def test_an_answer_serves_again_until_its_age_is_reached() -> None:
    collector, clock = Collector(), Clock()
    async with client_of(collector, clock=clock) as client:
        await client.read()
        clock.now_ms = 99
        await client.read()
        assert collector.asked == 1
        clock.now_ms = 100
        await client.read()
        assert collector.asked == 2


async def test_the_age_counts_from_the_question_not_from_the_answer() -> None:
    collector, clock = Collector(), Clock()
    collector.may_answer.clear()
    async with client_of(collector, clock=clock) as client:
        reading = asyncio.create_task(client.read())
        await collector.was_asked.wait()
        clock.now_ms = 100
        collector.may_answer.set()
        await reading
        await client.read()
    assert collector.asked == 2


async def test_with_a_cache_of_zero_every_read_asks() -> None:
    collector = Collector()
    async with client_of(collector, clock=Clock(), cache_ms=0) as client:
        await client.read()
        await client.read()
    assert collector.asked == 2


async def test_callers_at_the_same_time_share_one_question() -> None:
    collector = Collector()
    async with client_of(collector) as client:
        answers = await asyncio.gather(*(client.read() for _ in range(100)))
    assert collector.asked == 1
    assert all(answer is answers[0] for answer in answers)


async def test_an_old_answer_does_not_stand_in_for_a_collector_that_is_down() -> None:
    collector, clock = Collector(), Clock()
    async with client_of(collector, clock=clock) as client:
        await client.read()
        collector.down = True
        clock.now_ms = 100
        with pytest.raises(CollectorUnavailableError, match="connection refused"):
            await client.read()


@pytest.mark.parametrize(
    "raised", [AttributeError("'NoneType' object has no attribute 'getpeername'"), OSError(107, "not connected")]
)
async def test_a_connection_that_is_reset_as_soon_as_it_is_open_is_a_failed_question(raised: Exception) -> None:
    """What comes out of AnyIO then, by uvloop's sockets and by asyncio's."""

    async def reset(_: httpx.Request) -> httpx.Response:
        raise raised

    async with client_of(reset) as client:
        with pytest.raises(CollectorUnavailableError, match="reset as soon as it was open"):
            await client.read()


async def test_a_collector_that_is_back_is_seen_at_once() -> None:
    collector, clock = Collector(), Clock()
    collector.down = True
    async with client_of(collector, clock=clock) as client:
        with pytest.raises(CollectorUnavailableError):
            await client.read()
        collector.down = False
        assert (await client.read()).master == "mysql-master"


async def test_a_hundred_callers_of_a_frozen_collector_wait_one_time_out_together() -> None:
    collector = Collector()
    collector.may_answer.clear()
    async with client_of(collector, timeout_ms=50) as client:
        started_ns = time.monotonic_ns()
        outcomes = await asyncio.gather(*(client.read() for _ in range(100)), return_exceptions=True)
        waited_ms = (time.monotonic_ns() - started_ns) / 1e6
    assert all(isinstance(outcome, CollectorUnavailableError) for outcome in outcomes)
    assert collector.asked == 1
    # a hundred time-outs in a row would be 5 s
    assert 45 <= waited_ms < 1_000


async def test_an_answer_that_drips_is_cut_off_by_the_same_deadline() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)  # slowly
            yield b" "

    async def dripping(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drip())

    async with client_of(dripping, timeout_ms=60) as client:
        with pytest.raises(CollectorUnavailableError, match="no answer within 60 ms"):
            await client.read()


async def test_a_caller_that_gives_up_takes_the_answer_from_nobody_else() -> None:
    collector = Collector()
    collector.may_answer.clear()
    async with client_of(collector) as client:
        impatient = asyncio.create_task(client.read())
        patient = asyncio.create_task(client.read())
        await collector.was_asked.wait()
        impatient.cancel()
        await asyncio.wait([impatient])
        collector.may_answer.set()
        assert (await patient).master == "mysql-master"
    assert impatient.cancelled()
    assert collector.asked == 1


async def test_closing_ends_a_question_that_is_still_in_flight() -> None:
    collector = Collector()
    collector.may_answer.clear()
    async with client_of(collector) as client:
        reading = asyncio.create_task(client.read())
        await collector.was_asked.wait()
    await asyncio.wait([reading])
    assert reading.cancelled()
