"""What a node owes the protocol, proven of a real MySQL server and of the simulation's model of one by the same tests.

The simulation shows that the protocol is right on nodes that behave as `ModelNode` does; this file shows that MySQL behind
`adapters/mysql_node.py` behaves so (design sections 4 and 6).
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest
from model_node import CommandLost, ModelNode
from node_effects import COMMIT, NODE, ROLL_BACK, entries_of, execute, insert, prepare, row_of, rows_of, store
from one_mysql import DATABASE, OneMySQL, one_mysql

from adapters.mysql_node import CommandFailed
from replication.effects import (
    Admit,
    ConfirmEpoch,
    ExecuteBatch,
    Fence,
    MeasureLog,
    NodeEffect,
    NoteCopy,
    ReadLog,
    ReadPositions,
    StoreRows,
    TruncateLog,
)
from replication.log import EMPTY_LOG_END, LOG_BEGIN, Entry, LogEnd, LogRow, Position, check_chain, end_after
from replication.replies import (
    Admitted,
    Bare,
    BatchCommitted,
    BatchExecuted,
    BatchRolledBack,
    CopyNoted,
    Diverged,
    EpochSeen,
    Fenced,
    LogGone,
    LogMark,
    LogMeasured,
    LogRead,
    LogTruncated,
    Misplaced,
    Outbid,
    PositionsRead,
    Reply,
    RowPrepared,
    RowsStored,
)
from replication.values import Certainty, NodeStatus, Rejected


class Hand(Protocol):
    """One coordinator's connections to the node."""

    async def carry_out(self, effect: NodeEffect) -> Reply: ...

    def close(self) -> None: ...


class Node(Protocol):
    """The node under test."""

    def hand(self, owner: str) -> Hand:
        """What coordinator `owner` has of the node."""

    def codes(self) -> list[str]:
        """What is in the node's data for everybody to see, in the order in which it came."""

    def break_connections(self) -> None: ...

    def lay_bare(self) -> None:
        """All data is gone, as after a copy that was cut short."""


class ModelHand:
    def __init__(self, model: ModelNode, owner: str) -> None:
        self._model, self._owner = model, owner

    async def carry_out(self, effect: NodeEffect) -> Reply:
        try:
            return self._model.carry_out(effect, self._owner)
        except CommandLost as lost:
            raise CommandFailed(Certainty.NOT_APPLIED, str(lost)) from lost

    def close(self) -> None:
        return


class Model:
    def __init__(self) -> None:
        self._model = ModelNode(NODE)

    def hand(self, owner: str) -> Hand:
        return ModelHand(self._model, owner)

    def codes(self) -> list[str]:
        return [re.findall("'(.*)'", entry.sql)[0] for entry in self._model.data]

    def break_connections(self) -> None:
        self._model.crash()

    def lay_bare(self) -> None:
        self._model.lay_bare()


