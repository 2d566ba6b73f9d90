"""The write path step by step (design section 4; PigPaxos and Cabinet: wait for enough, not for the chosen ones)."""

import msgspec
import pytest
from replicator_bench import DEADLINE_MS, MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import (
    Acknowledge,
    CommitBatch,
    ConfirmEpoch,
    ExecuteBatch,
    Fail,
    PrepareRow,
    ReadPositions,
    Refuse,
    RollBackBatch,
    StoreRows,
)
from replication.events import AdviceArrived, SwitchoverRequested
from replication.log import EMPTY_LOG_END, Position, batch_of, end_after
from replication.replies import BatchCommitted, BatchExecuted, EpochSeen, Misplaced, PositionsRead
from replication.state import Phase, ReplicationSettings
from replication.values import Disturbed, Executed, Rejected, RequestStatement

LOCK_WAIT = Disturbed(1205, "HY000", "Lock wait timeout exceeded")


def executed_write(sql: str = "row") -> tuple[Bench, int]:
    """A write that the master executed; its row is under way to all nodes."""
    bench = serving_bench()
    write = bench.write(sql)
    bench.do(ExecuteBatch, MASTER)
    return bench, write


def prepared_write(sql: str = "row") -> tuple[Bench, int]:
    """A write whose row is prepared on the master and under way to the replicas."""
    bench, write = executed_write(sql)
    bench.do(PrepareRow, MASTER)
    return bench, write


# ---------------------------------------------------------------------------------------------- commit


def test_a_write_acked_by_one_replica_is_not_committed() -> None:
    bench, write = prepared_write()
    bench.do(StoreRows, REPLICA_1)
    assert not bench.waiting(CommitBatch)
    assert write not in bench.answers
    assert bench.state.committed_timestamp < bench.state.window.end.position.timestamp


def test_the_master_commits_when_two_replicas_have_the_row_and_only_then_is_the_write_answered() -> None:
    bench, write = prepared_write()
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_3)
    assert [effect.node for effect in bench.waiting(CommitBatch)] == [MASTER]
    assert write not in bench.answers, "the master's own disk counts too"
    bench.do(CommitBatch, MASTER)
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    assert (answer.master, answer.quorum, answer.quorum_size) == (MASTER, (REPLICA_1, REPLICA_3), 2)
    entry = bench.nodes[MASTER].data[-1]
    assert (answer.timestamp, answer.results) == (entry.timestamp, (Executed(1, entry.insert_id),))


def test_the_master_does_not_commit_a_row_that_is_not_prepared_on_it() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    for node in (REPLICA_1, REPLICA_2, REPLICA_3):
        bench.do(StoreRows, node)
    assert not bench.waiting(CommitBatch)
    bench.do(PrepareRow, MASTER)
    assert bench.waiting(CommitBatch, MASTER)


def test_a_slow_replica_outside_the_quorum_does_not_hold_a_write_back() -> None:
    bench = serving_bench()
    for number in range(20):
        write = bench.write(f"row {number}")
        bench.settle(without=(REPLICA_3,))
        assert isinstance(bench.answers[write], Acknowledge)
    assert len(bench.waiting(StoreRows, REPLICA_3)) == 1, "a slow node gets fewer, larger commands"
    bench.do(StoreRows, REPLICA_3)
    assert len(bench.waiting(StoreRows, REPLICA_3)[0].append) == 19


@pytest.mark.parametrize("slow", [REPLICA_1, REPLICA_2, REPLICA_3])
def test_a_replica_that_cabinet_chose_and_that_turns_slow_is_not_waited_for(slow: str) -> None:
    bench = serving_bench()
    chosen = (slow, REPLICA_2 if slow != REPLICA_2 else REPLICA_1)
    bench.step(AdviceArrived(quorum=chosen, ranking=()))
    write = bench.write("row")
    bench.settle(without=(slow,))
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    assert slow not in answer.quorum


def test_the_rows_go_to_the_replicas_before_the_master_prepares_in_the_order_of_cabinet_s_choice() -> None:
    bench = serving_bench()
    bench.step(AdviceArrived(quorum=(REPLICA_3, REPLICA_1), ranking=()))
    bench.write("row")
    bench.do(ExecuteBatch, MASTER)
    assert [effect.node for effect in bench.sent] == [REPLICA_3, REPLICA_1, REPLICA_2, MASTER]


