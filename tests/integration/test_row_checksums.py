"""Snapshots and checksums on a real server: no value changes unseen, whatever its type, and chunks can end at every key."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from node_effects import NODE
from one_mysql import DATABASE, OneMySQL, one_mysql

from adapters import checksum_sql
from adapters.checksum_sql import Key, Table
from adapters.mysql_node import CommandFailed
from adapters.mysql_session import ConnectionBroken, ServerError
from adapters.node_checksums import NodeChecksums
from replication.effects import Fence, OpenSnapshot
from replication.replies import SnapshotOpened

OWNER = "coordinator-of-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    folder: Path = tmp_path_factory.mktemp("checksums")
    with one_mysql(folder) as server:
        yield server


@pytest.fixture
async def snapshot(server: OneMySQL) -> AsyncIterator[NodeChecksums]:
    server.root(f"UPDATE _replication.meta SET epoch = 7, owner = '{OWNER}', applied_timestamp = 41")
    checksums = server.checksums()
    yield checksums
    checksums.close()


def opening(timestamp: int | None = None, *, epoch: int = 7, owner: str = OWNER) -> OpenSnapshot:
    return OpenSnapshot(NODE, 1, epoch, owner, timestamp)


async def table_of(snapshot: NodeChecksums, name: str) -> Table:
    answer = await snapshot.query(checksum_sql.columns_of(DATABASE, name))
    return checksum_sql.table_of(DATABASE, name, answer.rows)


async def checksum(snapshot: NodeChecksums, name: str, after: Key | None = None, upto: Key | None = None) -> object:
    table = await table_of(snapshot, name)
    return (await snapshot.query(checksum_sql.checksum(table, after, upto))).rows[0]


# ---------------------------------------------------------------------------------------------- snapshots


async def test_a_snapshot_shows_what_was_when_it_was_opened(server: OneMySQL, snapshot: NodeChecksums) -> None:
    server.root(f"REPLACE INTO {DATABASE}.things (id, code) VALUES (1, 'before')")
    assert await snapshot.open(opening()) == SnapshotOpened(41)
    before = await checksum(snapshot, "things")
    server.root(
        f"UPDATE {DATABASE}.things SET code = 'after' WHERE id = 1",
        "UPDATE _replication.meta SET applied_timestamp = 43",
    )
    assert await checksum(snapshot, "things") == before
    assert await snapshot.open(opening()) == SnapshotOpened(43)
    assert await checksum(snapshot, "things") != before


async def test_a_snapshot_at_another_timestamp_than_wanted_is_thrown_away(snapshot: NodeChecksums) -> None:
    assert await snapshot.open(opening(39)) == SnapshotOpened(41)
    with pytest.raises(ConnectionBroken):
        await snapshot.query("SELECT 1")
    assert await snapshot.open(opening(41)) == SnapshotOpened(41)
    await snapshot.query("SELECT 1")


@pytest.mark.parametrize(("epoch", "owner"), [(6, OWNER), (8, OWNER), (7, "another")])
async def test_a_server_that_is_not_in_our_epoch_is_not_compared(
    snapshot: NodeChecksums, epoch: int, owner: str
) -> None:
    with pytest.raises(ConnectionBroken, match="its snapshot is of epoch 7, of coordinator-of-test"):
        await snapshot.open(opening(epoch=epoch, owner=owner))
    with pytest.raises(ConnectionBroken):
        await snapshot.query("SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        f"INSERT INTO {DATABASE}.things (code) VALUES ('x')",
        f"DELETE FROM {DATABASE}.things",
        f"SELECT * FROM {DATABASE}.things FOR UPDATE",
        "SELECT * FROM _replication.log",
        "UPDATE _replication.meta SET epoch = 9",
        "SELECT * FROM mysql.user",
        "DROP TABLE distributed_db.things",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
    ],
)
async def test_the_account_can_do_nothing_but_compare(snapshot: NodeChecksums, sql: str) -> None:
    await snapshot.open(opening())
    with pytest.raises(ServerError):
        await snapshot.query(sql)


async def test_a_fence_of_another_coordinator_leaves_a_snapshot_alone(
    server: OneMySQL, snapshot: NodeChecksums
) -> None:
    await snapshot.open(opening())
    node = server.node()
    try:
        await node.carry_out(Fence(NODE, 1, 9, "another"))
        await snapshot.query("SELECT 1")
        with pytest.raises(CommandFailed, match="its snapshot is of epoch 9"):
            await node.carry_out(opening())
    finally:
        node.close()


async def test_a_schema_change_waits_for_a_snapshot_only_until_it_is_closed(
    server: OneMySQL, snapshot: NodeChecksums
) -> None:
    await snapshot.open(opening())
    await checksum(snapshot, "things")
    change = asyncio.create_task(asyncio.to_thread(server.root, f"ALTER TABLE {DATABASE}.things COMMENT = 'changed'"))
    await asyncio.sleep(0.2)  # nothing is to happen: that takes a while to see
    assert not change.done()
    snapshot.close()
    await asyncio.wait_for(change, 10)


# ---------------------------------------------------------------------------------------------- values

VALUES = {
    "TINYINT": ("0", "1"),
    "BIGINT UNSIGNED": ("18446744073709551614", "18446744073709551615"),
    "DECIMAL(65, 30)": ("0.000000000000000000000000000001", "0.000000000000000000000000000002"),
    "FLOAT": ("16777215", "16777216"),
    "DOUBLE": ("0.1", "0.10000000000000002"),
    "DOUBLE(30, 2)": ("1e15", "1e15 + 0.125"),
    "BIT(64)": ("0xFFFFFFFFFFFFFFFE", "0xFFFFFFFFFFFFFFFF"),
    "YEAR": ("2024", "2025"),
    "DATE": ("'2024-02-28'", "'2024-02-29'"),
    "DATETIME(6)": ("'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
    "TIMESTAMP(6)": ("'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
    "TIME(6)": ("'-838:59:58.000001'", "'-838:59:58.000002'"),
    "CHAR(10)": ("'a'", "'A'"),
    "VARCHAR(100)": ("'a'", "'a '"),
    "VARCHAR(50) CHARACTER SET latin1": ("'e'", "_latin1 x'E9'"),
    "VARCHAR(20) COLLATE utf8mb4_bin": ("''", "'0'"),
    "VARCHAR(4000)": ("REPEAT('a', 3999)", "CONCAT(REPEAT('a', 3998), 'A')"),
    "BINARY(4)": ("x'00000000'", "x'00000001'"),
    "VARBINARY(10)": ("x'00'", "x'0000'"),
    "BLOB": ("x''", "x'00'"),
    "LONGBLOB": ("REPEAT('x', 3000000)", "CONCAT(REPEAT('x', 2999999), 'y')"),
    "LONGTEXT": ("REPEAT('ü', 100000)", "CONCAT(REPEAT('ü', 99999), 'u')"),
    "ENUM('a', 'A', 'b') COLLATE utf8mb4_bin": ("'a'", "'A'"),
    "SET('a', 'b', 'c')": ("'a,b'", "'a,c'"),
    "JSON": ("'{\"a\": 1}'", "'{\"a\": 1.0}'"),
    "GEOMETRY": ("ST_GeomFromText('POINT(1 1)')", "ST_GeomFromText('POINT(1 2)')"),
}
"""Type -> two values that are as near to each other as can be."""


@pytest.mark.parametrize("kind", VALUES)
async def test_the_smallest_change_of_a_value_is_seen_and_the_same_value_is_the_same(
    server: OneMySQL, snapshot: NodeChecksums, kind: str
) -> None:
    server.root(
        f"DROP TABLE IF EXISTS {DATABASE}.typed",
        f"CREATE TABLE {DATABASE}.typed (id INT PRIMARY KEY, value {kind} NULL, other VARCHAR(10) NULL)",
    )
    first, second = VALUES[kind]
    seen: dict[str, object] = {}
    for value in ("NULL", first, second, first):
        server.root(
            "SET time_zone = '+00:00'", f"REPLACE INTO {DATABASE}.typed VALUES (1, {value}, NULL), (2, NULL, 'x')"
        )
        await snapshot.open(opening())
        found = await checksum(snapshot, "typed")
        assert seen.setdefault(value, found) == found
    assert len(set(seen.values())) == 3, seen


async def test_a_value_in_another_column_is_another_row(server: OneMySQL, snapshot: NodeChecksums) -> None:
    server.root(
        f"DROP TABLE IF EXISTS {DATABASE}.columns_of_text",
        f"CREATE TABLE {DATABASE}.columns_of_text (id INT PRIMARY KEY, a VARCHAR(20) NULL, b VARCHAR(20) NULL)",
    )
    seen = set()
    rows = [
        "'x', NULL",
        "NULL, 'x'",
        "'', 'x'",
        "'x', ''",
        "'NULL', 'x'",
        "'x,', ''",
        "'=', 'x'",
        "NULL, NULL",
        "'', ''",
    ]
    for row in rows:
        server.root(f"REPLACE INTO {DATABASE}.columns_of_text VALUES (1, {row})")
        await snapshot.open(opening())
        seen.add(await checksum(snapshot, "columns_of_text"))
    assert len(seen) == len(rows)


async def test_the_order_in_which_rows_were_written_does_not_matter_but_their_keys_do(
    server: OneMySQL, snapshot: NodeChecksums
) -> None:
    seen = []
    for order in ("(1, 'a'), (2, 'b'), (3, 'c')", "(3, 'c'), (2, 'b'), (1, 'a')", "(1, 'b'), (2, 'a'), (3, 'c')"):
        # in a thread: the event loop must close the snapshot, for which the table waits
        await asyncio.to_thread(
            server.root,
            f"DROP TABLE IF EXISTS {DATABASE}.ordered",
            f"CREATE TABLE {DATABASE}.ordered (id INT PRIMARY KEY, value VARCHAR(10))",
            f"INSERT INTO {DATABASE}.ordered VALUES {order}",
        )
        await snapshot.open(opening())
        seen.append(await checksum(snapshot, "ordered"))
        snapshot.close()
    assert seen[0] == seen[1] != seen[2]


# ---------------------------------------------------------------------------------------------- keys

KEYS = {
    "INT": ("k INT", "k", "SELECT n - 50"),
    "BIGINT UNSIGNED": ("k BIGINT UNSIGNED", "k", "SELECT 18446744073709551515 + n"),
    "DECIMAL": ("k DECIMAL(40, 10)", "k", "SELECT n / 7"),
    "DOUBLE": ("k DOUBLE", "k", "SELECT n / 7e0"),
    "FLOAT": ("k FLOAT", "k", "SELECT n / 7e0"),
    "VARCHAR, no case": ("k VARCHAR(40)", "k", "SELECT CONCAT(ELT(n % 3 + 1, 'é', 'Z', 'z'), n, '\\'\\\\')"),
    "latin1": ("k VARCHAR(40) CHARACTER SET latin1", "k", "SELECT CONCAT(_latin1 x'E9', n)"),
    "VARBINARY": ("k VARBINARY(16)", "k", "SELECT UNHEX(SUBSTR(SHA2(n, 256), 1, 32))"),
    "DATE": ("k DATE", "k", "SELECT DATE_ADD('2024-01-01', INTERVAL n DAY)"),
    "TIMESTAMP": ("k TIMESTAMP(6)", "k", "SELECT TIMESTAMPADD(MICROSECOND, n * 7777777, '2024-01-01 00:00:00')"),
    "TIME": ("k TIME(3)", "k", "SELECT SEC_TO_TIME(n * 7.5 - 300)"),
    "BIT": ("k BIT(10)", "k", "SELECT n"),
    "two columns": ("a INT, b VARCHAR(20)", "a, b", "SELECT n % 4, CONCAT('b', n)"),
    "three columns": ("a INT, b INT, c DATE", "c, a, b", "SELECT n % 3, n % 7, DATE_ADD('2024-01-01', INTERVAL n DAY)"),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_chunks_cut_at_any_key_are_every_row_once(server: OneMySQL, snapshot: NodeChecksums, kind: str) -> None:
    columns, key, rows = KEYS[kind]
    numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100)"
    server.root(
        "SET time_zone = '+00:00'",
        f"DROP TABLE IF EXISTS {DATABASE}.keyed",
        f"CREATE TABLE {DATABASE}.keyed ({columns}, PRIMARY KEY ({key}))",
        f"INSERT INTO {DATABASE}.keyed {numbers} {rows} FROM numbers",
    )
    await snapshot.open(opening())
    table = await table_of(snapshot, "keyed")
    assert [column.name for column in table.key] == key.split(", ")
    after: Key | None = None
    counts, keys = [], []
    while True:
        ends = (await snapshot.query(checksum_sql.chunk_end(table, after, 7))).rows
        upto = tuple(ends[0]) if ends else None
        count, total = (await snapshot.query(checksum_sql.checksum(table, after, upto))).rows[0]
        hashes = (await snapshot.query(checksum_sql.row_hashes(table, after, upto, 1000))).rows
        combined = 0
        for row in hashes:
            combined ^= int(row[-1], 16)
        assert (count, int(total, 16) if count else 0) == (len(hashes), combined)
        counts.append(count)
        keys += [row[:-1] for row in hashes]
        if upto is None:
            break
        after = upto
    assert counts == [7] * 14 + [2]
    assert len(set(keys)) == 100
    for column, value in zip(table.key, keys[0], strict=True):
        assert checksum_sql.shown(column, value)


async def test_the_next_number_is_not_part_of_a_definition_but_all_else_is(
    server: OneMySQL, snapshot: NodeChecksums
) -> None:
    async def definition() -> str:
        await snapshot.open(opening())
        answer = await snapshot.query(checksum_sql.definition_of(DATABASE, "things", "BASE TABLE"))
        snapshot.close()
        return checksum_sql.without_auto_increment(answer.rows[0][1])

    before = await definition()
    await asyncio.to_thread(server.root, f"ALTER TABLE {DATABASE}.things AUTO_INCREMENT = 4711")
    assert await definition() == before
    await asyncio.to_thread(server.root, f"ALTER TABLE {DATABASE}.things COMMENT = 'has ) AUTO_INCREMENT=5 in it'")
    assert await definition() != before
    assert "AUTO_INCREMENT=5 in it" in await definition()
