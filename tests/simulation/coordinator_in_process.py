"""The coordinator in process, over the simulation's model of nodes: real wiring, driver, replicator and endpoint.

Replaced is only what touches the outside: the MySQL nodes, the readers, the connections that read definitions, the timestamp
service, the advice.
"""

import asyncio
import re
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import composition
import httpx
import msgspec
import pytest
from cabinet_contract import QuorumAnswer
from driver import Driver
from model_node import CommandLost, ModelNode
from seer_contract import CandidateScores, LeaderAnswer

from adapters import checksum_sql
from adapters.mysql_node import CommandFailed
from adapters.mysql_session import Column, ConnectionBroken, StatementResult
from replication.effects import CopyData, ExecuteBatch, NodeEffect
from replication.events import AdviceArrived, TimestampsGranted, TimestampsRefused
from replication.log import batch_of
from replication.replies import BatchExecuted, CopyEnded, Reply
from replication.values import Certainty, Disturbed, Outcome
from statements.schema_tables import QUERIES

Load = Callable[[str], ModuleType]
NAMES = ("mysql-master", "replica-1", "replica-2", "replica-3")
SETTINGS = {
    "COORDINATOR_DB_PASSWORD": "secret-of-coordinator",
    "READER_DB_PASSWORD": "secret-of-reader",
    "CLONER_DB_PASSWORD": "secret-of-cloner",
    "DDL_DB_PASSWORD": "secret-of-ddl",
    "SCHEMA_READER_DB_PASSWORD": "secret-of-schema-reader",
    "VERIFIER_DB_PASSWORD": "secret-of-verifier",
    "HISTORIAN_DB_PASSWORD": "secret-of-historian",
    "NODES": ",".join(f"{name}=127.0.0.1:{port}" for port, name in enumerate(NAMES, 1)),
    "CONFIRM_TIMEOUT_MS": "90",
    "HEARTBEAT_MS": "40",
    "IDLE_FLUSH_MS": "5",
    "REQUEST_DEADLINE_MS": "5000",
}
USERS_ROWS: dict[str, list[tuple[object, ...]]] = {
    "tables": [("distributed_db", "users", "BASE TABLE", 0)],
    "columns": [
        ("distributed_db", "users", "id", "bigint", "", 0, 0, 1, 0, ""),
        ("distributed_db", "users", "name", "varchar", "utf8mb4_0900_ai_ci", 100, 0, 0, 0, ""),
        ("distributed_db", "users", "email", "varchar", "utf8mb4_0900_ai_ci", 255, 0, 0, 0, ""),
    ],
    "keys": [("distributed_db", "users", "PRIMARY", "id", 0, "")],
}
QUORUM = QuorumAnswer(
    operation="write",
    quorum=["replica-1", "replica-2"],
    quorum_size=2,
    weights={"replica-1": 0.5, "replica-2": 0.25},
    excluded={"replica-3": "not healthy"},
    master="mysql-master",
    reason="the only 2 usable replicas",
)
LEADER = LeaderAnswer(
    leader="replica-3",
    ranking=["replica-3", "replica-1"],
    scores={
        "replica-3": CandidateScores(latency_score=0.5, stability_score=0.9, lag_score=1.0, total=0.76),
        "replica-1": CandidateScores(latency_score=0.5, stability_score=0.9, lag_score=0.5, total=0.66),
    },
    excluded={"replica-2": "not healthy"},
    master="mysql-master",
    reason="the highest total of 2 candidates",
)
STATE_S = 10.0
"""How long a test waits for a state at most."""


class InProcessNode:
    """A model node that answers as an adapter does: later, and with failures."""

    def __init__(self, cluster: "InProcessCluster", name: str) -> None:
        self._cluster = cluster
        self.model = ModelNode(name)
        self.is_down = False
        self.hangs_on: tuple[type, ...] = ()
        self.hangs = asyncio.Event()
        """It has been asked for such a thing."""

    async def carry_out(self, effect: NodeEffect) -> Reply:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        if isinstance(effect, self.hangs_on):
            self.hangs.set()
            await asyncio.Event().wait()
        if self.is_down:
            raise CommandFailed(Certainty.NOT_APPLIED, "connection refused")
        if isinstance(effect, CopyData):
            self.model.become(self._cluster.nodes[effect.donor].model)
            return CopyEnded()
        try:
            return self._execute(effect) if isinstance(effect, ExecuteBatch) else self._carry_out(effect)
        except CommandLost as lost:
            raise CommandFailed(Certainty.NOT_APPLIED, str(lost)) from lost

    def _carry_out(self, effect: NodeEffect) -> Reply:
        return self.model.carry_out(effect, "coordinator")

    def _execute(self, effect: ExecuteBatch) -> Reply:
        """The model runs what has no outcome of its own in `cluster.outcomes`."""
        scripted = [self._cluster.outcomes.get(request.statements[0].sql) for _, request in effect.requests]
        pairs = zip(effect.requests, scripted, strict=True)
        left = tuple(request for request, outcome in pairs if outcome is None)
        reply = self._carry_out(msgspec.structs.replace(effect, requests=left))
        if not isinstance(reply, BatchExecuted):
            return reply
        by_model = iter(reply.outcomes)
        outcomes: list[Outcome] = []
        for outcome in scripted:
            outcomes.append(next(by_model) if outcome is None else outcome)
            if isinstance(outcome, Disturbed):
                break
        return BatchExecuted(tuple(outcomes))

    def close(self) -> None:
        return


