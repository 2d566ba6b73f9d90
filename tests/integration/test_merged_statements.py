"""Random inserts on one real server: executed one by one, in runs as a master would, and in runs as a replica would.

Three databases with the same tables. In the first each insert is executed by itself: what it leaves, and which fail, is right by
definition. In the second a master executes runs and falls back where one fails; only its ids may be others. In the third a
replica applies the first one's entries in runs, with the ids and timestamps that they carry. Ids are burnt in all three.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from one_mysql import OneMySQL, one_mysql

from adapters import node_sql
from adapters.merged_inserts import Run, runs_of
from adapters.node_sql import pins_of
from replication.log import Entry
from statements.query_parser import parse
from statements.schema_catalogue import Catalogue
from statements.schema_merging import STAMPING, may_merge
from statements.schema_tables import QUERIES, catalogue_of

BATCHES = 250
CODES = 400
FIRST, MASTER, REPLICA = "one_by_one", "by_the_master", "by_a_replica"
TABLES = (
    "CREATE TABLE stamped (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) UNIQUE, made DATETIME(6) DEFAULT NOW(6),"
    " timestamp BIGINT UNSIGNED)",
    "CREATE TABLE earlier (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) UNIQUE, timestamp BIGINT UNSIGNED)",
    "CREATE TRIGGER earlier BEFORE INSERT ON earlier FOR EACH ROW SET NEW.timestamp = @write_timestamp",
    f"CREATE TRIGGER stamping BEFORE INSERT ON stamped FOR EACH ROW {STAMPING}",
    "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) UNIQUE, a INT CHECK (a < 90),"
    " twice INT AS (a * 2) STORED, b INT NOT NULL DEFAULT 7)",
    "CREATE TABLE named (code VARCHAR(20) PRIMARY KEY, parent VARCHAR(20), made DATETIME(6),"
    " FOREIGN KEY (parent) REFERENCES named (code))",
    "CREATE TABLE watched (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) UNIQUE)",
    "CREATE TABLE seen (code VARCHAR(20), timestamp BIGINT, PRIMARY KEY (code, timestamp))",
    "CREATE TRIGGER watching AFTER INSERT ON watched FOR EACH ROW INSERT INTO seen VALUES (NEW.code, @write_timestamp)",
    "CREATE TABLE parted (id INT AUTO_INCREMENT, code VARCHAR(20), PRIMARY KEY (id, code))"
    " PARTITION BY KEY (code) PARTITIONS 3",
)
NAMES = ("stamped", "counted", "named", "watched", "seen", "parted")
WITH_IDS = ("stamped", "counted", "watched", "parted")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    with one_mysql(tmp_path_factory.mktemp("merged")) as server:
        yield server


class Side:
    """One database, over one connection as a node's writer is."""

    def __init__(self, server: OneMySQL, name: str) -> None:
        self.cursor: Any = server.connect_root().cursor()
        for sql in (f"CREATE DATABASE {name}", f"USE {name}", *TABLES, node_sql.SESSION):
            self.cursor.execute(sql)
        self.other: Any = server.connect_root().cursor()
        for sql in (f"USE {name}", "SET @write_timestamp = 0, @row_timestamp = 0, @row_step = 0"):
            self.other.execute(sql)
        self.sizes = Counter[int]()
        self.failures = Counter[int]()

    def rows(self, with_ids: bool) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for table in NAMES:
            self.cursor.execute(f"SELECT * FROM {table} ORDER BY code")
            hidden = not with_ids and table in WITH_IDS
            found += [row[1:] if hidden else row for row in self.cursor.fetchall()]
        return found

    def id_of(self, table: str, code: str) -> int:
        self.cursor.execute(f"SELECT id FROM {table} WHERE code = '{code}'")
        return int(self.cursor.fetchone()[0])

    def burn_ids(self, chance: random.Random) -> None:
        for table in WITH_IDS:
            self.other.execute("START TRANSACTION")
            burnt = ", ".join(f"('burnt {number}')" for number in range(chance.randrange(1, 5)))
            self.other.execute(f"INSERT INTO {table} (code) VALUES {burnt}")
            self.other.execute("ROLLBACK")

    def run(self, run: Run, now: str) -> tuple[int, int]:
        """(rows affected, insert id). Raises MySQLError."""
        self.cursor.execute(f"SET {pins_of(run)}, timestamp = {now}")
        self.sizes[len(run.entries)] += 1
        return self.cursor.execute(run.sql), self.cursor.lastrowid

    def one_by_one(self, entries: list[Entry], now: str) -> list[Entry | None]:
        """What became of each; None: MySQL refused it."""
        done: list[Entry | None] = []
        for entry in entries:
            try:
                affected, insert_id = self.run(Run([entry]), now)
            except pymysql.MySQLError as error:
                self.failures[error.args[0]] += 1
                done.append(None)
            else:
                done.append(Entry(entry.timestamp, entry.sql, affected, insert_id, 0, entry.row_at))
        return done

    def merged(self, entries: list[Entry], now: str) -> list[bool]:
        """Which succeeded, of runs that are tried and undone where they fail."""
        done: list[bool] = []
        for run in runs_of(entries):
            try:
                affected, insert_id = self.run(run, now)
            except pymysql.MySQLError:
                done += [one is not None for one in self.one_by_one(list(run.entries), now)]
            else:
                assert affected == len(run.entries)
                done += [True] * affected
                if insert_id and affected > 1:
                    table, last = run.sql.split()[2], run.entries[-1].sql
                    assert self.id_of(table, code_of(last)) == insert_id + affected - 1
        return done


