"""Nodes whose rows differ: who is believed, who is set aside and rebuilt, and what is left to a person (divergence.py)."""

import pytest
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.divergence import compared_with
from replication.effects import Acknowledge, Admit, ConfirmEpoch, CopyData, Fence, NoteCopy, ReadAllowed, StoreRows
from replication.events import DifferenceFound
from replication.log import Batch, Entry, EntryName
from replication.progress import NodeState
from replication.replies import CopyEnded, Diverged
from replication.values import NOBODY

REASON = "UPDATE t … changed 2 rows here, 1 on the master"


def with_a_row(*sqls: str) -> Bench:
    """Committed, and sent to be applied on all replicas."""
    bench = serving_bench()
    for sql in sqls or ("row",):
        bench.write(sql)
        bench.settle()
    bench.pass_time(20)
    return bench


def refuse_to_apply(bench: Bench, name: str, *, rows_affected: int | None = 2, reason: str = REASON) -> int:
    """The node applies the first entry that it is sent with another result. Answers with the entry's timestamp."""
    store = bench.take(StoreRows, name)
    (entry, *_) = store.apply[0][1].entries
    bench.reply(store, Diverged(reason, EntryName(entry.timestamp), rows_affected))
    return entry.timestamp


def copied(bench: Bench, name: str) -> None:
    """The copy that waits for the node is made, and what follows from that is done."""
    effect = bench.take(CopyData, name)
    bench.nodes[name].become(bench.nodes[effect.donor])
    bench.reply(effect, CopyEnded())
    bench.pass_time(2_000)
    bench.settle()
    bench.flush()
    bench.flush()


def rest(bench: Bench) -> None:
    """Whatever an election needs is done; copies wait."""
    for _ in range(10):
        bench.settle()
        bench.pass_time(100)
    bench.settle()


def is_whole(bench: Bench, name: str) -> bool:
    node, model = bench.state.nodes[name], bench.nodes[name]
    level = node.state is NodeState.LEVEL and node.member and not node.diverged and node.dispute is None
    return level and model.is_member and model.data == bench.nodes[bench.master].data


def newcomer(bench: Bench) -> Bench:
    """A second coordinator on the same nodes, which takes over."""
    other = Bench(nodes=bench.nodes, owner="coordinator-2")
    other.state.epoch_seen = bench.state.epoch
    other.pass_time(0)
    return other


# ---------------------------------------------------------------------------------------------- one replica


def test_a_replica_on_which_an_entry_has_another_result_is_rebuilt_by_a_copy_and_a_member_again() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    assert bench.reports[-1].severity == "error"
    assert "changed 2 rows here" in bench.reports[-1].text
    bench.settle()
    node = bench.state.nodes[REPLICA_3]
    assert (node.state, node.member) == (NodeState.COPYING, False)
    assert (bench.nodes[REPLICA_3].cluster_id, bench.nodes[REPLICA_3].node) == ("", NOBODY)
    write = bench.write("meanwhile")
    bench.settle()
    assert write in bench.answers
    copied(bench, REPLICA_3)
    assert is_whole(bench, REPLICA_3)


def test_nobody_is_believed_before_a_commit_quorum_agrees() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    bench.do(StoreRows, REPLICA_1)
    assert bench.state.nodes[REPLICA_3].member, "the master and one replica are no majority"
    bench.do(StoreRows, REPLICA_2)
    assert not bench.state.nodes[REPLICA_3].member
    assert bench.waiting(Admit, REPLICA_3)[0].rows_differ


def test_a_node_in_dispute_stores_rows_but_applies_none_is_not_read_at_and_gives_no_copy() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    applied = bench.nodes[REPLICA_3].applied
    write = bench.write("stored there too")
    for _ in range(3):
        bench.settle(without=(REPLICA_1,))
    assert write in bench.answers, "the master, replica-2 and replica-3 have it on their disks"
    assert bench.nodes[REPLICA_3].applied == applied
    bench.pass_time(20)
    bench.settle(without=(REPLICA_1,))
    assert bench.nodes[REPLICA_3].applied == applied
    bench.state.nodes[REPLICA_1].needs_copy("by a test")
    bench.pass_time(10)
    bench.do(NoteCopy, REPLICA_2)
    assert bench.take(CopyData, REPLICA_1).donor == REPLICA_2


