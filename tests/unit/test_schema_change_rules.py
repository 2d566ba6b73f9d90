"""Schema changes step by step: an intent, the master alone, an outcome, everybody (design section 7; schema_changes.py)."""

import pytest
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import (
    Acknowledge,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fail,
    Fence,
    MeasureLog,
    PrepareRow,
    ReadAllowed,
    Refuse,
    RunSchemaChange,
    Stale,
    StoreRows,
    SwitchoverEnded,
)
from replication.events import SwitchoverRequested, TimestampsRefused
from replication.log import ChangeStep, SchemaChange, batch_of
from replication.progress import NodeState
from replication.replies import SchemaChanged
from replication.state import MILLISECOND_NS, ReplicationSettings
from replication.values import Disturbed, Executed, Outcome, Rejected

CREATE = "CREATE TABLE one"
LOCK_WAIT = Disturbed(1205, "HY000", "Lock wait timeout exceeded")
EXISTS = Rejected(1050, "42S01", "Table 'one' already exists")
SLOW = (RunSchemaChange,)


def last_change(bench: Bench) -> SchemaChange | None:
    """That the log's last row carries."""
    return batch_of(bench.state.window.after(0, 1 << 30)[-1]).change


def being_executed(settings: ReplicationSettings | None = None) -> tuple[Bench, int]:
    """A change whose intent is committed; the master is just told to execute it."""
    bench = serving_bench(settings)
    change = bench.change_schema(CREATE)
    bench.commit_batch()
    return bench, change


def executed_by_the_master(settings: ReplicationSettings | None = None) -> tuple[Bench, int]:
    """Its outcome is committed and answered; the replicas have not executed it yet, and are told to."""
    bench, change = being_executed(settings)
    bench.do(RunSchemaChange, MASTER)
    bench.flush(slow=SLOW)
    assert isinstance(bench.answers[change], Acknowledge)
    return bench, change


def schemas(bench: Bench) -> dict[str, list[str]]:
    return {name: bench.nodes[name].schema for name in NAMES}


def everywhere(*changes: str, names: tuple[str, ...] = NAMES) -> dict[str, list[str]]:
    return {name: list(changes) for name in names}


# ---------------------------------------------------------------------------------------------- the two rows


def test_nothing_is_executed_before_the_intent_is_committed_and_then_by_the_master_alone() -> None:
    bench = serving_bench()
    change = bench.change_schema(CREATE)
    assert bench.do(ExecuteBatch, MASTER).requests == (), "the text must not run in the batch's transaction"
    bench.do(PrepareRow, MASTER)
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.do(StoreRows, name)
        assert not bench.waiting(RunSchemaChange)
    intent = last_change(bench)
    assert intent is not None
    assert (intent.step, intent.sql) == (ChangeStep.INTENT, CREATE)
    bench.do(CommitBatch, MASTER)
    (command,) = bench.waiting(RunSchemaChange)
    assert (command.node, command.sql, command.intent_timestamp) == (MASTER, CREATE, intent.intent_timestamp)
    assert command.now_us == intent.now_us
    bench.flush(slow=SLOW)
    assert [each.node for each in bench.waiting(RunSchemaChange)] == [MASTER]
    assert change not in bench.answers


def test_every_row_names_the_open_intent_until_its_outcome() -> None:
    bench, _ = being_executed()
    assert bench.state.window.end.open_change == bench.waiting(RunSchemaChange)[0].intent_timestamp
    bench.settle()
    assert bench.state.window.end.open_change == 0


def test_a_change_is_answered_when_its_outcome_is_committed_and_not_before() -> None:
    bench, change = being_executed()
    bench.do(RunSchemaChange, MASTER)
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_3)
    assert change not in bench.answers
    bench.do(CommitBatch, MASTER)
    answer = bench.answers[change]
    assert isinstance(answer, Acknowledge)
    assert (answer.master, answer.quorum) == (MASTER, (REPLICA_1, REPLICA_3))
    assert answer.timestamp == bench.state.window.end.position.timestamp
    outcome = last_change(bench)
    assert outcome is not None
    assert outcome.step is ChangeStep.DONE


