"""What only a real server can show of the adapter: MySQL's own errors, ids, times, settings, accounts and lost connections.

What the protocol needs of any node is in test_node_contract.py.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import uvloop
from node_effects import (
    COMMIT,
    NODE,
    NOW_US,
    ROLL_BACK,
    entries_of,
    execute,
    insert,
    mergeable,
    prepare,
    row_of,
    rows_of,
    store,
)
from one_mysql import DATABASE, READ_LIMITS, TIMEOUTS, OneMySQL, one_mysql

from adapters.mysql_node import CommandFailed, MySQLNode, NodePasswords, NodeTimeouts
from adapters.mysql_session import ConnectionBroken, ResultExceeded, ServerError
from adapters.node_reader import ConnectionIsNew, NodeReader, StreamedResult
from replication.effects import ConfirmEpoch, CopyData, ExecuteBatch, Fence, NodeEffect, ReadLog
from replication.log import EMPTY_LOG_END, LOG_BEGIN, Entry, EntryName, LogRow, check_chain, end_after
from replication.replies import (
    BatchCommitted,
    BatchExecuted,
    BatchRolledBack,
    Diverged,
    EpochSeen,
    Fenced,
    LogRead,
    Misplaced,
    Outbid,
    RowPrepared,
    RowsStored,
)
from replication.values import Certainty, Disturbed, Executed, Outcome, Rejected

NOW = datetime(1970, 1, 1) + timedelta(microseconds=NOW_US)
ALICE = 'INSERT INTO users (name, email) VALUES ("Alice", "alice@example.com")'
ALICE_TOO = "INSERT INTO users (name, email) VALUES ('Alice', 'alice@example.com')"
CONTENTS = (f"SELECT * FROM {DATABASE}.users ORDER BY id", f"SELECT * FROM {DATABASE}.things ORDER BY id")
FENCE = Fence(NODE, 0, 1, "a")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    with one_mysql(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture
def server(shared: OneMySQL) -> OneMySQL:
    shared.reset()
    return shared


@pytest.fixture
async def node(server: OneMySQL) -> AsyncIterator[MySQLNode]:
    """A coordinator "a" that owns epoch 1 on the node."""
    node = server.node()
    assert isinstance(await node.carry_out(FENCE), Fenced)
    yield node
    node.close()


@contextlib.contextmanager
def open_node(server: OneMySQL, timeouts: NodeTimeouts = TIMEOUTS) -> Iterator[MySQLNode]:
    node = server.node(timeouts)
    try:
        yield node
    finally:
        node.close()


async def failure_of(node: MySQLNode, effect: NodeEffect) -> CommandFailed:
    with pytest.raises(CommandFailed) as caught:
        await node.carry_out(effect)
    return caught.value


async def outcomes_of(node: MySQLNode, effect: ExecuteBatch) -> tuple[Outcome, ...]:
    reply = await node.carry_out(effect)
    assert isinstance(reply, BatchExecuted)
    return reply.outcomes


async def commit(node: MySQLNode, effect: ExecuteBatch) -> LogRow:
    """Execute, prepare and commit, keeping what succeeded; answers with the log row."""
    entries = entries_of(effect, await outcomes_of(node, effect))
    row = row_of(EMPTY_LOG_END, effect.epoch, *entries, now_us=effect.now_us)
    assert await node.carry_out(prepare(row)) == RowPrepared()
    assert await node.carry_out(COMMIT) == BatchCommitted()
    return row


def contents(server: OneMySQL) -> list[list[tuple[Any, ...]]]:
    return [server.root(query) for query in CONTENTS]


def statements_run(server: OneMySQL) -> int:
    """How many INSERTs the server has executed."""
    ((_, count),) = server.root("SHOW GLOBAL STATUS LIKE 'Com_insert'")
    return int(count)


@contextlib.contextmanager
def row_locked(server: OneMySQL) -> Iterator[None]:
    """Somebody else's transaction holds the row of code 'mine'."""
    with contextlib.closing(server.connect_root()) as other, other.cursor() as cursor:
        cursor.execute(f"INSERT INTO {DATABASE}.things (code) VALUES ('mine')")
        other.begin()
        cursor.execute(f"SELECT * FROM {DATABASE}.things WHERE code = 'mine' FOR UPDATE")
        yield
        other.rollback()


# ------------------------------------------------------------------------------------------ master


