"""Statements whose verdict rests on the schema: the corpus, over what a real server says of the corpus's own tables."""

import json
from pathlib import Path

import pytest

from statements.query_parser import Refused, parse
from statements.schema_catalogue import Catalogue
from statements.schema_judge import judge
from statements.schema_tables import catalogue_of

_CORPUS = Path(__file__).with_name("schema_corpus.txt")
_ROWS = Path(__file__).with_name("schema_corpus_rows.json")


def corpus() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [(verdict, statement) for verdict, _, statement in (line.partition(" | ") for line in lines)]
    return [(verdict, statement) for verdict, statement in pairs if verdict != "MADE BY"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(1, "d", json.loads(_ROWS.read_text("utf-8")))


@pytest.mark.parametrize(("verdict", "text"), corpus())
def test_a_statement_is_exact_or_refused_by_the_schema(verdict: str, text: str, catalogue: Catalogue) -> None:
    statement = parse(text)
    assert statement.rests_on_schema
    if verdict == "EXACT":
        judge(statement, catalogue)
        return
    with pytest.raises(Refused) as refused:
        judge(statement, catalogue)
    _, word = verdict.split()
    assert word in refused.value.reason.replace(" ", "_")
    missing = word == "doesn't_exist"
    assert (refused.value.errno, refused.value.sqlstate) == ((1146, "42S02") if missing else (1235, "42000"))


def test_the_corpus_has_no_doubles() -> None:
    texts = [text for _, text in corpus()]
    assert len(texts) == len(set(texts)) > 150
