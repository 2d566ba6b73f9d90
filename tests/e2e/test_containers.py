"""Each of the ten containers is stopped, killed, crashed, paused, cut off and lost with its disk while clients write.

For nine of them no request may fail, whatever the container is: the master too. Where the coordinator itself is gone a
connection breaks, and whether that write was committed is not known; what is answered must be true there as well.
"""

import asyncio
import time

import pytest
from container_faults import FAULTS, Fault
from equal_nodes import check_record, wait_until_equal
from recording_client import Load, Record
from stack import NAMES, NODE_NAMES, Stack
from under_load import acknowledged_more, under_load

CLIENTS = 8
ORIGINAL = NODE_NAMES[0]
GOES_ON_S = 20.0
NOTICED_S = 10.0


def wait_until_missed(stack: Stack, node: str) -> None:
    """The coordinator knows that it is away; another is master, if it was that."""
    deadline_s = time.monotonic() + NOTICED_S
    while (status := stack.status())["nodes"][node]["state"] == "level" or status["current_master"] in (None, node):
        assert time.monotonic() < deadline_s, f"nobody missed {node}: {status}"
        time.sleep(0.02)  # nobody tells: looked again


async def suffer(stack: Stack, load: Load, name: str, fault: Fault) -> None:
    """One fault, from all well to all well."""
    if name in NODE_NAMES:
        await asyncio.to_thread(stack.make_master, ORIGINAL)
    before = await asyncio.to_thread(stack.status)
    began = time.monotonic()
    await asyncio.to_thread(fault.strike, stack, name)
    if name in NODE_NAMES and fault.is_noticed:
        await asyncio.to_thread(wait_until_missed, stack, name)
    if name not in NODE_NAMES and fault.is_noticed:
        assert not await asyncio.to_thread(stack.is_reachable, name), f"{fault.name} did not harm {name}"
    if name != "coordinator":
        await acknowledged_more(load, 100, within_s=GOES_ON_S)
    await asyncio.sleep(fault.holds_s - (time.monotonic() - began))  # so long the fault holds
    await asyncio.to_thread(fault.undo, stack, name)
    await asyncio.to_thread(stack.wait_until_well)
    await acknowledged_more(load, 100, within_s=GOES_ON_S)
    if name in (ORIGINAL, "coordinator") and fault.name != "pause":
        assert (await asyncio.to_thread(stack.status))["epoch"] > before["epoch"]


@pytest.mark.parametrize("name", NAMES)
async def test_no_write_is_lost_or_made_twice_whatever_happens_to_the_container(stack: Stack, name: str) -> None:
    pause_s: dict[str, float] = {}

    async def act(load: Load) -> None:
        for fault in FAULTS:
            first = len(load.record.answers)
            await suffer(stack, load, name, fault)
            pause_s[fault.name] = Record(load.record.answers[first:]).longest_pause_s()

    record = await under_load(stack, f"container-{name}", act, clients=CLIENTS)
    await asyncio.to_thread(stack.wait_until_healthy)
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, f"container-{name}")
    pauses = ", ".join(f"{fault} {seconds:.2f} s" for fault, seconds in pause_s.items())
    stack.figures.append(f"{name}: {record.statuses()}, longest pauses: {pauses}")
    assert len(record.acknowledged) > 200 * len(FAULTS) if name != "coordinator" else record.acknowledged
    assert set(record.statuses()) <= ({200, 0, 503, 504} if name == "coordinator" else {200}), record.statuses()