class InProcessSnapshot:
    """Answers what a comparison asks about one table, whose rows are the entries in the node's snapshot, a key each."""

    def __init__(self, cluster: "InProcessCluster", node: InProcessNode) -> None:
        self._cluster, self._node = cluster, node

    async def query(self, sql: str) -> StatementResult:
        await self._cluster.comparisons_go_on.wait()
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        if "coordinator" not in self._node.model.snapshots:
            raise ConnectionBroken("the connection is closed", sent=False)
        return _result(self._rows(sql))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        entries = self._node.model.snapshots["coordinator"][1]
        if sql == checksum_sql.TABLES:
            return [("distributed_db", "users", "BASE TABLE")]
        if sql.startswith("SHOW CREATE TABLE"):
            return [("users", f"CREATE TABLE `users` (…) ENGINE=InnoDB AUTO_INCREMENT={len(self._node.model.log)}")]
        if "information_schema.columns" in sql:
            return [("id", "bigint", None, 1), ("name", "varchar", 400, None)]
        if sql.startswith("SELECT COUNT(*)"):
            return [(len(entries), str(sorted(entry.sql for entry in entries)))]
        if sql.startswith("SELECT CAST(`id` AS CHAR), SHA2"):
            return [(str(entry.timestamp), entry.sql) for entry in entries]
        assert sql.startswith("SELECT CAST(`id` AS CHAR) FROM"), sql
        return []

    def close(self) -> None:
        self._node.model.snapshots.pop("coordinator", None)


def _result(rows: list[tuple[Any, ...]]) -> StatementResult:
    return StatementResult(len(rows), 0, [], rows)


class InProcessReader:
    """Answers with what the test has laid ready, else with the entries that the node's data holds."""

    def __init__(self, cluster: "InProcessCluster", node: InProcessNode) -> None:
        self._cluster, self._node = cluster, node

    async def read(self, texts: Sequence[str], leave_ns: int) -> list[StatementResult]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        return [self._one() for _ in texts]

    async def open_stream(self, text: str, leave_ns: int) -> "InProcessStream":
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        return InProcessStream(self._one())

    def _one(self) -> StatementResult:
        if self._cluster.reads:
            answer = self._cluster.reads[0] if self._cluster.reads_repeat else self._cluster.reads.popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer
        rows = [(entry.timestamp, entry.sql) for entry in self._node.model.data]
        return StatementResult(len(rows), 0, [Column("timestamp", 8), Column("sql", 253)], rows)

    def close(self) -> None:
        return


class InProcessStream:
    """Gives a result row by row."""

    def __init__(self, result: StatementResult) -> None:
        self.columns = result.columns
        self._rows = iter(result.rows)

    async def rows(self) -> list[tuple[Any, ...]]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        return [row for row in [next(self._rows, None)] if row is not None]

    def close(self) -> None:
        return


class InProcessHistorian:
    """Answers what is asked of keys and of the log, from what is applied of the node's log. A key stands in the claim's text."""

    def __init__(self, node: InProcessNode) -> None:
        self._model = node.model

    async def read(self, texts: Sequence[str], leave_ns: int) -> list[StatementResult]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        return [StatementResult(0, 0, None, list(self._rows(sql))) for sql in texts]

    def _rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        applied = [row for row in self._model.log if row.last_timestamp <= self._model.applied]
        if "applied_timestamp" in sql:
            yield (self._model.applied,)
        elif sql.startswith("SELECT first_timestamp"):
            yield (0,)
        elif sql.startswith("SELECT 1 "):
            return
        elif "idempotency_key = " in sql:
            key = sql.split("idempotency_key = ")[1].split()[0]
            for row in applied:
                for entry in batch_of(row).entries:
                    claimed = re.search(r"VALUES \((x'\w+'), x'(\w+)'", entry.sql)
                    if claimed and claimed[1] == key:
                        digest = bytes.fromhex(claimed[2])
                        yield (row.payload,) if "payload" in sql else (digest, entry.timestamp)
        else:
            (timestamp,) = map(int, re.findall(r"first_timestamp <= (\d+)", sql))
            for row in applied:
                if row.first_timestamp <= timestamp <= row.last_timestamp:
                    yield (row.payload,)

    def close(self) -> None:
        return


