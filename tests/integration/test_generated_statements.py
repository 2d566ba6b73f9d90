"""Generated statements over generated schemas, from several clients at once: four equal nodes, equal to one plain MySQL.

Each case makes the database `g` and its tables by POST /query, sends the clients' statements and waits until the nodes are equal.
Then one plain MySQL executes what the log holds, in timestamp order, with the same pins, and must hold the same rows
(plain_replay.py). What the clients were told is compared with the log as well: exactly the acknowledged statements are in it.

`make test` takes what fits into half a minute; GENERATED_MINUTES widens that. A failure prints the schema, the statements in the
order in which they were executed, and the difference.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cluster_handle import ClusterHandle, private_cluster
from equal_nodes import wait_until_equal
from generated_schemas import Schema, schemas
from generated_statements import sequences
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from log_entries import end_of_log
from one_mysql import one_mysql
from plain_replay import Executed, PlainMySQL, executed_after
from recording_client import Connection

SHORT_S = 30.0
EQUAL_S = 10.0
CASES_A_ROUND = 40
NODE = "replica-1"
TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'g' AND table_type = 'BASE TABLE' ORDER BY 1"
)
Told = list[tuple[str, int, dict[str, Any]]]
"""(statement, HTTP status, answer)."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    with private_cluster(tmp_path_factory.mktemp("generated")) as handle:
        yield handle


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainMySQL]:
    with one_mysql(tmp_path_factory.mktemp("plain"), server_id=77) as server:
        mysql = PlainMySQL(server)
        yield mysql
        mysql.close()


@dataclass(frozen=True)
class Case:
    schema: Schema
    by_client: list[list[str]]

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """For Hypothesis: the report has said all already, in an order that means something."""
        printer.text("the case above")


cases = schemas().flatmap(lambda schema: st.builds(Case, st.just(schema), sequences(schema)))


async def _client(port: int, statements: list[str]) -> Told:
    connection = Connection(port)
    told = [(sql, *(await connection.query(sql))) for sql in statements]
    connection.close()
    return told


async def _send(port: int, case: Case) -> Told:
    """All that all clients were told."""
    first = await _client(port, ["DROP DATABASE IF EXISTS g", "CREATE DATABASE g", *case.schema.statements])
    assert all(status == 200 for _, status, _ in first), first
    rest = await asyncio.gather(*(_client(port, statements) for statements in case.by_client))
    return first + [one for told in rest for one in told]


class Prover:
    """Runs cases on the cluster and on the plain server, and counts what came of the statements."""

    def __init__(self, cluster: ClusterHandle, plain: PlainMySQL) -> None:
        self._cluster, self._plain = cluster, plain
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.cases = 0

    def prove(self, case: Case) -> None:
        start = end_of_log(self._cluster, NODE)
        told = asyncio.run(_send(self._cluster.port("coordinator"), case))
        executed: list[Executed] = []
        try:
            wait_until_equal(self._cluster, EQUAL_S)
            executed = executed_after(self._cluster, NODE, start)
            complaints = self._complaints(told, executed)
        except AssertionError as error:
            complaints = [str(error)]
        self._count(told)
        assert not complaints, _report(case, told, executed or executed_after(self._cluster, NODE, start), complaints)

    def _complaints(self, told: Told, executed: list[Executed]) -> list[str]:
        complaints = [
            f"answered {status}: {sql}: {answer}" for sql, status, answer in told if status not in (200, 400, 403, 409)
        ]
        acknowledged = {answer["timestamp"] for _, status, answer in told if status == 200}
        logged = {statement.timestamp for statement in executed}
        complaints += [f"{acknowledged - logged} were acknowledged and are not in the log"] * bool(
            acknowledged - logged
        )
        complaints += [f"{logged - acknowledged} are in the log and were not acknowledged"] * bool(
            logged - acknowledged
        )
        complaints += [complaint for statement in executed if (complaint := self._plain.execute(statement))]
        for (table,) in self._plain.ask(TABLES):
            sql = f"SELECT * FROM g.{table}"
            here, there = (sorted(rows, key=repr) for rows in (self._plain.ask(sql), self._cluster.rows_on(NODE, sql)))
            complaints += [f"g.{table}: only the plain server has {row}" for row in here if row not in there]
            complaints += [f"g.{table}: only the nodes have {row}" for row in there if row not in here]
        if self._plain.ask(TABLES) != self._cluster.rows_on(NODE, TABLES):
            complaints.append("the tables differ")
        self._plain.ask("COMMIT")
        return complaints

    def _count(self, told: Told) -> None:
        self.cases += 1
        for sql, status, answer in told:
            kind = "" if status == 200 else f" {answer.get('error', {}).get('kind')}"
            self.outcomes[f"{sql.split()[0]} {status}{kind}"] += 1
            if kind == " refused":
                self.refusals[answer["message"].split(":")[0]] += 1


def _report(case: Case, told: Told, executed: list[Executed], complaints: list[str]) -> str:
    answers = [f"  {status} {sql}: {answer.get('message')}" for sql, status, answer in told if status != 200]
    order = [f"  {statement.timestamp} {statement.pins}; {statement.sql};" for statement in executed]
    return "\n".join(
        [
            "the schema",
            *case.schema.statements,
            "executed, in order",
            *order,
            "not executed",
            *answers,
            "differs",
            *complaints,
        ]
    )


def test_generated_statements_leave_equal_nodes_that_equal_one_plain_mysql(
    cluster: ClusterHandle, plain: PlainMySQL
) -> None:
    prover = Prover(cluster, plain)
    minutes = float(os.environ.get("GENERATED_MINUTES", "0"))
    end_s = time.monotonic() + (minutes * 60 or SHORT_S)
    number = int(os.environ.get("GENERATED_SEED", "0"))
    while time.monotonic() < end_s:

        def prove(case: Case) -> None:
            if time.monotonic() < end_s:
                prover.prove(case)

        print(f"seed {number}")
        limits = settings(
            max_examples=CASES_A_ROUND,
            deadline=None,
            database=None,
            # a failure is not made smaller: each try takes seconds, and the report says all
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        limits(seed(number)(given(cases)(prove)))()
        number = random.SystemRandom().getrandbits(32)
    states = {node["state"] for node in cluster.get("coordinator", "/status").json()["nodes"].values()}
    print(f"{prover.cases} cases, {sum(prover.outcomes.values())} statements: {dict(sorted(prover.outcomes.items()))}")
    print(*(f"  refused {count} times: {reason}" for reason, count in prover.refusals.most_common()), sep="\n")
    assert states == {"level"}, "a node was quarantined"
    assert prover.cases >= 3
    assert sum(count for what, count in prover.outcomes.items() if " 200" in what) > prover.cases * 10