async def test_each_outcome_of_a_batch_stands_at_its_requests_place(node: MySQLNode, server: OneMySQL) -> None:
    texts = (
        ALICE,
        "INSERT INTO nobody (code) VALUES ('x')",
        insert("one"),
        insert("one"),
        "INSERT INTO things code VALUES (1",
        "UPDATE things SET code = 'two' WHERE code = 'one'",
        "UPDATE things SET code = (SELECT 1 UNION ALL SELECT 2)",
        "DELETE FROM things WHERE code = 'nobody'",
        "INSERT INTO things (code) VALUES ('a'), ('b'), ('c')",
        "INSERT INTO things (code) VALUES ('d'), ('e'), ('a')",
        "INSERT INTO things (code, made) VALUES ('f', 'no date')",
        "INSERT INTO users SELECT * FROM mysql.user",
    )
    outcomes = await outcomes_of(node, execute(1, "a", LOG_BEGIN, *texts))
    shown = [
        (o.errno, o.sqlstate) if isinstance(o, Rejected) else o[0] for o in outcomes if not isinstance(o, Disturbed)
    ]
    assert shown == [
        Executed(1, 1),
        (1146, "42S02"),
        Executed(1, 1),
        (1062, "23000"),
        (1064, "42000"),
        Executed(1, 0),
        # the guard's own errno is a request's result where it is a request's error
        (1242, "21000"),
        Executed(0, 0),
        Executed(3, 3),
        (1062, "23000"),
        (1292, "22007"),
        (1142, "42000"),
    ]
    row = row_of(EMPTY_LOG_END, 1, Entry(24, ALICE, 1))
    assert await node.carry_out(prepare(row)) == RowPrepared()
    assert await node.carry_out(COMMIT) == BatchCommitted()
    assert [code for _, code, *_ in contents(server)[1]] == ["two", "a", "b", "c"]


async def test_a_run_of_inserts_is_one_statement_and_each_is_told_its_own_id(node: MySQLNode, server: OneMySQL) -> None:
    effect = mergeable(execute(1, "a", LOG_BEGIN, ALICE_TOO, ALICE_TOO, ALICE_TOO, insert("one"), insert("two")))
    before = statements_run(server)
    assert await outcomes_of(node, effect) == tuple((Executed(1, number),) for number in (1, 2, 3, 1, 2))
    assert statements_run(server) - before == 2
    await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1, Entry(10, ALICE, 1))))
    await node.carry_out(COMMIT)
    users = server.root(f"SELECT id, timestamp FROM {DATABASE}.users ORDER BY id")
    assert users == [(1, 2), (2, 4), (3, 6)]


async def test_where_a_run_fails_each_of_its_inserts_has_its_own_outcome(node: MySQLNode, server: OneMySQL) -> None:
    codes = ("a", "b", "a", "c", "b")
    effect = mergeable(execute(1, "a", LOG_BEGIN, ALICE_TOO, *map(insert, codes), ALICE_TOO, ALICE_TOO))
    outcomes = await outcomes_of(node, effect)
    shown = [outcome.errno if isinstance(outcome, Rejected) else type(outcome) for outcome in outcomes]
    assert shown == [tuple, tuple, tuple, 1062, tuple, 1062, tuple, tuple]
    await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1, Entry(16, ALICE, 1))))
    await node.carry_out(COMMIT)
    assert [code for _, code, *_ in contents(server)[1]] == ["a", "b", "c"]
    users = server.root(f"SELECT id, timestamp FROM {DATABASE}.users ORDER BY id")
    ids = [outcomes[place][0].insert_id for place in (0, 6, 7)]  # type: ignore[index]  # seen above
    assert users == list(zip(ids, (2, 14, 16), strict=True))


async def test_a_disturbance_in_a_run_is_that_of_the_insert_that_met_it(node: MySQLNode, server: OneMySQL) -> None:
    with row_locked(server):
        effect = mergeable(execute(1, "a", LOG_BEGIN, insert("first"), insert("mine"), insert("last")))
        outcomes = await outcomes_of(node, effect)
        assert [type(outcome) for outcome in outcomes] == [tuple, Disturbed]
        assert await node.carry_out(ROLL_BACK) == BatchRolledBack()


async def test_a_rows_id_and_timestamp_are_those_of_the_write_that_made_it(node: MySQLNode, server: OneMySQL) -> None:
    outcomes = await outcomes_of(node, execute(1, "a", LOG_BEGIN, ALICE, "nonsense", ALICE, ALICE))
    await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1, Entry(8, ALICE, 1))))
    await node.carry_out(COMMIT)
    rows = server.root(f"SELECT id, timestamp, created_at FROM {DATABASE}.users ORDER BY id")
    ids = [outcome[0].insert_id for outcome in outcomes if isinstance(outcome, tuple)]
    assert rows == [
        (identity, timestamp, NOW.replace(microsecond=0)) for identity, timestamp in zip(ids, (2, 6, 8), strict=True)
    ]


