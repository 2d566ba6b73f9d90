"""Whatever the text, the parser takes it or refuses it with a sentence, and never holds the event loop up.

What it takes it takes for good: the text that is logged is read again in the same way.
"""

import contextlib
import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from fuzz_texts import fuzz, texts
from made_values import with_values
from query_parser import Kind, Refused, Statement, parse, parse_in_steps
from schema_catalogue import Catalogue
from schema_judge import judge
from schema_tables import catalogue_of

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


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(1, "d", json.loads(Path(__file__).with_name("schema_corpus_rows.json").read_text("utf-8")))


def _drive(steps: Generator[None, None, Statement]) -> tuple[Statement | None, float]:
    """The statement (None: refused) and the longest step in milliseconds of this thread's processor."""
    longest, began = 0.0, time.thread_time()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            statement: Statement = done.value
            return statement, max(longest, time.thread_time() - began) * 1e3
        except Refused:
            return None, max(longest, time.thread_time() - began) * 1e3
        now = time.thread_time()
        longest, began = max(longest, now - began), now


def test_any_text_is_taken_or_refused_in_short_steps(catalogue: Catalogue, slowness: float) -> None:
    counts: dict[str, int] = {}
    longest_ms = 0.0

    def prove(text: str) -> None:
        nonlocal longest_ms
        statement, step_ms = _drive(parse_in_steps(text))
        # a step is interrupted by others on the machine: what is long for the text's own sake is so every time
        for _ in range(6):
            if step_ms <= STEP_MS_MAX * slowness:
                break
            step_ms = min(step_ms, _drive(parse_in_steps(text))[1])
        longest_ms = max(longest_ms, step_ms)
        assert step_ms <= STEP_MS_MAX * slowness, (
            f"{step_ms:.1f} ms between two pauses, {slowness:.1f} times a sane machine's"
        )
        verdict = "refused"
        if statement is not None:
            verdict = statement.kind.value
            prove_taken(text, statement)
        counts[verdict] = counts.get(verdict, 0) + 1

    def prove_taken(text: str, statement: Statement) -> None:
        assert statement.text in text
        if statement.rests_on_schema:
            with contextlib.suppress(Refused):
                judge(statement, catalogue)
        if statement.kind is Kind.WRITE:
            logged = parse(with_values(statement.text, statement.splices))
            assert (logged.kind, logged.inserts, logged.uses_random, logged.splices) == (
                Kind.WRITE,
                statement.inserts,
                statement.uses_random,
                (),
            )

    tried = fuzz(texts, prove, examples=2500)
    print(f"{tried} texts, {counts}; longest step {longest_ms:.2f} ms; {slowness:.2f} times a sane machine's time")
    assert set(counts) == {"refused", "read", "write", "schema change"}
