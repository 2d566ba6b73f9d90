"""Schema changes on one real server: each is made once, whatever is cut in its middle, and by nobody who was fenced off.

Hard case: the connection is cut between the note on the disk and the end of the statement. The statement is held there by
LOCK INSTANCE FOR BACKUP, for which every schema change waits; then it is ended, and was not made. Or root makes it in its
place, so it was made and nobody heard of it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import pymysql
import pytest
from node_effects import COMMIT, NODE, NOW_US, execute, insert, prepare, row_of, store
from one_mysql import DATABASE, OneMySQL, one_mysql

from adapters.mysql_node import CommandFailed, MySQLNode
from adapters.mysql_session import ServerError
from adapters.node_reader import ConnectionIsNew, NodeReader
from adapters.node_schema import DICTIONARY
from replication.effects import Fence, RunSchemaChange
from replication.log import EMPTY_LOG_END, LOG_BEGIN, Batch, ChangeStep, Entry, SchemaChange, end_after, next_row
from replication.replies import Fenced, Misplaced, Outbid, SchemaChanged
from replication.values import Certainty, Disturbed, Executed, Rejected

NOW = datetime(1970, 1, 1) + timedelta(microseconds=NOW_US)
INTENT = 40
EXECUTED = SchemaChanged((Executed(0, 0),))
WAITING = "SELECT id FROM information_schema.processlist WHERE user = 'ddl' AND state LIKE 'Waiting for %lock'"
USERS_DATABASES = "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'user_%'"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    with one_mysql(tmp_path_factory.mktemp("schema")) as running:
        yield running


@pytest.fixture
def server(shared: OneMySQL) -> OneMySQL:
    """Without anything that a test before has made."""
    shared.reset()
    for (name,) in shared.root(USERS_DATABASES):
        shared.root(f"DROP DATABASE {name}")
    made = f"SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = '{DATABASE}'"
    for name, kind in shared.root(made):
        if name not in ("users", "things"):
            shared.root(
                "SET foreign_key_checks = 0", f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {DATABASE}.`{name}`"
            )
    for (name,) in shared.root(
        "SELECT trigger_name FROM information_schema.triggers WHERE event_object_table = 'things'"
    ):
        shared.root(f"DROP TRIGGER {DATABASE}.{name}")
    return shared


@contextlib.asynccontextmanager
async def coordinator(server: OneMySQL, epoch: int, owner: str) -> AsyncIterator[tuple[MySQLNode, int]]:
    """One that has fenced the node, and which change the node says it has executed."""
    node = server.node()
    try:
        yield node, await fence(node, epoch, owner)
    finally:
        node.close()


async def fence(node: MySQLNode, epoch: int, owner: str) -> int:
    reply = await node.carry_out(Fence(NODE, 0, epoch, owner))
    assert isinstance(reply, Fenced), reply
    return reply.status.executed_change


@pytest.fixture
async def node(server: OneMySQL) -> AsyncIterator[MySQLNode]:
    """A coordinator "a" that owns epoch 1 on the node."""
    async with coordinator(server, 1, "a") as (node, _):
        yield node


def change(sql: str, *, epoch: int = 1, owner: str = "a", applied: int = 0, intent: int = INTENT) -> RunSchemaChange:
    return RunSchemaChange(NODE, 0, epoch, owner, applied, intent, NOW_US, sql)


def look(server: OneMySQL) -> list[tuple[Any, ...]]:
    """The dictionary as root sees it, with all numbers of InnoDB's, and the rows of the tables."""
    with contextlib.closing(server.connect_root()) as root, root.cursor() as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            return sorted(cursor.fetchall(), key=repr)

        tables = rows(
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = '{DATABASE}' AND table_type = 'BASE TABLE'"
        )
        found = [row for query in DICTIONARY for row in rows(query)]
        return found + [row for (name,) in tables for row in rows(f"SELECT '{name}', t.* FROM {DATABASE}.{name} AS t")]


async def until(server: OneMySQL, query: str) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(20):
        while True:
            rows = await asyncio.to_thread(server.root, query)
            if rows:
                return rows
            await asyncio.sleep(0.005)  # a statement under way is seen by looking


