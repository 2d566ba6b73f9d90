"""Looks at a node's log, and its truncation: over a connection of their own, since they may take long and hurry nobody.

All of it is about rows that do not change any more, so no lock of the meta row is needed.
"""

import asyncio

from adapters import node_sql
from adapters.mysql_session import MySQLSession, ServerError, StatementResult
from replication.effects import MeasureLog, ReadLog, ReadPositions, TruncateLog
from replication.log import LogEnd, LogRow, Position
from replication.replies import LogGone, LogMark, LogMeasured, LogRead, LogTruncated, PositionsRead

TRUNCATED_ROWS_MAX = 200
"""Rows that one transaction removes: others' reads of the log wait for no longer than that."""


def log_end_of(result: StatementResult) -> LogEnd:
    epoch, timestamp, *rest = result.rows[0]
    return LogEnd(Position(epoch, timestamp), *rest)


def position_of(result: StatementResult) -> Position:
    epoch, timestamp = result.rows[0]
    return Position(epoch, timestamp)


class NodeLog:
    """One node's log, read and shortened over `session`."""

    def __init__(self, session: MySQLSession, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s

    async def _run(self, *statements: str) -> list[StatementResult]:
        return await self._session.run([*statements, "COMMIT"], self._timeout_s)

    async def read(self, effect: ReadLog) -> LogRead | LogGone:
        columns = (
            "last_timestamp, first_timestamp, epoch, previous_timestamp, previous_epoch, entries_total, bytes_total"
        )
        after = effect.after_timestamp
        async with self._session.lock:
            sizes = await self._run(
                "SELECT last_timestamp, bytes_total FROM _replication.log"
                f" WHERE last_timestamp >= {after} ORDER BY last_timestamp LIMIT 1000"
            )
            upto = _upto(sizes[0], after, effect.bytes_max)
            # the beginning last: where it is still before the rows, none of them can have been removed meanwhile
            before, rows, begin, _ = await self._run(
                f"SELECT {node_sql.END_COLUMNS} FROM _replication.log"
                f" WHERE last_timestamp <= {after} ORDER BY last_timestamp DESC LIMIT 1",
                f"SELECT {columns}, now_us, payload, checksum, open_change FROM _replication.log"
                f" WHERE last_timestamp > {after} AND last_timestamp <= {upto} ORDER BY last_timestamp",
                node_sql.LOG_BEGIN,
            )
        log_begin = position_of(begin)
        if log_begin.timestamp > after:
            return LogGone(log_begin)
        return LogRead(tuple(LogRow(*row) for row in rows.rows), log_end_of(before))

    async def positions(self, effect: ReadPositions) -> PositionsRead:
        async with self._session.lock:
            found, begin, _ = await self._run(
                "SELECT epoch, last_timestamp FROM _replication.log WHERE last_timestamp"
                f" BETWEEN {effect.first_timestamp} AND {effect.last_timestamp} ORDER BY last_timestamp",
                node_sql.LOG_BEGIN,
            )
        return PositionsRead(tuple(Position(*row) for row in found.rows), position_of(begin))

    async def measure(self, effect: MeasureLog) -> LogMeasured:
        async with self._session.lock:
            marks, _ = await self._run(node_sql.measure_log(effect))
        return LogMeasured(tuple(LogMark(*row) for row in marks.rows))

    async def truncate(self, effect: TruncateLog) -> LogTruncated:
        """A little at a time. What the server cannot do now (its disk is full) it is told again at the next look."""
        statement = node_sql.truncate_log(effect, TRUNCATED_ROWS_MAX)
        removed = TRUNCATED_ROWS_MAX
        while removed == TRUNCATED_ROWS_MAX:
            async with self._session.lock:
                try:
                    removed = (await self._run(statement))[0].rows_affected
                except ServerError:
                    removed = 0
                    await self._session.run(["ROLLBACK"], self._timeout_s)
            await asyncio.sleep(0)  # others may run between two pieces
        async with self._session.lock:
            begin, _ = await self._run(node_sql.LOG_BEGIN)
        return LogTruncated(position_of(begin))


def _upto(sizes: StatementResult, after: int, bytes_max: int) -> int:
    """The last timestamp within `bytes_max` of payload behind the row `after`, but never less than one row."""
    rows: list[tuple[int, int]] = list(sizes.rows)
    places = [row for row in rows if row[0] > after]
    if not places:
        return after
    start = rows[0][1] if rows[0][0] == after else places[0][1]
    return max((timestamp for timestamp, total in places if total - start <= bytes_max), default=places[0][0])
