"""Schema changes on real processes: each is made once on every node, whatever is killed in its middle."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import check_record, definitions, wait_until_equal
from recording_client import Load
from under_load import acknowledged_more, under_load

ROWS = 1_000_000
ROWS_AT_ONCE = 50_000
MIDDLE_S = 60.0
LEVEL_S = 90.0
UNDER_WAY = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'ddl' AND info LIKE 'ALTER TABLE big%'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("schema")) as handle:
        yield handle


@pytest.fixture(scope="module")
def big(cluster: ClusterHandle) -> ClusterHandle:
    """With a table of a million rows, whose changes take seconds."""
    cluster.query("CREATE TABLE big (id INT PRIMARY KEY, n INT NOT NULL)").raise_for_status()
    for first in range(0, ROWS, ROWS_AT_ONCE):
        values = ",".join(f"({row},{row % 97})" for row in range(first, first + ROWS_AT_ONCE))
        cluster.query(f"INSERT INTO big VALUES {values}", timeout_s=60).raise_for_status()
    wait_until_equal(cluster, within_s=60)
    return cluster


def changed(cluster: ClusterHandle, sql: str) -> int:
    """The change's timestamp."""
    answer = cluster.query(sql, timeout_s=120)
    assert answer.status_code == 200, answer.text
    timestamp: int = answer.json()["timestamp"]
    return timestamp


def wait_until_level(cluster: ClusterHandle) -> None:
    """And until no change is under way."""
    deadline_s = time.monotonic() + LEVEL_S
    while True:
        try:
            status = cluster.get("coordinator", "/status").json()
        except httpx.HTTPError:
            status = {"nodes": {}}
        nodes = status["nodes"].values()
        level = [(node["state"], node["member"]) == ("level", True) for node in nodes]
        if all(level) and status.get("current_master") and status["schema_change"] is None:
            return
        assert time.monotonic() < deadline_s, status
        time.sleep(0.05)  # nobody tells: looked again


def test_all_usual_changes_are_made_on_every_node_alike(cluster: ClusterHandle) -> None:
    statements = (
        "CREATE TABLE authors (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40) NOT NULL, born YEAR)",
        "CREATE TABLE books (id INT PRIMARY KEY, author INT, title TEXT,"
        " FOREIGN KEY (author) REFERENCES authors (id) ON DELETE CASCADE)",
        "INSERT INTO authors (name) VALUES ('Ada'), ('Lovelace'), ('Grace')",
        "INSERT INTO books VALUES (1, 1, 'Notes'), (2, 3, 'COBOL')",
        "ALTER TABLE authors ADD COLUMN seen TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), ADD UNIQUE (name)",
        "CREATE INDEX born ON authors (born)",
        "ALTER TABLE books ADD COLUMN length INT GENERATED ALWAYS AS (CHAR_LENGTH(title)) STORED, ADD CHECK (id > 0)",
        "CREATE VIEW known AS SELECT name, title FROM authors JOIN books ON author = authors.id",
        "DELETE FROM authors WHERE id = 1",
        "RENAME TABLE books TO volumes",
        "CREATE TABLE drafts (id INT PRIMARY KEY)",
        "INSERT INTO drafts VALUES (1), (2)",
        "TRUNCATE TABLE drafts",
        "INSERT INTO drafts VALUES (1)",
        "DROP VIEW known",
        "CREATE DATABASE archive",
        "CREATE TABLE archive.papers (id INT PRIMARY KEY, body TEXT)",
        "INSERT INTO archive.papers VALUES (7, 'kept')",
        "DROP INDEX born ON authors",
    )
    timestamps = [changed(cluster, sql) for sql in statements]
    assert timestamps == sorted(set(timestamps))
    wait_until_equal(cluster, within_s=15)
    for node in cluster.nodes:
        assert cluster.rows_on(node, "SELECT id, title, length FROM distributed_db.volumes") == [(2, "COBOL", 5)]
        assert cluster.rows_on(node, "SELECT id FROM distributed_db.drafts") == [(1,)]
        assert cluster.rows_on(node, "SELECT COUNT(DISTINCT seen) FROM distributed_db.authors") == [(1,)]
    read = cluster.query("SELECT body FROM archive.papers")
    assert (read.status_code, read.json()["data"]) == (200, [{"body": "kept"}])
    changed(cluster, "DROP DATABASE archive")
    wait_until_equal(cluster, within_s=15)
    assert cluster.query("SELECT body FROM archive.papers").status_code in (400, 403)


