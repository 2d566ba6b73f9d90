"""The check of single inserts sees each way in which an answer can be untrue."""

import random
import time
from typing import Any, cast

from cluster_handle import ClusterHandle
from history import Outcome
from insert_workload import STALENESS_MS, InsertWorkload
from workload import Client

from statements.query_parser import Kind, parse

Rows = dict[str, list[tuple[str, int, int | None]]]


class Tables:
    """In a node's place: what its two tables hold."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def rows_on(self, node: str, sql: str) -> list[tuple[Any, ...]]:
        return [row for table, rows in self._rows.items() if f"distributed_db.{table} " in sql for row in rows]


def wrong(told: dict[str, tuple[str, Outcome, dict[str, Any]]], **rows: list[tuple[str, int, int | None]]) -> list[str]:
    workload = InsertWorkload(0, "seed")
    workload.told = told
    return workload.check(cast(ClusterHandle, Tables(rows)), "replica-1")


def answered(identity: int, timestamp: int) -> dict[str, Any]:
    return {"last_insert_id": identity, "timestamp": timestamp}


def test_rows_that_are_as_they_were_told_are_right() -> None:
    told = {
        "a": ("users", Outcome.OK, answered(1, 7)),
        "b": ("arrivals", Outcome.OK, answered(2, 9)),
        "c": ("users", Outcome.FAIL, {}),
        "d": ("users", Outcome.INFO, {}),
        "e": ("users", Outcome.INFO, {}),
    }
    assert wrong(told, users=[("a", 1, 7), ("d", 3, 11)], arrivals=[("b", 2, None)]) == []


def test_every_kind_of_untruth_is_seen() -> None:
    acknowledged = {"a": ("users", Outcome.OK, answered(1, 7))}
    assert len(wrong(acknowledged)) == 1, "lost"
    assert len(wrong(acknowledged, users=[("a", 1, 7), ("a", 2, 7)])) == 1, "twice"
    assert len(wrong(acknowledged, users=[("a", 2, 7)])) == 1, "another's id"
    assert len(wrong(acknowledged, users=[("a", 1, 9)])) == 1, "another's timestamp"
    assert len(wrong({"a": ("users", Outcome.FAIL, {})}, users=[("a", 1, 7)])) == 1, "said not to be there"
    assert len(wrong({"a": ("users", Outcome.INFO, {})}, users=[("a", 1, 7), ("a", 2, 7)])) == 1, "twice"
    assert len(wrong({}, users=[("a", 1, 7)])) == 1, "from nowhere"


def test_the_cluster_takes_the_statements_around_a_round() -> None:
    assert [parse(sql).kind for sql in InsertWorkload(0, "seed").statements_that_remove_them()] == [Kind.WRITE] * 2


class Answering:
    """In a client's place: the cluster says this of every read."""

    def __init__(self, status: int, count: int, staleness_ms: int) -> None:
        self._answer = status, {"data": [{"n": count}], "executed_on": "replica-1", "staleness_ms": staleness_ms}
        self.asked: list[dict[str, Any]] = []

    async def can_send(self) -> bool:
        return True

    async def post(self, asked: dict[str, Any], _: float, key: str = "") -> tuple[int, dict[str, Any]]:
        self.asked.append(asked)
        return self._answer


async def looked(client: Answering, acknowledged_ns: int) -> list[str]:
    """What forty looks at one acknowledged row find."""
    workload = InsertWorkload(0, "seed")
    workload.told = {"a": ("users", Outcome.OK, answered(1, 7))}
    for number in range(40):
        await workload._look(cast(Client, client), random.Random(number), [("a", acknowledged_ns)])
    return workload.anomalies


async def test_a_row_that_a_weak_read_must_show_is_looked_for_in_both_ways() -> None:
    client = Answering(200, 1, 5)
    assert await looked(client, 0) == []
    assert {"after_timestamp" in each for each in client.asked} == {True, False}
    assert {parse(each["query"]).kind for each in client.asked} == {Kind.READ}
    assert await looked(Answering(503, 0, 0), 0) == [], "it was no answer"


async def test_a_weak_read_that_is_older_than_it_may_be_is_seen() -> None:
    assert len(await looked(Answering(200, 0, 5), 0)) == 40
    assert await looked(Answering(200, 1, STALENESS_MS + 1), 0)
    young = Answering(200, 1, 5)
    await looked(young, time.monotonic_ns() + 10**9)
    assert all("after_timestamp" in each for each in young.asked), "no bound promises what has just been written"


class ForgetfulOnce(Answering):
    """The first answer is lost; whoever sends the same key again is told of the one row."""

    def __init__(self) -> None:
        super().__init__(200, 1, 0)
        self.keys: list[str] = []

    async def post(self, asked: dict[str, Any], _: float, key: str = "") -> tuple[int, dict[str, Any]]:
        self.keys.append(key)
        return (0, {}) if len(self.keys) == 1 else (200, answered(1, 7) | {"rows_affected": 1})


async def test_an_insert_of_unknown_fate_is_sent_again_with_its_key_and_without_one_never() -> None:
    workload, client = InsertWorkload(0, "seed"), ForgetfulOnce()
    assert await workload._insert(cast(Client, client), "users", "a", "a") is Outcome.OK
    assert (client.keys, workload.settled) == (["a", "a"], 1)
    client = ForgetfulOnce()
    assert await workload._insert(cast(Client, client), "users", "b", "") is Outcome.INFO
    assert client.keys == [""]
