"""Values that the protocol's messages carry: what a node says of itself, a request, and what became of one."""

import enum

import msgspec

from replication.log import LogEnd, Position

NOBODY = "-"
"""In place of a node's name on its disk: its rows differ from the other nodes', so they are nobody's. No node has this name."""


class Value(msgspec.Struct, frozen=True):
    """Base of all messages: immutable and cheap to make."""


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
    executed_change: int = 0
    """The schema change that it has executed, by its intent's timestamp, without having applied the outcome yet."""
    copy_note: str = ""
    """For which node a copy of this data is meant (`copy_target`); it is copied along."""


def copy_note(number: int, node: str) -> str:
    """`number` makes it another note than any before it; `node` is empty where a copy has no vote."""
    return f"{number} {node}"


def copy_target(note: str) -> str:
    """Whose vote a copy with this note has; empty: nobody's."""
    return note.partition(" ")[2]


class Request(Value, frozen=True):
    """A write or a schema change that waits for its place in the log."""

    request_id: int
    sql: str
    inserts: bool
    uses_random: bool
    rand_seed: int
    deadline_ns: int
    changes_schema: bool = False
    schema_version: int = 0
    """The version of the schema that its text was judged by; 0: it does not rest on the schema."""
    row_at: int = 0
    """Where in `sql` its only row begins, if it may be executed as one statement with its like; else 0."""
    row_schema: int = 0
    """The version of the schema by which it may."""


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
