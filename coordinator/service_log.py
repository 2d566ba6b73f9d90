"""What a service says to whoever runs it: a line an event on stderr, with the request that it is about.

Settings: LOG_LEVEL (INFO), LOG_FORMAT: `text` for people, `json` for what collects logs.

The other services use the same file, and their images copy it.
"""

import json
import logging
import os
import sys
from collections import Counter
from datetime import UTC, datetime

import request_ids

NOISY = ("httpx", "asyncmy")
"""A line a call, or one for every connection that is refused: more than all the rest, and it says less."""
UVICORN = ("uvicorn", "uvicorn.error")
ALIKE_MAX = 20
"""Lines a second that differ in their values only: without a quorum every request of every client is one."""


def set_up(service: str) -> None:
    """Once, before anything is logged. Whoever embeds the service and has a log of its own keeps it."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if os.environ.get("LOG_FORMAT") == "json" else TextLines())
    handler.addFilter(Flood())
    root.addHandler(handler)
    root.setLevel(os.environ.get("LOG_LEVEL", "INFO").upper())
    for name in UVICORN:
        uvicorn = logging.getLogger(name)
        uvicorn.handlers.clear()
        uvicorn.propagate = True


class Flood(logging.Filter):
    """Of lines that are alike, so many a second; the next one behind them says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._written: Counter[tuple[str, str]] = Counter()
        """In this second."""
        self._left_out: Counter[tuple[str, str]] = Counter()
        """Which no line has told of."""

    def filter(self, record: logging.LogRecord) -> bool:
        if int(record.created) != self._second:
            self._second = int(record.created)
            self._written.clear()
        kind = record.name, str(record.msg)
        if self._written[kind] == ALIKE_MAX:
            self._left_out[kind] += 1
            return False
        self._written[kind] += 1
        if left_out := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} (and {left_out} like it before)", None
        return True


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        name = request_ids.current()
        return super().formatMessage(record) + (f" [request {name}]" if name else "")


class JsonLines(logging.Formatter):
    """An object a line: time (ISO, UTC), level, service, logger, message, and request_id and exception where there are any."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if name := request_ids.current():
            told["request_id"] = name
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
