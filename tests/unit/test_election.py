"""Taking over, step by step (design section 6; Raft sections 5.2 to 5.4)."""

import pytest
from model_node import ModelNode
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, member, serving_bench

from replication.effects import (
    Acknowledge,
    Admit,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fence,
    PrepareRow,
    StoreRows,
)
from replication.election import ElectionStep
from replication.events import AdviceArrived, Woken
from replication.log import LOG_BEGIN, Position
from replication.progress import NodeState
from replication.replies import Outbid
from replication.state import Phase

BASE = (1, 10)
"""A row that every node of the tests below has, applied."""


def cluster(**tails: list[tuple[int, ...]]) -> dict[str, ModelNode]:
    """Four members that applied BASE; each has its own unapplied tail: `replica_1=[(epoch, timestamp), …]`."""
    nodes = {}
    for name in NAMES:
        nodes[name] = member(name, BASE, applied=True)
        tail = tails.get(name.replace("-", "_"), [])
        for row in tail:
            extended = member(name, BASE, *tail[: tail.index(row) + 1])
            nodes[name].log = extended.log
            nodes[name].epoch = extended.epoch
    return nodes


def starting(nodes: dict[str, ModelNode], owner: str = "coordinator-1") -> Bench:
    """A coordinator that has just sent its fences, in an epoch above all that the nodes have seen."""
    bench = Bench(nodes, owner)
    bench.state.epoch_seen = max(node.epoch for node in nodes.values())
    bench.step(Woken())
    return bench


def step_of(bench: Bench) -> ElectionStep:
    return bench.replicator.election.step


def fence(bench: Bench, *names: str) -> None:
    for name in names:
        bench.do(Fence, name)


def stored_on(bench: Bench, *names: str) -> None:
    """Whatever must come first, until each of these has stored rows once."""
    for name in names:
        while not bench.waiting(StoreRows, name):
            effect = next(effect for effect in bench.sent if not isinstance(effect, StoreRows))
            bench.do(type(effect), effect.node)
        bench.do(StoreRows, name)


# ---------------------------------------------------------------------------------------------- votes


def test_two_of_four_elect_nobody_and_say_what_they_wait_for() -> None:
    bench = starting(cluster())
    fence(bench, MASTER, REPLICA_1)
    bench.lose(Fence, REPLICA_2)
    bench.lose(Fence, REPLICA_3)
    bench.pass_time(200)
    assert bench.state.phase is Phase.ELECTING
    assert not bench.waiting(StoreRows)
    waits_for = bench.replicator.election.waits_for
    assert waits_for == "an election quorum: 2 of 3 members answer (mysql-master, replica-1)"
    fence(bench, REPLICA_2)
    bench.settle(without=(REPLICA_3,))
    assert bench.serving


@pytest.mark.parametrize("away", NAMES)
def test_any_three_of_four_elect_a_master(away: str) -> None:
    bench = starting(cluster())
    bench.election(without=(away,))
    assert bench.state.master != away


