"""Every checker over one history. As a script it judges a saved one: `python tests/faults/history_checks.py history.jsonl`.

The totals count what the promises name; they are sums of the checkers' anomalies, and say nothing that those do not.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import list_append_checker
import register_checker
import witness_checker
from anomaly import Anomaly
from history import History, Outcome
from replicated_log import Entries


@dataclass
class Totals:
    """What a run of any length comes to."""

    acknowledged_writes: int = 0
    failed: int = 0
    unknown: int = 0
    lost: int = 0
    duplicates: int = 0
    stale_reads: int = 0
    other_anomalies: int = 0
    nodes_that_differ: int = 0
    schema_changes: int = 0
    """Acknowledged."""
    inserts: int = 0
    settled: int = 0
    weak_reads: int = 0
    """Acknowledged, of single rows."""

    def __str__(self) -> str:
        return (
            f"{self.acknowledged_writes} acknowledged writes, {self.lost} lost, {self.duplicates} duplicates, "
            f"{self.stale_reads} stale strong reads, {self.other_anomalies} other anomalies, "
            f"{self.nodes_that_differ} nodes with differing rows, {self.schema_changes} schema changes, "
            f"{self.inserts} inserts of single rows ({self.settled} by being sent again with their key), "
            f"{self.weak_reads} reads that may be behind "
            f"({self.failed} requests failed, {self.unknown} unknown)"
        )

    def count_changes(self, acknowledged: int, anomalies: int) -> None:
        self.schema_changes += acknowledged
        self.other_anomalies += anomalies

    def count_inserts(self, acknowledged: int, settled: int, weak_reads: int, anomalies: int) -> None:
        self.inserts += acknowledged
        self.settled += settled
        self.weak_reads += weak_reads
        self.other_anomalies += anomalies

    def count(self, history: History, anomalies: list[Anomaly]) -> None:
        for operation in history.operations:
            self.acknowledged_writes += operation.is_write and operation.outcome is Outcome.OK
            self.failed += operation.outcome is Outcome.FAIL
            self.unknown += operation.outcome is Outcome.INFO
        for anomaly in anomalies:
            name = anomaly.name.lower()
            if "lost" in name:
                self.lost += 1
            elif "duplicate" in name:
                self.duplicates += 1
            elif "realtime" in name or "stale" in name:
                self.stale_reads += 1
            else:
                self.other_anomalies += 1


def check_all(history: History, entries: Entries | None = None) -> list[Anomaly]:
    """`entries`: what the nodes' log has of the history's writes, if it can be had."""
    return [
        *list_append_checker.check(history),
        *register_checker.check(history, entries),
        *witness_checker.check(history, entries),
    ]


def main() -> int:
    history = History.load(Path(sys.argv[1]))
    anomalies = check_all(history)
    for anomaly in anomalies:
        print(anomaly)
    totals = Totals()
    totals.count(history, anomalies)
    print(totals)
    return 1 if anomalies else 0


if __name__ == "__main__":
    sys.exit(main())
