"""The MySQL server that the nodes run: where it comes from, and the data folder that every node starts from.

The server is the first of: `MYSQLD`; `mysqld` on PATH, if it says that it is MySQL >= 8.0 (on Debian the name belongs
to MariaDB, whose SQL, accounts and durability settings differ); the server out of apt's packages (mysql_package.py).

A new data folder takes 2 s of work, all of it the same for every node, so it is made once (the template) and copied.
The template is made with passwords that nobody knows; each node is given the cluster's at every start (`--init-file`,
which runs before the first connection is accepted). So the cache holds no secret, and no crash leaves a node half made.

Hard cases. The runner is killed while a server makes the template: that server goes on without it, so it carries a mark
like every other process, and whoever comes next ends it before touching its folder. And power is lost just after the
first start: four copies that were never flushed would be four lost nodes at once, which no quorum survives; therefore a
copy is flushed to disk before it gets its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_process import exit_status, find_processes, spawn, terminate, wait_gone
from mysql_package import INSTALL, unpack_from_apt
from runner_console import CannotRun

OLDEST = (8, 0)
# The template is thrown away when the machine fails while it is made: no flush is worth its time here.
_TEMPLATE_OPTIONS = (
    "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite",
    "--loose-innodb-redo-log-capacity=8M",
    "--log-error-verbosity=1",
)
# Four servers on one developer's machine; what correctness rests on stands in mysql-config, and only there.
_SMALL_MACHINE_OPTIONS = (
    "--innodb-buffer-pool-size=128M",
    "--loose-innodb-redo-log-capacity=128M",  # "loose": MySQL before 8.0.30 has no such name
    "--performance-schema=OFF",
    "--max-connections=200",
)
TEMPLATE_S, ORPHAN_S = 120.0, 5.0
TEMPLATES_KEPT = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class NodeFiles:
    """What one node is started with."""

    config: Path
    data: Path
    socket: Path
    pid_file: Path
    log: Path
    accounts_sql: Path
    port: int
    server_id: int


def objection_to(version_text: str) -> str | None:
    """Why the server that says this of itself cannot be a node; None if it can."""
    if "mariadb" in version_text.lower():
        return "is MariaDB, not MySQL"
    match = re.search(r"\bVer (\d+)\.(\d+)\.\d+", version_text)
    if match is None:
        return "does not say that it is MySQL"
    if (int(match[1]), int(match[2])) < OLDEST:
        return f"is MySQL {match[1]}.{match[2]}, older than {OLDEST[0]}.{OLDEST[1]}"
    return None


def version_of(mysqld: str | Path) -> str:
    """What `mysqld --version` says, without reading any option file of the system."""
    try:
        done = subprocess.run(
            [mysqld, "--no-defaults", "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no answer: {error}"
    return done.stdout.strip() or done.stderr.strip()


def _is_confined(mysqld: Path) -> bool:
    """Whether AppArmor keeps this server to the system's own data folder, as Ubuntu's package sets it up."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    profile = str(mysqld.resolve()).strip("/").replace("/", ".")
    return (
        enabled.exists()
        and enabled.read_text().startswith("Y")
        and Path("/etc/apparmor.d", profile).exists()
        and not Path("/etc/apparmor.d/disable", profile).exists()
    )


