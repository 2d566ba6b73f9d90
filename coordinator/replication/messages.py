"""What goes into the protocol and what comes out of it: events, effects and the values they carry.

Every effect on a node carries a `command` number and ends in exactly one `NodeReplied` or `NodeFailed` with that number.
A failure says what the caller may conclude: NOT_APPLIED (certainly nothing happened) or UNKNOWN (it may have happened, or
may still happen: a time-out after sending is always this). An effect names all it needs, so the adapter decides nothing.
"""

import enum

import msgspec

from replication.log import LOG_BEGIN, Batch, Entry, LogEnd, LogRow, Position


class Value(msgspec.Struct, frozen=True):
    """Base of all messages: immutable and cheap to make."""


# ---------------------------------------------------------------------------------------------- values


class NodeStatus(Value, frozen=True):
    """What a node says of itself, read under the lock of its meta row."""

    cluster_id: str
    """Empty: the node is not (or no longer) a member; it counts for no quorum."""
    node: str
    """Whose data this is. Another name than the node's own: a copy, which has not promised what this node promised."""
    epoch: int
    owner: str
    master: str
    log_begin: Position
    """The oldest row that it still has: rows after it can be read there."""
    log_end: LogEnd
    committed_timestamp: int
    applied_timestamp: int
    applied_entries: int
    tail: tuple[Position, ...]
    """Positions of the rows from the last applied one (included) to the end: only what is not applied can diverge."""


class Request(Value, frozen=True):
    """A write that waits for its place in the log."""

    request_id: int
    sql: str
    inserts: bool
    uses_random: bool
    rand_seed: int
    deadline_ns: int


class Executed(Value, frozen=True):
    """The statement ran on the master."""

    rows_affected: int
    insert_id: int


class Rejected(Value, frozen=True):
    """MySQL's own word about the statement: the same on every node, so it is the request's result."""

    errno: int
    sqlstate: str
    message: str


class Disturbed(Value, frozen=True):
    """An error of the surroundings (lock wait, disk full): no result of the request. The batch was rolled back."""

    errno: int
    sqlstate: str
    message: str


Outcome = Executed | Rejected | Disturbed


class Certainty(enum.Enum):
    """What is known about a command that did not answer well."""

    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"


# ---------------------------------------------------------------------------------------------- events


class WriteArrived(Value, frozen=True):
    request: Request


class ReadArrived(Value, frozen=True):
    """A strong read waits for leave."""

    read_id: int
    deadline_ns: int


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


class Fenced(Value, frozen=True):
    """Answer to Fence: the node is in our epoch."""

    status: NodeStatus


class Outbid(Value, frozen=True):
    """The node is in an epoch that is not ours: it took nothing."""

    status: NodeStatus


class Misplaced(Value, frozen=True):
    """The node is in our epoch, but its log does not end where the command supposed: it took nothing."""

    status: NodeStatus


class Bare(Value, frozen=True):
    """Answer to Fence: the server has no data of the cluster, not even an empty log. It took nothing."""


class BatchExecuted(Value, frozen=True):
    outcomes: tuple[Outcome, ...]
    """One per entry, in order; ends early after a Disturbed one."""


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


class Diverged(Value, frozen=True):
    """The node applied an entry with another result than the master had: its rows are not equal any more."""

    reason: str


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


class CopyEnded(Value, frozen=True):
    """The node has all data of its donor, and restarts."""


class Admitted(Value, frozen=True):
    """The node is a member now."""


class EpochSeen(Value, frozen=True):
    """Answer to ConfirmEpoch: the fence as it stands on the node now."""

    epoch: int
    owner: str


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
    | Diverged
    | LogRead
    | LogGone
    | PositionsRead
    | LogMeasured
    | LogTruncated
    | CopyEnded
    | Admitted
    | EpochSeen
)


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
    | Woken
)


# ---------------------------------------------------------------------------------------------- effects


class NodeCommand(Value, frozen=True):
    """Base of the effects on a node."""

    node: str
    command: int


class Fence(NodeCommand, frozen=True):
    """Set (epoch, owner) where the node's epoch is lower, or is this very one; end whoever holds its lock.

    Replies Fenced | Outbid | Bare.
    """

    epoch: int
    owner: str


class Admit(NodeCommand, frozen=True):
    """Make the node a member of the cluster, or none where `cluster_id` is empty; its data is its own from now on.

    Replies Admitted | Outbid.
    """

    epoch: int
    owner: str
    cluster_id: str


