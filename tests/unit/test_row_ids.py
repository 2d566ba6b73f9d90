"""Ids that the text names beside ids that the server makes: made, named, made does not get past, however it is written."""

import itertools
import json
import re
from collections.abc import Generator
from pathlib import Path

import pytest
from step_times import longest_step_ms, step_limit_ms, timed

from statements.query_parser import Refused, Statement, parse, parse_in_steps
from statements.schema_catalogue import Catalogue
from statements.schema_judge import judge, judge_in_steps
from statements.schema_tables import catalogue_of

NAMED = ("7", "007", "'7'", "-7")
ROWS = {
    "(%s, 'a')": "id, code",
    "ROW(%s, 'a')": "id, code",
    "( %s\n,5,'it''s (0, NULL)', UPPER('a'))": "id, a, code, name",
    "('a', 1.5, %s)": "code, a, id",
    "('a', CONCAT('x', ','), %s)": "code, name, id",
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(1, "d", json.loads(Path(__file__).with_name("schema_corpus_rows.json").read_text("utf-8")))


def _is_refused(text: str, catalogue: Catalogue) -> bool:
    try:
        judge(parse(text), catalogue)
    except Refused as refused:
        reason = refused.reason
    else:
        return False
    assert "statements of their own" in reason
    return True


def _inserts(row: str, made: str, count: int) -> Generator[tuple[str, bool]]:
    """Each order of so many made and named ids; and whether it has the pattern."""
    for kinds in itertools.product("mn", repeat=count):
        for named in NAMED:
            rows = ", ".join(row % (made if kind == "m" else named) for kind in kinds)
            text = f"INSERT INTO t ({ROWS[row]}) VALUES {rows}"
            yield text, re.search("m.*n.*m", "".join(kinds)) is not None


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("made", ["NULL", "null", "0", "-0", "00", "DEFAULT", "False"])
def test_only_a_made_id_behind_a_named_one_behind_a_made_one_is_refused(
    made: str, row: str, catalogue: Catalogue
) -> None:
    for text, has_pattern in _inserts(row, made, 4):
        assert _is_refused(text, catalogue) == has_pattern, text


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    "made",
    ["0.0", ".1", "'0'", "' 0'", "'-0'", "x'00'", "x''", "b'0'", "0x00", "1e-9", "'1E-9'", "5 - 5", "(0)", "0/**/"],
)
def test_a_value_that_may_come_out_as_0_counts_as_a_made_id(made: str, row: str, catalogue: Catalogue) -> None:
    for text, has_pattern in _inserts(row, made, 3):
        assert not has_pattern or _is_refused(text, catalogue), text


def test_the_pattern_is_found_across_hundreds_of_rows(catalogue: Catalogue) -> None:
    many = ", ".join(f"({number}, 'a')" for number in range(1, 9000))
    assert not _is_refused(f"INSERT INTO t (id, code) VALUES {many}", catalogue)
    assert not _is_refused(f"INSERT INTO t (id, code) VALUES {many}, (NULL, 'z'), (NULL, 'z')", catalogue)
    assert not _is_refused(f"INSERT INTO t (id, code) VALUES (NULL, 'b'), (NULL, 'b'), {many}", catalogue)
    assert _is_refused(f"INSERT INTO t (id, code) VALUES (NULL, 'b'), {many}, (NULL, 'z')", catalogue)


def test_a_bulk_insert_that_makes_no_ids_beside_named_ones_rests_on_no_schema() -> None:
    rows = ", ".join(f"({number}, 'a, b', {number / 8 + 1}, '2025-01-01 00:00:00')" for number in range(1, 9000))
    assert not parse(f"INSERT INTO t VALUES {rows}").rests_on_schema
    assert parse(f"INSERT INTO t VALUES {rows}, (1, 'c', 0, '')").rests_on_schema


@pytest.mark.parametrize(
    "row", ["(%d, NULL, 'abc')", "(NULL, %d, 'abc')", "(%d, 5, 'abc')", "(NULL, 1, '%d" + 900 * "x" + "')"]
)
def test_no_step_of_a_megabyte_of_rows_takes_longer_than_2_ms(row: str, catalogue: Catalogue) -> None:
    rows = ", ".join(row % number for number in range(1, 800_000 // (len(row) + 5)))
    text = f"INSERT INTO t (id, a, code) VALUES {rows}"

    def run(taken_ms: list[float]) -> None:
        statement: Statement = timed(parse_in_steps(text), taken_ms)
        timed(judge_in_steps(statement, catalogue), taken_ms)

    assert longest_step_ms(run) <= step_limit_ms()