def test_a_replica_appends_before_the_commit_and_applies_along_with_the_next_row() -> None:
    bench = serving_bench()
    first, second = bench.write("row 1"), bench.write("row 2")
    bench.do(ExecuteBatch, MASTER)
    stored = bench.do(StoreRows, REPLICA_1)
    assert [row.position for row in stored.append] == [bench.state.window.end.position]
    assert not stored.apply
    bench.do(StoreRows, REPLICA_2)
    bench.do(PrepareRow, MASTER)
    bench.do(CommitBatch, MASTER)
    assert first in bench.answers
    bench.do(ExecuteBatch, MASTER)
    next_stored = bench.do(StoreRows, REPLICA_1)
    assert [row for row, _ in next_stored.apply] == list(stored.append)
    assert [entry.sql for entry in bench.nodes[REPLICA_1].data] == ["row 1"]
    assert second not in bench.answers


# ---------------------------------------------------------------------------------------------- requests of several statements


def several(*keys: str) -> list[RequestStatement]:
    """A key that begins with "read" is read."""
    return [RequestStatement(key, inserts=True, is_read=key.startswith("read")) for key in keys]


def test_the_statements_of_a_request_are_entries_of_one_timestamp_and_a_read_is_none() -> None:
    bench = serving_bench()
    request = bench.request(*several("row 1", "read", "row 2"))
    bench.settle()
    answer = bench.answers[request]
    assert isinstance(answer, Acknowledge)
    entries = [(entry.timestamp, entry.sql) for entry in batch_of(bench.nodes[MASTER].log[-1]).entries]
    assert entries == [(answer.timestamp, "row 1"), (answer.timestamp, "row 2")]
    one, read, other = answer.results
    assert (one.rows_affected, other.rows_affected) == (1, 1)
    assert read.found is not None
    assert read.found.rows[-1] == ("row 1",)


def test_of_a_request_with_a_statement_that_is_refused_nothing_is_in_the_log() -> None:
    bench = serving_bench()
    bench.write("first")
    bench.commit_batch()
    refused = bench.request(*several("row 1", "bad", "row 2"))
    beside = bench.request(*several("row 1"))
    bench.settle()
    answer = bench.answers[refused]
    assert isinstance(answer, Refuse)
    assert answer.error.statement == 1
    assert isinstance(bench.answers[beside], Acknowledge)
    assert [entry.sql for entry in batch_of(bench.nodes[MASTER].log[-1]).entries] == ["row 1"]


def test_a_held_request_of_several_statements_is_answered_with_all_its_results() -> None:
    bench = serving_bench()
    request = bench.request(*several("row 1", "row 2"))
    for kind, name in ((ExecuteBatch, MASTER), (StoreRows, REPLICA_1), (StoreRows, REPLICA_2), (PrepareRow, MASTER)):
        bench.do(kind, name)
    bench.do_and_lose_the_answer(CommitBatch, MASTER)
    bench.settle()
    answer = bench.answers[request]
    assert isinstance(answer, Acknowledge)
    assert len(answer.results) == 2
    assert [entry.sql for entry in bench.nodes[bench.master].data] == ["row 1", "row 2"]


def test_a_request_takes_the_room_of_its_statements_and_a_large_one_goes_alone() -> None:
    bench = serving_bench(ReplicationSettings(batch_statements_max=3))
    bench.write("first")
    sizes = (2, 1, 1, 7, 1)
    for number, size in enumerate(sizes):
        bench.request(*several(*(f"row {number} {place}" for place in range(size))))
    batches = []
    bench.commit_batch()
    while bench.waiting(ExecuteBatch):
        effect = bench.waiting(ExecuteBatch)[0]
        batches.append([len(request.statements) for _, request in effect.requests])
        bench.commit_batch()
    assert batches == [[2, 1], [1], [7], [1]]


# ---------------------------------------------------------------------------------------------- batches


def test_writes_that_arrive_while_a_batch_is_under_way_form_the_next_one() -> None:
    bench = serving_bench()
    bench.write("first")
    later = [bench.write(f"later {number}") for number in range(5)]
    bench.commit_batch()
    batch = bench.take(ExecuteBatch, MASTER)
    assert [request.request_id for _, request in batch.requests] == later