async def test_now_is_the_batchs_time_to_the_microsecond_in_every_statement(node: MySQLNode, server: OneMySQL) -> None:
    forms = ("NOW(6)", "CURRENT_TIMESTAMP(6)", "SYSDATE(6)", "UTC_TIMESTAMP(6)", "LOCALTIME(6)")
    texts = [f"INSERT INTO things (code, made) VALUES ('{form}', {form})" for form in forms]
    await commit(node, execute(1, "a", LOG_BEGIN, *texts))
    assert {code: made for _, code, made, _ in contents(server)[1]} == dict.fromkeys(forms, NOW)


async def test_a_lock_wait_is_a_disturbance_that_ends_the_batch_and_is_rolled_back(
    node: MySQLNode, server: OneMySQL
) -> None:
    with row_locked(server):
        effect = execute(1, "a", LOG_BEGIN, ALICE, "DELETE FROM things WHERE code = 'mine'", insert("after"))
        outcomes = await outcomes_of(node, effect)
        assert [type(outcome) for outcome in outcomes] == [tuple, Disturbed]
        assert isinstance(outcomes[1], Disturbed)
        assert outcomes[1].errno == 1205
        assert await node.carry_out(ROLL_BACK) == BatchRolledBack()
    assert contents(server) == [[], [(1, "mine", None, None)]]
    await commit(node, execute(1, "a", LOG_BEGIN, ALICE))


async def until_statement(server: OneMySQL, like: str) -> int:
    """Wait until a statement is under way; answers with its thread."""
    query = f"SELECT id FROM information_schema.processlist WHERE info LIKE '{like}'"
    async with asyncio.timeout(10):
        while True:
            threads = server.root(query)
            if threads:
                return int(threads[0][0])
            await asyncio.sleep(0.005)  # a statement under way is seen by looking


@pytest.mark.parametrize(
    "effect",
    [
        execute(1, "a", LOG_BEGIN, ALICE),
        execute(1, "a", LOG_BEGIN),
        store(1, "a", LOG_BEGIN, 0, append=rows_of(1, ALICE)),
        store(1, "a", LOG_BEGIN, 0, append=rows_of(1, ALICE), apply=rows_of(1, ALICE)),
    ],
    ids=["execute", "execute nothing", "append", "append and apply"],
)
@pytest.mark.parametrize("changed", ["epoch = 2, owner = 'b'", "log_timestamp = 9"])
async def test_a_guard_that_waited_for_the_lock_sees_what_its_holder_committed(
    node: MySQLNode, server: OneMySQL, effect: NodeEffect, changed: str
) -> None:
    with contextlib.closing(server.connect_root()) as other, other.cursor() as cursor:
        other.begin()
        cursor.execute(f"UPDATE _replication.meta SET {changed}")
        running = asyncio.create_task(node.carry_out(effect))
        await until_statement(server, "%@fence = %FOR UPDATE%")
        other.commit()
    if "log" in changed:
        # no command can have left it so
        with pytest.raises(CommandFailed, match="its meta row says 9 of epoch 0"):
            await running
    else:
        assert isinstance(await running, Misplaced)
    assert contents(server) == [[], []]
    assert server.root("SELECT COUNT(*) FROM _replication.log") == [(1,)]


async def test_an_interrupted_statement_is_a_disturbance_too(node: MySQLNode, server: OneMySQL) -> None:
    with row_locked(server):
        effect = execute(1, "a", LOG_BEGIN, "DELETE FROM things WHERE code = 'mine'")
        running = asyncio.create_task(outcomes_of(node, effect))
        server.root(f"KILL QUERY {await until_statement(server, 'DELETE FROM things%')}")
        (outcome,) = await running
        assert isinstance(outcome, Disturbed)
        assert outcome.errno == 1317


async def test_a_commit_on_a_connection_that_was_ended_is_never_taken_for_one(
    node: MySQLNode, server: OneMySQL
) -> None:
    await outcomes_of(node, execute(1, "a", LOG_BEGIN, ALICE))
    await node.carry_out(prepare(row_of(EMPTY_LOG_END, 1, Entry(2, ALICE, 1))))
    server.kill_connections()
    assert (await failure_of(node, COMMIT)).certainty is Certainty.UNKNOWN
    # from here on nothing is sent any more, and that is known
    assert (await failure_of(node, COMMIT)).certainty is Certainty.NOT_APPLIED
    assert contents(server) == [[], []]


async def test_a_batch_sent_behind_a_commit_runs_on_what_that_committed(node: MySQLNode, server: OneMySQL) -> None:
    first = execute(1, "a", LOG_BEGIN, insert("one"))
    row = row_of(EMPTY_LOG_END, 1, *entries_of(first, await outcomes_of(node, first)))
    await node.carry_out(prepare(row))
    behind = execute(1, "a", row.position, "UPDATE things SET code = 'two' WHERE code = 'one'", inserts=False)
    committed, executed = await asyncio.gather(node.carry_out(COMMIT), node.carry_out(behind))
    assert (committed, executed) == (BatchCommitted(), BatchExecuted(((Executed(1, 0),),)))
    assert [code for _, code, *_ in contents(server)[1]] == ["one"], "the second is not committed yet"