async def cut_in_its_middle(server: OneMySQL, node: MySQLNode, effect: RunSchemaChange) -> None:
    """It is noted, but not made: its connection ends while it waits."""
    with contextlib.closing(server.connect_root()) as root, root.cursor() as cursor:
        cursor.execute("LOCK INSTANCE FOR BACKUP")
        running = asyncio.create_task(node.carry_out(effect))
        try:
            await until(server, WAITING)
            await asyncio.to_thread(server.kill_connections, "ddl")
        finally:
            cursor.execute("UNLOCK INSTANCE")
        with pytest.raises(CommandFailed) as caught:
            await running
    assert caught.value.certainty is Certainty.UNKNOWN
    assert server.root("SELECT ddl_timestamp FROM _replication.meta") == [(effect.intent_timestamp,)]


TWO = ("CREATE TABLE a (id INT PRIMARY KEY, n INT)", "CREATE TABLE b (id INT PRIMARY KEY, n INT)")
ROWS = ("INSERT INTO a VALUES (1, 10), (2, 20)", "INSERT INTO b VALUES (3, 30)")
PARTS = (
    "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id)"
    " (PARTITION low VALUES LESS THAN (10), PARTITION high VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE q (id INT PRIMARY KEY)",
    "INSERT INTO p VALUES (1), (11)",
    "INSERT INTO q VALUES (2)",
)
CHANGES = {
    "create": ((), "CREATE TABLE a (id INT PRIMARY KEY)"),
    "create database": ((), "CREATE DATABASE user_made"),
    "drop database": (("CREATE DATABASE user_made",), "DROP DATABASE user_made"),
    "add column": ((*TWO, *ROWS), "ALTER TABLE a ADD COLUMN c INT NOT NULL DEFAULT 7"),
    "add column by copying": ((*TWO, *ROWS), "ALTER TABLE a ADD COLUMN c INT DEFAULT 7, ALGORITHM = COPY"),
    "drop column": ((*TWO, *ROWS), "ALTER TABLE a DROP COLUMN n"),
    "shift columns": (
        ("CREATE TABLE a (id INT PRIMARY KEY, n INT, m INT)", "INSERT INTO a VALUES (1, 10, 100)"),
        "ALTER TABLE a DROP COLUMN n, RENAME COLUMN m TO n, ADD COLUMN m INT",
    ),
    "swap columns": (
        ("CREATE TABLE a (id INT PRIMARY KEY, n INT, m INT)", "INSERT INTO a VALUES (1, 10, 100)"),
        "ALTER TABLE a RENAME COLUMN m TO n, RENAME COLUMN n TO m",
    ),
    "modify": ((*TWO, *ROWS), "ALTER TABLE a MODIFY COLUMN n VARCHAR(20)"),
    "drop": ((*TWO, *ROWS), "DROP TABLE a, b"),
    "rename": ((*TWO, *ROWS), "RENAME TABLE a TO c"),
    "swap equal tables": ((*TWO, *ROWS), "RENAME TABLE a TO c, b TO a, c TO b"),
    "truncate": ((*TWO, *ROWS), "TRUNCATE TABLE a"),
    "rebuild": ((*TWO, *ROWS), "ALTER TABLE a FORCE"),
    "create index": ((*TWO, *ROWS), "CREATE INDEX i ON a (n)"),
    "drop index": ((*TWO, "CREATE INDEX i ON a (n)"), "DROP INDEX i ON a"),
    "create view": (TWO, "CREATE VIEW v AS SELECT n FROM a"),
    "drop view": ((*TWO, "CREATE DEFINER = ddl@'%' VIEW v AS SELECT n FROM a"), "DROP VIEW v"),
    "create trigger": (TWO, "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.n = 1"),
    "drop trigger": ((*TWO, "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.n = 1"), "DROP TRIGGER t"),
    "foreign key": (TWO, "ALTER TABLE a ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES b (id) ON DELETE CASCADE"),
    "check": (TWO, "ALTER TABLE a ADD CONSTRAINT c CHECK (n > 0)"),
    "comment": (TWO, "ALTER TABLE a COMMENT = 'x'"),
    "default": (TWO, "ALTER TABLE a ALTER COLUMN n SET DEFAULT 5"),
    "drop partition": (PARTS, "ALTER TABLE p DROP PARTITION low"),
    "truncate partition": (PARTS, "ALTER TABLE p TRUNCATE PARTITION low"),
    "exchange partition": (PARTS, "ALTER TABLE p EXCHANGE PARTITION low WITH TABLE q"),
    "reorganize partition": (
        PARTS,
        "ALTER TABLE p REORGANIZE PARTITION low INTO (PARTITION lower VALUES LESS THAN (5), PARTITION low VALUES LESS THAN (10))",
    ),
}
"""What is there before, and the change."""


