"""No text and no schema holds the event loop up: between two pauses there are two milliseconds of work at most."""

import contextlib

import pytest
from fuzz_texts import LISTS
from step_times import longest_step_ms, step_limit_ms, timed

from statements.query_parser import Refused, parse_in_steps
from statements.schema_tables import QUERIES, catalogue_in_steps


def _longest_ms(text: str) -> float:
    def run(taken_ms: list[float]) -> None:
        with contextlib.suppress(Refused):  # a verdict too: only its time is looked at
            timed(parse_in_steps(text), taken_ms)

    return longest_step_ms(run)


@pytest.mark.parametrize("shape", LISTS, ids=["…".join(shape) for shape in LISTS])
def test_no_step_of_a_long_text_takes_longer_than_2_ms(shape: tuple[str, ...]) -> None:
    """The last step, which gives the memory of all tokens back, included."""
    head, between, tail = shape
    found: dict[str, float] = {}
    for item in ("(1, 'a')", "a = 1", "c AS (SELECT 1)", "a.b.c", "SELECT", "SUM(a)", "UUID()", "JOIN", "(", "'"):
        for count in (1025, 20_000):
            found[f"{item} × {count}"] = _longest_ms(head + between.join([item] * count) + tail)
    print({name: round(longest_ms, 2) for name, longest_ms in found.items()})
    assert {name: longest_ms for name, longest_ms in found.items() if longest_ms > step_limit_ms()} == {}


def test_no_step_of_a_catalogue_of_thousands_of_tables_takes_longer_than_2_ms() -> None:
    tables = [("d", f"t{number}", "BASE TABLE", 0) for number in range(3_000)]
    column = ("varchar", "utf8mb4_0900_ai_ci", 100, 0, 0, 0, "")
    parts: dict[str, list[tuple[object, ...]]] = {name: [] for name in QUERIES}
    parts["tables"] = list(tables)
    parts["columns"] = [("d", table, f"c{number}", *column) for _, table, *_ in tables for number in range(10)]
    parts["keys"] = [("d", table, "PRIMARY", "c0", 0, "") for _, table, *_ in tables]

    def run(taken_ms: list[float]) -> None:
        table = timed(catalogue_in_steps(1, "d", parts), taken_ms).find("d", "t2999")
        assert table is not None
        assert table.columns["c9"].type == "varchar"
        assert len(taken_ms) > 100

    assert longest_step_ms(run) <= step_limit_ms()
