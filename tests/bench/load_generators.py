"""How many statements a second a system answers, and how soon: asked by programs in C, which leave the cores to the system.

wrk speaks HTTP to the project, sysbench MySQL's protocol to its peers; both are closed loops of so many clients, over TCP on
loopback, with the statements of one file (loads/statements.lua). What was acknowledged is counted, nothing else.

Hard case: the two do not mean the same by a percentile. wrk corrects for what it calls coordinated omission: whoever waited n
times the mean wait stands for n - 1 requests that were not sent meanwhile, and their waits are added. sysbench adds nothing.
So its whole histogram is taken and corrected by wrk's rule (stats_correct in its source): all percentiles are of one kind.
"""

import json
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner_console import CannotRun

Protocol = Literal["http", "mysql"]
LOADS = Path(__file__).with_name("loads")
HOST, USER, PASSWORD, DATABASE = "127.0.0.1", "app", "app", "distributed_db"
END_S = 60.0
"""After its time is over a generator waits for the answers that are under way."""
WRK_TIMEOUT_S = 30
"""Only counted by wrk: a request that took longer is `late`."""


class LoadFailed(Exception):
    """The generator gave no figures; the message is what it said."""


@dataclass(frozen=True)
class Load:
    """What a load generator saw. Operations are those that were acknowledged."""

    operations: int
    errors: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_s: float = 0.0


def missing_generators() -> list[str]:
    return [program for program in ("sysbench", "wrk") if shutil.which(program) is None]


def run_load(protocol: Protocol, port: int, work: str, clients: int, seconds: float) -> Load:
    """Load the system that listens at this port for so long."""
    command = _wrk(port, work, clients, seconds) if protocol == "http" else _sysbench(port, work, clients, seconds)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command, cwd=LOADS, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + END_S
        )
    except FileNotFoundError as error:
        raise CannotRun(f"{command[0]} is not on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"{command[0]} did not end: requests were not answered for {END_S:.0f} s") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    parse = parse_wrk if protocol == "http" else parse_sysbench
    return parse(done.stdout + done.stderr, cpu_s)


def _wrk(port: int, work: str, clients: int, seconds: float) -> list[str]:
    options = ["-t1", f"-c{clients}", f"-d{seconds:.0f}s", f"--timeout={WRK_TIMEOUT_S}s", "-s", "http_load.lua"]
    return ["wrk", *options, f"http://{HOST}:{port}/query", "--", work]


def _sysbench(port: int, work: str, clients: int, seconds: float) -> list[str]:
    account = [f"--mysql-user={USER}", f"--mysql-password={PASSWORD}", f"--mysql-db={DATABASE}"]
    where = ["--db-driver=mysql", f"--mysql-host={HOST}", f"--mysql-port={port}", *account]
    size = [f"--threads={clients}", f"--time={seconds:.0f}", "--events=0", "--histogram=on"]
    return ["sysbench", "sql_load.lua", f"--work={work}", *where, *size, "run"]


def parse_wrk(output: str, cpu_s: float = 0.0) -> Load:
    """The line that http_load.lua prints at its end."""
    line = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if line is None:
        raise LoadFailed(f"wrk: {_tail(output)}")
    seen = json.loads(line[1])
    acknowledged = seen["requests"] - seen["not_200"]
    if acknowledged <= 0:
        raise LoadFailed(f"wrk: no request was answered with 200: {line[1]}")
    return Load(
        operations=acknowledged,
        errors=seen["not_200"] + seen["lost"] + seen["late"],
        per_second=acknowledged / seen["duration_us"] * 1e6,
        p50_ms=seen["p50_us"] / 1000,
        p99_ms=seen["p99_us"] / 1000,
        cpu_s=cpu_s,
    )


def parse_sysbench(output: str, cpu_s: float = 0.0) -> Load:
    """sysbench's report and its histogram."""
    events = re.search(r"transactions:\s+(\d+)\s+\(([\d.]+) per sec\.\)", output)
    ignored = re.search(r"ignored errors:\s+(\d+)", output)
    histogram = parse_histogram(output)
    if events is None or ignored is None or not histogram or "FATAL" in output:
        raise LoadFailed(f"sysbench: {_tail(output)}")
    mean_ms = sum(value * count for value, count in histogram.items()) / sum(histogram.values())
    corrected = corrected_histogram(histogram, mean_ms)
    return Load(
        operations=int(events[1]),
        errors=int(ignored[1]),
        per_second=float(events[2]),
        p50_ms=percentile(corrected, 0.50),
        p99_ms=percentile(corrected, 0.99),
        cpu_s=cpu_s,
    )


def parse_histogram(output: str) -> dict[float, int]:
    """How many events took so many milliseconds."""
    rows = re.findall(r"^\s*(\d+\.\d+) \|\**\s+(\d+)$", output, re.MULTILINE)
    return {float(value): int(count) for value, count in rows}


def corrected_histogram(histogram: Mapping[float, int], expected: float) -> dict[float, int]:
    """wrk's rule: a wait of more than twice what is expected is followed by waits that are each shorter by that, down to it."""
    corrected = dict(histogram)
    for value, count in histogram.items():
        if value < 2 * expected:
            continue
        omitted = value - expected
        while omitted > expected:
            corrected[omitted] = corrected.get(omitted, 0) + count
            omitted -= expected
    return corrected


def percentile(histogram: Mapping[float, int], share: float) -> float:
    """The least value that so large a share of all does not exceed."""
    wanted = share * sum(histogram.values())
    seen = 0
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= wanted:
            return value
    raise ValueError("an empty histogram has no percentile")


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if "FATAL" in line] or output.strip().splitlines()[-3:]
    return " / ".join(lines[:3])[:400] or "no output"