def prepared(server: OneMySQL, name: str) -> str:
    setup, sql = CHANGES[name]
    server.root(f"USE {DATABASE}", *setup)
    return sql


def make_by_hand(server: OneMySQL, sql: str) -> None:
    server.root(f"USE {DATABASE}", sql)


# ------------------------------------------------------------------------------------------ once


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_is_asked_for_again_is_not_made_again(node: MySQLNode, server: OneMySQL, name: str) -> None:
    sql = prepared(server, name)
    before = look(server)
    reply = await node.carry_out(change(sql))
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, tuple), reply
    after = look(server)
    assert after != before
    assert await node.carry_out(change(sql)) == EXECUTED
    async with coordinator(server, 2, "b") as (other, executed_change):
        assert executed_change == INTENT
        assert await other.carry_out(change(sql, epoch=2, owner="b")) == EXECUTED
    assert look(server) == after


@pytest.mark.parametrize("is_made", [False, True])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_was_cut_in_its_middle_is_made_once_in_all(
    node: MySQLNode, server: OneMySQL, name: str, *, is_made: bool
) -> None:
    sql = prepared(server, name)
    before = look(server)
    await cut_in_its_middle(server, node, change(sql))
    assert look(server) == before
    if is_made:
        make_by_hand(server, sql)
        before = look(server)
    async with coordinator(server, 2, "b") as (other, executed_change):
        assert executed_change == (INTENT if is_made else 0)
        reply = await other.carry_out(change(sql, epoch=2, owner="b"))
        assert isinstance(reply, SchemaChanged)
        assert isinstance(reply.outcome, tuple), reply
        assert (look(server) == before) is is_made
        assert await fence(other, 2, "b") == INTENT


@pytest.mark.parametrize(
    ("setup", "sql", "errno"),
    [
        ((), "CREATE TABLE users (id INT PRIMARY KEY)", 1050),
        ((), "ALTER TABLE users ADD COLUMN name INT", 1060),
        ((), "CREATE TABLE keyless (n INT)", 3750),
        (TWO, "DROP TABLE a, nowhere, b", 1051),
        (
            ("CREATE TABLE a (id INT PRIMARY KEY, n INT)", "INSERT INTO a VALUES (1, 5), (2, 5)"),
            "ALTER TABLE a ADD UNIQUE (n)",
            1062,
        ),
        (
            ("CREATE TABLE a (id INT PRIMARY KEY, n INT)", "INSERT INTO a VALUES (1, 5), (2, 5)"),
            "ALTER TABLE a ADD UNIQUE (n), ALGORITHM = COPY",
            1062,
        ),
        (TWO, "RENAME TABLE a TO c, b TO users", 1050),
        (
            ("CREATE TABLE a (id INT PRIMARY KEY, n INT)", "INSERT INTO a VALUES (1, NULL)"),
            "ALTER TABLE a MODIFY n INT NOT NULL",
            1138,
        ),
    ],
)
async def test_a_change_that_mysql_refuses_leaves_the_dictionary_as_it_was(
    node: MySQLNode, server: OneMySQL, setup: tuple[str, ...], sql: str, errno: int
) -> None:
    server.root(f"USE {DATABASE}", *setup)
    before = look(server)
    reply = await node.carry_out(change(sql))
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, Rejected)
    assert reply.outcome.errno == errno
    assert look(server) == before
    assert await fence(node, 1, "a") == 0


