"""What makes a running cluster reach each crash point, and how often it is reached before that is worth a crash.

Under every drive three clients write (each fifth row violates a key) and one reads back, at level strong, what was
acknowledged last. Most points need no more. The others need something to happen: a master that dies, a replica that was
away, a person who wants another master. A point that is not named here gets the plain load; if that does not reach it, its
test fails and says so.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cabinet_points
import httpx
import seer_points
import timestamp_points
from cluster_handle import ClusterHandle
from coordinator_points import (
    ADVICE_AFTER,
    ADVICE_BEFORE,
    AFTER,
    BEFORE,
    COMPARE_AFTER,
    COMPARE_BEFORE,
    START_AFTER,
    START_BEFORE,
)
from coordinator_points import POINTS as COORDINATOR_POINTS

from replication.effects import (
    Acknowledge,
    Admit,
    CommitBatch,
    ConfirmEpoch,
    CopyData,
    ExecuteBatch,
    Fail,
    Fence,
    MeasureLog,
    NoteCopy,
    OpenSnapshot,
    PrepareRow,
    ReadAllowed,
    ReadLog,
    ReadPositions,
    ReadRefused,
    Refuse,
    RequestTimestamps,
    RollBackBatch,
    RunSchemaChange,
    SnapshotsTaken,
    Stale,
    StoreRows,
    SwitchoverEnded,
    TruncateLog,
)

POINTS = (*COORDINATOR_POINTS, *timestamp_points.POINTS, *cabinet_points.POINTS, *seer_points.POINTS)
PROCESSES = {
    "coordinator": "coordinator",
    "timestamp": "timestamp-1",
    "cabinet": "cabinet-service",
    "seer": "seer-service",
}
"""First word of a point -> the process that is armed."""
AWAY = "replica-3"
CHANGES = 3
"""One may be over before a write has been judged."""
"""The replica that something happens to, where one is needed."""


def nothing(_: ClusterHandle) -> None:
    """The load alone reaches the point."""


@dataclass(frozen=True)
class Drive:
    """How a point is reached."""

    at: int = 1
    """At which of its hits. The first may be at the start of the service already; later ones are under load."""
    before: Callable[[ClusterHandle], None] = nothing
    """While clients write, before the service is stopped in order to be armed."""
    between: Callable[[ClusterHandle], None] = nothing
    """While the service is down."""
    act: Callable[[ClusterHandle], None] = nothing
    """Once the armed service answers; again and again until the point is hit."""
    heal: Callable[[ClusterHandle], None] = nothing
    """After the service is back: undo what was done to others."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the armed service."""


# ---------------------------------------------------------------------------------------------- what happens


def status(cluster: ClusterHandle) -> dict[str, object]:
    answer: dict[str, object] = cluster.get("coordinator", "/status").json()
    return answer


def kill_the_master(cluster: ClusterHandle) -> None:
    """Each one that the elections bring, after the one before has come back: two nodes away are one too many."""
    if all(cluster.pids().values()):
        cluster.kill(str(status(cluster)["current_master"]))
    else:
        start_what_was_killed(cluster)


def start_what_was_killed(cluster: ClusterHandle) -> None:
    killed = [name for name in cluster.nodes if cluster.pids()[name] is None]
    if killed:
        cluster.start(*killed)


def freeze_one(cluster: ClusterHandle) -> None:
    """Rows are written that it does not get."""
    _make_replica(cluster, AWAY)
    cluster.freeze(AWAY)


def thaw_one(cluster: ClusterHandle) -> None:
    cluster.thaw(AWAY)


def freeze_two(cluster: ClusterHandle) -> None:
    for node in ("replica-2", "replica-3"):
        os.kill(_pid(cluster, node), signal.SIGSTOP)


def thaw_two(cluster: ClusterHandle) -> None:
    for node in ("replica-2", "replica-3"):
        os.kill(_pid(cluster, node), signal.SIGCONT)


def disown_one(cluster: ClusterHandle) -> None:
    """What the protocol itself writes to a node that came back with an old copy: it is no member."""
    cluster.rows_on(AWAY, "UPDATE _replication.meta SET cluster_id = ''")


class RowsGone:
    """The replica that is away comes back only when no other log reaches back to where its own ends."""

    def __init__(self) -> None:
        self._end = 0

    def note_the_end(self, cluster: ClusterHandle) -> None:
        """Nothing is written now, so what the replica has yet to get is not after this."""
        self._end = _log_of(cluster, "replica-1", "MAX")

    def thaw(self, cluster: ClusterHandle) -> None:
        if _log_of(cluster, str(status(cluster)["current_master"]), "MIN") > self._end:
            thaw_one(cluster)


def change_the_master(cluster: ClusterHandle) -> None:
    """By a planned switchover. The answer may be what the crash takes away."""
    master = status(cluster)["current_master"]
    _switch(cluster, "replica-1" if master != "replica-1" else "replica-2")


def change_the_schema(cluster: ClusterHandle) -> None:
    """The answer may be what the crash takes away."""
    with contextlib.suppress(httpx.HTTPError):  # the crash may take the answer away
        cluster.query(f"ALTER TABLE users COMMENT = '{time.monotonic_ns()}'", timeout_s=5.0)


