"""How long writes pause when something fails, as a distribution over many runs on one cluster under load.

    PYTHONPATH=.:coordinator:tests/integration python tests/bench/failover_bench.py [--runs 30] [--clients 16] [CASE …]

Cases: kill-master, freeze-master, kill-replica, freeze-replica, switchover, restart-coordinator, starve.
A pause is the longest time without any acknowledgement from just before the fault until writes have gone on for a second; the
pause without a fault is measured beside it. So is the disk: a process of its own flushes a few bytes to it a hundred times a
second, and the longest flush that overlaps a pause stands beside the pause. Where it is as long, nobody could have written.
`starve` counts the elections of a healthy cluster that competes with two busy processes a core. Machines are noisy: quote the
median and the worst of a run, and compare only what was measured in one run.
"""

import argparse
import asyncio
import gc
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import check_record, wait_until_equal
from recording_client import Load, Record

STATE_S = 30.0
GO_ON_S = 1.0
"""Writes must have gone on for so long after a fault before the next."""
APART_S = 5.5
"""Between two faults. After four elections within five seconds of one another the next one waits, so that a cluster that elects
all the time serves somebody; here each fault is to be the first."""
STARVE_S = 120.0


FLUSHING = """
import os, sys, time
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
while True:
    began = time.monotonic_ns()
    os.pwrite(file, b"%020d" % began, 0)
    os.fdatasync(file)
    ended = time.monotonic_ns()
    if ended - began > 20_000_000:
        print(began, ended, flush=True)
    time.sleep(0.01)  # a hundred times a second, not all the time
"""


class Pause(msgspec.Struct, frozen=True, order=True):
    """In ms: how long, and the longest flush of the disk meanwhile."""

    ms: float
    disk_ms: float


