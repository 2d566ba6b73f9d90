"""What goes into the protocol: `Replicator.step` takes one event at a time.

Every command on a node ends in exactly one `NodeReplied` or `NodeFailed` with its number. A failure says what may be
concluded: NOT_APPLIED (certainly nothing happened) or UNKNOWN (it may have happened, or may still happen: a time-out after
sending is always this).
"""

from replication.replies import Reply
from replication.values import STRONG, Certainty, ReadNeed, Request, Value


class WriteArrived(Value, frozen=True):
    request: Request


class ReadArrived(Value, frozen=True):
    """A read waits for leave."""

    read_id: int
    deadline_ns: int
    need: ReadNeed = STRONG


class ReadFinished(Value, frozen=True):
    """A read that was given leave has ended on `node`."""

    node: str
    latency_ns: int


class TimestampsGranted(Value, frozen=True):
    """Numbers first, first + step, … last: reserved for us alone."""

    first: int
    last: int
    step: int


class TimestampsRefused(Value, frozen=True):
    reason: str


class NodeReplied(Value, frozen=True):
    node: str
    command: int
    reply: Reply


class NodeFailed(Value, frozen=True):
    node: str
    command: int
    certainty: Certainty
    reason: str


class AdviceArrived(Value, frozen=True):
    """Cabinet's quorum and SEER's ranking: preferences among safe choices, never more."""

    quorum: tuple[str, ...]
    ranking: tuple[str, ...]


class SwitchoverRequested(Value, frozen=True):
    """A person wants `target` to be the master."""

    target: str


class PauseSkipped(Value, frozen=True):
    """A person wants an election that is held up to begin now."""


class VerificationRequested(Value, frozen=True):
    """Somebody wants to compare the nodes' rows: open snapshots at one timestamp."""


class DifferenceFound(Value, frozen=True):
    """A commit quorum of nodes agrees in rows that `node` has otherwise."""

    node: str
    reason: str


class Woken(Value, frozen=True):
    """The time asked for by `Replicator.wake_at_ns` has come."""


Event = (
    WriteArrived
    | ReadArrived
    | ReadFinished
    | TimestampsGranted
    | TimestampsRefused
    | NodeReplied
    | NodeFailed
    | AdviceArrived
    | SwitchoverRequested
    | PauseSkipped
    | VerificationRequested
    | DifferenceFound
    | Woken
)
