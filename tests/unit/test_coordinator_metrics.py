"""The coordinator's numbers as Prometheus is told them, from a real replicator that a test drives by hand."""

from typing import cast

import pytest
from admission import Admission
from coordinator_metrics import CoordinatorMetrics, Sources
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench
from status_view import NODE_STATES
from told_numbers import Told, told_by
from traffic import Traffic
from verifier import Verifier
from verify_contract import Comparison, Difference

from replication.effects import ConfirmEpoch, StoreRows
from replication.log import EntryName
from replication.replies import Diverged
from replication.state import MILLISECOND_NS, ReplicationSettings


class StubVerifier:
    def __init__(self, last: Comparison | None = None) -> None:
        self.last = last
        self.is_running = last is None


def told_of(bench: Bench, traffic: Traffic | None = None, last: Comparison | None = None) -> Told:
    sources = Sources(
        traffic or Traffic(),
        Admission(10, 1000),
        bench.replicator,
        {"http://a": 3, "http://b": 0},
        cast(Verifier, StubVerifier(last)),
    )
    return told_by(CoordinatorMetrics(lambda: sources))


def state_of(told: Told, node: str) -> str:
    """The one that is 1."""
    (found,) = (
        state for state in NODE_STATES if told("dmysql_node_state", node=node, state=state)
    )  # exactly one, or this fails
    return found


def test_requests_are_told_by_kind_and_outcome_and_refusals_by_errno() -> None:
    traffic = Traffic()
    traffic.ended("write", "ok", 3_000_000)
    traffic.ended("write", "refused", 40_000)
    traffic.ended("read", "ok", 1_000_000)
    traffic.refused(1235)
    traffic.batch_sizes.observe(7)
    traffic.stored(REPLICA_1, 2_000_000)
    told = told_of(serving_bench(), traffic)
    assert told("dmysql_requests_total", kind="write", outcome="refused") == 1
    assert told("dmysql_request_duration_seconds_count", kind="write") == 2
    assert told("dmysql_request_duration_seconds_sum", kind="write") == pytest.approx(0.00304)
    assert told("dmysql_request_duration_seconds_bucket", kind="write", le="0.002") == 1
    assert told("dmysql_request_duration_seconds_bucket", kind="write", le="0.003") == 2
    assert told("dmysql_refused_requests_total", errno="1235") == 1
    assert (told("dmysql_batch_requests_count"), told("dmysql_batch_requests_sum")) == (1, 7)
    assert told("dmysql_store_duration_seconds_bucket", node=REPLICA_1, le="0.002") == 1
    assert (told("dmysql_timestamp_call_failures_total", server="http://a"), told("dmysql_requests_in_progress")) == (
        3,
        0,
    )


def test_a_cluster_that_serves_says_so() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.settle()
    bench.pass_time(20)
    bench.settle()
    told = told_of(bench)
    assert (told("dmysql_writable"), told("dmysql_readable"), told("dmysql_epoch")) == (1, 1, bench.state.epoch)
    assert told("dmysql_phase", phase="serving") == 1
    assert told("dmysql_phase", phase="electing") == 0
    assert {name: state_of(told, name) for name in NAMES} == dict.fromkeys(NAMES, "level")
    assert [told("dmysql_node_master", node=name) for name in NAMES] == [1, 0, 0, 0]
    assert [told("dmysql_node_member", node=name) for name in NAMES] == [1, 1, 1, 1]
    assert [told("dmysql_node_lag_timestamps", node=name) for name in NAMES] == [0, 0, 0, 0]
    committed = bench.state.committed_timestamp
    assert told("dmysql_committed_timestamp") == told("dmysql_log_end_timestamp") == committed
    assert told("dmysql_node_applied_timestamp", node=REPLICA_2) == committed
    assert told("dmysql_timestamps_in_stock") > 0


def test_each_election_is_counted_however_many_are_remembered_and_the_last_one_is_told() -> None:
    bench = serving_bench()
    before = told_of(bench)
    assert (before("dmysql_elections_total"), before("dmysql_elections_won_total")) == (1, 1)
    assert before("dmysql_last_election_duration_seconds") >= 0
    for _ in range(120):
        bench.replicator.election.history.begin("again", bench.now_ns, 0)
        bench.replicator.election.history.end(MASTER, bench.now_ns)
    after = told_of(bench)
    assert (after("dmysql_elections_total"), after("dmysql_elections_won_total")) == (121, 121)
    assert len(bench.replicator.election.history.records) == 100


