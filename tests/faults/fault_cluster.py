"""A cluster that can be harmed: ten real processes, a proxy before each node, a disk of its own for whoever keeps data.

It also says what "healed" means: all processes run, writes are taken, all four nodes are level members. A node that lost
its disk may take long to be filled, so waiting for that is bounded twice: a state that does not change for
`STANDSTILL_S` is a failure, and so is one that still changes after `LEVEL_S_MAX`.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cluster_handle import ClusterHandle, private_cluster
from free_ports import free_port_offset
from loop_disk import LoopDisk, loop_disks
from node_lines import NodeLines, node_lines
from second_coordinator import second_coordinator

from cluster import CACHE
from cluster_layout import BY_NAME, MEMBERS, NODES, ROOT, Layout
from local_process import SUPERVISOR, find_processes, is_frozen
from mysql_server import find_mysqld, template_folder
from runner_console import Progress, locked

TABLES = Path(__file__).with_name("workload_tables.sql")
STANDSTILL_S = 30.0
LEVEL_S_MAX = 300.0
STATUS_S = 3.0
DISK_BYTES = 6 << 30
"""Of a file with holes: only what is written takes space."""


def _quietly(_: str) -> None:
    return None


def new_data_folder(disk: LoopDisk) -> None:
    """What a node begins with, onto a new disk. (The runner cannot: it makes the folder anew, and this is a mount point.)"""
    folder = disk.mount_point
    with locked(CACHE / "lock", Progress()):
        mysqld = find_mysqld(CACHE, _quietly)
        init_sql = Layout.init_sql({"EXTRA_SQL": str(TABLES)})
        template = template_folder(mysqld, ROOT / NODES[0].source, init_sql, CACHE, _quietly)
        shutil.copytree(template, folder, dirs_exist_ok=True)
    folder.chmod(0o700)
    disk.flush()


@dataclass
class FaultCluster:
    """The cluster and what surrounds it. `master` is the one that was seen last."""

    handle: ClusterHandle
    lines: NodeLines
    disks: dict[str, LoopDisk]
    master: str = NODES[0].name
    _second: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    # --- a second coordinator

    def start_second_coordinator(self) -> None:
        """Returns when it has taken over."""
        pid, log = self.handle.pids()["coordinator"], self.handle.folder / "log" / "second-coordinator.log"
        assert pid is not None
        self._second.enter_context(second_coordinator(pid, (), log))

    def end_second_coordinator(self) -> None:
        self._second.close()

    # --- looking

    def status(self) -> dict[str, Any] | None:
        """None: the coordinator does not answer."""
        with contextlib.suppress(httpx.HTTPError):  # no answer is an answer
            answer: dict[str, Any] = self.handle.get("coordinator", "/status", timeout_s=STATUS_S).json()
            self.master = answer["current_master"] or self.master
            return answer
        return None

    def name_of(self, role: str) -> str:
        """Who has this role now: "master", "other-1" …, or the name of a service."""
        others = [node.name for node in NODES if node.name != self.master]
        if role.startswith("other-"):
            return others[int(role.removeprefix("other-")) - 1]
        return self.master if role == "master" else role

    def running(self) -> set[str]:
        """A server that its supervisor is just starting again, with a copy of another's data, counts as one that runs."""
        leaders = (process.name for process in find_processes(self.handle.folder) if process.leads_session)
        return {name.removesuffix(SUPERVISOR) for name in leaders} & set(BY_NAME)

    def processes(self) -> set[tuple[str, int]]:
        """Name and pid of everything that runs: equal before and after, if nothing has ended meanwhile."""
        return {(process.name, process.pid) for process in find_processes(self.handle.folder)}

    def frozen(self) -> list[str]:
        return sorted({process.name for process in find_processes(self.handle.folder) if is_frozen(process)})

    # --- healing

    def heal(self) -> None:
        """Whatever was done to it, undo it. May be called at any time, and more than once."""
        self.lines.heal_all()
        self.end_second_coordinator()
        for disk in self.disks.values():
            disk.give_space_back()
        if frozen := self.frozen():
            self.handle.thaw(*frozen)
        self.handle.up()

    def wait_until_level(self) -> None:
        """All four nodes are level members, and writes are taken."""
        changed_s, seen = time.monotonic(), ""
        deadline_s = changed_s + LEVEL_S_MAX
        while True:
            missing = set(BY_NAME) - self.running()
            assert not missing, f"{', '.join(sorted(missing))} does not run"
            status = self.status()
            nodes = status["nodes"] if status else {}
            states = [(node["state"], node["member"]) for node in nodes.values()]
            if status and status["current_master"] and states == [("level", True)] * len(NODES):
                return
            now = f"master {status['current_master']}, {nodes}" if status else "the coordinator does not answer"
            if now != seen:
                changed_s, seen = time.monotonic(), now
            assert time.monotonic() - changed_s < STANDSTILL_S, f"for {STANDSTILL_S:.0f} s nothing changed: {seen}"
            assert time.monotonic() < deadline_s, f"not level after {LEVEL_S_MAX:.0f} s: {seen}"
            time.sleep(0.1)  # nobody tells: looked again


@contextlib.contextmanager
def fault_cluster(folder: Path, *, with_disks: bool = True) -> Iterator[FaultCluster]:
    """Up and taking writes; gone afterwards, in whichever way the test run ends. The logs stay in `folder`."""
    offset = free_port_offset()
    targets = {node.name: node.base_port + offset for node in NODES}
    keepers = [member.name for member in MEMBERS if member.kind == "node" or member.has_state]
    cluster_dir = folder.resolve()
    places = {name: cluster_dir / "data" / name for name in keepers}
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(node_lines(targets))
        disks: dict[str, LoopDisk] = {}
        if with_disks:
            disks = stack.enter_context(loop_disks(places, cluster_dir / "disks", DISK_BYTES, cluster_dir))
            for node in NODES:
                new_data_folder(disks[node.name])
        environment = {"EXTRA_SQL": str(TABLES), "NODES": lines.addresses}
        with private_cluster(folder, environment=environment, port_offset=offset) as handle:
            cluster = FaultCluster(handle, lines, disks)
            cluster.wait_until_level()
            try:
                yield cluster
            finally:
                cluster.end_second_coordinator()
