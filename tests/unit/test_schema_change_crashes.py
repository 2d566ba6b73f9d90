"""Schema changes and everything that dies in their middle: made once, by whoever is left (schema_changes.py, the hard case)."""

import msgspec
from replicator_bench import MASTER, REPLICA_1, REPLICA_2, REPLICA_3, Bench, row_after, serving_bench
from test_schema_change_rules import (
    CREATE,
    EXISTS,
    LOCK_WAIT,
    SLOW,
    being_executed,
    everywhere,
    executed_by_the_master,
    schemas,
)

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
    ReadLog,
    ReadPositions,
    RunSchemaChange,
    StoreRows,
)
from replication.log import Batch, ChangeStep, SchemaChange, batch_of, next_row
from replication.progress import NodeState
from replication.replies import EpochSeen, LogRead, PositionsRead, SchemaChanged
from replication.state import MILLISECOND_NS, Phase, ReplicationSettings

LEFT = (REPLICA_1, REPLICA_2, REPLICA_3)


def steps_in_log(bench: Bench, name: str) -> list[ChangeStep]:
    """Of the changes' rows in a node's log, in order."""
    changes = (batch_of(row).change for row in bench.nodes[name].log)
    return [change.step for change in changes if change is not None]


def made_by_all_that_are_left(bench: Bench, change: int) -> None:
    """Answered, and made once on each of the replicas."""
    bench.election(without=(MASTER,))
    bench.flush(without=(MASTER,))
    assert isinstance(bench.answers[change], Acknowledge)
    assert {name: bench.nodes[name].schema for name in LEFT} == everywhere(CREATE, names=LEFT)


def the_old_master_comes_back(bench: Bench) -> None:
    bench.pass_time(1_000)
    bench.election()
    bench.flush()
    assert schemas(bench) == everywhere(CREATE)
    logs = [node.log for node in bench.nodes.values()]
    assert all(log == logs[0] for log in logs)


def intent_under_way() -> tuple[Bench, int]:
    """The row of the intent is sent to everybody."""
    bench, change = being_executed()
    bench.flush()
    bench.flush()
    second = bench.change_schema("CREATE TABLE two")
    bench.do(ExecuteBatch, MASTER)
    assert isinstance(bench.answers[change], Acknowledge)
    return bench, second


# ---------------------------------------------------------------------------------------------- the master dies


def test_an_intent_that_the_master_left_in_the_others_log_is_taken_on_and_answered() -> None:
    bench, change = intent_under_way()
    bench.do(StoreRows, REPLICA_1)
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    bench.flush(without=(MASTER,))
    assert isinstance(bench.answers[change], Acknowledge)
    assert {name: bench.nodes[name].schema for name in LEFT} == everywhere(CREATE, "CREATE TABLE two", names=LEFT)
    assert steps_in_log(bench, bench.master) == [ChangeStep.INTENT, ChangeStep.DONE] * 2


def test_an_intent_that_is_in_nobody_s_log_is_written_again() -> None:
    bench, change = intent_under_way()
    old = bench.state.window.end.position
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]  # lost on the way
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    bench.flush(without=(MASTER,))
    assert isinstance(bench.answers[change], Acknowledge)
    assert all(row.position != old for row in bench.nodes[bench.master].log)
    assert steps_in_log(bench, bench.master) == [ChangeStep.INTENT, ChangeStep.DONE] * 2


def test_a_change_is_begun_anew_by_the_next_master_when_the_first_one_dies_in_its_middle() -> None:
    bench, change = being_executed()
    bench.crash(MASTER)
    made_by_all_that_are_left(bench, change)
    the_old_master_comes_back(bench)


def test_a_master_that_died_after_it_had_made_the_change_does_not_make_it_twice() -> None:
    bench, change = being_executed()
    bench.at_node(bench.waiting(RunSchemaChange, MASTER)[0])
    bench.crash(MASTER)
    assert bench.nodes[MASTER].schema == [CREATE]
    made_by_all_that_are_left(bench, change)
    bench.pass_time(1_000)
    bench.do(Fence, MASTER)
    bench.flush(slow=SLOW)
    assert not bench.waiting(RunSchemaChange, MASTER)
    the_old_master_comes_back(bench)


