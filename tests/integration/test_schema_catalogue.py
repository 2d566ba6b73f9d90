"""What a real server says of its tables, through the account that the coordinator looks with."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_mysql import OneMySQL, one_mysql

from adapters.mysql_session import MySQLSession, ServerError
from adapters.schema_reader import SchemaReader, SchemaUnknown
from replication.effects import ReadAllowed, ReadRefused
from replication.values import ReadNeed
from statements.query_parser import Refused, parse
from statements.schema_judge import judge
from statements.schema_tables import QUERIES

UNIT = Path(__file__).resolve().parents[1] / "unit"
MADE_BY = "MADE BY | "
SCHEMAS = ("d", "other")


class Leaves:
    schema_version = 3
    schema_in_flux = False

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused:
        return ReadAllowed(1, "node", 1)

    def read_finished(self, node: str, latency_ns: int) -> None:
        return


def reader_with(session: MySQLSession) -> SchemaReader:
    leaves = Leaves()
    return SchemaReader(leaves, leaves, {"node": session}, "d", 10.0)


def soon_ns(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    """A server with the tables of schema_corpus.txt."""
    with one_mysql(tmp_path_factory.mktemp("catalogue")) as server:
        lines = (UNIT / "schema_corpus.txt").read_text("utf-8").splitlines()
        made_by = [line.removeprefix(MADE_BY) for line in lines if line.startswith(MADE_BY)]
        server.root("CREATE DATABASE d", "USE d", *made_by)
        yield server


async def test_the_rows_that_the_corpus_is_judged_by_are_the_servers_own(server: OneMySQL) -> None:
    session = server.session("schema_reader")
    await session.open()
    results = await session.run(list(QUERIES.values()), 10.0)
    session.close()
    found = {
        part: [list(row) for row in result.rows if row[0] in SCHEMAS]
        for part, result in zip(QUERIES, results, strict=True)
    }
    recorded = json.loads((UNIT / "schema_corpus_rows.json").read_text("utf-8"))
    assert {part: sorted(map(str, rows)) for part, rows in found.items()} == {
        part: sorted(map(str, rows)) for part, rows in recorded.items()
    }


async def test_the_catalogue_has_the_project_s_own_tables_and_none_of_the_server_s(server: OneMySQL) -> None:
    reader = reader_with(server.session("schema_reader"))
    catalogue = await reader.catalogue(soon_ns(10))
    users = catalogue.find("distributed_db", "users")
    assert users is not None
    assert users.auto_increment == "id"
    assert [trigger.name for trigger in users.triggers] == ["users_timestamp"]
    assert catalogue.version == 3
    assert catalogue.find("_replication", "log") is None
    assert catalogue.find("mysql", "user") is None
    judge(parse("INSERT INTO distributed_db.users (name, email) SELECT name, 'x' FROM plain ORDER BY id"), catalogue)
    with pytest.raises(Refused, match="which id"):
        judge(parse("INSERT INTO distributed_db.users (name, email) SELECT name, 'x' FROM plain"), catalogue)
    reader.close()


async def test_an_account_that_sees_no_triggers_is_not_believed(server: OneMySQL) -> None:
    reader = reader_with(server.session("reader"))
    with pytest.raises(SchemaUnknown, match="may not see triggers"):
        await reader.catalogue(soon_ns(0.5))
    reader.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM _replication.log",
        "SELECT * FROM mysql.user",
        "INSERT INTO d.plain (id) VALUES (1)",
        "CREATE TABLE d.new (id INT PRIMARY KEY)",
        "DROP TABLE d.plain",
    ],
)
async def test_the_account_may_look_and_nothing_else(server: OneMySQL, sql: str) -> None:
    session = server.session("schema_reader")
    await session.open()
    with pytest.raises(ServerError) as refused:
        await session.run([sql], 10.0)
    assert refused.value.errno in (1142, 1044)
    session.close()


async def test_the_catalogue_is_read_in_a_moment(server: OneMySQL) -> None:
    session = server.session("schema_reader")
    await session.open()
    begun = time.monotonic()
    await session.run(list(QUERIES.values()), 10.0)
    took_ms = (time.monotonic() - begun) * 1e3
    session.close()
    print(f"a catalogue of some thirty tables: {took_ms:.1f} ms")
    assert took_ms < 2_000
