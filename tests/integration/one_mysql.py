"""One real mysqld with the project's own settings and init.sql, in the hands of a test of a single node.

Hard case: the test run itself is killed. The kernel then kills the server (PR_SET_PDEATHSIG), so no server is left behind
that would hold its port.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from free_ports import free_ports
from local_mysqld import local_mysqld
from root_connection import connect_as_root

from adapters.batch_execution import ReadLimits
from adapters.mysql_node import MySQLNode, NodePasswords, NodeTimeouts
from adapters.mysql_session import MySQLSession, ResultBounds
from adapters.node_checksums import NodeChecksums
from adapters.node_reader import NodeReader
from local_process import mysql_answers
from mysql_server import (
    NodeFiles,
    accounts_sql,
    copy_template,
    names_in,
    node_command,
    remove_stale_socket,
    template_folder,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "mysql-config" / "master.cnf"
DATABASE = "distributed_db"
FIRST_PORT = 18_840
START_TIMEOUT_S = 60
PR_SET_PDEATHSIG = 1
READ_LIMITS = ReadLimits(rows_max=1000, milliseconds_max=1000)
TIMEOUTS = NodeTimeouts(connect_s=5.0, confirm_s=5.0, fence_s=5.0, store_s=20.0, copy_s=60.0, change_s=60.0, read_s=5.0)

THINGS = f"""CREATE TABLE {DATABASE}.things (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  code VARCHAR(40) NOT NULL UNIQUE,
  made DATETIME(6) NULL,
  luck DOUBLE NULL
)"""
"""A table with a unique key of its own, beside the project's `users`."""


class OneMySQL:
    """A running server, seen as root over its socket and as the cluster's accounts over its port."""

    def __init__(self, files: NodeFiles, passwords: dict[str, str]) -> None:
        self._files = files
        self._passwords = passwords
        self.port = files.port
        self.data_folder = files.data

    def root(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as root, past everything; answers with the rows of the last."""
        with contextlib.closing(self.connect_root()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def connect_root(self) -> Any:
        return connect_as_root(self._files.socket)

    def kill_connections(self, user: str = "coordinator") -> None:
        threads = self.root(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'")
        for (thread,) in threads:
            with contextlib.suppress(pymysql.MySQLError):  # it may have gone by itself meanwhile
                self.root(f"KILL {thread}")
        deadline_s = time.monotonic() + 10
        while self.root(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'"):
            assert time.monotonic() < deadline_s, f"connections of {user} do not end"
            time.sleep(0.005)  # an ended connection is gone when its thread is: asked again

    def reset(self) -> None:
        """The state that init.sql leaves, with an empty table `things` beside it."""
        self.kill_connections()
        self.kill_connections("reader")
        self.kill_connections("ddl")
        self.root(
            "DELETE FROM _replication.log",
            "INSERT INTO _replication.log VALUES (0, 0, 0, 0, 0, 0, 0, 0, '', REPEAT('\\0', 16), 0)",
            "UPDATE _replication.meta SET cluster_id = '', node = '', epoch = 0, owner = '', master = '',"
            " committed_timestamp = 0, applied_timestamp = 0, applied_entries = 0, log_epoch = 0, log_timestamp = 0,"
            " ddl_timestamp = NULL, ddl_fingerprint = NULL, copy_note = ''",
            f"TRUNCATE TABLE {DATABASE}.users",
            f"TRUNCATE TABLE {DATABASE}.things",
        )

    def node(self, timeouts: NodeTimeouts = TIMEOUTS) -> MySQLNode:
        """What one coordinator has of this node. Close it."""
        addresses = {"node": ("127.0.0.1", self.port), "nobody": ("127.0.0.1", 1)}
        given = {who: self._passwords[f"{who.upper()}_DB_PASSWORD"] for who in ("coordinator", "cloner", "ddl")}
        return MySQLNode("node", addresses, NodePasswords(**given), DATABASE, timeouts, self.checksums(), READ_LIMITS)

    def checksums(self) -> NodeChecksums:
        """Close it."""
        password = self._passwords["VERIFIER_DB_PASSWORD"]
        return NodeChecksums("127.0.0.1", self.port, password, connect_timeout_s=5.0, timeout_s=5.0)

    def session(self, user: str) -> MySQLSession:
        """A connection of one of the cluster's accounts, not opened yet. Close it."""
        password = self._passwords[f"{user.upper()}_DB_PASSWORD"]
        return MySQLSession("127.0.0.1", self.port, user, password, setup=[], connect_timeout_s=5.0)

    def reader(
        self, *, rows_max: int = 100, bytes_max: int = 1 << 20, connections_max: int = 2, read_timeout_s: float = 5.0
    ) -> NodeReader:
        """Close it."""
        return NodeReader(
            "127.0.0.1",
            self.port,
            self._passwords["READER_DB_PASSWORD"],
            DATABASE,
            connect_timeout_s=5.0,
            read_timeout_s=read_timeout_s,
            bounds=ResultBounds(rows_max, bytes_max),
            connections_max=connections_max,
        )


@contextlib.contextmanager
def one_mysql(folder: Path, *, config: Path = CONFIG, server_id: int = 1) -> Iterator[OneMySQL]:
    """A new server in `folder`, set up as a node is (or with settings of the test's own), and ended by its own handle."""
    mysqld = local_mysqld()
    init_sql = (ROOT / "mysql-config" / "init.sql").read_text(encoding="utf-8")
    passwords = {name: secrets.token_hex(8) for name in names_in(init_sql)}
    accounts = folder / "accounts.sql"
    accounts.write_text(accounts_sql(init_sql, passwords), encoding="utf-8")
    # a cache of our own: nobody else's lock is needed, and no other run waits for us
    template = template_folder(mysqld, config, init_sql, folder / "cache", print)
    port = next(free_ports(FIRST_PORT))
    files = NodeFiles(
        config=config,
        data=folder / "data",
        # a socket's path must be short, and pytest's folders are not
        socket=Path(f"/tmp/one-mysql-{os.getpid()}-{port}.sock"),
        pid_file=folder / "mysqld.pid",
        log=folder / "error.log",
        accounts_sql=accounts,
        port=port,
        server_id=server_id,
    )
    copy_template(template, files.data)
    remove_stale_socket(files.socket)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    process = subprocess.Popen(
        node_command(mysqld, files), preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    )
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not mysql_answers(files.port):
            assert process.poll() is None, files.log.read_text()
            assert time.monotonic() < deadline_s, files.log.read_text()
            time.sleep(0.05)  # a starting server tells nobody
        server = OneMySQL(files, passwords)
        server.root(THINGS)
        yield server
    finally:
        process.kill()
        process.wait(timeout=30)
        remove_stale_socket(files.socket)
