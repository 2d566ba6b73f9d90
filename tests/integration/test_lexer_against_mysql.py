"""Our lexer and the server's own see the same tokens: a fuzz over short, hostile texts against a real mysqld.

The coordinator splices an accepted text into a packet of several statements. So for each text that our lexer accepts:
the server sees exactly one statement in it, a statement spliced behind it is still executed as the second, and where
the server complains ("near '…'"), it points at a place where one of our tokens begins.

Triggers, whose bodies are the only texts with a `;` inside, have a fuzz of their own.

Needs MYSQLD (the path of a MySQL server), or cluster.py's `mysqld` command. LEXER_FUZZ_TEXTS and LEXER_FUZZ_SEED repeat
or widen a run. The server listens on a socket in a temporary folder only, and is ended by its own handle.
"""

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT
from root_connection import connect_as_root

from statements import sql_rules
from statements.query_parser import parse
from statements.sql_lexer import LITERAL, ROWS, SYSTEM_VARIABLE, Refused, Tokens, finish, tokenize

_ROOT = Path(__file__).resolve().parents[2]
_CORPUS = _ROOT / "tests" / "unit" / "statement_corpus.txt"
_TEXTS = int(os.environ.get("LEXER_FUZZ_TEXTS", "30000"))
_SEED = int(os.environ.get("LEXER_FUZZ_SEED", "1"))
_TRIGGERS = _TEXTS // 10
_START_TIMEOUT_S = 60.0
_SENTINEL = "SELECT 7777 AS sentinel"
_SENTINEL_ROWS = ((7777,),)
_VISIBLE = {ord("⏎"): "\n", ord("␍"): "\r", ord("⇥"): "\t", ord("␉"): "\v"}
_SHOWN_NEAR_CHARS_MAX = 80
"""MySQL cuts what it shows behind "near" at 80 bytes."""

Connection = Any  # PyMySQL has no types
Outcome = tuple[tuple[object, ...], ...] | Exception
"""The rows of a statement, or its error."""


def _mysqld() -> str | None:
    if path := os.environ.get("MYSQLD"):
        return path
    script = _ROOT / "cluster.py"
    if not script.exists():
        return None
    found = subprocess.run([sys.executable, script, "mysqld"], capture_output=True, text=True, check=False)
    lines = found.stdout.split()
    return lines[-1] if found.returncode == 0 and lines else None


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    mysqld = _mysqld()
    if mysqld is None:
        pytest.fail("set MYSQLD to the path of a MySQL 8.0 or newer server")
    # A short path: that of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="lexer-", dir="/tmp") as folder:
        common = [mysqld, "--no-defaults", f"--datadir={folder}/data", "--secure-file-priv=NULL", "--mysqlx=OFF"]
        if os.geteuid() == 0:
            common.append("--user=root")
        common += ["--innodb-buffer-pool-size=64M", "--innodb-flush-method=nosync", f"--log-error={folder}/log"]
        subprocess.run([*common, "--initialize-insecure"], check=True)
        server = subprocess.Popen(
            [*common, "--skip-networking", f"--socket={folder}/s", "--disable-log-bin", "--performance-schema=OFF"]
        )
        try:
            opened = _connect(f"{folder}/s", server)
            with opened:
                yield opened
        finally:
            server.terminate()
            server.wait(timeout=30)


def _connect(path: str, server: "subprocess.Popen[bytes]") -> Connection:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _listens(path):
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"mysqld did not start (exit status {server.poll()})")
        time.sleep(0.05)  # a starting server tells nobody
    opened = connect_as_root(path, charset="utf8mb4", client_flag=CLIENT.MULTI_STATEMENTS)
    with opened.cursor() as cursor:
        cursor.execute("CREATE DATABASE scratch")
        cursor.execute("CREATE TABLE scratch.a (a INT PRIMARY KEY, b INT)")
    opened.select_db("scratch")
    return opened


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _outcomes(connection: Connection, packet: str) -> list[Outcome]:
    """One a statement that the server saw; it stops at the first error."""
    outcomes: list[Outcome] = []
    with connection.cursor() as cursor:
        try:
            cursor.execute(packet)
            outcomes.append(tuple(cursor.fetchall()))
            while cursor.nextset():
                outcomes.append(tuple(cursor.fetchall()))
        except pymysql.MySQLError as error:
            outcomes.append(error)
    return outcomes


