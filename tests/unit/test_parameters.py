"""Values in the place of markers: each is one literal, wherever the marker stands and whatever the value holds."""

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statements.parameters import BadParameters, Parameters, bind, bind_in_steps, literal
from statements.query_parser import Refused, parse
from statements.sql_lexer import LITERAL, finish, tokenize

INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '" OR ""="',
    "\\",
    "\\'",
    "\\' OR 1=1 -- ",
    "' UNION SELECT * FROM mysql.user #",
    "*/ DROP TABLE users /*",
    "/*!50110 DROP TABLE users */",
    "-- ",
    "#",
    "`",
    "?",
    ":name",
    "%",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\x1a",
    "x'41'",
    "0x41",
    "NULL",
    "1; SELECT 1",
    "größe",
    "\N{FULLWIDTH APOSTROPHE} OR 1=1",
    "\N{RIGHT SINGLE QUOTATION MARK}",
    "\N{GRINNING FACE}",
    "\u02bc",
    "",
]
TEMPLATES = [
    "SELECT * FROM users WHERE name = ?",
    "SELECT ? AS a, ?, 'kept ? '' :name', \"?\" /* ? */ -- ?\n FROM users",
    "INSERT INTO users (name, email) VALUES (?, ?)",
    "INSERT INTO users (name,email) VALUES(?,?)",
    "UPDATE users SET name=? WHERE id = 1 AND email=?",
    "DELETE FROM users WHERE id = 1 AND name IN (?,?)",
]


def marked(template: str) -> int:
    return sum(key == "?" for key in finish(tokenize(template, has_markers=True)).keys)


def bound(template: str, value: object) -> str:
    return bind(template, [value] * marked(template))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("value", INJECTIONS)
def test_a_text_changes_no_statement(template: str, value: str) -> None:
    harmless, harmful = parse(bound(template, "x")), parse(bound(template, value))
    assert (harmful.kind, harmful.verb, harmful.tables) == (harmless.kind, harmless.verb, harmless.tables)
    assert finish(tokenize(harmful.text)).keys == finish(tokenize(harmless.text)).keys


@given(value=st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.booleans())
def test_any_value_is_one_literal(value: object) -> None:
    try:
        text = literal(value)
    except BadParameters:
        assert isinstance(value, int)
        assert abs(value) >= 10**65
        return
    keys = finish(tokenize(f"SELECT {text} , b")).keys[1:-2]
    assert keys in ([LITERAL], ["-", LITERAL], ["NULL"], ["TRUE"], ["FALSE"])


@pytest.mark.parametrize(
    ("text", "params", "expected"),
    [
        ("SELECT ?", [5], "SELECT 5"),
        ("SELECT ?,?", ["a", None], "SELECT 'a',NULL"),
        ("SELECT :a, :b, :a", {"a": 1, "b": True}, "SELECT 1, TRUE, 1"),
        ("SELECT 5-?", [-3], "SELECT 5- -3"),
        ("SELECT -?", [-3], "SELECT - -3"),
        ("SELECT 1?", [5], "SELECT 1 5"),
        ("SELECT ?1", [5], "SELECT 5 1"),
        ("SELECT ??", [5, 6], "SELECT 5 6"),
        ("SELECT x?", ["41"], "SELECT x '41'"),
        ("SELECT 'a'?", ["b"], "SELECT 'a' 'b'"),
        ("SELECT ?'a'", ["b"], "SELECT 'b' 'a'"),
        ("SELECT ?.5", [1], "SELECT 1 .5"),
        ("SELECT ü?", [1], "SELECT ü 1"),
        ("SELECT ?/**/FROM t", ["a"], "SELECT 'a' /**/FROM t"),
        ("SELECT ?", [{"decimal": "-12.50"}], "SELECT -12.50"),
        ("SELECT ?", [{"base64": "AP8="}], "SELECT x'00ff'"),
        ("SELECT ?", [{"base64": ""}], "SELECT x''"),
        ("SELECT ?", [1.5], "SELECT 1.5"),
        ("SELECT ?", [1e300], "SELECT 1e+300"),
        ("SELECT ?", [2**64], "SELECT 18446744073709551616"),
        ("SELECT ?", ["a\0b\\'"], "SELECT 'a\\0b\\\\'''"),
        ("SELECT '?'", [], "SELECT '?'"),
        ("SELECT 1", {}, "SELECT 1"),
    ],
)
def test_a_bound_text(text: str, params: Parameters, expected: str) -> None:
    assert bind(text, params) == expected
    assert finish(bind_in_steps(text, params)) == expected


@pytest.mark.parametrize(
    ("text", "params", "why"),
    [
        ("SELECT ?", [], "1 markers and params has 0 values"),
        ("SELECT ?", [1, 2], "1 markers and params has 2 values"),
        ("SELECT 1", [1], "0 markers"),
        ("SELECT '?'", [1], "0 markers"),
        ("SELECT :a", {}, "no value for :a"),
        ("SELECT :a", {"a": 1, "b": 2}, "no marker :b"),
        ("SELECT :a", [1], "an object with a value for each :name"),
        ("SELECT ?", {"a": 1}, "a list with a value for each ?"),
        ("SELECT ?, :a", [1], "not both"),
        ("SELECT ?", [[1]], "must be null, true"),
        ("SELECT ?", [{"a": 1}], "must be null, true"),
        ("SELECT ?", [{"decimal": "1e5"}], "must be null, true"),
        ("SELECT ?", [{"decimal": "1; DROP TABLE t"}], "must be null, true"),
        ("SELECT ?", [{"decimal": "1\n"}], "must be null, true"),
        ("SELECT ?", [{"base64": "A'B="}], "base64"),
        ("SELECT ?", [math.inf], "infinite"),
        ("SELECT ?", [10**65], "65 digits"),
    ],
)
def test_what_does_not_fit_is_said(text: str, params: Parameters, why: str) -> None:
    with pytest.raises(BadParameters, match=why):
        bind(text, params)


@pytest.mark.parametrize("text", ["SELECT ?", "SELECT :name", "SELECT @a := ?"])
def test_a_marker_without_params_is_refused_and_so_is_an_assignment(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


def test_an_assignment_is_no_marker() -> None:
    with pytest.raises(Refused, match="user variable"):
        bind("SELECT a := 1", {})


@given(value=st.binary())
def test_bytes_are_sent_as_base64(value: bytes) -> None:
    assert literal({"base64": base64.b64encode(value).decode()}) == f"x'{value.hex()}'"
