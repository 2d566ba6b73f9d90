"""Snapshots at one timestamp: all at the same, nothing applied past a limit meanwhile, no limit for ever (verification.py)."""

import random

import pytest
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import ConfirmEpoch, OpenSnapshot, ReadAllowed, SnapshotsTaken, StoreRows
from replication.events import DifferenceFound, SwitchoverRequested, VerificationRequested
from replication.replies import SnapshotOpened


def verifying(*, begin: bool = True) -> Bench:
    """A cluster in which a row is committed but not applied on the replicas; snapshots are wanted."""
    bench = serving_bench()
    bench.write("row")
    bench.settle()
    if begin:
        bench.step(VerificationRequested())
    return bench


def told(bench: Bench) -> SnapshotsTaken:
    assert bench.taken is not None
    return bench.taken


def settle_but_for_snapshots(bench: Bench) -> None:
    """Everything is carried out but the opening of snapshots."""
    while effect := next((each for each in bench.sent if not isinstance(each, OpenSnapshot)), None):
        bench.do(type(effect), effect.node)


def limits(bench: Bench) -> list[int | None]:
    return [node.apply_limit for node in bench.state.nodes.values()]


def test_all_snapshots_are_at_the_timestamp_that_the_master_s_is_at() -> None:
    bench = verifying()
    bench.flush()
    assert told(bench).nodes == (MASTER, REPLICA_1, REPLICA_2, REPLICA_3)
    assert {taken for node in bench.nodes.values() for taken, _ in node.snapshots.values()} == {told(bench).timestamp}
    assert limits(bench) == [None] * 4


def test_replicas_that_are_asked_late_do_not_run_away_from_the_master_s_snapshot() -> None:
    """It is opened before the master's next batches; the replicas store those, but apply none before they have their own."""
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    timestamp = bench.nodes[MASTER].applied
    for number in range(5):
        write = bench.write(f"later {number}")
        settle_but_for_snapshots(bench)
        assert write in bench.answers, "writes do not wait"
    assert {bench.nodes[name].applied for name in NAMES[1:]} == {timestamp}
    assert all(bench.nodes[name].log_end.position.timestamp > timestamp for name in NAMES[1:])
    bench.flush()
    assert (told(bench).timestamp, len(told(bench).nodes)) == (timestamp, 4)
    bench.flush()
    assert {node.applied for node in bench.nodes.values()} == {bench.state.committed_timestamp}


def test_before_the_master_has_told_its_timestamp_the_replicas_apply_no_more_than_was_committed() -> None:
    bench = verifying()
    committed = bench.state.committed_timestamp
    opening = bench.take(OpenSnapshot, MASTER)
    for number in range(3):
        bench.write(f"later {number}")
        bench.settle()
    bench.pass_time(50)
    bench.settle()
    assert {bench.nodes[name].applied for name in NAMES[1:]} == {committed}
    bench.sent.append(opening)
    bench.flush()
    bench.flush()
    assert told(bench).timestamp == bench.nodes[MASTER].applied


def test_one_replica_s_limit_ends_with_its_own_snapshot() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.pass_time(20)
    for name in NAMES[1:]:
        bench.do(StoreRows, name)
    bench.do(OpenSnapshot, REPLICA_2)
    assert [node.apply_limit is None for node in bench.state.nodes.values()] == [True, False, True, False]
    bench.take(OpenSnapshot, REPLICA_1)
    bench.take(OpenSnapshot, REPLICA_3)
    bench.write("later")
    bench.settle()
    bench.pass_time(20)
    bench.settle()
    later = bench.state.committed_timestamp
    assert [bench.nodes[name].applied == later for name in NAMES] == [True, False, True, False]


def test_who_does_not_come_to_the_timestamp_in_time_is_left_out_and_named() -> None:
    bench = verifying()
    bench.settle(without=(REPLICA_3,))
    bench.pass_time(20)
    bench.settle(without=(REPLICA_3,))
    assert bench.taken is None
    for _ in range(30):
        bench.pass_time(100)
        for confirm in bench.waiting(ConfirmEpoch, REPLICA_3):
            bench.do(type(confirm), REPLICA_3)
        bench.settle(without=(REPLICA_3,))
    assert told(bench).nodes == (MASTER, REPLICA_1, REPLICA_2)
    ((name, reason),) = told(bench).left_out
    assert name == REPLICA_3
    assert "in time" in reason
    assert limits(bench) == [None] * 4


def test_a_replica_that_fails_meanwhile_is_left_out_and_named() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.pass_time(20)
    bench.fail(bench.take(StoreRows, REPLICA_1), "the connection broke")
    bench.settle()
    assert told(bench).nodes == (MASTER, REPLICA_2, REPLICA_3)
    assert told(bench).left_out == ((REPLICA_1, "the connection broke"),)


