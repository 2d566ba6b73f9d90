"""A client that changes the schema while faults strike: columns and tables of names that nobody used before come and go.

A name is added once and dropped once at most, so what became of each is known from the answers alone: an acknowledged one
must be there in the end, a failed one must not, and a change that was made twice would be refused the second time with an
error (1060, 1050, 1091, 1051) that a fresh name cannot have.
"""

import asyncio
import random

from cluster_handle import ClusterHandle
from history import Outcome
from workload import CLIENT_TIMEOUT_S, Client, outcome_of

PAUSE_S = 0.4
HAPPENED_BEFORE_ERRNOS = frozenset({1050, 1051, 1060, 1091})
COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'distributed_db' AND table_name = 'registers'"
    " AND column_name LIKE 'extra\\_%'"
)
TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'distributed_db'"
    " AND table_name LIKE 'extra\\_%'"
)


class SchemaWorkload:
    """One client, until told to stop."""

    def __init__(self, port: int, seed: str) -> None:
        self._port = port
        self._chance = random.Random(f"{seed}-schema")
        self._prefix = f"extra_{random.Random(seed).randrange(1 << 32):08x}"
        self._stopped = False
        self._number = 0
        self.present: dict[str, Outcome] = {}
        """Name -> whether it is there: OK surely, FAIL surely not, INFO nobody can tell."""
        self.anomalies: list[str] = []
        self.acknowledged = 0

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        client = Client(self._port)
        while not self._stopped:
            known = [name for name, there in self.present.items() if there is Outcome.OK]
            if len(known) > 3 or (known and self._chance.random() < 0.4):
                await self._drop(client, self._chance.choice(known))
            else:
                await self._add(client)
            await asyncio.sleep(2 * PAUSE_S * self._chance.random())  # the load's own pace
        client.close()

    async def _add(self, client: Client) -> None:
        self._number += 1
        name = f"{self._prefix}_{self._number}{self._chance.choice('ct')}"
        add_column = f"ALTER TABLE registers ADD COLUMN {name} INT NOT NULL DEFAULT {self._number}"
        sql = add_column if name.endswith("c") else f"CREATE TABLE {name} (id INT PRIMARY KEY)"
        self.present[name] = await self._change(client, sql)

    async def _drop(self, client: Client, name: str) -> None:
        is_column = name.endswith("c")
        outcome = await self._change(
            client, f"ALTER TABLE registers DROP COLUMN {name}" if is_column else f"DROP TABLE {name}"
        )
        gone = {Outcome.OK: Outcome.FAIL, Outcome.FAIL: Outcome.OK, Outcome.INFO: Outcome.INFO}
        self.present[name] = gone[outcome]

    async def _change(self, client: Client, sql: str) -> Outcome:
        was_sent = await client.can_send()
        status, body = await client.query(sql, CLIENT_TIMEOUT_S) if was_sent else (0, {})
        outcome = outcome_of(status, body, was_sent=was_sent)
        errno = body.get("error", {}).get("errno")
        self.acknowledged += outcome is Outcome.OK
        if errno in HAPPENED_BEFORE_ERRNOS:
            self.anomalies.append(f"{sql} was refused with {errno}: it was made before, or undone")
        return outcome

    def check(self, cluster: ClusterHandle, node: str) -> list[str]:
        """What is there and should not be, or is not and should. All nodes are equal: one tells."""
        found = {name for (name,) in cluster.rows_on(node, COLUMNS) + cluster.rows_on(node, TABLES)}
        found = {name for name in found if name.startswith(self._prefix)}
        lost = sorted(name for name, there in self.present.items() if there is Outcome.OK and name not in found)
        phantoms = sorted(name for name in found if self.present.get(name, Outcome.FAIL) is Outcome.FAIL)
        return [
            *self.anomalies,
            *(f"{name} was acknowledged and is not there" for name in lost),
            *(f"{name} is there, although it was said that it is not" for name in phantoms),
        ]

    def statements_that_remove_them(self, cluster: ClusterHandle, node: str) -> list[str]:
        columns = [name for (name,) in cluster.rows_on(node, COLUMNS)]
        tables = [name for (name,) in cluster.rows_on(node, TABLES)]
        return [
            *(f"ALTER TABLE registers DROP COLUMN {name}" for name in columns),
            *(f"DROP TABLE IF EXISTS {name}" for name in tables),
        ]
