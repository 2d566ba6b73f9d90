"""Texts of one shape have one verdict: the one that the lexer and the law come to by the whole text."""

import json
import random
import re
from pathlib import Path

import pytest
from fuzz_texts import STATEMENTS, fuzz, texts
from whole_text import by_parse, by_the_whole_text

from statements.query_parser import Refused, parse
from statements.schema_catalogue import Catalogue
from statements.schema_judge import judge
from statements.schema_tables import catalogue_of
from statements.sql_lexer import finish, tokenize
from statements.text_shapes import shape_of, statement_in

_ROWS = Path(__file__).with_name("schema_corpus_rows.json")
_VALUES = re.compile(r"(?<![0-9A-Za-z_'])'[^'\\\0]{0,128}'(?!')|(?<![0-9A-Za-z_.])[0-9]{1,18}(?![0-9A-Za-z_.])")
STRINGS = [
    "''",
    "'x'",
    "'; DROP TABLE t; --'",
    "'/*'",
    "'--'",
    "'0'",
    "'größe'",
    "'\n'",
    "'\"'",
    "'`'",
    "'?'",
    f"'{'y' * 128}'",
]
NUMBERS = ["0", "1", "7", "007", "999999999999999999"]


def likes_of(text: str, chance: random.Random) -> list[str]:
    """Texts of the same shape."""

    def other(value: re.Match[str]) -> str:
        return chance.choice(STRINGS if value[0].startswith("'") else NUMBERS)

    return [_VALUES.sub(other, text) for _ in range(3)]


def prove(text: str) -> None:
    shape = shape_of(text)
    for like in (text, *likes_of(text, random.Random(repr(text)))):
        assert shape_of(like) in ("", shape), like  # with longer values it may be too long
        assert by_parse(like) == by_the_whole_text(like), like


@pytest.mark.parametrize("text", STATEMENTS)
def test_every_statement_of_the_corpora_is_judged_as_its_whole_text_is(text: str) -> None:
    prove(text)


def test_any_text_is_judged_as_its_whole_text_is() -> None:
    shapes: set[str] = set()

    def tried(text: str) -> None:
        prove(text)
        shapes.add(shape_of(text))

    fuzz(texts, tried, examples=2000)
    assert len(shapes) > 100


def test_the_schema_is_asked_once_a_shape_and_says_the_same_of_all_its_texts() -> None:
    rows = json.loads(_ROWS.read_text("utf-8"))
    known = catalogue_of(1, "d", rows)
    seen = 0

    def verdict(text: str, catalogue: Catalogue) -> str:
        try:
            judge(parse(text), catalogue)
        except Refused as refused:
            return refused.reason
        return "exact"

    for text in STATEMENTS:
        for like in (text, *likes_of(text, random.Random(repr(text)))):
            fresh = catalogue_of(1, "d", rows)
            assert verdict(like, known) == verdict(like, fresh), like
            seen += bool(known.exact_shapes)
    assert seen
    assert len(known.exact_shapes) > 20


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SELECT a FROM t WHERE id = 5 AND b = 'x'", "SELECT a FROM t WHERE id = 0 AND b = ''"),
        ("SELECT t1.c2, 10 FROM t1 WHERE a IN (1,22,'b')", "SELECT t1.c2, 0 FROM t1 WHERE a IN (0,0,'')"),
        ("SELECT 1.5, 1e3, 0x1F, 12", "SELECT 1.5, 1e3, 0x1F, 0"),
        ("SELECT 'größe'", "SELECT ''"),
        ("SELECT 9999999999999999999", "SELECT 9999999999999999999"),
    ],
)
def test_a_shape_is_the_text_without_its_plain_values(text: str, shape: str) -> None:
    assert shape_of(text) == shape


@pytest.mark.parametrize(
    "text",
    [
        "SELECT x'41'",
        "SELECT N'a'",
        "SELECT _utf8'a'",
        "SELECT 'it''s'",
        r"SELECT 'a\'b'",
        'SELECT "a"',
        "SELECT `a`",
        "SELECT 1 -- 2",
        "SELECT 1 /* 2 */",
        "SELECT 1 # 2",
        "SELECT 'open",
        "SELECT -5",
        "SELECT ?",
        "SELECT @a",
        f"SELECT '{'y' * 129}'",
        "SELECT 'a\0'",
        "SELECT '\ud800'",
        f"SELECT {'a, ' * 1000} b",
    ],
)
def test_what_is_not_plain_has_no_shape(text: str) -> None:
    assert shape_of(text) == ""


def test_the_statement_stands_without_what_surrounds_it() -> None:
    for text in (" SELECT 1 ; ", "SELECT 1;\n", "SELECT 1", "\tSELECT 1 "):
        assert statement_in(text) == parse(text).text == "SELECT 1"
        assert finish(tokenize(text)).keys == ["SELECT", "'"]