async def test_a_batch_sent_behind_a_commit_that_fails_leaves_nothing(node: MySQLNode, server: OneMySQL) -> None:
    first = execute(1, "a", LOG_BEGIN, insert("one"))
    row = row_of(EMPTY_LOG_END, 1, *entries_of(first, await outcomes_of(node, first)))
    await node.carry_out(prepare(row))
    server.kill_connections()
    behind = execute(1, "a", row.position, insert("two"))
    commit_failed, batch_failed = await asyncio.gather(failure_of(node, COMMIT), failure_of(node, behind))
    assert commit_failed.certainty is Certainty.UNKNOWN
    assert batch_failed.certainty is Certainty.NOT_APPLIED
    assert contents(server)[1] == []


async def test_a_command_without_an_answer_in_time_is_unknown_and_its_connection_is_not_used_again(
    server: OneMySQL,
) -> None:
    impatient = NodeTimeouts(
        connect_s=5.0, confirm_s=5.0, fence_s=5.0, store_s=0.2, copy_s=5.0, change_s=5.0, read_s=5.0
    )
    with open_node(server, impatient) as node, row_locked(server):
        await node.carry_out(FENCE)
        effect = execute(1, "a", LOG_BEGIN, "DELETE FROM things WHERE code = 'mine'")
        failure = await failure_of(node, effect)
        assert (failure.certainty, failure.reason) == (Certainty.UNKNOWN, "no answer within 200 ms")
        assert (await failure_of(node, COMMIT)).certainty is Certainty.NOT_APPLIED
        # the other connections go on
        assert await node.carry_out(ConfirmEpoch(NODE, 0)) == EpochSeen(1, "a")


# ------------------------------------------------------------------------------------------ replica

MIXED = (
    ALICE,
    "INSERT INTO things (code, made) VALUES ('one', NOW(6)), ('two', NOW())",
    insert("one"),
    "INSERT INTO things (id, code) VALUES (50, 'fifty')",
    insert("after fifty"),
    "INSERT INTO things (code, luck) VALUES ('lucky', RAND()), ('luckier', RAND())",
    "INSERT INTO users (name, email) VALUES ('Bob', UNIX_TIMESTAMP())",
    "REPLACE INTO things (code) VALUES ('two')",
    "INSERT INTO things (code) VALUES ('größe ✓ 😀'), ('quote''s'), (\"back\\\\slash; --\")",
    "UPDATE things SET made = NOW(6) WHERE code LIKE 'after%'",
    "DELETE FROM things WHERE code = 'luckier'",
    insert("last"),
)


async def test_a_replica_that_applies_a_row_has_the_masters_rows_ids_times_and_timestamps(
    node: MySQLNode, server: OneMySQL
) -> None:
    row = await commit(node, execute(1, "a", LOG_BEGIN, *MIXED, rand_seed=0x1234567_89ABCDEF))
    on_master = contents(server)
    assert len(on_master[1]) == 9
    server.reset()
    with open_node(server) as replica:
        await replica.carry_out(FENCE)
        assert await replica.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row])) == RowsStored(row.position, 0)
        assert contents(server) == [[], []]
        reply = await replica.carry_out(store(1, "a", row.position, 0, apply=[row]))
        assert reply == RowsStored(row.position, row.last_timestamp)
    assert contents(server) == on_master


async def test_other_rows_affected_than_on_the_master_are_a_divergence(node: MySQLNode) -> None:
    row = row_of(EMPTY_LOG_END, 1, Entry(2, "UPDATE things SET code = 'x' WHERE code = 'nobody'", 1))
    reply = await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row]))
    assert isinstance(reply, Diverged)
    assert "changed 0 rows here, 1 on the master" in reply.reason


async def test_a_node_that_diverged_by_its_rows_affected_has_not_applied_the_row(
    node: MySQLNode, server: OneMySQL
) -> None:
    """A coordinator that starts anew knows nothing of a quarantine: it must find the row unapplied, and diverge again."""
    row = row_of(EMPTY_LOG_END, 1, Entry(2, "INSERT INTO things (code) VALUES ('x')", 2, 1))
    reply = await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row]))
    assert isinstance(reply, Diverged)
    assert contents(server) == [[], []]
    assert server.root("SELECT applied_timestamp FROM _replication.meta") == [(0,)]