def test_a_master_that_is_elected_again_is_asked_and_answers_from_its_mark() -> None:
    bench, change = being_executed()
    bench.do_and_lose_the_answer(RunSchemaChange, MASTER)
    while not bench.waiting(RunSchemaChange):
        bench.election(slow=SLOW)
    (again,) = bench.waiting(RunSchemaChange)
    bench.do(RunSchemaChange, again.node)
    bench.flush()
    bench.flush()
    assert isinstance(bench.answers[change], Acknowledge)
    assert schemas(bench) == everywhere(CREATE)


def outcome_under_way() -> tuple[Bench, int]:
    bench, change = being_executed()
    bench.do(RunSchemaChange, MASTER)
    bench.do(ExecuteBatch, MASTER)
    return bench, change


def test_an_outcome_that_survived_its_master_is_answered_and_everybody_executes_the_change() -> None:
    bench, change = outcome_under_way()
    end = bench.state.window.end.position
    bench.do(StoreRows, REPLICA_2)
    bench.crash(MASTER)
    made_by_all_that_are_left(bench, change)
    answer = bench.answers[change]
    assert isinstance(answer, Acknowledge)
    assert answer.timestamp == end.timestamp
    assert steps_in_log(bench, REPLICA_1) == [ChangeStep.INTENT, ChangeStep.DONE]
    the_old_master_comes_back(bench)


def test_an_outcome_that_is_in_nobody_s_log_is_found_out_again() -> None:
    bench, change = outcome_under_way()
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]  # lost on the way
    bench.crash(MASTER)
    made_by_all_that_are_left(bench, change)
    assert steps_in_log(bench, REPLICA_1) == [ChangeStep.INTENT, ChangeStep.DONE]
    the_old_master_comes_back(bench)


def test_an_outcome_whose_commit_was_not_heard_of_is_answered_once() -> None:
    bench, change = outcome_under_way()
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    bench.do_and_lose_the_answer(CommitBatch, MASTER)
    assert change not in bench.answers
    bench.election()
    bench.flush()
    assert isinstance(bench.answers[change], Acknowledge)
    assert schemas(bench) == everywhere(CREATE)


def test_a_new_master_serves_only_when_it_has_executed_the_changes_whose_outcomes_it_applies() -> None:
    bench, change = executed_by_the_master()
    bench.write("behind")
    bench.crash(MASTER)
    for _ in range(5):
        bench.pass_time(100)
        bench.settle(without=(MASTER,), slow=SLOW)
    assert bench.state.phase is Phase.ELECTING
    assert bench.waiting(RunSchemaChange, bench.master)
    made_by_all_that_are_left(bench, change)


def test_a_change_that_was_waited_for_on_a_replica_is_not_forgotten_by_an_election() -> None:
    bench, change = executed_by_the_master()
    late = bench.take(RunSchemaChange, REPLICA_3)
    bench.write("behind")
    bench.crash(MASTER)
    made_by_all_that_are_left(bench, change)
    bench.reply(late, SchemaChanged(EXISTS))
    assert bench.state.nodes[REPLICA_3].state is NodeState.LEVEL, "an answer of an older epoch means nothing"


# ---------------------------------------------------------------------------------------------- adopted and disturbed


def adopted() -> tuple[Bench, int]:
    """The master died while it executed the change; the next one is just told to."""
    bench, change = being_executed()
    bench.crash(MASTER)
    bench.election(without=(MASTER,), slow=SLOW)
    assert bench.serving
    return bench, change


def test_an_adopted_change_that_the_master_cannot_make_just_now_is_never_said_to_have_failed() -> None:
    """The old master may have made it: so another one is elected that can."""
    bench, change = adopted()
    unable = bench.master
    bench.reply(bench.take(RunSchemaChange, unable), SchemaChanged(LOCK_WAIT))
    assert not bench.serving
    assert change not in bench.answers
    bench.pass_time(300)
    bench.election(without=(MASTER,))
    bench.flush(without=(MASTER,))
    assert bench.master != unable
    assert isinstance(bench.answers[change], Acknowledge)
    assert steps_in_log(bench, bench.master) == [ChangeStep.INTENT, ChangeStep.DONE]
    the_old_master_comes_back(bench)


def test_an_adopted_change_that_cannot_be_made_fails_once_all_nodes_say_that_they_have_not_made_it() -> None:
    """Or a change that no disk has room for would keep the cluster from writing for good."""
    bench, change = adopted()
    bench.pass_time(1_000)
    bench.settle(slow=SLOW)
    assert bench.state.nodes[MASTER].fenced
    assert not bench.nodes[MASTER].schema
    bench.reply(bench.take(RunSchemaChange, bench.master), SchemaChanged(LOCK_WAIT))
    bench.flush()
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert (answer.committed, answer.disturbance) == (False, LOCK_WAIT)
    assert steps_in_log(bench, MASTER) == [ChangeStep.INTENT, ChangeStep.FAILED]
    assert schemas(bench) == everywhere()


