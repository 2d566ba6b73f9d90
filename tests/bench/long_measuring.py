"""What only the project is asked: whether it grows with what it has written, and what it uses while nobody asks anything.

Growth: INSERTs at 64 clients in stretches of 20 s until so many are acknowledged. The first and the last stretch are compared;
after each, the coordinator's memory and every node's log are looked at, by commands that cost next to nothing.

Idle: the processor time of all ten processes, and of four servers with the same options and data that nobody is connected to; the
difference is what the cluster costs a machine on which nothing happens.
"""

import time
from collections.abc import Callable
from pathlib import Path

from cluster_handle import ClusterHandle, private_cluster
from load_generators import run_load
from measuring import Plan, Say, warm_up
from process_costs import costs_between, costs_so_far, wait_until_calm
from project_system import PROJECT, ProjectSystem, running_project
from results import GrowthStretch, IdleUse, Results
from systems import FILLED_ROWS, emptied

from cluster_layout import NODES
from local_process import SUPERVISOR

CLIENTS = 64
SETTLE_S = 10.0
ROWS = "SELECT COUNT(*) FROM distributed_db.users"
_MB = 1 << 20
_KEPT = "SELECT MAX(bytes_total) - MIN(bytes_total) FROM _replication.log"
"""Bytes of payload in all rows of the log but its first one."""


def measure_growth(
    results: Results, plan: Plan, writes: int, stretch_s: float, say: Say, keep: Callable[[], None]
) -> None:
    with running_project(plan.folder / PROJECT.name, False) as system:
        warm_up(system, PROJECT)
        so_far = 0
        while so_far < writes:
            load = run_load(system.protocol, system.port, "insert", CLIENTS, stretch_s)
            so_far += load.operations
            if load.errors:
                results.note("growth", f"{load.errors} errors before write {so_far:,}")
            found = _stretch(system, so_far, load.per_second)
            results.growth.append(found)
            say(
                f"  {so_far:>9,} writes: {found.per_second:,.0f}/s, coordinator {found.coordinator_rss_mb:.0f} MB, "
                f"log {max(found.log_payload_mb.values()):.0f} MB"
            )
            keep()
        system.wait_until_level()
        wait_until_calm(system.folder)
        rows = {node.name: int(system.handle.rows_on(node.name, ROWS)[0][0]) for node in NODES}
        say(f"  rows: {rows}")
        # a write that was under way when its client was stopped may be there as well
        if len(set(rows.values())) > 1 or min(rows.values()) < so_far + FILLED_ROWS:
            results.note(
                "growth", f"{so_far:,} writes were acknowledged after {FILLED_ROWS:,} rows, but there are {rows}"
            )


def _stretch(system: ProjectSystem, so_far: int, per_second: float) -> GrowthStretch:
    handle = system.handle
    return GrowthStretch(
        writes_so_far=so_far,
        per_second=per_second,
        coordinator_rss_mb=_rss_mb(handle),
        log_payload_mb={node.name: int(handle.rows_on(node.name, _KEPT)[0][0]) / _MB for node in NODES},
        log_file_mb={
            node.name: (handle.node(node.name).data / "_replication" / "log.ibd").stat().st_size / _MB for node in NODES
        },
    )


def _rss_mb(handle: ClusterHandle) -> float:
    status = Path(f"/proc/{handle.pids()['coordinator']}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def measure_idle(results: Results, plan: Plan, seconds: float, say: Say) -> None:
    with running_project(plan.folder / PROJECT.name, False) as system:
        used = _percent_of_a_core(system.folder, seconds)
    with private_cluster(emptied(plan.folder / PROJECT.name), only=[node.name for node in NODES]) as bare:
        alone = _percent_of_a_core(bare.folder, seconds)
    nodes = {node.name for node in NODES}
    found = IdleUse(
        seconds=seconds,
        services={name: percent for name, percent in used.items() if name not in nodes},
        servers=sum(used[name] for name in nodes),
        bare_servers=sum(alone[name] for name in nodes),
    )
    results.idle.append(found)
    say(
        f"  services {sum(found.services.values()):.1f} %, servers {found.servers:.1f} %, bare {found.bare_servers:.1f} %"
    )


def _percent_of_a_core(folder: Path, seconds: float) -> dict[str, float]:
    """By process; a node's supervisor counts as its server."""
    time.sleep(SETTLE_S)  # what the start left to do is none of it
    before, began_s = costs_so_far(folder), time.monotonic()
    time.sleep(seconds)  # so long it is measured
    spent = costs_between(before, costs_so_far(folder), lambda name: name.removesuffix(SUPERVISOR))
    return {name: 100 * cpu_s / (time.monotonic() - began_s) for name, cpu_s in spent.cpu_s.items()}