def change_the_schema_beside_writes(cluster: ClusterHandle) -> None:
    """What was judged by the schema and waits meanwhile must be judged anew."""

    def change_on() -> None:
        for _ in range(CHANGES):
            change_the_schema(cluster)

    def write_on(_: int) -> None:
        while not changing.done():
            with contextlib.suppress(httpx.HTTPError):  # the crash may take the answer away
                cluster.query("UPDATE users SET name = 'first' WHERE id = 1", timeout_s=5.0)

    with ThreadPoolExecutor(9) as threads:
        changing = threads.submit(change_on)
        list(threads.map(write_on, range(8)))
        changing.result()


def compare_all_rows(cluster: ClusterHandle) -> None:
    """Nobody waits for the end of it."""
    with contextlib.suppress(httpx.HTTPError):  # the crash may take the answer away
        httpx.post(cluster.url("coordinator") + "/verify", timeout=15, trust_env=False)


def _make_replica(cluster: ClusterHandle, node: str) -> None:
    if status(cluster)["current_master"] == node:
        _switch(cluster, "mysql-master")


def _switch(cluster: ClusterHandle, target: str) -> None:
    with contextlib.suppress(httpx.HTTPError):  # the crash may take the answer away
        httpx.post(cluster.url("coordinator") + "/switchover", json={"to": target}, timeout=15, trust_env=False)


def _log_of(cluster: ClusterHandle, node: str, function: str) -> int:
    timestamp: int = cluster.rows_on(node, f"SELECT {function}(last_timestamp) FROM _replication.log")[0][0]
    return timestamp


def _pid(cluster: ClusterHandle, name: str) -> int:
    pid = cluster.pids()[name]
    assert pid is not None, f"{name} does not run"
    return pid


# ---------------------------------------------------------------------------------------------- which point needs what

FAILOVER = Drive(at=10, act=kill_the_master, heal=start_what_was_killed)
"""A start fences four nodes in an epoch that is taken, then in the next one; the tenth is within an election under load. (Where
fewer were fenced at the start, it comes with the next kill, or with a node's return.)"""
CATCH_UP = Drive(before=freeze_one, act=thaw_one, heal=thaw_one)
"""A replica comes back that lacks rows which this coordinator never had in memory."""
ROWS_GONE = RowsGone()
SHORT_LOG = {"LOG_RETENTION_S": "1", "LOG_CHECK_MS": "100"}
FULL_COPY = Drive(
    before=freeze_one, between=ROWS_GONE.note_the_end, act=ROWS_GONE.thaw, heal=thaw_one, settings=SHORT_LOG
)
COMPARISON = Drive(at=2, act=compare_all_rows)
TOO_MANY = {"PENDING_WRITES_MAX": "1"}
SHORT_PATIENCE = {"REQUEST_DEADLINE_MS": "400", "CONFIRM_TIMEOUT_MS": "200"}
SMALL_WINDOW = {"RESERVATION_WINDOW": "20"}

COMMAND_DRIVES: dict[type, Drive] = {
    Fence: FAILOVER,
    Admit: Drive(between=disown_one),
    ExecuteBatch: Drive(at=20),
    PrepareRow: Drive(at=20),
    CommitBatch: Drive(at=20),
    RollBackBatch: Drive(at=2),
    StoreRows: Drive(at=60),
    RunSchemaChange: Drive(at=2, act=change_the_schema),
    ReadLog: CATCH_UP,
    ReadPositions: CATCH_UP,
    MeasureLog: Drive(at=2, settings=SHORT_LOG),
    TruncateLog: Drive(at=2, settings=SHORT_LOG),
    CopyData: FULL_COPY,
    NoteCopy: FULL_COPY,
    ConfirmEpoch: Drive(at=20),
    RequestTimestamps: Drive(at=3),
    Acknowledge: Drive(at=30),
    Refuse: Drive(at=3),
    Fail: Drive(at=3, settings=TOO_MANY),
    ReadAllowed: Drive(at=10),
    ReadRefused: Drive(act=freeze_two, heal=thaw_two, settings=SHORT_PATIENCE),
    Stale: Drive(act=change_the_schema_beside_writes),
    SwitchoverEnded: Drive(act=change_the_master),
    OpenSnapshot: COMPARISON,
    SnapshotsTaken: COMPARISON,
}
OTHER_DRIVES = {
    START_BEFORE: Drive(),
    START_AFTER: Drive(),
    ADVICE_BEFORE: Drive(at=2),
    ADVICE_AFTER: Drive(at=2),
    COMPARE_BEFORE: COMPARISON,
    COMPARE_AFTER: COMPARISON,
    **{point: Drive(at=2, settings=SMALL_WINDOW) for point in timestamp_points.POINTS},
    **{point: Drive(at=2) for point in (*cabinet_points.POINTS, *seer_points.POINTS)},
}


def drive_of(point: str) -> Drive:
    for names in (BEFORE, AFTER):
        for kind, name in names.items():
            if name == point:
                return COMMAND_DRIVES.get(kind, Drive())
    return OTHER_DRIVES.get(point, Drive())
