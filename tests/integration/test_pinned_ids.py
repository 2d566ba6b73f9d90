"""One first id pins all ids of a statement: random inserts on two databases of one server whose counters differ.

The first database is the master. The second is a replica: it gets what the log would carry, the text and the id that MySQL
reported. Ids are burnt by rollbacks on both, since a replica may have been master. The statements are those that the judge takes.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from one_mysql import OneMySQL, one_mysql

from statements.query_parser import Refused, parse
from statements.schema_catalogue import Catalogue, ColumnFacts, Table
from statements.schema_judge import judge

STATEMENTS = 1500
TABLES = (
    "CREATE TABLE k (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) NOT NULL UNIQUE, a INT, b INT, CHECK (a < 900))",
    "CREATE TABLE p (id INT AUTO_INCREMENT, code VARCHAR(20), a INT, b INT, PRIMARY KEY (id, code))"
    " PARTITION BY KEY (code) PARTITIONS 4",
    "CREATE TABLE source (s INT PRIMARY KEY, id INT NULL, code VARCHAR(20), a INT)",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    with one_mysql(tmp_path_factory.mktemp("ids")) as server:
        yield server


class Side:
    """One database, over one connection as a node's writer is."""

    def __init__(self, server: OneMySQL, name: str) -> None:
        self.cursor: Any = server.connect_root().cursor()
        for sql in (f"CREATE DATABASE {name}", f"USE {name}", *TABLES):
            self.cursor.execute(sql)
        self.other: Any = server.connect_root().cursor()
        self.other.execute(f"USE {name}")

    def rows(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for table in ("k", "p"):
            self.cursor.execute(f"SELECT * FROM {table} ORDER BY id, code")
            rows += self.cursor.fetchall()
        return rows


def burn_ids(side: Side, chance: random.Random) -> None:
    """In a session of its own: an insert_id that was not used is still set in the other."""
    for table in ("k", "p"):
        side.other.execute("START TRANSACTION")
        values = ",".join(f"('burnt {n}')" for n in range(chance.randrange(1, 6)))
        side.other.execute(f"INSERT INTO {table} (code) VALUES {values}")
        side.other.execute("ROLLBACK")


def ids_are_apart(sql: str) -> bool:
    """Whether the judge lets the ids of a statement pass; for what else it looks at, these tables are too plain."""
    columns = {name: ColumnFacts(name, "int", is_auto_increment=name == "id") for name in ("id", "code", "a", "b")}
    try:
        judge(parse(sql), Catalogue(1, "d", [Table("d", table, columns) for table in ("k", "p", "source")]))
    except Refused as refused:
        return "statements of their own" not in refused.reason
    return True


def made(chance: random.Random) -> list[str]:
    """A statement, and before it what fills its source."""
    table, with_id = chance.choice("kkp"), chance.random() < 0.4
    columns = "(id, code, a)" if with_id else "(code, a)"

    def row(source: bool) -> str:
        ids = ["NULL", "NULL", "NULL", "0", str(chance.randrange(1, 6000))] + ([] if source else ["DEFAULT"])
        values = [chance.choice(ids)] if with_id or source else []
        return "(" + ", ".join([*values, f"'c{chance.randrange(60)}'", chance.choice(("1", "2", "3", "950"))]) + ")"

    rows = ", ".join(row(source=False) for _ in range(chance.randrange(1, 6)))
    source = [f"({n}, {row(source=True)[1:]}" for n in range(chance.randrange(1, 6))]
    filled = ["DELETE FROM source", "INSERT INTO source VALUES " + ", ".join(source)]
    query = f"SELECT {'id, ' if with_id else ''}code, a FROM source ORDER BY s"
    changes = "ON DUPLICATE KEY UPDATE a = LEAST(VALUES(a), 5) + 1, b = IFNULL(b, 0) + 1"
    return chance.choice(
        [
            [f"INSERT INTO {table} {columns} VALUES {rows}"],
            [f"INSERT IGNORE INTO {table} {columns} VALUES {rows}"],
            [f"REPLACE INTO {table} {columns} VALUES {rows}"],
            [f"INSERT INTO {table} (code, a) VALUES ('c{chance.randrange(60)}', 1) {changes}"],
            [*filled, f"INSERT INTO {table} {columns} {query}"],
            [*filled, f"INSERT IGNORE INTO {table} {columns} {query}"],
            [*filled, f"REPLACE INTO {table} {columns} {query}"],
            [f"DELETE FROM {table} WHERE code = 'c{chance.randrange(60)}'"],
            [f"UPDATE {table} SET id = id + {chance.randrange(1, 30)} ORDER BY id DESC LIMIT 1"],
        ]
    )


def test_the_reported_id_gives_the_same_rows_where_the_counters_differ(server: OneMySQL) -> None:
    chance, seen = random.Random(3), Counter[str]()
    master, replica = Side(server, "the_master"), Side(server, "the_replica")
    for _ in range(STATEMENTS):
        for side in (master, replica):
            if chance.random() < 0.3:
                burn_ids(side, chance)
        *before, sql = made(chance)
        if not ids_are_apart(sql):
            seen["refused"] += 1
            continue
        for side in (master, replica):
            for filling in before:
                side.cursor.execute(filling)
        kind = " ".join(sql.split()[:2]) + (" … SELECT" if before else "")
        try:
            affected = master.cursor.execute(sql)
        except pymysql.MySQLError:
            seen[f"{kind}, failed"] += 1
            continue
        seen[kind] += 1
        if insert_id := master.cursor.lastrowid:
            replica.cursor.execute(f"SET insert_id = {insert_id}")
        assert replica.cursor.execute(sql) == affected, sql
        assert replica.rows() == master.rows(), sql
    print(dict(sorted(seen.items())))
    assert min(seen[kind] for kind in seen if "failed" not in kind) > 20