class RealMySQL:
    def __init__(self, server: OneMySQL) -> None:
        self._server = server
        self._hands: list[Hand] = []

    def hand(self, owner: str) -> Hand:
        self._hands.append(self._server.node())
        return self._hands[-1]

    def codes(self) -> list[str]:
        return [code for (code,) in self._server.root(f"SELECT code FROM {DATABASE}.things ORDER BY id")]

    def break_connections(self) -> None:
        self._server.kill_connections()

    def lay_bare(self) -> None:
        self._server.root("RENAME TABLE _replication.meta TO _replication.hidden")

    def lay_open(self) -> None:
        if not self._server.root("SHOW TABLES FROM _replication LIKE 'meta'"):
            self._server.root("RENAME TABLE _replication.hidden TO _replication.meta")

    def close(self) -> None:
        for hand in self._hands:
            hand.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMySQL]:
    with one_mysql(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(params=["model", "mysql"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    if request.param == "model":
        yield Model()
        return
    server: OneMySQL = request.getfixturevalue("server")
    server.reset()
    real = RealMySQL(server)
    yield real
    real.lay_open()
    real.close()


# ------------------------------------------------------------------------------------------ steps


async def fenced(node: Node, epoch: int = 1, owner: str = "a") -> Hand:
    """A coordinator that owns `epoch` on the node."""
    hand = node.hand(owner)
    assert isinstance(await hand.carry_out(Fence(NODE, 0, epoch, owner)), Fenced)
    return hand


async def look(node: Node) -> NodeStatus:
    """The node's state. Ends an open transaction, as every fence does."""
    witness = node.hand("witness")
    reply = await witness.carry_out(Fence(NODE, 0, 0, "witness"))
    witness.close()
    assert isinstance(reply, Outbid)
    return reply.status


async def run(hand: Hand, epoch: int, owner: str, end: LogEnd, *codes: str) -> LogRow:
    """Execute a batch and put its row into the open transaction."""
    effect = execute(epoch, owner, end.position, *map(insert, codes))
    reply = await hand.carry_out(effect)
    assert isinstance(reply, BatchExecuted)
    row = row_of(end, epoch, *entries_of(effect, reply.outcomes))
    assert await hand.carry_out(prepare(row)) == RowPrepared()
    return row


async def commit(hand: Hand, epoch: int, owner: str, end: LogEnd, *codes: str) -> LogRow:
    row = await run(hand, epoch, owner, end, *codes)
    assert await hand.carry_out(COMMIT) == BatchCommitted()
    return row


async def read_log(hand: Hand, after_timestamp: int = 0) -> LogRead:
    reply = await hand.carry_out(ReadLog(NODE, 0, after_timestamp, 1 << 20))
    assert isinstance(reply, LogRead)
    return reply


async def fenced_anew(hand: Hand) -> None:
    """Fence epoch 1 of "a" again after the connections broke, which the first try may be what notices."""
    try:
        reply = await hand.carry_out(Fence(NODE, 0, 1, "a"))
    except CommandFailed:
        reply = await hand.carry_out(Fence(NODE, 0, 1, "a"))
    assert isinstance(reply, Fenced)


async def fails(hand: Hand, effect: NodeEffect) -> CommandFailed:
    with pytest.raises(CommandFailed) as caught:
        await hand.carry_out(effect)
    return caught.value


# ------------------------------------------------------------------------------------------ fence


async def test_a_fence_sets_the_epoch_and_tells_where_an_empty_log_ends(node: Node) -> None:
    hand = node.hand("a")
    reply = await hand.carry_out(Fence(NODE, 0, 3, "a"))
    assert isinstance(reply, Fenced)
    status = reply.status
    assert (status.cluster_id, status.log_end, status.tail) == ("", EMPTY_LOG_END, (LOG_BEGIN,))
    assert (status.committed_timestamp, status.applied_timestamp, status.applied_entries) == (0, 0, 0)
    assert await hand.carry_out(ConfirmEpoch(NODE, 0)) == EpochSeen(3, "a")


@pytest.mark.parametrize(("epoch", "owner"), [(2, "a"), (2, "b"), (3, "b"), (0, "b")])
async def test_a_fence_of_a_lower_epoch_or_of_the_same_in_another_name_is_outbid(
    node: Node, epoch: int, owner: str
) -> None:
    first = await fenced(node, 3, "a")
    reply = await node.hand(owner).carry_out(Fence(NODE, 0, epoch, owner))
    assert isinstance(reply, Outbid)
    assert (reply.status.epoch, reply.status.owner) == (3, "a")
    assert await first.carry_out(ConfirmEpoch(NODE, 0)) == EpochSeen(3, "a")


async def test_the_owner_may_fence_its_own_epoch_again_and_go_on(node: Node) -> None:
    hand = await fenced(node)
    assert isinstance(await hand.carry_out(Fence(NODE, 0, 1, "a")), Fenced)
    await commit(hand, 1, "a", EMPTY_LOG_END, "one")
    assert node.codes() == ["one"]


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_fence_ends_the_transaction_that_holds_the_lock_and_its_commit_fails(
    node: Node, prepared: bool
) -> None:
    old = await fenced(node)
    if prepared:
        await run(old, 1, "a", EMPTY_LOG_END, "phantom")
    else:
        await old.carry_out(execute(1, "a", LOG_BEGIN, insert("phantom")))
    new = await fenced(node, 2, "b")
    await fails(old, COMMIT)
    assert node.codes() == []
    assert await new.carry_out(ConfirmEpoch(NODE, 0)) == EpochSeen(2, "b")
    status = await look(node)
    assert (status.epoch, status.owner, status.log_end, status.applied_timestamp) == (2, "b", EMPTY_LOG_END, 0)


@pytest.mark.parametrize("way", ["execute", "store"])
async def test_after_ending_a_transaction_the_new_owner_can_use_the_node_at_once(node: Node, way: str) -> None:
    old = await fenced(node)
    await old.carry_out(execute(1, "a", LOG_BEGIN, insert("phantom")))
    new = await fenced(node, 2, "b")
    if way == "execute":
        await commit(new, 2, "b", EMPTY_LOG_END, "kept")
        assert node.codes() == ["kept"]
    else:
        rows = rows_of(2, insert("kept"))
        assert await new.carry_out(store(2, "b", LOG_BEGIN, 0, append=rows)) == RowsStored(rows[-1].position, 0)


@pytest.mark.parametrize("effect", [prepare(row_of(EMPTY_LOG_END, 1)), COMMIT, ROLL_BACK])
async def test_nothing_goes_on_in_a_transaction_that_the_owners_own_fence_has_ended(
    request: pytest.FixtureRequest, node: Node, effect: NodeEffect
) -> None:
    hand = await fenced(node)
    await run(hand, 1, "a", EMPTY_LOG_END, "gone")
    await hand.carry_out(Fence(NODE, 0, 1, "a"))
    await fails(hand, effect)
    assert node.codes() == []


async def test_a_node_is_admitted_by_the_owner_of_its_epoch_and_by_nobody_else(node: Node) -> None:
    hand = await fenced(node)
    other = node.hand("b")
    await other.carry_out(Fence(NODE, 0, 1, "b"))
    assert isinstance(await other.carry_out(Admit(NODE, 0, 1, "b", "other-cluster")), Outbid)
    assert (await look(node)).cluster_id == ""
    assert await hand.carry_out(Admit(NODE, 0, 1, "a", "our-cluster")) == Admitted()
    assert (await look(node)).cluster_id == "our-cluster"


async def test_a_note_of_copies_takes_the_place_of_the_one_that_was_there_and_outlives_fences(node: Node) -> None:
    hand = await fenced(node)
    other = node.hand("b")
    await other.carry_out(Fence(NODE, 0, 1, "b"))
    assert isinstance(await other.carry_out(NoteCopy(NODE, 0, 1, "b", "", "1 replica-2")), Outbid)
    assert await hand.carry_out(NoteCopy(NODE, 0, 1, "a", "", "1 replica-3")) == CopyNoted()
    reply = await hand.carry_out(NoteCopy(NODE, 0, 1, "a", "", "2 replica-2"))
    assert isinstance(reply, Misplaced)
    assert reply.status.copy_note == "1 replica-3"
    assert isinstance(await other.carry_out(Fence(NODE, 0, 2, "b")), Fenced)
    assert (await look(node)).copy_note == "1 replica-3"
    assert isinstance(await hand.carry_out(NoteCopy(NODE, 0, 1, "a", "1 replica-3", "3 ")), Outbid)
    assert await other.carry_out(Admit(NODE, 0, 2, "b", "our-cluster")) == Admitted()
    assert (await look(node)).copy_note == ""


# ------------------------------------------------------------------------------------------ guard

WRONG_PLACES = [
    pytest.param(execute(2, "a", Position(1, 2), insert("x")), id="execute: epoch"),
    pytest.param(execute(1, "b", Position(1, 2), insert("x")), id="execute: owner"),
    pytest.param(execute(1, "a", Position(1, 4), insert("x")), id="execute: log end"),
    pytest.param(execute(1, "a", Position(0, 2), insert("x")), id="execute: epoch of the log end"),
    pytest.param(execute(1, "a", LOG_BEGIN, insert("x")), id="execute: beginning of the log"),
    pytest.param(store(2, "a", Position(1, 2), 2, append=[row_of(EMPTY_LOG_END, 2)]), id="store: epoch"),
    pytest.param(store(1, "b", Position(1, 2), 2, append=[row_of(EMPTY_LOG_END, 1)]), id="store: owner"),
    pytest.param(store(1, "a", Position(1, 4), 2, append=[row_of(EMPTY_LOG_END, 1)]), id="store: log end"),
    pytest.param(store(1, "a", Position(0, 2), 2, append=[row_of(EMPTY_LOG_END, 1)]), id="store: epoch of the log end"),
    pytest.param(store(1, "a", Position(1, 2), 0, append=[row_of(EMPTY_LOG_END, 1)]), id="store: applied"),
]


@pytest.mark.parametrize("effect", WRONG_PLACES)
async def test_a_command_that_supposes_another_fence_or_place_changes_nothing_and_is_told_the_truth(
    node: Node, effect: ExecuteBatch | StoreRows
) -> None:
    hand = await fenced(node)
    row = await commit(hand, 1, "a", EMPTY_LOG_END, "one")
    assert row.position == Position(1, 2)
    reply = await hand.carry_out(effect)
    assert isinstance(reply, Misplaced)
    assert (reply.status.epoch, reply.status.owner) == (1, "a")
    assert (reply.status.log_end.position, reply.status.applied_timestamp) == (Position(1, 2), 2)
    assert await look(node) == reply.status
    # nothing was left open, and the right command still goes
    await fenced_anew(hand)
    await commit(hand, 1, "a", end_after(row), "two")
    assert node.codes() == ["one", "two"]


async def test_a_deposed_coordinators_commands_are_misplaced_and_name_the_new_owner(node: Node) -> None:
    old = await fenced(node)
    await fenced(node, 2, "b")
    for effect in (
        execute(1, "a", LOG_BEGIN, insert("x")),
        store(1, "a", LOG_BEGIN, 0, append=rows_of(1, insert("x"))),
    ):
        reply = await old.carry_out(effect)
        assert isinstance(reply, Misplaced)
        assert (reply.status.epoch, reply.status.owner) == (2, "b")
    assert await old.carry_out(ConfirmEpoch(NODE, 0)) == EpochSeen(2, "b")
    assert node.codes() == []


async def test_no_other_command_passes_an_open_transaction(node: Node) -> None:
    old = await fenced(node)
    new = await fenced(node, 2, "b")
    row = await run(new, 2, "b", EMPTY_LOG_END, "kept")
    failure = await fails(old, store(1, "a", LOG_BEGIN, 0, append=rows_of(1, insert("x"))))
    assert failure.certainty is Certainty.NOT_APPLIED
    assert await new.carry_out(COMMIT) == BatchCommitted()
    assert node.codes() == ["kept"]
    assert (await read_log(new)).rows == (row,)


# ------------------------------------------------------------------------------------------ master


async def test_a_batch_becomes_visible_with_its_row_and_its_positions_all_at_once_by_the_commit(node: Node) -> None:
    hand, other = await fenced(node), node.hand("b")
    await other.carry_out(Fence(NODE, 0, 0, "b"))
    row = await run(hand, 1, "a", EMPTY_LOG_END, "one", "two")
    assert node.codes() == []
    assert (await read_log(other)).rows == ()
    assert await hand.carry_out(COMMIT) == BatchCommitted()
    assert node.codes() == ["one", "two"]
    assert (await read_log(other)).rows == (row,)
    status = await look(node)
    assert status.log_end == end_after(row)
    assert (status.committed_timestamp, status.applied_timestamp, status.applied_entries) == (4, 4, 2)
    assert (status.master, status.tail) == ("master-of-test", (Position(1, 4),))


async def test_a_batch_that_is_rolled_back_leaves_no_trace_and_the_next_one_runs(node: Node) -> None:
    hand = await fenced(node)
    await run(hand, 1, "a", EMPTY_LOG_END, "gone")
    assert await hand.carry_out(ROLL_BACK) == BatchRolledBack()
    assert node.codes() == []
    row = await commit(hand, 1, "a", EMPTY_LOG_END, "gone")
    assert node.codes() == ["gone"]
    assert (await read_log(hand)).rows == (row,)


async def test_a_request_that_fails_is_answered_in_its_place_and_harms_none_of_its_batch(node: Node) -> None:
    hand = await fenced(node)
    row = await commit(hand, 1, "a", EMPTY_LOG_END, "there")
    codes = ("there", "new", "there", "there", "newer", "there")
    reply = await hand.carry_out(execute(1, "a", row.position, *map(insert, codes)))
    assert isinstance(reply, BatchExecuted)
    kinds = [type(outcome) for outcome in reply.outcomes]
    assert kinds == [Rejected, tuple, Rejected, Rejected, tuple, Rejected]
    assert {(o.errno, o.sqlstate) for o in reply.outcomes if isinstance(o, Rejected)} == {(1062, "23000")}
    assert [o[0].rows_affected for o in reply.outcomes if isinstance(o, tuple)] == [1, 1]
    assert await hand.carry_out(prepare(row_of(end_after(row), 1, Entry(10, "x", 1)))) == RowPrepared()
    assert await hand.carry_out(COMMIT) == BatchCommitted()
    assert node.codes() == ["there", "new", "newer"]


async def test_a_batch_of_nothing_is_a_no_op_that_moves_the_log_and_what_is_applied(node: Node) -> None:
    hand = await fenced(node)
    row = await commit(hand, 1, "a", EMPTY_LOG_END)
    status = await look(node)
    assert (status.log_end, status.applied_timestamp, status.applied_entries) == (end_after(row), 1, 0)


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_transaction_whose_connection_broke_cannot_be_committed_and_is_gone(node: Node, prepared: bool) -> None:
    hand = await fenced(node)
    if prepared:
        await run(hand, 1, "a", EMPTY_LOG_END, "gone")
    else:
        await hand.carry_out(execute(1, "a", LOG_BEGIN, insert("gone")))
    node.break_connections()
    await fails(hand, COMMIT)
    await fails(hand, COMMIT)
    await fenced_anew(hand)
    assert node.codes() == []
    assert (await look(node)).log_end == EMPTY_LOG_END


# ------------------------------------------------------------------------------------------ replica


async def test_rows_are_appended_first_and_applied_by_a_later_command(node: Node) -> None:
    hand = await fenced(node)
    rows = rows_of(1, insert("one"), insert("two"), insert("three"))
    one, two, three = rows
    reply = await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=[one, two]))
    assert reply == RowsStored(two.position, 0)
    assert node.codes() == []
    status = await look(node)
    assert (status.log_end, status.applied_timestamp) == (end_after(two), 0)
    assert status.tail == (LOG_BEGIN, one.position, two.position)
    reply = await hand.carry_out(store(1, "a", two.position, 0, append=[three], apply=[one, two]))
    assert reply == RowsStored(three.position, two.last_timestamp)
    assert node.codes() == ["one", "two"]
    status = await look(node)
    assert (status.log_end, status.applied_timestamp, status.applied_entries) == (end_after(three), 4, 2)
    assert (status.committed_timestamp, status.master) == (4, "master-of-test")
    assert status.tail == (two.position, three.position)


async def test_a_row_may_be_appended_and_applied_by_one_command(node: Node) -> None:
    hand = await fenced(node)
    rows = rows_of(1, insert("one"), insert("two"))
    reply = await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows, apply=rows))
    assert reply == RowsStored(rows[-1].position, rows[-1].last_timestamp)
    assert node.codes() == ["one", "two"]


