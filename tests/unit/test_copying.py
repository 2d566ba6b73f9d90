"""Full copies: who gets one, of whose data, and that a copy never counts for what it did not promise (copying.py)."""

import pytest
from model_node import ModelNode
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import Admit, ConfirmEpoch, CopyData, Fence, NodeCommand, StoreRows, TruncateLog
from replication.log import EMPTY_LOG_END
from replication.progress import NodeState
from replication.replies import CopyEnded, Fenced
from replication.state import MILLISECOND_NS, ReplicationSettings

SETTINGS = ReplicationSettings(window_bytes_max=1)
"""Nothing but the newest row is in memory: what a node lacks must come from another node's log."""


def lose_for_a_while(bench: Bench, name: str) -> None:
    """The node does not answer any more."""
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, name)
    bench.settle(without=(name,))


def come_back(bench: Bench, name: str) -> None:
    """The node answers again: it is fenced, and what follows from that is done."""
    bench.pass_time(2_000)
    bench.settle()


def newcomer(bench: Bench) -> Bench:
    """A second coordinator on the same nodes, whose first epoch is above theirs; it has sent its fences."""
    other = Bench(nodes=bench.nodes, owner="coordinator-2", settings=SETTINGS)
    other.state.epoch_seen = bench.state.epoch
    other.pass_time(0)
    return other


def truncate_all(bench: Bench, *names: str) -> None:
    for name in names:
        bench.nodes[name].carry_out(TruncateLog(name, 0, 10**18), "coordinator-1")


def behind_bench(until: type[NodeCommand] = CopyData) -> Bench:
    """REPLICA_3 was away while rows were written and removed from the logs of the others."""
    bench = serving_bench(SETTINGS)
    bench.write("before")
    bench.flush()
    lose_for_a_while(bench, REPLICA_3)
    for number in range(5):
        bench.write(f"meanwhile {number}")
        bench.settle(without=(REPLICA_3,))
    bench.pass_time(20)
    bench.settle(without=(REPLICA_3,))
    truncate_all(bench, MASTER, REPLICA_1, REPLICA_2)
    bench.pass_time(2_000)
    bench.do(Fence, REPLICA_3)
    while not bench.waiting(until):
        effect = next(effect for effect in bench.sent if not isinstance(effect, ConfirmEpoch))
        bench.do(type(effect), effect.node)
    return bench


def finish_copy(bench: Bench, effect: CopyData) -> None:
    bench.nodes[effect.node].become(bench.nodes[effect.donor])
    bench.reply(effect, CopyEnded())


SLOW = ReplicationSettings(chunk_bytes_max=1)
"""One row a command."""


def slowly_filled(*, empty: bool) -> Bench:
    """REPLICA_3 comes back, perhaps with a new disk, and lacks nine rows; when patience ends it has stored one."""
    bench = serving_bench(SLOW)
    lose_for_a_while(bench, REPLICA_3)
    for number in range(9):
        bench.write(f"entry {number}")
        bench.settle(without=(REPLICA_3,))
    if empty:
        bench.nodes[REPLICA_3] = ModelNode(REPLICA_3)
    fill_slowly(bench)
    return bench


def fill_slowly(bench: Bench) -> None:
    bench.pass_time(1_000)
    while not bench.waiting(StoreRows, REPLICA_3):
        bench.do(next(type(effect) for effect in bench.sent if effect.node == REPLICA_3), REPLICA_3)
    bench.pass_time(SLOW.log_patience_ns // MILLISECOND_NS)
    bench.settle(without=(REPLICA_3,))
    bench.do(StoreRows, REPLICA_3)
    bench.settle()


def test_an_empty_node_that_the_log_fills_slowly_gets_a_copy() -> None:
    """A disk that was lost late in an hour of faults took five minutes to fill: 2,000 schema changes, one after the other."""
    bench = slowly_filled(empty=True)
    assert bench.take(CopyData, REPLICA_3).donor == REPLICA_1
    assert any("quicker" in report.text for report in bench.reports)


def test_a_copy_that_cannot_keep_up_is_not_copied_to_again() -> None:
    bench = slowly_filled(empty=True)
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    for number in range(9):
        bench.write(f"while it restarts {number}")
        bench.settle(without=(REPLICA_3,))
    fill_slowly(bench)
    assert not bench.waiting(CopyData)
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL


def test_a_voter_is_filled_from_the_log_however_slowly() -> None:
    bench = slowly_filled(empty=False)
    assert not bench.waiting(CopyData)
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL


def test_a_node_that_the_log_cannot_fill_gets_a_copy_of_a_replica_not_of_the_master() -> None:
    bench = behind_bench()
    effect = bench.take(CopyData, REPLICA_3)
    assert effect.donor == REPLICA_1
    node = bench.state.nodes[REPLICA_3]
    assert (node.state, node.member) == (NodeState.COPYING, False)
    assert "full copy of replica-1's data" in node.reason


def test_a_copied_node_is_level_and_a_member_in_the_end_and_writes_go_on_meanwhile() -> None:
    bench = behind_bench()
    effect = bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].lay_bare()
    written = bench.write("while it is copied")
    bench.settle(without=(REPLICA_3,))
    assert written in bench.answers
    finish_copy(bench, effect)
    bench.write("after the copy")
    bench.settle()
    come_back(bench, REPLICA_3)
    bench.flush()
    bench.flush()
    node = bench.state.nodes[REPLICA_3]
    assert (node.state, node.member) == (NodeState.LEVEL, True)
    assert bench.nodes[REPLICA_3].data == bench.nodes[MASTER].data
    assert bench.nodes[REPLICA_3].node == REPLICA_3