async def test_a_log_that_takes_no_row_is_no_divergence_of_the_rows_that_were_applied(
    node: MySQLNode, server: OneMySQL
) -> None:
    """The row's INSERT compares what was applied, too. Seen: a full disk there (1114) was taken for other rows."""
    row = row_of(EMPTY_LOG_END, 1, Entry(2, insert("x"), 1, 1))
    effect = store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row])
    with contextlib.closing(server.connect_root()) as other, other.cursor() as cursor:
        other.begin()
        cursor.execute("UPDATE _replication.log SET last_timestamp = 2")
        failure = await failure_of(node, effect)
        assert (failure.certainty, failure.reason[:4]) == (Certainty.NOT_APPLIED, "1205")
        other.rollback()
    assert contents(server) == [[], []]
    assert await node.carry_out(effect) == RowsStored(row.position, row.last_timestamp)


async def test_a_run_that_fails_on_a_replica_names_the_entry_that_did(node: MySQLNode, server: OneMySQL) -> None:
    server.root(f"INSERT INTO {DATABASE}.things (id, code) VALUES (50, 'two')")
    row_at = insert("").index("('")
    entries = [Entry(2 * n, insert(code), 1, n, 0, row_at) for n, code in enumerate(("one", "two", "three"), start=1)]
    row = row_of(EMPTY_LOG_END, 1, *entries)
    reply = await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row]))
    assert isinstance(reply, Diverged)
    assert (reply.entry, reply.rows_affected) == (EntryName(4), None)
    assert "'two') failed here only: 1062" in reply.reason
    assert [code for _, code, *_ in contents(server)[1]] == ["two"]


async def test_a_replica_applies_a_run_with_the_ids_and_timestamps_of_its_entries(
    node: MySQLNode, server: OneMySQL
) -> None:
    row_at = ALICE_TOO.index("('")
    entries = [Entry(timestamp, ALICE_TOO, 1, timestamp + 100, 0, row_at) for timestamp in (3, 4, 5, 8)]
    row = row_of(EMPTY_LOG_END, 1, *entries)
    reply = await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row]))
    assert reply == RowsStored(row.position, 8)
    users = server.root(f"SELECT id, timestamp FROM {DATABASE}.users ORDER BY id")
    assert users == [(103, 3), (104, 4), (105, 5), (108, 8)]


async def test_a_disturbed_apply_is_no_divergence_and_can_be_done_again(node: MySQLNode, server: OneMySQL) -> None:
    row = row_of(EMPTY_LOG_END, 1, Entry(2, ALICE, 1, 1), Entry(4, "DELETE FROM things WHERE code = 'mine'", 1))
    effect = store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row])
    with row_locked(server):
        failure = await failure_of(node, effect)
        assert failure.certainty is Certainty.NOT_APPLIED
        assert "1205" in failure.reason
        assert contents(server)[0] == []
    assert await node.carry_out(effect) == RowsStored(row.position, 4)
    assert [len(rows) for rows in contents(server)] == [1, 0]


# ------------------------------------------------------------------------------------------ log


async def test_a_read_of_the_log_ends_at_the_size_asked_for_but_has_one_row_at_least(node: MySQLNode) -> None:
    rows = rows_of(1, *(insert(letter * 30) for letter in "abcdef"))
    await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows))
    size = len(rows[0].payload)
    for bytes_max, expected in ((0, 1), (size, 1), (2 * size, 2), (2 * size + 1, 2), (6 * size, 6), (1 << 30, 6)):
        reply = await node.carry_out(ReadLog(NODE, 0, 0, bytes_max))
        assert reply == LogRead(tuple(rows[:expected]), EMPTY_LOG_END)
    reply = await node.carry_out(ReadLog(NODE, 0, rows[2].last_timestamp, 2 * size))
    assert isinstance(reply, LogRead)
    check_chain(end_after(rows[2]), reply.rows)
    assert reply.rows == tuple(rows[3:5])


async def test_an_id_that_a_statement_did_not_use_is_not_given_to_a_later_one(
    node: MySQLNode, server: OneMySQL
) -> None:
    """MySQL reports an id that the text itself names like one that was made; so it is pinned, and stays in the session unused. An
    upsert that changes nothing reports none: with the old id it would meet, and change, another row."""
    row = row_of(
        EMPTY_LOG_END,
        1,
        Entry(2, "INSERT INTO things (id, code, luck) VALUES (7, 'c', 5)", 1, 7),
        Entry(4, "INSERT INTO things (id, code, luck) VALUES (500, 'z', 1)", 1, 500),
        Entry(6, "INSERT INTO things (code) VALUES ('c') ON DUPLICATE KEY UPDATE luck = 5", 0, 0),
    )
    reply = await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=[row], apply=[row]))
    assert isinstance(reply, RowsStored), reply
    assert server.root(f"SELECT id, luck FROM {DATABASE}.things ORDER BY id") == [(7, 5.0), (500, 1.0)]
    assert server.root("SELECT * FROM _replication.spent_ids") == []


# ------------------------------------------------------------------------------------------ full copies

