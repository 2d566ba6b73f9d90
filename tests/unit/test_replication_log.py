"""The log's chain and window against brute force (Raft section 5.3: log matching)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicator_bench import row_after

from replication.log import (
    EMPTY_LOG_END,
    LOG_BEGIN,
    Batch,
    Entry,
    LogDamaged,
    LogEnd,
    LogRow,
    LogWindow,
    Position,
    batch_of,
    check_chain,
    cut,
    end_after,
    next_row,
)

# (epoch grows by, timestamp grows by, entries) per row
steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=12)


def rows_of(drawn: list[tuple[int, int, int]]) -> list[LogRow]:
    rows: list[LogRow] = []
    end, epoch = EMPTY_LOG_END, 1
    for epochs, gap, count in drawn:
        epoch += epochs
        first = end.position.timestamp + gap
        entries = tuple(Entry(first + k, f"INSERT {first + k}", 1, k, k) for k in range(count))
        rows.append(next_row(end, epoch, Batch(first, entries), first))
        end = end_after(rows[-1])
    return rows


def window_of(rows: list[LogRow], bytes_max: int = 1 << 20) -> LogWindow:
    window = LogWindow(EMPTY_LOG_END, bytes_max)
    for row in rows:
        window.append(row)
    return window


# ---------------------------------------------------------------------------------------------- chain


@given(steps)
def test_what_was_written_passes_the_check_and_is_read_back(drawn: list[tuple[int, int, int]]) -> None:
    rows = rows_of(drawn)
    check_chain(EMPTY_LOG_END, rows)
    assert [len(batch_of(row).entries) for row in rows] == [count for _, _, count in drawn]
    assert rows[-1].entries_total == sum(count for _, _, count in drawn)


@given(steps, st.data())
def test_a_changed_bit_of_any_stored_byte_is_noticed(drawn: list[tuple[int, int, int]], data: st.DataObject) -> None:
    rows = rows_of(drawn)
    place = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(LogRow.__struct_fields__))
    old = getattr(rows[place], field)
    if isinstance(old, bytes):
        spot, bit = data.draw(st.integers(0, len(old) - 1)), data.draw(st.integers(0, 7))
        new: object = old[:spot] + bytes([old[spot] ^ 1 << bit]) + old[spot + 1 :]
    else:
        new = old ^ 1 << data.draw(st.integers(0, 62))
    rows[place] = msgspec.structs.replace(rows[place], **{field: new})
    with pytest.raises(LogDamaged):
        check_chain(EMPTY_LOG_END, rows)


@given(steps, st.data())
def test_a_row_that_is_missing_or_out_of_place_is_noticed(
    drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    rows = rows_of([(0, 1, 1), *drawn, (0, 1, 0)])
    place = data.draw(st.integers(0, len(rows) - 2))
    with pytest.raises(LogDamaged):
        check_chain(EMPTY_LOG_END, rows[:place] + rows[place + 1 :])
    rows[place], rows[place + 1] = rows[place + 1], rows[place]
    with pytest.raises(LogDamaged):
        check_chain(EMPTY_LOG_END, rows)


@given(steps, st.data())
def test_logs_with_different_pasts_never_have_the_same_checksum(
    drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    ours = rows_of(drawn)
    place = data.draw(st.integers(0, len(ours) - 1))
    end = end_after(ours[place - 1]) if place else EMPTY_LOG_END
    theirs = [
        next_row(end, ours[place].epoch, Batch(1 << 50, batch_of(ours[place]).entries), ours[place].last_timestamp)
    ]
    for row in ours[place + 1 :]:
        theirs.append(next_row(end_after(theirs[-1]), row.epoch, batch_of(row), row.last_timestamp))
    check_chain(end, theirs)
    assert [row.position for row in theirs] == [row.position for row in ours[place:]]
    assert theirs[-1].checksum != ours[-1].checksum


def test_a_payload_that_cannot_be_read_names_its_row() -> None:
    row = msgspec.structs.replace(row_after(EMPTY_LOG_END, 1, 7), payload=b"\xc1")
    with pytest.raises(LogDamaged, match="row 7 of epoch 1"):
        batch_of(row)


def test_a_noop_takes_the_place_that_it_is_given() -> None:
    row = next_row(LogEnd(Position(2, 9), 5, 0, bytes(16)), 3, Batch(0, ()), noop_timestamp=10)
    assert (row.position, row.first_timestamp, row.entries_total) == (Position(3, 10), 10, 5)


def test_the_newer_epoch_is_the_more_complete_log_however_long_the_other() -> None:
    assert Position(3, 20) > Position(2, 50) > Position(2, 49) > LOG_BEGIN


# ---------------------------------------------------------------------------------------------- window


@given(steps, st.integers(0, 400))
def test_a_window_keeps_the_newest_rows_within_its_size(drawn: list[tuple[int, int, int]], bytes_max: int) -> None:
    rows = rows_of(drawn)
    window = window_of(rows, bytes_max)
    kept = [row for row in rows if row.last_timestamp > window.base.position.timestamp]
    assert kept
    assert window.end == end_after(rows[-1])
    assert len(kept) == 1 or sum(len(row.payload) for row in kept) <= bytes_max
    if len(kept) < len(rows):
        assert sum(len(row.payload) for row in rows[-len(kept) - 1 :]) > bytes_max
        assert window.base == end_after(rows[-len(kept) - 1])


@given(steps, st.integers(0, 400), st.integers(0, 90), st.integers(0, 400))
def test_rows_after_a_timestamp_are_those_that_a_look_through_all_finds(
    drawn: list[tuple[int, int, int]], bytes_max: int, timestamp: int, cut_bytes: int
) -> None:
    rows = rows_of(drawn)
    window = window_of(rows, bytes_max)
    if not window.covers(timestamp):
        assert any(timestamp < row.last_timestamp <= window.base.position.timestamp for row in rows)
        return
    wanted = [row for row in rows if row.last_timestamp > timestamp]
    total = 0
    expected: list[LogRow] = []
    for row in wanted:
        total += len(row.payload)
        if expected and total > cut_bytes:
            break
        expected.append(row)
    assert window.after(timestamp, cut_bytes) == tuple(expected)


@given(steps, st.integers(0, 400), st.integers(0, 8), st.integers(0, 90))
def test_a_window_holds_exactly_the_positions_of_its_rows_and_its_base(
    drawn: list[tuple[int, int, int]], bytes_max: int, epoch: int, timestamp: int
) -> None:
    rows = rows_of(drawn)
    window = window_of(rows, bytes_max)
    here = {window.base.position} | {
        row.position for row in rows if row.last_timestamp > window.base.position.timestamp
    }
    assert all(window.holds(position) for position in here)
    assert window.holds(Position(epoch, timestamp)) == (Position(epoch, timestamp) in here)


def test_the_log_refuses_a_row_that_does_not_follow_its_end() -> None:
    window = window_of([row_after(EMPTY_LOG_END, 1, 5)])
    with pytest.raises(LogDamaged, match="follows 0 of epoch 0, but the log ends at 5 of epoch 1"):
        window.append(row_after(EMPTY_LOG_END, 1, 6))


@pytest.mark.parametrize(("epoch", "timestamp"), [(2, 5), (2, 4), (1, 9)])
def test_the_log_refuses_a_timestamp_or_an_epoch_that_does_not_grow(epoch: int, timestamp: int) -> None:
    window = LogWindow(LogEnd(Position(2, 5), 0, 0, bytes(16)), 1 << 20)
    with pytest.raises(LogDamaged, match="does not grow"):
        window.append(row_after(window.end, epoch, timestamp))
    assert window.end.position == Position(2, 5)


def test_one_row_is_never_too_large_to_be_sent() -> None:
    rows = rows_of([(0, 1, 3), (0, 1, 3)])
    assert cut(rows, 0) == (rows[0],)
    assert cut((), 0) == ()