def code_of(sql: str) -> str:
    return sql.partition("VALUES ('")[2].partition("'")[0]


def made(chance: random.Random) -> list[str]:
    """Inserts of some heads, each several times in a row."""
    texts: list[str] = []
    while len(texts) < 24:
        kind, times = chance.randrange(9), chance.randrange(1, 9)
        for _ in range(times):
            code, a = f"c{chance.randrange(CODES)}", chance.choice(("1", "NULL", "50", "95", "'7'", "'x'"))
            parent = chance.choice(("NULL", f"'c{chance.randrange(CODES)}'", f"'{code}'"))
            texts.append(
                [
                    f"INSERT INTO stamped (code) VALUES ('{code}')",
                    f"INSERT INTO stamped (code, made) VALUES ('{code}', NOW())",
                    f"INSERT INTO counted (code, a) VALUES ('{code}', {a})",
                    f"INSERT INTO counted (code, b) VALUES ('{code}', {chance.choice(('DEFAULT', 'NULL', '3'))})",
                    f"INSERT INTO named VALUES ('{code}', {parent}, NOW())",
                    f"INSERT INTO watched (code) VALUES ('{code}')",
                    f"INSERT INTO parted (code) VALUES ('{code}')",
                    f"INSERT INTO counted (code, id) VALUES ('{code}', {chance.choice(('NULL', '0', '7000'))})",
                    f"INSERT INTO counted (code, a) VALUES ('{code}', 1 + 1)",
                ][kind]
            )
    return texts


def entries_of(texts: list[str], first: int, chance: random.Random, catalogue: Catalogue) -> list[Entry]:
    entries: list[Entry] = []
    timestamp = first
    for text in texts:
        statement = parse(text)
        merges = statement.plain is not None and may_merge(statement.plain, catalogue)
        entries.append(Entry(timestamp, statement.text, 1, 0, 0, statement.row_at if merges else 0))
        timestamp += 2 if chance.random() < 0.95 else 5
    return entries


def catalogue_at(server: OneMySQL) -> Catalogue:
    return catalogue_of(1, FIRST, {part: [list(row) for row in server.root(query)] for part, query in QUERIES.items()})


def test_runs_leave_what_their_entries_leave_one_by_one(server: OneMySQL) -> None:
    chance, first = random.Random(11), 1
    alone, master, replica = (Side(server, name) for name in (FIRST, MASTER, REPLICA))
    catalogue = catalogue_at(server)
    for batch in range(BATCHES):
        now = node_sql.seconds(1_764_000_000_000_000 + batch * 1_500_000)
        entries = entries_of(made(chance), first, chance, catalogue)
        first = entries[-1].timestamp + 1
        for side in (alone, master, replica):
            side.cursor.execute("COMMIT")
            if chance.random() < 0.3:
                side.burn_ids(chance)
        done = alone.one_by_one(entries, now)
        assert master.merged(entries, now) == [one is not None for one in done], entries
        for run in runs_of([one for one in done if one is not None]):
            affected, _ = replica.run(run, now)
            assert affected == run.rows_affected, run.sql
        if batch % 10 == 9:
            for side in (alone, master, replica):
                for table in ("stamped", "counted", "watched", "parted", "seen"):
                    side.cursor.execute(f"DELETE FROM {table} WHERE code LIKE '%{batch // 10 % 10}'")
        if batch % 5 == 4:
            assert replica.rows(with_ids=True) == alone.rows(with_ids=True)
            assert master.rows(with_ids=False) == alone.rows(with_ids=False)
    print(
        "runs on the master",
        dict(master.sizes),
        "on the replica",
        dict(replica.sizes),
        "failures",
        dict(alone.failures),
    )
    for side in (master, replica):
        assert sum(times for size, times in side.sizes.items() if size > 2) > 50
    assert {1062, 1048, 1366, 1452, 3819} <= set(alone.failures)


def test_the_trigger_of_an_earlier_version_fails_in_a_run_and_stamps_each_write_by_itself(server: OneMySQL) -> None:
    side, head = Side(server, "upgraded"), "INSERT INTO earlier (code) VALUES "
    entries = [Entry(2 * number, f"{head}('c{number}')", 1, 0, 0, len(head)) for number in (1, 2, 3)]
    now = node_sql.seconds(1_764_000_000_000_000)
    with pytest.raises(pymysql.MySQLError, match="timestamp"):
        side.run(Run(entries, 2), now)
    assert None not in side.one_by_one(entries, now)
    side.cursor.execute("SELECT code, timestamp FROM earlier ORDER BY id")
    assert side.cursor.fetchall() == (("c1", 2), ("c2", 4), ("c3", 6))
