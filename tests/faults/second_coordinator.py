"""A second coordinator beside the first, started by mistake: on the same nodes, on a port of its own.

One that starts takes over from whoever serves. The runner does not know it, so whoever started it must end it.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from free_ports import free_ports

from cluster_layout import ROOT
from local_process import http_health

SECOND_S = 20.0


@contextlib.contextmanager
def second_coordinator(pid: int, without: Collection[str], log: Path) -> Iterator[int]:
    """Another coordinator with the environment of the one with this pid, but unarmed and `without` these settings; yields its
    port once it serves. Killed at the end."""
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environment = {name: value for name, _, value in (pair.partition("=") for pair in pairs if "=" in pair)}
    environment = {
        name: value
        for name, value in environment.items()
        if name not in without and not name.startswith(("CRASH_", "CLUSTER_"))
    }
    port = next(free_ports(19_950, 19_999))
    command = ["-m", "uvicorn", "main:app", "--app-dir", "coordinator", "--port", str(port), "--no-access-log"]
    with (
        log.open("w") as output,
        subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stderr=output) as process,
    ):
        try:
            deadline_s = time.monotonic() + SECOND_S
            while (http_health(port, path="/ready") or (0, ""))[0] != 200:
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.05)  # a starting service tells nobody
            yield port
        finally:
            process.kill()