def test_a_change_that_mysql_refuses_is_answered_so_and_leaves_no_trace(cluster: ClusterHandle) -> None:
    before = {node: definitions(cluster, node) for node in cluster.nodes}
    for sql, errno in (
        ("CREATE TABLE users (id INT PRIMARY KEY)", 1050),
        ("ALTER TABLE users ADD COLUMN name INT", 1060),
        ("CREATE TABLE keyless (n INT)", 3750),
        ("DROP TABLE nowhere", 1051),
    ):
        answer = cluster.query(sql)
        body = answer.json()
        assert (answer.status_code, body["error"]["errno"], body["committed"]) == (400, errno, False), body
    assert cluster.query("INSERT INTO users (name, email) VALUES ('still', 'here')").status_code == 200
    wait_until_equal(cluster, within_s=15)
    assert before == {node: definitions(cluster, node) for node in cluster.nodes}


async def test_writes_wait_for_a_change_and_none_of_them_fails(cluster: ClusterHandle) -> None:
    async def act(load: Load) -> None:
        for number in range(5):
            await asyncio.to_thread(
                changed, cluster, f"ALTER TABLE users ADD COLUMN extra_{number} INT DEFAULT {number}"
            )
            await acknowledged_more(load, 50, within_s=15)

    record = await under_load(cluster, "altered", act, clients=8)
    assert set(record.statuses()) == {200}
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "altered")


async def test_a_node_that_was_away_makes_the_changes_that_it_missed(cluster: ClusterHandle) -> None:
    await asyncio.to_thread(cluster.kill, "replica-3")

    async def act(load: Load) -> None:
        await asyncio.to_thread(changed, cluster, "ALTER TABLE users ADD COLUMN missed INT DEFAULT 1")
        await acknowledged_more(load, 50, within_s=15)
        await asyncio.to_thread(changed, cluster, "ALTER TABLE users DROP COLUMN missed")
        await asyncio.to_thread(cluster.start, "replica-3")
        await acknowledged_more(load, 50, within_s=15)

    record = await under_load(cluster, "missed", act, clients=4)
    assert set(record.statuses()) == {200}
    await asyncio.to_thread(wait_until_level, cluster)
    wait_until_equal(cluster, within_s=15)
    check_record(cluster, record, "missed")


@pytest.mark.parametrize("victim", ["the master", "a replica", "the coordinator", "everything"])
def test_a_change_of_a_million_rows_is_made_once_whatever_is_killed_in_its_middle(
    big: ClusterHandle, victim: str
) -> None:
    wait_until_level(big)
    status = big.get("coordinator", "/status").json()
    master, replica = status["current_master"], status["replicas"][0]
    column = "killed_" + victim.split()[-1]
    watched = replica if victim == "a replica" else master
    names = {"the coordinator": ["coordinator"], "everything": ["coordinator", *big.nodes]}.get(victim, [watched])
    sql = f"ALTER TABLE big ADD COLUMN {column} INT NOT NULL DEFAULT 7, ADD INDEX (n, {column}), ALGORITHM = INPLACE"
    with httpx.Client(timeout=120, trust_env=False) as client:
        answers: list[httpx.Response | httpx.HTTPError] = []

        def send() -> None:
            try:
                answers.append(client.post(big.url("coordinator") + "/query", json={"query": sql}))
            except httpx.HTTPError as error:
                answers.append(error)

        async def run() -> None:
            sending = asyncio.create_task(asyncio.to_thread(send))
            deadline_s = time.monotonic() + MIDDLE_S
            while big.rows_on(watched, UNDER_WAY) == [(0,)]:
                assert time.monotonic() < deadline_s, "it was never under way"
                await asyncio.sleep(0.01)  # nobody tells: looked again
            await asyncio.to_thread(big.kill, *names)
            await asyncio.to_thread(big.start, *names)
            await sending

        asyncio.run(run())
    if victim in ("the master", "a replica"):
        (answer,) = answers
        assert isinstance(answer, httpx.Response), answer
        assert answer.status_code == 200, answer.text
    wait_until_level(big)
    if victim == "a replica":
        assert big.get("coordinator", "/status").json()["epoch"] == status["epoch"], (
            "a long change is no reason to elect"
        )
    wait_until_equal(big, within_s=60)
    for node in big.nodes:
        assert big.rows_on(node, f"SELECT COUNT(*), SUM({column}) FROM distributed_db.big") == [(ROWS, 7 * ROWS)]
        assert big.rows_on(node, "SELECT ddl_timestamp FROM _replication.meta") == [(None,)]