def test_a_node_that_forgot_nothing_is_worth_a_short_wait_but_not_a_long_one() -> None:
    bench = starting(cluster())
    fence(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    assert not bench.waiting(StoreRows), "the recorded master may answer yet: it would not have to move"
    bench.pass_time(101)
    assert bench.waiting(StoreRows)


def test_the_epoch_is_greater_than_any_that_a_node_has_seen() -> None:
    nodes = cluster()
    nodes[REPLICA_2].epoch, nodes[REPLICA_2].owner = 41, "coordinator-0"
    bench = Bench(nodes)
    bench.step(Woken())
    bench.election()
    assert bench.state.epoch > 41
    assert {node.epoch for node in nodes.values()} == {bench.state.epoch}


def test_of_two_coordinators_with_one_epoch_number_neither_may_have_it() -> None:
    nodes = cluster()
    first, second = starting(nodes), starting(nodes, owner="coordinator-2")
    assert first.state.epoch == second.state.epoch == 2
    fence(first, MASTER, REPLICA_1)
    fence(second, REPLICA_2, REPLICA_3)
    fence(first, REPLICA_2)
    assert first.state.epoch == 3
    assert [effect.epoch for effect in first.waiting(Fence, MASTER)] == [3]
    assert not first.waiting(StoreRows)
    assert not second.waiting(StoreRows)


def test_a_node_that_another_coordinator_fenced_into_the_serving_epoch_makes_us_take_a_greater_one() -> None:
    bench = serving_bench()
    bench.nodes[REPLICA_3].owner = "coordinator-2"
    bench.write("row")
    bench.settle()
    bench.pass_time(200)
    bench.election()
    bench.flush()
    assert bench.state.epoch == 2
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL


def test_an_answer_of_an_election_that_is_over_counts_for_nothing() -> None:
    nodes = cluster()
    bench = starting(nodes)
    late = [bench.take(Fence, name) for name in NAMES]
    replies = [bench.at_node(effect) for effect in late]
    nodes[MASTER].epoch, nodes[MASTER].owner = 7, "coordinator-2"
    bench.reply(late[0], Outbid(nodes[MASTER].status()))
    assert bench.state.epoch == 8
    for effect, reply in zip(late[1:], replies[1:], strict=True):
        bench.reply(effect, reply)
    bench.pass_time(200)
    assert not bench.waiting(StoreRows)
    assert step_of(bench) is ElectionStep.FENCING


# ---------------------------------------------------------------------------------------------- log


def test_the_authoritative_log_is_the_one_with_the_greatest_epoch_and_then_timestamp() -> None:
    nodes = cluster(
        mysql_master=[(2, 20), (2, 50)],
        replica_1=[(2, 20), (3, 30)],
        replica_2=[(2, 20)],
    )
    bench = starting(nodes)
    fence(bench, *NAMES)
    assert bench.state.source == REPLICA_1
    bench.election()
    bench.flush()
    for node in nodes.values():
        assert [entry.timestamp for entry in node.data] == [10, 20, 30]
        assert node.log == nodes[REPLICA_1].log


def test_the_incumbent_stays_master_although_another_log_is_more_complete() -> None:
    bench = starting(cluster(replica_2=[(2, 20)]))
    bench.election()
    assert bench.state.master == MASTER
    assert [entry.timestamp for entry in bench.nodes[MASTER].data] == [10, 20]


def test_what_is_on_one_node_only_is_not_lost_if_that_node_is_among_the_fenced() -> None:
    """It may be committed: its commit quorum may have been this node and two that are away. Nobody can tell, so it is kept."""
    bench = starting(cluster(replica_3=[(2, 20)]))
    bench.election(without=(REPLICA_1,))
    assert [entry.timestamp for entry in bench.nodes[REPLICA_3].data] == [10, 20]


def test_ranking_and_incumbent_choose_only_among_the_fenced_members() -> None:
    bench = Bench(cluster())
    bench.step(AdviceArrived(quorum=("nobody",), ranking=("nobody", REPLICA_3, REPLICA_2)))
    bench.step(Woken())
    bench.election(without=(MASTER,))
    assert bench.state.master == REPLICA_3


def test_a_master_that_failed_is_not_tried_again_first() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.lose(ExecuteBatch, MASTER)
    bench.election()
    assert bench.state.master == REPLICA_1
    assert bench.replicator.election.history.records[-1].rejected[MASTER] == "it failed as master"


# ---------------------------------------------------------------------------------------------- no-op


def test_nothing_of_an_adopted_tail_is_applied_before_the_noop_is_on_a_commit_quorum() -> None:
    """Raft section 5.4.2: counting the copies of an old epoch's row commits nothing; MySQL has no undo."""
    nodes = cluster(mysql_master=[(2, 20)], replica_1=[(2, 20)], replica_2=[(2, 20)])
    bench = starting(nodes)
    fence(bench, MASTER, REPLICA_1, REPLICA_2)
    bench.lose(Fence, REPLICA_3)
    noop = bench.state.window.end.position
    assert noop == Position(bench.state.epoch, 21)
    assert not bench.serving
    stored_on(bench, MASTER, REPLICA_1)
    assert {node.applied for node in nodes.values()} == {10}
    assert bench.state.committed_timestamp == 10
    assert not bench.waiting(StoreRows, MASTER)
    stored_on(bench, REPLICA_2)
    assert bench.state.committed_timestamp == 21
    assert step_of(bench) is ElectionStep.APPLYING
    assert not bench.serving, "the master has not applied it yet"
    stored_on(bench, MASTER)
    assert bench.serving
    assert nodes[MASTER].applied == 21


def test_the_noop_on_two_replicas_without_the_master_is_not_enough() -> None:
    bench = starting(cluster())
    fence(bench, *NAMES)
    stored_on(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    assert step_of(bench) is ElectionStep.LEVELLING
    stored_on(bench, MASTER)
    assert step_of(bench) is ElectionStep.APPLYING


def test_an_election_that_dies_after_the_noop_is_on_one_node_leaves_no_phantom() -> None:
    nodes = cluster(mysql_master=[(2, 20)])
    first = starting(nodes)
    fence(first, *NAMES)
    stored_on(first, MASTER)
    second = starting(nodes, owner="coordinator-2")
    second.election(without=(MASTER,))
    write = second.write("row")
    second.settle(without=(MASTER,))
    assert isinstance(second.answers[write], Acknowledge)
    second.flush()
    assert all(node.data == nodes[REPLICA_1].data for node in nodes.values())
    assert [entry.sql for entry in nodes[MASTER].data] == ["entry 10 of 1", "row"]


def test_a_node_found_to_have_the_row_already_completes_an_election() -> None:
    """Its answer was lost, so no storing command says it: the look at it after the next fence does (simulation seed 39)."""
    bench = starting(cluster())
    fence(bench, MASTER, REPLICA_1, REPLICA_2)
    bench.lose(Fence, REPLICA_3)
    bench.do(StoreRows, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do_and_lose_the_answer(StoreRows, REPLICA_2)
    bench.pass_time(200)
    fence(bench, REPLICA_2)
    assert step_of(bench) is ElectionStep.APPLYING
    assert not bench.waiting(StoreRows, REPLICA_2) or not bench.waiting(StoreRows, REPLICA_2)[0].append


# ---------------------------------------------------------------------------------------------- members


def emptied(nodes: dict[str, ModelNode], name: str) -> dict[str, ModelNode]:
    return {**nodes, name: ModelNode(name)}


def test_a_node_that_lost_its_data_does_not_vote() -> None:
    bench = starting(emptied(cluster(), REPLICA_3))
    fence(bench, REPLICA_1, REPLICA_2, REPLICA_3)
    bench.lose(Fence, MASTER)
    bench.pass_time(200)
    assert bench.replicator.election.waits_for.startswith("an election quorum: 2 of 3 members answer")
    assert not bench.waiting(StoreRows)


def test_a_node_that_lost_its_data_is_not_counted_for_the_noop() -> None:
    bench = starting(emptied(cluster(), REPLICA_3))
    fence(bench, *NAMES)
    stored_on(bench, MASTER, REPLICA_1, REPLICA_3)
    bench.settle(without=(REPLICA_2,))
    assert bench.state.nodes[REPLICA_3].has(bench.state.window.end.position)
    assert step_of(bench) is ElectionStep.LEVELLING
    stored_on(bench, REPLICA_2)
    assert step_of(bench) is ElectionStep.APPLYING


def serving_with_an_empty_node() -> Bench:
    """Serving; replica-3 is back without its data and is being filled."""
    bench = serving_bench()
    for number in range(3):
        bench.write(f"row {number}")
        bench.settle()
    bench.nodes[REPLICA_3] = ModelNode(REPLICA_3)
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_3)
    bench.settle()
    return bench


def test_a_refilled_node_counts_only_after_a_batch_was_committed_without_it() -> None:
    bench = serving_with_an_empty_node()
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    node = bench.state.nodes[REPLICA_3]
    while not node.has(bench.state.window.end.position):
        effect = next(effect for effect in bench.sent if not isinstance(effect, ExecuteBatch))
        bench.do(type(effect), effect.node)
    assert node.probation == bench.state.window.end.position
    assert not node.member
    assert not bench.waiting(Admit)
    # nobody writes, so a batch without entries is what it waits for
    assert bench.waiting(ExecuteBatch)[0].requests == ()
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_3)
    bench.do(StoreRows, REPLICA_1)
    assert not bench.waiting(CommitBatch), "the node that is tried must not be what commits the batch"
    bench.do(StoreRows, REPLICA_2)
    bench.do(CommitBatch, MASTER)
    assert not node.member
    bench.do(Admit, REPLICA_3)
    assert node.member
    assert bench.nodes[REPLICA_3].cluster_id == "cluster"


def test_a_node_that_was_filled_during_an_election_becomes_a_member_without_a_write() -> None:
    """It has and applied every row when the election ends: it is sent nothing more, and perhaps nobody writes for hours."""
    bench = starting(emptied(cluster(), REPLICA_3))
    fence(bench, *NAMES)
    stored_on(bench, MASTER, REPLICA_1, REPLICA_3)
    bench.settle(without=(REPLICA_2,))
    stored_on(bench, REPLICA_2)
    assert step_of(bench) is ElectionStep.APPLYING
    bench.do(StoreRows, REPLICA_3)
    assert not bench.serving
    bench.settle()
    assert bench.state.nodes[REPLICA_3].member
    assert bench.nodes[REPLICA_3].cluster_id == bench.nodes[MASTER].cluster_id


def test_an_old_copy_of_a_node_s_data_counts_for_nothing_until_it_is_level() -> None:
    bench = serving_bench()
    bench.write("before")
    bench.settle()
    copy = bench.nodes[REPLICA_3].copy()
    bench.write("after")
    bench.settle()
    bench.nodes[REPLICA_3] = copy
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_3)
    bench.settle()
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert not bench.state.nodes[REPLICA_3].member
    bench.do(Admit, REPLICA_3)
    assert bench.nodes[REPLICA_3].cluster_id == "", "the next coordinator must know it too"
    bench.flush()
    bench.flush()
    assert bench.state.nodes[REPLICA_3].member
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data


