"""Requests of several statements on one real server: all or nothing, reads in between, and the same rows on a replica.

What is right is what the statements do one by one in a transaction of their own, over a plain connection. The fuzz executes
the same requests that way in a second database, as one ExecuteBatch on the master, and applies what that leaves in the log.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pymysql
import pytest
from node_effects import COMMIT, NODE, NOW_US, ROLL_BACK, entries_of, prepare, row_of, store
from one_mysql import DATABASE, READ_LIMITS, OneMySQL, one_mysql

from adapters import node_sql
from adapters.mysql_node import MySQLNode
from replication.effects import ExecuteBatch, Fence
from replication.log import EMPTY_LOG_END, LogEnd, end_after
from replication.replies import BatchCommitted, BatchExecuted, BatchRolledBack, Fenced, RowPrepared, RowsStored
from replication.values import Disturbed, Executed, Outcome, Refusal, Rejected, Request, RequestStatement
from statements.parameters import bind

ROUNDS, CODES = 120, 60
HEAD = "INSERT INTO things (code, luck) VALUES "
FENCE = Fence(NODE, 0, 1, "a")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OneMySQL, OneMySQL]]:
    """A master and a replica."""
    with (
        one_mysql(tmp_path_factory.mktemp("master")) as master,
        one_mysql(tmp_path_factory.mktemp("replica")) as replica,
    ):
        yield master, replica


@pytest.fixture
async def nodes(servers: tuple[OneMySQL, OneMySQL]) -> AsyncIterator[tuple[MySQLNode, MySQLNode]]:
    for server in servers:
        server.reset()
    pair = servers[0].node(), servers[1].node()
    for node in pair:
        assert isinstance(await node.carry_out(FENCE), Fenced)
    yield pair
    for node in pair:
        node.close()


def insert(code: str, expected: int | None = None) -> RequestStatement:
    return RequestStatement(f"{HEAD}('{code}', 1)", True, 0, len(HEAD), expected_rows=expected)


def write(sql: str, expected: int | None = None) -> RequestStatement:
    return RequestStatement(sql, expected_rows=expected)


def read(sql: str = "SELECT code FROM things ORDER BY code", expected: int | None = None) -> RequestStatement:
    return RequestStatement(sql, is_read=True, expected_rows=expected)


def batch(end: LogEnd, *requests: tuple[RequestStatement, ...]) -> ExecuteBatch:
    first = end.position.timestamp + 2
    numbered = tuple((first + 2 * place, Request(place, each, 0)) for place, each in enumerate(requests))
    return ExecuteBatch(NODE, 0, 1, "a", end.position, NOW_US, numbered)


async def executed(node: MySQLNode, *requests: tuple[RequestStatement, ...]) -> tuple[Outcome, ...]:
    reply = await node.carry_out(batch(EMPTY_LOG_END, *requests))
    assert isinstance(reply, BatchExecuted), reply
    return reply.outcomes


async def codes_after(node: MySQLNode, server: OneMySQL) -> list[str]:
    """What the open transaction leaves."""
    assert await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1))) == RowPrepared()
    assert await node.carry_out(COMMIT) == BatchCommitted()
    return [code for (code,) in server.root(f"SELECT code FROM {DATABASE}.things ORDER BY code")]


async def test_a_read_sees_what_its_request_did_before_and_nothing_that_comes_behind(
    nodes: tuple[MySQLNode, MySQLNode],
) -> None:
    (outcome,) = await executed(nodes[0], (insert("a"), read(), insert("b"), read("SELECT COUNT(*) AS n FROM things")))
    assert isinstance(outcome, tuple)
    first, last = outcome[1].found, outcome[3].found
    assert first is not None
    assert last is not None
    assert first.rows == (("a",),)
    assert ([name for name, *_ in last.columns], last.rows) == (["n"], ((2,),))


async def test_a_request_whose_last_statement_fails_leaves_nothing_and_spoils_no_other(
    nodes: tuple[MySQLNode, MySQLNode], servers: tuple[OneMySQL, OneMySQL]
) -> None:
    outcomes = await executed(
        nodes[0],
        (insert("a"),),
        (insert("b"), insert("c"), insert("a")),
        (insert("b"), write("nonsense")),
        (insert("c"),),
    )
    shown = [each.errno if isinstance(each, Rejected) else type(each) for each in outcomes]
    assert shown == [tuple, 1062, 1064, tuple]
    assert [each.statement for each in outcomes if isinstance(each, Rejected)] == [2, 1]
    assert await codes_after(nodes[0], servers[0]) == ["a", "c"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (write("UPDATE things SET luck = 2 WHERE code = 'nobody'", 1), "it affected 0 rows, and 1 are expected"),
        (write("DELETE FROM things", 1), "it affected 2 rows, and 1 are expected"),
        (read(expected=3), "it found 2 rows, and 3 are expected"),
        (read("SELECT code FROM things LIMIT 1", expected=2), "it found 1 rows, and 2 are expected"),
    ],
)
async def test_what_is_expected_and_not_so_undoes_the_request(
    nodes: tuple[MySQLNode, MySQLNode], servers: tuple[OneMySQL, OneMySQL], statement: RequestStatement, said: str
) -> None:
    outcomes = await executed(nodes[0], (insert("a"), insert("b"), statement), (insert("c", 1),))
    (unmet, done) = outcomes
    assert isinstance(unmet, Rejected)
    assert (unmet.message, unmet.refusal, unmet.statement) == (said, Refusal.EXPECTATION, 2)
    assert isinstance(done, tuple)
    assert await codes_after(nodes[0], servers[0]) == ["c"]


async def test_an_expectation_counts_as_the_answer_does_what_changed_and_not_what_matched(
    nodes: tuple[MySQLNode, MySQLNode],
) -> None:
    same = "UPDATE things SET luck = 1 WHERE code = 'a'"
    (done, unmet) = await executed(nodes[0], (insert("a"), write(same, 0)), (insert("b"), write(same, 1)))
    assert isinstance(done, tuple)
    assert done[1].rows_affected == 0
    assert isinstance(unmet, Rejected)


async def test_the_limits_of_a_read_hold_for_it_alone(
    nodes: tuple[MySQLNode, MySQLNode], servers: tuple[OneMySQL, OneMySQL]
) -> None:
    """A limit that were left in the session would cut what an INSERT … SELECT takes from the log's own rows."""
    many = ", ".join(f"('n{number}', 1)" for number in range(READ_LIMITS.rows_max + 1))
    copy = write("INSERT INTO users (name, email) SELECT code, 'x' FROM things")
    too_slow = read(
        "SELECT COUNT(*) FROM things a, things b, things c, things d WHERE a.luck + b.luck + c.luck + d.luck = 0"
    )
    outcomes = await executed(
        nodes[0],
        (write(f"{HEAD}{many}"), read(), copy),
        (write(f"{HEAD}{many}"),),
        (copy, too_slow),
        (copy, read("SELECT 1")),
    )
    refused, done, slow, copied = outcomes
    assert isinstance(refused, Rejected)
    assert (refused.refusal, refused.statement) == (Refusal.ROWS_MAX, 1)
    assert isinstance(done, tuple)
    assert isinstance(slow, Rejected)
    assert (slow.errno, slow.statement) == (3024, 1)
    assert isinstance(copied, tuple)
    assert copied[0].rows_affected == READ_LIMITS.rows_max + 1
    await codes_after(nodes[0], servers[0])
    reply = await nodes[0].carry_out(
        batch(end_after(row_of(EMPTY_LOG_END, 1)), (write("DELETE FROM users"), write("DELETE FROM things")))
    )
    assert isinstance(reply, BatchExecuted), reply
    assert await nodes[0].carry_out(ROLL_BACK) == BatchRolledBack()