COPY = CopyData(NODE, 0, "nobody")


async def test_a_copy_of_a_donor_that_is_not_there_fails_and_leaves_the_data_alone(
    node: MySQLNode, server: OneMySQL
) -> None:
    await node.carry_out(store(1, "a", LOG_BEGIN, 0, append=(rows := rows_of(1, insert("kept"))), apply=rows))
    failure = await failure_of(node, COPY)
    assert re.search("[Cc]lone", failure.reason), failure.reason
    assert [row[1] for row in contents(server)[1]] == ["kept"]


async def test_a_copy_ordered_by_a_coordinator_that_was_fenced_off_meanwhile_is_not_even_begun(
    node: MySQLNode, server: OneMySQL
) -> None:
    """It was frozen just before it sent the command; the node may be a level member of another's epoch by now."""
    with open_node(server) as other:
        assert isinstance(await other.carry_out(Fence(NODE, 0, 2, "b")), Fenced)
        failure = await failure_of(node, COPY)
        assert not re.search("[Cc]lone", failure.reason), failure.reason
        # and the one that did the fencing is not hindered by it
        assert re.search("[Cc]lone", (await failure_of(other, COPY)).reason)


async def test_a_fence_that_is_outbid_ends_nobody_s_copier(node: MySQLNode, server: OneMySQL) -> None:
    with open_node(server) as other:
        assert isinstance(await other.carry_out(Fence(NODE, 0, 0, "b")), Outbid)
        assert re.search("[Cc]lone", (await failure_of(node, COPY)).reason)


# ------------------------------------------------------------------------------------------ joining


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("innodb_flush_log_at_trx_commit", "0", "1"),
        ("innodb_flush_log_at_trx_commit", "2", "1"),
        ("event_scheduler", "ON", "OFF"),
        ("auto_increment_increment", "2", "1"),
        ("collation_server", "utf8mb4_general_ci", "utf8mb4_0900_ai_ci"),
        ("sql_require_primary_key", "0", "1"),
    ],
)
async def test_a_node_with_a_setting_that_endangers_answers_is_refused_by_the_settings_name(
    server: OneMySQL, setting: str, bad: str, good: str
) -> None:
    server.root(f"SET GLOBAL {setting} = {bad}")
    try:
        with open_node(server) as node:
            failure = await failure_of(node, FENCE)
            assert failure.certainty is Certainty.NOT_APPLIED
            assert failure.reason.startswith(f"refused: {setting} is {bad}, but it must be")
            assert server.root("SELECT epoch, owner FROM _replication.meta") == [(0, "")]
            # and it stays refused
            assert (await failure_of(node, FENCE)).reason == failure.reason
    finally:
        server.root(f"SET GLOBAL {setting} = {good}")
    with open_node(server) as node:
        assert isinstance(await node.carry_out(FENCE), Fenced)


async def test_nothing_but_a_fence_opens_a_connection(server: OneMySQL) -> None:
    with open_node(server) as node:
        for effect in (ConfirmEpoch(NODE, 0), COMMIT, ReadLog(NODE, 0, 0, 1), execute(1, "a", LOG_BEGIN, ALICE)):
            failure = await failure_of(node, effect)
            assert failure.certainty is Certainty.NOT_APPLIED, failure.reason


async def test_a_wrong_password_and_an_unlocked_door_with_nobody_behind_are_told_in_a_sentence(
    server: OneMySQL,
) -> None:
    strangers, snapshots = NodePasswords(coordinator="wrong", cloner="wrong", ddl="wrong"), server.checksums()
    wrong = MySQLNode(NODE, {NODE: ("127.0.0.1", server.port)}, strangers, DATABASE, TIMEOUTS, snapshots, READ_LIMITS)
    failure = await failure_of(wrong, FENCE)
    assert failure.certainty is Certainty.NOT_APPLIED
    assert failure.reason.startswith("cannot connect: Access denied for user 'coordinator'")
    nobody = MySQLNode(NODE, {NODE: ("127.0.0.1", 1)}, strangers, DATABASE, TIMEOUTS, snapshots, READ_LIMITS)
    failure = await failure_of(nobody, FENCE)
    assert (failure.certainty, failure.reason[:16]) == (Certainty.NOT_APPLIED, "cannot connect: ")


# ------------------------------------------------------------------------------------------ readers


async def read(reader: NodeReader, sql: str) -> list[tuple[Any, ...]]:
    """With leave that was given just now; a connection may have to be opened first."""
    while True:
        with contextlib.suppress(ConnectionIsNew):  # the leave is older than the connection: another one
            return list((await reader.read([sql], time.monotonic_ns()))[0].rows)


async def old_leave(reader: NodeReader) -> int:
    """Leave that is younger than the connection that is used next."""
    await read(reader, "SELECT 1")
    return time.monotonic_ns()