def test_nothing_is_read_at_a_node_in_dispute_even_where_nothing_is_left_to_apply() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.flush()
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_2)
    bench.settle()
    bench.step(DifferenceFound(REPLICA_3, "a row"))
    assert bench.state.nodes[REPLICA_3].member, "there is no commit quorum without it"
    for _ in range(6):
        bench.read()
    bench.settle(without=(REPLICA_2,))
    assert {leave.node for leave in bench.reads.values() if isinstance(leave, ReadAllowed)} == {MASTER, REPLICA_1}
    assert len(bench.reads) == 6


def test_a_node_that_a_comparison_found_is_set_aside_only_when_the_cluster_can_do_without_it() -> None:
    bench = serving_bench()
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_2)
    bench.step(DifferenceFound(REPLICA_3, "a row"))
    bench.settle(without=(REPLICA_2,))
    write = bench.write("it is needed to store this")
    bench.settle(without=(REPLICA_2,))
    assert write in bench.answers
    bench.pass_time(200)
    bench.settle()
    assert bench.state.nodes[REPLICA_3].state is NodeState.COPYING
    copied(bench, REPLICA_3)
    assert is_whole(bench, REPLICA_3)


# ---------------------------------------------------------------------------------------------- crashes in between


@pytest.mark.parametrize("steps", range(6))
def test_a_coordinator_that_dies_anywhere_between_the_difference_and_the_copy_leaves_it_to_the_next_one(
    steps: int,
) -> None:
    """The entry fails again where the mark was not written; where it was, the node is copied to at once."""
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    for _ in range(steps):
        if bench.sent and not bench.waiting(CopyData):
            effect = bench.sent[0]
            bench.do(type(effect), effect.node)
    is_marked = bench.nodes[REPLICA_3].node == NOBODY
    other = newcomer(bench)
    for _ in range(200):
        if other.waiting(CopyData):
            break
        store = next((each for each in other.waiting(StoreRows, REPLICA_3) if each.apply), None)
        if store is not None and any(entry.sql == "row" for _, batch in store.apply for entry in batch.entries):
            assert not is_marked, "nothing is applied to rows that are nobody's"
            other.sent.remove(store)
            entry = next(entry for _, batch in store.apply for entry in batch.entries if entry.sql == "row")
            other.reply(store, Diverged(REASON, EntryName(entry.timestamp), 2))
        elif other.sent:
            effect = other.sent[0]
            other.do(type(effect), effect.node)
        else:
            other.pass_time(20)
    assert bench.nodes[REPLICA_3].node == NOBODY
    copied(other, REPLICA_3)
    assert is_whole(other, REPLICA_3)


def test_a_mark_that_could_not_be_written_is_written_when_the_node_answers_again() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    bench.settle(without=(REPLICA_3,))
    bench.lose(Admit, REPLICA_3)
    assert not bench.waiting(CopyData)
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert bench.nodes[REPLICA_3].node == REPLICA_3
    assert not bench.state.nodes[REPLICA_3].member
    bench.do(Admit, REPLICA_3)
    assert bench.nodes[REPLICA_3].node == NOBODY
    bench.settle()
    assert bench.waiting(CopyData, REPLICA_3)


def test_a_mark_on_the_disk_keeps_a_node_out_of_an_election_and_of_the_tail() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    bench.settle()
    other = newcomer(bench)
    for name in (MASTER, REPLICA_1, REPLICA_3):
        other.do(Fence, name)
    other.lose(Fence, REPLICA_2)
    other.pass_time(200)
    assert "2 of 3 members answer" in other.replicator.election.waits_for