async def test_a_change_that_waits_too_long_for_a_table_is_a_disturbance_and_can_be_made_later(
    node: MySQLNode, server: OneMySQL
) -> None:
    sql = prepared(server, "add column")
    with contextlib.closing(server.connect_root()) as root, root.cursor() as cursor:
        root.begin()
        cursor.execute(f"SELECT * FROM {DATABASE}.a")
        reply = await node.carry_out(change(sql))
        assert isinstance(reply, SchemaChanged)
        assert isinstance(reply.outcome, Disturbed)
        assert reply.outcome.errno == 1205
    assert isinstance(await node.carry_out(change(sql)), SchemaChanged)
    assert await fence(node, 1, "a") == INTENT


async def test_what_is_left_over_on_one_server_s_disk_is_a_disturbance(node: MySQLNode, server: OneMySQL) -> None:
    """A server that was killed in a CREATE DATABASE may leave the folder. No other node has it: it is no word about the text."""
    folder = server.data_folder / "user_ghost"
    folder.mkdir()
    try:
        reply = await node.carry_out(change("CREATE DATABASE user_ghost"))
    finally:
        folder.rmdir()
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, Disturbed)
    assert reply.outcome.errno == 3678
    file = server.data_folder / DATABASE / "ghost.ibd"
    file.write_bytes(bytes(1 << 16))
    try:
        reply = await node.carry_out(change("CREATE TABLE ghost (id INT PRIMARY KEY)"))
    finally:
        file.unlink()
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, Disturbed)
    assert reply.outcome.errno == 1813


async def test_the_outcome_s_row_ends_the_note(node: MySQLNode, server: OneMySQL) -> None:
    sql = prepared(server, "create")
    intent = next_row(EMPTY_LOG_END, 1, Batch(NOW_US, (), SchemaChange(ChangeStep.INTENT, INTENT, NOW_US, sql)), INTENT)
    await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[intent], apply=[intent]))
    await node.carry_out(change(sql, applied=INTENT))
    end = end_after(intent)
    done = next_row(end, 1, Batch(NOW_US, (), SchemaChange(ChangeStep.DONE, INTENT, NOW_US, sql)), INTENT + 1)
    await node.carry_out(store(1, "a", intent.position, INTENT, append=[done], apply=[done]))
    assert server.root("SELECT ddl_timestamp, ddl_fingerprint FROM _replication.meta") == [(None, None)]
    assert await fence(node, 1, "a") == 0


# ------------------------------------------------------------------------------------------ fences


@contextlib.asynccontextmanager
async def held(server: OneMySQL, node: MySQLNode, effect: RunSchemaChange) -> AsyncIterator[asyncio.Task[Any]]:
    """The change is under way, and waits for a table that root reads."""
    with contextlib.closing(server.connect_root()) as root, root.cursor() as cursor:
        root.begin()
        cursor.execute(f"SELECT * FROM {DATABASE}.a")
        running = asyncio.create_task(node.carry_out(effect))
        try:
            await until(server, WAITING)
            yield running
        finally:
            root.rollback()
            await asyncio.wait([running])
            # whoever does not ask for the result need not hear of it
            running.exception()


async def test_a_fence_ends_a_change_of_another_coordinator_and_says_that_it_was_not_made(
    node: MySQLNode, server: OneMySQL
) -> None:
    sql = prepared(server, "add column by copying")
    before = look(server)
    async with held(server, node, change(sql)) as running, coordinator(server, 2, "b") as (_, executed_change):
        assert executed_change == 0
        with pytest.raises(CommandFailed):
            await running
        assert look(server) == before
        assert not server.root(WAITING)
    assert look(server) == before, "not even now that the table is free"


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.2, 0.3, 0.4, 0.6])
async def test_a_fence_in_the_middle_of_a_long_change_says_truly_whether_it_was_made(
    node: MySQLNode, server: OneMySQL, after_s: float
) -> None:
    server.root(
        f"USE {DATABASE}",
        "CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, n INT)",
        "INSERT INTO a (n) VALUES (1), (2), (3), (4)",
        *["INSERT INTO a (n) SELECT n FROM a"] * 14,
    )
    sql = "ALTER TABLE a ADD COLUMN c INT NOT NULL DEFAULT 7, ALGORITHM = COPY"
    running = asyncio.create_task(node.carry_out(change(sql)))
    await asyncio.sleep(after_s)  # it is struck at different moments
    has_column = "SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'a' AND column_name = 'c'"
    async with coordinator(server, 2, "b") as (other, executed_change):
        was_made = server.root(has_column) == [(1,)]
        assert executed_change == (INTENT if was_made else 0)
        await asyncio.wait([running])
        if not running.exception():
            assert was_made
        reply = await other.carry_out(change(sql, epoch=2, owner="b"))
        assert isinstance(reply, SchemaChanged)
        assert isinstance(reply.outcome, tuple)
        assert server.root(has_column) == [(1,)]
        rest = "SELECT name FROM information_schema.innodb_tables WHERE name LIKE '%#sql%'"
        assert server.root(rest) == [], "nothing is left of the one that was cut short"


