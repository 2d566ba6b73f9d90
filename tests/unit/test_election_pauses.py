"""How long a cluster waits before it elects again: long only where epochs are won and lost again and again."""

import pytest
from replicator_bench import MASTER, REPLICA_1, REPLICA_3, Bench, serving_bench

from replication.effects import CommitBatch, ExecuteBatch, Fence, NodeCommand, PrepareRow, StoreRows
from replication.election import ElectionStep
from replication.election_pauses import ElectionPauses
from replication.events import PauseSkipped
from replication.state import ReplicationSettings


def step_of(bench: Bench) -> ElectionStep:
    return bench.replicator.election.step


def pause_ms(bench: Bench) -> int:
    """Of the pause that has just begun; 0: there is none."""
    if step_of(bench) is not ElectionStep.PAUSING:
        return 0
    return round(((bench.replicator.election.wake_at_ns or 0) - bench.now_ns) / 1e6)


def kill_master(bench: Bench) -> None:
    bench.write("row")
    kinds: tuple[type[NodeCommand], ...] = (ExecuteBatch, PrepareRow, CommitBatch)
    bench.fail(next(effect for effect in bench.sent if isinstance(effect, kinds)))
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, kinds)]


def elections_in_a_row(bench: Bench, count: int) -> None:
    for _ in range(count):
        kill_master(bench)
        bench.election()


def fail_attempt(bench: Bench) -> None:
    """All answer, a master is chosen, and it fails before it has stored anything."""
    while step_of(bench) is ElectionStep.PAUSING:
        bench.pass_time(10)
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]
    while not bench.waiting(StoreRows, bench.state.master or "nobody"):
        effect = next(effect for effect in bench.sent if not isinstance(effect, StoreRows))
        bench.do(type(effect), effect.node)
    bench.lose(StoreRows, bench.master)


def test_elections_in_a_row_begin_at_once_and_then_after_growing_pauses() -> None:
    bench = serving_bench(ReplicationSettings(elections_at_once=2))
    elections_in_a_row(bench, 1)
    pauses = []
    for _ in range(8):
        kill_master(bench)
        pauses.append(pause_ms(bench))
        while step_of(bench) is ElectionStep.PAUSING:
            bench.pass_time(100)
        bench.election()
    assert pauses == [100, 200, 400, 800, 1600, 3200, 5000, 5000]


def test_a_pause_can_be_skipped_and_is_forgotten_after_a_stable_epoch() -> None:
    bench = serving_bench(ReplicationSettings(elections_at_once=1))
    kill_master(bench)
    assert step_of(bench) is ElectionStep.PAUSING
    bench.step(PauseSkipped())
    assert bench.waiting(Fence)
    bench.election()
    bench.pass_time(6_000)
    bench.settle()
    kill_master(bench)
    assert step_of(bench) is ElectionStep.FENCING


def test_attempts_that_fail_wait_for_less_than_a_second_however_many_there_are() -> None:
    bench = serving_bench()
    kill_master(bench)
    pauses = []
    for _ in range(40):
        fail_attempt(bench)
        pauses.append(pause_ms(bench))
    assert pauses[:3] == [0, 0, 0], "the first ones are not held up"
    assert all(50 <= pause <= 600 for pause in pauses[3:]), pauses
    assert "attempts without success" in bench.replicator.election.waits_for


def test_attempts_that_fail_are_no_elections_in_a_row() -> None:
    """Nobody was served in between: the next election is the second one that was won, and not held up."""
    bench = serving_bench()
    kill_master(bench)
    for _ in range(20):
        fail_attempt(bench)
    bench.election()
    kill_master(bench)
    assert pause_ms(bench) == 0


def test_an_election_that_waits_for_a_quorum_for_long_goes_on_as_soon_as_there_is_one() -> None:
    bench = serving_bench()
    kill_master(bench)
    for name in (MASTER, REPLICA_1):
        bench.lose(Fence, name)
    for _ in range(600):
        bench.pass_time(100)
        for name in (MASTER, REPLICA_1):
            if bench.waiting(Fence, name):
                bench.lose(Fence, name)
        bench.settle(without=(MASTER, REPLICA_1))
    assert not bench.serving
    bench.pass_time(250)
    bench.settle(without=(MASTER,))
    assert bench.serving


@pytest.mark.parametrize("attempt", range(5, 20))
def test_two_coordinators_that_outbid_each_other_do_not_wait_equally_long(attempt: int) -> None:
    pauses = []
    for owner in ("coordinator-1", "coordinator-2"):
        counting = ElectionPauses(Bench(owner=owner).state)
        pauses.append([counting.after_an_attempt() for _ in range(attempt)][-1])
    (first_ns, why), (second_ns, _) = pauses
    assert why == f"{attempt} attempts without success"
    assert abs(first_ns - second_ns) > 1_000_000


def test_a_node_whose_connection_took_a_second_to_fail_is_tried_again_at_once() -> None:
    """It hangs, so the attempt was the pause. When it answers again, an attempt is under way."""
    bench = serving_bench()
    kill_master(bench)
    for _ in range(10):
        fence = bench.take(Fence, REPLICA_3)
        bench.now_ns += 1_000_000_000
        bench.fail(fence, "no connection within 1000 ms")
        bench.pass_time(1)
        assert bench.waiting(Fence, REPLICA_3)


@pytest.mark.parametrize(("others_away", "longest_ms"), [((), 1_000), ((REPLICA_1,), 250)])
def test_a_node_that_refuses_is_tried_more_often_where_no_quorum_can_be_had_without_it(
    others_away: tuple[str, ...], longest_ms: int
) -> None:
    bench = serving_bench()
    away = (REPLICA_3, *others_away)
    for name in away:
        bench.replicator.losses.lose(bench.state.nodes[name], "connection refused")
    pauses: list[int] = []
    while len(pauses) < 8:
        bench.settle(without=away)
        if not bench.waiting(Fence, REPLICA_3):
            bench.pass_time(10)
            continue
        bench.lose(Fence, REPLICA_3)
        pauses.append(round((bench.state.nodes[REPLICA_3].retry_at_ns - bench.now_ns) / 1e6))
    assert max(pauses) == longest_ms
    assert pauses == sorted(pauses)
