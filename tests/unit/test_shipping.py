"""Bringing nodes level, step by step (design section 6, last part; Raft section 5.3)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_node import ModelNode
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, member, serving_bench

from replication.effects import ConfirmEpoch, Fence, ReadLog, ReadPositions, StoreRows
from replication.events import Woken
from replication.log import EMPTY_LOG_END, LOG_BEGIN, LogEnd, LogRow, Position, batch_of
from replication.progress import NodeState, common_point
from replication.replies import LogRead, Misplaced, PositionsRead
from replication.state import Phase, ReplicationSettings
from replication.values import NodeStatus

TIGHT = ReplicationSettings(chunk_bytes_max=1, window_bytes_max=1)
"""One row a command, one row in memory: everything older comes from a disk."""

ROWS: tuple[tuple[int, ...], ...] = ((1, 10), (1, 20), (1, 30))


def node_with(name: str, *, rows: int, applied: int) -> ModelNode:
    """A member with the first rows of ROWS, the first of them applied."""
    node = member(name, *ROWS[:rows])
    done = member(name, *ROWS[:applied], applied=True)
    node.data, node.applied, node.committed = done.data, done.applied, done.committed
    return node


def starting(nodes: dict[str, ModelNode], settings: ReplicationSettings | None = None) -> Bench:
    """A coordinator that has just sent its fences, in an epoch above all that the nodes have seen."""
    bench = Bench(nodes, settings=settings)
    bench.state.epoch_seen = max(node.epoch for node in nodes.values())
    bench.step(Woken())
    return bench


def come_back(bench: Bench, name: str) -> None:
    """The coordinator misses the node at its heartbeat, and fences it again a little later."""
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, name)
    bench.settle()
    bench.pass_time(200)


def emptied_bench() -> Bench:
    """A replica has come back without its data; no row that it lacks is in memory any more."""
    bench = serving_bench(TIGHT)
    for number in range(3):
        bench.write(f"row {number}")
        bench.settle()
    bench.nodes[REPLICA_3] = ModelNode(REPLICA_3)
    come_back(bench, REPLICA_3)
    return bench


def do_until_asked(bench: Bench, kind: type[ReadPositions] | type[ReadLog]) -> None:
    """Carry out what is sent, in order, until the master is asked for that."""
    while not bench.waiting(kind, MASTER):
        effect = bench.sent[0]
        bench.do(type(effect), effect.node)


# ---------------------------------------------------------------------------------------------- gaps


def test_rows_that_were_asked_for_from_the_log_s_end_are_not_applied_over_a_gap() -> None:
    """When they were asked for, nothing was to be applied; what is committed has grown since (simulation seed 417)."""
    nodes = {name: node_with(name, rows=3, applied=1) for name in (MASTER, REPLICA_1, REPLICA_2)}
    nodes[REPLICA_3] = node_with(REPLICA_3, rows=2, applied=1)
    bench = starting(nodes)
    for name in NAMES:
        bench.do(Fence, name)
    bench.do(ReadPositions, MASTER)
    asked = bench.take(ReadLog, MASTER)
    assert asked.after_timestamp == 20, "its log ends there, and no more than row 10 was committed"
    answer = bench.at_node(asked)
    bench.settle(without=(REPLICA_3,))
    assert bench.state.committed_timestamp == 31
    bench.reply(asked, answer)
    store = bench.do(StoreRows, REPLICA_3)
    assert [row.last_timestamp for row in store.append] == [30]
    assert store.apply == (), "row 20 is not among those that were read"
    bench.flush()
    assert [entry.timestamp for entry in nodes[REPLICA_3].data] == [10, 20, 30]


@pytest.mark.parametrize("settings", [None, TIGHT])
@pytest.mark.parametrize("applied", range(4))
@pytest.mark.parametrize("rows", range(4))
def test_a_node_that_is_behind_gets_every_row_once_and_in_order(
    rows: int, applied: int, settings: ReplicationSettings | None
) -> None:
    if applied > rows:
        return
    nodes = {name: node_with(name, rows=3, applied=2) for name in (MASTER, REPLICA_1, REPLICA_2)}
    nodes[REPLICA_3] = node_with(REPLICA_3, rows=rows, applied=applied)
    bench = starting(nodes, settings)
    bench.election()
    for number in range(3):
        bench.write(f"row {number}")
        bench.settle()
    bench.flush()
    assert nodes[REPLICA_3].data == nodes[MASTER].data
    assert len(nodes[MASTER].data) == 6
    assert nodes[REPLICA_3].log == nodes[MASTER].log


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=3),
    st.booleans(),
)
def test_whatever_the_nodes_have_they_become_equal(ends: list[tuple[int, int]], tight: bool) -> None:
    nodes = {MASTER: node_with(MASTER, rows=3, applied=0)}
    for name, (rows, applied) in zip(NAMES[1:], ends, strict=True):
        nodes[name] = node_with(name, rows=rows, applied=min(rows, applied))
    bench = starting(nodes, TIGHT if tight else None)
    bench.election()
    bench.flush()
    assert all(node.data == nodes[MASTER].data for node in nodes.values())
    assert len(nodes[MASTER].data) == 3


# ---------------------------------------------------------------------------------------------- divergence


def test_unapplied_rows_that_lost_an_election_are_dropped_in_the_same_command_that_stores_the_winners() -> None:
    nodes = {name: member(name, (1, 10), (3, 25)) for name in NAMES}
    nodes[REPLICA_3] = member(REPLICA_3, (1, 10), (2, 20), (2, 40))
    bench = starting(nodes)
    for name in NAMES:
        bench.do(Fence, name)
    bench.do(ReadPositions, bench.state.source or "")
    while not bench.waiting(StoreRows, REPLICA_3):
        effect = next(effect for effect in bench.sent if effect.node != REPLICA_3)
        bench.do(type(effect), effect.node)
    store = bench.do(StoreRows, REPLICA_3)
    assert store.drop_after == Position(1, 10)
    assert store.log_end == Position(2, 40), "the guard checks where the log really ends"
    assert store.append[0].position == Position(3, 25)
    bench.flush()
    assert nodes[REPLICA_3].log == nodes[MASTER].log


positions = st.builds(Position, st.integers(0, 3), st.integers(0, 6))


@given(st.lists(positions, unique=True), st.sets(positions))
def test_the_common_point_is_the_last_position_of_the_tail_that_our_log_has(
    tail: list[Position], ours: set[Position]
) -> None:
    tail.sort()
    status = NodeStatus("cluster", "node", 1, "", "", LOG_BEGIN, EMPTY_LOG_END, 0, 0, 0, tuple(tail))
    shared = [position for position in tail if position in ours]
    assert common_point(status, frozenset(ours)) == (shared[-1] if shared else None)


def test_a_damaged_row_on_the_source_is_not_sent_on_and_the_source_is_quarantined() -> None:
    bench = emptied_bench()
    bench.do(Fence, REPLICA_3)
    do_until_asked(bench, ReadLog)
    asked = bench.take(ReadLog, MASTER)
    read = bench.at_node(asked)
    assert isinstance(read, LogRead)
    payload = read.rows[-1].payload
    spoilt = msgspec.structs.replace(read.rows[-1], payload=payload[:-1] + bytes([payload[-1] ^ 1]))
    bench.reply(asked, LogRead((*read.rows[:-1], spoilt), read.before))
    assert bench.state.nodes[MASTER].state is NodeState.QUARANTINED
    assert "its log is damaged" in bench.state.nodes[MASTER].reason
    assert not bench.waiting(StoreRows, REPLICA_3)
    assert bench.state.phase is Phase.ELECTING


# ---------------------------------------------------------------------------------------------- look-ups


@pytest.mark.parametrize("kind", [ReadPositions, ReadLog])
def test_a_look_up_that_fails_is_asked_again(kind: type[ReadPositions] | type[ReadLog]) -> None:
    """The node for whose sake it was would stay out for ever otherwise (simulation seed 188)."""
    bench = emptied_bench()
    do_until_asked(bench, kind)
    bench.lose(kind, MASTER)
    bench.election()
    bench.flush()
    bench.flush()
    assert bench.nodes[REPLICA_3].data == bench.nodes[REPLICA_1].data
    assert len(bench.nodes[REPLICA_3].data) == 3
    assert bench.state.nodes[REPLICA_3].member


def test_a_look_up_of_an_earlier_epoch_means_nothing() -> None:
    nodes = {name: node_with(name, rows=3, applied=1) for name in (MASTER, REPLICA_1, REPLICA_2)}
    nodes[REPLICA_3] = node_with(REPLICA_3, rows=2, applied=1)
    bench = starting(nodes)
    for name in NAMES:
        bench.do(Fence, name)
    late = bench.take(ReadPositions, MASTER)
    bench.lose(StoreRows, MASTER)
    bench.reply(late, PositionsRead((LOG_BEGIN,)))
    assert bench.state.nodes[REPLICA_3].state is NodeState.FENCING
    bench.election()
    bench.flush()
    assert nodes[REPLICA_3].data == nodes[MASTER].data


def test_a_deposed_coordinator_does_not_send_rows_of_a_later_epoch_on() -> None:
    """It reads from its master, which another coordinator has filled meanwhile (simulation seed 116)."""
    bench = emptied_bench()
    do_until_asked(bench, ReadLog)
    asked = bench.take(ReadLog, MASTER)
    other = Bench(bench.nodes, owner="coordinator-2")
    other.state.epoch_seen = bench.state.epoch
    other.step(Woken())
    other.election(without=(REPLICA_3,))
    bench.reply(asked, bench.at_node(asked))
    bench.settle()
    assert bench.state.phase is Phase.DEPOSED
    assert not bench.waiting(StoreRows, REPLICA_3)


# ---------------------------------------------------------------------------------------------- pace


def test_an_idle_cluster_applies_what_is_committed_within_the_flush_time() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.settle()
    assert bench.nodes[REPLICA_1].applied < bench.state.committed_timestamp
    wake_at_ns = bench.replicator.wake_at_ns
    assert wake_at_ns is not None
    assert wake_at_ns - bench.now_ns <= bench.state.settings.idle_flush_ns
    bench.pass_time((wake_at_ns - bench.now_ns) / 1e6)
    bench.settle()
    assert {node.applied for node in bench.nodes.values()} == {bench.state.committed_timestamp}


def test_at_most_one_storing_command_is_under_way_on_a_node() -> None:
    bench = serving_bench()
    for number in range(5):
        bench.write(f"row {number}")
        bench.settle(without=(REPLICA_3,))
        bench.pass_time(20)
        bench.settle(without=(REPLICA_3,))
    assert len(bench.waiting(StoreRows, REPLICA_3)) == 1


def test_a_node_whose_log_is_not_where_it_was_left_is_looked_at_afresh() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.settle(without=(REPLICA_3,))
    command = bench.take(StoreRows, REPLICA_3)
    bench.reply(command, Misplaced(bench.nodes[REPLICA_3].status()))
    assert bench.state.nodes[REPLICA_3].state is NodeState.AWAY
    assert bench.serving
    bench.pass_time(200)
    bench.flush()
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data


def test_a_node_that_stored_the_rows_but_whose_answer_was_lost_does_not_get_them_twice() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.settle(without=(REPLICA_3,))
    bench.do_and_lose_the_answer(StoreRows, REPLICA_3)
    bench.pass_time(200)
    bench.flush()
    assert bench.nodes[REPLICA_3].log == bench.nodes[MASTER].log
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data


def test_what_a_store_applies_is_exactly_what_is_committed_and_not_applied() -> None:
    bench = serving_bench()
    for number in range(4):
        bench.write(f"row {number}")
        bench.settle(without=(REPLICA_3,))
    bench.do(StoreRows, REPLICA_3)
    store = bench.take(StoreRows, REPLICA_3)
    rows: list[LogRow] = [row for row, _ in store.apply]
    assert rows[0].previous_timestamp == store.applied_timestamp
    assert rows[-1].last_timestamp == bench.state.committed_timestamp
    assert all(batch == batch_of(row) for row, batch in store.apply)


def test_an_empty_log_end_is_the_log_s_beginning() -> None:
    assert LogEnd(LOG_BEGIN, 0, 0, bytes(16)) == EMPTY_LOG_END
    assert ModelNode(REPLICA_2).log_end == EMPTY_LOG_END
    assert serving_bench().nodes[REPLICA_1].log[0].previous == LOG_BEGIN


def test_a_node_that_can_be_fenced_but_store_nothing_is_tried_ever_more_rarely() -> None:
    """Its disk is full: each try costs it and us a fence, and a line in the log."""
    bench = serving_bench()
    tries = 0
    for number in range(100):
        bench.write(f"row {number}")
        bench.settle(without=(REPLICA_3,))
        for kind in (ConfirmEpoch, Fence, StoreRows):
            for _ in bench.waiting(kind, REPLICA_3):
                if kind is StoreRows:
                    tries += 1
                    bench.fail(bench.take(kind, REPLICA_3), "the disk is full")
                else:
                    bench.do(kind, REPLICA_3)
        bench.pass_time(100)
    assert 10 <= tries <= 20, "10 s, a second apart in the end"
    bench.flush()
    bench.pass_time(2_000)
    bench.flush()
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data
    assert bench.state.nodes[REPLICA_3].failures == 0
