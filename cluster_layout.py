"""Who is in a cluster and where everything of it is: names, ports, folders, settings, passwords. It starts nothing.

One table (MEMBERS) says what the ten processes are; all the rest is derived from it, from the cluster's folder and from
the port offset. So two clusters with other folders and offsets share nothing but the source and the MySQL server.

Passwords come from the environment, or are made once and kept in secrets.env, which only the owner can read. A process
is handed those that it needs and no others.

Hard case: the address of a Unix socket holds 107 bytes. A cluster in a deep folder has its sockets in a short one,
which must be ours alone: whoever reaches a socket is MySQL's root.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mysql_server import NodeFiles, names_in
from runner_console import CannotRun

ROOT = Path(__file__).resolve().parent
HOST = "127.0.0.1"
SOCKET_PATH_BYTES_MAX = 107


@dataclass(frozen=True)
class Member:
    """One of the ten processes, under the name that the design gives it."""

    name: str
    kind: str  # "node" or "service"
    base_port: int
    source: str  # a node's option file, a service's folder
    passwords: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    has_state: bool = False
    uvicorn_options: tuple[str, ...] = ()


MEMBERS = (
    Member("mysql-master", "node", 13306, "mysql-config/master.cnf"),
    Member("replica-1", "node", 13307, "mysql-config/replica.cnf"),
    Member("replica-2", "node", 13308, "mysql-config/replica.cnf"),
    Member("replica-3", "node", 13309, "mysql-config/replica.cnf"),
    Member(
        "coordinator",
        "service",
        8000,
        "coordinator",
        passwords=(
            "COORDINATOR_DB_PASSWORD",
            "READER_DB_PASSWORD",
            "CLONER_DB_PASSWORD",
            "DDL_DB_PASSWORD",
            "SCHEMA_READER_DB_PASSWORD",
            "VERIFIER_DB_PASSWORD",
            "HISTORIAN_DB_PASSWORD",
        ),
        # named, not left to what happens to be installed: the write path is measured with these
        uvicorn_options=(
            "--loop",
            "uvloop",
            "--http",
            "http_protocol:HttpProtocol",
            "--no-proxy-headers",
            "--no-server-header",
            # above what clients keep a connection for: whoever closes first may meet the other's next request
            "--timeout-keep-alive",
            "75",
        ),
    ),
    Member("timestamp-1", "service", 8001, "timestamp-service", settings=(("SERVER_ID", "1"),), has_state=True),
    Member("timestamp-2", "service", 8002, "timestamp-service", settings=(("SERVER_ID", "2"),), has_state=True),
    Member(
        "metrics-collector",
        "service",
        8003,
        "metrics-collector",
        passwords=("COLLECTOR_DB_PASSWORD",),
        has_state=True,
    ),
    Member("cabinet-service", "service", 8004, "cabinet-service"),
    Member("seer-service", "service", 8005, "seer-service"),
)
BY_NAME = {member.name: member for member in MEMBERS}
NODES = tuple(member for member in MEMBERS if member.kind == "node")
SERVICES = tuple(member for member in MEMBERS if member.kind == "service")


def socket_folder(cluster_dir: Path) -> Path:
    """The cluster's own folder, or a short one when that is too deep for a socket's address."""
    folder = cluster_dir / "run"
    longest = max(len(os.fsencode(folder / f"{node.name}.sock")) for node in NODES)
    if longest <= SOCKET_PATH_BYTES_MAX:
        return folder
    key = hashlib.sha256(os.fsencode(cluster_dir)).hexdigest()[:12]
    return Path(f"/tmp/cluster-{os.getuid()}-{key}")


def make_private_folder(folder: Path) -> None:
    """Make the folder, or make sure that it is ours alone: in /tmp somebody else may have been there first."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise CannotRun(f"{folder} is not a folder of yours: remove it, or set CLUSTER_DIR to another one.")
    folder.chmod(0o700)