# ---------------------------------------------------------------------------------------------- behind the COMMIT


def committing(*later: str, settings: ReplicationSettings | None = None) -> tuple[Bench, int, list[int]]:
    """The master is told to commit the first write while these wait."""
    bench = serving_bench(settings)
    first = bench.write("first")
    waiting = [bench.write(sql) for sql in later]
    for kind, node in ((ExecuteBatch, MASTER), (PrepareRow, MASTER), (StoreRows, REPLICA_1), (StoreRows, REPLICA_2)):
        bench.do(kind, node)
    return bench, first, waiting


def kept(bench: Bench) -> list[list[str]]:
    """What each node has in the end."""
    bench.flush()
    return [[entry.sql for entry in bench.nodes[name].data] for name in NAMES]


def assert_each_is_run_once_after_an_election(bench: Bench, first: int, second: int) -> None:
    bench.election()
    bench.settle()
    assert isinstance(bench.answers[first], Acknowledge)
    assert isinstance(bench.answers[second], Acknowledge)
    assert kept(bench) == [["first", "second"]] * 4


def test_what_waits_is_sent_to_the_master_right_behind_the_commit_and_runs_on_what_was_committed() -> None:
    bench, first, (second, third) = committing("second", "third")
    assert [type(effect) for effect in bench.sent if effect.node == MASTER] == [CommitBatch, ExecuteBatch]
    (sent,) = bench.waiting(ExecuteBatch)
    assert [request.request_id for _, request in sent.requests] == [second, third]
    assert sent.previous == bench.state.window.end.position
    assert not bench.answers
    bench.do(CommitBatch, MASTER)
    assert list(bench.answers) == [first]
    assert bench.waiting(ExecuteBatch) == [sent], "it is not sent twice"
    bench.settle()
    answers = [bench.answers[write] for write in (first, second, third)]
    assert [type(answer) for answer in answers] == [Acknowledge] * 3
    assert kept(bench) == [["first", "second", "third"]] * 4


def test_a_write_that_arrives_during_the_commit_waits_for_its_end() -> None:
    """A batch of the few that come by then would be small, and all others would wait for it."""
    bench, _, _ = committing()
    bench.write("late")
    assert not bench.waiting(ExecuteBatch)
    bench.do(CommitBatch, MASTER)
    assert bench.waiting(ExecuteBatch)


def test_what_was_sent_behind_a_commit_that_fails_is_run_once_by_the_next_master() -> None:
    bench, first, (second,) = committing("second")
    bench.crash(MASTER)
    assert bench.replicator.writes.next is None
    bench.election(without=(MASTER,))
    bench.settle(without=(MASTER,))
    assert isinstance(bench.answers[first], Acknowledge)
    answer = bench.answers[second]
    assert isinstance(answer, Acknowledge)
    assert answer.master != MASTER
    assert kept(bench)[1:] == [["first", "second"]] * 3


def test_what_ran_behind_a_commit_whose_answer_was_lost_is_run_once() -> None:
    bench, first, (second,) = committing("second")
    bench.at_node(bench.waiting(CommitBatch)[0])
    bench.at_node(bench.waiting(ExecuteBatch)[0])
    commit, executed = bench.take(CommitBatch, MASTER), bench.take(ExecuteBatch, MASTER)
    bench.fail(commit)
    bench.fail(executed)
    assert_each_is_run_once_after_an_election(bench, first, second)


def test_what_could_not_be_sent_behind_a_commit_costs_the_master_its_place_and_is_run_once() -> None:
    """The commit's own answer comes later, and is of an epoch that is over."""
    bench, first, (second,) = committing("second")
    commit = bench.take(CommitBatch, MASTER)
    bench.at_node(commit)
    bench.lose(ExecuteBatch, MASTER)
    assert not bench.serving
    bench.reply(commit, BatchCommitted())
    assert_each_is_run_once_after_an_election(bench, first, second)


