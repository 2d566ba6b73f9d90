"""Whatever MySQL itself calls unsafe for a log of statements is refused here, or gives the same rows on every node.

MySQL has kept such a log longer than anybody, and says by a warning (1592; 1674 for schema changes) what does not belong into
it. So it is asked: a server with binlog_format = STATEMENT executes each statement of unsafe_statements.txt, and every write of
the parser's corpus that its tables allow. The list names each reason that the server has, and the test fails in both directions:
for a statement that the server calls unsafe and we neither refuse nor have proven, and for one that is listed and not called
unsafe any more.

What is taken all the same is proven on two unlike servers (two_surroundings.py).

Hard case: MySQL's list is not complete. It knows nothing of plans: the other direction (what it calls safe and is not) is
plan_statements.txt's.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import pytest_asyncio
from one_mysql import CONFIG, OneMySQL, one_mysql
from parser_verdict import Verdict, catalogue_on, verdict_of
from statement_files import BETWEEN, FOLDER, corpus, rows, script
from two_surroundings import TwoServers, two_servers

LISTED = rows(FOLDER / "unsafe_statements.txt")
UNSAFE_ERRNOS = (1592, 1674)
REASONS = {
    "uses a LIMIT clause": "LIMIT",
    "general log, slow query log, or performance_schema": "SYSTEM_TABLE",
    "that inserts into an AUTO_INCREMENT column": "AUTOINC_COLUMNS",
    "uses a UDF": "UDF",
    "uses a system variable": "SYSTEM_VARIABLE",
    "uses a system function": "SYSTEM_FUNCTION",
    "non-transactional table after accessing a transactional table": "NONTRANS_AFTER_TRANS",
    "accesses nontransactional table as well as transactional": "MIXED_STATEMENT",
    "INSERT IGNORE... SELECT": "INSERT_IGNORE_SELECT",
    "INSERT... SELECT... ON DUPLICATE KEY UPDATE": "INSERT_SELECT_UPDATE",
    "auto-increment column after selecting from another table": "WRITE_AUTOINC_SELECT",
    "REPLACE... SELECT": "REPLACE_SELECT",
    "CREATE... IGNORE SELECT": "CREATE_IGNORE_SELECT",
    "CREATE... REPLACE SELECT": "CREATE_REPLACE_SELECT",
    "CREATE TABLE... SELECT...  on a table with an auto-increment column": "CREATE_SELECT_AUTOINC",
    "UPDATE IGNORE": "UPDATE_IGNORE",
    "table with more than one UNIQUE KEY": "INSERT_TWO_KEYS",
    "not the first part in the composed primary key": "AUTOINC_NOT_FIRST",
    "fulltext parser plugin": "FULLTEXT_PLUGIN",
    "SKIP LOCKED": "SKIP_LOCKED",
    "NOWAIT": "NOWAIT",
    "XA transaction": "XA",
    "DEFAULT expression": "DEFAULT_EXPRESSION_IN_SUBSTATEMENT",
    "ACL table read": "ACL_TABLE_READ",
}
"""Part of the server's sentence -> the name that its source gives the reason.

Two have no statement: INSERT DELAYED has long become INSERT, and only NDB logs for itself. An invisible primary key that is
generated for CREATE TABLE … SELECT is an error where the log holds statements."""


def binlog_config(folder: Path) -> Path:
    """A node's settings, but with a binary log of statements, and with all that the cluster keeps out."""
    text = CONFIG.read_text("utf-8").replace(
        "disable_log_bin",
        "log_bin = binlog\nbinlog_format = STATEMENT\nlog_bin_trust_function_creators = ON\n"
        "enforce_gtid_consistency = WARN\ngtid_mode = OFF_PERMISSIVE",
    )
    text = re.sub(r"^(sql_require_primary_key|disabled_storage_engines) = .*$", "", text, flags=re.MULTILINE)
    config = folder / "binlog.cnf"
    config.write_text(text, "utf-8")
    return config


class Judge:
    """The server with the log of statements, and what it says to a text."""

    def __init__(self, server: OneMySQL) -> None:
        self._connection: Any = server.connect_root()
        scripts = [
            script(f"{name}.sql") for name in ("statement_schema", "unsafe_schema", "statement_rows", "corpus_schema")
        ]
        for statement in ("CREATE DATABASE scratch", "USE scratch", *(line for lines in scripts for line in lines)):
            self._execute(statement)

        self._catalogue = catalogue_on(self._execute, "scratch")

    def close(self) -> None:
        self._connection.close()

    def verdict(self, text: str) -> Verdict:
        return verdict_of(text, self._catalogue)

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def reasons(self, *statements: str) -> frozenset[str]:
        """Why it calls one of these unsafe. They run in one transaction, which is rolled back. Raises MySQLError."""
        found: set[str] = set()
        if not statements[0].startswith("XA "):
            self._execute("BEGIN")
        try:
            for statement in statements:
                self._execute(statement)
                found |= {_reason(text) for _, errno, text in self._execute("SHOW WARNINGS") if errno in UNSAFE_ERRNOS}
        finally:
            for ending in ("ROLLBACK", "XA END 'x'", "XA ROLLBACK 'x'", "DROP TABLE IF EXISTS made"):
                with contextlib.suppress(pymysql.MySQLError):  # only some of them have something to end
                    self._execute(ending)
        return frozenset(found)


