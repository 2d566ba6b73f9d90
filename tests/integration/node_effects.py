"""Effects and log rows for tests of a single node, as the replicator would make them."""

from collections.abc import Sequence

import msgspec

from replication.effects import CommitBatch, ExecuteBatch, PrepareRow, RollBackBatch, StoreRows
from replication.log import (
    EMPTY_LOG_END,
    Batch,
    ChangeStep,
    Entry,
    LogEnd,
    LogRow,
    Position,
    batch_of,
    end_after,
    next_row,
)
from replication.values import Outcome, Request, RequestStatement
from replication.write_path import entry_of

NOW_US = 1_764_000_000_123_456
"""2025-11-24 16:00:00.123456 UTC, which is what NOW(6) must say."""
NODE = "node"
COMMIT = CommitBatch(NODE, 0)
ROLL_BACK = RollBackBatch(NODE, 0)


def insert(code: str) -> str:
    return f"INSERT INTO things (code) VALUES ('{code}')"


def requests(
    first_timestamp: int, *texts: str, rand_seed: int = 0, inserts: bool = True
) -> tuple[tuple[int, Request], ...]:
    """One request a text, at every second number from `first_timestamp` on, as one timestamp server counts."""
    return tuple(
        (first_timestamp + 2 * place, Request(place + 1, (RequestStatement(sql, inserts, rand_seed),), 0))
        for place, sql in enumerate(texts)
    )


def mergeable(effect: ExecuteBatch) -> ExecuteBatch:
    """The same, with every request's only row behind the word VALUES."""

    def merge(statement: RequestStatement) -> RequestStatement:
        return msgspec.structs.replace(statement, row_at=statement.sql.index("VALUES ") + len("VALUES "))

    requests = tuple(
        (timestamp, msgspec.structs.replace(request, statements=tuple(map(merge, request.statements))))
        for timestamp, request in effect.requests
    )
    return msgspec.structs.replace(effect, requests=requests)


def execute(
    epoch: int, owner: str, previous: Position, *texts: str, rand_seed: int = 0, inserts: bool = True
) -> ExecuteBatch:
    """Run the texts at the odd (or even) numbers behind `previous`."""
    wanted = requests(previous.timestamp + 2, *texts, rand_seed=rand_seed, inserts=inserts)
    return ExecuteBatch(NODE, 0, epoch, owner, previous, NOW_US, wanted)


def entries_of(effect: ExecuteBatch, outcomes: Sequence[Outcome]) -> list[Entry]:
    """What the log says of those that ran."""
    return [
        entry_of(timestamp, statement, did)
        for (timestamp, request), outcome in zip(effect.requests, outcomes, strict=True)
        if isinstance(outcome, tuple)
        for statement, did in zip(request.statements, outcome, strict=True)
        if not statement.is_read
    ]


def prepare(row: LogRow, master: str = "master-of-test") -> PrepareRow:
    change = batch_of(row).change
    return PrepareRow(NODE, 0, row, master, change is not None and change.step is not ChangeStep.INTENT)


def row_of(end: LogEnd, epoch: int, *entries: Entry, now_us: int = NOW_US) -> LogRow:
    """The row of these entries behind `end`; without entries the no-op right behind it."""
    return next_row(end, epoch, Batch(now_us, entries), end.position.timestamp + 1)


def rows_of(epoch: int, *texts: str, after: LogEnd = EMPTY_LOG_END) -> list[LogRow]:
    """A row a text behind `after`, each of one insert."""
    rows: list[LogRow] = []
    for place, sql in enumerate(texts):
        end = end_after(rows[-1]) if rows else after
        entry = Entry(end.position.timestamp + 2, sql, 1, after.entries_total + place + 1)
        rows.append(row_of(end, epoch, entry))
    return rows


def store(
    epoch: int,
    owner: str,
    log_end: Position,
    applied_timestamp: int,
    *,
    append: Sequence[LogRow] = (),
    apply: Sequence[LogRow] = (),
    drop_after: Position | None = None,
    committed_timestamp: int = 0,
) -> StoreRows:
    return StoreRows(
        NODE,
        0,
        epoch=epoch,
        owner=owner,
        master="master-of-test",
        log_end=log_end,
        applied_timestamp=applied_timestamp,
        drop_after=drop_after,
        append=tuple(append),
        apply=tuple((row, batch_of(row)) for row in apply),
        committed_timestamp=committed_timestamp or (apply[-1].last_timestamp if apply else applied_timestamp),
    )