def test_the_steps_of_the_last_election_are_told_by_short_names() -> None:
    told = told_of(serving_bench())
    steps = {labels["step"] for labels in told.series("dmysql_last_election_step_seconds")}
    assert {"fencing", "levelling", "applying"} <= steps <= {"pausing", "fencing", "admitting", "levelling", "applying"}


def test_a_node_that_is_lost_is_away_and_its_lag_is_nobodys_knowledge() -> None:
    bench = serving_bench()
    bench.pass_time(300)
    bench.fail(bench.take(ConfirmEpoch, REPLICA_3))
    told = told_of(bench)
    assert state_of(told, REPLICA_3) == "away"
    assert {labels["node"] for labels in told.series("dmysql_node_lag_timestamps")} == {MASTER, REPLICA_1, REPLICA_2}
    assert told("dmysql_writable") == 1


def test_without_a_quorum_nothing_is_writable_and_writes_are_held() -> None:
    bench = serving_bench()
    bench.pass_time(300)
    for name in (REPLICA_1, REPLICA_2):
        bench.fail(bench.take(ConfirmEpoch, name))
    bench.write("held")
    bench.write("held")
    told = told_of(bench)
    assert (told("dmysql_writable"), told("dmysql_readable")) == (0, 0)
    assert told("dmysql_held_requests", kind="write") >= 1


def test_a_replica_that_is_behind_says_by_how_much() -> None:
    bench = serving_bench()
    for number in range(5):
        bench.write(f"row {number}")
        bench.settle(without=(REPLICA_3,))
    told = told_of(bench)
    assert told("dmysql_node_lag_timestamps", node=REPLICA_3) >= 5
    assert told("dmysql_node_lag_timestamps", node=MASTER) == 0


def test_a_node_whose_rows_differ_is_told_apart() -> None:
    bench = serving_bench()
    bench.write("row")
    bench.settle()
    bench.pass_time(20)
    store = bench.take(StoreRows, REPLICA_1)
    (entry, *_) = store.apply[0][1].entries
    bench.reply(store, Diverged("2 rows here, 1 on the master", EntryName(entry.timestamp), 2))
    told = told_of(bench)
    assert [told("dmysql_node_rows_differ", node=name) for name in NAMES] == [0, 1, 0, 0]


def test_the_logs_size_is_told_once_it_was_looked_at() -> None:
    assert told_of(Bench()).series("dmysql_log_size_bytes") == []
    bench = serving_bench(ReplicationSettings(log_check_ns=1_000 * MILLISECOND_NS))
    for number in range(3):
        bench.write(f"row {number} {'x' * 1000}")
        bench.settle()
    bench.pass_time(1_000)
    bench.settle()
    assert 3_000 < told_of(bench)("dmysql_log_size_bytes") < 4_000


def test_what_the_last_comparison_found_is_told() -> None:
    before = told_of(serving_bench())
    assert before("dmysql_verification_running") == 1
    assert before.series("dmysql_last_verification_differences") == []
    assert [before("dmysql_last_verification_outcome", outcome=word) for word in ("equal", "differs")] == [0, 0]
    difference = Difference(
        table="t",
        what="rows",
        wrong_nodes=[REPLICA_1],
        groups=[],
        key_columns=[],
        first_key=[],
        last_key=[],
        keys=[],
        more_keys=False,
    )
    last = Comparison(
        outcome="differs",
        reason="",
        timestamp=5,
        nodes=list(NAMES[:3]),
        left_out={REPLICA_3: "it is away"},
        tables=1,
        rows=9,
        chunks=1,
        began_at_us=1_700_000_000_000_000,
        duration_ms=1500,
        differences=[difference],
    )
    told = told_of(serving_bench(), last=last)
    assert told("dmysql_last_verification_outcome", outcome="differs") == 1
    assert told("dmysql_last_verification_outcome", outcome="equal") == 0
    assert told("dmysql_last_verification_differences") == 1
    assert told("dmysql_last_verification_nodes_left_out") == 1
    assert told("dmysql_last_verification_rows") == 9
    assert told("dmysql_last_verification_end_timestamp_seconds") == 1_700_000_001.5
