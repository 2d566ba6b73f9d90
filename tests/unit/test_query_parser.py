"""Every statement of the corpus gets its verdict; no accepted text hides a statement end; no text takes long."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statements import sql_rules
from statements.query_parser import Kind, Refused, Statement, parse, parse_in_steps
from statements.sql_lexer import TEXT_BYTES_MAX, TOKENS_MAX

_CORPUS = Path(__file__).with_name("statement_corpus.txt")
_VISIBLE = str.maketrans({"⏎": "\n", "␍": "\r", "⇥": "\t", "␀": "\0", "␉": "\v", "␏": "\x0f"})
_KINDS = {"READ": Kind.READ, "WRITE": Kind.WRITE, "SCHEMA": Kind.SCHEMA_CHANGE}


def corpus() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(verdict, statement.translate(_VISIBLE)) for verdict, _, statement in (x.partition(" | ") for x in lines)]


@pytest.mark.parametrize(("verdict", "text"), corpus())
def test_a_statement_of_the_corpus_gets_its_verdict(verdict: str, text: str) -> None:
    kind, *expected = verdict.split()
    if kind == "REFUSED":
        errno, word = expected
        with pytest.raises(Refused) as refused:
            parse(text)
        assert (refused.value.errno, refused.value.sqlstate) == (int(errno), "HY000" if errno == "1442" else "42000")
        assert word in refused.value.reason.replace(" ", "_")
    else:
        statement = parse(text)
        assert statement.kind is _KINDS[kind]
        assert statement.verb == expected[0].replace("_", " ")
        assert statement.inserts == ("insert" in expected)
        assert statement.uses_random == ("random" in expected)
        assert statement.rests_on_schema == ("schema" in expected)
        assert bool(statement.splices) == ("made" in expected)


def test_the_corpus_has_at_least_250_statements_and_no_doubles() -> None:
    texts = [text for _, text in corpus()]
    assert len(texts) >= 250
    assert len(texts) == len(set(texts))


def test_every_refused_function_verb_and_object_is_in_the_corpus() -> None:
    refused = " ".join(text.upper() for verdict, text in corpus() if verdict.startswith("REFUSED"))
    for name in sql_rules.NEVER_CALLED.keys() - {"WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS"}:
        assert f"{name}(" in refused
    for name in ("BEGIN", "COMMIT", "SET ", "USE ", "CALL ", "HANDLER ", "XA ", *sql_rules.REFUSED_OBJECTS):
        assert name in refused or name in ("LIBRARY", "LOGFILE")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  SELECT 1 ; ", "SELECT 1"),
        ("/* a */ SELECT 1 -- b", "SELECT 1"),
        ("SELECT 1 # b\n;\n/* c */", "SELECT 1"),
        ("SELECT /* kept */ 1", "SELECT /* kept */ 1"),
        ("SELECT 1 -- kept\n + 2 --", "SELECT 1 -- kept\n + 2"),
        ("SELECT 'it''s ;' ;", "SELECT 'it''s ;'"),
        ("INSERT INTO t VALUES (1) ;", "INSERT INTO t VALUES (1)"),
    ],
)
def test_the_text_is_a_slice_without_what_surrounds_it(text: str, kept: str) -> None:
    assert parse(text).text == kept


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("INSERT INTO users (name) VALUES ('a')", ("users",)),
        ("INSERT INTO `d` . `users` VALUES (1)", ("d.users",)),
        ("SELECT * FROM a, b AS x, c y JOIN d.e ON 1", ("a", "b", "c", "d.e")),
        ("SELECT EXTRACT(YEAR FROM at), TRIM('x' FROM y) FROM t", ("t",)),
        ("WITH c AS (SELECT * FROM a), d (x) AS (SELECT 1) SELECT * FROM c JOIN d JOIN b", ("a", "b")),
        ("UPDATE a, b SET a.x = (SELECT y FROM c)", ("a", "b", "c")),
        ("DELETE FROM t WHERE id IN (SELECT id FROM u)", ("t", "u")),
        ("TABLE t", ("t",)),
        ("SHOW COLUMNS FROM users", ("users",)),
        ("SHOW TABLES", ()),
        ("DESC d.t", ("d.t",)),
        ("CREATE TABLE IF NOT EXISTS d.t (id INT)", ("d.t",)),
        ("CREATE INDEX i ON t (a)", ("t",)),
        ("DROP TABLE a, b", ("a", "b")),
        ("TRUNCATE t", ("t",)),
    ],
)
def test_the_tables_are_named_as_written(text: str, tables: tuple[str, ...]) -> None:
    assert parse(text).tables == tables


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(Refused, match="surrogate"):
        parse("SELECT '\ud800'")


def _size_limit_texts() -> list[str]:
    return [
        "SELECT '" + "a" * TEXT_BYTES_MAX + "'",
        "SELECT '" + "ü" * (TEXT_BYTES_MAX // 2) + "'",
        "SELECT 1" + "+1" * TOKENS_MAX,
    ]


@pytest.mark.parametrize("text", _size_limit_texts(), ids=["characters", "bytes", "tokens"])
def test_a_text_that_is_too_large_is_refused_as_such(text: str) -> None:
    with pytest.raises(Refused, match="send it in parts") as refused:
        parse(text)
    assert (refused.value.errno, refused.value.sqlstate) == (1153, "08S01")


def test_a_statement_of_exactly_the_limit_is_accepted() -> None:
    frame = "INSERT INTO t VALUES ('')"
    text = frame[:-2] + "a" * (TEXT_BYTES_MAX - len(frame)) + frame[-2:]
    assert len(text.encode()) == TEXT_BYTES_MAX
    assert parse(text).text == text


@pytest.mark.parametrize("repeated", ["a", "\\'", "''", '"', "\\\\", "ab''", "x" * 129, "\n"])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 18, 127, 128, 129, 2047, 2048, 2049, 5000])
def test_a_string_that_is_lexed_in_pieces_ends_where_it_ends(repeated: str, count: int) -> None:
    text = f"SELECT '{repeated * count}' , 1"
    assert parse(text).text == text
    with pytest.raises(Refused, match="one text"):
        parse(f"SELECT '{repeated * count}' ; SELECT 1")
    with pytest.raises(Refused, match="string"):
        parse(f"SELECT '{repeated * count}")


@pytest.mark.parametrize("count", [0, 255, 256, 257, 511, 512, 513, 70_000])
def test_a_hexadecimal_literal_that_is_lexed_in_pieces_ends_where_it_ends(count: int) -> None:
    assert parse(f"SELECT x'{'ab' * count}' , 0xf{'ab' * count} , b'{'1' * count}'").kind is Kind.READ
    for malformed in (f"x'{'ab' * count}a'", f"x'{'ab' * count}g'", f"0xf{'ab' * count}g", f"b'{'1' * count}2'"):
        with pytest.raises(Refused, match=r"malformed|context"):
            parse(f"SELECT {malformed}")


# --- The safety property: what the lexer accepts, a lexer of the plainest kind reads in the same way.


def statement_ends(text: str) -> list[int] | None:
    """Where `;` ends a statement, by one character after the other; None if something is left open."""
    position, ends = 0, []
    while position < len(text):
        character = text[position]
        starts_comment = text.startswith("--", position) and text[position + 2 : position + 3] <= " "
        if character in "'\"`":
            position += 1
            while text[position : position + 1] != character or text[position + 1 : position + 2] == character:
                if position >= len(text):
                    return None
                escaped = text[position] in (character, "\\" if character != "`" else character)
                position += 2 if escaped else 1
        elif character == "#" or starts_comment or text.startswith("--\x7f", position):
            position = text.find("\n", position) if "\n" in text[position:] else len(text)
        elif text.startswith("/*", position):
            position = text.find("*/", position + 2) + 1
            if position == 0:
                return None
        elif character == ";":
            ends.append(position)
        position += 1
    return ends


_PIECES = [
    "'",
    '"',
    "`",
    "\\",
    "/*",
    "*/",
    "--",
    "-- ",
    "#",
    "\n",
    "\r",
    "\t",
    " ",
    ";",
    ",",
    "(",
    ")",
    "1",
    "a",
    ".",
    "-",
    "*",
    "/",
]
_PIECES += [
    "''",
    "\\'",
    "N'",
    "x'41'",
    "1e5",
    "é",
    "漢",
    "🙂",
    "\x7f",
    "\x01",
    "\xa0",
    "+",
    "=",
    "SELECT",
    "FROM",
    "NULL",
    "0x1F",
    "_latin1'a'",
]
_texts = st.lists(st.sampled_from(_PIECES), max_size=25).map(lambda pieces: "SELECT " + "".join(pieces))


@settings(max_examples=1500, deadline=None)
@given(_texts)
@example("SELECT 1 --\x01;")
@example("SELECT '\\' ; '")
@example("SELECT /*/ ; */ 1")
@example("SELECT 1--;")
def test_an_accepted_text_holds_no_statement_end_and_leaves_nothing_open(text: str) -> None:
    with contextlib.suppress(Refused):  # only what is accepted is looked at
        kept = parse(text).text
        assert kept in text
        assert statement_ends(kept) == []
        assert statement_ends(kept + ";SELECT 2") == [len(kept)]


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused_with_a_sentence(text: str) -> None:
    reason = "parsed without a reason"
    try:
        assert isinstance(parse(text), Statement)
    except Refused as refused:
        reason = refused.reason
    assert len(reason) > 10


_ONLY_WORDS = [text for verdict, text in corpus() if verdict[:7] != "REFUSED" and not set("'\"`#-/") & set(text)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_ONLY_WORDS), st.data())
def test_case_and_comments_between_words_change_no_verdict(text: str, data: st.DataObject) -> None:
    words = text.split(" ")
    gaps = data.draw(
        st.lists(st.sampled_from([" ", "\n", "/* ; */", " -- ;\n", " # '\n"]), min_size=len(words), max_size=len(words))
    )
    rewritten = "".join(word.swapcase() + gap for word, gap in zip(words, gaps, strict=True))
    before, after = parse(text), parse(rewritten)
    assert (after.kind, after.verb, after.inserts, after.uses_random) == (
        before.kind,
        before.verb,
        before.inserts,
        before.uses_random,
    )


# --- Time: reported (pytest -rP), not gated. Of this thread's processor, because others share the machine.


def _longest_step_ms(text: str) -> tuple[float, float]:
    steps, longest, begun = parse_in_steps(text), 0.0, time.thread_time()
    with contextlib.suppress(StopIteration, Refused):  # either is the end
        while True:
            step_begun = time.thread_time()
            try:
                next(steps)
            finally:
                longest = max(longest, time.thread_time() - step_begun)
    return longest * 1e3, (time.thread_time() - begun) * 1e3


def _filled(frame: str, piece: Callable[[int], str]) -> str:
    pieces: list[str] = []
    size = len(frame)
    while size < TEXT_BYTES_MAX - 200:
        pieces.append(piece(len(pieces)))
        size += len(pieces[-1]) + 1
    return frame.replace("…", ",".join(pieces))


_TRIGGER = "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW"
_LARGE = {
    "10,000 rows": _filled(
        "INSERT INTO t VALUES …", lambda i: f"({i}, 'name {i} {'x' * 50}', 'u{i}@example.com', {i}.5, NULL)"
    ),
    "rows with calls": _filled("INSERT INTO t VALUES …", lambda i: f"({i}, CONCAT('a', 'b'), NOW(6))"),
    "one string": f"INSERT INTO t VALUES ('{'a' * 1_040_000}')",
    "escapes": "INSERT INTO t VALUES ('" + "\\'" * 520_000 + "')",
    "hexadecimal": f"INSERT INTO t VALUES (0x{'ab' * 520_000})",
    "IN list": _filled("SELECT * FROM t WHERE id IN (…)", str),
    "IN list of strings": _filled("SELECT * FROM t WHERE id IN (…)", lambda i: f"'{i}'"),
    "comments": "SELECT 1" + "/**/" * 260_000,
    "spaces": "SELECT " + " " * 1_040_000 + "1",
    "sum": "SELECT 1" + "+1" * 520_000,
    "open strings": "SELECT " + "'a'" * 340_000 + "'",
    "parentheses": "SELECT " + "(" * 1_040_000,
    "lists": "SELECT " + "(1,1," * 200_000,
    "dots": "SELECT a" + ".a" * 520_000,
    "tables": _filled("SELECT * FROM …", lambda i: "FROM a"),
    "not ASCII": "SELECT '" + "漢" * 340_000 + "'",
    "assignments": _filled("UPDATE t SET …", lambda i: f"c{i} = c{i} + 1"),
    "cases": _filled("UPDATE t SET a = CASE id … END", lambda i: "WHEN 1 THEN 'x'").replace("',WHEN", "' WHEN"),
    "terms": "DELETE FROM t WHERE 1" + " AND a = b" * 12_000,
    "subqueries": _filled("UPDATE t SET a = CONCAT(…)", lambda i: "(SELECT MAX(a) FROM u)"),
    "unions": "INSERT INTO t SELECT a FROM u" + " UNION SELECT (a) FROM u" * 6_000,
    "joins": "UPDATE t" + " JOIN u USING (id)" * 9_000 + " SET t.a = 1",
    "items": "INSERT INTO t SELECT DISTINCT 1" + ", a" * 20_000 + " FROM u ORDER BY 1" + ", a" * 4_000,
    "columns": "INSERT INTO t (a" + ", a" * 20_000 + ") SELECT 1",
    "new values": "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1" + ", a = VALUES(a)" * 6_000,
    "definitions of WITH": "WITH c AS (SELECT 1)"
    + ", c AS (SELECT 1)" * 200
    + " DELETE FROM t WHERE a"
    + " + (a)" * 9_000,
    "made values": "INSERT INTO t VALUES (UUID()" + ", UUID()" * 15_000 + ")",
    "sums": "UPDATE t SET a = (SELECT SUM(a" + " + a" * 20_000 + ") FROM u)",
    "tables dropped": "DROP TABLE t" + ", t" * 20_000,
    "trigger": "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN"
    + " IF NEW.a THEN SET NEW.a = 1; END IF;" * 2_700
    + " END",
    "one statement of a trigger": f"{_TRIGGER} BEGIN SET NEW.a = 1" + " + 1" * 20_000 + "; END",
}


@pytest.mark.parametrize("name", _LARGE)
def test_report_how_long_a_text_of_a_megabyte_takes(name: str) -> None:
    longest_ms, total_ms = min(_longest_step_ms(_LARGE[name]) for _ in range(2))
    print(f"{name}: longest step {longest_ms:.2f} ms, in all {total_ms:.1f} ms")


def test_report_how_long_usual_statements_take() -> None:
    for shape in (
        "SELECT * FROM users WHERE id = {}",
        "DELETE FROM users WHERE id = {}",
        "INSERT INTO users (name, email) VALUES ('Alice {}', 'alice@example.com')",
        "UPDATE users SET name = 'x', n = n + 1 WHERE id IN ({}, 2, 3) AND email LIKE '%@example.com'",
    ):
        texts = [shape.format(number) for number in range(2000)]
        for turn in ("new", "cached"):
            begun = time.thread_time()
            for text in texts:
                parse(text)
            print(f"{turn} {shape[:6]}: {(time.thread_time() - begun) / len(texts) * 1e6:.1f} µs")