def test_nothing_is_sent_behind_a_commit_where_a_schema_change_waits_or_a_switchover() -> None:
    bench = serving_bench()
    bench.write("first")
    bench.write("second")
    bench.change_schema("CREATE TABLE t (id INT PRIMARY KEY)")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    assert bench.waiting(CommitBatch)
    assert not bench.waiting(ExecuteBatch)

    bench = serving_bench()
    bench.write("first")
    bench.write("second")
    bench.do(ExecuteBatch, MASTER)
    bench.step(SwitchoverRequested(REPLICA_1))
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    assert bench.waiting(CommitBatch)
    assert not bench.waiting(ExecuteBatch)


def test_the_deadline_of_what_was_sent_behind_a_commit_is_kept() -> None:
    bench, first, (second,) = committing("second")
    bench.pass_time(DEADLINE_MS + 1)
    for write in (first, second):
        answer = bench.answers[write]
        assert isinstance(answer, Fail)
        assert answer.committed is None


def test_timestamps_grow_within_a_batch_and_from_batch_to_batch() -> None:
    bench = serving_bench()
    writes = bench.write_together("a", "b", "c")
    bench.commit_batch()
    timestamps = [answer.timestamp for answer in bench.answers.values() if isinstance(answer, Acknowledge)]
    assert len(timestamps) == len(writes) + 1
    assert timestamps == sorted(set(timestamps))


def test_a_batch_is_limited_by_requests_and_by_bytes_but_never_empty() -> None:
    bench = serving_bench(ReplicationSettings(batch_statements_max=3, batch_bytes_max=30))
    bench.write_together("x" * 50, "a", "b", "c", "d", "y" * 28, "zzzz")
    sizes = []
    while bench.waiting(ExecuteBatch):
        sizes.append([len(request.statements[0].sql) for _, request in bench.waiting(ExecuteBatch)[0].requests])
        bench.commit_batch()
    assert sizes == [[50], [1, 1, 1], [1, 28], [4]]


def test_a_refused_request_does_not_spoil_its_batch_mates() -> None:
    bench = serving_bench()
    good, bad, also_good = bench.write_together("good", "bad", "also good")
    bench.commit_batch()
    assert isinstance(bench.answers[good], Acknowledge)
    assert isinstance(bench.answers[also_good], Acknowledge)
    refusal = bench.answers[bad]
    assert isinstance(refusal, Refuse)
    assert refusal.error.errno == 1062
    assert [entry.sql for entry in bench.nodes[MASTER].data[-2:]] == ["good", "also good"]


def test_a_refusal_within_a_batch_is_told_only_when_the_batch_is_committed() -> None:
    bench = serving_bench()
    _, bad = bench.write_together("good", "bad")
    bench.do(ExecuteBatch, MASTER)
    bench.do(PrepareRow, MASTER)
    bench.do(StoreRows, REPLICA_1)
    assert bad not in bench.answers
    bench.do(StoreRows, REPLICA_2)
    bench.do(CommitBatch, MASTER)
    assert isinstance(bench.answers[bad], Refuse)


def test_an_all_refused_batch_is_rolled_back_and_answered_only_after_the_epoch_is_confirmed() -> None:
    bench = serving_bench()
    write = bench.write("bad")
    log_end = bench.state.window.end
    bench.do(ExecuteBatch, MASTER)
    bench.do(RollBackBatch, MASTER)
    assert write not in bench.answers, "a refusal is a read of the master's rows: is it still ours?"
    bench.do(ConfirmEpoch, MASTER)
    bench.do(ConfirmEpoch, REPLICA_1)
    assert write not in bench.answers
    bench.do(ConfirmEpoch, REPLICA_2)
    assert isinstance(bench.answers[write], Refuse)
    assert bench.state.window.end == log_end


def test_a_deposed_coordinator_does_not_tell_a_refusal_that_it_could_not_confirm() -> None:
    bench = serving_bench()
    write = bench.write("bad")
    bench.do(ExecuteBatch, MASTER)
    bench.do(RollBackBatch, MASTER)
    for name in (REPLICA_1, REPLICA_2):
        assert write not in bench.answers
        bench.reply(bench.take(ConfirmEpoch, name), EpochSeen(9, "coordinator-2"))
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is False


