"""The writes that wait, and the numbers that they will get: what goes into the next batch.

A batch is what waits when its turn comes, up to a count of statements and a size of texts, in the order of arrival; there is no
timer. Hard case: the schema changed while a request waited. One that was judged by its tables is stale, and one that might have
been executed together with others is executed by itself.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from replication.batch_under_way import BatchUnderWay
from replication.effects import Fail, RequestTimestamps, Stale
from replication.state import ReplicationState
from replication.timestamps import TimestampStock
from replication.values import Request


class WaitingWrites:
    """Requests in the order of their arrival."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self.requests: deque[Request] = deque()
        self.timestamps = TimestampStock(state.settings.numbers_ahead)

    def put_back(self, requests: Sequence[Request]) -> None:
        """In front of all others: they were here before."""
        self.requests.extendleft(reversed(requests))

    # ------------------------------------------------------------------------------------------ the next batch

    def next_batch(self) -> BatchUnderWay | None:
        """What waits, up to the limits. Without requests where a newcomer waits for a batch to be committed without it."""
        state = self._state
        newcomer = any(node.probation == state.window.end.position for node in state.replicas)
        settings = state.settings
        chosen: list[tuple[int, Request]] = []
        size = count = 0
        for number in self.timestamps.take(min(len(self.requests), settings.batch_statements_max)):
            self._turn_stale_ones_away()
            if not self.requests:
                break
            request = self.requests[0]
            size += sum([len(statement.sql) for statement in request.statements])
            count += len(request.statements)
            if chosen and (size > settings.batch_bytes_max or count > settings.batch_statements_max):
                break
            self.requests.popleft()
            chosen.append((number, self._judged(request)))
        return BatchUnderWay(tuple(chosen), state.wall_us) if chosen or newcomer else None

    def _turn_stale_ones_away(self) -> None:
        while self.requests and self.requests[0].schema_version not in (0, self._state.schema_version):
            self._state.emit(Stale(self.requests.popleft().request_id))

    def _judged(self, request: Request) -> Request:
        """By another schema than it was judged by, each statement is executed by itself."""
        if request.row_schema == self._state.schema_version or all(each.row_at == 0 for each in request.statements):
            return request
        alone = tuple(msgspec.structs.replace(statement, row_at=0) for statement in request.statements)
        return msgspec.structs.replace(request, statements=alone, row_schema=0)

    # ------------------------------------------------------------------------------------------ numbers

    def ask_for_timestamps(self) -> None:
        """If there are few left, and unless that was refused just now."""
        stock, state = self.timestamps, self._state
        # a schema change's outcome takes the next number, whether or not that was granted
        stock.skip_to(state.window.end.position.timestamp)
        if state.now_ns < stock.retry_at_ns:
            return
        shortage = stock.shortage()
        if shortage:
            stock.requested = True
            state.emit(RequestTimestamps(shortage, stock.greatest))

    def refused(self) -> None:
        self.timestamps.requested = False
        self.timestamps.retry_at_ns = self._state.now_ns + self._state.settings.retry_ns

    # ------------------------------------------------------------------------------------------ no batch any more

    def expire(self) -> None:
        """Answer those whose deadline has passed."""
        while self.requests and self.requests[0].deadline_ns <= self._state.now_ns:
            self._fail_first("no commit quorum could be had before the deadline; nothing was done")

    def fail(self, reason: str) -> None:
        """Answer all."""
        while self.requests:
            self._fail_first(reason)

    def _fail_first(self, reason: str) -> None:
        self._state.emit(Fail(self.requests.popleft().request_id, committed=False, reason=reason))
