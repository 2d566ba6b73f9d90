"""The live page's routes: the page and its files, `/live` once and as a stream, who may see it. Nobody waits for who looks."""

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from coordinator_in_process import NAMES, InProcessCluster, Load, until_status
from live_contract import LiveAnswer, LiveState, LiveTraffic, ViewerView
from live_routes import FILES, INDEX, POLICY
from live_stream import VIEWERS_MAX
from pydantic import BaseModel
from query_contract import ElectionsAnswer, ErrorAnswer
from served_service import Services

INSERT = {"query": "INSERT INTO users (name) VALUES ('Alice')"}
TOKENS = {role: f"token-of-{role}-0123456789" for role in ("read", "write", "admin")}
ACCESS_TOKENS = ",".join(f"{role}:{token}" for role, token in TOKENS.items())
SHAPES: dict[str, type[BaseModel]] = {
    "viewer": ViewerView,
    "elections": ElectionsAnswer,
    "traffic": LiveTraffic,
    "state": LiveState,
}
STREAM = {"accept": "text/event-stream"}
STOPPED_S = 5.0
"""Far below the time that requests in flight are waited for."""


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> InProcessCluster:
    return InProcessCluster(load_service, monkeypatch)


@pytest.fixture
async def client(cluster: InProcessCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with cluster.run() as client:
        yield client


class Stream:
    """GET /live as a stream, over ASGI: httpx would wait for its end."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.head: dict[str, Any] = {}
        self._text = ""
        self._changed = asyncio.Event()
        self._left = asyncio.Event()
        self._asked = False
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/live",
            "raw_path": b"/live",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        self.task = asyncio.create_task(self._ask(transport.app, scope))

    async def _ask(self, app: Any, scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = message
        self._text += message.get("body", b"").decode()
        self._changed.set()

    async def next(self, name: str) -> Any:
        """The data of the next event of this name; those before it are passed over."""
        async with asyncio.timeout(5):
            while True:
                while "\n\n" not in self._text:
                    self._changed.clear()
                    await self._changed.wait()
                block, _, self._text = self._text.partition("\n\n")
                event, data = (line.partition(": ")[2] for line in block.split("\n"))
                SHAPES[event].model_validate_json(data, strict=True)
                if event == name:
                    return json.loads(data)

    async def leave(self) -> None:
        self._left.set()
        await self.task


@contextlib.asynccontextmanager
async def streamed(client: httpx.AsyncClient, token: str | None = None) -> AsyncIterator[Stream]:
    stream = Stream(client, STREAM | ({"authorization": f"Bearer {token}"} if token else {}))
    try:
        yield stream
    finally:
        await stream.leave()


# ------------------------------------------------------------------------------------------ the page


async def test_the_page_and_all_that_it_loads_is_there_and_nothing_is_of_another_host(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.text))
    assert "page/main.js" in named
    for name, (_, content) in FILES.items():
        named |= {f"page/{other}" for other in re.findall(r'from "\./([^"]+)"', content.decode())}
        answered = await client.get(f"/page/{name}")
        assert (answered.status_code, answered.content) == (200, content)
    # each is used, and none is missing
    assert named == {f"page/{name}" for name in FILES}
    for text in (INDEX.decode(), *(content.decode() for _, content in FILES.values())):
        code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|[\"'(]//\w|@import", code)


async def test_the_browser_is_told_to_load_from_here_only_and_to_run_nothing_that_stands_in_the_page(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/")
    assert page.headers["content-security-policy"] == POLICY
    directives = dict(each.strip().split(" ", 1) for each in POLICY.split(";"))
    assert directives["default-src"] == "'self'"
    assert not {"script-src", "style-src", "connect-src"} & set(directives)
    assert "unsafe" not in POLICY
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)


async def test_no_script_makes_html_out_of_a_text() -> None:
    for name, (_, content) in FILES.items():
        assert not re.search(rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", content), name


# ------------------------------------------------------------------------------------------ what it shows


async def test_once_it_is_all_there_is_as_json(client: httpx.AsyncClient) -> None:
    written = (await client.post("/query", json=INSERT)).json()
    answer = await client.get("/live")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert LiveAnswer.model_validate_json(answer.content, strict=True).model_dump(mode="json") == body
    state = body["state"]
    asked = (await client.get("/status")).json()
    assert set(state["status"]) == set(asked)
    assert (state["status"]["epoch"], state["status"]["owner"]) == (asked["epoch"], asked["owner"])
    assert body["elections"] == (await client.get("/elections")).json()["elections"]
    assert body["viewer"] == {"role": None}
    assert (state["can_write"], state["step"], list(state["nodes"])) == (True, None, list(NAMES))
    assert state["timestamps"] == [{"timestamp": written["timestamp"], "server": 1, "batch": 1}]
    assert state["turns"] == [{"server": 1, "first": 5, "last": 5, "count": 1}]
    (batch,) = state["batches"]
    assert (batch["master"], batch["quorum"], batch["writes"]) == ("mysql-master", written["quorum"], 1)
    assert state["nodes"]["replica-1"]["epoch"] == state["status"]["epoch"]


async def test_what_the_advisers_said_is_shown_with_its_parts(client: httpx.AsyncClient) -> None:
    state = (await client.get("/live")).json()["state"]
    assert state["cabinet"]["weights"] == {"replica-1": 0.5, "replica-2": 0.25}
    assert state["cabinet"]["excluded"] == {"replica-3": "not healthy"}
    assert state["seer"]["scores"]["replica-3"] == {
        "latency_score": 0.5,
        "stability_score": 0.9,
        "lag_score": 1.0,
        "total": 0.76,
    }
    assert 0 <= state["cabinet"]["age_ms"] < 10_000


async def test_a_stream_has_every_event_in_its_published_shape_and_shows_a_failover(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    async with streamed(client) as stream:
        assert await stream.next("viewer") == {"role": None}
        assert len((await stream.next("elections"))["elections"]) == 1
        assert (await stream.next("state"))["status"]["current_master"] == "mysql-master"
        assert stream.head["status"] == 200
        headers = dict(stream.head["headers"])
        assert headers[b"content-type"] == b"text/event-stream"
        assert headers[b"cache-control"] == b"no-store"
        assert b"content-length" not in headers
        cluster.nodes["mysql-master"].is_down = True
        await client.post("/query", json=INSERT)
        elections = (await stream.next("elections"))["elections"]
        while elections[-1]["master"] is None:
            elections = (await stream.next("elections"))["elections"]
        assert (await stream.next("state"))["status"]["current_master"] == elections[-1]["master"] != "mysql-master"


async def test_traffic_is_told_second_by_second(client: httpx.AsyncClient) -> None:
    async with streamed(client) as stream:
        first = await stream.next("traffic")
        for _ in range(3):
            await client.post("/query", json=INSERT)
        writes: list[float] = []
        while not sum(writes):
            seconds = await stream.next("traffic")
            assert set(seconds["number"]).isdisjoint(first["number"])
            writes += seconds["writes"]
            if sum(writes):
                assert 0 < seconds["write_ms_p50"][-1] < 5000
                assert seconds["weights"]["replica-1"] == [0.5] * len(seconds["number"])
                assert seconds["weights"]["mysql-master"] == [None] * len(seconds["number"])


# ------------------------------------------------------------------------------------------ who looks


async def test_the_stream_tells_the_role_of_the_token_and_is_refused_without_one(cluster: InProcessCluster) -> None:
    async with cluster.run(ACCESS_TOKENS=ACCESS_TOKENS) as client:
        assert (await client.get("/")).status_code == 200
        for role, token in TOKENS.items():
            async with streamed(client, token) as stream:
                assert await stream.next("viewer") == {"role": role}
            once = await client.get("/live", headers={"authorization": f"Bearer {token}"})
            assert once.json()["viewer"] == {"role": role}
        for headers in (STREAM, {}, STREAM | {"authorization": "Bearer nobody-has-this"}):
            refused = await client.get("/live", headers=headers)
            assert refused.status_code == 401
            assert ErrorAnswer.model_validate_json(refused.content, strict=True).error.kind == "unauthenticated"


async def test_more_viewers_than_there_is_room_for_are_refused_until_one_leaves(client: httpx.AsyncClient) -> None:
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(streamed(client)) for _ in range(VIEWERS_MAX)]
        for stream in streams:
            await stream.next("state")
        refused = await client.get("/live", headers=STREAM)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        told = ErrorAnswer.model_validate_json(refused.content, strict=True)
        assert told.error.kind == "overloaded"
        assert f"{VIEWERS_MAX} viewers" in told.message
        # who asks once takes no room
        assert (await client.get("/live")).status_code == 200
        await streams[0].leave()
        async with streamed(client) as another:
            await another.next("state")


async def test_a_failover_while_nobody_looks_is_seen_by_who_comes_later(
    cluster: InProcessCluster, client: httpx.AsyncClient
) -> None:
    async with streamed(client) as stream:
        await stream.next("state")
    cluster.nodes["mysql-master"].is_down = True
    await client.post("/query", json=INSERT)
    await until_status(client, lambda status: status["current_master"] not in (None, "mysql-master"))
    async with streamed(client) as stream:
        assert (await stream.next("state"))["status"]["current_master"] != "mysql-master"


def test_a_coordinator_that_is_stopped_waits_for_nobody_who_looks(tmp_path: Path) -> None:
    """A real process with real sockets. No node is there; the page shows that, too."""
    services = Services(tmp_path, {})
    with services.run("coordinator") as process:
        url = f"http://127.0.0.1:{services.layout.port('coordinator')}/live"
        with httpx.Client(trust_env=False, timeout=10) as client, client.stream("GET", url, headers=STREAM) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: viewer"
            while not next(lines).startswith('data: {"now_us"'):
                pass  # what comes before the first state
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            for _ in lines:
                pass  # to the end that the coordinator makes, and not to a broken connection
            assert process.wait(STOPPED_S) == 0
            assert time.monotonic() - began < STOPPED_S
