"""Strong reads step by step (design section 5; ReadIndex, Raft thesis section 6.4)."""

import pytest
from model_node import ModelNode
from replicator_bench import DEADLINE_MS, MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import (
    Acknowledge,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fence,
    PrepareRow,
    ReadAllowed,
    ReadRefused,
    StoreRows,
)
from replication.events import ReadFinished
from replication.replies import EpochSeen
from replication.state import MILLISECOND_NS, Phase


def confirm(bench: Bench, *names: str) -> None:
    for name in names:
        bench.do(ConfirmEpoch, name)


def place_of(bench: Bench, read: int) -> str:
    leave = bench.reads[read]
    assert isinstance(leave, ReadAllowed)
    return leave.node


def write_on_all_but(bench: Bench, slow: str) -> int:
    """An acknowledged write that `slow` does not even have."""
    write = bench.write("row")
    bench.settle(without=(slow,))
    assert isinstance(bench.answers[write], Acknowledge)
    return bench.state.committed_timestamp


# ---------------------------------------------------------------------------------------------- confirmation


def test_a_read_waits_for_three_of_four_nodes_to_confirm_the_epoch() -> None:
    bench = serving_bench()
    read = bench.read()
    confirm(bench, MASTER, REPLICA_1)
    assert read not in bench.reads
    confirm(bench, REPLICA_3)
    assert isinstance(bench.reads[read], ReadAllowed)


def test_one_slow_node_does_not_hold_a_read_back() -> None:
    bench = serving_bench()
    for _ in range(3):
        read = bench.read()
        bench.settle(without=(REPLICA_3,))
        assert isinstance(bench.reads[read], ReadAllowed)
    assert len(bench.waiting(ConfirmEpoch, REPLICA_3)) == 1, "it still owes an older answer"


def test_one_round_serves_all_reads_that_arrived_before_it_began() -> None:
    bench = serving_bench()
    first = bench.read()
    later = [bench.read() for _ in range(5)]
    confirm(bench, MASTER, REPLICA_1, REPLICA_2)
    assert list(bench.reads) == [first]
    assert len(bench.waiting(ConfirmEpoch)) == 1 + 3, "a round for the five, without the node that is slow"
    confirm(bench, MASTER, REPLICA_1, REPLICA_2)
    assert sorted(bench.reads) == [first, *later]


def test_confirmations_that_were_asked_for_before_a_read_arrived_do_not_count_for_it() -> None:
    bench = serving_bench()
    bench.pass_time(300)
    heartbeat = [bench.take(ConfirmEpoch, name) for name in NAMES]
    seen = [bench.at_node(effect) for effect in heartbeat]
    read = bench.read()
    for effect, reply in zip(heartbeat, seen, strict=True):
        bench.reply(effect, reply)
    assert read not in bench.reads
    bench.settle()
    assert isinstance(bench.reads[read], ReadAllowed)


def test_an_answer_of_an_earlier_round_does_not_count_for_a_later_one() -> None:
    bench = serving_bench()
    bench.read()
    late = bench.take(ConfirmEpoch, REPLICA_3)
    seen = bench.at_node(late)
    confirm(bench, MASTER, REPLICA_1, REPLICA_2)
    read = bench.read()
    confirm(bench, MASTER, REPLICA_1)
    bench.reply(late, seen)
    assert read not in bench.reads
    confirm(bench, REPLICA_2)
    assert isinstance(bench.reads[read], ReadAllowed)


def test_a_node_in_another_epoch_or_of_another_owner_confirms_nothing() -> None:
    bench = serving_bench()
    read = bench.read()
    confirm(bench, MASTER, REPLICA_1)
    bench.reply(bench.take(ConfirmEpoch, REPLICA_2), EpochSeen(bench.state.epoch, "coordinator-2"))
    bench.reply(bench.take(ConfirmEpoch, REPLICA_3), EpochSeen(bench.state.epoch - 1, bench.owner))
    assert read not in bench.reads


