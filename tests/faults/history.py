"""What clients were told, and when: all that a checker may know of a run.

A checker that looked into the cluster would share the cluster's mistakes. So a workload writes down only what a client sees:
what it asked, when it sent it, what it was answered and when. All that the checkers can prove hangs on these rules:

- one monotonic clock of one process gives all times;
- an outcome is one of three. FAIL says *certainly not, and never will*; whoever is in doubt writes INFO (a time-out after
  sending, a connection that broke, an answer "unknown"). A wrong FAIL is a false alarm, a needless INFO only costs sight;
- a process is a client that does one thing after another; after an INFO its client goes on under a new process number, because
  what it asked may still happen beside what it asks next;
- a value is written once ever: (key, value) is appended to a list at most once, (key, new) set in a register at most once
  and never the value that it starts with. A retry has the same values and is the same operation. So a value names its writer.

A key that has no row is read as an empty list, `()`: that is an answer. `None` is no answer.
"""

from enum import Enum
from pathlib import Path

import msgspec

LAST_READER = -1
"""The process that reads every list when all is over."""


class Append(msgspec.Struct, frozen=True, tag=True):
    """`value` goes to the end of the list `key`."""

    key: str
    value: int


class Read(msgspec.Struct, frozen=True, tag=True):
    """The list `key`, as it was read; None: never answered."""

    key: str
    values: tuple[int, ...] | None


class CompareAndSet(msgspec.Struct, frozen=True, tag=True):
    """The register `key` becomes `new` if it holds `expected`. `changed`: whether it did, as answered; None: never answered."""

    key: str
    expected: int
    new: int
    changed: bool | None


class RegisterRead(msgspec.Struct, frozen=True, tag=True):
    """The register `key`, as it was read; None: never answered."""

    key: str
    value: int | None


class Transfer(msgspec.Struct, frozen=True, tag=True):
    """`amount` goes from one account to another, in one statement."""

    from_account: str
    to_account: str
    amount: int


class Balances(msgspec.Struct, frozen=True, tag=True):
    """All accounts in one read; None: never answered."""

    values: dict[str, int] | None


MicroOperation = Append | Read | CompareAndSet | RegisterRead | Transfer | Balances


class Outcome(Enum):
    OK = "ok"
    FAIL = "fail"
    """Definitely not, and never."""
    INFO = "info"
    """Anything else: it may have happened, may still happen, or never."""


class Operation(msgspec.Struct, frozen=True, tag=True):
    """One request, which takes effect at one point or not at all, and what its client was told."""

    process: int
    invoked_ns: int
    returned_ns: int | None
    """None only where nothing ever came back: an INFO."""
    outcome: Outcome
    micro_operations: tuple[MicroOperation, ...]
    timestamp: int | None = None
    """Place in the replicated log that the answer named: a write's own, or a read's `applied_timestamp`."""
    node: str = ""

    def __post_init__(self) -> None:
        if self.returned_ns is None and self.outcome is not Outcome.INFO:
            raise ValueError(f"only an info operation has no time of return: {self}")
        if self.returned_ns is not None and self.returned_ns < self.invoked_ns:
            raise ValueError(f"an operation returned before it was invoked: {self}")

    @property
    def appends(self) -> tuple[Append, ...]:
        return tuple(micro for micro in self.micro_operations if isinstance(micro, Append))

    @property
    def is_write(self) -> bool:
        return any(isinstance(micro, Append | CompareAndSet | Transfer) for micro in self.micro_operations)


class History(msgspec.Struct):
    """All operations of a run in any order, and what else a checker needs to judge them."""

    operations: list[Operation] = []
    final_reads: dict[str, tuple[int, ...]] = {}
    """A last read of every list through the cluster: faults healed, every operation returned or given up, nothing under way."""
    initial_registers: dict[str, int] = {}
    """What each register held before the first operation."""
    accounts_total: int | None = None
    """What all accounts held together before the first operation."""

    def operations_and_last_reads(self) -> list[Operation]:
        """The operations in their places, and behind them each final read as an operation after all others."""
        times_ns = [max(each.invoked_ns, each.returned_ns or 0) for each in self.operations]
        end_ns = 1 + max(times_ns, default=0)
        last_reads = [
            Operation(LAST_READER, end_ns, end_ns, Outcome.OK, (Read(key, self.final_reads[key]),))
            for key in sorted(self.final_reads)
        ]
        return [*self.operations, *last_reads]

    def save(self, path: Path) -> None:
        """One JSON object a line: readable with any tool, and greppable."""
        begin = _Begin(self.initial_registers, self.accounts_total)
        final_reads = [_FinalRead(key, values) for key, values in self.final_reads.items()]
        path.write_bytes(msgspec.json.Encoder().encode_lines([begin, *self.operations, *final_reads]))

    @classmethod
    def load(cls, path: Path) -> "History":
        history = cls()
        for line in msgspec.json.Decoder(_Begin | Operation | _FinalRead).decode_lines(path.read_bytes()):
            match line:
                case _Begin(initial_registers, accounts_total):
                    history.initial_registers, history.accounts_total = initial_registers, accounts_total
                case _FinalRead(key, values):
                    history.final_reads[key] = values
                case Operation():
                    history.operations.append(line)
        return history


class _Begin(msgspec.Struct, frozen=True, tag="Begin"):
    initial_registers: dict[str, int]
    accounts_total: int | None


class _FinalRead(msgspec.Struct, frozen=True, tag="FinalRead"):
    key: str
    values: tuple[int, ...]