def test_writes_wait_from_the_intent_to_the_outcome_and_go_on_afterwards_in_order() -> None:
    bench = serving_bench()
    before = bench.write("before")
    change = bench.change_schema(CREATE)
    waiting = [bench.write(f"waiting {number}") for number in range(3)]
    bench.commit_batch()
    bench.commit_batch()
    for _ in range(10):
        bench.pass_time(100)
        bench.settle(slow=SLOW)
        assert not bench.waiting(ExecuteBatch)
    assert list(bench.answers) == [before]
    bench.settle()
    answers = [bench.answers[each] for each in (before, change, *waiting)]
    assert all(isinstance(answer, Acknowledge) for answer in answers)
    timestamps = [answer.timestamp for answer in answers if isinstance(answer, Acknowledge)]
    assert timestamps == sorted(set(timestamps))
    assert timestamps[1] > bench.state.window.after(0, 1 << 30)[1].last_timestamp


def test_no_write_gets_the_number_of_an_outcome_also_while_the_timestamp_service_is_away() -> None:
    """Found by simulation: an outcome takes the number behind the log's end, which may be one that was granted ahead."""
    bench, _ = being_executed()
    bench.step(TimestampsRefused("both servers are away"))
    bench.do(RunSchemaChange, MASTER)
    bench.commit_batch()
    outcome = bench.state.window.end.position.timestamp
    bench.write("row")
    (batch,) = bench.waiting(ExecuteBatch, MASTER)
    assert batch.requests[0][0] > outcome


def test_several_changes_are_made_one_after_another_in_the_order_in_which_they_came() -> None:
    bench = serving_bench()
    changes = [bench.change_schema(f"CREATE TABLE t{number}") for number in range(4)]
    assert len(bench.waiting(ExecuteBatch)) == 1
    bench.flush()
    bench.flush()
    assert all(isinstance(bench.answers[change], Acknowledge) for change in changes)
    assert schemas(bench) == everywhere(*[f"CREATE TABLE t{number}" for number in range(4)])


def test_writes_are_not_starved_by_changes_that_come_one_behind_another() -> None:
    bench, _ = being_executed()
    more = [bench.change_schema(f"CREATE TABLE t{number}") for number in range(5)]
    write = bench.write("row")
    bench.do(RunSchemaChange, MASTER)
    bench.commit_batch()
    bench.commit_batch()
    assert isinstance(bench.answers[write], Acknowledge)
    assert not set(more) & set(bench.answers)
    bench.flush()
    bench.flush()
    assert all(isinstance(bench.answers[change], Acknowledge) for change in more)


# ---------------------------------------------------------------------------------------------- done


def test_replicas_execute_a_change_when_they_apply_its_outcome_and_no_slower_one_holds_writes_up() -> None:
    bench, _ = executed_by_the_master()
    assert sorted(each.node for each in bench.waiting(RunSchemaChange)) == [REPLICA_1, REPLICA_2, REPLICA_3]
    for number in range(5):
        write = bench.write(f"row {number}")
        bench.settle(slow=SLOW)
        assert isinstance(bench.answers[write], Acknowledge)
    end = bench.state.window.end.position
    for name in (REPLICA_1, REPLICA_2, REPLICA_3):
        node = bench.nodes[name]
        assert (node.log_end.position, node.schema, node.data) == (end, [], [])
        bench.do(RunSchemaChange, name)
        bench.flush(slow=SLOW)
        assert (node.schema, len(node.data), node.applied) == ([CREATE], 5, end.timestamp)
        assert node.mark[0] == 0, "what is applied need not be noted any more"


