"""How soon a real cluster writes again when links that were cut one by one are healed one by one.

    PYTHONPATH=.:coordinator:tests/integration:tests/faults python tests/bench/healing_bench.py --runs 10 --seed 1

16 clients write all the time. Two to four links are cut, stay cut for 3 to 8 s, and are healed in another order; the clock
starts when three nodes can be reached again. The simulation measures many more shapes (tests/simulation/healing.py); this
shows what TCP, a held handshake and a real server add.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from fault_cluster import FaultCluster, fault_cluster
from fault_schedule import NODE_ROLES
from history import Outcome
from nemesis import _run_statements
from workload import RoundKeys, Workload

AWAY_MAX = 1
WAIT_S = 60.0
CALM_S = 6.0


def acknowledged_after(workload: Workload, since_ns: int) -> int:
    """When the first write was acknowledged after that; 0: none yet."""
    times = (
        each.returned_ns or 0
        for each in workload.history.operations[-2_000:]
        if each.is_write and each.outcome is Outcome.OK
    )
    return min((each for each in times if each > since_ns), default=0)


async def waited_ms(cluster: FaultCluster, workload: Workload, chance: random.Random) -> float:
    cluster.status()
    names = [cluster.name_of(role) for role in chance.sample(NODE_ROLES, chance.randint(2, 4))]
    gap_s, stay_s = chance.uniform(0.2, 1.5), chance.uniform(3.0, 8.0)
    for name in names:
        await asyncio.to_thread(cluster.lines.hold, name, to_node=True, from_node=True)
        await asyncio.sleep(gap_s)  # one link after the other
    await asyncio.sleep(stay_s)  # so long they stay cut
    reachable_ns = 0
    for place, name in enumerate(chance.sample(names, len(names)), 1):
        await asyncio.to_thread(cluster.lines.heal, name)
        if len(names) - place == AWAY_MAX:
            reachable_ns = time.monotonic_ns()
        await asyncio.sleep(gap_s)  # one link after the other
    deadline_s = time.monotonic() + WAIT_S
    while not (again_ns := acknowledged_after(workload, reachable_ns)):
        assert time.monotonic() < deadline_s, "no write is acknowledged"
        await asyncio.sleep(0.01)  # the load is not made to be listened to
    return (again_ns - reachable_ns) / 1e6


async def measure(cluster: FaultCluster, runs: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    found = []
    for number in range(runs):
        keys = RoundKeys.of_round(number)
        await _run_statements(cluster, keys.statements_that_make_them())
        workload = Workload(cluster.handle.port("coordinator"), keys, f"{seed}/{number}", 16)
        running = asyncio.create_task(workload.run())
        try:
            await asyncio.sleep(CALM_S)  # writes go on undisturbed before a cut
            found.append(await waited_ms(cluster, workload, chance))
            print(f"run {number}: {found[-1]:,.0f} ms", flush=True)
        finally:
            workload.stop()
            await running
        await asyncio.to_thread(cluster.wait_until_level)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="healing-") as folder,
        fault_cluster(Path(folder), with_disks=False) as cluster,
    ):
        found = asyncio.run(measure(cluster, arguments.runs, arguments.seed))
    print(f"p50 {found[len(found) // 2]:,.0f} ms, worst {found[-1]:,.0f} ms, {len(found)} runs")


if __name__ == "__main__":
    main()