def test_a_snapshot_that_cannot_be_opened_costs_the_node_nothing_else() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.pass_time(20)
    for name in NAMES[1:]:
        bench.do(StoreRows, name)
    bench.fail(bench.take(OpenSnapshot, REPLICA_1), "too many connections")
    bench.settle()
    assert told(bench).left_out == ((REPLICA_1, "it opens no snapshot: too many connections"),)
    assert bench.state.nodes[REPLICA_1].sound


def test_a_snapshot_at_another_timestamp_is_thrown_away_and_another_is_opened() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.pass_time(20)
    for name in NAMES[1:]:
        bench.do(StoreRows, name)
    bench.reply(bench.take(OpenSnapshot, REPLICA_1), SnapshotOpened(1))
    assert len(bench.waiting(OpenSnapshot, REPLICA_1)) == 1
    bench.settle()
    assert told(bench).nodes[-1] == REPLICA_1


@pytest.mark.parametrize("moment", range(9))
def test_an_election_ends_it_at_any_moment_and_all_limits_with_it(moment: int) -> None:
    bench = verifying()
    bench.pass_time(20)
    for _ in range(moment):
        if bench.sent and bench.taken is None:
            bench.do(type(bench.sent[0]), bench.sent[0].node)
    before = bench.taken
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, MASTER)
    assert limits(bench) == [None] * 4
    assert told(bench).refusal or before is told(bench)
    bench.election()


def test_a_schema_change_ends_it() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.state.schema_in_flux = True
    bench.pass_time(1)
    assert told(bench).refusal == "a schema change began"
    assert limits(bench) == [None] * 4


def test_none_is_begun_while_the_schema_changes_or_the_cluster_elects_or_another_is_under_way() -> None:
    bench = verifying(begin=False)
    bench.state.schema_in_flux = True
    bench.step(VerificationRequested())
    assert told(bench).refusal == "a schema change is under way"
    bench.state.schema_in_flux, bench.taken = False, None
    bench.step(VerificationRequested())
    bench.step(VerificationRequested())
    assert told(bench).refusal == "snapshots are being opened already"
    bench.taken = None
    bench.crash(MASTER)
    assert told(bench).refusal
    bench.taken = None
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, MASTER)
    bench.step(VerificationRequested())
    assert told(bench).refusal == "the cluster is electing"


def test_a_node_that_does_not_count_is_left_out_with_the_reason() -> None:
    bench = verifying(begin=False)
    bench.flush()
    bench.step(DifferenceFound(REPLICA_2, "a row"))
    bench.step(VerificationRequested())
    bench.settle()
    assert told(bench).nodes == (MASTER, REPLICA_1, REPLICA_3)
    assert told(bench).left_out[0][0] == REPLICA_2


def test_strong_reads_go_on_at_the_master_while_replicas_are_held() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.write("later")
    settle_but_for_snapshots(bench)
    read = bench.read()
    for name in NAMES:
        bench.do(ConfirmEpoch, name)
    leave = bench.reads[read]
    assert isinstance(leave, ReadAllowed)
    assert leave.node == MASTER


def test_a_switchover_goes_before() -> None:
    bench = verifying()
    bench.do(OpenSnapshot, MASTER)
    bench.step(SwitchoverRequested(REPLICA_2))
    bench.election()
    assert bench.master == REPLICA_2
    assert limits(bench) == [None] * 4


@pytest.mark.parametrize("seed", range(200))
def test_in_any_order_of_answers_all_snapshots_are_at_one_timestamp_and_all_limits_end(seed: int) -> None:
    """The invariant after every step that nothing is applied past a limit is the replicator's own (invariants.py)."""
    chance = random.Random(seed)
    bench = verifying(begin=False)
    number = 0
    bench.step(VerificationRequested())
    for _ in range(300):
        draw = chance.random()
        if draw < 0.15 and number < 20:
            number += 1
            bench.write(f"write {number}")
        elif draw < 0.25:
            bench.pass_time(chance.choice((1, 5, 20)))
        elif bench.sent:
            effect = chance.choice(bench.sent)
            first = next(each for each in bench.sent if (each.node, type(each)) == (effect.node, type(effect)))
            if draw > 0.995:
                bench.lose(type(first), first.node)
            else:
                bench.do(type(first), first.node)
        if bench.taken is not None:
            break
        held = [node for node in bench.state.nodes.values() if node.apply_limit is not None]
        assert all(bench.nodes[node.name].applied <= node.apply_limit for node in held if node.apply_limit is not None)
    else:
        bench.pass_time(3_000)
    assert limits(bench) == [None] * 4
    at = {bench.nodes[name].snapshots["coordinator-1"][0] for name in told(bench).nodes}
    assert at == ({told(bench).timestamp} if not told(bench).refusal else set())
