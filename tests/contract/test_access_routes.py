"""Access over HTTP, in process: what each role may at each route of the coordinator, what the other services ask for, and the
headers that every answer has."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from access import Access, Role, Tokens
from adviser import AdviserSettings
from api_docs import CACHE, POLICY
from cabinet_contract import CabinetError
from coordinator_in_process import InProcessCluster
from guarded_api import OPEN_PATHS
from live_routes import PAGE_PATHS
from live_routes import POLICY as PAGE_POLICY
from metrics_contract import MetricsRefusal
from pydantic import BaseModel, SecretStr
from query_contract import ErrorAnswer
from seer_contract import SeerError
from stand_in_collector import metrics, node
from timestamp_contract import TimestampRefusal

Load = Callable[[str], ModuleType]
TOKENS = {
    "read": "reader-token-0123456789",
    "write": "writer-token-0123456789",
    "admin": "admin-token-0123456789",
}
ACCESS_TOKENS = ",".join(f"{role}:{token}" for role, token in TOKENS.items())
SERVICE_TOKEN = "service-token-0123456789"
SELECT = {"query": "SELECT * FROM users"}
INSERT = {"query": "INSERT INTO users (name) VALUES ('Alice')"}
Request = tuple[str, str, object]
NEEDS_READ: list[Request] = [
    ("GET", "/status", None),
    ("GET", "/elections", None),
    ("GET", "/verify", None),
    ("GET", "/live", None),
    ("GET", "/transactions/a-key", None),
    ("GET", "/transactions?timestamp=5", None),
    ("GET", "/metrics", None),
    ("GET", "/metrics/prometheus", None),
    ("POST", "/query", SELECT),
    ("POST", "/query", {"statements": [SELECT, SELECT]}),
    ("POST", "/query", {"query": "SHOW TABLES"}),
    ("POST", "/explain-replication", INSERT),
]
NEEDS_WRITE: list[Request] = [
    ("POST", "/query", INSERT),
    ("POST", "/query", {"query": "CREATE TABLE books (id INT PRIMARY KEY)"}),
    ("POST", "/query", {"statements": [SELECT, INSERT]}),
]
NEEDS_ADMIN: list[Request] = [
    ("POST", "/elections", None),
    ("POST", "/verify", None),
    ("POST", "/switchover", {"to": "replica-1"}),
]
OPEN_EVERYWHERE: list[Request] = [("GET", path, None) for path in sorted(OPEN_PATHS)]
OPEN: list[Request] = [*OPEN_EVERYWHERE, *(("GET", path, None) for path in sorted(PAGE_PATHS))]
ALL = [*NEEDS_READ, *NEEDS_WRITE, *NEEDS_ADMIN, *OPEN]
WITH_ROLES = [
    *((role, request, request in NEEDS_READ or request in OPEN) for role in ("read",) for request in ALL),
    *(("write", request, request not in NEEDS_ADMIN) for request in ALL),
    *(("admin", request, True) for request in ALL),
]


def title(value: object) -> str:
    return (
        value if isinstance(value, str) else " ".join(map(str, value[:2])) if isinstance(value, tuple) else str(value)
    )


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch) -> InProcessCluster:
    return InProcessCluster(load_service, monkeypatch)


@pytest.fixture
async def client(cluster: InProcessCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with cluster.run(ACCESS_TOKENS=ACCESS_TOKENS) as client:
        yield client


async def send(client: httpx.AsyncClient, request: Request, token: str | None = None) -> httpx.Response:
    method, path, body = request
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return await client.request(method, path, json=body, headers=headers)


def refusal_in(response: httpx.Response) -> dict[str, Any]:
    """The body of an answer that is an error in the coordinator's shape."""
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    told = ErrorAnswer.model_validate_json(response.content, strict=True)
    assert told.model_dump() == body
    assert told.committed is False
    return body


# ------------------------------------------------------------------------------------------ the coordinator


@pytest.mark.parametrize(("role", "request_sent", "may"), WITH_ROLES, ids=title)
async def test_a_role_may_do_what_it_is_for(
    client: httpx.AsyncClient, role: str, request_sent: Request, may: bool
) -> None:
    response = await send(client, request_sent, TOKENS[role])
    if may:
        assert response.status_code in (200, 202), response.text
        return
    needed = "admin" if request_sent in NEEDS_ADMIN else "write"
    assert response.status_code == 403
    body = refusal_in(response)
    assert body["message"] == f"this token's role is {role}, and the request needs {needed}"
    assert body["error"]["kind"] == "denied"
    assert body["error"]["hint"].startswith(f"send a token of the role {needed}")
    assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("token", [None, "", "nobody-has-this-token", TOKENS["admin"][:-1]])
