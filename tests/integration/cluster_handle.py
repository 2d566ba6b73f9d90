"""A whole cluster of real processes in the hands of a test: its addresses, its faults, and a look into every node.

The handle does everything by the same commands that a user has (cluster.py), on a folder and ports of its own, so a
cluster that a developer has running is never touched.

Hard case: the test run itself is killed. A reaper, in a session of its own, reads a pipe whose other end only we hold;
the kernel closes that end however we go, and the reaper then takes the cluster down. An orderly end takes the same way.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from free_ports import free_port_offset
from root_connection import connect_as_root

from cluster_layout import BY_NAME, HOST, MEMBERS, NODES, ROOT
from local_process import find_processes

COMMAND_S = 240.0
_REAPER = """
import subprocess, sys
sys.stdin.read()
sys.exit(subprocess.run([sys.executable, "cluster.py", "down"], stdout=subprocess.DEVNULL).returncode)
"""


@dataclass(frozen=True)
class NodeAccess:
    """Where a node is, for tests that look at it or harm it."""

    name: str
    port: int
    socket: Path
    data: Path


class ClusterHandle:
    """Commands and questions to one cluster. Every command returns when its effect is there."""

    def __init__(self, folder: Path, port_offset: int, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port_offset = port_offset
        self._settings = dict(settings or {})

    @property
    def environment(self) -> dict[str, str]:
        own = {"CLUSTER_DIR": str(self.folder), "PORT_OFFSET": str(self.port_offset)}
        return {**os.environ, **self._settings, **own}

    def command(self, *argv: str) -> str:
        """Run cluster.py; answers with what it said. A command that fails fails the test, with all it said."""
        # files, not pipes: a pipe is read until whatever the command started has closed it, too
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complained:
            done = subprocess.run(
                [sys.executable, "cluster.py", *argv],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=complained,
                timeout=COMMAND_S,
                check=False,
            )
            told.seek(0)
            complained.seek(0)
            said = told.read()
            assert done.returncode == 0, f"cluster.py {' '.join(argv)}:\n{said}{complained.read()}"
        return said

    def up(self) -> None:
        self.command("up")

    def down(self) -> None:
        self.command("down")

    def kill(self, *names: str) -> None:
        self.command("kill", *names)

    def start(self, *names: str) -> None:
        self.command("start", *names)

    def stop(self, *names: str) -> None:
        self.command("stop", *names)

    def freeze(self, *names: str) -> None:
        self.command("freeze", *names)

    def thaw(self, *names: str) -> None:
        self.command("thaw", *names)

    # --- what cluster.json says

    def record(self, name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = json.loads((self.folder / "cluster.json").read_text())["processes"]
        return next(row for row in rows if row["name"] == name)

    def pids(self) -> dict[str, int | None]:
        return {member.name: self.record(member.name)["pid"] for member in MEMBERS}

    def node(self, name: str) -> NodeAccess:
        row = self.record(name)
        return NodeAccess(name, row["port"], Path(row["socket"]), Path(row["data"]))

    @property
    def nodes(self) -> dict[str, NodeAccess]:
        return {node.name: self.node(node.name) for node in NODES}

    @property
    def host(self) -> str:
        return HOST

    def port(self, name: str) -> int:
        return BY_NAME[name].base_port + self.port_offset

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self.port(name)}"

    # --- questions

    def get(self, name: str, path: str, *, timeout_s: float = 10.0) -> httpx.Response:
        """GET from one of the services."""
        return httpx.get(self.url(name) + path, timeout=timeout_s, trust_env=False)

    def query(self, sql: str, *, timeout_s: float = 30.0, **fields: object) -> httpx.Response:
        """POST /query to the coordinator, as a client does."""
        body = {"query": sql, **fields}
        return httpx.post(self.url("coordinator") + "/query", json=body, timeout=timeout_s, trust_env=False)

    def explain(self, sql: str) -> dict[str, Any]:
        response = httpx.post(
            self.url("coordinator") + "/explain-replication", json={"query": sql}, timeout=30.0, trust_env=False
        )
        explained: dict[str, Any] = response.raise_for_status().json()
        return explained

    def rows_on(self, node: str, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on one node itself, as MySQL's root over its socket: past the coordinator."""
        connection = connect_as_root(self.node(node).socket)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        finally:
            connection.close()


@contextlib.contextmanager
def private_cluster(
    folder: Path,
    *,
    only: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    port_offset: int | None = None,
) -> Iterator[ClusterHandle]:
    """A cluster (or only some of its members) that is gone afterwards, in whichever way the test run ends.

    `environment` is set for every command. Who must know the ports beforehand chooses `port_offset` itself."""
    offset = free_port_offset() if port_offset is None else port_offset
    handle = ClusterHandle(folder.resolve(), offset, environment)
    reaper = subprocess.Popen(
        [sys.executable, "-c", _REAPER], cwd=ROOT, env=handle.environment, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        handle.command(*(("start", *only) if only else ("up",)))
        yield handle
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        status = reaper.wait(COMMAND_S)
        left = find_processes(handle.folder)
        assert (status, left) == (0, []), f"the cluster in {handle.folder} was not taken down"
        # 100 MB a node; never under a living server, which would fill the disk with its complaints. The logs stay.
        shutil.rmtree(handle.folder / "data", ignore_errors=True)  # there may be none, and room is all that is wanted
