"""The coordinator's settings: read once, frozen, refused at start where they contradict each other."""

from typing import Self

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from replication.state import MILLISECOND_NS, ReplicationSettings


class CoordinatorSettings(BaseSettings):
    """Environment variables of the same names in capitals."""

    model_config = SettingsConfigDict(frozen=True)

    nodes: str = (
        "mysql-master=127.0.0.1:13306,replica-1=127.0.0.1:13307,replica-2=127.0.0.1:13308,replica-3=127.0.0.1:13309"
    )
    """name=host:port, comma-separated. The first is the original master."""
    database: str = Field(default="distributed_db", pattern=r"^[A-Za-z0-9_]+$")
    coordinator_db_password: SecretStr
    reader_db_password: SecretStr
    cloner_db_password: SecretStr
    ddl_db_password: SecretStr
    schema_reader_db_password: SecretStr
    verifier_db_password: SecretStr
    historian_db_password: SecretStr
    timestamp_urls: str = "http://127.0.0.1:8001,http://127.0.0.1:8002"
    metrics_url: str = "http://127.0.0.1:8003"
    cabinet_url: str = "http://127.0.0.1:8004"
    seer_url: str = "http://127.0.0.1:8005"

    request_deadline_ms: int = Field(default=10_000, ge=100, le=600_000)
    """How long a request is held while the cluster cannot serve it. A stop waits 12 s for it (draining.py)."""
    read_timeout_ms: int = Field(default=10_000, ge=10)
    """How long one SELECT may run."""
    read_rows_max: int = Field(default=100_000, ge=1)
    read_bytes_max: int = Field(default=16 << 20, ge=1024)
    """Of one answer that is held in memory. A result that is sent as lines may have any number of rows and bytes."""
    batch_read_timeout_ms: int = Field(default=1_000, ge=10)
    """How long one SELECT among writes may run: all other writes wait for it."""
    idempotency_keep_s: int = Field(default=86_400, ge=1)
    """How long an Idempotency-Key is remembered."""
    batch_statements_max: int = Field(default=1_000, ge=1)
    """Statements of one request."""
    body_bytes_max: int = Field(default=2 << 20, ge=1024)
    requests_max: int = Field(default=10_000, ge=1)
    """Requests, and bytes of them, that are under way at once; more are told so (429)."""
    request_bytes_max: int = Field(default=256 << 20, ge=1024)
    pending_writes_max: int = Field(default=10_000, ge=1)
    reader_connections_max: int = Field(default=16, ge=1)
    """Connections for users' SELECTs, a node."""
    streams_max: int = Field(default=4, ge=1)
    """Connections for results that are sent as lines, a node."""

    connect_timeout_ms: int = Field(default=1_000, ge=10)
    confirm_timeout_ms: int = Field(default=1_000, ge=10)
    """A node that does not tell its epoch within this is away; as the master, it is replaced."""
    fence_timeout_ms: int = Field(default=2_000, ge=10)
    store_timeout_ms: int = Field(default=60_000, ge=100)
    """Bound of one command that runs users' statements. A dead node is noticed by its missing confirmation, not by this."""
    schema_change_deadline_ms: int = Field(default=3_600_000, ge=1_000)
    """How long whoever sent a schema change waits for its answer."""
    schema_change_timeout_ms: int = Field(default=48 * 3_600_000, ge=1_000)
    """How long one may run on a node. Past that it is begun anew on another: rather end its thread on the master by hand."""
    copy_timeout_ms: int = Field(default=6 * 3_600_000, ge=1_000)
    """Bound of a full copy of a node's data."""
    log_retention_mb: int = Field(default=256, ge=1)
    """Payload that each node's log keeps; a node that was away for longer than that gets a full copy."""
    log_retention_s: int = Field(default=86_400, ge=1)
    """Older rows go, however few they are."""
    log_check_ms: int = Field(default=5_000, ge=10)
    verify_interval_s: int = Field(default=0, ge=0)
    """Pause between two comparisons of all nodes' rows; 0: only when somebody asks for one."""
    verify_chunk_rows: int = Field(default=500, ge=1)
    verify_pause_ms: int = Field(default=20, ge=0)
    """At least so long each node is left alone between two chunks."""
    verify_query_timeout_ms: int = Field(default=5_000, ge=10)
    heartbeat_ms: int = Field(default=250, ge=10)
    idle_flush_ms: int = Field(default=10, ge=1)
    advice_interval_ms: int = Field(default=1000, ge=50)
    advice_timeout_ms: int = Field(default=400, ge=10)
    timestamp_timeout_ms: int = Field(default=500, ge=10)

    @field_validator("nodes")
    @classmethod
    def _nodes_are_four_or_more(cls, nodes: str) -> str:
        parsed = parse_nodes(nodes)
        if len(parsed) < 4:
            # of three, the README's rule wants all three for a commit
            raise ValueError(f"{len(parsed)} nodes named, at least 4 are needed to survive the loss of one")
        return nodes

    @field_validator("timestamp_urls", "metrics_url", "cabinet_url", "seer_url")
    @classmethod
    def _urls_can_be_called(cls, urls: str) -> str:
        """A URL that cannot even be parsed would end the process at its first use, not at its start."""
        found = [url.strip().rstrip("/") for url in urls.split(",")]
        for url in found:
            try:
                parsed = httpx.URL(url)
            except httpx.InvalidURL as error:
                raise ValueError(f"{url!r} is not a URL: {error}") from error
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise ValueError(f"{url!r} is not http://host:port")
        return ",".join(found)

    @model_validator(mode="after")
    def _times_fit_together(self) -> Self:
        if self.confirm_timeout_ms >= self.request_deadline_ms:
            raise ValueError("confirm_timeout_ms must be below request_deadline_ms, or no failover ends in time")
        if self.idle_flush_ms >= self.heartbeat_ms:
            raise ValueError("idle_flush_ms must be below heartbeat_ms")
        if self.advice_timeout_ms > self.advice_interval_ms:
            raise ValueError("advice_timeout_ms must not exceed advice_interval_ms")
        return self

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        return parse_nodes(self.nodes)

    @property
    def replication(self) -> ReplicationSettings:
        return ReplicationSettings(
            heartbeat_ns=self.heartbeat_ms * MILLISECOND_NS,
            idle_flush_ns=self.idle_flush_ms * MILLISECOND_NS,
            pending_max=self.pending_writes_max,
            log_bytes_max=self.log_retention_mb << 20,
            log_age_us_max=self.log_retention_s * 1_000_000,
            log_check_ns=self.log_check_ms * MILLISECOND_NS,
        )


def parse_nodes(text: str) -> dict[str, tuple[str, int]]:
    """`name=host:port,…` -> name -> (host, port), in order. Raises ValueError with a sentence."""
    found: dict[str, tuple[str, int]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, address = part.partition("=")
        host, _, port = address.rpartition(":")
        if not name or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"{part!r} is not name=host:port")
        if name in found:
            raise ValueError(f"node {name!r} is named twice")
        if (host, int(port)) in found.values():
            # one disk would be counted twice for a quorum
            raise ValueError(f"{address} is the address of two nodes")
        found[name] = (host, int(port))
    return found
