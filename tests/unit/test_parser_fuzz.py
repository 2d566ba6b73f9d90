"""Whatever the text, the parser takes it or refuses it: nothing else is raised.

What it takes it takes for good: the text that is logged is read again in the same way.
"""

import contextlib
import json
from pathlib import Path

import pytest
from fuzz_texts import fuzz, texts
from made_values import with_values

from statements.query_parser import Kind, Refused, Statement, parse, parse_in_steps
from statements.schema_catalogue import Catalogue
from statements.schema_judge import judge
from statements.schema_tables import catalogue_of
from statements.sql_lexer import finish


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(1, "d", json.loads(Path(__file__).with_name("schema_corpus_rows.json").read_text("utf-8")))


def _prove_taken(text: str, statement: Statement, catalogue: Catalogue) -> None:
    assert statement.text in text
    if statement.rests_on_schema:
        with contextlib.suppress(Refused):  # a verdict too: only a crash is looked for
            judge(statement, catalogue)
    if statement.kind is Kind.WRITE:
        logged = parse(with_values(statement.text, statement.splices))
        assert (logged.kind, logged.splices) == (Kind.WRITE, ())
        assert (logged.inserts, logged.uses_random) == (statement.inserts, statement.uses_random)


def test_any_text_is_taken_or_refused(catalogue: Catalogue) -> None:
    counts: dict[str, int] = {}

    def prove(text: str) -> None:
        try:
            statement = finish(parse_in_steps(text))
        except Refused:
            verdict = "refused"
        else:
            verdict = statement.kind.value
            _prove_taken(text, statement, catalogue)
        counts[verdict] = counts.get(verdict, 0) + 1

    tried = fuzz(texts, prove, examples=2500)
    print(f"{tried} texts: {counts}")
    assert set(counts) == {"refused", "read", "write", "schema change"}
