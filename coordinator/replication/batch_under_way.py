"""A batch on its way through the write path, or held over an election: its requests, and what became of them so far."""

import enum

from replication.log import LogRow, SchemaChange
from replication.values import Outcome, Request


class Stage(enum.Enum):
    EXECUTING = "executing"
    STORING = "storing"
    COMMITTING = "committing"
    UNDOING = "undoing"


class BatchUnderWay:
    """The batch under way, or held over an election."""

    def __init__(
        self, requests: tuple[tuple[int, Request], ...], now_us: int, change: SchemaChange | None = None
    ) -> None:
        self.requests = requests
        self.now_us = now_us
        self.change = change
        """It carries a schema change's row, and the master has nothing to execute for that."""
        self.stage = Stage.EXECUTING
        self.command = 0
        self.outcomes: tuple[Outcome, ...] = ()
        self.row: LogRow | None = None
        self.prepared = False
        self.holders: list[str] = []
        """The replicas that had the row when the master was told to commit."""
        self.next_deadline_ns = min((request.deadline_ns for _, request in requests), default=0)
        """The earliest deadline that is not answered yet; 0: none."""
        self.expired: dict[int, None] = {}
        """Requests answered as unknown because their deadline passed."""
        self.master = ""

    def unanswered(self) -> list[Request]:
        return [request for _, request in self.requests if request.request_id not in self.expired]
