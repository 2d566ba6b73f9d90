"""The coordinator over HTTP, in process: the README's answers, and a true status with a sentence for everything else."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import composition
import httpx
import pytest
import status_view
from coordinator_in_process import NAMES, STATE_S, InProcessCluster, Load, until_ready, until_status
from pydantic import BaseModel
from query_contract import (
    BatchAnswer,
    ElectionsAnswer,
    ErrorAnswer,
    ExplainAnswer,
    FateAnswer,
    HealthAnswer,
    ReadAnswer,
    ReadBatchAnswer,
    ReadyAnswer,
    StatusAnswer,
    WriteAnswer,
)

from adapters.mysql_session import Column, ConnectionBroken, ResultExceeded, ServerError, StatementResult
from adapters.node_reader import ConnectionIsNew
from replication.effects import CommitBatch, ExecuteBatch, Fence, NodeEffect, StoreRows
from replication.replies import Reply
from replication.values import Disturbed, Rejected

INSERT = 'INSERT INTO users (name, email) VALUES ("Alice", "alice@example.com")'
SELECT = "SELECT * FROM users"

Answer = dict[str, Any]


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> InProcessCluster:
    return InProcessCluster(load_service, monkeypatch)


@pytest.fixture
async def client(cluster: InProcessCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with cluster.run() as client:
        yield client


async def query(client: httpx.AsyncClient, sql: str) -> httpx.Response:
    return await client.post("/query", json={"query": sql})


def checked(response: httpx.Response, model: type[BaseModel]) -> Answer:
    """The body, which is exactly what the published model says: no field more, none less, no other type."""
    assert response.headers["content-type"] == "application/json"
    body: Answer = response.json()
    assert model.model_validate_json(response.content, strict=True).model_dump(mode="json", exclude_unset=True) == body
    return body


def error_in(response: httpx.Response) -> tuple[int, str, object, int | None, str | None]:
    """Status, kind, committed, errno and SQLSTATE of an answer that is an error in every respect."""
    body = checked(response, ErrorAnswer)
    assert body["success"] is False
    assert len(body["message"]) > 10
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))
    detail = body["error"]
    return response.status_code, detail["kind"], body["committed"], detail["errno"], detail["sqlstate"]


# ------------------------------------------------------------------------------------------ the README's answers


async def test_a_write_is_answered_as_the_readme_says_and_with_what_stands_behind_it(client: httpx.AsyncClient) -> None:
    body = checked(await query(client, INSERT), WriteAnswer)
    assert list(body.items())[:5] == [
        ("success", True),
        ("message", "Write successful (timestamp: 5, quorum: 2/2)"),
        ("timestamp", 5),
        ("rows_affected", 1),
        ("executed_on", "mysql-master"),
    ]
    assert (body["committed"], body["quorum"]) == (True, ["replica-1", "replica-2"])


async def test_a_read_is_answered_as_the_readme_says(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    types = {"id": 8, "name": 253, "email": 253, "created_at": 7, "timestamp": 8}
    columns = [Column(name, code) for name, code in types.items()]
    row = (1, "Alice", "alice@example.com", datetime(2025, 11, 23, 16, 30), 5)
    cluster.reads.append(StatementResult(1, 0, columns, [row]))
    body = checked(await query(client, SELECT), ReadAnswer)
    assert list(body)[:5] == ["success", "message", "data", "rows_affected", "executed_on"]
    assert (body["success"], body["message"], body["rows_affected"]) == (True, "Read successful", 1)
    assert body["data"] == [
        {
            "id": 1,
            "name": "Alice",
            "email": "alice@example.com",
            "created_at": "2025-11-23T16:30:00",
            "timestamp": 5,
        }
    ]
    assert body["executed_on"] in NAMES


async def test_a_read_of_no_rows_is_an_empty_list(client: httpx.AsyncClient) -> None:
    body = checked(await query(client, SELECT), ReadAnswer)
    assert (body["data"], body["rows_affected"]) == ([], 0)


async def test_the_status_is_as_the_readme_says(client: httpx.AsyncClient) -> None:
    body = checked(await client.get("/status"), StatusAnswer)
    assert list(body.items())[:3] == [
        ("current_master", "mysql-master"),
        ("master_is_original", True),
        ("replicas", ["replica-1", "replica-2", "replica-3"]),
    ]
    assert [body["nodes"][name]["role"] for name in NAMES] == ["master", "replica", "replica", "replica"]
    assert body["waits_for"] == ""


async def test_health_says_that_writes_are_taken(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")
    assert response.status_code == 200
    body = checked(response, HealthAnswer)
    assert body == {"status": "ok", "service": "coordinator", "can_write": True, "reason": "writes are taken"}


async def test_ready_says_that_a_write_and_a_read_are_taken(client: httpx.AsyncClient) -> None:
    for asked, purpose in (("/ready", "write"), ("/ready?for=write", "write"), ("/ready?for=read", "read")):
        response = await client.get(asked)
        assert response.status_code == 200
        told = {"ready": True, "service": "coordinator", "reason": f"a {purpose} is taken"}
        assert checked(response, ReadyAnswer) == told
    assert error_in(await client.get("/ready?for=lunch"))[:2] == (422, "bad_request")


async def test_a_strong_read_sees_every_write_that_was_acknowledged_before_it(client: httpx.AsyncClient) -> None:
    for number in range(30):
        sql = f"INSERT INTO users (name) VALUES ('{number}')"
        write = (await query(client, sql)).json()
        read = (await query(client, SELECT)).json()
        assert read["applied_timestamp"] >= write["timestamp"]
        assert {"timestamp": write["timestamp"], "sql": sql} in read["data"]


async def test_a_schema_change_is_answered_like_a_write_and_made_on_every_node(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    sql = "CREATE TABLE colours (id INT PRIMARY KEY, name TEXT)"
    body = checked(await query(client, sql), WriteAnswer)
    assert (body["rows_affected"], body["executed_on"], body["committed"]) == (0, "mysql-master", True)
    assert error_in(await query(client, sql)) == (409, "constraint", False, 1062, "23000")
    after = checked(await query(client, INSERT), WriteAnswer)
    assert after["timestamp"] > body["timestamp"]
    await until_status(client, lambda _: all(node.model.schema == [sql] for node in cluster.nodes.values()))


async def test_while_a_commit_is_done_but_not_known_no_read_sees_less_than_another_saw_before_it(
    cluster: InProcessCluster, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the nemesis: a read at the master saw a batch whose COMMIT was done but not yet known, was answered, and the next
    read, at a replica, did not see it."""
    await query(client, INSERT)
    master = cluster.nodes["mysql-master"]
    carry_out, is_done, may_be_known = master.carry_out, asyncio.Event(), asyncio.Event()

    async def commit_that_is_known_late(effect: NodeEffect) -> Reply:
        reply = await carry_out(effect)
        if isinstance(effect, CommitBatch):
            is_done.set()
            await may_be_known.wait()
        return reply

    monkeypatch.setattr(master, "carry_out", commit_that_is_known_late)
    async with asyncio.timeout(STATE_S):
        writing = asyncio.create_task(query(client, INSERT.replace("alice", "bob")))
        await is_done.wait()
        early = [(await query(client, SELECT)).json() for _ in range(20)]
        may_be_known.set()
        await writing
        late = [(await query(client, SELECT)).json() for _ in range(20)]
    assert {(answer["executed_on"], len(answer["data"])) for answer in early} == {("mysql-master", 2)}
    assert {len(answer["data"]) for answer in late} == {2}


