"""What the metrics collector answers. Cabinet, SEER and the coordinator import this same file.

Everything in it is a measurement, possibly old, possibly of a node that has since died. It may propose; it decides
nothing that must be right.
"""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

_NODE: dict[str, Any] = {
    "id": "replica-1",
    "healthy": True,
    "latency_ms": 0.4,
    "latency_ms_min": 0.2,
    "latency_ms_p99": 1.3,
    "lag_ms": 0.0,
    "lag_entries": 0,
    "uptime_s": 3600.0,
    "crash_count": 0,
    "epoch": 1,
    "is_master": False,
    "applied_timestamp": 5,
    "committed_timestamp": 5,
    "log_end_timestamp": 5,
    "last_probe_age_ms": 80.5,
    "error": None,
}


class NodeMetrics(BaseModel):
    """One node as last seen. null: never measured since the collector started."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_NODE]})

    id: str
    healthy: bool
    """The last probe was answered in time, and it is not long ago."""
    latency_ms: float | None
    """Time of one small SELECT, smoothed. Probes without an answer are not in it: they make the node unhealthy."""
    latency_ms_min: float | None
    latency_ms_p99: float | None
    lag_ms: float | None
    """How long ago, at the last probe, the cluster went past what this node had applied; 0: it was level."""
    lag_entries: int | None
    """Entries known to be committed somewhere that this node had not applied."""
    uptime_s: float | None
    """Of the server process, at the last answer."""
    crash_count: int
    """Times the server was seen to have started anew, since the collector first saw it. A clean restart counts too."""
    epoch: int | None
    is_master: bool
    """This node is the master named by the highest epoch that any node told."""
    applied_timestamp: int | None
    committed_timestamp: int | None
    """The commit point that this node knows of; others may know a later one."""
    log_end_timestamp: int | None
    last_probe_age_ms: float | None
    """Time since the last answer."""
    error: str | None
    """Why the node is not healthy."""


class ClusterMetrics(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "nodes": {"replica-1": _NODE},
                    "master": "mysql-master",
                    "epoch": 1,
                    "collected_at": "2025-11-23T16:30:00Z",
                }
            ]
        },
    )

    nodes: dict[str, NodeMetrics]
    master: str | None
    """null until a node has told of one."""
    epoch: int
    """The highest that any node told; 0 before the first."""
    collected_at: AwareDatetime
    """Wall time, for display only."""


class CollectorHealth(BaseModel):
    """Of the collector itself. A sick node does not make the collector sick."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"status": "ok", "service": "metrics-collector", "nodes": {"replica-1": True}, "message": None}
            ]
        },
    )

    status: Literal["ok", "degraded", "failed"]
    """degraded: metrics are right, crash counts may not survive a restart. failed (503): a probe task has died."""
    service: Literal["metrics-collector"] = "metrics-collector"
    nodes: dict[str, bool]
    """Per node: is it healthy."""
    message: str | None = None


class MetricsRefusal(BaseModel):
    """Any answer that is not 200, except that of /health."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"success": False, "message": "unknown node 'replica-9'; known: mysql-master, replica-1"}]
        },
    )

    success: Literal[False] = False
    message: str