def find_mysqld(cache: Path, say: Say) -> Path:
    """The server to run; unpacks one into `cache` if the machine has none."""
    wanted = os.environ.get("MYSQLD")
    if wanted:
        path = shutil.which(wanted)
        objection = "is not a program that can be run" if path is None else objection_to(version_of(path))
        if path is None or objection:
            raise CannotRun(f"MYSQLD={wanted} {objection}: set it to a MySQL >= 8.0, or unset it.")
        return Path(path).absolute()
    # a user's PATH lacks sbin on Debian, and that is where mysqld lives
    path = shutil.which("mysqld", path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin")
    if path is not None:
        objection = objection_to(version_of(path))
        if objection is None and _is_confined(Path(path)):
            objection = "is kept to the system's own folders by AppArmor"
        if objection is None:
            return Path(path).absolute()
        say(f"{path} {objection}: passed over")
    server = cache / "server"
    unpacked = server / "bin" / "mysqld"
    if not unpacked.exists() or objection_to(version_of(unpacked)):
        new = unpack_from_apt(server, say)
        objection = objection_to(version_of(new / "bin" / "mysqld"))
        if objection:
            raise CannotRun(f"the server that was unpacked into {new} {objection}: {INSTALL}.")
        shutil.rmtree(server, ignore_errors=True)  # of a run that was cut short; mostly there is none
        new.rename(server)
    return unpacked


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """Put values in for ${NAME}; they stand between single quotes in SQL."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise CannotRun(f"init.sql asks for ${{{match[1]}}}, which the runner does not know.")
        return values[match[1]].replace("\\", "\\\\").replace("'", "''")

    return re.sub(r"\$\{([A-Z_]+)\}", value, text)


def names_in(init_sql: str) -> list[str]:
    """The passwords that init.sql asks for."""
    return sorted(set(re.findall(r"\$\{([A-Z_]+)\}", init_sql)))


def accounts_sql(init_sql: str, passwords: Mapping[str, str]) -> str:
    """Statements that give every account of init.sql this cluster's password. May be run any number of times."""
    accounts = re.findall(r"CREATE USER IF NOT EXISTS (\S+)\s+IDENTIFIED BY '(\$\{[A-Z_]+\})'", init_sql)
    return fill_in("".join(f"ALTER USER {who} IDENTIFIED BY '{which}';\n" for who, which in accounts), passwords)


def _user_option() -> list[str]:
    """mysqld refuses to run as root unless it is told to; a developer's container has often nobody else."""
    return ["--user=root"] if os.getuid() == 0 else []


def end_orphans(cache: Path) -> None:
    """End the initialiser that a killed runner left. Call it with the cache's lock held: then it can be nobody's.

    Its folder must not be removed before it has ended: a server that loses its files never ends by itself, keeps a
    processor busy and fills the disk with its complaints.
    """
    terminate(find_processes(cache), ORPHAN_S)


def template_folder(mysqld: Path, config: Path, init_sql: str, cache: Path, say: Say) -> Path:
    """The data folder that new nodes are copied from; made when the server, its settings or init.sql changed."""
    parts = [version_of(mysqld), config.read_text(), init_sql, *_TEMPLATE_OPTIONS]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    template = cache / "template" / key
    if template.exists():
        return template
    say("making the data folder that every node starts from")
    template.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    end_orphans(cache)
    work = template.parent / "new"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was cut short; mostly there is none
    # one for a user's cluster, one for tests with tables of their own: not a new one at every change between them
    made = sorted((path for path in template.parent.iterdir()), key=lambda path: path.stat().st_mtime)
    for old in made[: -TEMPLATES_KEPT + 1]:
        shutil.rmtree(old)
    work.mkdir(mode=0o700)
    new, script, log = work / "data", work / "init.sql", work / "init.log"
    script.write_text(fill_in(init_sql, {name: secrets.token_hex(16) for name in names_in(init_sql)}))
    argv = [str(mysqld), f"--defaults-file={config}", "--initialize-insecure", *_user_option(), f"--datadir={new}"]
    initialiser = spawn(
        [*argv, f"--init-file={script}", f"--log-error={log}", *_TEMPLATE_OPTIONS],
        name="initialiser",
        cluster_dir=cache,
        environment=os.environ,
        working_dir=work,
        log=log,
    )
    if wait_gone([initialiser], TEMPLATE_S):
        terminate([initialiser], ORPHAN_S)
    if exit_status(initialiser) != 0:
        tail = log.read_text(errors="replace")[-2000:]
        raise CannotRun(f"{mysqld} could not make a data folder from mysql-config/init.sql ({log}):\n{tail}")
    # every node makes its own: its identity and its key
    for name in ("auto.cnf", *(path.name for path in new.glob("*.pem"))):
        (new / name).unlink(missing_ok=True)
    new.rename(template)
    shutil.rmtree(work)
    return template


def copy_template(template: Path, data: Path) -> None:
    """A new node's data folder: complete and on disk, or not there."""
    new = data.with_name(data.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # of a run that was cut short; mostly there is none
    shutil.copytree(template, new)
    new.chmod(0o700)
    for path in (*new.rglob("*"), new):
        _flush(path)
    new.rename(data)
    _flush(data.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def node_command(mysqld: Path, node: NodeFiles) -> list[str]:
    """How one node is started."""
    return [
        str(mysqld),
        f"--defaults-file={node.config}",
        *_user_option(),
        f"--datadir={node.data}",
        f"--socket={node.socket}",
        f"--pid-file={node.pid_file}",
        f"--log-error={node.log}",
        f"--init-file={node.accounts_sql}",
        "--bind-address=127.0.0.1",
        f"--port={node.port}",
        f"--server-id={node.server_id}",
        *_SMALL_MACHINE_OPTIONS,
    ]


def remove_stale_socket(socket: Path) -> None:
    """Only for a node that is known to be down. After kill -9 the lock file's pid may belong to a stranger by now, and
    mysqld would refuse to start."""
    socket.unlink(missing_ok=True)
    socket.with_name(socket.name + ".lock").unlink(missing_ok=True)
