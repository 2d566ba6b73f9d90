"""What runs of a cluster, and whether it answers: everything is looked at anew, nothing is remembered between two commands.

A member runs if a process with the cluster's mark leads a session in its name (local_process.py). What is found is written down
for people and tools (cluster.json, run/NAME.pid); no pid is ever read back, since it may be another program's by then.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import local_process
from cluster_layout import BY_NAME, HOST, MEMBERS, Layout, make_private_folder, write_private
from local_process import LocalProcess
from runner_console import CannotRun, Progress, locked

LOG_TAIL_LINES = 15


class ClusterProcesses:
    """The members' processes. Whoever commands them does so within `_command`."""

    def __init__(self, cluster_dir: Path, port_offset: int | None, progress: Progress) -> None:
        self.layout = Layout(cluster_dir, port_offset or 0)
        self._wanted_offset = port_offset
        self._progress = progress
        self._started: dict[str, LocalProcess] = {}

    # --- what is true now

    def _found(self) -> list[LocalProcess]:
        return local_process.find_processes(self.layout.cluster_dir)

    def _running(self) -> dict[str, LocalProcess]:
        """The members that run. A child that a service started carries the mark too, but does not lead a session."""
        # what was started a moment ago shows no mark while the kernel is exchanging its program
        started = {name: process for name, process in self._started.items() if not local_process.is_gone(process)}
        return started | {name: processes[-1] for name, processes in self._processes().items()}

    def _processes(self) -> dict[str, list[LocalProcess]]:
        """The members' processes, a node's supervisor before its server. (Between two runs of the server it is alone.)"""
        found: dict[str, list[LocalProcess]] = {}
        for process in self._found():
            name = process.name.removesuffix(local_process.SUPERVISOR)
            if process.leads_session and name in BY_NAME:
                found.setdefault(name, []).append(process)
        for processes in found.values():
            processes.sort(key=lambda process: not process.name.endswith(local_process.SUPERVISOR))
        return found

    @contextlib.contextmanager
    def _command(self) -> Iterator[dict[str, LocalProcess]]:
        self.layout.cluster_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.layout.cluster_dir / "lock", self._progress):
            running = self._running()
            self._keep_ports_of(running)
            for folder in self.layout.folders:
                make_private_folder(folder)
            try:
                yield running
            finally:
                self._publish()

    def _keep_ports_of(self, running: dict[str, LocalProcess]) -> None:
        """PORT_OFFSET counts when a cluster is started; what runs keeps its ports."""
        if not running or not self.layout.record.exists():
            return
        stored = int(json.loads(self.layout.record.read_text())["port_offset"])
        if self._wanted_offset not in (None, stored):
            raise CannotRun(f"the cluster runs with PORT_OFFSET={stored}: `make down` first, or set that.")
        self.layout = Layout(self.layout.cluster_dir, stored)

    def _publish(self) -> None:
        """Write down what runs, for people and tools. No pid is ever read back."""
        running, rows = self._running(), []
        for member in MEMBERS:
            process, pid_file = running.get(member.name), self.layout.pid_file(member.name)
            row: dict[str, object] = {"name": member.name, "kind": member.kind, "host": HOST}
            row |= {"port": self.layout.port(member.name), "pid": process.pid if process else None}
            row |= {"log": str(self.layout.log(member.name))}
            if member.kind == "node":
                row |= {"socket": str(self.layout.socket(member.name)), "data": str(self.layout.data(member.name))}
            rows.append(row)
            if process is None:
                pid_file.unlink(missing_ok=True)
            else:
                pid_file.write_text(f"{process.pid}\n")
        write_private(
            self.layout.record, json.dumps({"port_offset": self.layout.port_offset, "processes": rows}, indent=2) + "\n"
        )

    def _supervisors(self, processes: Sequence[LocalProcess]) -> list[LocalProcess]:
        """Those of the nodes among `processes`: they end with them, and before they could start them again."""
        found = self._processes()
        return [first for process in processes for first in found.get(process.name, [])[:-1]]

    # --- waiting: a probe answers with None when it is satisfied, else with what it saw

    def _node_answers(self, name: str) -> str | None:
        return None if local_process.mysql_answers(self.layout.port(name)) else "does not answer"

    def _service_answers(self, name: str) -> str | None:
        return None if self._health(name) else "does not answer"

    def _health(self, name: str, path: str = "/health") -> tuple[int, str] | None:
        return local_process.http_health(self.layout.port(name), path=path, with_tls=self.layout.has_tls)

    def _is_ready(self, name: str) -> str | None:
        """Of the coordinator: writes are taken."""
        path = "/ready" if name == "coordinator" else "/health"
        answer = self._health(name, path)
        if answer is None:
            return f"does not answer GET {path}"
        return None if answer[0] == 200 else f"answers GET {path} with {answer[0]}: {answer[1]}"

    def _wait(self, processes: Sequence[LocalProcess], probe: Callable[[str], str | None], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        left = {process.name: process for process in processes}
        while left:
            for name, process in list(left.items()):
                is_gone = local_process.is_gone(process)
                seen = "has ended" if is_gone else probe(name)
                if seen is None:
                    self._progress.say(f"{name} answers at {HOST}:{self.layout.port(name)}")
                    del left[name]
                elif is_gone or time.monotonic() > deadline_s:
                    raise CannotRun(f"{name} {seen}. The end of {self.layout.log(name)}:\n{self._log_tail(name)}")
            if left:
                self._progress.waiting(f"waiting for {', '.join(left)}")
                time.sleep(0.05)  # a starting process tells nobody: asked again
        self._progress.clear()

    def _log_tail(self, name: str) -> str:
        log = self.layout.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:])

    def _state(self, name: str, running: dict[str, LocalProcess]) -> str:
        if name not in running:
            return "down"
        if local_process.is_frozen(running[name]):
            return "frozen"
        seen = self._node_answers(name) if BY_NAME[name].kind == "node" else self._is_ready(name)
        return seen or "answers"
