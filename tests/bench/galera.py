"""MariaDB with Galera, where Debian's packages are on the machine: four nodes, all written through the first.

The server is another one than the other systems' (MariaDB's InnoDB), with buffers, redo log and flushing set to the same. Galera
acknowledges a write when every node has received it, and only the node that was asked has flushed it.

Hard case: a node that joins with other data gets a full copy, for seconds. So all four begin with the same data folder, stopped
cleanly as the last state of a cluster, and need to be told only of those that joined since. That too takes rsync's daemon.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from free_ports import free_ports
from mysql_system import CLIENTS_MAX, START_S, TABLES, MySQLSystem
from peers import GROUP_PORTS_FROM
from systems import RunningSystem, SystemKind, kept_folder, short_version

import local_process
from cluster_layout import HOST, NODES
from runner_console import CannotRun

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
PACKAGES = "apt-get install -y --no-install-recommends mariadb-server galera-4 rsync"
FLAG = "safe_to_bootstrap: "
STOP_S = 60.0
# The package's own user, as root: of the events since the common state a node is told by a script that hands on nothing to root.
SERVER_USER = "mysql" if os.getuid() == 0 else None


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin")


def _provider() -> str | None:
    return next((path for path in PROVIDERS if Path(path).exists()), None)


def objection() -> str | None:
    if all(map(_program, ("mariadbd", "mariadb-install-db", "rsync"))) and _provider():
        return None
    return f"there is no MariaDB with Galera on this machine: {PACKAGES} (and stop the service that it starts)"


def _version() -> str:
    return short_version(_program("mariadbd") or "mariadbd")


class GaleraSystem(MySQLSystem):
    """Node 0 is written through. Each node has a place for the group's talk and one above it for transfers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = list(islice(free_ports(GROUP_PORTS_FROM), 2 * len(NODES)))
        self._group_ports = list(zip(ports[::2], ports[1::2], strict=True))
        self.give(*self.layout.folders)

    @staticmethod
    def give(*paths: Path) -> None:
        """To the user that the servers run as."""
        if SERVER_USER is None:
            return
        for path in paths:
            for each in (path, *path.rglob("*")):
                shutil.chown(each, SERVER_USER, SERVER_USER)

    def start_node(self, place: int, data: Path, *, is_first: bool) -> None:
        name, (talk, transfer) = NODES[place].name, self._group_ports[place]
        others = ",".join(f"{HOST}:{port}" for port, _ in self._group_ports)
        talking = f"gmcast.listen_addr=tcp://{HOST}:{talk};ist.recv_addr={HOST}:{transfer}"
        options = {
            "user": SERVER_USER,
            "datadir": data,
            "socket": self.layout.socket(name),
            "pid-file": self.layout.pid_file(name),
            "bind-address": HOST,
            "port": self.layout.port(name),
            "skip-name-resolve": "ON",
            "max-connections": CLIENTS_MAX,
            "innodb-buffer-pool-size": "128M",
            "innodb-log-file-size": "128M",
            "innodb-flush-log-at-trx-commit": 1,
            "innodb-doublewrite": "ON",
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
            "wsrep-on": "ON",
            "wsrep-provider": _provider(),
            "wsrep-provider-options": f"base_host={HOST};base_port={talk};{talking}",
            "wsrep-cluster-name": "bench",
            "wsrep-cluster-address": "gcomm://" if is_first else f"gcomm://{others}",
            "wsrep-node-name": name,
            "wsrep-node-address": HOST,
            "wsrep-slave-threads": 4,
            # a read waits until what was acknowledged anywhere is applied here
            "wsrep-sync-wait": 1,
        }
        named = [f"--{option}={value}" for option, value in options.items() if value is not None]
        self.spawn(name, [_program("mariadbd") or "mariadbd", "--no-defaults", *named])
        state = "SHOW STATUS LIKE 'wsrep_local_state_comment'"
        self.wait_for(place, state, lambda rows: bool(rows) and rows[0][1] == "Synced")

    def stop_first(self) -> None:
        process = self._processes.pop()
        if local_process.terminate([process], STOP_S):
            raise CannotRun(f"MariaDB did not stop in {STOP_S:.0f} s")


def data_template(folder: Path, system: GaleraSystem) -> Path:
    """Accounts and table, stopped cleanly. Made once for a server's version and kept beside the systems' folders."""
    key = hashlib.sha256(f"{_version()}\0{TABLES}".encode()).hexdigest()[:16]
    template = folder.parent / f"mariadb-{key}"
    if template.exists():
        return template
    new = template.with_name(template.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # of a run that was cut short; mostly there is none
    install = ["--no-defaults", f"--datadir={new}", "--auth-root-authentication-method=normal", "--skip-test-db"]
    user = [f"--user={SERVER_USER}"] if SERVER_USER else []
    done = subprocess.run(
        [_program("mariadb-install-db") or "mariadb-install-db", *install, *user],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    if done.returncode != 0:
        raise CannotRun(f"mariadb-install-db: {(done.stdout + done.stderr)[-600:]}")
    system.start_node(0, new, is_first=True)
    system.root(0, *(statement for statement in TABLES.split(";\n") if statement.strip()))
    # any user at localhost would be taken for one without a name
    for (host,) in system.root(0, "SELECT host FROM mysql.user WHERE user = ''"):
        system.root(0, f"DROP USER ''@'{host}'")
    system.stop_first()
    new.rename(template)
    return template


@contextlib.contextmanager
def running_galera(folder: Path, with_proxy: bool) -> Iterator[RunningSystem]:
    with kept_folder(folder) as kept:
        system = GaleraSystem(kept)
        try:
            template = data_template(kept, system)
            for place, node in enumerate(NODES):
                data = system.layout.data(node.name)
                shutil.copytree(template, data)
                if place == 0:
                    state = data / "grastate.dat"
                    state.write_text(state.read_text().replace(FLAG + "0", FLAG + "1"))
                system.give(data)
                system.start_node(place, data, is_first=place == 0)
            size = "SHOW STATUS LIKE 'wsrep_cluster_size'"
            system.wait_for(0, size, lambda rows: rows[0][1] == str(len(NODES)))
            yield system
        finally:
            if not system.layout.sockets.is_relative_to(kept):
                shutil.rmtree(system.layout.sockets)


GALERA = SystemKind(
    name="galera",
    title="Galera (MariaDB)",
    promise="a write is on the disk of the node that was asked and in the memory of the other three; reads there, with "
    "wsrep_sync_wait = 1",
    start=running_galera,
    version=_version,
    objection=objection,
)