def test_a_node_that_made_a_change_which_is_said_to_have_failed_gets_another_s_data() -> None:
    """It cannot be, as long as MySQL's word is the same on all; if it is, that node's data is not what the log says."""
    bench, _ = being_executed()
    bench.nodes[MASTER].mark = (bench.state.window.end.open_change, 0)
    bench.nodes[MASTER].schema.append(CREATE)
    bench.crash(MASTER)
    bench.election(without=(MASTER,), slow=SLOW)
    bench.reply(bench.take(RunSchemaChange, bench.master), SchemaChanged(EXISTS))
    bench.flush(without=(MASTER,), slow=SLOW)
    bench.pass_time(1_000)
    bench.flush(slow=SLOW)
    assert not bench.state.nodes[MASTER].member
    assert bench.state.nodes[MASTER].state is NodeState.COPYING


def test_an_adopted_change_that_mysql_refuses_has_failed() -> None:
    """Its word is the same wherever the rows are: nobody can have made it."""
    bench, change = adopted()
    bench.reply(bench.take(RunSchemaChange, bench.master), SchemaChanged(EXISTS))
    bench.flush(without=(MASTER,), slow=SLOW)
    assert change in bench.answers
    assert steps_in_log(bench, bench.master) == [ChangeStep.INTENT, ChangeStep.FAILED]
    assert not bench.waiting(RunSchemaChange)


def test_what_an_older_epoch_s_master_says_of_a_change_means_nothing() -> None:
    bench, change = being_executed()
    late = bench.take(RunSchemaChange, MASTER)
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, MASTER)
    bench.election(without=(MASTER,), slow=SLOW)
    bench.reply(late, SchemaChanged(EXISTS))
    assert change not in bench.answers
    made_by_all_that_are_left(bench, change)


# ---------------------------------------------------------------------------------------------- reads


def test_nobody_is_read_at_while_a_new_master_has_not_executed_what_the_old_one_may_have_shown() -> None:
    bench, _ = adopted()
    read = bench.read()
    for _ in range(5):
        bench.pass_time(100)
        bench.settle(without=(MASTER,), slow=SLOW)
    assert read not in bench.reads
    bench.settle(without=(MASTER,))
    bench.pass_time(100)
    bench.settle(without=(MASTER,))
    answer = bench.reads[read]
    assert isinstance(answer, ReadAllowed)
    assert bench.nodes[answer.node].schema == [CREATE]


# ---------------------------------------------------------------------------------------------- coordinators


def successor(bench: Bench) -> Bench:
    """The coordinator died; another one starts."""
    other = Bench(bench.nodes, owner="coordinator-2")
    other.pass_time(0)
    return other


def question_about_the_intent(bench: Bench) -> ReadLog:
    """Let it elect; its master is just being asked what is open."""
    for _ in range(1_000):
        if bench.serving and bench.waiting(ReadLog, bench.master):
            return bench.waiting(ReadLog, bench.master)[0]
        if bench.sent:
            bench.do(type(bench.sent[0]), bench.sent[0].node)
        else:
            bench.pass_time(100)
    raise AssertionError("it does not ask")


def test_a_coordinator_that_starts_executes_an_open_change_before_any_write_and_any_read() -> None:
    bench, change = being_executed()
    other = successor(bench)
    write, read = other.write("row"), other.read()
    asked = question_about_the_intent(other)
    intent = bench.waiting(RunSchemaChange, MASTER)[0]
    assert other.do(ReadLog, MASTER) is asked
    assert asked.after_timestamp == intent.intent_timestamp - 1
    command = other.waiting(RunSchemaChange, MASTER)[0]
    assert (command.intent_timestamp, command.now_us, command.sql) == (
        intent.intent_timestamp,
        intent.now_us,
        intent.sql,
    )
    for _ in range(5):
        other.pass_time(100)
        other.settle(slow=SLOW)
    assert not other.answers
    assert not other.reads
    other.settle()
    other.pass_time(100)
    other.flush()
    assert isinstance(other.answers[write], Acknowledge)
    assert isinstance(other.reads[read], ReadAllowed)
    assert schemas(other) == everywhere(CREATE)
    assert change not in bench.answers


