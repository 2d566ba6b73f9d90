"""The live cluster of an experiment: real servers and services, with a proxy before each node and each timestamp server.

A delay is put on a line, not on a server: every byte between the services and that node comes so much later, in both directions
(tests/faults/tcp_proxy.py). So the node does what it always does, from far away, and the collector's probes see what the
coordinator's commands see.

The coordinator is the experiment's to choose: the shipped one, the shipped one with other settings, or a variant of it. Whichever
it is, it stands in the place of the runner's, with its port, command line, environment and mark; so clients need not know, and
whoever takes the cluster down ends it too. One that starts takes over from whoever served before.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cluster_handle import ClusterHandle, private_cluster
from free_ports import free_port_offset
from node_lines import NodeLines, node_lines
from waiting import wait_until

from cluster_layout import BY_NAME, HOST, NODES, ROOT, Layout
from local_process import http_health
from runner_console import CannotRun

HERE = Path(__file__).parent
SHIPPED = "main:app"
MASTER = NODES[0].name
REPLICAS = tuple(node.name for node in NODES[1:])
TIMESTAMP_SERVERS = ("timestamp-1", "timestamp-2")
READY_S = 30.0
LEVEL_S = 60.0
STOP_S = 20.0
TRIES_MAX = 5
Found = TypeVar("Found")


class ExperimentCluster:
    """The cluster, its lines and its coordinator. Every method returns when its effect is there."""

    def __init__(self, handle: ClusterHandle, lines: NodeLines) -> None:
        self.handle = handle
        self.lines = lines
        self.port = handle.port("coordinator")
        self._layout = Layout(handle.folder, handle.port_offset)
        pid = handle.pids()["coordinator"]
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
        self._environment = {name: value for name, _, value in (pair.partition("=") for pair in pairs if "=" in pair)}
        handle.stop("coordinator")

    @contextlib.contextmanager
    def coordinator(self, settings: Mapping[str, str] | None = None, app: str = SHIPPED) -> Iterator[None]:
        """A coordinator that serves, with `settings` beside (or instead of) the runner's; gone afterwards."""
        environment = {**self._environment, **(settings or {})}
        environment["PYTHONPATH"] = os.pathsep.join((environment["PYTHONPATH"], str(HERE)))
        command = self._layout.service_command("coordinator", Path(sys.executable))
        command[command.index(SHIPPED)] = app
        log = self._layout.log("coordinator")
        with (
            log.open("ab") as output,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                wait_until(self._is_ready, READY_S)
                yield
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed
                    process.wait(STOP_S)
                process.kill()

    def _is_ready(self) -> bool:
        return (http_health(self.port, path="/ready") or (0, ""))[0] == 200

    def delay(self, delay_ms_by_name: Mapping[str, float]) -> None:
        """Each byte on these lines comes so much later, each way; 0: at once. The other lines stay as they are."""
        for name, delay_ms in delay_ms_by_name.items():
            if delay_ms:
                self.lines.delay(name, delay_ms)
            else:
                self.lines.heal(name)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.handle.get("coordinator", "/status").json()
        return answer

    def wait_until_level(self) -> None:
        """All four nodes are level members."""
        deadline_s = time.monotonic() + LEVEL_S
        while True:
            status = self.status()
            if [(node["state"], node["member"]) for node in status["nodes"].values()] == [("level", True)] * len(NODES):
                return
            assert time.monotonic() < deadline_s, f"not level after {LEVEL_S:.0f} s: {status}"
            time.sleep(0.05)  # nobody tells: looked again

    def make_master(self, name: str) -> None:
        """A planned switchover, if it is not the master already."""
        self.wait_until_level()
        answer = httpx.post(
            self.handle.url("coordinator") + "/switchover", json={"to": name}, timeout=READY_S, trust_env=False
        )
        assert answer.json()["success"], answer.text

    def undisturbed(self, measure: Callable[[], Found], say: Callable[[str], None]) -> Found:
        """What `measure` finds while mysql-master is master all the time. A starved machine makes the coordinator miss a node and
        elect another one, maybe at the end of a long line; then what was found is thrown away and measured again."""
        for _ in range(TRIES_MAX):
            self.make_master(MASTER)
            epoch = self.status()["epoch"]
            found = measure()
            if self.status()["epoch"] == epoch:
                return found
            say("an election came in between: measured again")
        raise CannotRun(f"{TRIES_MAX} times an election came in between: this machine is too busy to measure anything.")


@contextlib.contextmanager
def experiment_cluster(folder: Path) -> Iterator[ExperimentCluster]:
    """Up, with nobody in the coordinator's place; gone afterwards, in whichever way we end. The logs stay in `folder`."""
    offset = free_port_offset()
    behind_proxies = (*(node.name for node in NODES), *TIMESTAMP_SERVERS)
    with node_lines({name: BY_NAME[name].base_port + offset for name in behind_proxies}) as lines:
        nodes = ",".join(f"{node.name}={HOST}:{lines.ports[node.name]}" for node in NODES)
        with private_cluster(folder, environment={"NODES": nodes}, port_offset=offset) as handle:
            yield ExperimentCluster(handle, lines)
