"""Values that the protocol's messages carry: what a node says of itself, a request, and what became of one."""

import enum
from typing import Any

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


class ReadLevel(enum.Enum):
    """How new what a read sees must be."""

    STRONG = "strong"
    """Every write that was acknowledged before it arrived."""
    LEADER = "leader"
    """What the master has, as far as this coordinator knows: it asks nobody whether there is another one."""
    BOUNDED = "bounded"
    """Every write that was acknowledged a given time before it arrived."""
    ANY = "any"
    """What any node has."""


class ReadNeed(Value, frozen=True):
    """What a read asks of the node."""

    level: ReadLevel = ReadLevel.STRONG
    max_staleness_ns: int = 0
    """Of a bounded read."""
    after_timestamp: int = 0
    """The node must have applied this write: so a client sees its own, at any level."""


STRONG = ReadNeed()


class RequestStatement(Value, frozen=True):
    """One statement of a request."""

    sql: str
    inserts: bool = False
    rand_seed: int = 0
    """Seed of RAND(); 0 where the text does not call it."""
    row_at: int = 0
    """Where in `sql` its only row begins, if it may be executed as one statement with its like; else 0."""
    is_read: bool = False
    """It sees what the statements before it did, and has no entry in the log."""
    expected_rows: int | None = None
    """Unless it affects (or a read finds) so many rows, the request is undone and refused."""


class Request(Value, frozen=True):
    """Writes, or a schema change, that wait for their place in the log. All statements take effect, at one timestamp, or none."""

    request_id: int
    statements: tuple[RequestStatement, ...]
    deadline_ns: int
    changes_schema: bool = False
    schema_version: int = 0
    """The version of the schema that its texts were judged by; 0: they do not rest on the schema."""
    row_schema: int = 0
    """The version of the schema by which each `row_at` is true; 0: none has one."""


class ResultSet(Value, frozen=True):
    """What a read found."""

    columns: tuple[Any, ...]
    """As the adapter has them (mysql_session.Column)."""
    rows: tuple[tuple[Any, ...], ...]


class Executed(Value, frozen=True):
    """The statement ran on the master."""

    rows_affected: int
    insert_id: int
    found: ResultSet | None = None
    """A read's rows."""


class Refusal(enum.Enum):
    """Who refused a statement."""

    SERVER = "server"
    """MySQL: errno, SQLSTATE and message are its own."""
    EXPECTATION = "expectation"
    """It affected another number of rows than the request expects."""
    ROWS_MAX = "rows max"
    """A read found more rows than an answer may have."""


class Rejected(Value, frozen=True):
    """The word about a statement that is the same on every node, so it is the request's result: nothing of that is left."""

    errno: int
    sqlstate: str
    message: str
    statement: int = 0
    """Which of the request's statements."""
    refusal: Refusal = Refusal.SERVER


class Disturbed(Value, frozen=True):
    """An error of the surroundings (lock wait, disk full): no result of the request. The batch was rolled back."""

    errno: int
    sqlstate: str
    message: str


Outcome = tuple[Executed, ...] | Rejected | Disturbed
"""Of a request; where it ran, one Executed a statement."""


class Certainty(enum.Enum):
    """What is known about a command that did not answer well."""

    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"
