"""Run the whole cluster on this machine: four MySQL servers and six services, on loopback, without a container.

It runs on a bare Python >= 3.11 (standard library only), because it is what makes the virtual environment. It keeps no
process of its own: every command looks at what runs (cluster_processes.py), does its part, and writes down what is true
now. So any command may be repeated, and may be interrupted at any point and repeated.

Environment: CLUSTER_DIR (.cluster) and PORT_OFFSET (0) let clusters live side by side; MYSQLD names the server to run;
EXTRA_SQL is a file of tables of your own that every node begins with; NODES puts proxies in front of the nodes;
*_DB_PASSWORD are made up unless they are set. Tokens (ACCESS_TOKENS, ACCESS_TOKENS_FILE, SERVICE_TOKEN) and certificates
(UVICORN_SSL_CERTFILE, UVICORN_SSL_KEYFILE, SSL_CERT_FILE) are kept with the cluster until they are set to others, or to nothing.
All other variables are handed on to the services.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import local_process
import mysql_server
from cluster_layout import BY_NAME, HOST, MEMBERS, NODES, ROOT, SERVICES, make_private_folder, write_private
from cluster_processes import ClusterProcesses
from local_process import LocalProcess
from python_environment import prepare_python
from runner_console import CannotRun, Progress, locked

CACHE = ROOT / ".mysql"
START_S = 90.0  # a node that was killed may have a log to recover
HEALTHY_S = 60.0
# a service answers what is in flight first, 12 s at most (coordinator/draining.py), then uvicorn waits 3 s for the rest
STOP_S = {"node": 30.0, "service": 20.0}
FREEZE_S = 5.0


class Cluster(ClusterProcesses):
    """The commands. Each holds the cluster's lock from its first look at what runs to its last line written down."""

    # --- starting

    def up(self) -> None:
        with self._command() as running:
            self._start([member.name for member in MEMBERS if member.name not in running], running)
            self._wait([self._running()["coordinator"]], self._is_ready, HEALTHY_S)
        self._progress.say(f"the cluster takes writes: POST {self.layout.url('coordinator')}/query")

    def start(self, names: Sequence[str]) -> None:
        with self._command() as running:
            for name in (name for name in names if name in running):
                if local_process.is_frozen(running[name]):
                    raise CannotRun(f"{name} runs, but is frozen: `make thaw NODE={name}`.")
                self._progress.say(f"{name} runs already")
            self._start([name for name in names if name not in running], running)

    def _start(self, names: Sequence[str], running: Mapping[str, LocalProcess]) -> None:
        ports = {self.layout.port(name) for name in names}
        taken = [str(port) for port in sorted(ports) if not local_process.port_is_free(port)]
        if taken:
            raise CannotRun(f"port {', '.join(taken)} is taken by another program: end it, or set PORT_OFFSET.")
        init_sql = self.layout.init_sql(os.environ)
        passwords = self.layout.passwords(init_sql, os.environ, is_running=bool(running))
        access = self.layout.access(os.environ, is_running=bool(running))
        nodes = [node.name for node in NODES if node.name in names]
        services = [service.name for service in SERVICES if service.name in names]
        with locked(CACHE / "lock", self._progress), ThreadPoolExecutor() as both:
            # a download and an installation that have nothing to do with each other
            mysqld = both.submit(self._prepare_nodes, nodes, init_sql) if nodes else None
            python = both.submit(prepare_python, ROOT, self._progress.say) if services else None
        if mysqld:
            write_private(self.layout.accounts_file, mysql_server.accounts_sql(init_sql, passwords))
            self._start_nodes(nodes, mysqld.result())
        if python:
            self._start_services(services, python.result(), {**os.environ, **access}, passwords)

    def _prepare_nodes(self, names: Sequence[str], init_sql: str) -> Path:
        mysqld = mysql_server.find_mysqld(CACHE, self._progress.say)
        new = [name for name in names if not self.layout.data(name).exists()]
        if new:
            config = ROOT / NODES[0].source
            template = mysql_server.template_folder(mysqld, config, init_sql, CACHE, self._progress.say)
            for name in new:
                mysql_server.copy_template(template, self.layout.data(name))
        return mysqld

    def _start_nodes(self, names: Sequence[str], mysqld: Path) -> None:
        environment = self.layout.node_environment(os.environ)
        for name in names:
            mysql_server.remove_stale_socket(self.layout.socket(name))
            command = mysql_server.node_command(mysqld, self.layout.node_files(name))
            command = local_process.supervised(command, name=name, cluster_dir=self.layout.cluster_dir)
            self._spawn(name, command, environment, suffix=local_process.SUPERVISOR)
        self._wait([self._started[name] for name in names], self._node_answers, START_S)

    def _start_services(
        self, names: Sequence[str], python: Path, inherited: Mapping[str, str], passwords: Mapping[str, str]
    ) -> None:
        commands = {name: self.layout.service_command(name, python) for name in names}
        for name, command in commands.items():
            if BY_NAME[name].has_state:
                make_private_folder(self.layout.data(name))
            self._spawn(name, command, self.layout.service_environment(name, inherited, passwords))
        self._wait([self._started[name] for name in names], self._service_answers, START_S)

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str], suffix: str = "") -> None:
        process = local_process.spawn(
            command,
            name=name + suffix,
            cluster_dir=self.layout.cluster_dir,
            environment=environment,
            working_dir=ROOT,
            log=self.layout.log(name),
        )
        self._started[name] = dataclasses.replace(process, name=name)
        # at once, and not only at the end: whoever interrupts us finds the pid
        self._publish()

    # --- stopping, and the other things that happen to processes

    def down(self) -> None:
        if not self.layout.cluster_dir.exists():
            self._progress.say(f"there is no cluster in {self.layout.cluster_dir}")
            return
        with self._command():
            self._end_everything()

    def _end_everything(self) -> None:
        """The coordinator first, whose last requests may need all others; then the other services, so that nobody sees the nodes
        go; then the nodes, and whatever else carries our mark, until nothing does."""
        helpers = [service.name for service in SERVICES if service.name != "coordinator"]
        for names in (["coordinator"], helpers, [node.name for node in NODES]):
            running = self._running()
            self._terminate([running[name] for name in names if name in running])
        # if the cache is in use, whoever uses it is alive and looks after it
        with (
            contextlib.suppress(CannotRun),  # the cache is in use
            locked(CACHE / "lock", self._progress, wait_s=0),
        ):
            mysql_server.end_orphans(CACHE)
        while left := [process for process in self._found() if not local_process.is_gone(process)]:
            local_process.terminate(left, STOP_S["service"])
        self._progress.say("nothing of this cluster runs any more")

    def _terminate(self, processes: Sequence[LocalProcess]) -> None:
        if not processes:
            return
        self._progress.waiting(f"stopping {', '.join(process.name for process in processes)}")
        timeout_s = max(STOP_S[BY_NAME[process.name].kind] for process in processes)
        killed = local_process.terminate([*self._supervisors(processes), *processes], timeout_s)
        for process in processes:
            how = f"did not stop in {timeout_s:.0f} s and was killed" if process in killed else "stopped"
            self._progress.say(f"{process.name} {how}")

    def clean(self) -> None:
        """Remove what the runner made, by name: CLUSTER_DIR may be a folder that holds other things as well."""
        self.down()
        layout = self.layout
        if not layout.cluster_dir.exists():
            return
        with locked(layout.cluster_dir / "lock", self._progress):
            if self._found():
                raise CannotRun("another command has started the cluster again: repeat `make clean`.")
            for folder in layout.folders:
                shutil.rmtree(folder, ignore_errors=True)  # a folder may not be there
            for file in (layout.record, layout.secrets_file, layout.access_file, layout.cluster_dir / "lock"):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty: something in it is not ours
                layout.cluster_dir.rmdir()
        self._progress.say(f"the data in {layout.cluster_dir} is gone")

    def stop(self, names: Sequence[str]) -> None:
        with self._command() as running:
            for name in (name for name in names if name not in running):
                self._progress.say(f"{name} does not run")
            self._terminate([running[name] for name in names if name in running])

    def kill(self, names: Sequence[str]) -> None:
        for process in self._signalled(names, signal.SIGKILL):
            self._progress.say(f"{process.name} (pid {process.pid}) was killed")

    def freeze(self, names: Sequence[str]) -> None:
        for process in self._signalled(names, signal.SIGSTOP):
            self._progress.say(f"{process.name} (pid {process.pid}) is frozen")

    def thaw(self, names: Sequence[str]) -> None:
        for process in self._signalled(names, signal.SIGCONT):
            self._progress.say(f"{process.name} (pid {process.pid}) goes on")

    def _signalled(self, names: Sequence[str], number: signal.Signals) -> list[LocalProcess]:
        """Send the signal and wait for its effect: who is told "frozen" may rely on it."""
        has_effect: dict[signal.Signals, Callable[[LocalProcess], bool]] = {
            signal.SIGKILL: local_process.is_gone,
            signal.SIGSTOP: local_process.is_frozen,
            signal.SIGCONT: lambda process: not local_process.is_frozen(process),
        }
        with self._command() as running:
            absent = [name for name in names if name not in running]
            if absent:
                raise CannotRun(f"{', '.join(absent)} does not run: `make start NODE={absent[0]}`.")
            processes = [running[name] for name in names]
            targets = [*self._supervisors(processes), *processes] if number is signal.SIGKILL else processes
            for process in targets:
                local_process.send(process, number)
            deadline_s = time.monotonic() + STOP_S["node"]
            while not all(has_effect[number](process) for process in targets):
                if time.monotonic() > deadline_s:
                    raise CannotRun(f"{number.name} had no effect: look for a disk that does not answer.")
                time.sleep(0.01)  # a signal's effect is told to nobody
        return processes

    # --- looking

    def status(self) -> None:
        if not self.layout.cluster_dir.exists():
            self._progress.say(f"there is no cluster in {self.layout.cluster_dir}: `make up`")
            return
        with self._command() as running, ThreadPoolExecutor(len(MEMBERS)) as all_at_once:
            names = [member.name for member in MEMBERS]
            for name, state in zip(names, all_at_once.map(lambda name: self._state(name, running), names), strict=True):
                pid = str(running[name].pid) if name in running else "-"
                print(f"{name:<18} {HOST}:{self.layout.port(name):<5}  pid {pid:<8} {state}")

    def logs(self, names: Sequence[str], *, follow: bool) -> None:
        files = [self.layout.log(name) for name in names or BY_NAME]
        present = [str(file) for file in files if follow or file.exists()]
        if not present:
            raise CannotRun(f"there are no logs in {self.layout.cluster_dir / 'log'} yet: `make up`.")
        lines = "200" if len(names) == 1 else "20"
        os.execvp("tail", ["tail", "-n", lines, *(["-F"] if follow else []), *present])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cluster.py", description="Run the whole cluster on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start what does not run, and wait until the cluster takes writes")
    commands.add_parser("down", help="end every process of the cluster; the data stays")
    commands.add_parser("clean", help="down, and remove the data")
    commands.add_parser("status", help="say what runs and answers")
    for name, text in (
        ("stop", "end politely (SIGTERM)"),
        ("kill", "kill -9"),
        ("start", "start, and wait until it answers"),
        ("freeze", "stop its time (SIGSTOP)"),
        ("thaw", "let it go on (SIGCONT)"),
    ):
        commands.add_parser(name, help=text).add_argument("names", nargs="+", choices=BY_NAME, metavar="NAME")
    logs = commands.add_parser("logs", help="the end of the logs")
    logs.add_argument("names", nargs="*", metavar="NAME")
    logs.add_argument("--follow", action="store_true", help="and what comes")
    commands.add_parser("setup", help="make .venv and find or unpack MySQL's server, start nothing")
    venv = commands.add_parser("venv", help="make .venv alone")
    venv.add_argument("--tests", action="store_true", help="with what the tests need")
    venv.add_argument("--demo", action="store_true", help="with what the demo needs")
    commands.add_parser("mysqld", help="print the path of the MySQL server that is run")
    arguments = parser.parse_args(argv)
    unknown = [name for name in getattr(arguments, "names", []) if name not in BY_NAME]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}: choose from {', '.join(BY_NAME)}")
    return arguments


