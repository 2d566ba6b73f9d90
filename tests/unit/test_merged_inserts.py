"""Which entries of a batch become one statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.merged_inserts import PAUSE_BATCHES_MAX, Merging, runs_of
from replication.log import Entry

HEAD = "INSERT INTO t (a) VALUES "


def entry(timestamp: int, row: str = "(1)", insert_id: int = 0, head: str = HEAD, rows_affected: int = 1) -> Entry:
    return Entry(timestamp, head + row, rows_affected, insert_id, 0, len(head))


def timestamps_of(entries: list[Entry], merge_from: int = 0) -> list[list[int]]:
    return [[one.timestamp for one in run.entries] for run in runs_of(entries, merge_from)]


def test_inserts_of_one_head_are_one_statement() -> None:
    (run,) = runs_of([entry(4, "(1)", 7), entry(6, "('x')", 8), entry(8, "(NULL)", 9)])
    assert run.sql == "INSERT INTO t (a) VALUES (1), ('x'), (NULL)"
    assert (run.step, run.rows_affected) == (2, 3)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (entry(6, insert_id=9), "an id was skipped"),
        (entry(6, insert_id=0), "it made no id"),
        (entry(6, insert_id=7), "the same id"),
        (entry(6, head="INSERT INTO u (a) VALUES ", insert_id=8), "another table"),
        (entry(6, head="INSERT INTO t (b) VALUES  ", insert_id=8), "its row begins elsewhere"),
        (entry(6, insert_id=8, rows_affected=0), "a replica is to be told that it changed nothing"),
        (Entry(6, HEAD + "(1)", 1, 8), "it may not be merged"),
    ],
)
def test_what_would_not_be_the_same_stays_apart(second: Entry, why: str) -> None:
    assert timestamps_of([entry(4, insert_id=7), second]) == [[4], [6]], why


def test_timestamps_are_the_same_distance_apart() -> None:
    assert timestamps_of([entry(1), entry(3), entry(5), entry(6), entry(7), entry(11)]) == [[1, 3, 5], [6, 7], [11]]


def test_the_inserts_of_one_request_have_one_timestamp() -> None:
    assert timestamps_of([entry(3), entry(3), entry(3), entry(4), entry(4), entry(5)]) == [[3, 3, 3], [4, 4], [5]]
    assert timestamps_of([entry(1), entry(3), entry(5), entry(5), entry(7)]) == [[1, 3, 5], [5, 7]]
    (run,) = runs_of([entry(3, "(1)"), entry(3, "(2)")])
    assert (run.step, run.sql) == (0, "INSERT INTO t (a) VALUES (1), (2)")


def test_up_to_a_given_entry_none_are_merged() -> None:
    assert timestamps_of([entry(n) for n in range(1, 6)], merge_from=2) == [[1], [2], [3, 4, 5]]


drawn = st.lists(
    st.builds(
        Entry,
        st.integers(0, 3),
        st.sampled_from([HEAD + "(1)", HEAD + "('long one')", "UPDATE t SET a = 1 WHERE b"]),
        st.integers(0, 2),
        st.integers(0, 3),
        st.just(0),
        st.sampled_from([0, len(HEAD)]),
    ),
    max_size=8,
)


@given(drawn=drawn, merge_from=st.integers(-3, 9))
def test_every_entry_is_in_one_run_in_its_place(drawn: list[Entry], merge_from: int) -> None:
    entries, timestamp = [], 0
    for one in drawn:
        timestamp += one.timestamp
        entries.append(Entry(timestamp, one.sql, one.rows_affected, one.insert_id, 0, one.row_at))
    runs = runs_of(entries, merge_from)
    assert [one for run in runs for one in run.entries] == entries
    for run in runs:
        assert run.rows_affected == sum(one.rows_affected for one in run.entries)
        for place, one in enumerate(run.entries):
            assert one.timestamp == run.entries[0].timestamp + place * run.step
            assert one.insert_id == (run.entries[0].insert_id and run.entries[0].insert_id + place)


def test_after_failures_runs_are_tried_ever_less_often_and_again_at_once_after_a_success() -> None:
    merging, gap = Merging(), 0
    gaps: list[int] = []
    while len(gaps) < 9:
        if merging.begins_batch():
            merging.failed()
            gaps.append(gap)
            gap = 0
        else:
            gap += 1
    assert gaps == [0, 1, 2, 4, 8, 16, 32, PAUSE_BATCHES_MAX, PAUSE_BATCHES_MAX]
    while not merging.begins_batch():
        pass
    merging.went_well()
    assert merging.begins_batch()
    merging.failed()
    assert [merging.begins_batch() for _ in range(2)] == [False, True]