def test_a_node_that_is_no_member_confirms_nothing() -> None:
    bench = serving_bench()
    bench.state.nodes[REPLICA_3].member = False
    read = bench.read()
    confirm(bench, MASTER, REPLICA_1, REPLICA_3)
    assert read not in bench.reads
    confirm(bench, REPLICA_2)
    assert isinstance(bench.reads[read], ReadAllowed)


def test_a_greater_epoch_deposes_and_every_waiting_read_is_refused_with_the_reason() -> None:
    bench = serving_bench()
    reads = [bench.read(), bench.read()]
    for name in (REPLICA_2, REPLICA_3):
        assert not bench.reads
        bench.reply(bench.take(ConfirmEpoch, name), EpochSeen(9, "coordinator-2"))
    reads.append(bench.read())
    assert bench.state.phase is Phase.DEPOSED
    for read in reads:
        leave = bench.reads[read]
        assert isinstance(leave, ReadRefused)
        assert "another coordinator has taken over" in leave.reason


def test_a_deposed_coordinator_that_does_not_know_it_gives_no_leave() -> None:
    bench = serving_bench()
    other = Bench(bench.nodes, owner="coordinator-2")
    other.state.epoch_seen = bench.state.epoch
    other.election(without=(MASTER,))
    read = bench.read()
    confirm(bench, MASTER, REPLICA_1)
    assert read not in bench.reads
    confirm(bench, REPLICA_2)
    assert isinstance(bench.reads[read], ReadRefused)


# ---------------------------------------------------------------------------------------------- where


def test_a_read_goes_to_a_node_that_applied_everything_committed() -> None:
    bench = serving_bench()
    committed = write_on_all_but(bench, REPLICA_3)
    read = bench.read()
    confirm(bench, REPLICA_1, REPLICA_2, MASTER)
    leave = bench.reads[read]
    assert isinstance(leave, ReadAllowed)
    told = (leave.node, leave.applied_timestamp)
    assert told == (MASTER, committed), "the replicas have the row, but did not apply it yet"


def test_a_read_goes_only_to_a_node_that_was_confirmed_in_the_same_round() -> None:
    """One that was not heard of in this round may have come back without its data (simulation seed 784)."""
    bench = serving_bench()
    for _ in range(3):
        # the master is slow to read at, so that another node would be chosen
        bench.step(ReadFinished(MASTER, 50 * MILLISECOND_NS))
    bench.nodes[REPLICA_1] = ModelNode(REPLICA_1)
    reads = [bench.read()]
    confirm(bench, MASTER, REPLICA_2, REPLICA_3)
    for _ in range(3):
        reads.append(bench.read())
        confirm(bench, MASTER, REPLICA_2, REPLICA_3)
    assert bench.waiting(ConfirmEpoch, REPLICA_1)
    assert REPLICA_1 not in {place_of(bench, read) for read in reads}