def _reason(warning: str) -> str:
    return next((name for part, name in REASONS.items() if part in warning), warning)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    folder = tmp_path_factory.mktemp("judge")
    with one_mysql(folder, config=binlog_config(folder)) as server:
        judge = Judge(server)
        yield judge
        judge.close()


@pytest.fixture(scope="module")
def made_unsafe() -> dict[str, str]:
    """Name of what makes a statement unsafe -> the statement that creates it."""
    pattern = re.compile(r"CREATE (?:TABLE|TRIGGER|FUNCTION) (\w+)")
    return {match[1]: sql for sql in script("unsafe_schema.sql") if (match := pattern.match(sql))}


@pytest.mark.parametrize(("reason", "expected", "text"), LISTED, ids=[text[:60] for _, _, text in LISTED])
def test_what_the_server_calls_unsafe_is_refused_or_exact(
    judge: Judge, made_unsafe: dict[str, str], reason: str, expected: str, text: str
) -> None:
    statements = text.split(BETWEEN)
    assert judge.reasons(*statements) == frozenset(reason.split("+")), "the server's own reasons"
    refusals = [refusal for statement in statements if (refusal := judge.verdict(statement).refusal)]
    if expected.startswith("refused "):
        word = expected.removeprefix("refused ")
        assert any(word in refusal.replace(" ", "_") for refusal in refusals), refusals
    elif expected.startswith("never "):
        definition = made_unsafe[expected.removeprefix("never ")]
        assert judge.verdict(definition).refusal, f"the cluster would create it: {definition}"
    else:
        assert expected.startswith("exact: ")
        assert not refusals, "it is listed as taken"


def test_every_reason_that_the_server_has_is_listed() -> None:
    listed = {reason for reasons, _, _ in LISTED for reason in reasons.split("+")}
    assert listed == set(REASONS.values())


def test_the_list_has_no_statement_twice() -> None:
    texts = [text for _, _, text in LISTED]
    assert len(texts) == len(set(texts))


# --- the corpus


def test_every_write_of_the_corpus_that_the_server_calls_unsafe_is_one_of_the_listed_kinds(judge: Judge) -> None:
    """Of a statement that is taken, the list must have another with the same reasons that is proven exact."""
    proven = {frozenset(reason.split("+")) for reason, expected, _ in LISTED if expected.startswith("exact: ")}
    writes = [text.rstrip(" ;\n") for verdict, text in corpus() if verdict.startswith("WRITE")]
    unsafe: dict[str, frozenset[str]] = {}
    errors: dict[str, object] = {}
    for text in writes:
        try:
            if reasons := judge.reasons(text):
                unsafe[text] = reasons
        except pymysql.MySQLError as error:
            errors[text] = error
    print(f"{len(writes) - len(errors)} of {len(writes)} writes ran; the server calls {len(unsafe)} unsafe:")
    print(
        *(
            f"  {'+'.join(sorted(why))}: {text}: {judge.verdict(text).refusal or 'taken'}"
            for text, why in unsafe.items()
        ),
        sep="\n",
    )
    print(*(f"  did not run: {text}: {error}" for text, error in errors.items()), sep="\n")
    assert len(errors) * 3 < len(writes), "most of them must fit the tables of corpus_schema.sql"
    taken = {text: reasons for text, reasons in unsafe.items() if judge.verdict(text).refusal is None}
    assert {text: reasons for text, reasons in taken.items() if reasons not in proven} == {}


# --- what is taken all the same


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoServers]:
    async with two_servers(tmp_path_factory.mktemp("pair")) as servers:
        yield servers


async def prove(pair: TwoServers, texts: list[str]) -> dict[str, str]:
    """Each statement on fresh rows, on two unlike servers. Statement -> what differed, or the error that it met."""
    failures = {}
    for text in texts:
        await pair.begin(script("statement_schema.sql"), script("statement_rows.sql"))
        assert pair.verdict(text).is_write, text
        ran = await pair.run(text)
        if not isinstance(ran.outcome, tuple):
            failures[text] = f"it is to be executed, not {ran.outcome}"
        elif ran.difference:
            failures[text] = ran.difference
    return failures


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_listed_as_exact_gives_equal_rows_on_unlike_servers(pair: TwoServers) -> None:
    exact = [text for _, expected, text in LISTED if expected.startswith("exact: ")]
    assert await prove(pair, exact) == {}


PLANNED = [(expected, text) for expected, text in rows(FOLDER / "plan_statements.txt")]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("expected", "text"), PLANNED, ids=[text[:60] for _, text in PLANNED])
async def test_what_the_plan_decides_is_refused_and_what_is_taken_is_equal(
    pair: TwoServers, expected: str, text: str
) -> None:
    await pair.begin(script("statement_schema.sql"), script("statement_rows.sql"))
    refusal = pair.verdict(text).refusal
    ran = await pair.run(text)
    assert isinstance(ran.outcome, tuple), ran.outcome
    if expected == "same":
        assert (refusal, ran.difference) == (None, "")
    else:
        word = expected.removeprefix("differs ")
        assert refusal is not None, "it is taken"
        assert word in refusal.replace(" ", "_")
        assert ran.difference, "the two servers gave the same rows, so the list shows nothing"