# ------------------------------------------------------------------------------------------ fuzz


class OneByOne:
    """The same tables in a database of their own: each request is a transaction, each statement a round trip."""

    def __init__(self, server: OneMySQL) -> None:
        self.cursor: Any = server.connect_root().cursor()
        for sql in (
            "CREATE DATABASE IF NOT EXISTS one_by_one",
            "USE one_by_one",
            "DROP TABLE IF EXISTS things",
            f"CREATE TABLE things LIKE {DATABASE}.things",
            node_sql.SESSION,
            "SET @write_timestamp = 0, @row_timestamp = 0, @row_step = 0",
        ):
            self.cursor.execute(sql)

    def run(self, request: tuple[RequestStatement, ...]) -> object:
        """Rows affected or found by each statement; or the number of the one that refuses it."""
        told: list[object] = []
        self.cursor.execute("START TRANSACTION")
        for number, statement in enumerate(request):
            try:
                count = self.cursor.execute(statement.sql)
            except pymysql.err.MySQLError:
                self.cursor.execute("ROLLBACK")
                return number
            if statement.expected_rows not in (None, count):
                self.cursor.execute("ROLLBACK")
                return number
            told.append(tuple(self.cursor.fetchall()) if statement.is_read else count)
        self.cursor.execute("COMMIT")
        return told


def told_of(outcome: Outcome) -> object:
    assert not isinstance(outcome, Disturbed), outcome
    if isinstance(outcome, Rejected):
        return outcome.statement
    return [did.rows_affected if did.found is None else did.found.rows for did in outcome]


