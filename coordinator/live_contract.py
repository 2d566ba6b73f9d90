"""What `GET /live` of the coordinator answers: the live page's data."""

from typing import Literal

from pydantic import BaseModel, Field
from query_contract import ElectionView, StatusAnswer
from seer_contract import CandidateScores


class ViewerView(BaseModel):
    """Who looks."""

    role: Literal["read", "write", "admin"] | None = Field(description="Of the token; null: nobody is asked for one")


class LiveNodeView(BaseModel):
    """What the status does not say of a node."""

    epoch: int = Field(description="The greatest that it has acknowledged to this coordinator; 0: none")
    behind: int | None = Field(
        description="How far what it has applied is behind what is committed, in timestamps; null: it is away"
    )
    lag_ms: float | None = Field(
        description="Every write that was acknowledged so long ago is in its rows; null: nobody can tell"
    )


class CabinetView(BaseModel):
    """Cabinet's last proposal."""

    age_ms: int
    quorum: list[str]
    weights: dict[str, float] = Field(description="In the order of their rank")
    excluded: dict[str, str]
    reason: str


class SeerView(BaseModel):
    """SEER's last ranking, and its scores in their three parts, each from 0 to 1."""

    age_ms: int
    ranking: list[str]
    scores: dict[str, CandidateScores]
    excluded: dict[str, str]
    reason: str


class BatchView(BaseModel):
    """Writes that were committed together."""

    number: int = Field(description="Counts on by one since this coordinator began")
    age_ms: int
    master: str
    quorum: list[str] = Field(description="The replicas whose disks were counted, beside the master's")
    writes: int


class TimestampView(BaseModel):
    """Of one write. Server 1 hands out odd numbers, server 2 even ones. (A schema change takes the one behind the log's end.)"""

    timestamp: int
    server: Literal[1, 2]
    batch: int


class TurnView(BaseModel):
    """Timestamps of one server that follow one another in the log: they are granted in ranges."""

    server: Literal[1, 2]
    first: int
    last: int
    count: int


class LiveState(BaseModel):
    """All of it as it is now."""

    now_us: int = Field(description="The coordinator's clock, in µs since 1970: for display")
    status: StatusAnswer
    can_write: bool
    step: str | None = Field(description="What the election under way is at; null: there is none")
    nodes: dict[str, LiveNodeView]
    cabinet: CabinetView | None = Field(description="null: it has not answered yet")
    seer: SeerView | None = Field(description="null: it has not answered yet")
    batches: list[BatchView] = Field(description="The newest 20, newest last")
    timestamps: list[TimestampView] = Field(description="The newest 60, newest last")
    turns: list[TurnView] = Field(description="Of the newest 1,000 timestamps; the newest 20 turns, newest last")


class LiveTraffic(BaseModel):
    """The last five minutes, a place a second, oldest first. All lists have the same length; seconds may be missing."""

    number: list[int] = Field(description="Seconds since this coordinator began to count")
    writes: list[float] = Field(description="A second: writes, batches and schema changes that were done")
    reads: list[float]
    failed: list[float] = Field(description="A second: requests that the cluster could not answer as it should")
    refused: list[float] = Field(description="A second: requests that were wrong")
    write_ms_p50: list[float | None]
    write_ms_p99: list[float | None]
    read_ms_p50: list[float | None]
    read_ms_p99: list[float | None]
    weights: dict[str, list[float | None]] = Field(description="Of each replica, as Cabinet last said")


class LiveAnswer(BaseModel):
    """What a stream begins with, at once."""

    viewer: ViewerView
    elections: list[ElectionView]
    traffic: LiveTraffic
    state: LiveState
