"""What goes out at `POST /query` and `/explain-replication`: the bodies of answers, from what the cluster did. Pure."""

from collections.abc import Sequence

import errors
from errors import QueryError
from exactly_once import First
from result_rows import RowFormat, Rows, rows_of

from replication.effects import Acknowledge, Fail, ReadAllowed
from replication.state import MILLISECOND_NS
from replication.values import Executed, Refusal, Rejected
from statements.query_parser import Kind, Refused, Statement

Answer = dict[str, object]


def write_answer(answer: Acknowledge) -> Answer:
    """Of one write."""
    (did,), quorum = answer.results, answer.quorum
    return {
        "success": True,
        "message": f"Write successful (timestamp: {answer.timestamp}, quorum: {len(quorum)}/{answer.quorum_size})",
        "timestamp": answer.timestamp,
        "rows_affected": did.rows_affected,
        "executed_on": answer.master,
        "last_insert_id": did.insert_id,
        "quorum": quorum,
        "committed": True,
    }


def batch_answer(answer: Acknowledge, form: RowFormat) -> Answer:
    """Of several statements, at least one of them a write."""
    quorum = answer.quorum
    return {
        "success": True,
        "message": f"Batch successful (timestamp: {answer.timestamp}, quorum: {len(quorum)}/{answer.quorum_size})",
        "timestamp": answer.timestamp,
        "rows_affected": sum(did.rows_affected for did in answer.results if did.found is None),
        "results": [_result(did, form) for did in answer.results],
        "executed_on": answer.master,
        "quorum": quorum,
        "committed": True,
    }


def _result(did: Executed, form: RowFormat) -> Answer:
    if did.found is not None:
        return found(did.found, form)
    return {"rows_affected": did.rows_affected, "last_insert_id": did.insert_id}


def write_again(first: First) -> Answer:
    """Of a write that took effect when it was sent before."""
    did = first.entries[0] if first.entries else None
    return {
        "success": True,
        "message": f"Write successful before (timestamp: {first.timestamp})",
        "timestamp": first.timestamp,
        "rows_affected": did and did.rows_affected,
        "executed_on": first.node,
        "last_insert_id": did and did.insert_id,
        "quorum": [],
        "committed": True,
        "repeated": True,
    }


def batch_again(first: First, are_reads: Sequence[bool]) -> Answer:
    """Of a batch that took effect when it was sent before. What its reads found is nowhere kept."""
    entries = None if first.entries is None else iter(first.entries)
    results: list[Answer] = []
    for is_read in are_reads:
        if is_read:
            results.append({"rows_affected": None, "data": None})
        else:
            did = None if entries is None else next(entries)
            results.append({"rows_affected": did and did.rows_affected, "last_insert_id": did and did.insert_id})
    return {
        "success": True,
        "message": f"Batch successful before (timestamp: {first.timestamp})",
        "timestamp": first.timestamp,
        "rows_affected": first.entries and sum(did.rows_affected for did in first.entries),
        "results": results,
        "executed_on": first.node,
        "quorum": [],
        "committed": True,
        "repeated": True,
    }


def found(result: Rows, form: RowFormat) -> Answer:
    """What one read of a batch found."""
    return {"rows_affected": len(result.rows), **rows_of(result, form)}


def read_answer(result: Rows, leave: ReadAllowed, form: RowFormat) -> Answer:
    """Of one read."""
    return {
        "success": True,
        "message": "Read successful",
        **rows_of(result, form),
        "rows_affected": len(result.rows),
        **seen_at(leave),
    }


def read_batch_answer(results: Sequence[Rows], leave: ReadAllowed, form: RowFormat) -> Answer:
    """Of several reads."""
    return {
        "success": True,
        "message": "Reads successful",
        "results": [found(result, form) for result in results],
        **seen_at(leave),
    }


def seen_at(leave: ReadAllowed) -> Answer:
    """Where a read was made, and how far behind that may be."""
    stale_ns = leave.staleness_ns
    return {
        "executed_on": leave.node,
        "applied_timestamp": leave.applied_timestamp,
        "staleness_ms": None if stale_ns is None else -(-stale_ns // MILLISECOND_NS),
    }


def refused(refusal: Refused) -> QueryError:
    """The answer to a text that is not executed."""
    return errors.refused(refusal.reason, refusal.errno, refusal.sqlstate)


def rejected(error: Rejected) -> QueryError:
    """The answer to what was executed and is refused."""
    if error.refusal is Refusal.EXPECTATION:
        return errors.unmet(error.message)
    if error.refusal is Refusal.ROWS_MAX:
        return errors.bad_request(413, error.message)
    return errors.rejected(error.errno, error.sqlstate, error.message)


def failed(failure: Fail) -> QueryError:
    """The answer to what the cluster could not do."""
    committed: errors.Committed = "unknown" if failure.committed is None else False
    disturbance = failure.disturbance
    if disturbance is None:
        return errors.unavailable(failure.reason, committed)
    return errors.unavailable(failure.reason, committed, disturbance.errno, disturbance.sqlstate)


def explanation(statement: Statement | None, refusal: QueryError | None, replicated: str) -> Answer:
    """The body of an answer to POST /explain-replication. `replicated`: the text that the log would carry."""
    told: dict[str, object] = {"kind": "refused", "verb": None, "tables": [], "pins": [], "replicated": None}
    if statement is not None:
        told |= {"verb": statement.verb, "tables": statement.tables}
    if statement is not None and refusal is None:
        is_logged = statement.kind is not Kind.READ
        told |= {"kind": statement.kind.value, "pins": statement.pins, "replicated": replicated if is_logged else None}
    told["rests_on_schema"] = statement is not None and statement.rests_on_schema
    told["refusal"] = None
    if refusal is not None:
        told["refusal"] = {"reason": refusal.message, "errno": refusal.errno, "sqlstate": refusal.sqlstate}
    return told
