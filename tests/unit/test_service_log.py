"""What a service logs: text for people, an object a line for what collects logs, each with the request that it is about."""

import json
import logging
import os
import subprocess
import sys
from datetime import datetime

import pytest
import request_ids
from service_log import ALIKE_MAX, Flood, JsonLines, TextLines

from cluster_layout import ROOT

PROGRAM = """
import logging, request_ids, service_log
service_log.set_up("seer-service")
logging.getLogger("seer").info("nobody's")
request_ids.take(b"mine-1")
try:
    raise ValueError("wrong")
except ValueError:
    logging.getLogger("seer").exception("it %s", "failed")
logging.getLogger("httpx").info("a line a call")
logging.getLogger("uvicorn.error").warning("the server's own")
"""


def said(**settings: str) -> list[str]:
    """By a process of its own: the log is the process's."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "coordinator"), **settings}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_text_is_for_people() -> None:
    first, second, *trace, last = said()
    assert first.endswith("INFO seer nobody's")
    assert second.endswith("ERROR seer it failed [request mine-1]")
    assert trace[-1] == "ValueError: wrong"
    assert last.endswith("WARNING uvicorn.error the server's own [request mine-1]")


def test_json_is_an_object_a_line() -> None:
    first, second, last = [json.loads(line) for line in said(LOG_FORMAT="json")]
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {"level": "INFO", "service": "seer-service", "logger": "seer", "message": "nobody's"}
    assert (second["message"], second["request_id"]) == ("it failed", "mine-1")
    assert second["exception"].endswith("ValueError: wrong")
    assert (last["logger"], last["message"]) == ("uvicorn.error", "the server's own")


def test_the_level_is_a_setting() -> None:
    assert [line.split()[2] for line in said(LOG_LEVEL="warning") if "seer" in line or "uvicorn" in line] == [
        "ERROR",
        "WARNING",
    ]


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines("coordinator")])
def test_a_line_is_one_line(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "größe %s", ("'a' \"b\"",), None)
    assert "größe" in formatter.format(record)
    assert "\n" not in formatter.format(record)


def test_without_a_request_there_is_no_identity() -> None:
    assert request_ids.current() == ""
    assert request_ids.header() == []


def record_at(second: float, template: str, *values: object) -> logging.LogRecord:
    record = logging.LogRecord("requests", logging.WARNING, "", 0, template, values, None)
    record.created = second
    return record


def test_lines_that_are_alike_are_so_many_a_second_and_the_next_one_counts_the_rest() -> None:
    flood, template = Flood(), "%s: %d%%"
    kept = [flood.filter(record_at(7.5, template, "POST /query", number)) for number in range(ALIKE_MAX + 5)]
    assert kept == [True] * ALIKE_MAX + [False] * 5
    other, later, last = (record_at(7.9, "another"), record_at(8.0, template, "a", 1), record_at(8.1, template, "b", 2))
    assert all(flood.filter(record) for record in (other, later, last))
    shown = [record.getMessage() for record in (other, later, last)]
    assert shown == ["another", "a: 1% (and 5 like it before)", "b: 2%"]