def test_a_voter_that_we_copied_to_ourselves_keeps_its_vote_and_its_disk_says_so() -> None:
    bench = behind_bench()
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert bench.state.nodes[REPLICA_3].member
    assert bench.nodes[REPLICA_3].node == REPLICA_1, "until then it votes for nobody else"
    bench.do(Admit, REPLICA_3)
    assert (bench.nodes[REPLICA_3].cluster_id, bench.nodes[REPLICA_3].node) == ("cluster", REPLICA_3)


def test_a_voter_keeps_its_vote_over_a_copy_of_which_we_did_not_hear_the_end() -> None:
    """It is complete or not there at all. (Simulation, truncating, seed 406: with another's disk lost, nobody was elected.)"""
    bench = behind_bench()
    effect = bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].become(bench.nodes[REPLICA_1])
    bench.fail(effect)
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert bench.state.nodes[REPLICA_3].member


def test_a_voter_keeps_its_vote_over_a_second_copy_when_the_first_was_cut_short() -> None:
    bench = behind_bench()
    bench.fail(bench.take(CopyData, REPLICA_3))
    bench.nodes[REPLICA_3].lay_bare()
    while not bench.waiting(CopyData):
        bench.pass_time(100)
        bench.settle()
    assert not bench.state.nodes[REPLICA_3].member, "bare, it has nothing to say"
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert bench.state.nodes[REPLICA_3].member


def test_a_voter_that_was_seen_with_other_data_meanwhile_has_lost_its_vote() -> None:
    """Somebody laid an empty folder in its place: what it promised is gone, and the copy after that is an empty node's."""
    bench = behind_bench()
    bench.fail(bench.take(CopyData, REPLICA_3))
    bench.nodes[REPLICA_3] = ModelNode(REPLICA_3)
    while not bench.waiting(CopyData):
        bench.pass_time(100)
        bench.settle()
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    bench.pass_time(200)
    bench.do(Fence, REPLICA_3)
    assert not bench.state.nodes[REPLICA_3].member


def test_a_server_that_was_bare_when_we_first_saw_it_has_no_vote_after_its_copy() -> None:
    bench = serving_bench(SETTINGS)
    bench.nodes[REPLICA_2].lay_bare()
    other = newcomer(bench)
    while not other.waiting(CopyData):
        effect = next(effect for effect in other.sent if not isinstance(effect, CopyData))
        other.do(type(effect), effect.node)
    finish_copy(other, other.take(CopyData, REPLICA_2))
    other.pass_time(200)
    other.do(Fence, REPLICA_2)
    assert not other.state.nodes[REPLICA_2].member


def test_a_node_that_was_away_for_long_and_one_without_its_disk_do_not_stop_the_cluster_for_good() -> None:
    """The three that have something to say are the two others and the one that needs a copy: it is needed for the commit
    quorum that the empty one must be tried with."""
    bench = behind_bench()
    bench.nodes[REPLICA_2] = ModelNode(REPLICA_2)
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    for _ in range(100):
        bench.pass_time(300)
        if bench.waiting(ConfirmEpoch, REPLICA_2) and bench.state.nodes[REPLICA_2].member:
            bench.lose(ConfirmEpoch, REPLICA_2)
        bench.settle()
        if bench.waiting(CopyData):
            finish_copy(bench, bench.take(CopyData, REPLICA_2))
    write = bench.write("in the end")
    bench.settle()
    assert write in bench.answers
    assert all(bench.state.nodes[name].member for name in NAMES)


def test_in_an_election_a_voter_is_copied_to_when_the_commit_quorum_lacks_it() -> None:
    bench = behind_bench()
    bench.take(CopyData, REPLICA_3)
    other = newcomer(bench)
    for name in (MASTER, REPLICA_1, REPLICA_3):
        other.do(Fence, name)
    other.lose(Fence, REPLICA_2)
    other.pass_time(200)
    for _ in range(20):
        other.settle(without=(REPLICA_2,))
        if other.waiting(CopyData):
            break
        other.pass_time(100)
    assert not other.serving
    finish_copy(other, other.take(CopyData, REPLICA_3))
    other.election(without=(REPLICA_2,))
    assert other.serving


def test_a_copied_data_folder_does_not_vote_for_another_coordinator_either() -> None:
    """Whoever copied it, by the plugin or by hand: the votes are those of the node that it was copied from."""
    bench = serving_bench()
    for _ in range(3):
        bench.write("row")
        bench.flush()
    bench.nodes[REPLICA_3].become(bench.nodes[REPLICA_1])
    other = newcomer(bench)
    for name in (MASTER, REPLICA_1, REPLICA_3):
        other.do(Fence, name)
    other.lose(Fence, REPLICA_2)
    other.pass_time(500)
    assert not other.serving
    assert "2 of 3 members answer" in other.replicator.election.waits_for