@pytest.mark.parametrize(
    "request_sent", [*NEEDS_READ, *NEEDS_WRITE, *NEEDS_ADMIN, ("GET", "/nothing-of-ours", None)], ids=title
)
async def test_who_is_not_known_is_answered_401_at_every_route_that_is_not_open(
    client: httpx.AsyncClient, request_sent: Request, token: str | None
) -> None:
    response = await send(client, request_sent, token)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = refusal_in(response)["error"]
    assert (error["kind"], error["hint"]) == (
        "unauthenticated",
        "send a token that this coordinator knows: Authorization: Bearer TOKEN",
    )


@pytest.mark.parametrize("request_sent", OPEN, ids=title)
async def test_health_the_documentation_and_the_live_page_without_its_data_are_open_to_all(
    client: httpx.AsyncClient, request_sent: Request
) -> None:
    assert (await send(client, request_sent)).status_code == 200


async def test_a_write_that_is_denied_has_not_happened(cluster: InProcessCluster) -> None:
    async with cluster.run(ACCESS_TOKENS=ACCESS_TOKENS) as client:
        for request in NEEDS_WRITE:
            assert (await send(client, request, TOKENS["read"])).status_code == 403
        read = await send(client, ("POST", "/query", SELECT), TOKENS["read"])
        assert [row for row in read.json()["data"] if "Alice" in row["sql"]] == []
        assert (await send(client, ("POST", "/query", INSERT), TOKENS["write"])).json()["committed"] is True


async def test_who_is_not_known_is_refused_before_the_body_is_read(cluster: InProcessCluster) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def collect(message: Any) -> None:
        sent.append(message)

    async with cluster.run(ACCESS_TOKENS=ACCESS_TOKENS) as client:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        for path in ("/query", "/explain-replication", "/switchover"):
            scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
            await transport.app(scope, receive, collect)
    assert [message["status"] for message in sent if "status" in message] == [401, 401, 401]


async def test_an_unknown_route_is_a_404_to_who_is_known(client: httpx.AsyncClient) -> None:
    assert (await send(client, ("GET", "/nothing-of-ours", None), TOKENS["read"])).status_code == 404


@pytest.mark.parametrize("tokens", [None, ""])
async def test_with_access_off_nobody_is_asked_for_a_token(cluster: InProcessCluster, tokens: str | None) -> None:
    async with cluster.run() if tokens is None else cluster.run(ACCESS_TOKENS=tokens) as client:
        for request in ALL:
            assert (await send(client, request)).status_code not in (401, 403), request
        # nor is one that is sent looked at
        assert (await send(client, ("GET", "/status", None), "whatever")).status_code == 200