async def test_dropping_removes_exactly_the_tail_and_the_new_rows_stand_in_its_place(node: Node) -> None:
    hand = await fenced(node)
    kept, lost, lost_too = rows_of(1, insert("kept"), insert("lost"), insert("lost too"))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=[kept, lost, lost_too], apply=[kept]))
    await hand.carry_out(Fence(NODE, 0, 2, "a"))
    (new,) = rows_of(2, insert("new"), after=end_after(kept))
    effect = store(2, "a", lost_too.position, 2, drop_after=kept.position, append=[new], apply=[new])
    assert await hand.carry_out(effect) == RowsStored(new.position, new.last_timestamp)
    assert node.codes() == ["kept", "new"]
    assert (await read_log(hand)).rows == (kept, new)


async def test_dropping_alone_leaves_the_log_where_it_was_cut(node: Node) -> None:
    hand = await fenced(node)
    kept, lost = rows_of(1, insert("kept"), insert("lost"))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=[kept, lost]))
    reply = await hand.carry_out(store(1, "a", lost.position, 0, drop_after=kept.position))
    assert reply == RowsStored(kept.position, 0)
    assert (await look(node)).log_end == end_after(kept)


async def test_an_entry_that_fails_here_only_is_a_divergence_and_nothing_of_its_row_is_applied(node: Node) -> None:
    hand = await fenced(node)
    first, second = rows_of(1, insert("same"), insert("same"))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=[first, second], apply=[first]))
    before = await look(node)
    reply = await hand.carry_out(store(1, "a", second.position, 2, apply=[second]))
    assert isinstance(reply, Diverged)
    assert insert("same") in reply.reason
    assert await look(node) == before
    assert node.codes() == ["same"]