def test_a_round_without_a_node_that_applied_everything_goes_on_until_there_is_one() -> None:
    bench = serving_bench()
    write_on_all_but(bench, REPLICA_3)
    read = bench.read()
    confirm(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    assert read not in bench.reads, "the master alone has applied it, and did not confirm yet"
    confirm(bench, MASTER)
    assert place_of(bench, read) == MASTER


def test_a_read_that_began_after_an_acknowledgement_sees_it_although_another_write_is_in_flight() -> None:
    bench = serving_bench()
    bench.write("row 1")
    bench.write("row 2")
    bench.commit_batch()
    committed = bench.state.committed_timestamp
    read = bench.read()
    bench.do(ExecuteBatch, MASTER)
    bench.do(StoreRows, REPLICA_1)
    confirm(bench, *NAMES)
    leave = bench.reads[read]
    assert isinstance(leave, ReadAllowed)
    assert leave.applied_timestamp >= committed
    assert bench.nodes[leave.node].applied >= committed


def test_what_is_committed_while_a_round_is_under_way_is_seen_too() -> None:
    bench = serving_bench()
    read = bench.read()
    bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    bench.do(CommitBatch, MASTER)
    confirm(bench, MASTER, REPLICA_1, REPLICA_2)
    assert place_of(bench, read) == MASTER


def test_a_later_read_does_not_see_less_than_one_that_saw_the_master_s_commit_before_it_was_reported() -> None:
    """The master shows a batch from its COMMIT on. Whoever read there has seen it: nobody may be sent to a replica any more."""
    bench = serving_bench()
    bench.step(ReadFinished(MASTER, 50 * MILLISECOND_NS))  # slow to read at, so that a replica would be chosen
    early = bench.read()
    bench.settle()
    bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    commit = bench.take(CommitBatch, MASTER)
    reported = bench.at_node(commit)
    assert isinstance(bench.reads[early], ReadAllowed)
    assert [entry.sql for entry in bench.nodes[MASTER].data] == ["row"]
    late = bench.read()
    confirm(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    assert late not in bench.reads
    confirm(bench, MASTER)
    assert place_of(bench, late) == MASTER
    bench.reply(commit, reported)
    bench.flush()
    after = bench.read()
    confirm(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    assert place_of(bench, after) != MASTER


def test_a_commit_whose_answer_is_lost_does_not_bind_reads_to_a_master_for_ever() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    bench.do_and_lose_the_answer(CommitBatch, MASTER)
    bench.election()
    bench.flush()
    bench.step(ReadFinished(bench.master, 50 * MILLISECOND_NS))
    read = bench.read()
    bench.settle()
    assert place_of(bench, read) != bench.master


def test_reads_spread_over_nodes_that_are_level_and_prefer_the_fast_ones() -> None:
    bench = serving_bench()
    slow, fast = 20 * MILLISECOND_NS, MILLISECOND_NS // 10
    for name in NAMES:
        for _ in range(50):
            bench.step(ReadFinished(name, fast if name in (REPLICA_1, REPLICA_2) else slow))
    places = []
    for _ in range(4):
        read = bench.read()
        bench.settle()
        places.append(place_of(bench, read))
    assert places == [REPLICA_1, REPLICA_2, REPLICA_1, REPLICA_2]


# ---------------------------------------------------------------------------------------------- ends


def test_a_read_that_cannot_be_confirmed_is_tried_again_and_refused_at_its_deadline() -> None:
    bench = serving_bench()
    read = bench.read()
    for name in (REPLICA_1, REPLICA_2):
        bench.lose(ConfirmEpoch, name)
    confirm(bench, MASTER, REPLICA_3)
    assert read not in bench.reads
    bench.pass_time(DEADLINE_MS + 1)
    leave = bench.reads[read]
    assert isinstance(leave, ReadRefused)
    assert "fewer than 3 nodes confirmed" in leave.reason


def test_a_read_that_waits_over_an_election_is_answered_in_the_next_epoch() -> None:
    bench = serving_bench()
    read = bench.read()
    confirm(bench, REPLICA_1, REPLICA_2)
    bench.crash(MASTER)
    assert bench.state.phase is Phase.ELECTING
    assert bench.waiting(Fence, REPLICA_1)
    bench.election(without=(MASTER,))
    assert place_of(bench, read) in (REPLICA_1, REPLICA_2, REPLICA_3)


def test_answers_from_before_an_election_do_not_confirm_the_new_epoch() -> None:
    bench = serving_bench()
    read = bench.read()
    old = [bench.take(ConfirmEpoch, name) for name in (REPLICA_1, REPLICA_2, REPLICA_3)]
    seen = [bench.at_node(effect) for effect in old]
    bench.crash(MASTER)
    for effect, reply in zip(old, seen, strict=True):
        bench.reply(effect, reply)
    assert read not in bench.reads


@pytest.mark.parametrize("silent", NAMES)
def test_the_heartbeat_finds_a_node_that_went_away_without_a_word(silent: str) -> None:
    bench = serving_bench()
    bench.pass_time(300)
    bench.settle(without=(silent,))
    bench.lose(ConfirmEpoch, silent)
    if silent == MASTER:
        assert bench.state.phase is Phase.ELECTING
    else:
        assert not bench.state.nodes[silent].fenced
        assert bench.serving
