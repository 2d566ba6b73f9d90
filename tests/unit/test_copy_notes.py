"""The note on a donor's disk: whose vote a copy of it has, whoever finds it, and when it is not believed (copying.py)."""

import msgspec
import pytest
from model_node import ModelNode
from replicator_bench import MASTER, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench
from test_copying import SETTINGS, behind_bench, finish_copy, newcomer

from replication.effects import (
    CommitBatch,
    ConfirmEpoch,
    CopyData,
    ExecuteBatch,
    Fence,
    NoteCopy,
    PrepareRow,
    StoreRows,
)
from replication.progress import NodeState
from replication.replies import CopyNoted, Misplaced, Outbid
from replication.values import copy_target


def note_bench() -> Bench:
    """REPLICA_3 is behind, and the note for it is on its way to REPLICA_1, the donor."""
    bench = behind_bench(until=NoteCopy)
    assert not bench.waiting(CopyData)
    return bench


def copied_bench() -> Bench:
    """REPLICA_3 has a complete copy of REPLICA_1, and restarts."""
    bench = behind_bench()
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    return bench


def target(bench: Bench, name: str) -> str:
    return copy_target(bench.nodes[name].copy_note)


def elect(other: Bench) -> None:
    """A copy may be under way when it serves."""
    for _ in range(30):
        other.settle()
        if other.serving:
            return
        other.pass_time(100)
    raise AssertionError(f"no election: {other.replicator.election.waits_for}")


def copying_to(other: Bench, name: str) -> CopyData:
    """Whatever must come first, until the coordinator begins a copy to the node."""
    for _ in range(100):
        other.settle()
        if other.waiting(CopyData, name):
            return other.take(CopyData, name)
        other.pass_time(100)
    raise AssertionError(f"no copy is begun: {other.state.nodes[name].state} {other.sent}")


# ---------------------------------------------------------------------------------------------- before the copy


def test_no_copy_begins_before_its_note_is_on_the_donor_s_disk() -> None:
    bench = note_bench()
    bench.do(NoteCopy, REPLICA_1)
    assert target(bench, REPLICA_1) == REPLICA_3
    assert bench.waiting(CopyData, REPLICA_3)


def test_a_note_that_could_not_be_written_makes_the_donor_be_looked_at_afresh_and_is_tried_again() -> None:
    bench = note_bench()
    bench.lose(NoteCopy, REPLICA_1)
    assert bench.state.nodes[REPLICA_1].state is NodeState.AWAY
    bench.pass_time(20)
    assert copying_to(bench, REPLICA_3).donor == REPLICA_2


def test_a_donor_that_another_coordinator_has_takes_no_note() -> None:
    bench = note_bench()
    other = newcomer(bench)
    other.do(Fence, REPLICA_1)
    effect = bench.take(NoteCopy, REPLICA_1)
    reply = bench.at_node(effect)
    assert isinstance(reply, Outbid)
    bench.reply(effect, reply)
    assert target(bench, REPLICA_1) == ""
    assert not bench.waiting(CopyData)


def test_a_note_that_comes_late_does_not_take_the_place_of_a_later_one() -> None:
    """It hung in a connection that was given up, and the donor has a later note of the same coordinator by now."""
    bench = note_bench()
    late = bench.lose(NoteCopy, REPLICA_1)
    later = msgspec.structs.replace(late, command=99, note="99 ")
    assert isinstance(bench.at_node(later), CopyNoted)
    assert isinstance(bench.at_node(late), Misplaced)
    assert bench.nodes[REPLICA_1].copy_note == "99 "


def test_a_late_note_that_came_first_is_noticed_before_a_copy_is_begun() -> None:
    """The donor's note is not what it was when it was fenced: it is looked at afresh, and then the right one is written."""
    bench = note_bench()
    effect = bench.take(NoteCopy, REPLICA_1)
    bench.nodes[REPLICA_1].copy_note = "7 replica-2"
    reply = bench.at_node(effect)
    assert isinstance(reply, Misplaced)
    bench.reply(effect, reply)
    assert not bench.waiting(CopyData)
    assert bench.state.nodes[REPLICA_1].state is NodeState.AWAY


