"""What `/query`, `/explain-replication`, `/status`, `/health` and `/ready` of the coordinator are asked and what they answer."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TIMESTAMP_MAX = 4 * 10**18
"""The greatest that can be asked for; no log comes near it. OpenAPI has limits as floats: this one it can say exactly."""
STALENESS_MS_MAX = 10**12


class RowFormat(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Literal["objects", "arrays"] = Field(
        default="objects", description="Arrays keep columns of the same name apart, and always come with `columns`"
    )
    columns: bool = Field(default=False, description="Names and MySQL types of the columns, too")
    integers: Literal["numbers", "text"] = Field(
        default="numbers",
        description="How values of BIGINT and BIT columns are written; text, for clients whose numbers end at 2^53",
    )


class ReadNeeds(BaseModel):
    """How new what reads see must be, and how their rows are to look."""

    level: Literal["strong", "leader", "bounded", "any"] | None = Field(
        default=None,
        description="strong: every write acknowledged before; leader: the master's rows, without asking whether another has"
        " taken over; bounded: see max_staleness_ms; any: any node's rows. Strong, if nothing is said",
    )
    max_staleness_ms: int | None = Field(
        default=None,
        ge=0,
        le=STALENESS_MS_MAX,
        description="Every write that was acknowledged so long ago is seen; level bounded",
    )
    format: RowFormat | None = None
    after_timestamp: int | None = Field(
        default=None,
        ge=0,
        le=TIMESTAMP_MAX,
        description="The write with this timestamp is seen; at level any, if no other is named",
    )


class QueryRequest(ReadNeeds):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "SELECT * FROM users ORDER BY id DESC LIMIT 3"},
                {"query": "SELECT * FROM users WHERE name = ? AND id < ?", "params": ["Alice", 100]},
                {"query": "SELECT * FROM users WHERE name = :name", "params": {"name": "Alice"}},
                {"query": "SELECT * FROM users", "level": "bounded", "max_staleness_ms": 1000},
                {"query": "SELECT * FROM users", "after_timestamp": 5},
            ]
        },
    )

    query: str = Field(description="One SQL statement: SELECT, INSERT, REPLACE, UPDATE, DELETE, SHOW, …")
    params: list[Any] | dict[str, Any] | None = Field(
        default=None,
        description="Values for the markers: a list for ?, an object for :name. A value is null, true, false, a number, a text, "
        '{"decimal": "12.50"} or {"base64": "…"}',
    )


class Expectation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_affected: int = Field(ge=0, le=TIMESTAMP_MAX, description="Of a SELECT: rows found")


class BatchStatement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    params: list[Any] | dict[str, Any] | None = None
    expect: Expectation | None = Field(
        default=None, description="Unless so many rows are affected, nothing of the batch is done: answer 409"
    )


class BatchRequest(ReadNeeds):
    """All statements take effect at one timestamp, or none does. Each sees what those before it did."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "statements": [
                        {
                            "query": "UPDATE users SET name = ? WHERE id = ?",
                            "params": ["Bob", 1],
                            "expect": {"rows_affected": 1},
                        },
                        {"query": "SELECT * FROM users WHERE id = 1"},
                    ]
                }
            ]
        },
    )

    statements: list[BatchStatement] = Field(min_length=1)


class WriteAnswer(BaseModel):
    """The write is durable on the master and on `quorum`, and will never be lost."""

    success: Literal[True]
    message: str = Field(examples=["Write successful (timestamp: 5, quorum: 2/2)"])
    timestamp: int
    rows_affected: int | None = Field(
        description="null: it was repeated, and the log does not reach back to the first one"
    )
    executed_on: str
    last_insert_id: int | None
    quorum: list[str]
    committed: Literal[True]
    repeated: bool = Field(default=False, description="It took effect before, with the same Idempotency-Key")


class ColumnView(BaseModel):
    name: str
    type: str = Field(examples=["BIGINT UNSIGNED"], description="As in CREATE TABLE, without lengths")


Row = dict[str, Any] | list[Any]


class ReadAnswer(BaseModel):
    """The rows contain every write that was acknowledged `staleness_ms` before the request arrived."""

    success: Literal[True]
    message: str
    columns: list[ColumnView] | None = None
    data: list[Row]
    rows_affected: int
    executed_on: str
    applied_timestamp: int
    staleness_ms: int | None = Field(
        description="Every write acknowledged so long before the request is in the rows; null: nobody can tell"
    )


class StatementResult(BaseModel):
    """What one statement of a batch did: a write has `last_insert_id`, a read has `data`."""

    rows_affected: int | None
    last_insert_id: int | None = None
    columns: list[ColumnView] | None = None
    data: list[Row] | None = None