async def test_many_writes_at_once_get_different_timestamps_and_all_of_them_are_kept(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(
        *(query(client, f"INSERT INTO users (name) VALUES ('{number}')") for number in range(50))
    )
    timestamps = sorted(answer.json()["timestamp"] for answer in answers)
    assert timestamps == [entry.timestamp for entry in cluster.nodes["mysql-master"].model.data]
    assert len(set(timestamps)) == 50


# ------------------------------------------------------------------------------------------ what would become of it


async def explain(client: httpx.AsyncClient, sql: str) -> Answer:
    response = await client.post("/explain-replication", json={"query": sql})
    assert response.status_code == 200
    return checked(response, ExplainAnswer)


async def test_a_write_is_explained_and_not_done(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    assert await explain(client, "/* a */ INSERT INTO users (name) VALUES (RAND()); -- b") == {
        "kind": "write",
        "verb": "INSERT",
        "tables": ["users"],
        "pins": ["time", "default database", "session settings", "insert id", "random seeds"],
        "replicated": "INSERT INTO users (name) VALUES (RAND())",
        "rests_on_schema": False,
        "refusal": None,
    }
    assert cluster.nodes["mysql-master"].model.data == []
    assert cluster.schema_readings == 0


async def test_a_read_is_replicated_nowhere(client: httpx.AsyncClient) -> None:
    body = await explain(client, SELECT)
    assert (body["kind"], body["verb"], body["tables"]) == ("read", "SELECT", ["users"])
    assert (body["pins"], body["replicated"], body["refusal"]) == ([], None, None)


async def test_a_made_value_is_shown_where_the_log_would_have_it(client: httpx.AsyncClient) -> None:
    body = await explain(client, "INSERT INTO users (name) VALUES (UUID())")
    assert re.fullmatch(r"INSERT INTO users \(name\) VALUES \('[0-9a-f-]{36}'\)", body["replicated"])
    assert "values made" in body["pins"]


async def test_a_schema_change_is_explained_and_not_made(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    body = await explain(client, "DROP TABLE users")
    assert (body["kind"], body["verb"], body["rests_on_schema"]) == ("schema change", "DROP TABLE", True)
    assert cluster.nodes["mysql-master"].model.schema == []


async def test_what_is_refused_is_explained_with_mysqls_number(client: httpx.AsyncClient) -> None:
    body = await explain(client, "SELECT SLEEP(5)")
    assert (body["kind"], body["verb"], body["replicated"]) == ("refused", None, None)
    assert (body["refusal"]["errno"], body["refusal"]["sqlstate"]) == (1235, "42000")
    assert "SLEEP" in body["refusal"]["reason"]


async def test_what_the_schema_forbids_is_explained_by_the_tables_that_are_there(client: httpx.AsyncClient) -> None:
    body = await explain(client, "DELETE FROM users ORDER BY name LIMIT 5")
    assert (body["kind"], body["verb"], body["tables"]) == ("refused", "DELETE", ["users"])
    assert body["rests_on_schema"] is True
    assert "add ORDER BY id" in body["refusal"]["reason"]
    allowed = await explain(client, "DELETE FROM users ORDER BY id LIMIT 5")
    assert (allowed["kind"], allowed["rests_on_schema"], allowed["refusal"]) == ("write", True, None)


async def test_only_a_query_can_be_explained(client: httpx.AsyncClient) -> None:
    for content, status in ((b"{", 400), (b"{}", 422), (b'{"query": 1}', 422)):
        response = await client.post("/explain-replication", content=content)
        assert error_in(response)[:2] == (status, "bad_request")
    assert (await client.get("/explain-replication")).status_code == 405


async def test_without_the_tables_nothing_is_said_of_what_rests_on_them(cluster: InProcessCluster) -> None:
    async with cluster.run(REQUEST_DEADLINE_MS="300") as client:
        for node in cluster.nodes.values():
            node.is_down = True
        response = await client.post("/explain-replication", json={"query": "DELETE FROM users"})
        assert error_in(response) == (503, "unavailable", False, None, None)
        assert (await explain(client, INSERT))["kind"] == "write"


async def test_a_write_that_rests_on_the_schema_reads_it_once_and_again_when_it_has_changed(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    for number in range(3):
        assert (await query(client, f"DELETE FROM users WHERE id = {number}")).status_code == 200
    assert cluster.schema_readings == 1
    await query(client, "CREATE TABLE colours (id INT PRIMARY KEY)")
    assert (await query(client, "DELETE FROM users WHERE id = 3")).status_code == 200
    assert cluster.schema_readings == 2


async def test_writes_that_rest_on_the_schema_and_schema_changes_may_come_at_once(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    texts = [
        f"ALTER TABLE users ADD COLUMN c{n // 10} INT" if n % 10 == 5 else f"DELETE FROM users WHERE id = {n}"
        for n in range(60)
    ]
    answers = await asyncio.gather(*(query(client, sql) for sql in texts))
    assert [answer.status_code for answer in answers] == [200] * 60
    done = sorted(entry.sql for entry in cluster.nodes["mysql-master"].model.data)
    assert [sql for sql in done if sql.startswith("DELETE")] == sorted(sql for sql in texts if sql.startswith("DELETE"))


# ------------------------------------------------------------------------------------------ bad requests

BAD = [
    ("not JSON", b"INSERT", (400, "bad_request", None, None)),
    ("no body", b"", (400, "bad_request", None, None)),
    ("half a body", b'{"query": "SEL', (400, "bad_request", None, None)),
    ("not UTF-8", b'{"query": "\xff"}', (400, "bad_request", None, None)),
    ("another Unicode", '{"query": "SELECT 1"}'.encode("utf-16"), (400, "bad_request", None, None)),
    ("no query", b"{}", (422, "bad_request", None, None)),
    ("a query of another name", b'{"sql": "SELECT 1"}', (422, "bad_request", None, None)),
    ("a number", b'{"query": 1}', (422, "bad_request", None, None)),
    ("null", b'{"query": null}', (422, "bad_request", None, None)),
    ("a list", b'["SELECT 1"]', (422, "bad_request", None, None)),
    ("a field that nobody knows", b'{"query": "SELECT 1", "consistancy": "any"}', (422, "bad_request", None, None)),
    ("empty", b'{"query": ""}', (400, "refused", 1065, "42000")),
    ("blank", b'{"query": " \\n;"}', (400, "refused", 1065, "42000")),
    ("a comment", b'{"query": "-- nothing"}', (400, "refused", 1065, "42000")),
    ("no SQL", b'{"query": "hello"}', (400, "syntax", 1064, "42000")),
    ("two statements", b'{"query": "SELECT 1; SELECT 2"}', (400, "syntax", 1064, "42000")),
    ("an open quote", b'{"query": "SELECT \'1"}', (400, "syntax", 1064, "42000")),
    ("a transaction", b'{"query": "BEGIN"}', (400, "refused", 1235, "42000")),
    ("the cluster's own schema", b'{"query": "SELECT * FROM _replication.meta"}', (403, "refused", 1142, "42000")),
]


@pytest.mark.parametrize(("body", "expected"), [pytest.param(b, e, id=name) for name, b, e in BAD])
async def test_a_bad_request_is_refused_with_its_own_status_and_nothing_is_done(
    cluster: InProcessCluster,
    client: httpx.AsyncClient,
    body: bytes,
    expected: tuple[int, str, int | None, str | None],
) -> None:
    status, kind, errno, sqlstate = expected
    response = await client.post("/query", content=body, headers={"content-type": "application/json"})
    assert error_in(response) == (status, kind, False, errno, sqlstate)
    assert cluster.nodes["mysql-master"].model.data == []


async def test_a_request_that_is_too_large_is_refused_before_it_is_read_to_its_end(cluster: InProcessCluster) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000:
            sent += 512
            yield b" " * 512

    async with cluster.run(BODY_BYTES_MAX="2048") as client:
        for content in (b" " * 2049, endless()):
            response = await client.post("/query", content=content)
            assert error_in(response) == (413, "bad_request", False, None, None)
            assert "2048 bytes" in response.json()["message"]
        assert sent < 4096
        assert (await client.post("/query", content=b'{"query": "SELECT 1"}'.ljust(2048))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/page/nothing.js", 404),
        ("GET", "/page/", 404),
        ("POST", "/", 405),
        ("POST", "/nothing", 404),
        ("GET", "/query", 405),
        ("PUT", "/query", 405),
        ("DELETE", "/query", 405),
        ("OPTIONS", "/query", 405),
        ("POST", "/status", 405),
        ("POST", "/health", 405),
        ("OPTIONS", "/status", 405),
    ],
)
async def test_a_route_that_is_not_offered_is_an_error_in_json(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert error_in(response) == (status, "no_such_route", False, None, None)
    assert f"{method} {path} is not offered" in response.json()["message"]


@pytest.mark.parametrize("path", ["/", "/query", "/status", "/health", "/docs"])
async def test_head_is_answered_and_harms_nobody(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code < 500
    assert (await client.get("/health")).status_code == 200


async def test_a_method_that_is_not_allowed_is_told_which_are(client: httpx.AsyncClient) -> None:
    assert "POST" in (await client.get("/query")).headers["allow"]


async def test_a_bad_switchover_is_refused_in_the_shape_of_every_error(client: httpx.AsyncClient) -> None:
    assert error_in(await client.post("/switchover", json={}))[:2] == (422, "bad_request")


# ------------------------------------------------------------------------------------------ MySQL's word


async def test_a_duplicate_key_is_a_conflict(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    assert (await query(client, INSERT)).status_code == 200
    assert error_in(await query(client, INSERT)) == (409, "constraint", False, 1062, "23000")
    assert len(cluster.nodes["mysql-master"].model.data) == 1


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        (Rejected(1146, "42S02", "Table 'distributed_db.users' doesn't exist"), 400, "statement"),
        (Rejected(1064, "42000", "You have an error in your SQL syntax"), 400, "syntax"),
        (Rejected(1452, "23000", "Cannot add or update a child row"), 409, "constraint"),
        (Rejected(1142, "42000", "INSERT command denied to user"), 403, "denied"),
        (Rejected(1406, "22001", "Data too long for column 'name'"), 400, "statement"),
    ],
)
async def test_what_mysql_says_of_a_write_is_said_with_its_errno_and_a_status_that_fits(
    cluster: InProcessCluster, client: httpx.AsyncClient, outcome: Rejected, status: int, kind: str
) -> None:
    cluster.outcomes[INSERT] = outcome
    response = await query(client, INSERT)
    assert error_in(response) == (status, kind, False, outcome.errno, outcome.sqlstate)
    assert response.json()["message"] == outcome.message


async def test_a_refused_write_harms_no_other_of_its_batch(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.outcomes[INSERT] = Rejected(1146, "42S02", "no such table")
    texts = [INSERT if n % 3 == 0 else f"INSERT INTO users (name) VALUES ('{n}')" for n in range(30)]
    answers = await asyncio.gather(*(query(client, sql) for sql in texts))
    assert [answer.status_code for answer in answers] == [400 if n % 3 == 0 else 200 for n in range(30)]
    assert len(cluster.nodes["mysql-master"].model.data) == 20


async def test_an_error_of_the_surroundings_is_no_result_of_the_write(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.outcomes[INSERT] = Disturbed(1205, "HY000", "Lock wait timeout exceeded")
    response, *others = await asyncio.gather(
        query(client, INSERT), *(query(client, f"INSERT INTO users (name) VALUES ('{n}')") for n in range(5))
    )
    assert error_in(response) == (503, "unavailable", False, 1205, "HY000")
    assert [other.status_code for other in others] == [200] * 5
    cluster.outcomes.clear()
    assert (await query(client, INSERT)).status_code == 200


READ_ERRORS = [
    (ServerError(1146, "42S02", "Table 'users' doesn't exist", 0), (400, "statement", False, 1146, "42S02")),
    (ServerError(1064, "42000", "You have an error in your SQL syntax", 0), (400, "syntax", False, 1064, "42000")),
    (ServerError(1142, "42000", "SELECT command denied to user", 0), (403, "denied", False, 1142, "42000")),
    (ServerError(3024, "HY000", "maximum execution time exceeded", 0), (504, "timed_out", False, 3024, "HY000")),
    (ServerError(1053, "08S01", "Server shutdown in progress", 0), (503, "unavailable", False, 1053, "08S01")),
    (ServerError(1317, "70100", "Query execution was interrupted", 0), (503, "unavailable", False, 1317, "70100")),
    (
        ServerError(1792, "25006", "Cannot execute in a READ ONLY transaction", 0),
        (400, "statement", False, 1792, "25006"),
    ),
    (ResultExceeded("the result has more than 10 rows: add a LIMIT", 0), (413, "bad_request", False, None, None)),
]


@pytest.mark.parametrize(("error", "expected"), READ_ERRORS)
async def test_what_a_node_says_of_a_read_is_said_with_a_status_that_fits(
    cluster: InProcessCluster, client: httpx.AsyncClient, error: Exception, expected: tuple[object, ...]
) -> None:
    cluster.reads.append(error)
    assert error_in(await query(client, SELECT)) == expected
    assert (await query(client, SELECT)).status_code == 200


async def test_a_read_is_tried_again_where_its_connection_was_new_or_broke(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    cluster.reads.extend([ConnectionIsNew(), ConnectionBroken("gone", sent=True), ConnectionIsNew()])
    assert checked(await query(client, SELECT), ReadAnswer)["data"] == []


async def test_a_read_that_no_node_answers_fails_at_its_deadline(cluster: InProcessCluster) -> None:
    async with cluster.run(REQUEST_DEADLINE_MS="200") as client:
        cluster.reads.append(ConnectionBroken("connection refused", sent=False))
        cluster.reads_repeat = True
        response = await query(client, SELECT)
        assert error_in(response) == (503, "unavailable", False, None, None)


# ------------------------------------------------------------------------------------------ trouble


async def test_without_a_quorum_readiness_and_writes_say_503_and_what_is_missing(cluster: InProcessCluster) -> None:
    for name in NAMES[:2]:
        cluster.nodes[name].is_down = True
    async with cluster.run(wait=False, REQUEST_DEADLINE_MS="200") as client:
        response = await client.get("/health")
        assert response.status_code == 200
        body = checked(response, HealthAnswer)
        assert (body["status"], body["can_write"]) == ("ok", False)
        response = await query(client, INSERT)
        assert error_in(response) == (503, "unavailable", False, None, None)
        assert response.headers["retry-after"] == "1"
        status = checked(await client.get("/status"), StatusAnswer)
        assert (status["current_master"], status["master_is_original"]) == (None, False)
        assert status["replicas"] == ["replica-1", "replica-2", "replica-3"]
        assert "quorum" in status["waits_for"]
        assert (await client.get("/health")).json()["reason"] == status["waits_for"]
        for purpose in ("write", "read"):
            response = await client.get("/ready", params={"for": purpose})
            assert (response.status_code, response.json()["reason"]) == (503, status["waits_for"])


async def test_a_quorum_that_is_lost_and_comes_back_is_seen(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    for name in ("replica-1", "replica-2"):
        cluster.nodes[name].is_down = True
    assert (await until_ready(client, 503))["reason"]
    for name in ("replica-1", "replica-2"):
        cluster.nodes[name].is_down = False
    assert (await until_ready(client, 200))["ready"] is True
    assert (await query(client, INSERT)).status_code == 200


async def test_one_replica_less_costs_nothing(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    cluster.nodes["replica-1"].is_down = True
    body = checked(await query(client, INSERT), WriteAnswer)
    assert body["quorum"] == ["replica-2", "replica-3"]
    assert body["message"].endswith("quorum: 2/2)")


async def test_a_write_during_a_failover_is_held_and_answered_by_the_new_master(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    first = (await query(client, INSERT)).json()
    cluster.nodes["mysql-master"].is_down = True
    sql = "INSERT INTO users (name) VALUES ('Charlie')"
    body = checked(await query(client, sql), WriteAnswer)
    assert body["timestamp"] > first["timestamp"]
    status = checked(await client.get("/status"), StatusAnswer)
    assert status["current_master"] == body["executed_on"] != "mysql-master"
    assert status["master_is_original"] is False
    assert status["replicas"] == [name for name in NAMES if name != status["current_master"]]
    assert [row["sql"] for row in (await query(client, SELECT)).json()["data"]] == [INSERT, sql]
    elections = checked(await client.get("/elections"), ElectionsAnswer)["elections"]
    assert [election["master"] for election in elections] == ["mysql-master", status["current_master"]]


async def test_past_its_deadline_a_write_under_way_is_unknown_and_one_that_waited_is_not_committed(
    cluster: InProcessCluster,
) -> None:
    async with cluster.run(REQUEST_DEADLINE_MS="300") as client:
        cluster.nodes["mysql-master"].hangs_on = (ExecuteBatch,)
        under_way = asyncio.create_task(query(client, INSERT))
        await asyncio.sleep(0.05)  # until the first is under way
        waiting = asyncio.create_task(query(client, "INSERT INTO users (name) VALUES ('Bob')"))
        assert error_in(await under_way) == (503, "unavailable", "unknown", None, None)
        assert "look before you repeat it" in (await under_way).json()["message"]
        assert error_in(await waiting) == (503, "unavailable", False, None, None)
        assert "can be sent again" in (await waiting).json()["message"]


async def test_a_write_whose_commit_hangs_is_unknown_and_may_turn_out_to_be_there(cluster: InProcessCluster) -> None:
    async with cluster.run(REQUEST_DEADLINE_MS="300") as client:
        cluster.nodes["mysql-master"].hangs_on = (CommitBatch,)
        assert error_in(await query(client, INSERT)) == (503, "unavailable", "unknown", None, None)
        cluster.nodes["mysql-master"].is_down = True
        await until_status(client, lambda status: status["current_master"] not in (None, "mysql-master"))
        assert [row["sql"] for row in (await query(client, SELECT)).json()["data"]] == [INSERT]


async def test_more_writes_than_may_wait_are_refused_at_once(cluster: InProcessCluster) -> None:
    async with cluster.run(PENDING_WRITES_MAX="2", REQUEST_DEADLINE_MS="300") as client:
        master = cluster.nodes["mysql-master"]
        master.hangs_on = (ExecuteBatch,)
        writes = [asyncio.create_task(query(client, INSERT))]
        await asyncio.wait_for(master.hangs.wait(), STATE_S)
        writes += [asyncio.create_task(query(client, INSERT)) for _ in range(3)]
        answers = await asyncio.gather(*writes)
        # two wait, and whichever comes last is told at once
        assert [error_in(answer)[2] for answer in answers] == ["unknown", False, False, False]
        assert sum("too many writes are waiting" in answer.json()["message"] for answer in answers) == 1


async def test_without_timestamps_writes_fail_clearly_and_reads_go_on(cluster: InProcessCluster) -> None:
    cluster.timestamps.is_away = True
    async with cluster.run(wait=False, REQUEST_DEADLINE_MS="200") as client:
        await until_status(client, lambda status: status["waits_for"] == "the timestamp service")
        assert (await until_ready(client, 503))["reason"] == "the timestamp service"
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/ready?for=read")).status_code == 200, "a read needs no timestamp"
        assert error_in(await query(client, INSERT)) == (503, "unavailable", False, None, None)
        assert (await query(client, SELECT)).status_code == 200
        status = checked(await client.get("/status"), StatusAnswer)
        assert status["timestamp_service_errors"] == {"http://127.0.0.1:8001": "connection refused"}
        cluster.timestamps.is_away = False
        assert (await query(client, INSERT)).status_code == 200


async def test_readiness_does_not_waver_while_the_timestamp_servers_do_not_answer(cluster: InProcessCluster) -> None:
    cluster.timestamps.is_away, cluster.timestamps.delay_s = True, 0.15
    async with cluster.run(wait=False) as client:
        await until_status(client, lambda status: status["waits_for"] == "the timestamp service")
        seen = []
        for _ in range(50):
            seen.append((await client.get("/ready")).status_code)
            await asyncio.sleep(0.01)  # fifty looks over half a second
        assert set(seen) == {503}


@pytest.mark.parametrize("path", ["/switchover", "/verify"])
async def test_no_route_holds_a_body_that_is_too_large(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=b" " * (2 << 20), headers={"content-type": "application/json"})
    assert error_in(response) == (413, "bad_request", False, None, None)


async def test_a_fault_of_a_route_is_told_in_the_shape_of_all_errors(
    cluster: InProcessCluster, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_view, "status", None)
    transport = httpx.ASGITransport(client._transport.app, raise_app_exceptions=False)  # type: ignore[attr-defined]  # its own
    async with httpx.AsyncClient(transport=transport, base_url="http://coordinator") as other:
        response = await other.get("/status")
    assert error_in(response) == (500, "unforeseen", "unknown", None, None)


async def test_a_coordinator_whose_protocol_is_stuck_is_not_healthy(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "LOOP_STALE_S", -1.0)
    for path in ("/health", "/ready", "/ready?for=read"):
        response = await client.get(path)
        assert response.status_code == 503
        assert "took no step" in response.json()["reason"]
    body = checked(await client.get("/health"), HealthAnswer)
    assert (body["status"], body["can_write"]) == ("unavailable", False)


async def test_a_coordinator_that_was_deposed_says_so_and_commits_nothing(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    assert (await query(client, INSERT)).status_code == 200
    for name, node in cluster.nodes.items():
        node.model.carry_out(Fence(name, 0, 99, "another"), "another")
    assert (await until_ready(client, 503))["reason"] == "another coordinator has taken over"
    assert (await client.get("/ready?for=read")).json()["reason"] == "another coordinator has taken over"
    for sql in ("INSERT INTO users (name) VALUES ('Bob')", SELECT):
        response = await query(client, sql)
        assert error_in(response) == (503, "unavailable", False, None, None)
        assert "another coordinator has taken over" in response.json()["message"]
    assert len(cluster.nodes["mysql-master"].model.data) == 1


async def test_a_restarted_coordinator_takes_over_and_finds_every_acknowledged_write(cluster: InProcessCluster) -> None:
    async with cluster.run() as client:
        first = (await query(client, INSERT)).json()
    async with cluster.run() as client:
        assert [row["sql"] for row in (await query(client, SELECT)).json()["data"]] == [INSERT]
        second = (await query(client, "INSERT INTO users (name) VALUES ('Bob')")).json()
        assert second["timestamp"] > first["timestamp"]


async def test_a_planned_switchover_changes_the_master_and_loses_no_write(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    async with AsyncExitStack() as stack:
        writes = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [writes.create_task(query(client, f"INSERT INTO users (name) VALUES ('{n}')")) for n in range(20)]
        response = await client.post("/switchover", json={"to": "replica-2"})
    assert response.status_code == 200
    assert response.json() == {"success": True, "message": "replica-2 is master", "current_master": "replica-2"}
    assert [task.result().status_code for task in tasks] == [200] * 20
    assert checked(await client.get("/status"), StatusAnswer)["current_master"] == "replica-2"
    refused = await client.post("/switchover", json={"to": "replica-9"})
    assert (refused.status_code, refused.json()["current_master"]) == (409, "replica-2")
    assert "there is no node 'replica-9'" in refused.json()["message"]


# ------------------------------------------------------------------------------------------ OpenAPI


async def test_openapi_describes_the_routes_and_all_answers_of_a_query(client: httpx.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()
    assert {"/query", "/status", "/health"} <= set(api["paths"])
    post = api["paths"]["/query"]["post"]
    asked = post["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [each["$ref"].rpartition("/")[2] for each in asked] == ["QueryRequest", "BatchRequest"]
    assert api["components"]["schemas"]["QueryRequest"]["required"] == ["query"]
    responses = {status: each["content"]["application/json"]["schema"] for status, each in post["responses"].items()}
    answers = [each["$ref"].rpartition("/")[2] for each in responses.pop("200")["anyOf"]]
    assert answers == ["WriteAnswer", "ReadAnswer", "BatchAnswer", "ReadBatchAnswer"]
    assert set(responses) == {"400", "401", "403", "409", "413", "422", "429", "500", "503", "504"}
    assert {schema["$ref"] for schema in responses.values()} == {"#/components/schemas/ErrorAnswer"}
    assert (await client.get("/docs")).status_code == 200


def test_openapi_describes_every_status_that_a_query_was_seen_to_have() -> None:
    seen = {status for _, _, (status, *_) in BAD} | {int(str(expected[0])) for _, expected in READ_ERRORS}
    assert seen <= {400, 403, 409, 413, 422, 503, 504}


async def test_openapi_says_that_unknown_fields_are_refused(client: httpx.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()
    assert api["components"]["schemas"]["QueryRequest"]["additionalProperties"] is False


# ------------------------------------------------------------------------------------------ parameters


async def test_values_are_bound_to_markers_before_anything_looks_at_the_text(client: httpx.AsyncClient) -> None:
    asked = {"query": "INSERT INTO users (name, email) VALUES (?, :x)", "params": ["a", "b"]}
    mixed = await client.post("/query", json=asked)
    assert error_in(mixed)[:2] == (422, "bad_request")
    for query, params, bound in (
        ("INSERT INTO users (name, email) VALUES (?, ?)", ["it's", "\\"], "('it''s', '\\\\')"),
        ("INSERT INTO users (name, email) VALUES (:n, :e)", {"n": None, "e": {"base64": "AA=="}}, "(NULL, x'00')"),
    ):
        written = await client.post("/query", json={"query": query, "params": params})
        assert written.status_code == 200
        told = await client.post("/explain-replication", json={"query": query, "params": params})
        explained = checked(told, ExplainAnswer)
        assert explained["replicated"] == f"INSERT INTO users (name, email) VALUES {bound}"


@pytest.mark.parametrize(
    "params", [[], [1, 2, 3], {"name": 1}, [[1], 2], [{"decimal": "x"}, 1], [{"base64": "*"}, 1], "text", 5]
)
async def test_values_that_do_not_fit_are_refused_with_what_to_do(client: httpx.AsyncClient, params: object) -> None:
    asked = {"query": "INSERT INTO users (name, email) VALUES (?, ?)", "params": params}
    refused = await client.post("/query", json=asked)
    assert error_in(refused)[:2] == (422, "bad_request")
    assert refused.json()["committed"] is False


# ------------------------------------------------------------------------------------------ atomic batches


async def batch(client: httpx.AsyncClient, *statements: str | dict[str, Any]) -> httpx.Response:
    asked = [{"query": each} if isinstance(each, str) else each for each in statements]
    return await client.post("/query", json={"statements": asked})


async def test_a_batch_is_answered_as_the_readme_says(client: httpx.AsyncClient) -> None:
    other = {"query": "INSERT INTO users (name, email) VALUES (?, 'x')", "params": ["Bob"]}
    answered = await batch(client, INSERT, "SELECT * FROM users", other | {"expect": {"rows_affected": 1}})
    body = checked(answered, BatchAnswer)
    assert list(body.items())[:4] == [
        ("success", True),
        ("message", "Batch successful (timestamp: 5, quorum: 2/2)"),
        ("timestamp", 5),
        ("rows_affected", 2),
    ]
    assert [sorted(result) for result in body["results"]] == [
        ["last_insert_id", "rows_affected"],
        ["data", "rows_affected"],
        ["last_insert_id", "rows_affected"],
    ]
    assert (body["executed_on"], body["quorum"], body["committed"]) == (
        "mysql-master",
        ["replica-1", "replica-2"],
        True,
    )


async def test_a_batch_of_reads_is_answered_by_one_node_and_changes_nothing(client: httpx.AsyncClient) -> None:
    answered = await batch(client, SELECT, SELECT)
    body = checked(answered, ReadBatchAnswer)
    assert (body["message"], len(body["results"])) == ("Reads successful", 2)
    assert body["executed_on"] in NAMES
    assert checked(await query(client, INSERT), WriteAnswer)["timestamp"] == 5


@pytest.mark.parametrize(
    ("statements", "expected", "index"),
    [
        ([INSERT, "nonsense"], (400, "syntax", False, 1064, "42000"), 1),
        ([INSERT, "DROP TABLE users"], (400, "refused", False, 1235, "42000"), 1),
        ([{"query": INSERT, "expect": {"rows_affected": 2}}, INSERT], (409, "expectation", False, None, None), 0),
        ([], (422, "bad_request", False, None, None), None),
    ],
)
async def test_a_batch_that_is_refused_names_the_statement_and_does_nothing(
    cluster: InProcessCluster,
    client: httpx.AsyncClient,
    statements: list[Any],
    expected: tuple[object, ...],
    index: int | None,
) -> None:
    refused = await batch(client, *statements)
    assert error_in(refused) == expected
    assert refused.json()["error"]["statement_index"] == index
    assert not cluster.nodes["mysql-master"].model.data


# ------------------------------------------------------------------------------------------ exactly once


async def keyed(client: httpx.AsyncClient, key: str, asked: str | dict[str, Any]) -> httpx.Response:
    body = {"query": asked} if isinstance(asked, str) else asked
    return await client.post("/query", json=body, headers={"idempotency-key": key})


async def test_a_write_with_a_key_takes_effect_once_however_often_it_is_sent(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    first = checked(await keyed(client, "a", INSERT), WriteAnswer)
    assert "repeated" not in first
    for _ in range(3):
        again = checked(await keyed(client, "a", INSERT), WriteAnswer)
        assert again["repeated"] is True
        same = ("timestamp", "rows_affected", "last_insert_id", "committed", "success")
        assert [again[name] for name in same] == [first[name] for name in same]
    assert sum(entry.sql == INSERT for entry in cluster.nodes["mysql-master"].model.data) == 1
    other = checked(await keyed(client, "b", INSERT.replace("Alice", "Bob")), WriteAnswer)
    assert other["timestamp"] > first["timestamp"]


async def test_the_same_key_sent_at_once_by_many_takes_effect_once(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(keyed(client, "k", INSERT) for _ in range(20)))
    assert {answer.json()["timestamp"] for answer in answers} == {5}
    assert sum("repeated" not in answer.json() for answer in answers) == 1
    assert sum(entry.sql == INSERT for entry in cluster.nodes["mysql-master"].model.data) == 1


async def test_a_key_that_was_used_for_another_request_is_refused(client: httpx.AsyncClient) -> None:
    assert (await keyed(client, "a", INSERT)).status_code == 200
    for other in (f"{INSERT} ", INSERT.replace("Alice", "Bob"), {"statements": [{"query": INSERT}]}):
        answer = await keyed(client, "a", other)
        if other == f"{INSERT} ":
            assert answer.status_code == 200, "blanks around a text are none of it"
        else:
            assert error_in(answer)[:3] == (422, "bad_request", False)


async def test_a_request_that_was_refused_may_be_sent_again_with_its_key(client: httpx.AsyncClient) -> None:
    assert (await query(client, INSERT)).status_code == 200
    two = {"statements": [{"query": "DELETE FROM users WHERE id = 9"}, {"query": INSERT}]}
    for _ in range(2):
        refused = await keyed(client, "a", two)
        assert error_in(refused)[:2] == (409, "constraint")
        assert refused.json()["error"]["statement_index"] == 1
    assert error_in(await keyed(client, "b", INSERT))[:2] == (409, "constraint")
    assert checked(await client.get("/transactions/a"), FateAnswer)["fate"] == "not committed"


async def test_a_batch_with_a_key_is_answered_again_without_what_it_read(client: httpx.AsyncClient) -> None:
    asked = {"statements": [{"query": INSERT}, {"query": "SELECT * FROM users"}]}
    first = checked(await keyed(client, "a", asked), BatchAnswer)
    again = checked(await keyed(client, "a", asked), BatchAnswer)
    assert (again["timestamp"], again["repeated"], again["rows_affected"]) == (first["timestamp"], True, 1)
    assert again["results"] == [first["results"][0], {"rows_affected": None, "data": None}]


@pytest.mark.parametrize("key", ["", "a" * 129, "\x7f", "gr\u00f6\u00dfe"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    body = json.dumps({"query": INSERT})
    headers = [(b"idempotency-key", key.encode("latin-1")), (b"content-type", b"application/json")]
    assert error_in(await client.post("/query", content=body, headers=headers))[:2] == (422, "bad_request")


async def test_a_schema_change_takes_no_key_and_a_read_needs_none(client: httpx.AsyncClient) -> None:
    assert error_in(await keyed(client, "a", "DROP TABLE users"))[:2] == (400, "refused")
    assert (await keyed(client, "a", SELECT)).status_code == 200
    assert (await client.get("/transactions/a")).json()["fate"] == "not committed"


async def test_the_fate_of_a_request_is_told_by_its_key_and_by_its_timestamp(client: httpx.AsyncClient) -> None:
    written = (await keyed(client, "a/b c", INSERT)).json()
    results = [{"rows_affected": 1, "last_insert_id": written["last_insert_id"]}]
    for path in ("/transactions/a%2Fb%20c", f"/transactions?timestamp={written['timestamp']}"):
        told = checked(await client.get(path), FateAnswer)
        assert (told["fate"], told["timestamp"], told["results"]) == ("committed", written["timestamp"], results)
    before = checked(await client.get(f"/transactions?timestamp={written['timestamp'] - 1}"), FateAnswer)
    assert before["fate"] == "not committed"
    assert checked(await client.get("/transactions?timestamp=999999"), FateAnswer)["fate"] == "unknown"
    assert error_in(await client.get("/transactions"))[:2] == (422, "bad_request")


async def test_a_request_under_way_has_no_fate_yet(cluster: InProcessCluster, client: httpx.AsyncClient) -> None:
    for name in ("replica-1", "replica-2", "replica-3"):
        cluster.nodes[name].hangs_on = (StoreRows,)
    sending = asyncio.create_task(keyed(client, "a", INSERT))
    await asyncio.sleep(0.05)  # it gets as far as it can
    told = await client.get("/transactions/a")
    sending.cancel()
    assert (told.status_code, told.json().get("fate")) == (200, "unknown")
