"""Two servers that hold the same rows and are as unlike as two healthy nodes may be: what is exact gives the same on both.

The first is the master: it executes a statement as a batch of its own. The second applies the entry, over the same adapter and by
the same effects as a replica. Unlike are: the server's number, the clock (the entry is applied later), ids that were used up by
inserts that were rolled back, the order in which rows came, the seeds of the session, and which indexes and plans the optimizer
may use. The last is the strongest: a statement whose rows depend on the order in which a plan meets them differs here,
while MySQL's own list of unsafe statements knows nothing of plans.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from made_values import with_values
from node_effects import COMMIT, NODE, NOW_US, ROLL_BACK, entries_of, execute, prepare, row_of, store
from one_mysql import DATABASE, OneMySQL, one_mysql
from parser_verdict import Verdict, catalogue_on, verdict_of

from adapters.mysql_node import CommandFailed, MySQLNode
from replication.effects import Fence
from replication.log import EMPTY_LOG_END, LogEnd, end_after
from replication.replies import BatchCommitted, BatchExecuted, Diverged, Fenced, RowPrepared, RowsStored
from replication.values import Outcome

SECONDARY_INDEXES = (
    "SELECT DISTINCT table_name, index_name FROM information_schema.statistics"
    f" WHERE table_schema = '{DATABASE}' AND index_name <> 'PRIMARY' AND index_type <> 'FULLTEXT'"
)
TABLES = (
    f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{DATABASE}' AND table_type = 'BASE TABLE'"
    " ORDER BY table_name"
)
COUNTERS = (
    f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = '{DATABASE}'"
    " AND extra LIKE '%auto_increment%'"
)
SEED = 0x1234_5678_9ABC_DEF
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Ran:
    """What became of one statement on both servers."""

    outcome: Outcome
    difference: str
    """Empty: both hold the same rows."""


class TwoServers:
    """The servers and the log between them."""

    def __init__(self, master: OneMySQL, replica: OneMySQL) -> None:
        self._servers = (master, replica)
        self._hands: tuple[MySQLNode, MySQLNode] = (master.node(), replica.node())
        self._roots: tuple[Any, Any] = (master.connect_root(), replica.connect_root())
        self._end: LogEnd = EMPTY_LOG_END
        self._schema: Sequence[str] = ()
        self._is_apart = False
        """Whether the second server could not apply an entry: both must begin anew."""

    def close(self) -> None:
        for connection in (*self._hands, *self._roots):
            connection.close()

    def _ask(self, place: int, *statements: str) -> list[tuple[Any, ...]]:
        """As root, past everything; the rows of the last."""
        rows: list[tuple[Any, ...]] = []
        with self._roots[place].cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
        return rows

    async def begin(self, schema: Sequence[str], rows: Sequence[str]) -> None:
        """The tables with these rows and no others, on both; the tables are made where they are not there yet."""
        is_new = self._schema != schema or self._is_apart
        if is_new:
            self._end, self._schema, self._is_apart = EMPTY_LOG_END, schema, False
            for place in (0, 1):
                hand = self._hands[place]
                hand.close()
                self._servers[place].reset()
                self._ask(place, "SET foreign_key_checks = 0", *self._drops(place), f"USE {DATABASE}", *schema)
                assert isinstance(await hand.carry_out(Fence(NODE, 0, 1, "a")), Fenced)
            for table, index in self._ask(1, SECONDARY_INDEXES):
                self._ask(1, f"ALTER TABLE {DATABASE}.{table} ALTER INDEX {index} INVISIBLE")
        for place, ordered in enumerate((rows, list(rows)[::-1])):
            emptied = [f"DELETE FROM {DATABASE}.{table}" for (table,) in self._ask(place, TABLES)]
            self._ask(place, "SET foreign_key_checks = 0", "BEGIN", *emptied, *ordered, "COMMIT")
        if is_new:
            # or it depends on the moment of the last sample which plan the first server takes
            for place in (0, 1):
                names = ", ".join(f"{DATABASE}.{table}" for (table,) in self._ask(place, TABLES))
                self._ask(place, f"ANALYZE TABLE {names}")
        assert self.difference() == "", "the two begin with different rows"
        self._use_ids_up()

    def _drops(self, place: int) -> list[str]:
        kept = ("users", "things")
        views = self._ask(place, f"SELECT table_name FROM information_schema.views WHERE table_schema = '{DATABASE}'")
        tables = [name for (name,) in self._ask(place, TABLES) if name not in kept]
        return [f"DROP VIEW {DATABASE}.{name}" for (name,) in views] + [f"DROP TABLE {DATABASE}.{t}" for t in tables]

    def contents(self, place: int) -> Rows:
        names = [name for (name,) in self._ask(place, TABLES)]
        return {name: sorted(self._ask(place, f"SELECT * FROM {DATABASE}.{name}"), key=repr) for name in names}

    def _use_ids_up(self) -> None:
        """Inserts that were rolled back use ids up for good, and who was master before has used up more than the new one."""
        for place, count in enumerate((7, 500)):
            for table, column in self._ask(place, COUNTERS):
                ((following,),) = self._ask(
                    place, f"SELECT COALESCE(MAX({column}), 0) + {count} FROM {DATABASE}.{table}"
                )
                self._ask(place, f"ALTER TABLE {DATABASE}.{table} AUTO_INCREMENT = {following}")

    def verdict(self, text: str) -> Verdict:
        return verdict_of(text, catalogue_on(lambda query: self._ask(0, query), DATABASE))

    async def run(self, text: str) -> Ran:
        """Execute on the first, and apply on the second whatever came of it. What is refused runs all the same."""
        statement = self.verdict(text).statement
        if statement is None:
            return await self._run(text, inserts=text.startswith(("INSERT", "REPLACE")), uses_random="RAND" in text)
        sql = with_values(statement.text, statement.splices)
        return await self._run(sql, inserts=statement.inserts, uses_random=statement.uses_random)

    async def _run(self, sql: str, *, inserts: bool, uses_random: bool) -> Ran:
        seed = SEED if uses_random else 0
        effect = execute(1, "a", self._end.position, sql, rand_seed=seed, inserts=inserts)
        master, replica = self._hands
        executed = await master.carry_out(effect)
        assert isinstance(executed, BatchExecuted), executed
        (outcome,) = executed.outcomes
        if not isinstance(outcome, tuple):
            await master.carry_out(ROLL_BACK)
            return Ran(outcome, self.difference())
        row = row_of(self._end, 1, *entries_of(effect, executed.outcomes), now_us=NOW_US)
        assert isinstance(await master.carry_out(prepare(row)), RowPrepared)
        assert isinstance(await master.carry_out(COMMIT), BatchCommitted)
        position = self._end.position
        storing = store(1, "a", position, position.timestamp, append=[row], apply=[row])
        self._end = end_after(row)
        try:
            stored = await replica.carry_out(storing)
        except CommandFailed as failure:
            self._is_apart = True
            return Ran(outcome, f"the second server could not apply it: {failure.reason}")
        if isinstance(stored, Diverged):
            self._is_apart = True
            return Ran(outcome, stored.reason)
        assert isinstance(stored, RowsStored), stored
        return Ran(outcome, self.difference())

    def difference(self) -> str:
        first, second = self.contents(0), self.contents(1)
        lines = []
        for name in first:
            lines += [f"{name}: only the first server has {row}" for row in first[name] if row not in second[name]]
            lines += [f"{name}: only the second server has {row}" for row in second[name] if row not in first[name]]
        return "\n".join(lines)


@contextlib.asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[TwoServers]:
    """Two servers, the second with other plans. Their data is gone afterwards."""
    (folder / "first").mkdir()
    (folder / "second").mkdir()
    with one_mysql(folder / "first") as first, one_mysql(folder / "second", server_id=99) as second:
        first.root(
            "UPDATE mysql.server_cost SET cost_value = 20 WHERE cost_name = 'row_evaluate_cost'",
            "FLUSH OPTIMIZER_COSTS",
            "SET GLOBAL innodb_stats_auto_recalc = OFF",
        )
        second.root(
            "SET GLOBAL join_buffer_size = 256, GLOBAL sort_buffer_size = 32768, GLOBAL optimizer_search_depth = 1",
        )
        pair = TwoServers(first, second)
        try:
            yield pair
        finally:
            pair.close()