def test_a_note_from_before_the_donor_was_fenced_again_is_not_relied_on() -> None:
    """One that was sent before may still be under way, to take its place in the middle of the copy."""
    bench = note_bench()
    bench.do(NoteCopy, REPLICA_1)
    bench.fail(bench.take(CopyData, REPLICA_3), "the connection broke")
    bench.replicator.losses.lose(bench.state.nodes[REPLICA_1], "by a test")
    while not bench.waiting(NoteCopy):
        assert not bench.waiting(CopyData)
        bench.pass_time(50)
        bench.sent.sort(key=lambda effect: isinstance(effect, NoteCopy))
        while bench.sent and not isinstance(bench.sent[0], NoteCopy | CopyData):
            bench.do(type(bench.sent[0]), bench.sent[0].node)
    assert bench.waiting(NoteCopy)[0].node == REPLICA_1
    assert copy_target(bench.waiting(NoteCopy)[0].previous) == REPLICA_3


# ---------------------------------------------------------------------------------------------- after the copy


def test_a_copied_voter_keeps_its_vote_under_a_coordinator_that_knows_nothing_of_the_copy() -> None:
    """Another disk is lost as well: without this vote nobody could be elected."""
    bench = copied_bench()
    bench.nodes[REPLICA_2] = ModelNode(REPLICA_2)
    other = newcomer(bench)
    elect(other)
    assert other.serving
    assert other.state.nodes[REPLICA_3].member
    assert (bench.nodes[REPLICA_3].cluster_id, bench.nodes[REPLICA_3].node) == ("cluster", REPLICA_3)
    assert bench.nodes[REPLICA_3].copy_note == "", "it has its own name: from here on its data is its own"
    other.settle()
    other.pass_time(20)
    other.settle()
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data


def test_a_copy_that_ends_after_a_take_over_has_its_vote_too() -> None:
    """The second coordinator finds the node bare, and the donor in the middle of the copy. It looks at the bare one again."""
    bench = behind_bench()
    bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].lay_bare()
    bench.nodes[REPLICA_2] = ModelNode(REPLICA_2)
    other = newcomer(bench)
    other.settle()
    for _ in range(20):
        other.pass_time(100)
        other.settle()
    assert not other.serving
    bench.nodes[REPLICA_3].become(bench.nodes[REPLICA_1])
    for _ in range(15):
        other.pass_time(100)
        other.settle()
    assert other.serving
    assert other.state.nodes[REPLICA_3].member


def test_a_copied_voter_keeps_its_vote_over_the_death_of_the_coordinator_that_fenced_it_first() -> None:
    bench = copied_bench()
    second = newcomer(bench)
    second.do(Fence, REPLICA_3)
    third = Bench(nodes=bench.nodes, owner="coordinator-3", settings=SETTINGS)
    third.state.epoch_seen = second.state.epoch
    third.pass_time(0)
    third.do(Fence, REPLICA_3)
    assert third.state.nodes[REPLICA_3].member


def test_a_note_is_taken_back_when_its_node_is_level() -> None:
    bench = copied_bench()
    assert target(bench, REPLICA_1) == REPLICA_3
    bench.pass_time(2_000)
    bench.settle()
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL
    assert target(bench, REPLICA_1) == ""


def test_a_coordinator_takes_a_note_back_that_another_one_has_left() -> None:
    bench = copied_bench()
    other = newcomer(bench)
    elect(other)
    other.pass_time(10)
    other.settle()
    assert other.state.nodes[REPLICA_3].state is NodeState.LEVEL
    assert target(bench, REPLICA_1) == ""


# ---------------------------------------------------------------------------------------------- not believed


