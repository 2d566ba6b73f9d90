"""Two coordinators beside each other: who has an election quorum goes on, the other one ends up refusing (design section 6).

A coordinator that starts takes over; one that has served gives way when it finds that it was taken over from, however it
learns it.
"""

from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import (
    Acknowledge,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fail,
    Fence,
    ReadRefused,
    StoreRows,
)
from replication.replies import EpochSeen
from replication.state import Phase


def newcomer(bench: Bench) -> Bench:
    """A second coordinator that has just been started by mistake: it knows nothing, and sends its fences."""
    other = Bench(bench.nodes, owner="coordinator-2")
    other.pass_time(0)
    return other


def taken_over(bench: Bench) -> Bench:
    other = newcomer(bench)
    other.election()
    return other


def electing_bench() -> Bench:
    """A coordinator that has served; its master failed with a batch under way, and the fences of its election are sent."""
    bench = serving_bench()
    bench.write("in flight")
    bench.lose(ExecuteBatch, MASTER)
    return bench


def levelling_bench() -> Bench:
    """Its three replicas were fenced, and one of them is chosen."""
    bench = electing_bench()
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.do(Fence, name)
    bench.lose(Fence, MASTER)
    bench.pass_time(200)
    return bench


def in_a_foreign_epoch(bench: Bench, name: str, epoch: int = 9) -> None:
    """Another coordinator fenced this one node, and died."""
    bench.nodes[name].epoch, bench.nodes[name].owner = epoch, "coordinator-2"
    bench.pass_time(300)
    bench.do(ConfirmEpoch, name)


def test_a_coordinator_that_starts_takes_over_from_one_that_serves() -> None:
    bench = serving_bench()
    other = taken_over(bench)
    assert other.serving
    assert other.state.epoch > bench.state.epoch


def test_a_coordinator_that_wakes_up_and_elects_finds_that_it_was_taken_over_from_and_refuses() -> None:
    """It was frozen: what it hears first is that its own commands got no answer, not that the epoch is another's."""
    bench = serving_bench()
    write = bench.write("in flight")
    other = taken_over(bench)
    bench.lose(ExecuteBatch, MASTER)
    assert not bench.serving
    bench.settle()
    assert bench.state.phase is Phase.DEPOSED
    assert isinstance(bench.answers[write], Fail)
    assert isinstance(bench.reads[bench.read()], ReadRefused)
    other.pass_time(300)
    other.settle()
    assert other.serving, "it was not disturbed"


def test_two_of_four_that_are_another_s_are_no_proof_and_the_election_is_begun_again_above() -> None:
    bench = serving_bench()
    for name in (REPLICA_1, REPLICA_2):
        bench.nodes[name].epoch, bench.nodes[name].owner = 9, "coordinator-2"
    bench.write("in flight")
    bench.lose(ExecuteBatch, MASTER)
    bench.election()
    assert bench.serving
    assert bench.state.epoch == 10


def test_one_node_in_another_s_epoch_deposes_nobody_and_writes_go_on() -> None:
    """Whoever fenced it may have died right after it; one that lives has the others in a moment."""
    bench = serving_bench()
    in_a_foreign_epoch(bench, REPLICA_3)
    assert bench.serving
    write = bench.write("meanwhile")
    bench.settle(without=(REPLICA_3,))
    assert isinstance(bench.answers[write], Acknowledge)


def test_a_node_in_the_epoch_of_one_that_did_not_take_over_is_regained_by_an_election_above_it() -> None:
    bench = serving_bench()
    in_a_foreign_epoch(bench, REPLICA_3)
    for _ in range(30):
        bench.settle()
        bench.pass_time(100)
    bench.election()
    assert bench.state.epoch == 10
    assert bench.state.nodes[REPLICA_3].fenced
    assert "did not take over" in bench.replicator.election.history.records[-1].reason


def test_two_nodes_in_another_s_epoch_depose_because_no_quorum_is_left() -> None:
    bench = serving_bench()
    waiting = [bench.read(), bench.read()]
    for name in (REPLICA_2, REPLICA_3):
        assert bench.serving
        bench.reply(bench.take(ConfirmEpoch, name), EpochSeen(9, "coordinator-2"))
    assert bench.state.phase is Phase.DEPOSED
    assert all(isinstance(bench.reads[read], ReadRefused) for read in waiting)


