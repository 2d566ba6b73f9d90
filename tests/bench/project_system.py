"""The project as a system under test: a cluster of its own as `make up` starts it, asked by POST /query.

Reads are strong, the default: they see every write that was acknowledged before they began. Costs are told apart: the
coordinator, the five other services, the four servers.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from cluster_handle import ClusterHandle, private_cluster
from free_ports import free_port_offset
from local_mysqld import local_mysqld
from node_lines import NodeLines, node_lines
from systems import INSERT, Door, RunningSystem, SystemKind, emptied, short_version

from cluster_layout import BY_NAME, HOST, NODES
from local_process import SUPERVISOR

LEVEL_S = 60.0
WRITE_S = 30.0


class ProjectSystem(RunningSystem):
    protocol = "http"

    def __init__(self, handle: ClusterHandle, lines: NodeLines | None) -> None:
        self.handle = handle
        self.folder = handle.folder
        self.port = handle.port("coordinator")
        self._lines = lines
        self._client = httpx.Client(base_url=handle.url("coordinator"), timeout=WRITE_S, trust_env=False)

    def execute(self, sql: str) -> None:
        answer = self._client.post("/query", json={"query": sql})
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} {answer.text[:300]}")

    def group_of(self, process: str) -> str:
        if process == "coordinator":
            return "coordinator"
        return "servers" if BY_NAME[process.removesuffix(SUPERVISOR)].kind == "node" else "other services"

    def server_pid(self, place: int) -> int:
        pid = self.handle.pids()[NODES[place].name]
        assert pid is not None
        return pid

    def doors(self) -> Sequence[Door]:
        # a client has one address, whoever is master
        return [self.write_anew]

    def write_anew(self) -> None:
        """On a connection of its own."""
        self.handle.query(INSERT, timeout_s=WRITE_S).raise_for_status()

    def wait_until_level(self) -> None:
        """All four are level members, and the first node is the master."""
        deadline_s = time.monotonic() + LEVEL_S
        while True:
            status = self.handle.get("coordinator", "/status").json()
            states = [(node["state"], node["member"]) for node in status["nodes"].values()]
            if states == [("level", True)] * len(NODES):
                if status["current_master"] == NODES[0].name:
                    return
                self._client.post("/switchover", json={"to": NODES[0].name})
            assert time.monotonic() < deadline_s, f"not level after {LEVEL_S:.0f} s: {status}"
            time.sleep(0.05)  # nobody tells: looked again

    @contextlib.contextmanager
    def delayed(self, delay_ms: float) -> Iterator[None]:
        assert self._lines is not None, "it was started without a proxy"
        self._lines.delay(NODES[1].name, delay_ms)
        try:
            yield
        finally:
            self._lines.heal(NODES[1].name)

    def close(self) -> None:
        self._client.close()


@contextlib.contextmanager
def running_project(folder: Path, with_proxy: bool) -> Iterator[ProjectSystem]:
    folder, offset = emptied(folder), free_port_offset()
    ports = {node.name: node.base_port + offset for node in NODES}
    environment: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        lines = None
        if with_proxy:
            # before the one node alone: a proxy before all four would take a share of the cores that no network takes
            slow = NODES[1].name
            lines = stack.enter_context(node_lines({slow: ports[slow]}))
            addresses = {**ports, **lines.ports}
            environment["NODES"] = ",".join(f"{name}={HOST}:{port}" for name, port in addresses.items())
        handle = stack.enter_context(private_cluster(folder, environment=environment, port_offset=offset))
        system = ProjectSystem(handle, lines)
        stack.callback(system.close)
        system.wait_until_level()
        yield system


PROJECT = SystemKind(
    name="project",
    title="this project",
    promise="a write is on the disks of the master and two replicas; a read sees every acknowledged write (strong)",
    start=running_project,
    version=lambda: f"this checkout on {short_version(local_mysqld())}",
)
