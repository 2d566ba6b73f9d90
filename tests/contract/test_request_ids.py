"""A request's identity: the client's or one of ours, in the answer, in the log, and on the way to the next service."""

import logging
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
import request_ids
from adviser import AdviserSettings
from coordinator_in_process import InProcessCluster, Load, until_status
from pydantic import SecretStr

from adapters.service_clients import AdviceClient

INSERT, SELECT = "INSERT INTO users (name, email) VALUES ('n', 'e')", "SELECT * FROM users"
MINE = "client-7/a"


@pytest.fixture
async def client(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    async with InProcessCluster(load_service, monkeypatch).run() as client:
        yield client


async def asked(client: httpx.AsyncClient, sql: str, name: str | None = None, **headers: str) -> httpx.Response:
    given = {} if name is None else {"x-request-id": name}
    return await client.post("/query", json={"query": sql}, headers=given | headers)


async def test_an_identity_that_the_client_gives_comes_back_with_every_kind_of_answer(
    client: httpx.AsyncClient,
) -> None:
    for response in (
        await asked(client, INSERT, MINE),
        await asked(client, SELECT, MINE),
        await asked(client, SELECT, MINE, accept="application/x-ndjson"),
        await asked(client, "SELEC", MINE),
        await client.get("/status", headers={"x-request-id": MINE}),
        await client.get("/nowhere", headers={"x-request-id": MINE}),
        await client.post("/switchover", json={}, headers={"x-request-id": MINE}),
    ):
        assert response.headers.get_list("x-request-id") == [MINE], response.text


async def test_who_gives_none_gets_one_with_an_error(client: httpx.AsyncClient) -> None:
    assert "x-request-id" not in (await asked(client, INSERT)).headers
    first, second = [(await asked(client, "SELEC")).headers["x-request-id"] for _ in range(2)]
    assert len(first) == 16
    assert first != second


@pytest.mark.parametrize("name", ["", "x" * 129, "two words"])
async def test_an_identity_that_does_not_fit_a_line_of_a_log_gives_way_to_one_of_ours(
    client: httpx.AsyncClient, name: str
) -> None:
    assert (await asked(client, SELECT, name)).headers["x-request-id"] not in ("", name)


async def test_what_fails_is_logged_with_its_identity_and_what_is_the_clients_fault_is_not(
    load_service: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = InProcessCluster(load_service, monkeypatch)
    seen: list[str] = []

    def note_identity(_: logging.LogRecord) -> bool:
        seen.append(request_ids.current())
        return True

    caplog.handler.addFilter(note_identity)
    async with cluster.run(wait=False, REQUEST_DEADLINE_MS="150") as client:
        await until_status(client, lambda status: status["current_master"] is not None)
        for name in ("mysql-master", "replica-1"):
            cluster.nodes[name].is_down = True
        await until_status(client, lambda status: status["current_master"] is None)
        caplog.clear()
        seen.clear()
        assert (await asked(client, "SELEC", "their-fault")).status_code == 400
        assert (await asked(client, INSERT, MINE)).status_code == 503
        assert (await client.get("/ready")).status_code == 503
        records = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    told = [text for text in records if text.startswith("POST /query: 503: ")]
    assert len(told) == 1
    assert not any("400" in text or "/ready" in text for text in records)
    assert MINE in seen


@pytest.mark.parametrize(
    ("folder", "question", "body"),
    [("cabinet-service", "/select-quorum", {"operation": "write"}), ("seer-service", "/elect-leader", {})],
)
async def test_an_adviser_passes_it_on_to_the_collector(
    load_service: Callable[[str], ModuleType], folder: str, question: str, body: dict[str, str]
) -> None:
    main = load_service(folder)
    names: list[str] = []

    def collector(request: httpx.Request) -> httpx.Response:
        names.append(request.headers["x-request-id"])
        return httpx.Response(503)

    app = main.create_app(AdviserSettings(), transport=httpx.MockTransport(collector))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        response = await client.post(question, json=body, headers={"x-request-id": MINE})
        unnamed = await client.post(question, json=body)
    assert (response.status_code, response.headers["x-request-id"]) == (503, MINE)
    assert names == [MINE, unnamed.headers["x-request-id"]]


async def test_a_call_for_no_single_request_has_an_identity_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    async def answer(_: Any, request: httpx.Request) -> httpx.Response:
        names.append(request.headers["x-request-id"])
        return httpx.Response(503, request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    advice = AdviceClient("http://cabinet", "http://seer", 1.0, SecretStr("x" * 16))
    await advice.fetch(None)
    await advice.close()
    assert len(set(names)) == 2
