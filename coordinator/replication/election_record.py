"""What one election was: why, how long each step took, who was ranked how and who was passed over for what reason."""

from collections.abc import Sequence

import msgspec

RECORDS_MAX = 100


class ElectionRecord(msgspec.Struct):
    """Mutable until the election ends. Times in ms; `began_at_us` is wall time, for display only."""

    reason: str
    began_at_us: int
    epoch: int = 0
    attempts: int = 0
    master: str | None = None
    duration_ms: float | None = None
    step_ms: dict[str, float] = {}
    ranking: list[str] = []
    rejected: dict[str, str] = {}
    """Node -> why it could not be chosen."""


class ElectionHistory:
    """The newest elections, newest last, and the clock of the steps of the one under way."""

    def __init__(self) -> None:
        self.records: list[ElectionRecord] = []
        self.begun = self.won = 0
        """How many there were at all: these only grow, while records are forgotten."""
        self._began_ns = 0
        self._step_began_ns = 0
        self._step = ""

    @property
    def last(self) -> ElectionRecord | None:
        return self.records[-1] if self.records else None

    def begin(self, reason: str, now_ns: int, wall_us: int) -> None:
        self.begun += 1
        self.records.append(ElectionRecord(reason, wall_us))
        del self.records[:-RECORDS_MAX]
        self._began_ns = self._step_began_ns = now_ns
        self._step = ""

    def attempt(self, epoch: int) -> None:
        record = self.records[-1]
        record.epoch, record.attempts = epoch, record.attempts + 1

    def step(self, name: str, now_ns: int) -> None:
        """A step begins; the one before it ends. Attempts add up."""
        record = self.records[-1]
        if self._step:
            spent_ms = (now_ns - self._step_began_ns) / 1e6
            record.step_ms[self._step] = round(record.step_ms.get(self._step, 0.0) + spent_ms, 3)
        self._step, self._step_began_ns = name, now_ns

    def ranked(self, ranking: Sequence[str], rejected: dict[str, str]) -> None:
        self.records[-1].ranking, self.records[-1].rejected = list(ranking), rejected

    def end(self, master: str, now_ns: int) -> None:
        self.won += 1
        self.step("", now_ns)
        record = self.records[-1]
        record.master, record.duration_ms = master, round((now_ns - self._began_ns) / 1e6, 3)