async def test_a_coordinator_that_was_fenced_off_meanwhile_cannot_begin_a_change(
    node: MySQLNode, server: OneMySQL
) -> None:
    """It was frozen just before it sent the command."""
    sql = prepared(server, "create")
    async with coordinator(server, 2, "b"):
        with pytest.raises(CommandFailed):
            await node.carry_out(change(sql))
    assert server.root(f"SHOW TABLES FROM {DATABASE} LIKE 'a'") == []
    assert server.root("SELECT ddl_timestamp FROM _replication.meta") == [(None,)]


async def test_a_fence_that_is_outbid_ends_nobody_s_change(node: MySQLNode, server: OneMySQL) -> None:
    sql = prepared(server, "add column by copying")
    async with held(server, node, change(sql)) as running:
        late = server.node()
        assert isinstance(await late.carry_out(Fence(NODE, 0, 0, "b")), Outbid)
        late.close()
        assert not running.done()
    assert isinstance(running.result().outcome, tuple)


@pytest.mark.parametrize("wrong", [{"epoch": 2}, {"owner": "b"}, {"applied": 1}])
async def test_a_change_for_another_epoch_or_another_place_is_not_begun(
    node: MySQLNode, server: OneMySQL, wrong: dict[str, Any]
) -> None:
    sql = prepared(server, "create")
    reply = await node.carry_out(change(sql, **wrong))
    assert isinstance(reply, Misplaced)
    assert (reply.status.epoch, reply.status.owner, reply.status.applied_timestamp) == (1, "a", 0)
    assert server.root("SELECT ddl_timestamp FROM _replication.meta") == [(None,)]
    assert await node.carry_out(change(sql)) == EXECUTED


async def test_rows_are_stored_while_a_change_is_under_way(node: MySQLNode, server: OneMySQL) -> None:
    sql = prepared(server, "add column by copying")
    async with held(server, node, change(sql)):
        row = row_of(EMPTY_LOG_END, 1, Entry(2, insert("x"), 1, 1))
        async with asyncio.timeout(5):
            await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row]))
    assert await fence(node, 1, "a") == INTENT


# ------------------------------------------------------------------------------------------ the same on every node


async def test_rows_that_a_change_rewrites_get_its_own_time(node: MySQLNode, server: OneMySQL) -> None:
    prepared(server, "add column")
    for column, expected in (("TIMESTAMP(6)", NOW), ("DATETIME", NOW.replace(microsecond=0))):
        digits = "(6)" if "6" in column else ""
        name = column[0].lower()
        sql = f"ALTER TABLE a ADD COLUMN {name} {column} NOT NULL DEFAULT CURRENT_TIMESTAMP{digits}"
        await node.carry_out(change(sql, intent=INTENT + len(column)))
        assert server.root("SET time_zone = '+00:00'", f"SELECT DISTINCT {name} FROM {DATABASE}.a") == [(expected,)]


async def test_the_dictionary_looks_the_same_however_often_and_after_whatever_no_change_did(
    node: MySQLNode, server: OneMySQL
) -> None:
    """Statistics, rows, a broken view, a full-text index that is filled: nothing of it is a schema change."""
    server.root(
        f"USE {DATABASE}",
        "CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, n INT, t TEXT, KEY (n), FULLTEXT (t))",
        "CREATE TABLE b (id INT PRIMARY KEY)",
        "CREATE VIEW v AS SELECT id FROM b",
        "DROP TABLE b",
    )
    await cut_in_its_middle(server, node, change("CREATE TABLE c (id INT PRIMARY KEY)"))
    server.root(
        f"USE {DATABASE}",
        "INSERT INTO a (n, t) VALUES (1, 'some words'), (2, 'more words')",
        "ANALYZE TABLE a",
        "FLUSH TABLES",
        "DELETE FROM a",
    )
    with pytest.raises(pymysql.MySQLError):
        server.root(f"SELECT * FROM {DATABASE}.v")
    for epoch in range(2, 6):
        async with coordinator(server, epoch, "b") as (_, executed_change):
            assert executed_change == 0