def test_a_bare_server_votes_for_nothing_and_gets_a_copy_as_soon_as_somebody_serves() -> None:
    bench = serving_bench(SETTINGS)
    bench.write("row")
    bench.flush()
    bench.nodes[REPLICA_2].lay_bare()
    other = newcomer(bench)
    for name in NAMES:
        other.do(Fence, name)
    assert other.state.nodes[REPLICA_2].state is NodeState.BARE
    assert not other.waiting(CopyData), "nobody serves yet"
    while not other.waiting(CopyData):
        effect = next(effect for effect in other.sent if not isinstance(effect, CopyData))
        other.do(type(effect), effect.node)
    assert other.serving
    finish_copy(other, other.take(CopyData, REPLICA_2))
    other.settle()
    come_back(other, REPLICA_2)
    other.flush()
    other.flush()
    assert other.state.nodes[REPLICA_2].member
    assert other.nodes[REPLICA_2].data == other.nodes[MASTER].data


def test_three_members_and_a_bare_server_are_no_new_cluster() -> None:
    nodes = {name: ModelNode(name) for name in NAMES}
    nodes[REPLICA_3].lay_bare()
    bench = Bench(nodes=nodes)
    bench.pass_time(0)
    bench.settle()
    bench.pass_time(500)
    bench.settle()
    assert not bench.serving
    assert all(node.log_end == EMPTY_LOG_END for node in nodes.values())


def test_an_election_leaves_a_copy_under_way_alone() -> None:
    """Fencing the node anew would end the copy, and a large one would never be finished."""
    bench = behind_bench()
    effect = bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].lay_bare()
    bench.crash(MASTER)
    bench.pass_time(300)
    lost = bench.waiting(ConfirmEpoch, MASTER)
    if lost:
        bench.lose(ConfirmEpoch, MASTER)
    assert not bench.serving
    assert not bench.waiting(Fence, REPLICA_3)
    # the three others elect one of them, and the copy is answered in the new epoch
    bench.election(without=(REPLICA_3,))
    finish_copy(bench, effect)
    come_back(bench, REPLICA_3)
    bench.flush()
    bench.flush()
    assert bench.state.nodes[REPLICA_3].member


def test_a_copy_that_fails_is_begun_again_after_a_growing_pause() -> None:
    bench = behind_bench()
    began_ms = []
    for _ in range(3):
        bench.fail(bench.take(CopyData, REPLICA_3), "the donor's disk cannot be read")
        bench.nodes[REPLICA_3].lay_bare()
        failed_ns = bench.now_ns
        while not bench.waiting(CopyData, REPLICA_3):
            bench.pass_time(50)
            bench.settle()
        began_ms.append((bench.now_ns - failed_ns) / 1e6)
    assert began_ms == sorted(began_ms)
    assert began_ms[-1] >= 2 * began_ms[0]


def test_a_copy_whose_donor_is_gone_is_made_of_another_s_data() -> None:
    bench = behind_bench()
    effect = bench.take(CopyData, REPLICA_3)
    bench.nodes[REPLICA_3].lay_bare()
    assert effect.donor == REPLICA_1
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_1)
    for _ in range(60):
        bench.settle(without=(REPLICA_1,))
        if bench.waiting(CopyData):
            break
        bench.pass_time(500)
        if bench.waiting(Fence, REPLICA_1):
            bench.lose(Fence, REPLICA_1)
    assert bench.take(CopyData, REPLICA_3).donor in (REPLICA_2, MASTER)


def test_a_node_whose_log_ends_before_the_others_begin_is_not_made_master_whatever_its_score() -> None:
    bench = behind_bench()
    other = newcomer(bench)
    other.state.ranking = (REPLICA_3, REPLICA_2, REPLICA_1, MASTER)
    other.replicator.election.suspects.add(MASTER)
    for name in reversed(NAMES):
        other.do(Fence, name)
    assert other.state.master == REPLICA_2
    assert "its log ends before the others' begin" in str(other.replicator.election.history.records[-1].rejected)


@pytest.mark.parametrize("name", [REPLICA_1, REPLICA_2])
def test_a_node_is_never_its_own_donor(name: str) -> None:
    bench = serving_bench(SETTINGS)
    bench.state.nodes[name].needs_copy("by a test")
    bench.pass_time(10)
    bench.settle()
    effect = bench.take(CopyData, name)
    assert effect.donor != name


def test_fenced_in_copy_status_names_the_donor() -> None:
    bench = behind_bench()
    finish_copy(bench, bench.take(CopyData, REPLICA_3))
    reply = bench.nodes[REPLICA_3].carry_out(Fence(REPLICA_3, 0, bench.state.epoch, "coordinator-1"), "coordinator-1")
    assert isinstance(reply, Fenced)
    assert reply.status.node == REPLICA_1
