"""Rows as JSON has them: by type, and in the form that a request wants."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_rows import BIGINT, BINARY_CHARSET, BIT, ENUM, SET, TIME, UNSIGNED, RowFormat, rows_of, time_text, type_name

from adapters.mysql_session import Column, StatementResult

STRING, UTF8 = 253, 255
ARRAYS = RowFormat(rows="arrays")


def objects(result: StatementResult) -> list[dict[str, Any]]:
    told = rows_of(result)
    assert list(told) == ["data"]
    return cast(list[dict[str, Any]], told["data"])


def test_arrays_keep_columns_of_one_name_apart_and_name_them() -> None:
    result = StatementResult(1, 0, [Column("a", BIGINT, UNSIGNED), Column("a", STRING, 0, UTF8)], [(1, "x")])
    assert rows_of(result, ARRAYS) == {
        "columns": [{"name": "a", "type": "BIGINT UNSIGNED"}, {"name": "a", "type": "VARCHAR"}],
        "data": [(1, "x")],
    }


def test_columns_are_told_where_there_are_no_rows_either() -> None:
    result = StatementResult(0, 0, [Column("a", BIGINT)], ())
    assert rows_of(result, RowFormat(columns=True)) == {"columns": [{"name": "a", "type": "BIGINT"}], "data": []}


def test_integers_of_64_bits_are_text_where_that_is_wanted_and_no_others_are() -> None:
    columns = [
        Column("a", BIGINT),
        Column("b", BIGINT, UNSIGNED),
        Column("c", 3),
        Column("d", BIT),
        Column("e", BIGINT),
    ]
    rows = [(-(2**63), 2**64 - 1, 7, b"\xff" * 8, None)]
    result = StatementResult(1, 0, columns, rows)
    assert rows_of(result)["data"] == [{"a": -(2**63), "b": 2**64 - 1, "c": 7, "d": 2**64 - 1, "e": None}]
    text = rows_of(result, RowFormat(rows="arrays", integers="text"))
    assert text["data"] == [["-9223372036854775808", "18446744073709551615", 7, "18446744073709551615", None]]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (Column("a", 1), "TINYINT"),
        (Column("a", 2, UNSIGNED), "SMALLINT UNSIGNED"),
        (Column("a", 246), "DECIMAL"),
        (Column("a", 13, UNSIGNED), "YEAR"),
        (Column("a", 252, 0, UTF8), "TEXT"),
        (Column("a", 252, 0, BINARY_CHARSET), "BLOB"),
        (Column("a", 253, 0, BINARY_CHARSET), "VARBINARY"),
        (Column("a", 254, 0, UTF8), "CHAR"),
        (Column("a", 254, ENUM, UTF8), "ENUM"),
        (Column("a", 254, SET, UTF8), "SET"),
        (Column("a", 245, 0, BINARY_CHARSET), "JSON"),
        (Column("a", 99), "type 99"),
    ],
)
def test_a_type_is_named_as_in_create_table(column: Column, name: str) -> None:
    assert type_name(column) == name


def test_rows_are_objects_by_the_columns_names_in_their_order() -> None:
    columns = [Column("b", BIGINT), Column("a", BIGINT)]
    rows = objects(StatementResult(2, 0, columns, [(1, 2), (3, 4)]))
    assert [list(row.items()) for row in rows] == [[("b", 1), ("a", 2)], [("b", 3), ("a", 4)]]


def test_of_two_columns_with_one_name_the_last_counts() -> None:
    assert objects(StatementResult(1, 0, [Column("a", BIGINT), Column("a", BIGINT)], [(1, 2)])) == [{"a": 2}]


@pytest.mark.parametrize("columns", [None, [Column("a", BIGINT)], [Column("a", TIME)]])
def test_no_rows_are_no_objects(columns: list[Column] | None) -> None:
    assert objects(StatementResult(0, 0, columns, ())) == []


def test_only_columns_of_type_time_are_written_as_times() -> None:
    half = timedelta(minutes=30)
    columns = [Column("t", TIME), Column("other", STRING), Column("u", TIME)]
    rows = objects(StatementResult(2, 0, columns, [(half, half, None), ("00:00:01", 1, -half)]))
    assert rows == [{"t": "00:30:00", "other": half, "u": None}, {"t": "00:00:01", "other": 1, "u": "-00:30:00"}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "00:00:00"),
        (timedelta(seconds=59), "00:00:59"),
        (timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999), "23:59:59.999999"),
        (timedelta(hours=24), "24:00:00"),
        (timedelta(hours=838, minutes=59, seconds=59), "838:59:59"),
        (-timedelta(hours=838, minutes=59, seconds=59), "-838:59:59"),
        (-timedelta(microseconds=1), "-00:00:00.000001"),
        (-timedelta(seconds=1, microseconds=500_000), "-00:00:01.500000"),
        (timedelta(microseconds=10), "00:00:00.000010"),
    ],
)
def test_a_time_is_written_as_mysql_writes_it(value: timedelta, text: str) -> None:
    assert time_text(value) == text


@pytest.mark.parametrize("value", [None, "25:61:61", 5])
def test_what_is_no_time_is_left_as_it_is(value: object) -> None:
    assert time_text(value) is value


@given(total_us=st.integers(-3_020_399_999_999, 3_020_399_999_999))
def test_a_time_reads_back_as_what_it_was(total_us: int) -> None:
    text = cast(str, time_text(timedelta(microseconds=total_us)))
    hours, minutes, seconds = text.lstrip("-").split(":")
    assert (int(minutes) < 60, float(seconds) < 60, len(minutes), len(seconds) in (2, 9)) == (True, True, 2, True)
    read_us = (int(hours) * 60 + int(minutes)) * 60_000_000 + int(Decimal(seconds) * 1_000_000)
    assert (-read_us if text.startswith("-") else read_us) == total_us