def test_an_election_that_waits_notices_that_another_coordinator_was_at_work_meanwhile() -> None:
    nodes = {**cluster(), REPLICA_2: ModelNode(REPLICA_2), REPLICA_3: ModelNode(REPLICA_3)}
    bench = starting(nodes)
    bench.settle()
    assert bench.replicator.election.waits_for.startswith("an election quorum: 2 of 3 members answer")
    for name in (REPLICA_2, REPLICA_3):
        nodes[name] = member(name, BASE, applied=True)
    for node in nodes.values():
        node.epoch, node.owner = bench.state.epoch + 1, "coordinator-2"  # which has died since
    for _ in range(600):
        bench.pass_time(100)
        bench.settle()
    assert bench.serving


# ---------------------------------------------------------------------------------------------- founding


def empty_nodes() -> dict[str, ModelNode]:
    return {name: ModelNode(name) for name in NAMES}


def test_a_cluster_is_founded_only_if_all_nodes_answer() -> None:
    bench = starting(empty_nodes())
    fence(bench, MASTER, REPLICA_1, REPLICA_2)
    bench.lose(Fence, REPLICA_3)
    for _ in range(5):
        bench.pass_time(1_000)
        bench.settle(without=(REPLICA_3,))
    assert bench.state.phase is Phase.ELECTING
    assert all(node.cluster_id == "" for node in bench.nodes.values())
    bench.election()
    assert all(node.cluster_id == "cluster" for node in bench.nodes.values())