@dataclass(frozen=True)
class Layout:
    """Where one cluster's things are."""

    cluster_dir: Path
    port_offset: int

    @property
    def folders(self) -> list[Path]:
        """Those that the runner makes and removes. CLUSTER_DIR itself may be a folder that somebody else made."""
        return [*(self.cluster_dir / name for name in ("run", "log", "data")), self.sockets]

    @property
    def sockets(self) -> Path:
        return socket_folder(self.cluster_dir)

    @property
    def record(self) -> Path:
        return self.cluster_dir / "cluster.json"

    @property
    def secrets_file(self) -> Path:
        return self.cluster_dir / "secrets.env"

    @property
    def accounts_file(self) -> Path:
        return self.cluster_dir / "run" / "accounts.sql"

    def port(self, name: str) -> int:
        return BY_NAME[name].base_port + self.port_offset

    def log(self, name: str) -> Path:
        return self.cluster_dir / "log" / f"{name}.log"

    def data(self, name: str) -> Path:
        return self.cluster_dir / "data" / name

    def pid_file(self, name: str) -> Path:
        return self.cluster_dir / "run" / f"{name}.pid"

    def socket(self, name: str) -> Path:
        return self.sockets / f"{name}.sock"

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.port(name)}"

    @property
    def node_addresses(self) -> str:
        """name=host:port of each node, as the services' setting NODES wants it."""
        return ",".join(f"{node.name}={HOST}:{self.port(node.name)}" for node in NODES)

    @staticmethod
    def init_sql(inherited: Mapping[str, str]) -> str:
        """What every data folder begins with: the project's own, and the user's tables, if EXTRA_SQL names a file."""
        text = (ROOT / "mysql-config" / "init.sql").read_text()
        extra = inherited.get("EXTRA_SQL")
        if not extra:
            return text
        try:
            return text + "\n" + Path(extra).read_text()
        except OSError as error:
            raise CannotRun(f"EXTRA_SQL={extra} cannot be read: {error.strerror}.") from error

    def node_files(self, name: str) -> NodeFiles:
        return NodeFiles(
            config=ROOT / BY_NAME[name].source,
            data=self.data(name),
            socket=self.socket(name),
            pid_file=self.pid_file(name),
            log=self.log(name),
            accounts_sql=self.accounts_file,
            port=self.port(name),
            server_id=1 + [node.name for node in NODES].index(name),
        )

    def service_command(self, name: str, python: Path) -> list[str]:
        service = BY_NAME[name]
        if not (ROOT / service.source / "main.py").is_file():
            # the other folders are on PYTHONPATH too: a neighbour's main.py would run, and answer under this name
            raise CannotRun(f"{service.source}/main.py is missing: restore it (git status), {name} cannot run without.")
        command = [str(python), "-m", "uvicorn", "main:app", "--app-dir", str(ROOT / service.source)]
        where = ["--host", HOST, "--port", str(self.port(name)), "--no-access-log"]
        # a client that never closes its connection must not hold up `make stop`
        return [*command, *where, "--timeout-graceful-shutdown", "3", *service.uvicorn_options]

    def node_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in inherited.items() if not key.endswith("_DB_PASSWORD")}

    def service_environment(
        self, name: str, inherited: Mapping[str, str], passwords: Mapping[str, str]
    ) -> dict[str, str]:
        """The user's environment, then what the cluster knows better. Of the passwords only those the service needs."""
        service = BY_NAME[name]
        own_first = sorted({other.source for other in SERVICES}, key=lambda folder: (folder != service.source, folder))
        environment = {
            **self.node_environment(inherited),
            **{key: passwords[key] for key in service.passwords},
            **dict(service.settings),
            "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in own_first),
            "PYTHONUNBUFFERED": "1",
            # the services are neighbours; a company's proxy would answer for them, and wrongly
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
            # a user's own: addresses of proxies in front of the nodes
            "NODES": inherited.get("NODES") or self.node_addresses,
            "TIMESTAMP_URLS": f"{self.url('timestamp-1')},{self.url('timestamp-2')}",
            "METRICS_URL": self.url("metrics-collector"),
            "CABINET_URL": self.url("cabinet-service"),
            "SEER_URL": self.url("seer-service"),
        }
        if service.has_state:
            environment["STATE_DIR"] = str(self.data(name))
        return environment

    def passwords(self, init_sql: str, inherited: Mapping[str, str], *, is_running: bool) -> dict[str, str]:
        """The cluster's passwords; new ones are written down before anybody is given them."""
        stored: dict[str, str] = {}
        if self.secrets_file.exists():
            lines = self.secrets_file.read_text().splitlines()
            stored = {name: value for name, _, value in (line.partition("=") for line in lines)}
        names = names_in(init_sql)
        wanted = {name: inherited.get(name) or stored.get(name) or secrets.token_hex(16) for name in names}
        changed = [name for name in names if name in stored and wanted[name] != stored[name]]
        if changed and is_running:
            raise CannotRun(
                f"{', '.join(changed)} differs from what the running cluster uses: `make down` first, or unset it."
            )
        if wanted != stored:
            write_private(self.secrets_file, "".join(f"{name}={value}\n" for name, value in wanted.items()))
        return wanted


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; at no moment can anybody else read it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    new.replace(path)
