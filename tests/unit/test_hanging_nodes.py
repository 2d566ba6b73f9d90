"""A node that hangs in the middle of an election is noticed by the heartbeat, long before its command times out (reads.py)."""

from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import ConfirmEpoch, ExecuteBatch, Fence, ReadAllowed
from replication.election import ElectionStep
from replication.progress import NodeState
from replication.state import Phase

HEARTBEAT_MS = 250


def levelling_bench() -> Bench:
    """The master failed, the others are fenced, and one of them is chosen and to be brought level."""
    bench = serving_bench()
    bench.write("in flight")
    bench.lose(ExecuteBatch, MASTER)
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.do(Fence, name)
    bench.lose(Fence, MASTER)
    bench.pass_time(101)
    assert bench.replicator.election.step is ElectionStep.LEVELLING
    return bench


def test_a_chosen_master_that_hangs_is_replaced_when_it_does_not_confirm_the_epoch() -> None:
    bench = levelling_bench()
    chosen = bench.master
    bench.settle(without=(chosen, MASTER))
    assert not bench.serving, "it has not stored the no-op"
    bench.pass_time(HEARTBEAT_MS)
    bench.settle(without=(chosen, MASTER))
    bench.lose(ConfirmEpoch, chosen)
    bench.nodes[MASTER].crash()
    bench.pass_time(HEARTBEAT_MS)
    bench.election(without=(chosen,))
    assert bench.master != chosen


def test_a_heartbeat_in_an_election_gives_no_read_leave() -> None:
    """Three confirm, and one of them has applied all that is *known* to be committed: the tail is not."""
    bench = levelling_bench()
    read = bench.read()
    bench.pass_time(HEARTBEAT_MS)
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.do(ConfirmEpoch, name)
    assert read not in bench.reads
    bench.election(without=(MASTER,))
    assert isinstance(bench.reads[read], ReadAllowed)


def test_reads_after_an_election_do_not_wait_for_a_node_that_owes_its_heartbeat() -> None:
    bench = levelling_bench()
    bench.pass_time(HEARTBEAT_MS)
    slow = next(name for name in NAMES if name not in (bench.master, MASTER))
    bench.do(Fence, MASTER)
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        if name != slow:
            bench.do(ConfirmEpoch, name)
    read = bench.read()
    owed = bench.take(ConfirmEpoch, slow)
    bench.election()
    for _ in range(3):
        bench.pass_time(30)
        bench.settle()
    assert isinstance(bench.reads[read], ReadAllowed)
    bench.fail(owed)


def test_a_greater_epoch_that_a_heartbeat_finds_in_an_election_ends_it() -> None:
    bench = levelling_bench()
    bench.pass_time(HEARTBEAT_MS)
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.nodes[name].epoch, bench.nodes[name].owner = 9, "coordinator-2"
    for name in (REPLICA_1, REPLICA_2):
        bench.do(ConfirmEpoch, name)
    bench.settle(without=(MASTER,))
    assert bench.state.phase is Phase.DEPOSED


def test_a_node_that_told_another_s_epoch_in_an_election_is_asked_again_later() -> None:
    """Its answer ends the heartbeat's question, or it would never confirm anything again."""
    bench = levelling_bench()
    bench.pass_time(HEARTBEAT_MS)
    told = next(name for name in NAMES if name not in (bench.master, MASTER))
    bench.nodes[told].epoch, bench.nodes[told].owner = 9, "coordinator-2"
    bench.do(ConfirmEpoch, told)
    assert bench.state.nodes[told].confirm_command is None
    for _ in range(30):
        bench.settle()
        bench.pass_time(100)
    assert bench.serving
    read = bench.read()
    bench.settle(without=(next(name for name in NAMES if name not in (bench.master, told)),))
    assert isinstance(bench.reads[read], ReadAllowed)


def test_a_confirmation_that_fails_while_the_node_is_fenced_anew_leaves_the_fence_alone() -> None:
    """Two nodes hang from the same moment on. When the first is given up, the second is fenced again at once; that its older
    question stays without an answer says nothing about the new connection."""
    bench = serving_bench()
    bench.pass_time(300)
    owed = bench.take(ConfirmEpoch, REPLICA_3)
    bench.lose(ConfirmEpoch, MASTER)
    assert bench.waiting(Fence, REPLICA_3)
    bench.fail(owed)
    assert bench.state.nodes[REPLICA_3].state is NodeState.FENCING
    bench.do(Fence, REPLICA_3)
    assert bench.state.nodes[REPLICA_3].fenced