class BatchAnswer(BaseModel):
    """The batch is durable on the master and on `quorum`, as one write. `rows_affected`: of all its writes."""

    success: Literal[True]
    message: str = Field(examples=["Batch successful (timestamp: 5, quorum: 2/2)"])
    timestamp: int
    rows_affected: int | None
    results: list[StatementResult]
    executed_on: str
    quorum: list[str]
    committed: Literal[True]
    repeated: bool = Field(default=False, description="It took effect before; what its reads found then is not kept")


class ReadBatchAnswer(BaseModel):
    """A batch of reads only: all of them at one moment."""

    success: Literal[True]
    message: str
    results: list[StatementResult]
    executed_on: str
    applied_timestamp: int
    staleness_ms: int | None = Field(
        description="Every write acknowledged so long before the request is in the rows; null: nobody can tell"
    )


class Refusal(BaseModel):
    reason: str
    errno: int | None
    sqlstate: str | None


class ExplainAnswer(BaseModel):
    """What would become of a query. A refused one is explained too, with status 200."""

    kind: Literal["read", "write", "schema change", "refused"]
    verb: str | None
    tables: list[str]
    pins: list[str] = Field(description="What its log entry carries beside the text, so that every node does the same")
    replicated: str | None = Field(
        description="The text that the log would carry: without what surrounds it, and with values in the place of UUID()"
    )
    rests_on_schema: bool = Field(description="Whether the verdict holds for the tables as they are now only")
    refusal: Refusal | None


class ErrorDetail(BaseModel):
    kind: str
    errno: int | None
    sqlstate: str | None
    statement_index: int | None = Field(description="Which statement of a batch is to blame, from 0")
    hint: str | None = Field(description="What to do, where the message says only what is wrong")


class ErrorAnswer(BaseModel):
    """`committed`: false (certainly not), or "unknown" (nobody can tell: look before you repeat it)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": False,
                    "message": "the coordinator is being stopped: send it again in a moment",
                    "committed": False,
                    "error": {
                        "kind": "unavailable",
                        "errno": None,
                        "sqlstate": None,
                        "statement_index": None,
                        "hint": "nothing was changed, so it can be sent again",
                    },
                }
            ]
        }
    )

    success: Literal[False]
    message: str
    committed: Literal[False, "unknown"]
    error: ErrorDetail


class NodeView(BaseModel):
    role: Literal["master", "replica"]
    state: str
    reason: str
    member: bool
    log_begin_timestamp: int | None
    log_end_timestamp: int | None
    applied_timestamp: int | None


class ElectionView(BaseModel):
    """One election. `step_ms` adds the attempts up; `rejected` says why a node could not be chosen."""

    reason: str
    began_at_us: int
    epoch: int
    attempts: int
    master: str | None
    duration_ms: float | None
    step_ms: dict[str, float]
    ranking: list[str]
    rejected: dict[str, str]


class ElectionsAnswer(BaseModel):
    """Newest last."""

    elections: list[ElectionView]


class SwitchoverRequest(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": [{"to": "replica-2"}]}
    )

    to: str


class SwitchoverAnswer(BaseModel):
    success: bool
    message: str
    current_master: str | None


class SchemaChangeView(BaseModel):
    """A schema change that is committed and whose outcome is not: all other writes wait for it."""

    timestamp: int
    sql: str


class StatusAnswer(BaseModel):
    """`current_master` is null while none serves; `waits_for` then says what is missing."""

    current_master: str | None
    master_is_original: bool
    replicas: list[str]
    phase: str
    epoch: int
    cluster_id: str
    owner: str
    committed_timestamp: int
    log_end_timestamp: int
    waits_for: str
    last_election: ElectionView | None
    pending_writes: int
    schema_change: SchemaChangeView | None
    quorum: dict[str, Any]
    nodes: dict[str, NodeView]
    timestamp_service_errors: dict[str, str]


class HealthAnswer(BaseModel):
    """Whether the process works; `can_write`, and in `reason` what is missing, are of the cluster."""

    status: Literal["ok", "unavailable"]
    service: Literal["coordinator"]
    can_write: bool
    reason: str


class ReadyAnswer(BaseModel):
    """Whether a write, or a strong read, can be answered now; `reason` says what is missing."""

    ready: bool
    service: Literal["coordinator"]
    reason: str


class WriteResult(BaseModel):
    rows_affected: int
    last_insert_id: int


class FateAnswer(BaseModel):
    """What became of a request: `unknown` is what is not decided yet, or too long ago."""

    fate: Literal["committed", "not committed", "unknown"]
    message: str
    timestamp: int | None
    results: list[WriteResult] | None = Field(description="Of its writes, where the log still has them")
