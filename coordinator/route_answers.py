"""What the OpenAPI of the coordinator says of each status, with an answer as it is given. Errors are made by errors.py itself."""

from typing import Any

import errors
from errors import QueryError
from query_contract import ErrorAnswer

DESCRIPTION = """SQL over HTTP to four MySQL servers that never lose an acknowledged write.

`POST /query` runs SQL. Every error says in `committed` whether the write was made: `false`, or `"unknown"` where nobody can tell;
then send it again with the same `Idempotency-Key`."""
"""What the OpenAPI begins with."""

Responses = dict[int | str, dict[str, Any]]
"""As FastAPI takes them: by status."""

_MEANINGS: dict[int, tuple[str, QueryError]] = {
    400: (
        "The body is not JSON, or the statement is wrong or cannot be replicated exactly",
        errors.refused("SLEEP() is refused: it would hold a connection", 1235, "42000"),
    ),
    403: (
        "A schema or an action that is not for users",
        errors.refused(
            "the schema _replication belongs to the server or the cluster: use a database of your own", 1142, "42000"
        ),
    ),
    409: (
        "A duplicate key, a foreign key, a check; or a statement of a batch did not do what it `expect`s",
        errors.rejected(1062, "23000", "Duplicate entry '1' for key 'users.PRIMARY'"),
    ),
    413: (
        "The request, a statement or the result is too large",
        errors.bad_request(413, "the request is larger than 1048576 bytes: send it in parts"),
    ),
    422: (
        "JSON, but not what is asked for here; or values that do not fit the markers",
        errors.bad_request(422, "the request does not fit: body.to: Field required"),
    ),
    429: (
        "More requests, or bytes of them, are under way than are held at once",
        errors.overloaded("1000 requests are under way, and no more are taken"),
    ),
    500: ("A fault of the coordinator's, which it has logged", errors.unforeseen()),
    503: (
        "It cannot be done now, or nobody can tell whether it was done; or the coordinator is being stopped",
        errors.unavailable("no answer before the deadline", "unknown"),
    ),
    504: (
        "The statement ran out of time",
        errors.rejected(
            errors.TIMED_OUT_ERRNO,
            "HY000",
            "Query execution was interrupted, maximum statement execution time exceeded",
        ),
    ),
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "required": True, "schema": {"type": "integer"}}}


def responses(own: Responses, *errors: int) -> Responses:
    """What the OpenAPI says of a route's answers: its own ones, and errors with these statuses, or with 500."""
    return own | {status: _refusal(status) for status in (*errors, 500)}


def _refusal(status: int) -> dict[str, Any]:
    description, error = _MEANINGS[status]
    told: dict[str, Any] = {"description": description, "model": ErrorAnswer}
    told["content"] = {"application/json": {"example": error.body()}}
    if error.retry_after_s is not None:
        told["headers"] = _RETRY_AFTER
    return told


def answer(description: str, **examples: object) -> dict[str, Any]:
    """What the OpenAPI says of one status. `examples`: bodies by the name that the page shows."""
    shown = {name: {"value": body} for name, body in examples.items()}
    return {"description": description, "content": {"application/json": {"examples": shown}}}


_ELECTION = {
    "reason": "the coordinator has started",
    "began_at_us": 1763915400000000,
    "epoch": 1,
    "attempts": 1,
    "master": "mysql-master",
    "duration_ms": 41.3,
    "step_ms": {"fence": 12.1, "level": 20.4, "install": 8.8},
    "ranking": ["mysql-master", "replica-1"],
    "rejected": {},
}
_NODES = {
    name: {
        "role": "master" if name == "mysql-master" else "replica",
        "state": "level",
        "reason": "",
        "member": True,
        "log_begin_timestamp": 0,
        "log_end_timestamp": 5,
        "applied_timestamp": 5,
    }
    for name in ("mysql-master", "replica-1", "replica-2", "replica-3")
}
_SEEN_AT = {"executed_on": "mysql-master", "applied_timestamp": 5, "staleness_ms": 0}
_COMMITTED = {"executed_on": "mysql-master", "quorum": ["replica-1", "replica-2"], "committed": True}
_COMPARISON = {
    "outcome": "equal",
    "reason": "",
    "timestamp": 5,
    "nodes": ["mysql-master", "replica-1", "replica-2", "replica-3"],
    "left_out": {},
    "tables": 1,
    "rows": 1,
    "chunks": 1,
    "began_at_us": 1763915400000000,
    "duration_ms": 18.2,
    "differences": [],
}