def test_a_disturbed_request_fails_as_not_committed_and_the_others_run_again() -> None:
    bench = serving_bench()
    before, disturbed, after = bench.write_together("before", "disturbed", "after")
    execute = bench.take(ExecuteBatch, MASTER)
    bench.at_node(execute)
    bench.reply(execute, BatchExecuted(((Executed(1, 7),), LOCK_WAIT)))
    assert not bench.waiting(StoreRows)
    bench.do(RollBackBatch, MASTER)
    answer = bench.answers[disturbed]
    assert isinstance(answer, Fail)
    assert (answer.committed, answer.disturbance) == (False, LOCK_WAIT)
    again = bench.waiting(ExecuteBatch, MASTER)[0]
    assert [request.request_id for _, request in again.requests] == [before, after]
    bench.commit_batch()
    assert isinstance(bench.answers[before], Acknowledge)
    assert isinstance(bench.answers[after], Acknowledge)
    assert "disturbed" not in [entry.sql for entry in bench.nodes[MASTER].data]


NO_SPACE = Disturbed(1114, "HY000", "The table 'users' is full")


def full_disk(bench: Bench, node: str) -> None:
    """The batch under way on `node` meets a full disk at its first request."""
    execute = bench.take(ExecuteBatch, node)
    bench.at_node(execute)
    bench.reply(execute, BatchExecuted((NO_SPACE,)))


def test_a_master_without_space_is_replaced_and_the_batch_is_run_by_the_next() -> None:
    """It would answer everything else, so nothing but this tells; and somebody may make room in an hour, or never."""
    bench = serving_bench()
    write = bench.write("row")
    full_disk(bench, MASTER)
    assert not bench.serving
    bench.election()
    assert bench.master != MASTER
    assert isinstance(bench.answers[write], Acknowledge)
    bench.flush()
    assert [entry.sql for entry in bench.nodes[MASTER].data] == ["row"]


def test_a_request_for_which_two_masters_have_no_space_fails_and_does_not_make_the_cluster_elect_for_ever() -> None:
    bench = serving_bench()
    too_large = bench.write("too large")
    full_disk(bench, MASTER)
    while not bench.waiting(ExecuteBatch):
        bench.pass_time(10)
        rest = [each for each in bench.sent if not isinstance(each, ExecuteBatch)]
        if rest:
            bench.do(type(rest[0]), rest[0].node)
    epoch = bench.state.epoch
    full_disk(bench, bench.master)
    bench.settle()
    answer = bench.answers[too_large]
    assert isinstance(answer, Fail)
    assert (answer.committed, answer.disturbance) == (False, NO_SPACE)
    again = bench.write("too large again")
    full_disk(bench, bench.master)
    bench.settle()
    assert isinstance(bench.answers[again], Fail)
    assert bench.state.epoch == epoch


def test_a_refusal_beside_a_disturbance_is_not_told_because_its_batch_was_undone() -> None:
    bench = serving_bench()
    bad, disturbed, last = bench.write_together("bad", "disturbed", "last")
    execute = bench.take(ExecuteBatch, MASTER)
    bench.at_node(execute)
    bench.reply(execute, BatchExecuted((Rejected(1062, "23000", "Duplicate entry"), LOCK_WAIT)))
    bench.do(RollBackBatch, MASTER)
    assert bad not in bench.answers
    assert isinstance(bench.answers[disturbed], Fail)
    assert [request.request_id for _, request in bench.waiting(ExecuteBatch)[0].requests] == [bad, last]


def test_too_many_waiting_writes_are_turned_away_at_once_as_not_committed() -> None:
    bench = serving_bench(ReplicationSettings(pending_max=2))
    writes = [bench.write(f"row {number}") for number in range(4)]
    answer = bench.answers[writes[3]]
    assert isinstance(answer, Fail)
    assert answer.committed is False
    assert not set(writes[:3]) & set(bench.answers)


# ---------------------------------------------------------------------------------------------- deadlines


def test_a_deadline_that_passes_while_the_write_is_in_flight_is_answered_as_unknown_and_only_once() -> None:
    bench, write = prepared_write()
    bench.pass_time(3_001)
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    bench.settle()  # the bench refuses a second answer
    assert bench.nodes[MASTER].data[-1].sql == "row", "it was committed after all: unknown was the truth"


