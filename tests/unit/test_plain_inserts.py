"""A plain INSERT is judged by its head; the verdict is the one that the lexer and the law come to by the whole text."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from whole_text import by_parse, by_the_whole_text

from statements.plain_inserts import halves_of, read_head
from statements.query_parser import parse
from statements.sql_shapes import PlainInsert, TableName

HEADS = [
    "INSERT INTO users (name, email) VALUES ",
    "insert  into users(name,email)values",
    "INSERT INTO\tshop.`orders` ( `a` , b ) VALUES\n",
    "INSERT INTO t VALUES",
    "INSERT INTO `t`VALUES ",
    "INSERT INTO _replication.meta VALUES ",
    "INSERT INTO mysql.user (user) VALUES ",
    "INSERT INTO values (a) VALUES ",
    "INSERT INTO t (null) VALUES ",
    "INSERT INTO t (a) VALUE ",
    "INSERT INTO t (a) VALUES ROW",
    "INSERT IGNORE INTO t (a) VALUES ",
    "REPLACE INTO t (a) VALUES ",
    "INSERT t (a) VALUES ",
    "INSERT INTO t SET a = ",
    "INSERT INTO t (a) VALUES (1), ",
    "INSERT INTO t (a) VALUES (1) -- ",
    "INSERT INTO t (a) VALUES (1) # ",
    "INSERT INTO t (a) /* VALUES ",
    "INSERT INTO t (a) VALUES (' ",
    "INSERT INTO 1t (a) VALUES ",
    "INSERT INTO t.1 (a) VALUES ",
    "INSERT INTO größe (a) VALUES ",
    "INSERT INTO a.b.c (a) VALUES ",
    "INSERT INTO$t (a) VALUES ",
    "SELECT ",
    "",
]
VALUES = [
    "1",
    "-2",
    "'x'",
    '"y"',
    "'it''s'",
    r"'a\'b'",
    r"'\\'",
    "NULL",
    "DEFAULT",
    "NOW()",
    "0x1F",
    "x'00'",
    "1e3",
    ".5",
]
VALUES += [
    "N'n'",
    "UUID()",
    "RAND()",
    "a",
    "@x",
    "(SELECT 1)",
    "'; DROP TABLE t; --'",
    "1 -- ",
    "1a",
    "'größe'",
    "'\n'",
]
VALUES += ["'\ud800'", "'\0'", "NOW(6)", "TRUE", "- 1", "'a' 'b'", "_utf8'x'", "x'0'", "DATE'2020-01-01'", "1 /* c */"]
TAILS = [
    "",
    ";",
    " ; ",
    " -- end",
    "; SELECT 1",
    " ON DUPLICATE KEY UPDATE a = 1",
    ", (1)",
    " AS n",
    "\n",
    ")",
    ";;",
    "\\",
]
pieces = st.sampled_from([*HEADS, *VALUES, *TAILS, "(", ")", ",", " "])
rows = st.lists(st.sampled_from(VALUES), max_size=4).map(lambda values: f"({', '.join(values)})")
likely = st.tuples(st.sampled_from(HEADS), rows, st.sampled_from(TAILS)).map("".join)
wild = st.lists(pieces, max_size=8).map("".join)


@given(text=likely | wild)
@example("INSERT INTO t (a) VALUES (1) -- (2)")
@example("INSERT INTO t (a) VALUES ('\n')")
def test_the_verdict_is_that_of_the_whole_text(text: str) -> None:
    assert by_parse(text) == by_the_whole_text(text)
    # and again, now that its head is known
    assert by_parse(text) == by_the_whole_text(text)


@given(first=rows, second=rows, head=st.sampled_from(HEADS), tail=st.sampled_from(TAILS))
def test_what_was_found_by_one_row_is_right_for_another(first: str, second: str, head: str, tail: str) -> None:
    by_parse(head + first)
    assert by_parse(head + second + tail) == by_the_whole_text(head + second + tail)


def test_a_plain_insert_says_where_its_row_begins() -> None:
    statement = parse("  INSERT INTO shop.`Orders` (`Id`, name) VALUES (7, 'x') ; ")
    assert statement.plain == PlainInsert(TableName("shop", "Orders"), ("id", "name"))
    assert statement.text[statement.row_at :] == "(7, 'x')"
    assert read_head("INSERT INTO t VALUES ") == PlainInsert(TableName("", "t"), None)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t (a) VALUES (RAND())",
        "INSERT INTO t (a) VALUES (UUID())",
        "INSERT INTO t (a) VALUES (1), (2)",
        "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2",
        "INSERT IGNORE INTO t (a) VALUES (1)",
        "REPLACE INTO t (a) VALUES (1)",
        "INSERT INTO t (a) VALUES (1 + 1)",
        "INSERT INTO t (a) VALUES ((SELECT 1))",
        "INSERT INTO t SET a = 1",
        "INSERT /* why */ INTO t (a) VALUES (1)",
    ],
)
def test_only_one_row_of_plain_values_is_plain(text: str) -> None:
    statement = parse(text)
    assert (statement.plain, statement.row_at) == (None, 0)
    assert halves_of(text) is None


def test_many_heads_do_not_fill_the_memory() -> None:
    for number in range(3000):
        assert parse(f"INSERT INTO t{number} (a) VALUES (1)").row_at