def _tokens(text: str) -> Tokens:
    return finish(tokenize(text))


def _pieces(separated_by_blanks: str) -> list[str]:
    return separated_by_blanks.split()


_SOUP = _pieces(
    r""" ' " ` \ /* */ /*+ -- - # ; ; , ( ) . * / '' "" `` \' \\ 1 0x4 1e 1e5 1. e a x x' b' N' _latin1 @@ $ $$ a$
    é 漢 🙂 = < > ! := || -> NULL AS """
)
_SOUP += ["-- ", "\n", "\r", "\t", " ", " ", "\xa0", "\x85", "\x7f", "\x01", "\x0b", "\ufeff", "\u2028", "FROM a"]
_SOUND = _pieces(
    r""" 'x' 'it''s' '\'' 'a\\' "y" "\"" '/*' '*/' "--" '--' '#' ';' "`" N'n' x'41' b'01' 1 1.5 .5 1. 1e5 1.e-5 -1 0x41
    0b1 _latin1'z' '漢🙂' NULL NOW() (1) """
)
_SOUND += ["'-- '", "_utf8mb4 'é'", "(2 )"]
_BETWEEN = [" ", "", "", "\n", "\t", "\r", "\x0b", "/**/", "/* ; */", "/* ' */", "/*`*/", "/*-- */"]
_BETWEEN += ["-- x\n", "--\n", "-- '\n", '# "\n', "#\n", "--\x01;\n"]
_OPERATORS = [
    ",",
    ",",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<>",
    "||",
    "&&",
    " AS `q;`,",
    ' AS "w;",',
    " AS é,",
    ", -",
    "--",
    "- -",
]
_TAILS = ["", "", "", ";", " ; ", "-- ", "--", "--;", "#;", "/* ; */", ";-- x", "; #", "\n;\n", ";/* */"]


def _soup(rng: random.Random) -> str:
    return "SELECT " + "".join(rng.choices(_SOUP, k=rng.randint(1, 12)))


def _sound_with_traps(rng: random.Random) -> str:
    """Mostly valid, so that the server reads it to its end; with one piece of soup in it now and then."""
    parts = ["SELECT ", rng.choice(_SOUND)]
    for _ in range(rng.randint(0, 4)):
        parts += [rng.choice(_BETWEEN), rng.choice(_OPERATORS), rng.choice(_BETWEEN), rng.choice(_SOUND)]
    if rng.random() < 0.4:
        parts.insert(rng.randint(1, len(parts)), rng.choice(_SOUP))
    return "".join(parts) + rng.choice(_BETWEEN) + rng.choice(_TAILS)


def _points_between_tokens(error: Exception, tokens: Tokens, body: str) -> bool:
    shown = re.search(r"near '(.*)' at line \d+$", str(error.args[1]), re.DOTALL)
    if error.args[0] != 1064 or shown is None or len(shown[1].encode()) >= _SHOWN_NEAR_CHARS_MAX:
        return True
    body = re.sub(r"[\U00010000-\U0010ffff]", "?", body)  # error messages have no room for four bytes a character
    if not body.endswith(shown[1]):
        return False
    offset = len(body) - len(shown[1]) + tokens.starts[0]
    # Several literals with commas between are one token here, and so is @@name.
    spans = zip(tokens.keys, tokens.starts, tokens.ends, strict=True)
    inside_list = any(start < offset < end and key in (ROWS, LITERAL, SYSTEM_VARIABLE) for key, start, end in spans)
    return offset in tokens.starts or offset == tokens.ends[-1] or inside_list