def test_a_copy_of_a_node_that_turns_out_to_differ_is_as_wrong() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.flush()
    bench.state.nodes[REPLICA_3].needs_copy("by a test")
    bench.pass_time(10)
    bench.settle()
    effect = bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].become(bench.nodes[effect.donor])
    bench.reply(effect, CopyEnded())
    bench.step(DifferenceFound(effect.donor, "a row"))
    for _ in range(30):
        bench.pass_time(100)
        bench.settle()
        for copy in bench.waiting(CopyData):
            assert copy.donor != effect.donor
            copied(bench, copy.node)
    assert is_whole(bench, REPLICA_3), bench.state.nodes[REPLICA_3].reason
    texts = [report.text for report in bench.reports]
    assert any(f"a copy of {effect.donor}'s" in text for text in texts) or not bench.state.nodes[REPLICA_3].diverged


def test_a_member_whose_copy_of_that_node_agreed_with_the_others_is_not_set_aside_along_with_it() -> None:
    """Found by simulation: two of four were set aside at once, and nobody was left to commit their way back."""
    bench = serving_bench()
    bench.write("row")
    bench.flush()
    bench.state.nodes[REPLICA_3].copied_from = REPLICA_2
    bench.step(DifferenceFound(REPLICA_2, "a row"))
    bench.settle()
    assert bench.state.nodes[REPLICA_2].state is NodeState.COPYING
    assert is_whole(bench, REPLICA_3)
    write = bench.write("it is committed by the other three")
    bench.settle()
    assert isinstance(bench.answers[write], Acknowledge)


def test_a_node_with_a_new_disk_is_not_held_to_differ_any_more() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    bench.settle(without=(REPLICA_3,))
    bench.lose(Admit, REPLICA_3)
    bench.nodes[REPLICA_3] = type(bench.nodes[REPLICA_3])(REPLICA_3)
    bench.pass_time(200)
    bench.flush()
    bench.flush()
    assert not bench.waiting(CopyData), "the log reaches back to its beginning"
    assert is_whole(bench, REPLICA_3)


# ---------------------------------------------------------------------------------------------- the master


def write_until_a_result_is_wrong(bench: Bench) -> None:
    """Rows of the master are damaged; the last statement has affected none there, and is applied nowhere else yet."""
    bench.write("before")
    bench.flush()
    bench.nodes[MASTER].damage(0)
    for number in range(3):
        write = bench.write(f"row {number}")
        bench.settle()
        answer = bench.answers[write]
        assert isinstance(answer, Acknowledge)
        if answer.results[0].rows_affected == 0:
            return
    raise AssertionError("no result was wrong")


def test_where_all_replicas_agree_against_the_master_another_is_elected_and_the_old_one_rebuilt() -> None:
    bench = serving_bench()
    write_until_a_result_is_wrong(bench)
    bench.pass_time(20)
    for name in (REPLICA_1, REPLICA_2):
        bench.do(StoreRows, name)
    assert bench.serving, "two of four are no majority"
    bench.do(StoreRows, REPLICA_3)
    assert not bench.serving
    assert list(bench.state.overruled.values()) == [1]
    rest(bench)
    assert bench.master != MASTER
    assert all(bench.state.nodes[name].sound for name in (REPLICA_1, REPLICA_2, REPLICA_3))
    assert bench.state.nodes[MASTER].state is NodeState.COPYING
    copied(bench, MASTER)
    assert is_whole(bench, MASTER)
    assert not bench.nodes[MASTER].damaged


def test_a_master_that_a_comparison_found_is_replaced_then_rebuilt_and_no_write_fails() -> None:
    bench = serving_bench()
    bench.write("before")
    bench.flush()
    write = bench.write("under way")
    bench.step(DifferenceFound(MASTER, "a row"))
    assert not bench.serving
    rest(bench)
    assert bench.master != MASTER
    assert write in bench.answers
    copied(bench, MASTER)
    assert is_whole(bench, MASTER)
    assert not any(type(answer).__name__ == "Fail" for answer in bench.answers.values())