def test_a_deadline_that_passes_while_the_write_waits_is_answered_as_not_committed_and_it_is_never_run() -> None:
    bench, first = prepared_write()
    waiting = bench.write("waiting")
    bench.pass_time(3_001)
    answer = bench.answers[waiting]
    assert isinstance(answer, Fail)
    assert answer.committed is False
    bench.settle()
    assert first in bench.answers
    assert all(entry.sql != "waiting" for node in bench.nodes.values() for entry in node.data)


def test_a_deadline_that_passes_while_the_master_only_executed_is_unknown_and_the_batch_is_not_run_again() -> None:
    bench = serving_bench()
    write = bench.write("row")
    bench.pass_time(3_001)
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    bench.settle(without=(MASTER,))
    assert all(entry.sql != "row" for node in bench.nodes.values() for entry in node.data)


def test_a_request_that_was_answered_at_its_deadline_is_not_answered_again_by_its_refusal() -> None:
    bench = serving_bench()
    write = bench.write("bad")
    bench.pass_time(3_001)
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    bench.settle()  # the batch is rolled back and its refusals are confirmed; the bench refuses a second answer
    assert bench.answers[write] is answer
    assert not bench.replicator.writes.waiting.requests


def test_a_request_that_was_answered_at_its_deadline_is_not_run_again_beside_a_disturbed_one() -> None:
    bench = serving_bench()
    bench.write("first")
    late = bench.write("late")
    disturbed = bench.write("disturbed", deadline_ms=9_000)
    bench.commit_batch()
    execute = bench.take(ExecuteBatch, MASTER)
    bench.at_node(execute)
    bench.pass_time(3_001)
    answer = bench.answers[late]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    bench.reply(execute, BatchExecuted(((Executed(1, 7),), LOCK_WAIT)))
    bench.settle()
    assert isinstance(bench.answers[disturbed], Fail)
    assert bench.answers[late] is answer
    assert "late" not in [entry.sql for entry in bench.nodes[MASTER].data]


# ---------------------------------------------------------------------------------------------- held


def test_a_held_batch_whose_row_survived_is_acknowledged_with_the_same_timestamp_and_not_run_again() -> None:
    bench, write = executed_write()
    bench.do(StoreRows, REPLICA_1)
    end = bench.state.window.end.position
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    assert bench.state.master != MASTER
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    assert answer.timestamp == end.timestamp
    for node in (REPLICA_1, REPLICA_2, REPLICA_3):
        assert [entry.sql for entry in bench.nodes[node].data] == ["row"]


def test_a_held_batch_whose_row_did_not_survive_is_run_again_and_acknowledged_once() -> None:
    bench, write = executed_write()
    bench.crash(MASTER)
    old_timestamp = bench.state.window.end.position.timestamp
    bench.sent = [effect for effect in bench.sent if not isinstance(effect, StoreRows)]  # lost on the way
    bench.election(without=(MASTER,))
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    assert answer.timestamp > old_timestamp
    bench.flush()
    for node in NAMES:
        assert [entry.sql for entry in bench.nodes[node].data] == ["row"]


def question_about_the_held_batch(bench: Bench) -> ReadPositions:
    """Let the others elect; the new master's log is just being asked."""
    for _ in range(10):
        bench.pass_time(100)
        while not bench.waiting(ReadPositions) and (rest := [each for each in bench.sent if each.node != MASTER]):
            bench.do(type(rest[0]), rest[0].node)
        if bench.waiting(ReadPositions):
            break
    return bench.take(ReadPositions, bench.master)


def test_an_answer_about_the_held_batch_that_comes_after_the_next_election_means_nothing() -> None:
    """The question waited at a master that came back without its data, and was asked there (simulation, truncating, seed 86)."""
    bench, write = executed_write()
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    bench.crash(MASTER)
    asked = question_about_the_held_batch(bench)
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, asked.node)
    assert not bench.serving
    bench.reply(asked, PositionsRead(()))
    assert write not in bench.answers
    bench.election()
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    bench.flush()
    assert [entry.sql for entry in bench.nodes[bench.master].data] == ["row"]


