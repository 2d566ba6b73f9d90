"""A result as lines of JSON (NDJSON), a row a line, in bounded memory however large it is.

    {"result": {"success": true, "executed_on": "replica-1", "applied_timestamp": 7, "staleness_ms": 0, "columns": […]}}
    {"row": {"id": 1, "name": "Alice"}}        or, with "format": {"rows": "arrays"}, {"row": [1, "Alice"]}
    {"end": {"rows_affected": 1}}              or {"error": {…}}, the body of an ordinary error

The status 200 has gone before the rows have come. So the last line tells whether all of them have: without an `end`, some are
missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec
import request_ids
from client_watch import ClientTooSlow
from node_reading import stream_error
from query_answers import seen_at
from result_rows import RowFormat, described, written
from security_headers import SECURITY_HEADERS

from adapters.mysql_session import ConnectionBroken, ServerError
from adapters.node_reader import StreamedResult
from replication.effects import ReadAllowed

MEDIA_TYPES = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
LINES_AT_ONCE = 500
"""Encoded in one step of the event loop."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEADERS = ((b"content-type", MEDIA_TYPES[0]), *SECURITY_HEADERS)
_encode_lines = msgspec.json.Encoder(decimal_format="string").encode_lines


def are_wanted(accept: bytes) -> bool:
    """By the request's header `Accept`."""
    return any(part.partition(b";")[0].strip().lower() in MEDIA_TYPES for part in accept.split(b","))


class RowLines:
    """An answer that is sent as it comes."""

    def __init__(self, leave: ReadAllowed, result: StreamedResult, form: RowFormat) -> None:
        self._leave = leave
        self._result = result
        self._form = form

    async def send(self, send: Send, give_up_at: float) -> None:
        """To its end. `give_up_at`: how long the client may take, by the event loop's clock. Raises ClientTooSlow."""
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._send(send)
        except TimeoutError as error:
            raise ClientTooSlow from error
        finally:
            self._result.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *request_ids.header()]})
        columns = self._result.columns
        head = {"success": True, **seen_at(self._leave), "columns": described(columns)}
        await _send_lines(send, [{"result": head}])
        count = 0
        last: dict[str, Any]
        try:
            while rows := await self._result.rows():
                count += len(rows)
                for begin in range(0, len(rows), LINES_AT_ONCE):
                    await _send_lines(send, self._lines(rows[begin : begin + LINES_AT_ONCE]))
            last = {"end": {"rows_affected": count}}
        except (ServerError, ConnectionBroken) as error:
            last = {"error": stream_error(self._leave.node, error).body()}
        await _send_lines(send, [last], more=False)

    def _lines(self, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
        columns = self._result.columns
        values = written(rows, columns, self._form)
        if self._form.rows == "arrays":
            return [{"row": row} for row in values]
        names = [column.name for column in columns]
        return [{"row": dict(zip(names, row, strict=True))} for row in values]


async def _send_lines(send: Send, lines: Sequence[dict[str, Any]], *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": _encode_lines(lines), "more_body": more})
