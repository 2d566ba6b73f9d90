"""What a node answers to a command (effects.py says which answers each command has)."""

from replication.log import LOG_BEGIN, EntryName, LogEnd, LogRow, Position
from replication.values import NodeStatus, Outcome, Value


class Fenced(Value, frozen=True):
    """Answer to Fence: the node is in our epoch."""

    status: NodeStatus


class Outbid(Value, frozen=True):
    """The node is in an epoch that is not ours: it took nothing."""

    status: NodeStatus


class Misplaced(Value, frozen=True):
    """The node is in our epoch, but its log does not end where the command supposed, or its note is another: it took nothing."""

    status: NodeStatus


class Bare(Value, frozen=True):
    """Answer to Fence: the server has no data of the cluster, not even an empty log. It took nothing."""


class BatchExecuted(Value, frozen=True):
    outcomes: tuple[Outcome, ...]
    """One a request, in order; ends early after a Disturbed one."""


class RowPrepared(Value, frozen=True):
    """The log row is in the master's open transaction."""


class BatchCommitted(Value, frozen=True):
    """The master's transaction is on its disk."""


class BatchRolledBack(Value, frozen=True):
    """The master's transaction is gone."""


class RowsStored(Value, frozen=True):
    """The rows are on the node's disk, and what was to be applied is applied."""

    log_end: Position
    applied_timestamp: int


class SchemaChanged(Value, frozen=True):
    """The node executed the schema change, now or before; or its server said why not, and nothing was changed."""

    outcome: Outcome


class Diverged(Value, frozen=True):
    """The node applied an entry with another result than the master had: its rows are not equal any more. It took nothing."""

    reason: str
    entry: EntryName
    rows_affected: int | None
    """The rows that it affected here; None: it failed here."""


class LogRead(Value, frozen=True):
    rows: tuple[LogRow, ...]
    before: LogEnd
    """End of the log before the first of `rows`."""


class LogGone(Value, frozen=True):
    """The rows that were asked for were removed here long ago."""

    log_begin: Position


class PositionsRead(Value, frozen=True):
    positions: tuple[Position, ...]
    log_begin: Position = LOG_BEGIN
    """The oldest row that the node still has."""


class LogMark(Value, frozen=True):
    """A row's place, and what lies before it."""

    timestamp: int
    bytes_total: int
    now_us: int


class LogMeasured(Value, frozen=True):
    marks: tuple[LogMark, ...]
    """Oldest first."""


class LogTruncated(Value, frozen=True):
    log_begin: Position


class CopyNoted(Value, frozen=True):
    """The donor's disk says for whom a copy of it is meant."""


class CopyEnded(Value, frozen=True):
    """The node has all data of its donor, and restarts."""


class Admitted(Value, frozen=True):
    """The node is a member now."""


class EpochSeen(Value, frozen=True):
    """Answer to ConfirmEpoch: the fence as it stands on the node now."""

    epoch: int
    owner: str


class SnapshotOpened(Value, frozen=True):
    """The node's rows can be read as they were at `timestamp`."""

    timestamp: int


Reply = (
    Fenced
    | Outbid
    | Misplaced
    | Bare
    | BatchExecuted
    | RowPrepared
    | BatchCommitted
    | BatchRolledBack
    | RowsStored
    | SchemaChanged
    | Diverged
    | LogRead
    | LogGone
    | PositionsRead
    | LogMeasured
    | LogTruncated
    | CopyNoted
    | CopyEnded
    | Admitted
    | EpochSeen
    | SnapshotOpened
)
