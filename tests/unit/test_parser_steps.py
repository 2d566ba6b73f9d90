"""No text and no schema holds the event loop up: between two pauses there are two milliseconds of work at most."""

import contextlib
import time

import pytest
from fuzz_texts import LISTS

from statements.query_parser import Refused, Statement, parse_in_steps
from statements.schema_tables import QUERIES, catalogue_in_steps

STEP_MS_MAX = 2.0
SANE_LOOP_MS = 3.0
"""What `_loop_ms` takes on a machine of today: a slower one is given as much more time."""


def _loop_ms() -> float:
    began = time.thread_time()
    total = 0
    for number in range(50_000):
        total += number % 7
    assert total
    return (time.thread_time() - began) * 1e3


@pytest.fixture(scope="module")
def slowness() -> float:
    return max(1.0, min(_loop_ms() for _ in range(10)) / SANE_LOOP_MS)


def _drive(text: str) -> tuple[Statement | None, list[float]]:
    """The statement (None: refused) and each step's milliseconds of this thread's processor."""
    taken: list[float] = []
    statement: Statement | None = None
    steps, began = parse_in_steps(text), time.thread_time()
    with contextlib.suppress(Refused):  # an end too
        try:
            while True:
                next(steps)
                now = time.thread_time()
                taken.append((now - began) * 1e3)
                began = now
        except StopIteration as done:
            statement = done.value
    return statement, [*taken, (time.thread_time() - began) * 1e3]


def _longest_ms(text: str, taken: list[float], limit_ms: float) -> float:
    """Steps are the same at every try. What others on the machine cost one of them, they do not cost it each time."""
    for _ in range(8):
        if max(taken) <= limit_ms:
            break
        taken = [min(pair) for pair in zip(taken, _drive(text)[1], strict=True)]
    return max(taken)


@pytest.mark.parametrize("shape", LISTS, ids=["…".join(shape) for shape in LISTS])
def test_no_step_of_a_long_text_takes_longer_than_2_ms(shape: tuple[str, ...], slowness: float) -> None:
    """The last step, which gives the memory of all tokens back, included."""
    head, between, tail = shape
    limit_ms = STEP_MS_MAX * slowness
    found: dict[str, float] = {}
    for item in ("(1, 'a')", "a = 1", "c AS (SELECT 1)", "a.b.c", "SELECT", "SUM(a)", "UUID()", "JOIN", "(", "'"):
        for count in (1025, 20_000):
            text = head + between.join([item] * count) + tail
            found[f"{item} × {count}"] = _longest_ms(text, _drive(text)[1], limit_ms)
    print({name: round(longest_ms, 2) for name, longest_ms in found.items()})
    assert {name: longest_ms for name, longest_ms in found.items() if longest_ms > limit_ms} == {}


def test_no_step_of_a_catalogue_of_thousands_of_tables_takes_longer_than_2_ms(slowness: float) -> None:
    tables = [("d", f"t{number}", "BASE TABLE", 0) for number in range(3_000)]
    column = ("varchar", "utf8mb4_0900_ai_ci", 100, 0, 0, 0, "")
    parts: dict[str, list[tuple[object, ...]]] = {name: [] for name in QUERIES}
    parts["tables"] = list(tables)
    parts["columns"] = [("d", table, f"c{number}", *column) for _, table, *_ in tables for number in range(10)]
    parts["keys"] = [("d", table, "PRIMARY", "c0", 0, "") for _, table, *_ in tables]

    def steps_ms() -> list[float]:
        taken: list[float] = []
        steps, began = catalogue_in_steps(1, "d", parts), time.thread_time()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                table = done.value.find("d", "t2999")
                assert table is not None
                assert table.columns["c9"].type == "varchar"
                return [*taken, (time.thread_time() - began) * 1e3]
            now = time.thread_time()
            taken.append((now - began) * 1e3)
            began = now

    taken = steps_ms()
    assert len(taken) > 100
    for _ in range(8):
        if max(taken) <= STEP_MS_MAX * slowness:
            break
        taken = [min(pair) for pair in zip(taken, steps_ms(), strict=True)]
    assert max(taken) <= STEP_MS_MAX * slowness