QUERIED = answer(
    "Done. A write has `timestamp` and `committed`, a read has `data`, a batch has `results`",
    write={
        "success": True,
        "message": "Write successful (timestamp: 5, quorum: 2/2)",
        "timestamp": 5,
        "rows_affected": 1,
        "last_insert_id": 1,
        **_COMMITTED,
    },
    read={
        "success": True,
        "message": "Read successful",
        "data": [{"id": 1, "name": "Alice", "email": "alice@example.com", "timestamp": 5}],
        "rows_affected": 1,
        **_SEEN_AT,
    },
    batch={
        "success": True,
        "message": "Batch successful (timestamp: 5, quorum: 2/2)",
        "timestamp": 5,
        "rows_affected": 1,
        "results": [{"rows_affected": 1, "last_insert_id": 1}, {"rows_affected": 1, "data": [{"id": 1}]}],
        **_COMMITTED,
    },
    reads={
        "success": True,
        "message": "Reads successful",
        "results": [{"rows_affected": 1, "data": [{"id": 1}]}],
        **_SEEN_AT,
    },
)
QUERIED["content"]["application/x-ndjson"] = {
    "schema": {
        "type": "string",
        "description": "Lines of JSON, for a SELECT whose `Accept` is this type: a `result`, a `row` each, and at last an `end`,"
        " or an `error` with the body of an ordinary one. Without an `end`, rows are missing",
    },
    "example": (
        '{"result":{"success":true,"executed_on":"mysql-master","applied_timestamp":5,"staleness_ms":0,'
        '"columns":[{"name":"name","type":"VARCHAR"}]}}\n{"row":{"name":"Alice"}}\n{"end":{"rows_affected":1}}\n'
    ),
}
EXPLAINED = answer(
    "What would become of it, also where it would be refused",
    write={
        "kind": "write",
        "verb": "INSERT",
        "tables": ["users"],
        "pins": ["time", "default database", "session settings", "insert id"],
        "replicated": "INSERT INTO users (name) VALUES ('Alice')",
        "rests_on_schema": False,
        "refusal": None,
    },
    refused={
        "kind": "refused",
        "verb": None,
        "tables": [],
        "pins": [],
        "replicated": None,
        "rests_on_schema": False,
        "refusal": {"reason": "SLEEP() is refused", "errno": 1235, "sqlstate": "42000"},
    },
)
FATE = answer(
    "What is known of it",
    committed={
        "fate": "committed",
        "message": "committed at 5",
        "timestamp": 5,
        "results": [{"rows_affected": 1, "last_insert_id": 1}],
    },
    unknown={
        "fate": "unknown",
        "message": "what is committed ends at 5: a write may still be given 7",
        "timestamp": None,
        "results": None,
    },
)
STATUS = answer(
    "What this coordinator knows",
    serving={
        "current_master": "mysql-master",
        "master_is_original": True,
        "replicas": ["replica-1", "replica-2", "replica-3"],
        "phase": "serving",
        "epoch": 1,
        "cluster_id": "0b7c6a5e-3d0f-4a0e-9b64-0d8d5c1f2a3b",
        "owner": "f3a1c9d2-6f58-4f6b-8d0e-7c2b1a0e9f8d",
        "committed_timestamp": 5,
        "log_end_timestamp": 5,
        "waits_for": "",
        "last_election": _ELECTION,
        "pending_writes": 0,
        "schema_change": None,
        "quorum": {"replicas": 2, "commit": 3, "election": 3, "preferred": ["replica-1", "replica-2"]},
        "nodes": _NODES,
        "timestamp_service_errors": {},
    },
)
ELECTIONS = answer("The newest last", first={"elections": [_ELECTION]})
SWITCHED = answer("Done", done={"success": True, "message": "replica-2 is master", "current_master": "replica-2"})
NOT_SWITCHED = answer(
    "Not done; the master is as it was",
    unknown={"success": False, "message": "there is no node 'replica-9'", "current_master": "mysql-master"},
)
COMPARED = answer(
    "How far it is, and what came of the last one",
    equal={"success": True, "message": "equal at 5", "running": False, "progress": None, "last": _COMPARISON},
)
COMPARING = answer(
    "It has begun, or is not at its end yet; GET /verify says how far it is",
    begun={
        "success": True,
        "message": "a comparison is under way",
        "running": True,
        "progress": {
            "timestamp": 5,
            "nodes": ["mysql-master", "replica-1", "replica-2", "replica-3"],
            "table": "distributed_db.users",
            "tables_done": 0,
            "tables": 1,
            "rows": 0,
            "chunks": 0,
        },
        "last": None,
    },
)
ALREADY_COMPARING = answer(
    "One is under way",
    running={
        "success": False,
        "message": "a comparison is under way",
        "running": True,
        "progress": None,
        "last": _COMPARISON,
    },
)
HEALTHY = answer(
    "It works",
    ok={"status": "ok", "service": "coordinator", "can_write": True, "reason": "writes are taken"},
    waiting={
        "status": "ok",
        "service": "coordinator",
        "can_write": False,
        "reason": "a commit quorum: 1 of 2 replicas are level",
    },
)
UNHEALTHY = answer(
    "It is stuck, or is being stopped",
    stuck={
        "status": "unavailable",
        "service": "coordinator",
        "can_write": False,
        "reason": "the protocol took no step for 7 s",
    },
    stopping=errors.stopping().body(),
)
READY = answer(
    "It would be answered at once", write={"ready": True, "service": "coordinator", "reason": "a write is taken"}
)
NOT_READY = answer(
    "It would wait, or fail; or the coordinator is being stopped",
    waiting={"ready": False, "service": "coordinator", "reason": "another coordinator has taken over"},
    stopping=errors.stopping().body(),
)
_STATE = {
    "now_us": 1763915460000000,
    "status": STATUS["content"]["application/json"]["examples"]["serving"]["value"],
    "can_write": True,
    "step": None,
    "nodes": {name: {"epoch": 1, "behind": 0, "lag_ms": 0.0} for name in _NODES},
    "cabinet": {
        "age_ms": 412,
        "quorum": ["replica-1", "replica-2"],
        "weights": {"replica-1": 0.5, "replica-2": 0.4, "replica-3": 0.1},
        "excluded": {},
        "reason": "the 2 of 3 usable replicas with the highest weights",
    },
    "seer": {
        "age_ms": 411,
        "ranking": ["replica-1"],
        "scores": {"replica-1": {"latency_score": 0.5, "stability_score": 0.99, "lag_score": 0.5, "total": 0.696}},
        "excluded": {"replica-2": "not healthy", "replica-3": "not healthy"},
        "reason": "the only candidate",
    },
    "batches": [
        {"number": 1, "age_ms": 1200, "master": "mysql-master", "quorum": ["replica-1", "replica-2"], "writes": 1}
    ],
    "timestamps": [{"timestamp": 5, "server": 1, "batch": 1}],
    "turns": [{"server": 1, "first": 5, "last": 5, "count": 1}],
}
_TRAFFIC = {
    "number": [59, 60],
    "writes": [0.0, 1.0],
    "reads": [0.0, 0.0],
    "failed": [0.0, 0.0],
    "refused": [0.0, 0.0],
    "write_ms_p50": [None, 2.5],
    "write_ms_p99": [None, 2.99],
    "read_ms_p50": [None, None],
    "read_ms_p99": [None, None],
    "weights": {"mysql-master": [None, None], "replica-1": [0.5, 0.5]},
}
LIVE = answer(
    "As it is now",
    serving={"viewer": {"role": None}, "elections": [_ELECTION], "traffic": _TRAFFIC, "state": _STATE},
)
LIVE["content"]["text/event-stream"] = {
    "schema": {
        "type": "string",
        "description": "Server-sent events, to whoever accepts this type. Their data is JSON: `viewer` (a ViewerView, once),"
        " `elections` (an ElectionsAnswer, whenever one has changed), `traffic` (a LiveTraffic: at first all seconds, then each"
        " as it has passed) and `state` (a LiveState: twice a second, and at once when the master, the epoch or a node changes)",
    },
    "example": 'event: viewer\ndata: {"role":null}\n\nevent: elections\ndata: {"elections":[]}\n\n',
}