def test_three_empty_nodes_and_one_with_a_log_are_no_new_cluster() -> None:
    nodes = {**empty_nodes(), REPLICA_2: member(REPLICA_2, BASE, applied=True)}
    bench = starting(nodes)
    bench.settle()
    bench.pass_time(1_000)
    bench.settle()
    assert bench.state.phase is Phase.ELECTING
    assert bench.replicator.election.waits_for == "an election quorum: 1 of 3 members answer (replica-2)"
    assert nodes[REPLICA_2].data
    assert all(nodes[name].log == [] for name in NAMES if name != REPLICA_2)


@pytest.mark.parametrize("admitted", range(4))
def test_a_founding_that_is_cut_short_anywhere_is_begun_again(admitted: int) -> None:
    nodes = empty_nodes()
    first = starting(nodes)
    fence(first, *NAMES)
    for name in NAMES[:admitted]:
        first.do(Admit, name)
    second = starting(nodes, owner="coordinator-2")
    second.election()
    assert {node.cluster_id for node in nodes.values()} == {"cluster"}


def test_all_nodes_are_admitted_before_there_is_a_first_row() -> None:
    bench = starting(empty_nodes())
    fence(bench, *NAMES)
    for name in NAMES:
        assert not bench.waiting(StoreRows)
        bench.do(Admit, name)
    assert bench.waiting(StoreRows)


def test_a_node_of_another_cluster_is_quarantined_and_never_written_to() -> None:
    nodes = cluster()
    nodes[REPLICA_3].cluster_id, nodes[REPLICA_3].node = "another cluster", REPLICA_3
    bench = starting(nodes)
    bench.election()
    assert bench.state.nodes[REPLICA_3].state is NodeState.QUARANTINED
    assert nodes[REPLICA_3].log_end.position == Position(*BASE)
    assert any("belongs to cluster another cluster" in report.text for report in bench.reports)


def test_a_node_that_applied_what_the_log_does_not_have_is_quarantined_and_reported() -> None:
    nodes = cluster()
    nodes[REPLICA_3] = member(REPLICA_3, BASE, (1, 15), applied=True)
    for name in (MASTER, REPLICA_1, REPLICA_2):
        nodes[name] = member(name, BASE, (2, 16), applied=True)
    bench = starting(nodes)
    bench.election()
    assert bench.state.nodes[REPLICA_3].state is NodeState.QUARANTINED
    assert "15 of epoch 1" in bench.state.nodes[REPLICA_3].reason
    assert [entry.timestamp for entry in nodes[REPLICA_3].data] == [10, 15], "its rows are evidence"


def test_a_cluster_begins_with_its_first_row_after_the_log_s_beginning() -> None:
    bench = serving_bench()
    assert bench.nodes[MASTER].log[0].previous == LOG_BEGIN
    assert bench.nodes[MASTER].log[0].position == Position(1, 1)
