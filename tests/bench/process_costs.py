"""What a system's processes used: processor time and bytes written, as the kernel counts them for each process.

Every process of the system under test counts, and nothing else: those that carry the mark of its folder (local_process.py). The
load generator is none of them.

Hard case: an acknowledged write is not over. Replicas still apply it, and a system that leaves more of its work for later would
look cheap. So the count ends when the system has become calm again, or after `CALM_S_MAX` if it never does.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_process import LocalProcess, find_processes

CALM_CORES = 0.25
"""Calm is who uses less than this of one core."""
CALM_S_MAX = 3.0
LOOK_S = 0.25
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessCost:
    name: str
    cpu_s: float
    written_bytes: int


@dataclass(frozen=True)
class Costs:
    """Of one stretch of time. `cpu_s` by group of processes."""

    cpu_s: Mapping[str, float]
    written_bytes: int


Snapshot = Mapping[tuple[int, int], ProcessCost]


def parse_cpu_ticks(stat: str) -> int:
    """proc(5): fields 14 and 15 of /proc/PID/stat; the name in parentheses before them may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def parse_written_bytes(io: str) -> int:
    """Bytes that the process made the kernel send to storage, through its cache or past it."""
    return next(int(line.partition(":")[2]) for line in io.splitlines() if line.startswith("write_bytes"))


def _cost_of(process: LocalProcess) -> ProcessCost | None:
    folder = Path("/proc", str(process.pid))
    try:
        ticks = parse_cpu_ticks((folder / "stat").read_text(errors="replace"))
        written = parse_written_bytes((folder / "io").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ProcessCost(process.name, ticks / _TICKS_PER_S, written)


def costs_so_far(folder: Path) -> Snapshot:
    """Of every process of this system, since it began."""
    costs = {(process.pid, process.start_ticks): _cost_of(process) for process in find_processes(folder)}
    return {key: cost for key, cost in costs.items() if cost is not None}


def costs_between(before: Snapshot, after: Snapshot, group_of: Callable[[str], str]) -> Costs:
    """A process that ended meanwhile is left out, one that began counts from its beginning."""
    cpu_s: dict[str, float] = {}
    written = 0
    for key, cost in sorted(after.items()):
        earlier = before.get(key, ProcessCost(cost.name, 0.0, 0))
        group = group_of(cost.name)
        cpu_s[group] = cpu_s.get(group, 0.0) + cost.cpu_s - earlier.cpu_s
        written += cost.written_bytes - earlier.written_bytes
    return Costs(cpu_s, written)


def wait_until_calm(folder: Path) -> Snapshot:
    """Wait until the system is done with what it was asked; answers with its costs so far."""
    deadline_s = time.monotonic() + CALM_S_MAX
    seen = costs_so_far(folder)
    while True:
        time.sleep(LOOK_S)  # the time that the use is measured over
        now = costs_so_far(folder)
        used = costs_between(seen, now, lambda _: "all").cpu_s.get("all", 0.0)
        if used < CALM_CORES * LOOK_S or time.monotonic() > deadline_s:
            return now
        seen = now