def test_a_held_batch_that_the_log_does_not_reach_back_to_is_unknown_and_not_run_again() -> None:
    """Another coordinator served for long meanwhile, and its log was truncated."""
    bench, write = executed_write()
    bench.crash(MASTER)
    asked = question_about_the_held_batch(bench)
    bench.reply(asked, PositionsRead((), log_begin=Position(9, 1 << 40)))
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is None
    assert not bench.replicator.writes.waiting.requests


def test_nothing_new_is_run_before_the_fate_of_the_held_batch_is_known() -> None:
    bench, held = executed_write("held")
    bench.do(StoreRows, REPLICA_1)
    bench.crash(MASTER)
    later = bench.write("later")
    for _ in range(3):
        bench.pass_time(100)
        while not bench.waiting(ReadPositions) and any(effect.node != MASTER for effect in bench.sent):
            effect = next(effect for effect in bench.sent if effect.node != MASTER)
            bench.do(type(effect), effect.node)
    assert bench.serving
    assert not bench.waiting(ExecuteBatch)
    assert not {held, later} & set(bench.answers)
    bench.settle(without=(MASTER,))
    first, second = bench.answers[held], bench.answers[later]
    assert isinstance(first, Acknowledge)
    assert isinstance(second, Acknowledge)
    assert first.timestamp < second.timestamp


def test_a_batch_that_the_master_had_only_executed_is_run_again_on_the_next_master() -> None:
    bench = serving_bench()
    write = bench.write("row")
    bench.crash(MASTER)
    bench.election(without=(MASTER,))
    answer = bench.answers[write]
    assert isinstance(answer, Acknowledge)
    assert answer.master != MASTER


def test_a_commit_whose_answer_was_lost_is_acknowledged_once_and_kept_once() -> None:
    bench, write = prepared_write()
    bench.do(StoreRows, REPLICA_1)
    bench.do(StoreRows, REPLICA_2)
    bench.do_and_lose_the_answer(CommitBatch, MASTER)
    assert write not in bench.answers
    bench.election()
    bench.flush()
    assert isinstance(bench.answers[write], Acknowledge)
    for node in NAMES:
        assert [entry.sql for entry in bench.nodes[node].data] == ["row"]


def test_a_held_request_whose_deadline_passes_is_unknown() -> None:
    bench, write = executed_write()
    bench.do(StoreRows, REPLICA_1)
    bench.crash(MASTER)
    assert bench.state.phase is Phase.ELECTING
    bench.pass_time(3_001)
    answer = bench.answers[write]
    assert isinstance(answer, Fail)
    assert answer.committed is None


# ---------------------------------------------------------------------------------------------- deposed


def deposed_by(bench: Bench) -> None:
    """Another coordinator has taken the nodes over; ours learns it from the replicas that it stores on."""
    for name in (REPLICA_1, REPLICA_2):
        store = bench.take(StoreRows, name)
        status = bench.nodes[name].status()
        other = msgspec.structs.replace(status, epoch=status.epoch + 1, owner="coordinator-2", master=REPLICA_2)
        bench.reply(store, Misplaced(other))


def test_a_deposed_coordinator_says_unknown_of_what_was_in_flight_and_refuses_the_rest() -> None:
    bench, in_flight = prepared_write()
    waiting = bench.write("waiting")
    deposed_by(bench)
    later = bench.write("later")
    assert bench.state.phase is Phase.DEPOSED
    answers = [bench.answers[write] for write in (in_flight, waiting, later)]
    assert [answer.committed for answer in answers if isinstance(answer, Fail)] == [None, False, False]
    assert all("another coordinator has taken over" in answer.reason for answer in answers if isinstance(answer, Fail))


def test_a_deposed_coordinator_sends_nothing_more_whatever_it_hears() -> None:
    bench, _ = prepared_write()
    deposed_by(bench)
    under_way, bench.sent = bench.sent, []
    for command in under_way:
        bench.fail(command)
    bench.pass_time(10_000)
    assert bench.sent == []
    assert bench.replicator.wake_at_ns is None


def test_a_batch_s_row_is_chained_to_the_log_s_end() -> None:
    bench, _ = prepared_write()
    before, after = bench.state.window.after(0, 1 << 20)[-2:]
    assert after.previous == before.position
    assert bench.state.window.end == end_after(after) != EMPTY_LOG_END