# ------------------------------------------------------------------------------------------ log


async def test_the_log_reads_back_as_an_unbroken_chain_from_any_place(node: Node) -> None:
    hand = await fenced(node)
    written = [await commit(hand, 1, "a", EMPTY_LOG_END)]
    for code in ("one", "two", "größe ✓ 😀"):
        written.append(await commit(hand, 1, "a", end_after(written[-1]), code))
    for start, row in enumerate([None, *written]):
        end = EMPTY_LOG_END if row is None else end_after(row)
        reply = await read_log(hand, end.position.timestamp)
        assert reply.before == end
        assert reply.rows == tuple(written[start:])
        check_chain(reply.before, reply.rows)
    between = await read_log(hand, written[1].last_timestamp - 1)
    assert (between.before, between.rows) == (end_after(written[0]), tuple(written[1:]))


async def test_positions_are_those_of_the_rows_in_between_both_ends_included(node: Node) -> None:
    hand = await fenced(node)
    rows = rows_of(1, insert("one"), insert("two"), insert("three"))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows))
    places = [LOG_BEGIN, *(row.position for row in rows)]
    for first in range(8):
        for last in range(first, 8):
            reply = await hand.carry_out(ReadPositions(NODE, 0, first, last))
            expected = tuple(place for place in places if first <= place.timestamp <= last)
            assert reply == PositionsRead(expected)