def test_a_limit_of_what_one_command_carries_does_not_keep_a_node_that_changes_its_schema_from_storing() -> None:
    bench, _ = executed_by_the_master(ReplicationSettings(chunk_bytes_max=1, window_bytes_max=1))
    for number in range(5):
        write = bench.write(f"row {number}")
        bench.settle(slow=SLOW)
        assert isinstance(bench.answers[write], Acknowledge)
    assert {name: bench.nodes[name].log_end for name in NAMES} == dict.fromkeys(NAMES, bench.state.window.end)
    bench.flush()
    assert schemas(bench) == everywhere(CREATE)
    assert {name: len(bench.nodes[name].data) for name in NAMES} == dict.fromkeys(NAMES, 5)


def test_a_node_that_says_it_has_executed_a_change_is_not_asked_again() -> None:
    bench, _ = executed_by_the_master()
    bench.do_and_lose_the_answer(RunSchemaChange, REPLICA_1)
    assert bench.state.nodes[REPLICA_1].state is NodeState.AWAY
    bench.pass_time(200)
    bench.do(Fence, REPLICA_1)
    bench.flush(slow=SLOW)
    assert not bench.waiting(RunSchemaChange, REPLICA_1)
    node = bench.nodes[REPLICA_1]
    assert (node.schema, node.applied) == ([CREATE], bench.state.window.end.position.timestamp)


def test_a_node_that_cannot_execute_a_change_just_now_is_looked_at_afresh_and_asked_again() -> None:
    bench, _ = executed_by_the_master()
    bench.reply(bench.take(RunSchemaChange, REPLICA_1), SchemaChanged(LOCK_WAIT))
    assert bench.state.nodes[REPLICA_1].state is NodeState.AWAY
    bench.pass_time(200)
    bench.flush()
    assert bench.nodes[REPLICA_1].schema == [CREATE]


def test_a_replica_that_refuses_what_the_master_executed_applies_nothing_more_and_is_set_aside() -> None:
    """When a commit quorum has executed it without that one, and so is right (divergence.py)."""
    bench, _ = executed_by_the_master()
    bench.reply(bench.take(RunSchemaChange, REPLICA_2), SchemaChanged(EXISTS))
    node = bench.state.nodes[REPLICA_2]
    assert node.dispute is not None
    assert EXISTS.message in node.dispute.evidence
    write = bench.write("row")
    bench.settle(slow=SLOW)
    assert isinstance(bench.answers[write], Acknowledge)
    assert node.state is NodeState.LEVEL, "whether it is wrong is not known yet"
    assert not bench.waiting(RunSchemaChange, REPLICA_2)
    bench.flush()
    assert node.state not in (NodeState.LEVEL, NodeState.QUARANTINED)
    assert not node.member
    assert bench.nodes[REPLICA_2].applied < bench.state.committed_timestamp
    assert {bench.nodes[name].applied for name in (MASTER, REPLICA_1, REPLICA_3)} == {bench.state.committed_timestamp}


# ---------------------------------------------------------------------------------------------- failed


def test_a_change_that_mysql_refuses_is_answered_so_when_that_is_committed_and_nobody_executes_it() -> None:
    bench, change = being_executed()
    bench.reply(bench.take(RunSchemaChange, MASTER), SchemaChanged(EXISTS))
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    for name in (REPLICA_1, REPLICA_2):
        assert change not in bench.answers
        bench.do(StoreRows, name)
    bench.do(CommitBatch, MASTER)
    answer = bench.answers[change]
    assert isinstance(answer, Refuse)
    assert (answer.error, answer.master) == (EXISTS, MASTER)
    outcome = last_change(bench)
    assert outcome is not None
    assert outcome.step is ChangeStep.FAILED
    bench.flush(slow=SLOW)
    assert not bench.waiting(RunSchemaChange)
    assert {bench.nodes[name].applied for name in NAMES} == {bench.state.committed_timestamp}


