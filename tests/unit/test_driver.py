"""The loop around the protocol: who is told what, and in which turn of the event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

from driver import ANSWERS_AT_ONCE, Driver
from traffic import Traffic

from replication.effects import Acknowledge, Effect
from replication.events import Event, Woken, WriteArrived
from replication.replicator import Replicator
from replication.values import Executed, RequestStatement

WRITES = 3 * ANSWERS_AT_ONCE + 1


class AllAtOnce(Replicator):
    """Answers all that has arrived at the next look at the clock."""

    def __init__(self) -> None:
        super().__init__(("mysql-master", "replica-1", "replica-2", "replica-3"), "coordinator-1", "cluster")
        self.arrived: list[int] = []

    def step(self, event: Event, now_ns: int, wall_us: int) -> list[Effect]:
        if isinstance(event, WriteArrived):
            self.arrived.append(event.request.request_id)
            return []
        answered, self.arrived = self.arrived, []
        return [Acknowledge(each, each, (Executed(1, each),), "mysql-master", (), 2) for each in answered]

    @property
    def wake_at_ns(self) -> int | None:
        return None


def driver_of(replicator: Replicator) -> Driver:
    return Driver(replicator, {}, NoTimestamps(), 10**9, 10**9, Traffic())


class NoTimestamps:
    async def fetch(self, count: int, after: int) -> Any:
        raise AssertionError


async def turns_until_told(told: Sequence[asyncio.Task[Any]]) -> list[int]:
    """How many are told after each turn of the loop from now on, until all are."""
    counts: list[int] = []
    while not counts or counts[-1] < len(told):
        await asyncio.sleep(0)  # one turn
        counts.append(sum(each.done() for each in told))
    return counts


async def test_many_answers_are_told_in_several_turns_and_in_order_so_that_others_have_theirs_in_between() -> None:
    driver = driver_of(AllAtOnce())
    told: list[int] = []

    async def write(number: int) -> None:
        answer = await driver.write((RequestStatement(f"row {number}"),))
        assert isinstance(answer, Acknowledge)
        told.append(answer.timestamp)

    writes = [asyncio.create_task(write(number)) for number in range(WRITES)]
    await asyncio.sleep(0)  # all have arrived
    driver.dispatch(Woken())
    counts = await turns_until_told(writes)
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) == ANSWERS_AT_ONCE
    assert told == list(range(1, WRITES + 1))


async def test_answers_of_a_later_step_come_behind_those_that_are_still_to_be_told() -> None:
    driver = driver_of(AllAtOnce())
    many = [driver.write((RequestStatement("first"),)) for _ in range(WRITES)]
    await asyncio.sleep(0)  # all have arrived
    driver.dispatch(Woken())
    late = driver.write((RequestStatement("late"),))
    await asyncio.sleep(0)  # it has arrived
    driver.dispatch(Woken())
    await late
    assert all(each.done() for each in many)