# ------------------------------------------------------------------------------------------ truncation


async def log_of(node: Node, *codes: str) -> tuple[Hand, list[LogRow]]:
    """A coordinator and the rows that it has committed, one a code."""
    hand = await fenced(node)
    rows = [await commit(hand, 1, "a", EMPTY_LOG_END, codes[0])]
    for code in codes[1:]:
        rows.append(await commit(hand, 1, "a", end_after(rows[-1]), code))
    return hand, rows


async def test_each_probe_of_the_log_finds_the_first_row_at_or_after_it(node: Node) -> None:
    hand, rows = await log_of(node, "one", "two", "three")
    marks = [
        LogMark(0, 0, 0),
        *(LogMark(row.last_timestamp, row.bytes_total, row.now_us) for row in rows),
    ]
    for timestamp in range(rows[-1].last_timestamp + 1):
        reply = await hand.carry_out(MeasureLog(NODE, 0, (timestamp,)))
        assert reply == LogMeasured((next(mark for mark in marks if mark.timestamp >= timestamp),))
    reply = await hand.carry_out(MeasureLog(NODE, 0, tuple(range(rows[-1].last_timestamp + 1))))
    assert reply == LogMeasured(tuple(marks))


async def test_after_a_truncation_the_log_begins_where_it_was_told_and_reads_on_from_there(node: Node) -> None:
    hand, rows = await log_of(node, "one", "two", "three", "four")
    before = await look(node)
    begin = rows[1]
    assert await hand.carry_out(TruncateLog(NODE, 0, begin.last_timestamp)) == LogTruncated(begin.position)
    status = await look(node)
    assert status.log_begin == begin.position
    assert (status.log_end, status.tail) == (before.log_end, before.tail)
    reply = await read_log(hand, begin.last_timestamp)
    assert (reply.before, reply.rows) == (end_after(begin), tuple(rows[2:]))
    check_chain(reply.before, reply.rows)
    places = await hand.carry_out(ReadPositions(NODE, 0, 0, 100))
    assert places == PositionsRead(tuple(row.position for row in rows[1:]), begin.position)