def test_a_change_that_the_master_cannot_make_just_now_fails_as_not_committed_and_nobody_executes_it() -> None:
    bench, change = being_executed()
    bench.reply(bench.take(RunSchemaChange, MASTER), SchemaChanged(LOCK_WAIT))
    bench.flush(slow=SLOW)
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert (answer.committed, answer.disturbance) == (False, LOCK_WAIT)
    assert not bench.waiting(RunSchemaChange)
    again = bench.change_schema(CREATE)
    bench.flush()
    assert isinstance(bench.answers[again], Acknowledge)


# ---------------------------------------------------------------------------------------------- deadlines


def test_a_change_whose_deadline_passes_before_it_begins_is_never_made() -> None:
    bench = serving_bench()
    bench.write("row", deadline_ms=90_000)
    change = bench.change_schema(CREATE)
    bench.pass_time(60_001)
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert answer.committed is False
    bench.election()
    bench.flush()
    assert schemas(bench) == everywhere()


def test_a_change_whose_deadline_passes_while_it_is_executed_is_unknown_and_goes_on() -> None:
    bench, change = being_executed()
    for _ in range(610):
        bench.pass_time(100)
        bench.settle(slow=SLOW)
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    assert bench.state.epoch == bench.nodes[MASTER].epoch == 1, "a slow change is no failure"
    bench.flush()  # the bench refuses a second answer
    bench.flush()
    assert schemas(bench) == everywhere(CREATE)


def test_a_long_change_keeps_nobody_busy() -> None:
    """Neither on the master nor on a replica is there a moment in the past that the loop would wake up for again and again."""
    for begin in (being_executed, executed_by_the_master):
        bench, _ = begin()
        bench.change_schema("CREATE TABLE later")
        bench.write("row", deadline_ms=90_000)
        steps = 0
        until_ns = bench.now_ns + 10_000 * MILLISECOND_NS
        while bench.now_ns < until_ns:
            bench.settle(slow=SLOW)
            wake_at_ns = bench.replicator.wake_at_ns
            assert wake_at_ns is not None
            bench.pass_time(max(1.0, (wake_at_ns - bench.now_ns) / MILLISECOND_NS))
            steps += 1
        assert steps < 100


# ---------------------------------------------------------------------------------------------- beside it


def switch_over(bench: Bench, target: str) -> list[SwitchoverEnded]:
    return [each for each in bench.step(SwitchoverRequested(target)) if isinstance(each, SwitchoverEnded)]


def test_a_switchover_is_refused_while_a_change_is_under_way() -> None:
    bench = serving_bench()
    bench.change_schema(CREATE)
    while bench.state.schema_in_flux:
        (ended,) = switch_over(bench, REPLICA_1)
        assert not ended.done
        assert "schema change" in ended.reason
        bench.do(type(bench.sent[0]), bench.sent[0].node)
    bench.flush()
    assert switch_over(bench, REPLICA_1) == []
    bench.election()
    assert bench.master == REPLICA_1


def test_a_change_that_comes_during_a_switchover_waits_for_its_end() -> None:
    bench = serving_bench()
    bench.write("row")
    assert switch_over(bench, REPLICA_1) == []
    change, write = bench.change_schema(CREATE), bench.write("behind")
    bench.commit_batch()
    assert not bench.waiting(ExecuteBatch)
    bench.election()
    bench.flush()
    assert bench.master == REPLICA_1
    for each in (change, write):
        answer = bench.answers[each]
        assert isinstance(answer, Acknowledge)
        assert answer.master == REPLICA_1
    assert schemas(bench) == everywhere(CREATE)


def test_the_log_is_not_truncated_while_a_change_is_open() -> None:
    settings = ReplicationSettings(log_bytes_max=1, log_check_ns=100 * MILLISECOND_NS)
    bench, _ = being_executed(settings)
    begin = bench.state.master_progress.log_begin
    for _ in range(20):
        bench.pass_time(100)
        bench.settle(slow=SLOW)
    assert {node.log_base.position for node in bench.nodes.values()} == {begin}
    bench.flush()
    for _ in range(20):
        bench.pass_time(100)
        bench.settle()
    assert all(node.log_base.position > begin for node in bench.nodes.values())


