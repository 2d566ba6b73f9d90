"""One mysqld without a cluster, on a disk of its own, with durability settings that a node would be refused for.

Each server here is our child and is killed by the kernel if we are (PR_SET_PDEATHSIG): no server is left behind.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from free_ports import free_ports
from local_mysqld import local_mysqld
from loop_disk import LoopDisk
from root_connection import connect_as_root

from cluster_layout import NODES, ROOT
from local_process import mysql_answers
from mysql_server import NodeFiles, node_command, remove_stale_socket

FIRST_PORT = 18_740
START_S = 60.0
PR_SET_PDEATHSIG = 1


class BareMySQL:
    """A server that is started, killed and started again on the same disk. Its folder beside the data is `work`."""

    def __init__(self, disk: LoopDisk, work: Path, *options: str) -> None:
        self._disk = disk
        self._options = options
        accounts = work / "accounts.sql"
        accounts.write_text("")
        self._files = NodeFiles(
            config=ROOT / NODES[0].source,
            data=disk.mount_point,
            # a socket's path must be short, and pytest's folders are not
            socket=Path(f"/tmp/bare-mysql-{os.getpid()}.sock"),
            pid_file=work / "mysqld.pid",
            log=work / "error.log",
            accounts_sql=accounts,
            port=next(free_ports(FIRST_PORT)),
            server_id=1,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        remove_stale_socket(self._files.socket)
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        command = [*node_command(local_mysqld(), self._files), *self._options]
        self._process = subprocess.Popen(
            command, preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        )
        deadline_s = time.monotonic() + START_S
        while not mysql_answers(self._files.port):
            assert self._process.poll() is None, self._files.log.read_text()
            assert time.monotonic() < deadline_s, self._files.log.read_text()
            time.sleep(0.05)  # a starting server tells nobody

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_S)
        remove_stale_socket(self._files.socket)

    def lose_power(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._disk.copy_as_power_left_it()
        self.kill()
        self._disk.power_returns()

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """A cursor of root's, every statement its own transaction."""
        connection = connect_as_root(self._files.socket)
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()
