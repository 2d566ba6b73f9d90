"""What a timestamp server is asked and what it answers.

The coordinator imports this same file, so it holds the limits too: a caller can split a batch before it is refused.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SERVER_COUNT = 2
"""Server 1 owns the odd numbers, server 2 the even ones."""

STEP = SERVER_COUNT
"""Distance between two neighbouring numbers of one server."""

COUNT_MAX = 100_000
"""Most numbers in one answer: more than any batch needs, and a typing error cannot burn the number space."""

TIMESTAMP_MAX = 2**63 - 1
"""Every consumer (BIGINT, JSON readers with 64-bit integers) can hold it with its sign."""

AFTER_MAX = 9 * 10**18
"""Greatest `after`. The margin above it, 2**57 numbers, is beyond one wrong jump. A round number, because OpenAPI has limits as
floats: TIMESTAMP_MAX - 2**32 was published as a greater one, and what lies between was refused."""


class TimestampRequest(BaseModel):
    """`count` numbers, all greater than `after`. An unknown field is refused: a misspelt `after` would be ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{}, {"count": 3}, {"count": 3, "after": 100}]}
    )

    count: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    after: Annotated[int, Field(ge=0, le=AFTER_MAX)] = 0


class TimestampAnswer(BaseModel):
    """The numbers first, first + step, ..., last. They belong to the caller alone, for ever."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"timestamp": 101, "first": 101, "last": 105, "step": 2, "count": 3, "server_id": 1}]
        },
    )

    timestamp: int
    """Same as `first`, for callers that want one number."""
    first: int
    last: int
    step: int
    count: int
    server_id: int


class TimestampHealth(BaseModel):
    """`degraded`: the last reservation failed; numbers are handed out as long as the reserved ones last."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "service": "timestamp-1",
                    "server_id": 1,
                    "last_timestamp": 5,
                    "reserved_until": 20000,
                    "message": None,
                }
            ]
        },
    )

    status: Literal["ok", "degraded"]
    service: str
    server_id: int
    last_timestamp: int
    """Everything handed out from now on is greater. After a start it is the bound that was found on disk."""
    reserved_until: int
    message: str | None = None


class TimestampRefusal(BaseModel):
    """Any answer that is not 200: no number was handed out."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"success": False, "message": "The body is longer than 1024 bytes."}],
        },
    )

    success: Literal[False] = False
    message: str