async def test_openapi_says_which_routes_want_a_token_and_what_is_answered_without(client: httpx.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()
    assert api["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            wants = path not in OPEN_PATHS
            assert operation.get("security") == ([{"bearer": []}] if wants else None), path
            assert ("401" in operation["responses"]) == wants, path
            if method == "post" and path != "/explain-replication":
                schema = operation["responses"]["403"]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, path


async def test_openapi_says_that_tokens_are_optional_where_access_is_off(cluster: InProcessCluster) -> None:
    async with cluster.run() as client:
        api = (await client.get("/openapi.json")).json()
    assert api["paths"]["/query"]["post"]["security"] == [{"bearer": []}, {}]


# ------------------------------------------------------------------------------------------ the other services

Service = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
NUMBERS: list[Request] = [("GET", "/metrics", None), ("GET", "/metrics/prometheus", None)]
ROUTES: dict[str, tuple[type[BaseModel], list[Request]]] = {
    "timestamp-service": (TimestampRefusal, [("POST", "/timestamp", {}), ("GET", "/timestamp", None), *NUMBERS]),
    "metrics-collector": (MetricsRefusal, [("GET", "/metrics/replica-1", None), *NUMBERS]),
    "cabinet-service": (CabinetError, [("POST", "/select-quorum", {"operation": "write"}), *NUMBERS]),
    "seer-service": (SeerError, [("POST", "/elect-leader", {}), *NUMBERS]),
}


class NoProbe:
    """A node that does not answer."""

    async def ask(self) -> None:
        raise OSError("connection refused")

    async def close(self) -> None:
        return


@pytest.fixture(params=ROUTES)
def folder(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def asked_of_collector() -> list[str | None]:
    """The Authorization headers of the calls to the metrics collector."""
    return []


@pytest.fixture
def service(
    folder: str,
    load_service: Load,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked_of_collector: list[str | None],
) -> Service:
    monkeypatch.setenv("SERVER_ID", "1")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLLECTOR_DB_PASSWORD", "secret")
    nodes = metrics(node("mysql-master", is_master=True), *(node(f"replica-{number}") for number in (1, 2, 3)))

    def collector(request: httpx.Request) -> httpx.Response:
        asked_of_collector.append(request.headers.get("authorization"))
        return httpx.Response(200, json=nodes)

    @asynccontextmanager
    async def run() -> AsyncIterator[httpx.AsyncClient]:
        main = load_service(folder)
        main.app.state.make_probe = lambda settings, address: NoProbe()
        main.app.state.transport = httpx.MockTransport(collector)
        transport = httpx.ASGITransport(main.app, raise_app_exceptions=False)
        async with (
            main.app.router.lifespan_context(main.app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            yield client

    return run


async def test_a_service_with_a_token_answers_who_has_it_and_nobody_else(
    folder: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", SERVICE_TOKEN)
    # its callers are no clients of the coordinator
    monkeypatch.setenv("ACCESS_TOKENS", ACCESS_TOKENS)
    refusal, requests = ROUTES[folder]
    async with service() as client:
        for request in [*requests, ("GET", "/nothing-of-ours", None)]:
            for token in (None, "nobody-has-this-token", TOKENS["admin"]):
                response = await send(client, request, token)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
                told = refusal.model_validate_json(response.content, strict=True)
                assert told.model_dump() == response.json()
                assert "Authorization: Bearer TOKEN" in response.json()["message"]
        for request in requests:
            assert (await send(client, request, SERVICE_TOKEN)).status_code == 200
        for path in ("/health", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_a_service_without_a_token_answers_everybody(folder: str, service: Service) -> None:
    async with service() as client:
        for request in ROUTES[folder][1]:
            assert (await send(client, request)).status_code == 200


async def test_a_service_does_not_start_where_others_reach_it_without_a_token(
    folder: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIND_ADDRESS", "0.0.0.0")
    with pytest.raises(SystemExit, match=f"{folder} does not start: it is published at 0.0.0.0"):
        async with service():
            pass  # it does not come to this


async def test_a_services_openapi_says_which_routes_want_a_token(
    folder: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", SERVICE_TOKEN)
    refusal = ROUTES[folder][0]
    async with service() as client:
        api = (await client.get("/openapi.json")).json()
    assert api["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert refusal.__name__ in api["components"]["schemas"]
    for path, operations in api["paths"].items():
        for operation in operations.values():
            wants = path not in OPEN_PATHS
            assert operation.get("security") == ([{"bearer": []}] if wants else None), path
            assert ("401" in operation["responses"]) == wants, path


@pytest.mark.parametrize("folder", ["cabinet-service", "seer-service"], indirect=True)
async def test_an_adviser_asks_the_collector_with_the_services_token(
    folder: str, service: Service, monkeypatch: pytest.MonkeyPatch, asked_of_collector: list[str | None]
) -> None:
    async with service() as client:
        assert (await client.get("/health")).status_code == 200
    monkeypatch.setenv("SERVICE_TOKEN", SERVICE_TOKEN)
    async with service() as client:
        assert (await client.get("/health")).status_code == 200
    assert asked_of_collector == [None, f"Bearer {SERVICE_TOKEN}"]


# ------------------------------------------------------------------------------------------ headers


def check_headers(response: httpx.Response) -> None:
    """Each once; and on a page that no other page can frame it."""
    # the files of /docs are the same for everybody
    cached = CACHE if response.request.url.path.startswith("/docs/") else "no-store"
    for name, value in (("x-content-type-options", "nosniff"), ("cache-control", cached)):
        assert response.headers.get_list(name) == [value], response.url
    policy = {"/docs": POLICY, "/": PAGE_POLICY}.get(response.request.url.path) if response.status_code == 200 else None
    for name, said in (("x-frame-options", policy and "DENY"), ("content-security-policy", policy)):
        assert response.headers.get_list(name) == ([] if said is None else [said]), response.url
    assert response.headers.get("content-type", "").startswith("text/html") == (policy is not None)


async def test_every_answer_of_the_coordinator_has_the_security_headers(client: httpx.AsyncClient) -> None:
    for request in [*ALL, ("GET", "/nothing-of-ours", None), ("GET", "/query", None), ("POST", "/query", [])]:
        for token in (None, TOKENS["read"], TOKENS["admin"]):
            check_headers(await send(client, request, token))


async def test_every_answer_of_a_service_has_the_security_headers(
    folder: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", SERVICE_TOKEN)
    requests: list[Request] = [*ROUTES[folder][1], ("GET", "/nothing-of-ours", None), ("DELETE", "/health", None)]
    async with service() as client:
        for request in [*requests, *OPEN_EVERYWHERE]:
            for token in (None, SERVICE_TOKEN):
                check_headers(await send(client, request, token))


async def test_an_answer_that_fastapi_makes_for_a_route_that_failed_has_them_too(
    load_service: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = load_service("cabinet-service")
    app = main.create_app(AdviserSettings(), access=Access(Tokens([(Role.ADMIN, SecretStr(SERVICE_TOKEN))]), None))

    async def fails() -> None:
        raise RuntimeError("unforeseen")

    app.add_api_route("/fails", fails)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await send(client, ("GET", "/fails", None), SERVICE_TOKEN)
    assert response.status_code == 500
    check_headers(response)
