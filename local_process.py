"""Processes of this machine that a runner started and then left: how to know them again, signal them and wait for them.

Identity. The runner ends as soon as the cluster is up, so it is nobody's parent later, and a pid alone proves nothing:
the kernel gives it to the next process once the old one is gone. Every process therefore carries its cluster's folder
and its own name in its environment (`CLUSTER_PROCESS=/path/.cluster/replica-1`), and nothing but /proc/PID/environ is
believed. Pid files are published for people and tools, and never read back; so a stale one cannot kill a stranger, and
a process whose record was lost is still found.

Invariant: a signal goes only to a process that carries the mark and has the start time that was seen with it.

Hard case: "dead" has three shapes. No /proc entry; a zombie that nobody reaps (containers without an init); and a
killed mysqld whose first thread is a zombie while others still hold its file locks. Only the first two count as gone.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner_console import CannotRun

MARK = "CLUSTER_PROCESS"
_POLL_S = 0.02
# Kept so that children of a runner that is still at work are reaped, and told from processes that run.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class LocalProcess:
    """One process that carries our mark. Pid and start time together are never used twice before a reboot."""

    name: str
    pid: int
    start_ticks: int
    leads_session: bool


@dataclass(frozen=True)
class _Stat:
    state: str
    session: int
    threads: int
    start_ticks: int


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the second field is a name in parentheses that may hold anything; field 3 is the first after it
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], session=int(fields[3]), threads=int(fields[17]), start_ticks=int(fields[19]))


def _mark_of(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = f"{MARK}=".encode()
    found = next((entry for entry in environment.split(b"\0") if entry.startswith(prefix)), None)
    return None if found is None else os.fsdecode(found[len(prefix) :])


SUPERVISOR = ".supervisor"
"""Ending of the name of a process that only starts another one again."""
RESTART_STATUS = 16
"""With this a mysqld ends that wants to be started again (MYSQLD_RESTART_EXIT)."""
CRASH_STATUSES = (2, *(128 + number for number in (4, 5, 6, 7, 8, 11)))
"""How a mysqld ends that crashed: by its own handler of fatal signals (MYSQLD_FAILURE_EXIT), or by such a signal itself."""
CRASH_LOOP_S, CRASHES_MAX = 10, 5
"""A server that crashes so often in a row, each time within so many seconds of its start, stays away."""
_SUPERVISE = f"""
crashes=0
while :; do
  began=$(date +%s)
  {MARK}=$0 MYSQLD_PARENT_PID=$$ setsid "$@"
  status=$?
  case $status in
    {RESTART_STATUS}) continue ;;
    {"|".join(map(str, CRASH_STATUSES))}) ;;
    *) exit $status ;;
  esac
  [ $(($(date +%s) - began)) -lt {CRASH_LOOP_S} ] || crashes=0
  crashes=$((crashes + 1))
  [ $crashes -lt {CRASHES_MAX} ] || exit $status
  echo "the server crashed (status $status) and is started again"
  sleep 1
done
"""


def supervised(argv: Sequence[str], *, name: str, cluster_dir: Path) -> list[str]:
    """A command that runs `argv` as a process of its own name and session, and once more whenever it ends with the wish for it
    or crashes: a mysqld that has received a full copy of another's data starts anew with it, and asks for nothing else. One that
    was killed or stopped stays away. The manual's supervisor is a service manager; a cluster in a folder has none."""
    return ["/bin/sh", "-c", _SUPERVISE, str(cluster_dir / name), *argv]


def find_processes(cluster_dir: Path) -> list[LocalProcess]:
    """Every living process that was started for this cluster, in the order of their pids."""
    found = []
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        mark = _mark_of(pid)
        if mark is None or os.path.dirname(mark) != str(cluster_dir):
            continue
        stat = _read_stat(pid)
        if stat is not None:
            name = os.path.basename(mark)
            found.append(LocalProcess(name, pid, stat.start_ticks, leads_session=stat.session == pid))
    return found


def is_gone(process: LocalProcess) -> bool:
    """Whether nothing of the process runs any more, its file locks and ports included."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return True
    stat = _read_stat(process.pid)
    if stat is None or stat.start_ticks != process.start_ticks:
        return True
    return stat.state in "ZX" and stat.threads <= 1


def exit_status(process: LocalProcess) -> int | None:
    """How a process that we started ourselves has ended; None while it runs."""
    return _children[process.pid].poll()


def is_frozen(process: LocalProcess) -> bool:
    """Whether all of its threads stand still. One that runs is stopped when it next comes to the kernel, not at the signal."""
    try:
        threads = [int(thread) for thread in os.listdir(f"/proc/{process.pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return False
    stats = [stat for thread in threads if (stat := _read_stat(thread)) is not None]
    return bool(stats) and all(stat.state in "Tt" for stat in stats)


def send(process: LocalProcess, number: signal.Signals) -> None:
    """Signal the process if it still is the one that was seen; one that has gone meanwhile is no error."""
    stat = _read_stat(process.pid)
    if stat is None or stat.start_ticks != process.start_ticks:
        return
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def wait_gone(processes: Iterable[LocalProcess], timeout_s: float) -> list[LocalProcess]:
    """Wait until all have gone; answers with those that have not, when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    left = [process for process in processes if not is_gone(process)]
    while left and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)  # not all are children: no end is told
        left = [process for process in left if not is_gone(process)]
    return left


def terminate(processes: Sequence[LocalProcess], timeout_s: float) -> list[LocalProcess]:
    """End all of them, politely first, all at the same time; answers with those that had to be killed."""
    for process in processes:
        send(process, signal.SIGTERM)
        # a frozen process takes no SIGTERM before it goes on
        send(process, signal.SIGCONT)
    stubborn = wait_gone(processes, timeout_s)
    for process in stubborn:
        send(process, signal.SIGKILL)
    survivors = wait_gone(stubborn, timeout_s)
    if survivors:
        pids = ", ".join(str(process.pid) for process in survivors)
        raise CannotRun(f"pid {pids} survived SIGKILL for {timeout_s:.0f} s: look for a disk that does not answer.")
    return stubborn


def spawn(
    argv: Sequence[str], *, name: str, cluster_dir: Path, environment: Mapping[str, str], working_dir: Path, log: Path
) -> LocalProcess:
    """Start a process that outlives us: own session (no Ctrl-C, no hang-up of the terminal), no open file of ours."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env={**environment, MARK: str(cluster_dir / name)},
            cwd=working_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    stat = _read_stat(child.pid)
    return LocalProcess(name, child.pid, stat.start_ticks if stat else 0, leads_session=True)


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # without it, connections of the last run that linger in TIME_WAIT look like a server
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def mysql_answers(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a MySQL server greets us. A frozen one accepts the connection (the kernel does) and says nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            packet = connection.recv(5)
    except OSError:
        return False
    # 3 bytes of length, 1 of sequence, then the protocol's version; an error packet would begin with 255
    return len(packet) == 5 and packet[4] == 10


def http_health(
    port: int, timeout_s: float = 1.0, *, path: str = "/health", with_tls: bool = False
) -> tuple[int, str] | None:
    """Status and body of a GET, None when there is no answer. Never goes through a proxy, as urllib might."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    if with_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # it asks a process of ours whether it answers: the certificate's names are those that clients use
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout_s, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
