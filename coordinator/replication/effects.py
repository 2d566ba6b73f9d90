"""What comes out of the protocol: commands on nodes, and answers to those who wait.

Every effect on a node carries a `command` number. An effect names all it needs, so the adapter decides nothing.
"""

from replication.log import Batch, LogRow, Position
from replication.values import Disturbed, Executed, Rejected, Request, Value


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
    """Make the node a member of the cluster, or none where `cluster_id` is empty; its data is its own from now on, or nobody's
    where its rows differ.

    Replies Admitted | Outbid.
    """

    epoch: int
    owner: str
    cluster_id: str
    rows_differ: bool = False


class ExecuteBatch(NodeCommand, frozen=True):
    """Open a transaction on the master, check and lock the fence and the log's end, run the requests in order. Of one that is
    refused, nothing is left.

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
    ends_change: bool = False
    """The row is a schema change's outcome: nobody will ask any more whether the node executed it."""


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


class RunSchemaChange(NodeCommand, frozen=True):
    """Execute a schema change whose intent is committed, unless the node has executed it already: check the fence and what is
    applied, note on the disk what is about to be done, do it. Only over the connection that the last Fence opened, so a later
    fence of anybody prevents or ends it.

    Replies SchemaChanged | Outbid | Misplaced.
    """

    epoch: int
    owner: str
    applied_timestamp: int
    intent_timestamp: int
    now_us: int
    sql: str


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


class NoteCopy(NodeCommand, frozen=True):
    """Write on a donor's disk whose vote a copy of its data has, where its note is still `previous`.

    Replies CopyNoted | Outbid | Misplaced.
    """

    epoch: int
    owner: str
    previous: str
    note: str


class ConfirmEpoch(NodeCommand, frozen=True):
    """Read the fence afresh. Replies EpochSeen."""


class OpenSnapshot(NodeCommand, frozen=True):
    """Open a snapshot of the node's rows for a comparison, and throw it away again if it is not at `timestamp` (None: wherever it
    is). Fails where it is of another epoch. Replies SnapshotOpened.
    """

    epoch: int
    owner: str
    timestamp: int | None


class RequestTimestamps(Value, frozen=True):
    """Ask the timestamp service for `count` numbers greater than `after`."""

    count: int
    after: int


class Answer(Value, frozen=True):
    """Base of a write's answers."""

    request_id: int


class Acknowledge(Answer, frozen=True):
    """The write is committed and will never be lost."""

    timestamp: int
    results: tuple[Executed, ...]
    """One a statement."""
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


class Stale(Answer, frozen=True):
    """Nothing was done: the text was judged by a schema that has changed since. Judge it anew, and send it again."""


class ReadAllowed(Value, frozen=True):
    """Read at `node`: its rows contain every write that was acknowledged `staleness_ns` before now (for a strong read: before
    it arrived); None: nobody can tell."""

    read_id: int
    node: str
    applied_timestamp: int
    staleness_ns: int | None = 0
    known_ns: int = 0
    """When the server that this rests on was last surely there: behind a connection that is younger there may be another one."""


class ReadRefused(Value, frozen=True):
    read_id: int
    reason: str


class SwitchoverEnded(Value, frozen=True):
    """`reason` says why not, where `done` is false."""

    done: bool
    master: str | None
    reason: str


class SnapshotsTaken(Value, frozen=True):
    """Who waits to compare the nodes can: each of `nodes` has a snapshot open at `timestamp`. `refusal` says why not, where it is
    not empty."""

    timestamp: int
    nodes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """(node, why)."""
    refusal: str = ""


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
    | RunSchemaChange
    | ReadLog
    | ReadPositions
    | MeasureLog
    | TruncateLog
    | CopyData
    | NoteCopy
    | ConfirmEpoch
    | OpenSnapshot
)


Effect = (
    NodeEffect
    | RequestTimestamps
    | Acknowledge
    | Refuse
    | Fail
    | Stale
    | ReadAllowed
    | ReadRefused
    | SwitchoverEnded
    | SnapshotsTaken
    | Report
)
