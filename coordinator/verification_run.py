"""One comparison of all nodes' rows: table by table and chunk by chunk, each within its node's snapshot at the same timestamp.

Every question goes to all nodes; the next chunk begins behind a key that was taken on one of them. Where a chunk differs, its
rows' hashes say which keys; a commit quorum that agrees says who is wrong, which is told to the protocol at once, and that
node's snapshot is closed, because it is about to be copied to. The rest is compared on.

Load: one chunk at a time and node, and then a pause that is several times as long as the chunk took; slow chunks become smaller.

Hard case: a snapshot is in the way of a schema change. Before each chunk the run looks whether one is under way, or the epoch is
over, or a node is not sound any more; then it gives up the snapshots, or that node's.
"""

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, Protocol

import coordinator_points as points
import crash_point
import msgspec
from row_comparison import differing_keys, groups_of, wrong_nodes
from verify_contract import Difference

from adapters import checksum_sql
from adapters.checksum_sql import Key, Table
from adapters.mysql_session import ConnectionBroken, ServerError, StatementResult
from replication.effects import SnapshotsTaken
from replication.state import Phase, ReplicationState

PAUSE_FACTOR = 9
"""A node is busy for the comparison a tenth of the time at most."""
LOOK_AROUND_S = 0.01
SLOW_CHUNK_S, QUICK_CHUNK_S = 0.05, 0.01
KEYS_SHOWN = 20
DIFFERENCES_MAX = 50
"""Behind so many it is clear enough."""


class Snapshot(Protocol):
    async def query(self, sql: str) -> StatementResult: ...

    def close(self) -> None: ...


class Loop(Protocol):
    """What a run needs of the driver."""

    async def take_snapshots(self) -> SnapshotsTaken: ...

    def difference_found(self, node: str, reason: str) -> None: ...


class Pace(msgspec.Struct, frozen=True):
    chunk_rows: int
    pause_s: float


class Interrupted(Exception):
    """What was not compared yet cannot be any more. `may_repeat`: at another moment it can."""

    def __init__(self, reason: str, *, may_repeat: bool = True) -> None:
        super().__init__(reason)
        self.may_repeat = may_repeat


def sentence_of(difference: Difference) -> str:
    first, last = ", ".join(difference.first_key), ", ".join(difference.last_key)
    keys = first if first == last else f"{first} to {last}"
    where = f", {', '.join(difference.key_columns)} = {keys}" if difference.keys else ""
    return f"{difference.what} of {difference.table}{where} are not as on the other nodes"


