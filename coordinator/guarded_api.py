"""A FastAPI application that asks for a bearer token before a request reaches a route, and whose OpenAPI says so.

Default-deny: what is not in OPEN_PATHS, or opened by the service itself, wants a token, also a route that somebody adds, also one
that does not exist. A request is refused by its head; its body is not looked at. Where access is off nothing stands in the way.

The other services use the same file, and their images copy it.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import api_docs
from access import Role, Tokens
from exposition import PATH, TOLD, CountedRequests, Exposition
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from request_ids import RequestIds
from security_headers import App, Message, Receive, Scope, SecurityHeaders, Send
from starlette.exceptions import HTTPException
from starlette.routing import Route

OPEN_PATHS = frozenset({"/health", "/ready", "/docs", "/openapi.json", *(f"/docs/{name}" for name in api_docs.FILES)})
UNAUTHENTICATED = (b"www-authenticate", b"Bearer")
"""RFC 6750, section 3: of every 401."""
VERSION = "0.1.0"
"""Of the project, and so of every service."""
BODY_BYTES_MAX = 1 << 20
BODY_TOO_LARGE = 413
NO_TOKEN = "send a token that this service knows: Authorization: Bearer TOKEN"


@dataclass(frozen=True)
class Rules:
    """What one service asks for, and how it refuses."""

    tokens: Tokens | None
    """None: access is off."""
    role_for: Callable[[str, str], Role]
    """Method and path -> the role that is needed."""
    refusal: type[BaseModel]
    """The published shape of a refusal."""
    refuse: Callable[[Role | None, Role], bytes]
    """The role that the token has (None: no token, or nobody's) and the one that is needed -> a refusal's JSON."""
    open_paths: frozenset[str] = frozenset()
    """Of this service alone, beside OPEN_PATHS: what is there is no secret."""


def service_rules(tokens: Tokens | None, refusal: type[BaseModel]) -> Rules:
    """Of a service with one token for everything. `refusal` has a message, and a default for all else."""
    body = refusal(message=f"This service asks who calls: {NO_TOKEN}.").model_dump_json().encode()
    return Rules(tokens, lambda method, path: Role.READ, refusal, lambda held, needed: body)


class Guard:
    """A pure ASGI wrapper."""

    def __init__(self, app: App, tokens: Tokens, rules: Rules) -> None:
        self._app = app
        self._tokens = tokens
        self._rules = rules
        self._open_paths = OPEN_PATHS | rules.open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        held = self._tokens.role_in(scope["headers"])
        needed = self._rules.role_for(scope["method"], scope["path"])
        if held is not None and held >= needed:
            await self._app(scope, receive, send)
            return
        body = self._rules.refuse(held, needed)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if held is None:
            headers.append(UNAUTHENTICATED)
        status = 401 if held is None else 403
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class BoundedBody:
    """A pure ASGI wrapper: whoever reads a body that is too large gets an HTTPException, which the service says in its own shape.
    (The hot routes read their bodies themselves, and have bounds of their own.)"""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_BYTES_MAX:
                raise HTTPException(BODY_TOO_LARGE, f"the request is larger than {BODY_BYTES_MAX} bytes")
            return message

        await self._app(scope, counted, send)


class GuardedApi(FastAPI):
    """Every answer has the security headers, those too that FastAPI makes itself when a route fails. And its numbers are told at
    /metrics/prometheus and, unless it has a route of its own there, at /metrics."""

    def __init__(self, rules: Rules, *, has_own_metrics: bool = False, **settings: Any) -> None:
        # its /docs is api_docs.py's
        super().__init__(version=VERSION, docs_url=None, redoc_url=None, **settings)
        self._rules = rules
        self.exposition = Exposition()
        self._tell_numbers((PATH,) if has_own_metrics else (PATH, "/metrics"))
        if rules.tokens is not None:
            self.add_middleware(Guard, tokens=rules.tokens, rules=rules)

    def _tell_numbers(self, paths: Iterable[str]) -> None:
        async def numbers(request: Request) -> Response:
            """What this service counts and measures, for Prometheus."""
            return self.exposition.answer(request)

        stopping = {"model": self._rules.refusal, "description": "The service is being stopped"}
        for path in paths:
            self.add_api_route(
                path, numbers, summary="Numbers", response_class=Response, responses={**TOLD, 503: stopping}
            )

    def build_middleware_stack(self) -> App:
        inner = RequestIds(SecurityHeaders(BoundedBody(super().build_middleware_stack())), OPEN_PATHS)
        paths = [route.path for route in self.routes if isinstance(route, Route)]
        return CountedRequests(inner, self.exposition.http, paths)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            _declare_access(super().openapi(), self._rules)
        assert self.openapi_schema is not None, "the line above has made it"
        return self.openapi_schema


def _declare_access(document: dict[str, Any], rules: Rules) -> None:
    """Write into an OpenAPI document which routes want a token, and what is answered without."""
    components = document.setdefault("components", {})
    components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
    name = rules.refusal.__name__
    own = rules.refusal.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).setdefault(name, own)
    # {}: without a token, too
    security: list[dict[str, list[str]]] = [{"bearer": []}] if rules.tokens else [{"bearer": []}, {}]
    schema = {"$ref": f"#/components/schemas/{name}"}

    def refused(held: Role | None, needed: Role) -> dict[str, Any]:
        return {"application/json": {"schema": schema, "example": json.loads(rules.refuse(held, needed))}}

    for path, operations in document["paths"].items():
        if path in OPEN_PATHS | rules.open_paths:
            continue
        for method, operation in operations.items():
            operation["security"] = security
            responses = operation["responses"]
            needed = rules.role_for(method.upper(), path)
            responses["401"] = {"description": "No token, or one that nobody has", "content": refused(None, needed)}
            if needed > Role.READ:
                content = refused(Role.READ, needed)
                responses.setdefault("403", {"description": "The token's role is too small", "content": content})