async def test_rows_that_were_removed_are_said_to_be_gone_and_not_to_be_damaged(node: Node) -> None:
    hand, rows = await log_of(node, "one", "two", "three")
    await hand.carry_out(TruncateLog(NODE, 0, rows[1].last_timestamp))
    for after in (0, rows[0].last_timestamp, rows[1].last_timestamp - 1):
        assert await hand.carry_out(ReadLog(NODE, 0, after, 1 << 20)) == LogGone(rows[1].position)


async def test_a_truncation_removes_nothing_that_is_not_applied_and_never_the_last_applied_row(node: Node) -> None:
    hand = await fenced(node)
    rows = rows_of(1, insert("one"), insert("two"), insert("three"))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows, apply=rows[:2]))
    assert await hand.carry_out(TruncateLog(NODE, 0, 1 << 60)) == LogTruncated(rows[1].position)
    status = await look(node)
    assert status.tail == (rows[1].position, rows[2].position)
    reply = await hand.carry_out(store(1, "a", rows[2].position, rows[1].last_timestamp, apply=[rows[2]]))
    assert reply == RowsStored(rows[2].position, rows[2].last_timestamp)


async def test_a_log_of_which_nothing_is_applied_keeps_its_beginning(node: Node) -> None:
    hand = await fenced(node)
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows_of(1, insert("one"))))
    assert await hand.carry_out(TruncateLog(NODE, 0, 1 << 60)) == LogTruncated(LOG_BEGIN)


