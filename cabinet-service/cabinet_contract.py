"""What the Cabinet service is asked and what it answers. This service owns the shapes; a consumer imports this file."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class SelectQuorumRequest(BaseModel):
    # a misspelt field that is ignored would be answered as if it had never been sent
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"operation": "write"},
                {"operation": "read", "master": "replica-1"},
                {"operation": "write", "quorum_size": 3},
            ]
        },
    )

    operation: Literal["write", "read"]
    master: Annotated[str, Field(min_length=1)] | None = None
    """The node to leave out; without it, the collector's master."""
    quorum_size: Annotated[int, Field(ge=1)] | None = None


class QuorumAnswer(BaseModel):
    """200: a full proposal. `weights` and `excluded` together name every replica once; `weights` is in rank order."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "operation": "write",
                    "quorum": ["replica-2", "replica-1"],
                    "quorum_size": 2,
                    "weights": {"replica-2": 0.5, "replica-1": 0.2, "replica-3": 0.1},
                    "excluded": {},
                    "master": "mysql-master",
                    "reason": "the 2 of 3 usable replicas with the highest weights",
                    "satisfied": True,
                }
            ]
        },
    )

    operation: Literal["write", "read"]
    quorum: list[str]
    quorum_size: int
    weights: dict[str, float]
    excluded: dict[str, str]
    master: str
    reason: str
    satisfied: Literal[True] = True


class QuorumRefusal(BaseModel):
    """503: fewer usable replicas than the quorum needs. There is no `quorum` that could be taken for one by mistake."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "success": False,
                    "message": "1 of 2 replicas is usable. Bring replicas back and ask again.",
                    "operation": "write",
                    "quorum_size": 2,
                    "weights": {"replica-2": 0.5},
                    "excluded": {"replica-1": "not healthy", "replica-3": "not healthy"},
                    "master": "mysql-master",
                    "satisfied": False,
                }
            ]
        },
    )

    success: Literal[False] = False
    message: str
    operation: Literal["write", "read"]
    quorum_size: int
    weights: dict[str, float]
    excluded: dict[str, str]
    master: str
    satisfied: Literal[False] = False


class CabinetError(BaseModel):
    """Any other error: the message says what to do."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"success": False, "message": "body.operation: Field required."}]},
    )

    success: Literal[False] = False
    message: str


class CabinetHealth(BaseModel):
    """`status` is this service's own; without the collector it lives and can give no advice."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"status": "ok", "service": "cabinet-service", "metrics_collector": "reachable"}]
        },
    )

    status: Literal["ok"] = "ok"
    service: Literal["cabinet-service"] = "cabinet-service"
    metrics_collector: str
    """`reachable`, or `unreachable: ` and the cause."""
