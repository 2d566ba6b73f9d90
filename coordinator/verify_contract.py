"""What `/verify` of the coordinator is asked and what it answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class VerifyRequest(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": [{"wait": True}]}
    )

    wait: bool = Field(default=False, description="Answer when it is done, or after a minute, instead of at once")


class Difference(BaseModel):
    """One table, or one range of its primary key, that is not the same on all nodes."""

    table: str
    what: Literal["rows", "definition"]
    wrong_nodes: list[str]
    """Those that a commit quorum disagrees with: they are rebuilt. Empty: no majority, nothing is touched."""
    groups: list[list[str]]
    """The nodes, those that agree together."""
    key_columns: list[str]
    first_key: list[str]
    last_key: list[str]
    keys: list[list[str]]
    """The keys of the rows that differ, the first of them."""
    more_keys: bool


class Comparison(BaseModel):
    """`equal`: every row of every table is the same on `nodes` at `timestamp`. `incomplete`: `reason` says what came between."""

    outcome: Literal["equal", "differs", "incomplete"]
    reason: str
    timestamp: int
    nodes: list[str]
    left_out: dict[str, str]
    tables: int
    rows: int
    chunks: int
    began_at_us: int
    duration_ms: float
    differences: list[Difference]


class Progress(BaseModel):
    """Of the comparison that is under way."""

    timestamp: int
    nodes: list[str]
    table: str
    tables_done: int
    tables: int
    rows: int
    chunks: int


class VerifyAnswer(BaseModel):
    success: bool
    message: str
    running: bool
    progress: Progress | None
    last: Comparison | None