def read_port_offset(text: str | None) -> int | None:
    """The ports' shift; None when it is not set."""
    if not text:
        return None
    highest = 65535 - max(member.base_port for member in MEMBERS)
    if not text.isascii() or not text.isdigit() or int(text) > highest:
        raise CannotRun(f"PORT_OFFSET={text} is not a number from 0 to {highest}.")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    progress = Progress()
    cluster_dir = Path(os.environ.get("CLUSTER_DIR") or ROOT / ".cluster").resolve()
    cluster = Cluster(cluster_dir, read_port_offset(os.environ.get("PORT_OFFSET")), progress)
    command: str = arguments.command
    if command in ("up", "down", "clean", "status"):
        getattr(cluster, command)()
    elif command in ("stop", "kill", "start", "freeze", "thaw"):
        getattr(cluster, command)(arguments.names)
    elif command == "logs":
        cluster.logs(arguments.names, follow=arguments.follow)
    else:
        with locked(CACHE / "lock", progress):
            if command in ("setup", "venv"):
                with_tests, with_demo = getattr(arguments, "tests", False), getattr(arguments, "demo", False)
                prepare_python(ROOT, progress.say, with_tests=with_tests, with_demo=with_demo)
            if command in ("setup", "mysqld"):
                print(mysql_server.find_mysqld(CACHE, progress.say))


def main() -> int:
    if sys.version_info < (3, 11) or sys.platform != "linux":
        print("cluster: Python >= 3.11 on Linux is needed (make PYTHON=/path/to/python3.11 up).", file=sys.stderr)
        return 1
    try:
        run(parse(sys.argv[1:]))
    except CannotRun as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `make status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("\ncluster: interrupted; `make down` ends what was started.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