def random_statement(chance: random.Random) -> RequestStatement:
    code, other = (f"c{chance.randrange(CODES)}" for _ in range(2))
    expected = chance.choice([None, None, None, 0, 1])
    kind = chance.randrange(9)
    if kind < 4:
        return msgspec.structs.replace(insert(code), expected_rows=expected if kind == 0 else None)
    texts = [
        f"UPDATE things SET luck = luck + 1 WHERE code = '{code}'",
        f"UPDATE things SET code = '{other}' WHERE code = '{code}'",
        f"DELETE FROM things WHERE code IN ('{code}', '{other}')",
    ]
    if kind < 7:
        return write(texts[kind - 4], expected)
    return read(bind("SELECT code, luck FROM things WHERE code >= ? ORDER BY code LIMIT 3", [code]), expected)


def random_request(chance: random.Random) -> tuple[RequestStatement, ...]:
    statements = tuple(random_statement(chance) for _ in range(chance.choice([1, 1, 2, 3, 6])))
    if all(statement.is_read for statement in statements):
        return (*statements, insert(f"c{chance.randrange(CODES)}"))
    return statements


def things(server: OneMySQL, database: str, *, with_ids: bool) -> list[tuple[Any, ...]]:
    columns = "id, code, luck" if with_ids else "code, luck"
    return server.root(f"SELECT {columns} FROM {database}.things ORDER BY code")


@pytest.mark.parametrize("merges", [True, False])
async def test_random_batches_do_what_their_statements_do_one_by_one_and_a_replica_has_the_same_rows(
    nodes: tuple[MySQLNode, MySQLNode], servers: tuple[OneMySQL, OneMySQL], merges: bool
) -> None:
    chance = random.Random(f"batches {merges}")
    (master, replica), plain, end = nodes, OneByOne(servers[0]), EMPTY_LOG_END
    seen = Counter[str]()
    for _ in range(ROUNDS):
        requests = [random_request(chance) for _ in range(chance.randrange(1, 8))]
        if not merges:
            requests = [tuple(msgspec.structs.replace(each, row_at=0) for each in request) for request in requests]
        effect = batch(end, *requests)
        reply = await master.carry_out(effect)
        assert isinstance(reply, BatchExecuted), reply
        assert [told_of(outcome) for outcome in reply.outcomes] == [plain.run(request) for request in requests]
        seen.update(type(outcome).__name__ for outcome in reply.outcomes)
        seen.update(
            f"{each.refusal.value} at {each.statement}" for each in reply.outcomes if isinstance(each, Rejected)
        )
        entries = entries_of(effect, reply.outcomes)
        if not entries:
            assert await master.carry_out(ROLL_BACK) == BatchRolledBack()
            continue
        row = row_of(end, 1, *entries)
        assert await master.carry_out(prepare(row)) == RowPrepared()
        assert await master.carry_out(COMMIT) == BatchCommitted()
        stored = await replica.carry_out(store(1, "a", end.position, end.position.timestamp, append=[row], apply=[row]))
        assert isinstance(stored, RowsStored), stored
        end = end_after(row)
        assert things(servers[0], DATABASE, with_ids=True) == things(servers[1], DATABASE, with_ids=True)
        assert things(servers[0], DATABASE, with_ids=False) == things(servers[0], "one_by_one", with_ids=False)
    assert seen["tuple"] > ROUNDS
    assert seen["Rejected"] > ROUNDS / 2
    assert {"server at 0", "server at 1", "expectation at 1", "expectation at 2"} <= set(seen)


async def test_a_statement_of_a_batch_that_differs_on_a_replica_is_named(nodes: tuple[MySQLNode, MySQLNode]) -> None:
    """By its timestamp and its number in it."""
    (outcome,) = await executed(nodes[0], (insert("a"), insert("b"), write("UPDATE things SET luck = 7")))
    assert outcome == (Executed(1, 1), Executed(1, 2), Executed(2, 0))
    effect = batch(EMPTY_LOG_END, (insert("a"), insert("b"), write("UPDATE things SET luck = 7")))
    entries = entries_of(effect, [outcome])
    entries[2] = msgspec.structs.replace(entries[2], rows_affected=3)
    row = row_of(EMPTY_LOG_END, 1, *entries)
    reply = await nodes[1].carry_out(store(1, "a", EMPTY_LOG_END.position, 0, append=[row], apply=[row]))
    assert getattr(reply, "entry", None) is not None, reply
    assert (reply.entry.timestamp, reply.entry.number, reply.rows_affected) == (2, 2, 2)  # type: ignore[union-attr]  # seen above


@pytest.fixture(autouse=True)
def no_leftover(servers: tuple[OneMySQL, OneMySQL]) -> Iterator[None]:
    yield
    servers[0].root("DROP DATABASE IF EXISTS one_by_one")
