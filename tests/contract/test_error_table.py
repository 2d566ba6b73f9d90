"""The README's table of errors, row by row: each is what a request is answered with, and no answer is missing in it.

What only a real MySQL server would say is said by the node in its place.
"""

import ast
import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from coordinator_in_process import InProcessCluster, Load, until_status

from adapters.mysql_session import ServerError
from replication.effects import CommitBatch
from replication.values import Disturbed, Rejected

ROOT = Path(__file__).resolve().parents[2]
COORDINATOR = ROOT / "coordinator"
INSERT = "INSERT INTO users (name) VALUES ('Alice')"
SELECT = "SELECT * FROM users"


class Row(NamedTuple):
    status: int
    kind: str
    errno: int | None
    sqlstate: str | None
    committed: object


class TableRow(NamedTuple):
    row: Row
    meaning: str
    advice: str


def rows_of_the_readme() -> Iterator[TableRow]:
    section = (ROOT / "README.md").read_text().partition("### Errors")[2].partition("\n### ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0].isdigit():
            status, kind, numbers, committed, meaning, advice = cells
            errno, _, sqlstate = numbers.removesuffix(" …").partition(", ")
            told = {"false": False, '"unknown"': "unknown"}[committed]
            row = Row(int(status), kind.strip("`"), int(errno) if errno else None, sqlstate or None, told)
            yield TableRow(row, meaning, advice)


TABLE = list(rows_of_the_readme())

Sent = Callable[[InProcessCluster, httpx.AsyncClient], Awaitable[httpx.Response]]


def posted(sql: str, path: str = "/query") -> Sent:
    return lambda _, client: client.post(path, json={"query": sql})


def written(outcome: Rejected | Disturbed) -> Sent:
    """A write to which the master says this."""

    def send(cluster: InProcessCluster, client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        cluster.outcomes[INSERT] = outcome
        return client.post("/query", json={"query": INSERT})

    return send


def read(error: ServerError) -> Sent:
    """A read to which its node says this."""

    def send(cluster: InProcessCluster, client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        cluster.reads.append(error)
        return client.post("/query", json={"query": SELECT})

    return send


def unmet(_: InProcessCluster, client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    statement = {"query": SELECT, "expect": {"rows_affected": 7}}
    return client.post("/query", json={"statements": [statement]})


async def twice(_: InProcessCluster, client: httpx.AsyncClient) -> httpx.Response:
    await client.post("/query", json={"query": INSERT})
    return await client.post("/query", json={"query": INSERT})


async def crowded(cluster: InProcessCluster, client: httpx.AsyncClient) -> httpx.Response:
    """While as many are under way as may be."""
    body_begins = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        body_begins.set()
        await asyncio.Event().wait()

    other = asyncio.create_task(client.post("/query", content=endless()))
    await body_begins.wait()
    try:
        return await client.post("/query", json={"query": SELECT})
    finally:
        other.cancel()


async def without_a_master(cluster: InProcessCluster, client: httpx.AsyncClient) -> httpx.Response:
    for name in ("mysql-master", "replica-1"):
        cluster.nodes[name].is_down = True
    await until_status(client, lambda status: status["current_master"] is None)
    return await client.post("/query", json={"query": INSERT})


def with_a_fault(cluster: InProcessCluster, client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    cluster.reads.append(RuntimeError("nobody has thought of this"))
    return client.post("/query", json={"query": SELECT})


def with_a_commit_that_hangs(cluster: InProcessCluster, client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    cluster.nodes["mysql-master"].hangs_on = (CommitBatch,)
    return client.post("/query", json={"query": INSERT})


def with_token(token: str) -> Sent:
    """Access is on."""
    headers = {"authorization": f"Bearer {token}"}
    return lambda _, client: client.post("/query", json={"query": INSERT}, headers=headers)


TRIGGER = "CREATE TRIGGER again AFTER INSERT ON users FOR EACH ROW INSERT INTO users (name) VALUES ('x')"
LARGE = f"SELECT '{'x' * (1 << 20)}'"
PRODUCED: dict[Row, Sent] = {
    Row(400, "bad_request", None, None, False): lambda _, client: client.post("/query", content=b"SELECT 1"),
    Row(400, "refused", 1065, "42000", False): posted(" ;"),
    Row(400, "refused", 1146, "42S02", False): posted("INSERT INTO users (name) SELECT name FROM nowhere ORDER BY id"),
    Row(400, "refused", 1235, "42000", False): posted("DELETE FROM users ORDER BY name LIMIT 5"),
    Row(400, "refused", 1305, "42000", False): posted("SELECT frobnicate(1)"),
    Row(400, "refused", 1442, "HY000", False): posted(TRIGGER),
    Row(400, "statement", 1054, "42S22", False): read(ServerError(1054, "42S22", "Unknown column 'x'", 0)),
    Row(400, "syntax", 1064, "42000", False): posted("hello"),
    Row(401, "unauthenticated", None, None, False): with_token("a-token-of-nobody"),
    Row(403, "denied", None, None, False): with_token("a-token-that-reads"),
    Row(403, "denied", 1044, "42000", False): written(Rejected(1044, "42000", "Access denied to database 'other'")),
    Row(403, "refused", 1142, "42000", False): posted("SELECT * FROM _replication.meta"),
    Row(404, "no_such_route", None, None, False): lambda _, client: client.get("/nowhere"),
    Row(405, "no_such_route", None, None, False): lambda _, client: client.get("/query"),
    Row(409, "constraint", 1062, "23000", False): twice,
    Row(409, "expectation", None, None, False): unmet,
    Row(413, "bad_request", None, None, False): lambda _, client: client.post("/query", content=b" " * (4 << 20)),
    Row(413, "refused", 1153, "08S01", False): posted(LARGE),
    Row(422, "bad_request", None, None, False): lambda _, client: client.post("/query", json={"sql": "SELECT 1"}),
    Row(429, "overloaded", None, None, False): crowded,
    Row(500, "unforeseen", None, None, "unknown"): with_a_fault,
    Row(503, "unavailable", None, None, False): without_a_master,
    Row(503, "unavailable", None, None, "unknown"): with_a_commit_that_hangs,
    Row(503, "unavailable", 1205, "HY000", False): written(Disturbed(1205, "HY000", "Lock wait timeout exceeded")),
    Row(504, "timed_out", 3024, "HY000", False): read(ServerError(3024, "HY000", "maximum execution time exceeded", 0)),
}


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> InProcessCluster:
    return InProcessCluster(load_service, monkeypatch)


def in_words(row: Row) -> str:
    return " ".join(map(str, row))


@pytest.mark.parametrize("told", TABLE, ids=[in_words(told.row) for told in TABLE])
async def test_a_row_of_the_readmes_table_is_what_a_request_is_answered_with(
    cluster: InProcessCluster, told: TableRow
) -> None:
    send = PRODUCED[told.row]
    most = "1" if send is crowded else "100"
    tokens = "read:a-token-that-reads" if "token" in told.meaning else ""
    async with cluster.run(REQUEST_DEADLINE_MS="500", REQUESTS_MAX=most, ACCESS_TOKENS=tokens) as client:
        response = await send(cluster, client)
    body = response.json()
    error = body["error"]
    assert Row(response.status_code, error["kind"], error["errno"], error["sqlstate"], body["committed"]) == told.row
    assert body["success"] is False
    assert ("retry-after" in response.headers) is ("`Retry-After`" in told.advice)
    assert ("allow" in response.headers) is ("`Allow`" in told.advice)
    assert told.meaning


def test_the_readmes_table_has_every_error_that_is_produced_here_each_once_and_in_order() -> None:
    assert [told.row for told in TABLE] == list(PRODUCED)


def test_the_readmes_table_has_every_kind_that_the_coordinator_can_say() -> None:
    said = {
        call.args[1].value
        for call in calls_of("QueryError")
        if len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    }
    # one place chooses between two
    assert 'kind = "syntax" if errno == 1064 else "statement"' in (COORDINATOR / "errors.py").read_text()
    assert said | {"syntax", "statement"} == {told.row.kind for told in TABLE}


def test_the_readmes_table_has_every_number_with_which_the_coordinator_itself_refuses_a_statement() -> None:
    own: set[tuple[object, object]] = {(1064, "42000")}  # where nothing else is said
    for call in calls_of("Refused"):
        numbers = [value_of(argument, call) for argument in call.args[1:]]
        own.add((numbers[0] if numbers else 1064, numbers[1] if len(numbers) > 1 else "42000"))
    kinds = ("refused", "syntax")
    assert own == {(told.row.errno, told.row.sqlstate) for told in TABLE if told.row.kind in kinds}


async def test_the_openapi_declares_the_statuses_of_the_readmes_table(cluster: InProcessCluster) -> None:
    async with cluster.run() as client:
        described = (await client.get("/openapi.json")).json()["paths"]["/query"]["post"]["responses"]
    no_route = {404, 405}
    assert {int(status) for status in described} - {200} == {told.row.status for told in TABLE} - no_route


class Call(NamedTuple):
    module: str
    args: list[ast.expr]


def calls_of(name: str) -> Iterator[Call]:
    """Wherever the coordinator makes one."""
    for path in sorted(COORDINATOR.rglob("*.py")):
        module = ".".join(path.relative_to(COORDINATOR).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield Call(module, node.args)


def value_of(argument: ast.expr, call: Call) -> object:
    """A literal's, or that of a constant of the module."""
    if isinstance(argument, ast.Name):
        return getattr(importlib.import_module(call.module), argument.id)
    assert isinstance(argument, ast.Constant), ast.dump(argument)
    return argument.value


def test_the_table_is_found_in_the_readme() -> None:
    assert len(TABLE) > 20
    assert re.search(r"^\| status \| kind \| errno, SQLSTATE \| committed \|", (ROOT / "README.md").read_text(), re.M)
