"""What the SEER service is asked and what it answers. This service owns the shapes; a consumer imports this file."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NodeName = Annotated[str, Field(min_length=1)]


class ElectLeaderRequest(BaseModel):
    # a misspelt field that is ignored would be answered as if it had never been sent
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{}, {"candidates": ["replica-1", "replica-2"]}, {"master": "mysql-master"}]},
    )

    candidates: Annotated[list[NodeName], Field(min_length=1)] | None = None
    """Rank exactly these; without it, all nodes but the collector's current master."""
    master: NodeName | None = None
    """A node to leave out, in place of the collector's current master."""


class CandidateScores(BaseModel):
    model_config = ConfigDict(frozen=True)

    latency_score: float
    stability_score: float
    lag_score: float
    total: float


class LeaderAnswer(BaseModel):
    """200: `leader` is the first of `ranking`; `ranking` and `excluded` together name every candidate once."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "leader": "replica-2",
                    "ranking": ["replica-2"],
                    "scores": {
                        "replica-2": {"latency_score": 0.5, "stability_score": 0.99, "lag_score": 0.5, "total": 0.696}
                    },
                    "excluded": {"replica-1": "not healthy", "replica-3": "not healthy"},
                    "master": "mysql-master",
                    "reason": "the only candidate",
                    "advice_only": True,
                }
            ]
        },
    )

    leader: str
    ranking: list[str]
    scores: dict[str, CandidateScores]
    excluded: dict[str, str]
    master: str | None
    """The node left out, if any."""
    reason: str
    advice_only: Literal[True] = True
    """Who leads is decided by fencing, log completeness and a commit quorum. Nothing here speaks of those."""


class LeaderRefusal(BaseModel):
    """503: no candidate can be ranked. There is no `leader` that could be taken for one by mistake."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "success": False,
                    "message": "no candidate can be ranked. Bring a node back and ask again.",
                    "excluded": {"replica-1": "not healthy"},
                    "master": "mysql-master",
                }
            ]
        },
    )

    success: Literal[False] = False
    message: str
    excluded: dict[str, str]
    master: str | None


class SeerError(BaseModel):
    """Any other error: the message says what to do."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"success": False, "message": "node 'replica-9' is not a node of this cluster."}]
        },
    )

    success: Literal[False] = False
    message: str


class SeerHealth(BaseModel):
    """`status` is this service's own; without the collector it lives and can give no advice."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"status": "ok", "service": "seer-service", "metrics_collector": "reachable"}]},
    )

    status: Literal["ok"] = "ok"
    service: Literal["seer-service"] = "seer-service"
    metrics_collector: str
    """`reachable`, or `unreachable: ` and the cause."""