def _disagreement(connection: Connection, text: str, seen: Counter[str]) -> str | None:
    try:
        tokens = _tokens(text)
    except Refused as refused:
        whole = _outcomes(connection, text)
        if len(whole) == 1 and not isinstance(whole[0], Exception):
            seen["refused here, executed there: " + re.sub(r"\d+", "N", refused.reason)[:60]] += 1
        seen["refused by us"] += 1
        return None
    body = text[tokens.starts[0] : tokens.ends[-1]]
    alone, spliced, whole = (_outcomes(connection, packet) for packet in (body, f"{body};{_SENTINEL}", text))
    if len(whole) == 2 and whole[1] == () and ";" in text[tokens.ends[-1] :]:
        whole.pop()  # a comment behind the `;`, which is not part of the slice
    if len(alone) != 1 or len(whole) != 1:
        return f"the server saw {len(alone)} statements in the slice and {len(whole)} in the text"
    first = alone[0]
    if isinstance(first, Exception):
        seen["accepted by us, refused by the server"] += 1
        if len(spliced) != 1 or not isinstance(spliced[0], Exception) or spliced[0].args[0] != first.args[0]:
            return f"alone {first}, with a statement behind it {spliced}"
        if not _points_between_tokens(first, tokens, body):
            return f"the server's token begins where none of ours does: {first}"
        return None
    seen["accepted by both"] += 1
    if isinstance(whole[0], Exception):
        return f"the slice is executed, the text is not: {whole[0]}"
    if len(spliced) != 2 or spliced[1] != _SENTINEL_ROWS:
        return f"the statement behind it was swallowed: {spliced}"
    return None


def _no_disagreement(disagreements: list[str], seen: Counter[str], of: str) -> None:
    print(f"seed {_SEED}, {of}")
    for what, count in sorted(seen.items()):
        print(f"  {count:6} {what}")
    assert disagreements == [], f"LEXER_FUZZ_SEED={_SEED}: {len(disagreements)}, first ones: {disagreements[:10]}"


def test_the_server_sees_the_statement_ends_that_we_see(
    connection: Connection,
) -> None:
    rng, seen, disagreements = random.Random(_SEED), Counter[str](), []
    for number in range(_TEXTS):
        text = _soup(rng) if number % 2 else _sound_with_traps(rng)
        if problem := _disagreement(connection, text, seen):
            disagreements.append(f"{text!r}: {problem}")
    _no_disagreement(disagreements, seen, f"{_TEXTS} texts")
    assert seen["accepted by both"] > _TEXTS / 10


_SIMPLE_STATEMENTS = [
    "SET NEW.b = 1;",
    "SET NEW.b = NEW.a, NEW.b = 2; ",
    "DELETE FROM c WHERE a = NEW.a;",
    "SET NEW.b = CASE WHEN NEW.a THEN 1 ELSE 2 END;",
    "SET NEW.b = ';';",
]
_CONDITIONS = ["IF NEW.a THEN", "IF (NEW.a) THEN"]
_BODY_PIECES = [
    *_SIMPLE_STATEMENTS,
    *_CONDITIONS,
    "ELSEIF NEW.b THEN",
    "ELSE",
    "END IF;",
    "END IF;",
    "END;",
    "END",
    ";",
]
_BODY_PIECES += ["/* ; */", "-- ;\n", "SET NEW.b = 'END';", "BEGIN", "CASE WHEN 1 THEN", "END CASE;", "x:", "LEAVE x;"]
_BODY_PIECES += ["DROP TABLE c;", "DELETE FROM c;", "IF;", "THEN", "END IF", "INSERT INTO c VALUES (NEW.a), (5);"]
_BODY_PIECES += ["UPDATE c SET a = IF(a, 1, 2) WHERE a = OLD.a;", "DECLARE x INT;", "SELECT 1;", "RETURN 1;", "COMMIT;"]
_BODY_PIECES += ["SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no; END';", "WHILE 1 DO", "END WHILE;", "`END`;"]