async def open_stream(reader: NodeReader, sql: str) -> StreamedResult:
    while True:
        with contextlib.suppress(ConnectionIsNew):  # the leave is older than the connection: another one
            return await reader.open_stream(sql, time.monotonic_ns())


async def all_rows(stream: StreamedResult) -> None:
    while await stream.rows():
        pass  # the rows are taken, and nobody looks at them


DIGITS = "(VALUES ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9))"
NUMBERS = (
    f"(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n FROM {DIGITS} AS a(d), {DIGITS} AS b(d),"
    f" {DIGITS} AS c(d), {DIGITS} AS d(d), {DIGITS} AS e(d)) AS numbers"
)
"""A table of 0 to 99,999, in `n`."""


@pytest.fixture
async def reader(server: OneMySQL) -> AsyncIterator[NodeReader]:
    reader = server.reader()
    yield reader
    reader.close()


async def test_a_connection_that_is_younger_than_the_leave_reads_nothing(reader: NodeReader) -> None:
    leave_ns = time.monotonic_ns()
    for _ in range(2):
        with pytest.raises(ConnectionIsNew):
            await reader.read(["SELECT 1"], leave_ns)
    assert list((await reader.read(["SELECT 1"], time.monotonic_ns()))[0].rows) == [(1,)]


async def test_a_connection_that_broke_is_replaced_by_one_that_needs_new_leave(
    server: OneMySQL, reader: NodeReader
) -> None:
    assert await read(reader, "SELECT 1") == [(1,)]
    leave_ns = time.monotonic_ns()
    server.kill_connections("reader")
    with pytest.raises(ConnectionBroken):
        await reader.read(["SELECT 1"], leave_ns)
    with pytest.raises(ConnectionIsNew):
        await reader.read(["SELECT 1"], leave_ns)
    assert await read(reader, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("sql", "errno"),
    [
        (ALICE, 1142),
        ("UPDATE users SET name = 'x'", 1142),
        ("DELETE FROM users", 1142),
        ("CREATE TABLE t (id INT PRIMARY KEY)", 1792),
        ("SELECT * FROM _replication.meta", 1142),
        ("SELECT * FROM _replication.log", 1142),
        ("SELECT * FROM mysql.user", 1142),
        ("SELECT * FROM users FOR UPDATE", 1142),
        ("SELECT 1 INTO OUTFILE '/tmp/no-such-file'", 1227),
        ("SET GLOBAL max_connections = 1", 1227),
        ("SELECT * FROM nobody", 1146),
    ],
)
async def test_a_reader_can_neither_write_nor_see_what_is_not_the_users(
    reader: NodeReader, sql: str, errno: int
) -> None:
    with pytest.raises(ServerError) as caught:
        await read(reader, sql)
    assert caught.value.errno == errno
    # an error of MySQL's does not break the connection
    assert list((await reader.read(["SHOW DATABASES LIKE '%rep%'"], time.monotonic_ns()))[0].rows) == []


async def test_a_result_has_at_most_so_many_rows(server: OneMySQL) -> None:
    server.root(*(f"INSERT INTO {DATABASE}.things (code) VALUES ('{n}')" for n in range(12)))
    reader = server.reader(rows_max=10)
    try:
        assert len(await read(reader, "SELECT * FROM things LIMIT 10")) == 10
        for sql in ("SELECT * FROM things", "SELECT * FROM things LIMIT 1000"):
            with pytest.raises(ResultExceeded, match="more than 10 rows: add a LIMIT or a WHERE"):
                await read(reader, sql)
        assert await read(reader, "SELECT COUNT(*) FROM things") == [(12,)]
    finally:
        reader.close()


async def test_a_result_has_at_most_so_many_bytes(server: OneMySQL) -> None:
    reader = server.reader(bytes_max=10_000)
    try:
        assert len((await read(reader, "SELECT REPEAT('x', 9000)"))[0][0]) == 9000
        with pytest.raises(ResultExceeded, match="more than 10000 bytes"):
            await read(reader, "SELECT REPEAT('x', 20000)")
        with pytest.raises(ResultExceeded) as exceeded:
            await reader.read(["SELECT REPEAT('x', 9000)", "SELECT REPEAT('y', 9000)"], await old_leave(reader))
        assert exceeded.value.place == 1
        assert await read(reader, "SELECT 1") == [(1,)]
    finally:
        reader.close()


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
"""libuv reads a socket many times in one turn."""


