"""Whatever the bytes, POST /query answers with one of its own shapes and never with a failure of the coordinator's own.

In process over ASGI, with everything real but the nodes. Bodies are right ones with mutated statements, JSON that is nearly
right, and bytes; they come whole, in pieces, and cut off.
"""

import asyncio
import json
import sys
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest
from coordinator_in_process import InProcessCluster, Load
from fuzz_texts import STATEMENTS, fuzz, mutated, texts
from hypothesis import strategies as st
from query_contract import BatchAnswer, ErrorAnswer, ReadAnswer, ReadBatchAnswer, WriteAnswer

STATUSES = {200, 400, 403, 404, 405, 409, 413, 422}
"""Not 500. Not 503 and 504: all nodes are well."""
ANSWER_S = 20.0

_queries = texts.map(lambda text: json.dumps({"query": text}).encode())
_raw_queries = mutated(STATEMENTS).map(
    lambda text: json.dumps({"query": text}, ensure_ascii=False).encode("utf-8", "replace")
)
_counts = st.sampled_from([None, 0, 1, 5, -1, 1.5, "1"])
_statements = st.builds(
    lambda text, params, count: (
        {"query": text}
        | ({} if params is None else {"params": params})
        | ({} if count is None else {"expect": {"rows_affected": count}})
    ),
    mutated(STATEMENTS) | texts,
    st.sampled_from([None, None, None, [], [1], {"a": 1}, "x"]),
    _counts,
)
_batches = st.lists(_statements, max_size=5).map(lambda asked: json.dumps({"statements": asked}).encode())
_wishes = st.fixed_dictionaries(
    {"query": st.sampled_from(["SELECT 1", "SHOW TABLES", "DELETE FROM users", "TABLE users"])},
    optional={
        "level": st.sampled_from(["strong", "leader", "bounded", "any", "best", None, 1]),
        "max_staleness_ms": st.sampled_from([0, 5, 10**9, -1, None, "1"]),
        "after_timestamp": st.sampled_from([0, 1, None, 2.5, -7]),
        "format": st.sampled_from(
            [None, {}, {"rows": "arrays"}, {"rows": "objects", "columns": True}, {"integers": "text"}, {"rows": 1}, []]
        ),
    },
).map(lambda asked: json.dumps(asked).encode())
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("SELECT 1"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["query", "statements", "expect", "Query"]), inner, max_size=3)
    ),
    max_leaves=12,
)
_objects = _json.map(lambda value: json.dumps(value).encode())
_edges = st.sampled_from(
    [
        *(b"", b"{", b"null", b"[]", b'{"query"', b'{"query": }', b'{"query": "SELECT 1"', b'{"query": "SELECT 1"} x'),
        *(
            b'{"query": "SELECT 1", "query": "SELECT 2"}',
            b'{"query": "\\ud800"}',
            b'{"query": "\\u0000"}',
            b"\xff\xfe{\x00",
        ),
        *(
            b'{"query": "\xff"}',
            b'\xef\xbb\xbf{"query": "SELECT 1"}',
            b"[" * 100_000,
            b'{"query":' * 20_000,
            b'{"query": 1e999}',
        ),
    ]
)
_large = st.sampled_from(
    [
        b'{"query": "' + b"a" * 2_000_000 + b'"}',
        b'{"query": "SELECT \'' + b"a" * 1_000_000 + b"'\"}",
        b" " * 3_000_000,
    ]
)
_bodies = st.one_of(
    _queries, _queries, _raw_queries, _batches, _batches, _wishes, _objects, _edges, _large, st.binary(max_size=80)
)
_cuts = st.lists(st.floats(0, 1), max_size=4)
_requests = st.tuples(_bodies, _cuts, st.sampled_from([False, False, False, True]))


async def answer_to(app: Any, body: bytes, cuts: list[float], is_cut_off: bool) -> tuple[int, bytes]:
    """Status and body. `cuts`: where the body is divided; a body that is cut off lacks its last piece."""
    places = [0, *sorted(int(len(body) * cut) for cut in cuts), len(body)]
    pieces = [body[first:last] for first, last in pairwise(places)]
    arriving: list[dict[str, Any]] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if is_cut_off:
        arriving[-1] = {"type": "http.disconnect"}
    else:
        arriving[-1]["more_body"] = False
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)  # a turn of the loop, as a real server takes one
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(0)  # a turn of the loop, as a real server takes one
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/query",
        "raw_path": b"/query",
        "scheme": "http",
    }
    scope |= {
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
    }
    async with asyncio.timeout(ANSWER_S):
        await app(scope, receive, send)
    parts = [message.get("body", b"") for message in sent if message["type"] == "http.response.body"]
    return sent[0]["status"], b"".join(parts)


def test_any_bytes_are_answered_in_a_shape_of_its_own(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = InProcessCluster(load_service, monkeypatch)
    counts: dict[int, int] = {}
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(cluster.run()))
        app = sys.modules["coordinator_main"].app  # the cluster loaded it

        def prove(request: tuple[bytes, list[float], bool]) -> None:
            status, answer = runner.run(answer_to(app, *request))
            counts[status] = counts.get(status, 0) + 1
            assert status in STATUSES, answer
            assert not cluster.deaths, cluster.deaths[0]
            if status == 200:
                body = json.loads(answer)
                shapes = (ReadBatchAnswer, BatchAnswer) if "results" in body else (ReadAnswer, WriteAnswer)
                shapes["timestamp" in body].model_validate_json(answer)
            else:
                ErrorAnswer.model_validate_json(answer)

        tried = fuzz(_requests, prove, examples=1200)
        runner.run(stack.aclose())
    print(f"{tried} requests, statuses {dict(sorted(counts.items()))}")
    assert {200, 400, 413, 422} <= set(counts)