def _body(rng: random.Random) -> str:
    """Half of them grow by the rules, so that the server takes many; all are harmed now and then."""

    def block(depth: int) -> list[str]:
        grown: list[str] = []
        for _ in range(rng.randint(1, 3)):
            if depth and rng.random() < 0.3:
                branch = ["ELSE", *block(depth - 1)] if rng.random() < 0.4 else []
                grown += [rng.choice(_CONDITIONS), *block(depth - 1), *branch, "END IF;"]
            else:
                grown.append(rng.choice(_SIMPLE_STATEMENTS))
        return grown

    pieces = block(2) if rng.random() < 0.6 else rng.choices(_BODY_PIECES, k=rng.randint(0, 6))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        pieces.insert(rng.randint(0, len(pieces)), rng.choice(_BODY_PIECES))
    framed = ["BEGIN", *pieces, rng.choice(["END", "END", "END;", "END; ", "END IF", ""])]
    return " ".join(framed if rng.random() < 0.9 else pieces)


def test_the_server_sees_one_statement_in_a_trigger_that_we_take(connection: Connection) -> None:
    """A text of several statements is one only in the body of a trigger: the server must see no end before ours."""
    rng, seen, disagreements = random.Random(_SEED), Counter[str](), []
    with connection.cursor() as cursor:  # whatever the server takes for a statement behind an end of its own harms c
        cursor.execute("CREATE TABLE c (a INT)")
        cursor.execute("INSERT INTO c VALUES (1)")
    for _ in range(_TRIGGERS):
        timing = rng.choice(["BEFORE INSERT", "BEFORE UPDATE", "AFTER DELETE"])
        text = f"CREATE TRIGGER g {timing} ON a FOR EACH ROW {_body(rng)}"
        try:
            body = parse(text).text
        except Refused as refused:
            seen["refused by us: " + re.sub(r"[0-9]+", "N", refused.reason)[:50]] += 1
            continue
        outcomes = _outcomes(connection, f"{body};{_SENTINEL}")
        kept = _outcomes(connection, "SELECT a FROM c")
        _outcomes(connection, "DROP TRIGGER IF EXISTS g")
        if kept != [((1,),)]:
            disagreements.append(f"{text!r}: what stands behind an end that we did not see was executed: {kept}")
        elif len(outcomes) == 2 and outcomes == [(), _SENTINEL_ROWS]:
            seen["taken by both"] += 1
        elif len(outcomes) == 1 and isinstance(outcomes[0], Exception):
            seen[f"taken by us, refused by the server ({outcomes[0].args[0]})"] += 1
        else:
            disagreements.append(f"{text!r}: {outcomes}")
    _no_disagreement(disagreements, seen, f"{_TRIGGERS} triggers")
    assert seen["taken by both"] > _TRIGGERS / 20


def test_every_function_that_we_let_pass_is_the_servers_own(
    connection: Connection,
) -> None:
    moved_to_a_component_in_newer_servers = {"MD5", "SHA", "SHA1"}
    no_such_function = 1305
    for name in sorted(sql_rules.FUNCTIONS - moved_to_a_component_in_newer_servers):
        for arguments in ("", "1"):
            (outcome,) = _outcomes(connection, f"SELECT {name}({arguments})")
            assert not isinstance(outcome, Exception) or outcome.args[0] != no_such_function, name


def test_what_the_corpus_accepts_is_no_syntax_error_to_the_server(
    connection: Connection,
) -> None:
    syntax_errors = []
    for line in _CORPUS.read_text("utf-8").splitlines():
        verdict, bar, text = line.partition(" | ")
        if bar and not line.startswith("#") and not verdict.startswith("REFUSED"):
            packet = text.translate(_VISIBLE)
            outcome = _outcomes(
                connection, f"EXPLAIN {packet}" if verdict.startswith(("READ SE", "WRITE")) else packet
            )[0]
            if isinstance(outcome, Exception) and outcome.args[0] == 1064:
                syntax_errors.append(f"{text!r}: {outcome.args[1]}")
    assert syntax_errors == []