class DiskProbe:
    """Flushes that took longer than 20 ms, while nobody but the cluster writes."""

    def __init__(self, file: Path) -> None:
        argv = [sys.executable, "-c", FLUSHING, str(file)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._stalls: list[tuple[int, int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            began_ns, ended_ns = map(int, text.split())
            self._stalls.append((began_ns, ended_ns))

    def longest_ms(self, began_ns: int, ended_ns: int) -> float:
        """Of the flushes that overlap the time from `began_ns` to `ended_ns`."""
        stalls = [end - begin for begin, end in self._stalls if begin < ended_ns and end > began_ns]
        return max(stalls, default=0) / 1e6

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


class Bench:
    """One cluster under load, and what is done to it."""

    def __init__(self, cluster: ClusterHandle, load: Load, disk: DiskProbe) -> None:
        self._cluster = cluster
        self._load = load
        self._disk = disk

    def status(self) -> dict[str, object]:
        body: dict[str, object] = self._cluster.get("coordinator", "/status").json()
        return body

    async def until_level(self) -> None:
        """Wait until four members are level."""
        deadline_s = time.monotonic() + STATE_S
        while True:
            try:
                nodes = (await asyncio.to_thread(self.status))["nodes"]
                assert isinstance(nodes, dict)
                if all(node["state"] == "level" and node["member"] for node in nodes.values()):
                    return
            except httpx.HTTPError:
                nodes = {}
            assert time.monotonic() < deadline_s, nodes
            await asyncio.sleep(0.05)  # nobody tells: looked again

    async def pause(self, fault: Callable[[], Awaitable[None]]) -> Pause:
        """The longest pause that `fault` causes."""
        answers = self._load.record.answers
        await asyncio.sleep(GO_ON_S)  # what was before the fault is looked at, too
        first = max(0, len(answers) - 200)
        began_ns = time.monotonic_ns()
        await fault()
        deadline_s = time.monotonic() + STATE_S
        while True:
            await asyncio.sleep(0.02)  # the load is not made to be listened to
            times = sorted(each.answered_ns for each in answers[first:] if each.status == 200)
            gaps = [(later - earlier, earlier, later) for earlier, later in pairwise(times) if later >= began_ns]
            longest = max(gaps, default=(0, 0, 0))
            # what comes after the longest pause so far must have gone on for a while, and be shorter itself
            if longest[2] and times[-1] - max(longest[2], began_ns) > GO_ON_S * 1e9:
                return Pause(longest[0] / 1e6, self._disk.longest_ms(longest[1], longest[2]))
            assert time.monotonic() < deadline_s, "writes do not go on"

    def master(self) -> str:
        return str(self.status()["current_master"])

    def replica(self) -> str:
        replicas = self.status()["replicas"]
        assert isinstance(replicas, list)
        return str(replicas[0])

    def _send(self, name: str, number: signal.Signals) -> None:
        os.kill(self._cluster.record(name)["pid"], number)

    async def kill(self, name: str) -> Pause:
        pause = await self.pause(self._sending(name, signal.SIGKILL))
        await asyncio.to_thread(self._cluster.start, name)
        return pause

    async def freeze(self, name: str) -> Pause:
        pause = await self.pause(self._sending(name, signal.SIGSTOP))
        self._send(name, signal.SIGCONT)
        return pause

    def _sending(self, name: str, number: signal.Signals) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            self._send(name, number)

        return send

    async def nothing(self) -> Pause:
        async def nothing() -> None:
            return

        return await self.pause(nothing)

    async def switch(self) -> Pause:
        target = self.replica()

        async def switch() -> None:
            url = self._cluster.url("coordinator") + "/switchover"
            answer = await asyncio.to_thread(httpx.post, url, json={"to": target}, timeout=15, trust_env=False)
            assert answer.json()["success"], answer.text

        return await self.pause(switch)

    async def restart(self) -> Pause:
        """From the new process's start to its first acknowledgement."""
        answers = self._load.record.answers
        await asyncio.to_thread(self._cluster.kill, "coordinator")
        began_ns = time.monotonic_ns()
        starting = asyncio.create_task(asyncio.to_thread(self._cluster.start, "coordinator"))
        while not any(each.status == 200 and each.answered_ns > began_ns for each in answers[-50:]):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)  # the load is not made to be listened to
        ended_ns = time.monotonic_ns()
        await starting
        return Pause((ended_ns - began_ns) / 1e6, self._disk.longest_ms(began_ns, ended_ns))


CASES: dict[str, Callable[[Bench], Awaitable[Pause]]] = {
    "nothing": Bench.nothing,
    "kill-master": lambda bench: bench.kill(bench.master()),
    "freeze-master": lambda bench: bench.freeze(bench.master()),
    "kill-replica": lambda bench: bench.kill(bench.replica()),
    "freeze-replica": lambda bench: bench.freeze(bench.replica()),
    "switchover": Bench.switch,
    "restart-coordinator": Bench.restart,
}


def line(name: str, pauses: list[Pause]) -> str:
    ordered = sorted(pauses)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    longest = ", ".join(f"{pause.ms:.0f} ({pause.disk_ms:.0f})" for pause in ordered[-3:])
    median = statistics.median(pause.ms for pause in ordered)
    return f"| {name} | {len(ordered)} | {ordered[0].ms:.0f} | {median:.0f} | {p99.ms:.0f} | {longest} |"


async def measure(cluster: ClusterHandle, name: str, runs: int, clients: int, disk: DiskProbe) -> Record:
    load = Load(cluster.port("coordinator"), clients, f"{name}-{time.time_ns()}")
    running = asyncio.create_task(load.run())
    bench = Bench(cluster, load, disk)
    pauses = []
    for _ in range(runs):
        await bench.until_level()
        await asyncio.sleep(APART_S)  # see there
        pauses.append(await CASES[name](bench))
    await bench.until_level()
    load.stop()
    record = await running
    print(line(name, pauses), record.statuses(), flush=True)
    return record


async def starve(cluster: ClusterHandle, clients: int, disk: DiskProbe) -> None:
    """Elections of a healthy cluster while every core has another busy process on it."""
    load = Load(cluster.port("coordinator"), clients, f"starve-{time.time_ns()}")
    bench = Bench(cluster, load, disk)
    await bench.until_level()
    before = bench.status()["epoch"]
    count = 2 * (os.cpu_count() or 1)
    busy = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(count)]
    try:
        running = asyncio.create_task(load.run())
        await asyncio.sleep(STARVE_S)  # so long it starves
        load.stop()
        record = await running
    finally:
        for process in busy:
            process.kill()
            await process.wait()
    epochs = int(str(bench.status()["epoch"])) - int(str(before))
    print(
        f"starve: {epochs} elections in {STARVE_S:.0f} s with {len(busy)} busy processes, {record.statuses()}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Distributions of the pauses that faults cause.")
    parser.add_argument("cases", nargs="*", choices=[*CASES, "starve", []], metavar="CASE")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    # hundreds of thousands of answers are kept: to look through them for garbage would be a pause of its own
    gc.disable()
    with tempfile.TemporaryDirectory(prefix="failover-bench-") as folder, private_cluster(Path(folder)) as cluster:
        disk = DiskProbe(Path(folder, "flushed"))
        try:
            print(
                "| fault | runs | min ms | p50 ms | p99 ms | the three longest (the disk's longest flush meanwhile) | answers |\n"
                "|---|---|---|---|---|---|---|"
            )
            for name in options.cases or [*CASES, "starve"]:
                if name == "starve":
                    asyncio.run(starve(cluster, options.clients, disk))
                    continue
                record = asyncio.run(measure(cluster, name, options.runs, options.clients, disk))
                wait_until_equal(cluster, within_s=15)
                check_record(cluster, record, record.answers[0].marker.rpartition("-")[0])
        finally:
            disk.close()


if __name__ == "__main__":
    main()