def test_an_open_intent_that_is_not_where_it_should_be_is_damage_of_that_node_s_log() -> None:
    bench, _ = being_executed()
    other = successor(bench)
    question_about_the_intent(other)
    asked = other.take(ReadLog, MASTER)
    reply = bench.at_node(asked)
    assert isinstance(reply, LogRead)
    noop = row_after(reply.before, 1)
    other.reply(asked, LogRead((noop,), reply.before))
    assert other.state.nodes[MASTER].state is NodeState.QUARANTINED
    other.election()
    other.flush()
    assert {name: other.nodes[name].schema for name in LEFT} == everywhere(CREATE, names=LEFT)


def test_a_look_for_the_open_intent_that_is_not_answered_makes_another_master_look() -> None:
    bench, _ = being_executed()
    other = successor(bench)
    question_about_the_intent(other)
    other.lose(ReadLog, MASTER)
    assert not other.serving
    other.pass_time(300)
    other.election()
    other.flush()
    other.flush()
    assert schemas(other) == everywhere(CREATE)


def deposed(bench: Bench) -> None:
    for name in (REPLICA_1, REPLICA_2):
        if not bench.waiting(ConfirmEpoch, name):
            bench.pass_time(300)
        bench.reply(bench.take(ConfirmEpoch, name), EpochSeen(9, "coordinator-2"))
    assert bench.state.phase is Phase.DEPOSED


def test_a_deposed_coordinator_says_unknown_of_the_change_under_way_and_refuses_those_that_wait() -> None:
    bench, change = being_executed()
    waiting = bench.change_schema("CREATE TABLE two")
    deposed(bench)
    later = bench.change_schema("CREATE TABLE three")
    answers = [bench.answers[each] for each in (change, waiting, later)]
    assert [answer.committed for answer in answers if isinstance(answer, Fail)] == [None, False, False]
    bench.reply(bench.take(RunSchemaChange, MASTER), SchemaChanged(EXISTS))
    assert not bench.waiting(ExecuteBatch)
    assert bench.replicator.wake_at_ns is None


def test_a_change_that_another_coordinator_brought_to_its_end_meanwhile_is_unknown() -> None:
    bench, change = being_executed()
    bench.crash(MASTER)
    bench.sent.clear()
    other = successor(bench)
    other.election()
    other.flush()
    assert schemas(other) == everywhere(CREATE)
    # the other one dies, and this one, which heard of nothing, elects above it
    bench.state.epoch_seen = other.state.epoch
    bench.replicator.election.begin("by hand", above_all=True)
    bench.pass_time(100)
    bench.election()
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    assert not bench.state.schema_in_flux
    assert schemas(bench) == everywhere(CREATE)


# ---------------------------------------------------------------------------------------------- the log


def test_the_log_is_not_even_measured_before_an_open_change_that_it_names_is_taken_on() -> None:
    """Another coordinator left the change; ours has to find out first what became of its own held write."""
    bench = serving_bench(ReplicationSettings(log_bytes_max=1, log_check_ns=100 * MILLISECOND_NS))
    bench.write("held")
    bench.do(ExecuteBatch, MASTER)
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]
    bench.crash(MASTER)
    for name in LEFT:
        node = bench.nodes[name]
        place = node.log_end.position.timestamp + 100
        intent = SchemaChange(ChangeStep.INTENT, place, 0, CREATE)
        node.log.append(next_row(node.log_end, 1, Batch(0, (), intent), place))
    for _ in range(10):
        bench.pass_time(100)
        bench.settle(without=(MASTER,), slow=(ReadPositions, MeasureLog))
    assert bench.serving
    assert bench.waiting(ReadPositions, bench.master), "the held write's fate is being read"
    assert not bench.waiting(MeasureLog)


def test_an_intent_whose_fate_cannot_be_read_any_more_is_unknown_and_not_written_again() -> None:
    """Another coordinator served for long meanwhile, and its log was truncated."""
    bench, change = intent_under_way()
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]
    bench.crash(MASTER)
    for _ in range(10):
        bench.pass_time(100)
        bench.settle(without=(MASTER,), slow=(ReadPositions, *SLOW))
    asked = bench.take(ReadPositions, bench.master)
    begin = msgspec.structs.replace(bench.state.window.end.position, timestamp=1 << 40)
    bench.reply(asked, PositionsRead((), log_begin=begin))
    answer = bench.answers[change]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    assert not bench.replicator.writes.changes.pending