async def test_a_long_log_is_truncated_in_one_command(node: Node) -> None:
    hand = await fenced(node)
    rows: list[LogRow] = []
    for _ in range(450):
        rows.append(row_of(end_after(rows[-1]) if rows else EMPTY_LOG_END, 1))
    await hand.carry_out(store(1, "a", LOG_BEGIN, 0, append=rows, apply=rows))
    assert await hand.carry_out(TruncateLog(NODE, 0, 1 << 60)) == LogTruncated(rows[-1].position)


# ------------------------------------------------------------------------------------------ whose data it is


async def test_an_admitted_node_says_whose_data_it_has(node: Node) -> None:
    hand = await fenced(node)
    assert (await look(node)).node == ""
    await hand.carry_out(Admit(NODE, 0, 1, "a", "our-cluster"))
    assert (await look(node)).node == NODE


async def test_a_server_without_our_tables_is_bare_and_takes_nothing(node: Node) -> None:
    await fenced(node)
    node.lay_bare()
    hand = node.hand("a")
    assert await hand.carry_out(Fence(NODE, 0, 2, "a")) == Bare()
    await fails(hand, ConfirmEpoch(NODE, 0))
    await fails(hand, Admit(NODE, 0, 2, "a", "our-cluster"))
    await fails(hand, execute(2, "a", LOG_BEGIN, insert("x")))