def run_with(
    reader: NodeReader,
    take: Callable[[NodeReader], Coroutine[Any, Any, None]],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def take_and_close() -> None:
        with contextlib.closing(reader):
            await take(reader)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(take_and_close())


@LOOPS
def test_a_stream_has_any_number_of_rows_and_keeps_little_of_them(
    server: OneMySQL, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def take(reader: NodeReader) -> None:
        stream = await open_stream(reader, f"SELECT n, REPEAT('x', 1000) FROM {NUMBERS}")
        assert stream.columns[0].name == "n"
        numbers: list[int] = []
        biggest = 0
        while rows := await stream.rows():
            biggest = max(biggest, len(rows))
            numbers += [row[0] for row in rows]
            if len(numbers) % 7 == 0:
                await asyncio.sleep(0.005)  # the server is faster than whoever takes its rows
        stream.close()
        assert sorted(numbers) == list(range(100_000))
        assert biggest < 600
        # the connection goes on
        again = await open_stream(reader, "SELECT 1")
        assert (await again.rows(), await again.rows()) == ([(1,)], [])
        again.close()

    run_with(server.reader(rows_max=10, bytes_max=1000), take, new_loop)


@LOOPS
def test_a_streamed_row_may_be_larger_than_a_read_of_the_connection(
    server: OneMySQL, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def take(reader: NodeReader) -> None:
        stream = await open_stream(reader, f"SELECT n, REPEAT('x', 3000000 + n) FROM {NUMBERS} WHERE n < 20")
        sizes: dict[int, int] = {}
        while rows := await stream.rows():
            sizes |= {n: len(text) for n, text in rows}
        stream.close()
        assert sizes == {n: 3_000_000 + n for n in range(20)}
        with pytest.raises(ServerError):
            await open_stream(reader, "SELECT nothing")
        again = await open_stream(reader, "SELECT REPEAT('y', 2000000)")
        assert (await again.rows(), await again.rows()) == ([("y" * 2_000_000,)], [])
        again.close()

    run_with(server.reader(), take, new_loop)


async def test_a_stream_whose_statement_fails_half_way_says_so(server: OneMySQL) -> None:
    reader = server.reader(read_timeout_s=0.3)
    try:
        stream = await open_stream(reader, f"SELECT n, REPEAT('x', 1000), SLEEP(n > 90000) FROM {NUMBERS}")
        with pytest.raises(ServerError) as caught:
            await all_rows(stream)
        stream.close()
        assert caught.value.errno == 3024
        again = await open_stream(reader, "SELECT 1")
        assert await again.rows() == [(1,)]
        again.close()
    finally:
        reader.close()


def running(server: OneMySQL) -> int:
    """Statements of readers that the server works on."""
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'reader' AND command = 'Query'"
    count: int = server.root(query)[0][0]
    return count


async def until_running(server: OneMySQL, count: int) -> None:
    async with asyncio.timeout(5):
        while running(server) != count:  # noqa: ASYNC110 (no event: a server's list)
            await asyncio.sleep(0.01)  # the server tells nobody: asked again


async def test_a_read_that_is_given_up_ends_on_the_server_too(server: OneMySQL) -> None:
    reader = server.reader()
    try:
        leave_ns = await old_leave(reader)
        many = "information_schema.collations"
        long_one = f"SELECT COUNT(*) FROM {many} a, {many} b, {many} c WHERE a.id + b.id + c.id < 0"
        reading = asyncio.create_task(reader.read([long_one], leave_ns))
        await until_running(server, 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until_running(server, 0)

        stream = await open_stream(reader, f"SELECT n, REPEAT('x', 1000) FROM {NUMBERS}")
        assert await stream.rows()
        await until_running(server, 1)
        stream.close()
        await until_running(server, 0)
        assert await read(reader, "SELECT 1") == [(1,)]
    finally:
        reader.close()


async def test_a_read_that_takes_too_long_is_ended_by_the_server(server: OneMySQL) -> None:
    reader = server.reader(read_timeout_s=0.1)
    try:
        many = "information_schema.collations"
        with pytest.raises(ServerError) as caught:
            await read(reader, f"SELECT COUNT(*) FROM {many} a, {many} b, {many} c WHERE a.id + b.id + c.id < 0")
        assert caught.value.errno == 3024
        assert await read(reader, "SELECT 1") == [(1,)]
    finally:
        reader.close()


async def test_a_connection_that_is_kept_sees_what_is_committed_later(node: MySQLNode, reader: NodeReader) -> None:
    assert await read(reader, "SELECT COUNT(*) FROM users") == [(0,)]
    await commit(node, execute(1, "a", LOG_BEGIN, ALICE))
    assert list((await reader.read(["SELECT COUNT(*) FROM users"], time.monotonic_ns()))[0].rows) == [(1,)]


async def test_more_readers_than_connections_wait_their_turn(server: OneMySQL, reader: NodeReader) -> None:
    results = await asyncio.gather(*(read(reader, f"SELECT {n}") for n in range(20)))
    assert results == [[(n,)] for n in range(20)]
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'reader'"
    assert server.root(query)[0][0] <= 2
