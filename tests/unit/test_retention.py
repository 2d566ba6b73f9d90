"""The log is bounded by size and age, and never shortened by what a node may still need (retention.py)."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from model_node import ModelNode
from replicator_bench import MASTER, NAMES, REPLICA_1, REPLICA_2, REPLICA_3, Bench, serving_bench

from replication.effects import ConfirmEpoch, MeasureLog, RunSchemaChange, StoreRows, TruncateLog
from replication.replies import LogMark
from replication.retention import MARKS, cut_at, probes
from replication.state import MILLISECOND_NS, ReplicationSettings

CHECK_MS = 1_000
SMALL = ReplicationSettings(log_bytes_max=2_000, log_check_ns=CHECK_MS * MILLISECOND_NS)
FOR_EVER_US = 10**18

marks_of = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 900), st.integers(0, 50)), min_size=1, max_size=20)


def grown(steps: list[tuple[int, int, int]]) -> tuple[LogMark, ...]:
    marks, timestamp, total, now_us = [], 0, 0, 0
    for gap, size, passed_us in steps:
        timestamp, total, now_us = timestamp + gap, total + size, now_us + passed_us
        marks.append(LogMark(timestamp, total, now_us))
    return tuple(marks)


@given(marks_of, st.integers(0, 5_000), st.integers(0, 500))
def test_the_cut_is_the_last_mark_behind_which_enough_lies_or_which_is_too_old(
    steps: list[tuple[int, int, int]], bytes_kept: int, oldest_us: int
) -> None:
    marks = grown(steps)
    end = marks[-1].bytes_total
    may_go = [mark.timestamp for mark in marks if end - mark.bytes_total >= bytes_kept or mark.now_us < oldest_us]
    assert cut_at(marks, end, bytes_kept, oldest_us) == (may_go[-1] if may_go else None)


@given(st.integers(0, 10**15), st.integers(1, 10**12))
def test_probes_spread_over_the_whole_log_and_are_few(first: int, length: int) -> None:
    found = probes(first, first + length)
    assert (found[0], found[-1]) == (first, first + length)
    assert len(found) <= MARKS
    assert list(found) == sorted(set(found))


def fill(bench: Bench, rows: int, *, without: tuple[str, ...] = ()) -> None:
    for number in range(rows):
        bench.write(f"row {bench.now_ns} {number} {'x' * 100}")
        bench.settle(without=without)


def log_bytes(bench: Bench, name: str) -> int:
    return bench.nodes[name].log_end.bytes_total - bench.nodes[name].log_base.bytes_total


def test_a_log_that_grows_for_ever_stays_bounded_on_every_node() -> None:
    bench = serving_bench(SMALL)
    for _ in range(20):
        fill(bench, 10)
        bench.flush()
        bench.pass_time(CHECK_MS)
        bench.settle()
        for name in NAMES:
            assert log_bytes(bench, name) < 2 * SMALL.log_bytes_max + 10 * 150
    assert bench.nodes[MASTER].log_end.bytes_total > 10 * SMALL.log_bytes_max
    assert all(bench.nodes[name].data == bench.nodes[MASTER].data for name in NAMES)


def test_what_is_older_than_allowed_goes_however_small_it_is() -> None:
    settings = ReplicationSettings(log_age_us_max=60_000_000, log_check_ns=CHECK_MS * MILLISECOND_NS)
    bench = serving_bench(settings)
    fill(bench, 10)
    bench.flush()
    old_end = bench.nodes[MASTER].log_end.position.timestamp
    bench.pass_time(61_000)
    fill(bench, 2)
    bench.flush()
    bench.pass_time(CHECK_MS)
    bench.settle()
    assert all(bench.nodes[name].log_base.position.timestamp >= old_end for name in NAMES)
    assert all(len(bench.nodes[name].rows()) <= 2 for name in NAMES)


def test_a_node_is_never_told_to_remove_what_it_has_not_applied() -> None:
    bench = serving_bench(SMALL)
    fill(bench, 5)
    bench.flush()
    slow = bench.state.nodes[REPLICA_3]
    applied = slow.applied_timestamp
    fill(bench, 60, without=(REPLICA_3,))
    bench.pass_time(CHECK_MS)
    bench.settle(without=(REPLICA_3,))
    assert bench.nodes[MASTER].log_base.position.timestamp > applied
    told = [effect.before_timestamp for effect in bench.waiting(TruncateLog, REPLICA_3)]
    assert all(before <= applied for before in told)


def test_what_a_commit_quorum_has_still_to_apply_stays_on_the_master() -> None:
    """All replicas stored it while each executed a schema change; then all needed a copy (simulation, truncating, 953)."""
    bench = serving_bench(SMALL)
    fill(bench, 5)
    bench.flush()
    bench.change_schema("ALTER TABLE t ADD c INT")
    bench.settle(slow=(RunSchemaChange,))
    bench.do(RunSchemaChange, MASTER)
    bench.settle(slow=(RunSchemaChange,))
    applied = bench.state.nodes[REPLICA_1].applied_timestamp
    for number in range(60):
        bench.write(f"row {number} {'x' * 100}")
        bench.settle(slow=(RunSchemaChange,))
    bench.pass_time(CHECK_MS)
    bench.settle(slow=(RunSchemaChange,))
    assert len(bench.waiting(RunSchemaChange)) == 3
    assert bench.nodes[MASTER].log_base.position.timestamp <= applied
    bench.settle()
    bench.flush()
    bench.pass_time(CHECK_MS)
    bench.settle()
    assert bench.nodes[MASTER].log_base.position.timestamp > applied
    assert all(bench.nodes[name].data == bench.nodes[MASTER].data for name in NAMES)


def test_the_last_applied_row_stays_whatever_a_node_is_told() -> None:
    bench = serving_bench(SMALL)
    fill(bench, 5)
    bench.flush()
    node = bench.nodes[REPLICA_1]
    end = node.log_end
    node.carry_out(TruncateLog(REPLICA_1, 0, FOR_EVER_US), "coordinator-1")
    assert node.log_end == end
    assert node.status().tail == (end.position,)
    bench.write("after")
    bench.settle()
    bench.flush()
    assert node.data == bench.nodes[MASTER].data


def test_a_look_that_fails_fails_the_node_it_was_at_and_the_next_master_looks_again() -> None:
    bench = serving_bench(SMALL)
    fill(bench, 60)
    bench.pass_time(CHECK_MS)
    bench.lose(MeasureLog, MASTER)
    bench.election(without=(MASTER,))
    assert bench.master != MASTER
    bench.pass_time(CHECK_MS)
    assert bench.waiting(MeasureLog, bench.master)


def test_the_log_is_not_truncated_past_a_node_that_is_just_being_filled() -> None:
    """Otherwise it would need a copy again as soon as it has one, for ever."""
    bench = serving_bench(msgspec.structs.replace(SMALL, chunk_bytes_max=1))
    fill(bench, 5)
    bench.flush()
    bench.nodes[REPLICA_3] = ModelNode(REPLICA_3)
    bench.pass_time(300)
    bench.lose(ConfirmEpoch, REPLICA_3)
    bench.settle(without=(REPLICA_3,))
    bench.pass_time(200)
    while not bench.waiting(StoreRows, REPLICA_3):
        effect = next(effect for effect in bench.sent if not isinstance(effect, ConfirmEpoch))
        bench.do(type(effect), effect.node)
    filled_upto = bench.state.nodes[REPLICA_3].applied_timestamp
    assert filled_upto < bench.state.committed_timestamp
    for _ in range(5):
        fill(bench, 30, without=(REPLICA_3,))
        bench.pass_time(CHECK_MS)
        bench.settle(without=(REPLICA_3,))
    for name in (MASTER, REPLICA_1, REPLICA_2):
        assert bench.nodes[name].log_base.position.timestamp <= filled_upto