def test_a_batch_under_way_is_not_committed_by_the_one_that_was_taken_over_from() -> None:
    bench = serving_bench()
    bench.write("in flight")
    bench.do(ExecuteBatch, MASTER)
    taken_over(bench)
    bench.settle()
    assert not bench.waiting(CommitBatch)
    assert bench.state.phase is Phase.DEPOSED
    assert all(not bench.nodes[name].data for name in NAMES)


def test_of_two_that_start_at_once_one_serves_in_the_end() -> None:
    bench = serving_bench()
    second, third = newcomer(bench), Bench(bench.nodes, owner="coordinator-3")
    third.pass_time(0)
    for _ in range(2_000):
        for each in (second, third):
            if each.sent:
                effect = each.sent.pop(0)
                each._carry_out(effect)
            each.pass_time(7 if each is second else 11)
        phases = {second.state.phase, third.state.phase}
        if phases == {Phase.SERVING, Phase.DEPOSED}:
            return
    raise AssertionError(f"they go on for ever: {phases}")


def test_an_outbid_in_the_middle_of_an_election_begins_it_again_and_the_next_fences_tell() -> None:
    bench = levelling_bench()
    assert bench.waiting(StoreRows)
    taken_over(bench)
    bench.settle()
    assert bench.state.phase is Phase.DEPOSED


def test_an_election_whose_chosen_master_is_taken_by_somebody_who_dies_chooses_again() -> None:
    bench = levelling_bench()
    chosen = bench.state.master
    assert chosen is not None
    bench.nodes[chosen].epoch, bench.nodes[chosen].owner = 9, "coordinator-2"
    bench.election()
    for _ in range(30):
        bench.settle()
        bench.pass_time(100)
    bench.election()
    assert bench.state.epoch == 10
    assert all(node.fenced for node in bench.state.nodes.values())


def test_an_election_that_needs_a_node_in_a_dead_coordinator_s_epoch_begins_again_above_it() -> None:
    """Three members were fenced, the fourth is away: there is a commit quorum only with the one that another fenced meanwhile."""
    bench = electing_bench()
    for name in (REPLICA_1, REPLICA_2, MASTER):
        bench.do(Fence, name)
    bench.lose(Fence, REPLICA_3)
    assert bench.waiting(StoreRows, REPLICA_2)
    bench.nodes[REPLICA_2].epoch, bench.nodes[REPLICA_2].owner = 9, "coordinator-2"
    bench.election(without=(REPLICA_3,))
    assert bench.state.epoch > 9


def test_one_that_wakes_up_in_its_own_election_hears_all_others_before_it_believes_that_nobody_has_won() -> None:
    """Its fences were on their way when it was frozen; the other's ended their connections, so they fail, and only one by one do
    the nodes tell whose they are."""
    bench = electing_bench()
    fences, bench.sent = [bench.take(Fence, name) for name in NAMES], []
    taken_over(bench)
    bench.now_ns += 8_000_000_000
    for fence in fences:
        bench.fail(fence, "server has gone away")
    while not bench.waiting(Fence):
        bench.pass_time(10)
    bench.settle()
    assert bench.state.phase is Phase.DEPOSED


def test_what_a_node_told_before_it_was_taken_is_asked_again() -> None:
    """One node was ours when we were frozen, and is the other's by now; a fourth is away."""
    bench = electing_bench()
    told = bench.at_node(first := bench.take(Fence, REPLICA_1))
    fences, bench.sent = [bench.take(Fence, name) for name in (REPLICA_2, REPLICA_3, MASTER)], []
    other = Bench(bench.nodes, owner="coordinator-2")
    other.state.epoch_seen = bench.state.epoch
    other.pass_time(0)
    other.election(without=(MASTER,))
    bench.now_ns += 8_000_000_000
    bench.reply(first, told)
    for fence in fences:
        bench.fail(fence, "server has gone away")
    while not bench.waiting(Fence):
        bench.pass_time(10)
    bench.settle(without=(MASTER,))
    assert bench.state.phase is Phase.DEPOSED
