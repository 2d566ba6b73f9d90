"""Reads, appends and transfers as an atomic batch, a statement each; and what its answer says of them.

A write says that it expects its one row: a batch that lost sight of one would be undone, and a cluster that does not check it
is caught by its own answer.
"""

from collections.abc import Sequence
from typing import Any

from history import Append, MicroOperation, Read, Transfer

Statement = dict[str, Any]
ONE_ROW = {"rows_affected": 1}


def statements_of(micro: MicroOperation) -> list[Statement]:
    """A transfer takes two."""
    match micro:
        case Append(key, value):
            sql = (
                f"UPDATE lists SET elements = CONCAT(elements, CASE id WHEN {key} THEN ',{value}' END) WHERE id = {key}"
            )
            return [{"query": sql, "expect": ONE_ROW}]
        case Read(key):
            return [{"query": "SELECT id, elements FROM lists WHERE id = ?", "params": [int(key)]}]
        case Transfer(source, target, amount):
            changes = ((source, -amount), (target, amount))
            return [
                {
                    "query": "UPDATE accounts SET balance = balance + :change WHERE id = :account",
                    "params": {"change": change, "account": int(account)},
                    "expect": ONE_ROW,
                }
                for account, change in changes
            ]
    raise ValueError(f"no batch does {micro}")


def batch_of(micro_operations: Sequence[MicroOperation]) -> dict[str, Any]:
    """The body of a request."""
    return {"statements": [statement for micro in micro_operations for statement in statements_of(micro)]}


def answers_of(micro_operations: Sequence[MicroOperation], body: dict[str, Any]) -> list[Statement]:
    """What each micro-operation was answered: its (first) statement's result."""
    places = [0]
    for micro in micro_operations:
        places.append(places[-1] + len(statements_of(micro)))
    return [body["results"][place] for place in places[:-1]]


def oddity_of(micro_operations: Sequence[MicroOperation], body: dict[str, Any]) -> str:
    """What no such batch can have been answered; empty: nothing is odd."""
    statements, results = batch_of(micro_operations)["statements"], body["results"]
    if len(results) != len(statements):
        return f"a batch of {len(statements)} statements was given {len(results)} results"
    for statement, result in zip(statements, results, strict=True):
        if "expect" in statement and result["rows_affected"] != 1:
            return f"{statement['query']} affected {result['rows_affected']} rows of a batch that expects one"
    return ""