# ------------------------------------------------------------------------------------------ accounts


async def read(reader: NodeReader, sql: str) -> list[tuple[Any, ...]]:
    """With leave that was given just now; a connection may have to be opened first."""
    while True:
        with contextlib.suppress(ConnectionIsNew):  # the leave is older than the connection: another one
            return list((await reader.read([sql], time.monotonic_ns()))[0].rows)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE {}.t (id INT PRIMARY KEY)",
        "DROP DATABASE {}",
        "RENAME TABLE users TO {}.t",
        "CREATE VIEW {}.v AS SELECT 1",
    ],
)
@pytest.mark.parametrize("schema", ["mysql", "sys", "performance_schema", "_replication", "information_schema"])
async def test_a_change_cannot_touch_what_is_not_the_users(
    node: MySQLNode, server: OneMySQL, schema: str, sql: str
) -> None:
    before = look(server)
    reply = await node.carry_out(change(sql.format(schema)))
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, Rejected)
    assert reply.outcome.errno in (1044, 1142), reply
    assert look(server) == before


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE _replication.log",
        "ALTER TABLE _replication.meta ADD COLUMN c INT",
        "TRUNCATE TABLE _replication.log",
        "CREATE VIEW v AS SELECT * FROM _replication.meta",
        "CREATE VIEW v AS SELECT * FROM mysql.user",
        "CREATE TRIGGER t BEFORE INSERT ON _replication.log FOR EACH ROW SET @x = 1",
        "CREATE USER nobody",
        "GRANT ALL ON *.* TO ddl",
        "CREATE FUNCTION f () RETURNS INT DETERMINISTIC RETURN 1",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "SET GLOBAL max_connections = 1",
        "SHUTDOWN",
    ],
)
async def test_the_account_has_no_other_rights(node: MySQLNode, sql: str) -> None:
    reply = await node.carry_out(change(sql))
    assert isinstance(reply, SchemaChanged)
    assert isinstance(reply.outcome, Rejected)
    assert reply.outcome.errno in (1044, 1045, 1142, 1143, 1227, 1370), reply


async def test_views_can_be_read_and_triggers_fire_for_the_other_accounts(node: MySQLNode, server: OneMySQL) -> None:
    texts = (
        "CREATE DATABASE user_made",
        "CREATE TABLE user_made.t (id INT PRIMARY KEY, n INT)",
        "CREATE TRIGGER user_made.stamp BEFORE INSERT ON user_made.t FOR EACH ROW SET NEW.n = NEW.id * 2",
        "CREATE TRIGGER noted AFTER INSERT ON things FOR EACH ROW INSERT INTO user_made.t VALUES (NEW.id, 0)",
        "CREATE VIEW known AS SELECT id, n FROM user_made.t",
    )
    for place, sql in enumerate(texts):
        reply = await node.carry_out(change(sql, intent=INTENT + place))
        assert isinstance(reply, SchemaChanged)
        assert isinstance(reply.outcome, tuple), reply
    batch = execute(
        1,
        "a",
        LOG_BEGIN,
        insert("x"),
        "INSERT INTO user_made.t (id) VALUES (50)",
        "UPDATE known SET n = 7 WHERE id = 50",
    )
    await node.carry_out(batch)
    await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1, Entry(2, insert("x"), 1))))
    await node.carry_out(COMMIT)
    reader = server.reader()
    try:
        for query in ("SELECT * FROM known ORDER BY id", "SELECT * FROM user_made.t ORDER BY id"):
            assert await read(reader, query) == [(1, 2), (50, 7)]
        for query in ("SELECT * FROM _replication.meta", "SELECT * FROM mysql.user"):
            with pytest.raises(ServerError):
                await read(reader, query)
    finally:
        reader.close()