class InProcessSession:
    """The connection over which definitions are read: answers with the table `users`."""

    def __init__(self, cluster: "InProcessCluster") -> None:
        self._cluster = cluster
        self.is_open = False
        self.opened_ns = 0
        self.lock = asyncio.Lock()

    async def open(self) -> None:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.is_open, self.opened_ns = True, time.monotonic_ns()

    async def run(self, statements: list[str], timeout_s: float) -> list[StatementResult]:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self._cluster.schema_readings += 1
        names = {sql: name for name, sql in QUERIES.items()}
        rows = [USERS_ROWS.get(names.get(sql, ""), []) for sql in statements]
        rows[1] = [(1,)]
        return [StatementResult(0, 0, None, one) for one in rows]

    def close(self) -> None:
        self.is_open = False


class InProcessTimestamps:
    """Odd numbers from 5 on, as in the README's example."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}
        self.failures = {"http://127.0.0.1:8001": 0}
        self.is_away = False
        self.delay_s = 0.0
        self._next = 5

    async def fetch(self, count: int, after: int) -> TimestampsGranted | TimestampsRefused:
        await asyncio.sleep(self.delay_s)  # as slow as the test wants it
        if self.is_away:
            self.errors["http://127.0.0.1:8001"] = "connection refused"
            self.failures["http://127.0.0.1:8001"] += 1
            return TimestampsRefused("both servers are away")
        self.errors.clear()
        first = max(self._next, after + 1) | 1
        self._next = first + 2 * count
        return TimestampsGranted(first, self._next - 2, 2)

    async def close(self) -> None:
        return


class InProcessAdvice:
    def __init__(self) -> None:
        self.quorum: QuorumAnswer | None = None
        self.ranking: LeaderAnswer | None = None
        self.quorum_at_ns = self.ranking_at_ns = 0

    async def fetch(self, master: str | None) -> AdviceArrived:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.quorum, self.ranking = QUORUM, LEADER
        self.quorum_at_ns = self.ranking_at_ns = time.monotonic_ns()
        return AdviceArrived(tuple(QUORUM.quorum), tuple(LEADER.ranking))

    async def close(self) -> None:
        return


class InProcessCluster:
    """Runs coordinators over the same four nodes."""

    def __init__(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        self._load, self._monkeypatch = load, monkeypatch
        self.nodes = {name: InProcessNode(self, name) for name in NAMES}
        self.timestamps = InProcessTimestamps()
        self.outcomes: dict[str, Outcome] = {}
        """Statement -> what the master says to it."""
        self.reads: deque[StatementResult | Exception] = deque()
        """What the next reads give, whichever the node."""
        self.reads_repeat = False
        self.schema_readings = 0
        self.comparisons_go_on = asyncio.Event()
        self.comparisons_go_on.set()
        self.deaths: list[str] = []

    def _wired(self) -> ModuleType:
        main = self._load("coordinator")
        readers = iter(
            [
                *(InProcessReader(self, node) for node in self.nodes.values()),
                *(InProcessHistorian(node) for node in self.nodes.values()),
            ]
        )
        snapshots = iter(InProcessSnapshot(self, node) for node in self.nodes.values())
        self._monkeypatch.setattr(composition, "NodeChecksums", lambda *_, **__: next(snapshots))
        self._monkeypatch.setattr(composition, "MySQLNode", lambda name, *_: self.nodes[name])
        self._monkeypatch.setattr(composition, "NodeReader", lambda *_, **__: next(readers))
        self._monkeypatch.setattr(composition, "MySQLSession", lambda *_, **__: InProcessSession(self))
        self._monkeypatch.setattr(composition, "TimestampClient", lambda *_: self.timestamps)
        self._monkeypatch.setattr(composition, "AdviceClient", lambda *_: InProcessAdvice())
        # the real one ends the process, and the test run with it
        self._monkeypatch.setattr(Driver, "die", lambda _, why: self.deaths.append(f"{why}\n{traceback.format_exc()}"))
        return main

    @asynccontextmanager
    async def run(self, *, wait: bool = True, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of a coordinator that takes writes, unless told not to wait for that."""
        for name, value in (SETTINGS | settings).items():
            self._monkeypatch.setenv(name, value)
        main = self._wired()
        transport = httpx.ASGITransport(app=main.app)
        async with (
            main.lifespan(main.application.api),
            httpx.AsyncClient(transport=transport, base_url="http://coordinator") as client,
        ):
            if wait:
                await until_ready(client, 200)
            yield client
        assert not self.deaths, self.deaths[0]


async def until_ready(client: httpx.AsyncClient, status: int) -> dict[str, Any]:
    """Wait until /ready has this status; answers with its body."""
    async with asyncio.timeout(STATE_S):
        while True:
            response = await client.get("/ready")
            if response.status_code == status:
                body: dict[str, Any] = response.json()
                return body
            await asyncio.sleep(0.005)  # nobody tells: looked again


async def until_status(client: httpx.AsyncClient, is_reached: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until /status is as wanted."""
    async with asyncio.timeout(STATE_S):
        while True:
            if is_reached((await client.get("/status")).json()):
                return
            await asyncio.sleep(0.005)  # nobody tells: looked again