class ExecuteBatch(NodeCommand, frozen=True):
    """Open a transaction on the master, check and lock the fence and the log's end, run each request behind a savepoint.

    Replies BatchExecuted | Outbid | Misplaced. The transaction stays open.
    """

    epoch: int
    owner: str
    previous: Position
    now_us: int
    requests: tuple[tuple[int, Request], ...]
    """(timestamp, request) in order."""


class PrepareRow(NodeCommand, frozen=True):
    """Put the batch's log row into the master's open transaction. Replies RowPrepared."""

    row: LogRow
    master: str


class CommitBatch(NodeCommand, frozen=True):
    """Commit the master's open transaction. Replies BatchCommitted."""


class RollBackBatch(NodeCommand, frozen=True):
    """End the master's open transaction without a trace. Replies BatchRolledBack."""


class StoreRows(NodeCommand, frozen=True):
    """In one transaction: check and lock the fence and both positions, drop a divergent tail, append, apply.

    Replies RowsStored | Outbid | Misplaced | Diverged.
    """

    epoch: int
    owner: str
    master: str
    log_end: Position
    """Where the node's log ends now."""
    applied_timestamp: int
    """What the node has applied now."""
    drop_after: Position | None
    """Rows after this lost an election: delete them first."""
    append: tuple[LogRow, ...]
    apply: tuple[tuple[LogRow, Batch], ...]
    committed_timestamp: int


class ReadLog(NodeCommand, frozen=True):
    """Rows after a timestamp, oldest first, up to so many bytes. Replies LogRead | LogGone."""

    after_timestamp: int
    bytes_max: int


class ReadPositions(NodeCommand, frozen=True):
    """Positions of the rows from `first_timestamp` to `last_timestamp`. Replies PositionsRead."""

    first_timestamp: int
    last_timestamp: int


class MeasureLog(NodeCommand, frozen=True):
    """For each timestamp, in order: the first row at or after it. Replies LogMeasured."""

    timestamps: tuple[int, ...]


class TruncateLog(NodeCommand, frozen=True):
    """Remove the rows before a timestamp, but none that is not applied, and never the last applied one.

    Replies LogTruncated. Needs no fence: what is applied is committed, and stands in the node's data.
    """

    before_timestamp: int


class CopyData(NodeCommand, frozen=True):
    """Replace all data of the node by a copy of the donor's, and restart it. Only over the connection that the last Fence
    opened, so a later fence of anybody prevents it. Replies CopyEnded.
    """

    donor: str


class ConfirmEpoch(NodeCommand, frozen=True):
    """Read the fence afresh. Replies EpochSeen."""


class RequestTimestamps(Value, frozen=True):
    """Ask the timestamp service for `count` numbers greater than `after`."""

    count: int
    after: int


class Answer(Value, frozen=True):
    """Base of a write's answers."""

    request_id: int


class Acknowledge(Answer, frozen=True):
    """The write is committed and will never be lost."""

    entry: Entry
    master: str
    quorum: tuple[str, ...]
    """The replicas whose disk was counted, beside the master."""
    quorum_size: int


class Refuse(Answer, frozen=True):
    """MySQL refused the write; certainly not committed."""

    error: Rejected
    master: str


class Fail(Answer, frozen=True):
    """The cluster could not do it. `committed` is False or None (nobody can tell)."""

    committed: bool | None
    reason: str
    disturbance: Disturbed | None = None


class ReadAllowed(Value, frozen=True):
    """Read at `node`: its rows contain every write acknowledged before the read arrived."""

    read_id: int
    node: str
    applied_timestamp: int


class ReadRefused(Value, frozen=True):
    read_id: int
    reason: str


class SwitchoverEnded(Value, frozen=True):
    """`reason` says why not, where `done` is false."""

    done: bool
    master: str | None
    reason: str


class Report(Value, frozen=True):
    """Something that a person should know; goes to the log."""

    severity: str
    text: str


NodeEffect = (
    Fence
    | Admit
    | ExecuteBatch
    | PrepareRow
    | CommitBatch
    | RollBackBatch
    | StoreRows
    | ReadLog
    | ReadPositions
    | MeasureLog
    | TruncateLog
    | CopyData
    | ConfirmEpoch
)
Effect = (
    NodeEffect | RequestTimestamps | Acknowledge | Refuse | Fail | ReadAllowed | ReadRefused | SwitchoverEnded | Report
)
