"""What a checker found, told so that a person can look it up: each operation by its place in the history, its client
and its time.

T17 is `history.operations[17]`, in a saved history line 19 (the first line is the beginning). Times count from the
first invocation.
"""

from collections.abc import Sequence

import msgspec
from history import LAST_READER, Operation, Outcome, Read


class GeneratorBug(ValueError):
    """The workload broke a rule of its own (see history.py): what it wrote down proves nothing about the cluster."""


class Anomaly(msgspec.Struct, frozen=True):
    """Something that a strictly serializable system never answers."""

    name: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


class Narrator:
    """Names operations in sentences."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._begin_ns = min((each.invoked_ns for each in operations), default=0)

    def short(self, number: int) -> str:
        """T17, or what it is called where it is no operation of a client."""
        operation = self._operations[number]
        if operation.process != LAST_READER:
            return f"T{number}"
        keys = [micro.key for micro in operation.micro_operations if isinstance(micro, Read)]
        return f"the last read of {', '.join(keys)}"

    def full(self, number: int) -> str:
        """T17 with its client, its time and its place in the log."""
        operation = self._operations[number]
        if operation.process == LAST_READER:
            return self.short(number)
        told = [f"process {operation.process}"]
        if operation.outcome is Outcome.INFO:
            told.append(f"from {self.time(operation.invoked_ns)}, outcome never known")
        else:
            told.append(f"{self.time(operation.invoked_ns)} to {self.time(operation.returned_ns)}")
        if operation.outcome is Outcome.FAIL:
            told.append("failed")
        if operation.timestamp is not None:
            told.append(f"timestamp {operation.timestamp}")
        if operation.node:
            told.append(f"at {operation.node}")
        return f"T{number} ({', '.join(told)})"

    def time(self, time_ns: int | None) -> str:
        return "never" if time_ns is None else f"{(time_ns - self._begin_ns) / 1e9:.6f} s"
