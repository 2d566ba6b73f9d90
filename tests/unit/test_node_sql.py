"""The text of the commands on a node: the guard, the pins, and the places at which replies are read from results."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_effects import NOW_US, prepare, row_of, rows_of, store

from adapters import node_sql
from adapters.mysql_session import ServerError
from adapters.outcomes import outcome_of
from replication.log import EMPTY_LOG_END, LOG_BEGIN, Batch, Entry, Position, end_after, next_row
from replication.values import Disturbed, Rejected

GUARD = (
    "@fence = (SELECT IF(epoch = 7 AND owner = 'us' AND applied_timestamp = 40 AND log_epoch = 6 AND log_timestamp = 41,"
    " 1, (SELECT 1 UNION ALL SELECT 2)) FROM _replication.meta WHERE id = 1 FOR UPDATE)"
)
STAMP = "@write_timestamp = {0}, @row_timestamp = {0}, @row_step = 0"


def test_the_guard_locks_and_compares_the_fence_and_both_positions_and_fails_by_a_subquery_of_two_rows() -> None:
    assert node_sql.guard(7, "us", Position(6, 41), 40) == GUARD


def test_a_master_has_no_applied_timestamp_of_its_own_to_compare() -> None:
    without = GUARD.replace(" AND applied_timestamp = 40", "")
    assert node_sql.guard(7, "us", Position(6, 41), None) == without


@pytest.mark.parametrize(
    ("text", "literal"),
    [("plain", "'plain'"), ("it's", r"'it\'s'"), ("back\\slash", r"'back\\slash'"), ("\\' OR 1", r"'\\\' OR 1'")],
)
def test_names_cannot_end_their_literal(text: str, literal: str) -> None:
    assert node_sql.quote(text) == literal
    assert literal in node_sql.guard(1, text, LOG_BEGIN, None)


@pytest.mark.parametrize(
    ("now_us", "seconds"),
    [(NOW_US, "1764000000.123456"), (1_000_001, "1.000001"), (1_000_000, "1.000000"), (2_999_999, "2.999999")],
)
def test_the_time_is_pinned_to_the_microsecond(now_us: int, seconds: str) -> None:
    assert node_sql.seconds(now_us) == seconds


def test_pins_say_only_what_the_entry_needs() -> None:
    assert node_sql.pins(9, 0, 0) == f"{STAMP.format(9)}"
    of_a_run = "@write_timestamp = 'of a run', @row_timestamp = 9, @row_step = 2, insert_id = 4"
    assert node_sql.pins(9, 4, 0, 2) == of_a_run
    seeded = f"{STAMP.format(9)}, insert_id = 4, rand_seed1 = 3, rand_seed2 = 5"
    assert node_sql.pins(9, 4, (5 << 30) + 3) == seeded


@given(seed=st.integers(1, (1 << 60) - 1))
def test_all_bits_of_a_seed_reach_the_server_in_two_halves(seed: int) -> None:
    words = node_sql.pins(1, 0, seed).replace(",", "").split()
    low, high = int(words[words.index("rand_seed1") + 2]), int(words[words.index("rand_seed2") + 2])
    assert low + (high << 30) == seed
    assert max(low, high) < 1 << 30


def test_a_row_is_written_byte_for_byte() -> None:
    row = row_of(EMPTY_LOG_END, 3, Entry(5, "INSERT 'größe; --'", 1))
    values = f"(5, 5, 3, 0, 0, 1, {len(row.payload)}, {NOW_US}, x'{row.payload.hex()}', x'{row.checksum.hex()}', 0)"
    assert node_sql.insert_rows([row]).endswith(f"VALUES {values}")
    assert node_sql.insert_rows([row, row]).endswith(f"VALUES {values}, {values}")


def test_the_row_and_the_positions_go_into_the_masters_open_transaction_together() -> None:
    row = row_of(EMPTY_LOG_END, 3, Entry(5, "INSERT", 1), Entry(7, "INSERT", 1))
    assert node_sql.prepare_row(prepare(row, "replica-1")) == [
        node_sql.insert_rows([row]),
        "UPDATE _replication.meta SET committed_timestamp = 7, master = 'replica-1', log_epoch = 3, log_timestamp = 7,"
        " applied_timestamp = 7, applied_entries = 2 WHERE id = 1",
    ]


def test_storing_moves_the_positions_then_drops_then_applies_then_appends_then_commits() -> None:
    kept, lost = rows_of(1, "INSERT kept", "INSERT lost")
    new = row_of(end_after(kept), 2, Entry(9, "INSERT new", 2, insert_id=6))
    effect = store(
        2, "us", lost.position, 0, drop_after=kept.position, append=[new], apply=[kept, new], committed_timestamp=9
    )
    storing = node_sql.store_rows(effect)
    time = f"timestamp = {NOW_US / 1e6:.6f}"
    digest = crc32(b"%d,2" % crc32(b"0,1"))
    guard = "epoch = 2 AND owner = 'us' AND applied_timestamp = 0 AND log_epoch = 1 AND log_timestamp = 4"
    assert storing.statements == [
        f"UPDATE _replication.meta SET committed_timestamp = IF({guard}, 9, {node_sql.FAIL}), master = 'master-of-test',"
        " log_epoch = 2, log_timestamp = 9, applied_timestamp = 9, applied_entries = 2 WHERE id = 1",
        "DELETE FROM _replication.log WHERE last_timestamp > 2",
        f"SET {STAMP.format(2)}, insert_id = 1, {time}, @rows_digest = 0",
        "INSERT kept",
        f"SET {STAMP.format(9)}, insert_id = 6, {time}, @rows_digest = {node_sql.NOTE_ROWS}",
        "INSERT new",
        node_sql.insert_rows([new], f"{node_sql.NOTE_ROWS} = {digest}"),
        "COMMIT",
    ]
    assert (storing.expected, storing.rows_guard) == ({3: 1, 5: 2}, 6)


def test_rows_are_appended_only_if_those_applied_before_were_the_masters() -> None:
    row = row_of(EMPTY_LOG_END, 3, Entry(5, "INSERT", 1))
    plain = node_sql.insert_rows([row, row])
    assert node_sql.insert_rows([row, row], "a = b") == plain.replace(
        "(5, 5,", f"(IF(a = b, 5, {node_sql.FAIL}), 5,", 1
    )


def test_where_nothing_is_appended_the_rows_applied_are_compared_all_the_same() -> None:
    row = row_of(EMPTY_LOG_END, 1, Entry(5, "INSERT", 1))
    storing = node_sql.store_rows(store(1, "us", row.position, 0, apply=[row]))
    assert storing.rows_guard == 3
    assert storing.statements[3:] == [
        f"SET @fence = IF({node_sql.NOTE_ROWS} = {crc32(b'0,1')}, 1, {node_sql.FAIL})",
        "COMMIT",
    ]


def test_a_dropped_tail_that_nothing_follows_ends_the_log_where_it_was_cut() -> None:
    kept, lost = rows_of(1, "INSERT kept", "INSERT lost")
    storing = node_sql.store_rows(store(2, "us", lost.position, 0, drop_after=kept.position))
    assert f", log_epoch = 1, log_timestamp = {kept.last_timestamp}" in storing.statements[0]


def test_what_is_not_applied_leaves_the_applied_position_alone() -> None:
    storing = node_sql.store_rows(store(1, "us", LOG_BEGIN, 0, append=rows_of(1, "INSERT")))
    assert (storing.expected, storing.rows_guard) == ({}, None)
    assert "applied_timestamp = 0" in storing.statements[0], "it is compared"
    assert storing.statements[0].count("applied") == 1, "and stays"
    assert not any("DELETE" in statement for statement in storing.statements)


entries_drawn = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 5)), max_size=4)


@given(batches=st.lists(entries_drawn, max_size=5), appended=st.booleans(), drops=st.booleans())
def test_each_users_statement_is_expected_at_its_own_place(
    batches: list[list[tuple[int, int, int]]], appended: bool, drops: bool
) -> None:
    """Against a search for the statements by their texts, which are all different."""
    rows = []
    end = EMPTY_LOG_END
    wanted: dict[str, int] = {}
    for drawn in batches:
        entries: list[Entry] = []
        for rows_affected, insert_id, seed in drawn:
            sql = f"STATEMENT {len(wanted)}"
            wanted[sql] = rows_affected
            entries.append(Entry(end.position.timestamp + len(entries) + 1, sql, rows_affected, insert_id, seed))
        rows.append(next_row(end, 1, Batch(NOW_US, tuple(entries)), end.position.timestamp + 1))
        end = end_after(rows[-1])
    effect = store(
        1, "us", LOG_BEGIN, 0, append=rows if appended else (), apply=rows, drop_after=LOG_BEGIN if drops else None
    )
    storing = node_sql.store_rows(effect)
    statements, expected = storing.statements, storing.expected
    assert {statements[place]: rows_affected for place, rows_affected in expected.items()} == wanted
    assert [statement for statement in statements if statement.startswith("STATEMENT")] == list(wanted)


SURROUNDINGS = [1021, 1030, 1037, 1038, 1114, 1180, 1205, 1213, 1290, 1317, 1792, 3024]


@pytest.mark.parametrize(
    "errno",
    [*SURROUNDINGS, 1025, 1053, 1878, 3675],
)
def test_an_error_of_the_surroundings_is_never_a_requests_result(errno: int) -> None:
    assert outcome_of(ServerError(errno, "HY000", "why", 5)) == Disturbed(errno, "HY000", "why")


@pytest.mark.parametrize("errno", [1048, 1054, 1062, 1064, 1142, 1146, 1242, 1264, 1292, 1406, 1452, 3819])
def test_an_error_of_the_statement_is_its_result(errno: int) -> None:
    assert outcome_of(ServerError(errno, "42000", "why", 5)) == Rejected(errno, "42000", "why")
