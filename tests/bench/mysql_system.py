"""MySQL servers in one folder as a system under test: started with the project's own options, asked over MySQL's protocol.

They run the server and the option file of the project's nodes (mysql-config/master.cnf) and the runner's options for one machine,
so buffers, redo log and durability are the same; a peer adds what its replication needs. Names, ports and folders are those of
the project's layout too (cluster_layout.py).

Hard case: `--init-file` runs on every node, and what it changes would be a transaction of the node's own, with which no group
takes it in. So accounts and table come with the data folder that all nodes start from, made while there was no binary log.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
from free_ports import free_port_offset
from load_generators import DATABASE, PASSWORD, USER
from local_mysqld import local_mysqld
from node_lines import NodeLines
from systems import INSERT, Door, RunningSystem, kept_folder

import local_process
from cluster import CACHE
from cluster_layout import HOST, NODES, ROOT, Layout, make_private_folder
from mysql_server import copy_template, node_command, template_folder
from runner_console import CannotRun, Progress, locked

START_S = 120.0
CONNECT_S, ANSWER_S = 2, 30
CLIENTS_MAX = 300
TABLES = Path(__file__).with_name("peer_tables.sql").read_text()
REPLICATION_ACCOUNT = """
CREATE USER IF NOT EXISTS repl@'%' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO repl@'%';
"""


class MySQLSystem(RunningSystem):
    """Servers in one folder, the first of them takes the writes."""

    protocol = "mysql"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder, free_port_offset())
        self.port = self.layout.port(NODES[0].name)
        self.lines: NodeLines | None = None
        self._processes: list[local_process.LocalProcess] = []
        for needed in self.layout.folders:
            make_private_folder(needed)
        self.layout.accounts_file.write_text("DO 0;\n")

    # --- servers

    def start_server(self, template: Path, mysqld: Path, options: Sequence[str]) -> None:
        """The next one; it need not answer yet."""
        name = NODES[len(self._processes)].name
        copy_template(template, self.layout.data(name))
        command = [*node_command(mysqld, self.layout.node_files(name)), f"--max-connections={CLIENTS_MAX}", *options]
        self.spawn(name, command)

    def spawn(self, name: str, command: Sequence[str]) -> None:
        process = local_process.spawn(
            command,
            name=name,
            cluster_dir=self.folder,
            environment=os.environ,
            working_dir=self.folder,
            log=self.layout.log(name),
        )
        self._processes.append(process)

    def server_pid(self, place: int) -> int:
        return self._processes[place].pid

    def root(self, place: int, *statements: str) -> list[tuple[Any, ...]]:
        """Execute these as root, past the network; answers with the rows of the last one."""
        socket = str(self.layout.socket(NODES[place].name))
        rows: list[tuple[Any, ...]] = []
        with (
            pymysql.connect(unix_socket=socket, user="root", autocommit=True, read_timeout=START_S) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
        return rows

    def wait_for(self, place: int, sql: str, wanted: Callable[[list[tuple[Any, ...]]], bool]) -> None:
        """Until a server answers so."""
        deadline_s = time.monotonic() + START_S
        while True:
            seen: object = None
            with contextlib.suppress(pymysql.MySQLError):  # it does not answer yet
                seen = rows = self.root(place, sql)
                if wanted(rows):
                    return
            if time.monotonic() > deadline_s or local_process.is_gone(self._processes[place]):
                log = self.layout.log(NODES[place].name)
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise CannotRun(f"{NODES[place].name}: {sql} gave {seen}, not what was waited for. {log}:\n{tail}")
            time.sleep(0.1)  # nobody tells: looked again

    def wait_until_they_answer(self) -> None:
        for place in range(len(self._processes)):
            self.wait_for(place, "SELECT 1", bool)

    # --- clients

    def write_at(self, place: int, sql: str) -> None:
        with (
            pymysql.connect(
                host=HOST,
                port=self.layout.port(NODES[place].name),
                user=USER,
                password=PASSWORD,
                database=DATABASE,
                autocommit=True,
                connect_timeout=CONNECT_S,
                read_timeout=ANSWER_S,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)

    def execute(self, sql: str) -> None:
        self.write_at(0, sql)

    def doors(self) -> Sequence[Door]:
        def door(place: int) -> Door:
            return lambda: self.write_at(place, INSERT)

        return [door(place) for place in range(1, len(self._processes))]

    @contextlib.contextmanager
    def delayed(self, delay_ms: float) -> Iterator[None]:
        if self.lines is None:
            with super().delayed(delay_ms):
                yield
            return
        self.lines.delay(NODES[1].name, delay_ms)
        try:
            yield
        finally:
            self.lines.heal(NODES[1].name)


def peer_template(mysqld: Path) -> Path:
    with locked(CACHE / "lock", Progress()):
        return template_folder(mysqld, ROOT / NODES[0].source, TABLES + REPLICATION_ACCOUNT, CACHE, lambda _: None)


@contextlib.contextmanager
def servers(folder: Path, options: Sequence[Sequence[str]]) -> Iterator[MySQLSystem]:
    """So many servers as there are lists of options; they answer."""
    mysqld = local_mysqld()
    template = peer_template(mysqld)
    with kept_folder(folder) as kept:
        system = MySQLSystem(kept)
        try:
            for own in options:
                system.start_server(template, mysqld, own)
            system.wait_until_they_answer()
            yield system
        finally:
            if not system.layout.sockets.is_relative_to(kept):
                shutil.rmtree(system.layout.sockets)
