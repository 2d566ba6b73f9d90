"""Whatever the parser calls a read, executed by root in autocommit, leaves the server as it was.

At a node a read runs under an account that may only SELECT, in a transaction that only reads: both are the second net. Here the
parser stands alone. Texts are reads of the corpus with pieces of what writes, locks, sets and waits put into them, so most that
MySQL would execute are nearly reads. Compared are all rows, tables, accounts and settings of the server, files, and the session.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from fuzz_texts import READS, STATEMENTS, fuzz, mutated, soups
from hypothesis import strategies as st
from one_mysql import CONFIG, OneMySQL, one_mysql
from pymysql.constants import SERVER_STATUS
from statement_files import script

from statements.query_parser import Kind, Refused, parse

SIGHT_EVERY = 100
"""Texts between two looks at everything; whatever changed is then looked for one by one."""
ROWS_FETCHED_MAX = 1000
SESSION = (
    "SET SESSION max_execution_time = 300, SESSION cte_max_recursion_depth = 200",
    "USE scratch",
)
CHANGING = ("timestamp", "rand_seed", "pseudo_thread_id", "warning_count", "error_count", "gtid", "statement_id")
"""Parts of names of variables that change by themselves."""
Look = dict[str, object]


class Witness:
    """The server, as it was and as it is."""

    def __init__(self, server: OneMySQL, files: Path) -> None:
        self._server = server
        self.files = files
        self._connection: Any = None
        self._root: Any = server.connect_root()
        schemas = [script(f"{name}.sql") for name in ("statement_schema", "statement_rows", "corpus_schema")]
        for statement in ("CREATE DATABASE scratch", "USE scratch", *(line for lines in schemas for line in lines)):
            self._ask(statement)
        self.taken = self.executed = 0

    def close(self) -> None:
        self._root.close()

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self._root.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def look(self) -> Look:
        tables = self._ask("SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY 1, 2")
        own = ("mysql", "information_schema", "performance_schema", "sys")
        checked = [
            f"`{schema}`.`{name}`" for schema, name, kind in tables if schema not in own and kind == "BASE TABLE"
        ]
        checked += [
            f"mysql.{name}" for name in ("user", "db", "func", "component", "plugin", "global_grants", "tables_priv")
        ]
        variables = [row for row in self._ask("SHOW GLOBAL VARIABLES") if not any(part in row[0] for part in CHANGING)]
        return {
            "tables": tables,
            "rows": self._ask("CHECKSUM TABLE " + ", ".join(checked)),
            "settings": hashlib.sha256(repr(variables).encode()).hexdigest(),
            "accounts": self._ask("SELECT user, host FROM mysql.user ORDER BY 1, 2"),
            "files": sorted(path.name for path in self.files.iterdir()),
        }

    def session(self) -> Look:
        """What the session of the reads keeps: nothing may be left in it, and it holds no lock and no transaction."""
        variables = self._in_session("SHOW SESSION VARIABLES")
        return {
            "variables": [row for row in variables if not any(part in row[0] for part in CHANGING)],
            "named locks": self._in_session("SELECT RELEASE_ALL_LOCKS()"),
            "transactions": self._connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS,
        }

    def _in_session(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchmany(ROWS_FETCHED_MAX))

    def open(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._server.connect_root()
        for statement in SESSION:
            self._in_session(statement)

    def run(self, text: str) -> None:
        self.taken += 1
        try:
            self._in_session(text)
            self.executed += 1
        except pymysql.MySQLError as error:
            if self._connection.open is False or error.args[0] in (2006, 2013):
                self.open()


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    folder = tmp_path_factory.mktemp("reads")
    files = folder / "files"
    files.mkdir()
    config = folder / "reads.cnf"
    settings = CONFIG.read_text("utf-8").replace("secure_file_priv = NULL", f"secure_file_priv = {files}")
    config.write_text(settings + "general_log = OFF\n", "utf-8")
    with one_mysql(folder, config=config) as server:
        witness = Witness(server, files)
        yield witness
        witness.close()


def read_in(text: str) -> str | None:
    """The read that the parser sees, and a node would execute; None: it is something else."""
    try:
        statement = parse(text)
    except Refused:
        return None
    return statement.text if statement.kind is Kind.READ else None


_reads = st.one_of(mutated(READS, 1), mutated(READS, 2), mutated(READS), mutated(STATEMENTS, 2), soups)


def test_what_the_parser_calls_a_read_changes_nothing(witness: Witness) -> None:
    witness.open()
    before = witness.look(), witness.session()
    waiting: list[str] = []

    def look_again() -> None:
        """All that ran since the last look, and if something changed, each by itself from here on."""
        for text in waiting:
            witness.run(text)
        if (witness.look(), witness.session()) != before:
            suspects, after = list(waiting), (witness.look(), witness.session())
            waiting.clear()
            pytest.fail(f"one of these is no read: {suspects}\nbefore {before}\nafter {after}")
        waiting.clear()

    def prove(text: str) -> None:
        if (read := read_in(text)) is not None:
            waiting.append(read)
        if len(waiting) >= SIGHT_EVERY:
            look_again()

    tried = fuzz(_reads, prove, examples=2000)
    look_again()
    print(f"{tried} texts, {witness.taken} of them taken for reads, {witness.executed} executed without an error")
    assert witness.executed > 100, "hardly any read was executed: the test shows nothing"


def test_the_witness_sees_what_writes(witness: Witness) -> None:
    """Each of these is seen by one part of the look, or by the session's."""
    for harm, undo in (
        ("UPDATE source SET a = a + 1", "UPDATE source SET a = a - 1"),
        ("CREATE TABLE n (id INT PRIMARY KEY)", "DROP TABLE n"),
        ("CREATE USER somebody", "DROP USER somebody"),
        ("SET GLOBAL max_connections = 100", "SET GLOBAL max_connections = 200"),
        ("SELECT 1 INTO OUTFILE '{}/f'", ""),
        ("SET SESSION sql_mode = ''", "SET SESSION sql_mode = DEFAULT"),
        ("SELECT GET_LOCK('l', 0)", ""),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "COMMIT"),
    ):
        witness.open()
        before = witness.look(), witness.session()
        witness.run(harm.format(witness.files))
        assert (witness.look(), witness.session()) != before, harm
        if undo:
            witness.run(undo)
    (witness.files / "f").unlink()
