"""Clients that insert single rows while faults strike: inserts that arrive together are executed as one statement.

Every row has a name of its own, so what became of each insert is known from the answers alone: an acknowledged row is there
once, with the id and (in `users`) the timestamp that its client was told; a failed one is not there; one of unknown fate at
most once. In `arrivals` names are unique, and now and then a client inserts an acknowledged one again: that must be refused,
whatever other inserts were executed together with it.

A share of the inserts has a key: one whose fate is unknown is sent again with it, and its answer must be that of the one row.

Beside that they look at what reads that may be behind show: a client its own last row, wherever it reads, and any row that was
acknowledged long enough ago under a bound.
"""

import asyncio
import random
import time
from typing import Any

from cluster_handle import ClusterHandle
from history import Outcome
from workload import CLIENT_TIMEOUT_S, REFUSED_PAUSE_S, Client, outcome_of

CLIENTS = 6
PAUSE_S = 0.01
DUPLICATE_ERRNO = 1062
STALENESS_MS = 400
KEYED, TRIES_MAX = 0.4, 8


class InsertWorkload:
    """All clients, until told to stop."""

    def __init__(self, port: int, seed: str) -> None:
        self._port = port
        self._seed = seed
        self._prefix = f"{random.Random(seed).randrange(1 << 32):08x}"
        self._stopped = False
        self.told: dict[str, tuple[str, Outcome, dict[str, Any]]] = {}
        """Name -> its table, what its client was told in short and in full."""
        self.anomalies: list[str] = []
        self.acknowledged = 0
        self.settled = 0
        """Inserts of unknown fate that were answered when they were sent again."""
        self.weak_reads = 0
        """Answered ones."""

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{self._seed}-insert-{number}")
        client = Client(self._port)
        done = 0
        mine: list[str] = []
        rows: list[tuple[str, int]] = []
        """Acknowledged ones: name, and when."""
        while not self._stopped:
            done += 1
            name = f"{self._prefix}-{number}-{done}"
            if mine and chance.random() < 0.05:
                outcome = await self._again(client, chance.choice(mine))
            elif rows and chance.random() < 0.15:
                outcome = await self._look(client, chance, rows)
            elif chance.random() < 0.5:
                outcome = await self._insert(client, "users", name, name if chance.random() < KEYED else "")
            else:
                outcome = await self._insert(client, "arrivals", name, name if chance.random() < KEYED else "")
                mine += [name] if outcome is Outcome.OK else []
            if self.told.get(name, ("", Outcome.FAIL))[1] is Outcome.OK:
                rows.append((name, time.monotonic_ns()))
            pause_s = 2 * PAUSE_S * chance.random() if outcome is Outcome.OK else REFUSED_PAUSE_S
            await asyncio.sleep(pause_s)  # the load's own pace
        client.close()

    async def _insert(self, client: Client, table: str, name: str, key: str) -> Outcome:
        outcome, body = await self._send(client, table, name, key)
        for _ in range(TRIES_MAX if key and outcome is Outcome.INFO else 0):
            await asyncio.sleep(REFUSED_PAUSE_S)  # a moment for whatever fails to come back
            again, told = await self._send(client, table, name, key)
            if again is Outcome.OK:
                outcome, body, self.settled = again, told, self.settled + 1
                break
        self.told[name] = (table, outcome, body)
        self.acknowledged += outcome is Outcome.OK
        if outcome is Outcome.OK and body["rows_affected"] != 1:
            self.anomalies.append(f"{name} affected {body['rows_affected']} rows")
        if outcome is Outcome.FAIL and body.get("error", {}).get("errno") == DUPLICATE_ERRNO:
            self.anomalies.append(f"{name} was refused as a duplicate, and was inserted once")
        return outcome

    async def _again(self, client: Client, name: str) -> Outcome:
        outcome, _ = await self._send(client, "arrivals", name, "")
        if outcome is Outcome.OK:
            self.anomalies.append(f"{name} was acknowledged twice")
        return outcome

    async def _look(self, client: Client, chance: random.Random, rows: list[tuple[str, int]]) -> Outcome:
        """At this client's last row by its timestamp, or at the newest of its rows that a bounded read must show."""
        was_sent = await client.can_send()
        old_enough_ns = time.monotonic_ns() - STALENESS_MS * 1_000_000
        is_bounded = chance.random() < 0.5
        names = [name for name, answered_ns in rows if not is_bounded or answered_ns < old_enough_ns]
        if not (names and was_sent):
            return Outcome.FAIL
        name = names[-1]
        table, _, told = self.told[name]
        need = {"max_staleness_ms": STALENESS_MS} if is_bounded else {"after_timestamp": told["timestamp"]}
        sql = f"SELECT COUNT(*) AS n FROM {table} WHERE id = {told['last_insert_id']} AND name = '{name}'"
        status, body = await client.post({"query": sql, **need}, CLIENT_TIMEOUT_S)
        if status == 200:
            self.weak_reads += 1
            if body["data"] != [{"n": 1}]:
                self.anomalies.append(f"{name} was acknowledged and is not seen at {body['executed_on']} with {need}")
            if is_bounded and not 0 <= body["staleness_ms"] <= STALENESS_MS:
                self.anomalies.append(f"a read with {need} says that it is {body['staleness_ms']} ms old")
        return outcome_of(status, body, was_sent=True)

    async def _send(self, client: Client, table: str, name: str, key: str) -> tuple[Outcome, dict[str, Any]]:
        columns, row = ("(name, email)", f"('{name}', 'x')") if table == "users" else ("(name)", f"('{name}')")
        was_sent = await client.can_send()
        asked = {"query": f"INSERT INTO {table} {columns} VALUES {row}"}
        status, body = await client.post(asked, CLIENT_TIMEOUT_S, key) if was_sent else (0, {})
        return outcome_of(status, body, was_sent=was_sent), body

    def check(self, cluster: ClusterHandle, node: str) -> list[str]:
        """What is there and should not be, or is not and should, or is not as it was told. All nodes are equal: one tells."""
        like = f"WHERE name LIKE '{self._prefix}-%'"
        rows: dict[str, list[tuple[int, int | None]]] = {}
        for table, timestamp in (("users", "timestamp"), ("arrivals", "NULL")):
            for name, identity, stamped in cluster.rows_on(
                node, f"SELECT name, id, {timestamp} FROM distributed_db.{table} {like}"
            ):
                rows.setdefault(name, []).append((identity, stamped))
        wrong = list(self.anomalies)
        for name, (table, outcome, body) in self.told.items():
            found = rows.pop(name, [])
            if outcome is Outcome.OK:
                told = [(body["last_insert_id"], body["timestamp"] if table == "users" else None)]
                if found != told:
                    wrong.append(f"{name} was acknowledged as {told} and is {found}")
            elif len(found) > (outcome is Outcome.INFO):
                wrong.append(f"{name} was told {outcome.value} and is {found}")
        return [*wrong, *(f"{name} is there and nobody inserted it" for name in rows)]

    def statements_that_remove_them(self) -> list[str]:
        return [f"DELETE FROM {table} WHERE name LIKE '{self._prefix}-%'" for table in ("users", "arrivals")]