class VerificationRun:
    """The run's state is its progress; `compare` ends it, well or with Interrupted."""

    def __init__(self, loop: Loop, state: ReplicationState, snapshots: Mapping[str, Snapshot], pace: Pace) -> None:
        self._loop = loop
        self._state = state
        self._all_snapshots = snapshots
        self._pace = pace
        self._epoch = 0
        self._open: dict[str, Snapshot] = {}
        self._chunk_rows = pace.chunk_rows
        self.timestamp = 0
        self.nodes: list[str] = []
        """Those that had a snapshot at the beginning."""
        self.left_out: dict[str, str] = {}
        self.table = ""
        self.tables = self.tables_done = self.rows = self.chunks = 0
        self.differences: list[Difference] = []

    async def compare(self) -> None:
        """Raises Interrupted."""
        self._epoch = self._state.epoch
        try:
            taken = await self._loop.take_snapshots()
            self.left_out = dict(taken.left_out)
            if taken.refusal:
                raise Interrupted(taken.refusal)
            self.timestamp, self.nodes = taken.timestamp, list(taken.nodes)
            self._open = {name: self._all_snapshots[name] for name in taken.nodes}
            await self._compare_tables()
        finally:
            self.close()

    def close(self) -> None:
        for snapshot in self._all_snapshots.values():
            snapshot.close()
        self._open = {}

    # ------------------------------------------------------------------------------------------ questions

    async def _ask(self, sql: str | Mapping[str, str]) -> dict[str, StatementResult]:
        """The answers of all nodes to one question (or each to its own); who does not answer is left out."""
        self._look_around()
        crash_point.reach(points.COMPARE_BEFORE)
        wanted = dict.fromkeys(self._open, sql) if isinstance(sql, str) else sql
        asked = [name for name in self._open if name in wanted]
        answers = await asyncio.gather(*(self._ask_one(name, wanted[name]) for name in asked))
        crash_point.reach(points.COMPARE_AFTER)
        return {name: answer for name, answer in zip(asked, answers, strict=True) if answer is not None}

    async def _ask_one(self, name: str, sql: str) -> StatementResult | None:
        try:
            return await self._open[name].query(sql)
        except (ConnectionBroken, ServerError) as failure:
            self._drop(name, f"it could not be compared any more: {failure}")
            return None

    def _look_around(self) -> None:
        """Whether the comparison may go on, and with whom."""
        state = self._state
        if state.epoch != self._epoch or state.phase is not Phase.SERVING:
            raise Interrupted("the master changed")
        if state.schema_in_flux:
            raise Interrupted("a schema change began")
        for name in list(self._open):
            node = state.nodes[name]
            if not node.sound:
                self._drop(name, node.reason or f"it is {node.state.value}")
        if len(self._open) < 2:
            raise Interrupted("there is nobody left to compare with", may_repeat=not self.differences)

    def _drop(self, name: str, reason: str) -> None:
        snapshot = self._open.pop(name, None)
        if snapshot is not None:
            snapshot.close()
            self.left_out[name] = reason

    # ------------------------------------------------------------------------------------------ tables

    async def _compare_tables(self) -> None:
        listed = {name: dict.fromkeys(answer.rows) for name, answer in (await self._ask(checksum_sql.TABLES)).items()}
        tables = sorted({table for found in listed.values() for table in found})
        self.tables = len(tables)
        for schema, name, table_type in tables:
            self.table = f"{schema}.{name}"
            having = {node: (schema, name, table_type) in found for node, found in listed.items()}
            if await self._same_definition(schema, name, table_type, having) and table_type == "BASE TABLE":
                await self._compare_rows(schema, name)
            self.tables_done += 1

    async def _same_definition(self, schema: str, name: str, table_type: str, having: Mapping[str, bool]) -> bool:
        """Whether all that are left define it alike. The next AUTO_INCREMENT is not part of it: it is in memory, and each node
        counts for itself what it has seen."""
        definition = checksum_sql.definition_of(schema, name, table_type)
        asked = {node: definition for node in self._open if having.get(node)}
        answers = await self._ask(asked)
        texts: dict[str, Hashable] = {
            node: checksum_sql.without_auto_increment(answers[node].rows[0][1]) if node in answers else None
            for node in self._open
        }
        if len(set(texts.values())) > 1:
            self._differ("definition", texts)
        return len({texts[node] for node in self._open}) == 1

    async def _compare_rows(self, schema: str, name: str) -> None:
        found = await self._ask(checksum_sql.columns_of(schema, name))
        self._look_around()  # somebody has answered
        table = checksum_sql.table_of(schema, name, next(iter(found.values())).rows)
        if not table.key:
            raise Interrupted(f"{self.table} has no primary key", may_repeat=False)
        after: Key | None = None
        self._chunk_rows = self._pace.chunk_rows
        while True:
            began = time.monotonic()
            upto = await self._chunk_end(table, after)
            sums = await self._ask(checksum_sql.checksum(table, after, upto))
            took_s = time.monotonic() - began
            values: dict[str, Hashable] = {node: tuple(answer.rows[0]) for node, answer in sums.items()}
            self.rows += max((int(answer.rows[0][0]) for answer in sums.values()), default=0)
            self.chunks += 1
            if len(set(values.values())) > 1:
                await self._narrow(table, after, upto, values)
            if upto is None:
                return
            after = upto
            if took_s > SLOW_CHUNK_S:
                self._chunk_rows = max(1, self._chunk_rows // 2)
            elif took_s < QUICK_CHUNK_S:
                self._chunk_rows = min(self._pace.chunk_rows, self._chunk_rows * 2)
            await self._pause(max(self._pace.pause_s, PAUSE_FACTOR * took_s))

    async def _pause(self, seconds: float) -> None:
        """A schema change does not wait for the end of it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_AROUND_S))  # the pause between chunks, in pieces
            self._look_around()

    async def _chunk_end(self, table: Table, after: Key | None) -> Key | None:
        """Of a replica if one has so many rows left, else of whoever has; None: the rest is one chunk."""
        question = checksum_sql.chunk_end(table, after, self._chunk_rows)
        for node in sorted(self._open, key=lambda name: (name == self._state.master, name)):
            answers = await self._ask({node: question})
            if node in answers and answers[node].rows:
                return tuple(answers[node].rows[0])
        return None

    # ------------------------------------------------------------------------------------------ differences

    async def _narrow(self, table: Table, after: Key | None, upto: Key | None, sums: Mapping[str, Hashable]) -> None:
        """Which rows of a chunk differ, and who is wrong."""
        rows_max = 2 * self._pace.chunk_rows
        is_cut = False
        while True:
            answers = await self._ask(checksum_sql.row_hashes(table, after, upto, rows_max))
            # one that has many more rows than the others: up to its last one that was asked for
            cut_short = [answer.rows[-1][:-1] for answer in answers.values() if len(answer.rows) == rows_max]
            if not cut_short or upto == cut_short[0]:
                break
            upto, is_cut = tuple(cut_short[0]), True
        rows = {node: [(tuple(row[:-1]), str(row[-1])) for row in answer.rows] for node, answer in answers.items()}
        keys = [
            [checksum_sql.shown(column, value) for column, value in zip(table.key, key, strict=True)]
            for key in differing_keys(rows)
        ]
        if not keys:
            return  # who differed does not answer any more
        columns = [column.name for column in table.key]
        self._differ("rows", {node: sums[node] for node in rows}, columns, keys, is_cut=is_cut)

    def _differ(
        self,
        what: Literal["rows", "definition"],
        answers: Mapping[str, Hashable],
        key_columns: Sequence[str] = (),
        keys: Sequence[list[str]] = (),
        *,
        is_cut: bool = False,
    ) -> None:
        """The nodes' answers to one question are not the same. `keys`: of the rows that differ; `is_cut`: there may be more."""
        groups = groups_of(answers)
        difference = Difference(
            table=self.table,
            what=what,
            wrong_nodes=wrong_nodes(groups, self._state.sizes.commit),
            groups=groups,
            key_columns=list(key_columns),
            first_key=keys[0] if keys else [],
            last_key=keys[-1] if keys else [],
            keys=list(keys[:KEYS_SHOWN]),
            more_keys=is_cut or len(keys) > KEYS_SHOWN,
        )
        self.differences.append(difference)
        sentence = sentence_of(difference)
        for name in difference.wrong_nodes:
            self._drop(name, sentence)
        # the snapshots are closed by now: a copy need not wait for them
        for name in difference.wrong_nodes:
            self._loop.difference_found(name, sentence)
        if len(self.differences) >= DIFFERENCES_MAX:
            raise Interrupted(f"{DIFFERENCES_MAX} differences are enough", may_repeat=False)