def test_a_note_that_was_copied_to_another_node_gives_that_one_no_vote() -> None:
    bench = note_bench()
    bench.do(NoteCopy, REPLICA_1)
    bench.nodes[REPLICA_2].become(bench.nodes[REPLICA_1])
    other = newcomer(bench)
    for name in (MASTER, REPLICA_1, REPLICA_2):
        other.do(Fence, name)
    assert not other.state.nodes[REPLICA_2].member
    assert not bench.nodes[REPLICA_2].is_member


def test_a_stale_note_gives_no_vote_back_to_a_node_that_lost_it_meanwhile() -> None:
    """The note was written, and the copy never began. The node promised more, then lost its disk: its copy is an empty node's."""
    bench = note_bench()
    bench.do(NoteCopy, REPLICA_1)
    bench.nodes[REPLICA_3].lay_bare()
    second = newcomer(bench)
    effect = copying_to(second, REPLICA_3)
    assert target(bench, effect.donor) == "", "whoever is the donor, its note was written anew"
    bench.nodes[REPLICA_3].become(bench.nodes[effect.donor])
    third = Bench(nodes=bench.nodes, owner="coordinator-3", settings=SETTINGS)
    third.state.epoch_seen = second.state.epoch
    third.pass_time(0)
    third.do(Fence, REPLICA_3)
    assert not third.state.nodes[REPLICA_3].member


@pytest.mark.parametrize("forgets", ["the epoch", "the rows"])
def test_a_copy_that_lacks_what_its_node_acknowledged_to_us_is_not_believed_whatever_its_note_says(
    forgets: str,
) -> None:
    """Somebody's hand put it there, with a note from an earlier copy. The node was sound, and had promised more by then."""
    bench = serving_bench(SETTINGS)
    bench.write("before")
    bench.flush()
    old = bench.nodes[REPLICA_1].copy()
    old.copy_note = f"7 {REPLICA_3}"
    if forgets == "the rows":
        bench.write("after")
        bench.flush()
    else:
        bench.state.nodes[REPLICA_3].promised_epoch = 9
    bench.nodes[REPLICA_3].become(old)
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_3)
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert not bench.state.nodes[REPLICA_3].member


def test_a_node_that_was_fenced_by_another_before_its_copy_began_is_not_copied_to() -> None:
    """Its fence ends the copiers; the note that is left names a node with its own data, which has its own vote."""
    bench = note_bench()
    other = newcomer(bench)
    other.do(Fence, REPLICA_3)
    bench.do(NoteCopy, REPLICA_1)
    bench.fail(bench.take(CopyData, REPLICA_3), "the connection broke")
    elect(other)
    assert bench.nodes[REPLICA_3].node == REPLICA_3
    assert other.state.nodes[REPLICA_3].copied_to_a_voter, "the new copy is one to a voter"


# ---------------------------------------------------------------------------------------------- of the master


def test_a_copy_of_the_master_made_between_its_commit_and_the_report_of_it_waits_for_the_report() -> None:
    """It has applied a row of which we do not know yet that it is committed. (Simulation, truncating, seed 630: the coordinator
    took it for a breach of an invariant, and ended itself.)"""
    bench = behind_bench()
    bench.take(CopyData, REPLICA_3)
    bench.write("in flight")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    for name in (REPLICA_1, REPLICA_2):
        bench.do(StoreRows, name)
    effect = bench.take(CommitBatch, MASTER)
    reply = bench.at_node(effect)
    bench.nodes[REPLICA_3].become(bench.nodes[MASTER])
    bench.replicator.losses.lose(bench.state.nodes[REPLICA_3], "it restarts with a copy")
    for _ in range(5):
        bench.pass_time(200)
        bench.settle()
    assert bench.state.nodes[REPLICA_3].state is NodeState.AWAY
    bench.reply(effect, reply)
    bench.pass_time(1_000)
    bench.settle()
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL
