"""What was measured, as it is written down (JSON), and what medians and spreads it gives. Nothing here measures.

Hard case: a file may hold parts that were measured at different times (growth takes ten minutes, and is run by itself). Each part
therefore says when, at which commit and on what it was measured; ratios are only ever taken within one part.
"""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEALTHY = "healthy"
WORK_TITLES = {
    "insert": "single-row INSERT",
    "update": "UPDATE by key",
    "read": "strong read by key",
    "mix": "90 % reads by key, 10 % INSERT",
    "batch": "atomic batch of ten INSERTs",
}


@dataclass(frozen=True)
class Measurement:
    """One load on one system. What is spent is per acknowledged operation."""

    system: str
    work: str
    clients: int
    round: int
    condition: str
    operations: int
    errors: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float]
    """By group of processes."""
    generator_cpu_ms: float
    written_bytes: float


@dataclass(frozen=True)
class FailoverTime:
    """From a fault of the server that takes the writes to the next acknowledged one; None: there was none in time."""

    system: str
    fault: str
    round: int
    seconds: float | None


@dataclass(frozen=True)
class GrowthStretch:
    """Some seconds of one long load, and what there was at their end."""

    writes_so_far: int
    per_second: float
    coordinator_rss_mb: float
    log_payload_mb: Mapping[str, float]
    """What the log of each node keeps."""
    log_file_mb: Mapping[str, float]


@dataclass(frozen=True)
class IdleUse:
    """In % of one core, on average over a time in which nobody asked anything."""

    seconds: float
    services: Mapping[str, float]
    servers: float
    bare_servers: float
    """Four servers with the same options and data, that nobody is connected to."""


@dataclass
class Results:
    """All parts. `parts` says of each when and on what it was measured."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    systems: dict[str, dict[str, str]] = field(default_factory=dict)
    load: list[Measurement] = field(default_factory=list)
    slow: list[Measurement] = field(default_factory=list)
    failover: list[FailoverTime] = field(default_factory=list)
    growth: list[GrowthStretch] = field(default_factory=list)
    idle: list[IdleUse] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What could not be measured, and why, by part."""

    def note(self, part: str, text: str) -> None:
        self.notes.setdefault(part, []).append(text)

    def begin(self, part: str, about: dict[str, Any]) -> None:
        """What an earlier run found of this part is forgotten."""
        self.parts[part] = about
        self.notes.pop(part, None)
        getattr(self, part).clear()

    def title(self, system: str) -> str:
        return self.systems.get(system, {}).get("title", system)


_ROWS: dict[str, Any] = {
    "load": Measurement,
    "slow": Measurement,
    "failover": FailoverTime,
    "growth": GrowthStretch,
    "idle": IdleUse,
}
PARTS = tuple(_ROWS)


def save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")
    new.replace(path)


def load(path: Path) -> Results:
    """What was saved there; nothing, if there is no such file."""
    if not path.exists():
        return Results()
    stored = json.loads(path.read_text())
    rows = {part: [kind(**row) for row in stored[part]] for part, kind in _ROWS.items()}
    return Results(parts=stored["parts"], systems=stored["systems"], notes=stored["notes"], **rows)


@dataclass(frozen=True)
class Spread:
    """Of the same thing, measured in several rounds."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Iterable[float]) -> "Spread":
        ordered = sorted(values)
        return Spread(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Summary:
    """All rounds of one load on one system."""

    rounds: int
    errors: int
    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_ms: Mapping[str, float]
    generator_cpu_ms: float
    written_bytes: float

    @property
    def cpu_ms_in_all(self) -> float:
        return sum(self.cpu_ms.values())


Key = tuple[str, str, int, str]
"""System, work, clients, condition."""


def summaries(measurements: Iterable[Measurement]) -> dict[Key, Summary]:
    by_key: dict[Key, list[Measurement]] = {}
    for each in measurements:
        by_key.setdefault((each.system, each.work, each.clients, each.condition), []).append(each)
    return {key: _summary(rows) for key, rows in by_key.items()}


def _summary(rows: list[Measurement]) -> Summary:
    groups = sorted({group for row in rows for group in row.cpu_ms})
    return Summary(
        rounds=len(rows),
        errors=sum(row.errors for row in rows),
        per_second=Spread.of(row.per_second for row in rows),
        p50_ms=Spread.of(row.p50_ms for row in rows),
        p99_ms=Spread.of(row.p99_ms for row in rows),
        cpu_ms={group: statistics.median(row.cpu_ms.get(group, 0.0) for row in rows) for group in groups},
        generator_cpu_ms=statistics.median(row.generator_cpu_ms for row in rows),
        written_bytes=statistics.median(row.written_bytes for row in rows),
    )


def in_order(values: Iterable[str]) -> list[str]:
    """Each once, in the order of their first appearance."""
    return list(dict.fromkeys(values))