def test_a_measure_of_the_log_that_comes_after_the_intent_cuts_nothing() -> None:
    settings = ReplicationSettings(log_bytes_max=1, log_check_ns=100 * MILLISECOND_NS)
    bench = serving_bench(settings)
    bench.write("row")
    bench.flush()
    bench.pass_time(200)
    measure = bench.take(MeasureLog, MASTER)
    bench.change_schema(CREATE)
    bench.commit_batch()
    begin = bench.state.master_progress.log_begin
    bench.reply(measure, bench.at_node(measure))
    bench.settle(slow=SLOW)
    assert {node.log_base.position for node in bench.nodes.values()} == {begin}


def test_a_write_that_was_judged_by_an_older_schema_is_sent_back_and_not_executed() -> None:
    bench = serving_bench()
    version = bench.state.schema_version
    change = bench.change_schema(CREATE)
    old, free = bench.write("old", schema_version=version), bench.write("free")
    bench.commit_batch()
    new = bench.write("new", schema_version=bench.state.schema_version)
    assert bench.state.schema_version > version
    bench.flush()
    assert isinstance(bench.answers[change], Acknowledge)
    assert bench.answers[old] == Stale(old)
    assert isinstance(bench.answers[free], Acknowledge)
    assert isinstance(bench.answers[new], Acknowledge)
    assert [entry.sql for entry in bench.nodes[MASTER].data] == ["free", "new"]


def test_a_write_that_was_found_mergeable_by_another_schema_is_executed_by_itself() -> None:
    bench = serving_bench()
    version = bench.state.schema_version
    bench.write("first")
    bench.write("INSERT (1)", row_at=7, row_schema=version)
    bench.write("INSERT (2)", row_at=7, row_schema=version - 1)
    bench.flush()
    logged = [entry for row in bench.state.window.after(0, 1_000_000) for entry in batch_of(row).entries]
    assert [entry.row_at for entry in logged] == [0, 7, 0]


def test_a_new_epoch_is_another_schema_version_too() -> None:
    """Another coordinator may have changed the schema in between."""
    bench = serving_bench()
    version = bench.state.schema_version
    bench.write("first")
    write = bench.write("row", schema_version=version)
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    assert bench.answers[write] == Stale(write)


# ---------------------------------------------------------------------------------------------- reads


def leave(bench: Bench) -> ReadAllowed:
    read = bench.read()
    for name in NAMES:
        if bench.waiting(ConfirmEpoch, name):
            bench.do(ConfirmEpoch, name)
    answer = bench.reads[read]
    assert isinstance(answer, ReadAllowed)
    return answer


def test_while_the_master_changes_the_schema_only_the_master_is_read_at() -> None:
    bench, _ = being_executed()
    bench.flush(slow=SLOW)
    assert all(node.applied_timestamp == bench.state.committed_timestamp for node in bench.state.replicas)
    bench.state.master_progress.read_latency_ns = 1e9
    assert {leave(bench).node for _ in range(5)} == {MASTER}
    bench.do(RunSchemaChange, MASTER)
    assert {leave(bench).node for _ in range(5)} == {MASTER}, "its outcome is not committed yet"
    bench.flush()
    bench.flush()
    assert leave(bench).node != MASTER


@pytest.mark.parametrize("outcome", [(Executed(0, 0),), EXISTS])
def test_a_replica_is_read_at_only_when_it_has_applied_the_outcome(outcome: Outcome) -> None:
    bench, _ = being_executed()
    change = bench.take(RunSchemaChange, MASTER)
    if isinstance(outcome, tuple):
        bench.at_node(change)
    bench.reply(change, SchemaChanged(outcome))
    bench.settle(slow=SLOW)
    bench.state.master_progress.read_latency_ns = 1e9
    assert leave(bench).node == MASTER
    bench.flush(slow=SLOW)
    assert (leave(bench).node == MASTER) is isinstance(outcome, tuple)
    bench.flush()
    assert leave(bench).node != MASTER