def test_wrong_results_are_overruled_by_a_later_coordinator_too_in_one_election() -> None:
    """It knows nothing, and the node that recorded them is not there to speak. (Simulation, plain, seed 135: an election an
    entry, with pauses between them.)"""
    bench = serving_bench()
    write_until_a_result_is_wrong(bench)
    for number in range(9):
        bench.write(f"not applied {number}")
        bench.settle(without=(REPLICA_3,))
    assert [node.dispute is None for node in bench.state.replicas] == [False, False, True]
    bench.nodes[MASTER].cluster_id, bench.nodes[MASTER].node = "", NOBODY
    other = newcomer(bench)
    rest(other)
    assert other.serving, other.replicator.election.waits_for
    assert other.master != MASTER
    assert other.replicator.election.count == 1
    assert len(other.state.overruled) > 2
    copied(other, MASTER)
    assert is_whole(other, MASTER)


def test_a_candidate_that_cannot_apply_what_another_has_applied_is_given_up_at_once() -> None:
    bench = with_a_row()
    other = newcomer(bench)
    other.replicator.election.suspects.add(MASTER)
    while not any(store.apply for store in other.waiting(StoreRows, REPLICA_1)):
        other.do(type(other.sent[0]), other.sent[0].node)
    assert other.state.master == REPLICA_1
    refuse_to_apply(other, REPLICA_1)
    assert other.state.master is None, "the old master has"
    rest(other)
    assert other.serving
    assert other.master != REPLICA_1


# ---------------------------------------------------------------------------------------------- no majority


def test_where_two_differ_from_two_nothing_is_touched_and_it_is_said_once() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_2)
    refuse_to_apply(bench, REPLICA_3)
    bench.settle()
    for _ in range(20):
        bench.pass_time(100)
        bench.settle()
    assert not bench.waiting(CopyData)
    assert all(bench.nodes[name].is_member for name in NAMES)
    assert sum("a person must" in report.text for report in bench.reports) == 1
    write = bench.write("the cluster goes on")
    bench.settle()
    assert write in bench.answers


def test_three_that_fail_each_in_another_way_overrule_nothing() -> None:
    bench = with_a_row()
    for rows_affected, name in enumerate((REPLICA_1, REPLICA_2, REPLICA_3), 3):
        refuse_to_apply(bench, name, rows_affected=rows_affected)
    assert bench.serving
    assert not bench.state.overruled


def test_an_error_of_all_replicas_overrules_nothing_either() -> None:
    """There is no result to go on with: a person must see it."""
    bench = with_a_row()
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        refuse_to_apply(bench, name, rows_affected=None, reason="Duplicate entry")
    assert bench.serving
    assert not bench.state.overruled
    assert "a person must" in bench.reports[-1].text


def test_a_difference_found_by_a_comparison_of_long_ago_says_nothing_of_a_node_that_is_being_rebuilt() -> None:
    bench = with_a_row()
    refuse_to_apply(bench, REPLICA_3)
    bench.settle()
    bench.step(DifferenceFound(REPLICA_3, "a row"))
    assert bench.state.nodes[REPLICA_3].dispute is None
    assert "compare again" in bench.reports[-1].text


def test_only_an_overruled_result_is_replaced() -> None:
    batch = Batch(0, (Entry(1, "a", 1), Entry(3, "b", 1), Entry(3, "c", 1), Entry(5, "d", 1)))
    assert compared_with(batch, {}) is batch
    assert compared_with(batch, {EntryName(7): 2, EntryName(1, 1): 2}) is batch
    assert [entry.rows_affected for entry in compared_with(batch, {EntryName(3): 2}).entries] == [1, 2, 1, 1]
    assert [entry.rows_affected for entry in compared_with(batch, {EntryName(3, 1): 2}).entries] == [1, 1, 2, 1]
