"""The coordinator: the cluster's HTTP door. composition.py has what it is made of, http_routes.py its routes, `replication/` its
protocol.
"""

import gc
import os
import resource
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import coordinator_points as points
import crash_point
import errors
import msgspec
import service_log
from access import Access, access_from_environment
from composition import Coordinator
from config import CoordinatorSettings
from crash_point import ConnectionCut
from fastapi import FastAPI
from http_routes import create_api
from query_endpoint import QUERY_PATHS, Receive, Scope, Send
from query_request import are_lines_wanted
from route_answers import DESCRIPTION
from whole_requests import DrainingWhole, Headers, WholeAnswer, WholeRequest

WHOLE_TARGETS = frozenset(path.encode() for path in QUERY_PATHS)


class Application:
    """The ASGI application: queries take the short way, everything else goes through FastAPI."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.coordinator: Coordinator | None = None
        self.api = create_api(self._running, DESCRIPTION, lifespan, access.tokens)

    def _running(self) -> Coordinator:
        assert self.coordinator is not None, "nothing is asked before the start"
        return self.coordinator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in QUERY_PATHS and scope["method"] == "POST":
            try:
                await self._running().query(scope, receive, send)
            except ConnectionCut:
                crash_point.hang_up(scope["client"])
                while (await receive())["type"] != "http.disconnect":
                    pass  # or the server, which was given no response, would make one up
        else:
            await self.api(scope, receive, send)

    def takes_whole(self, target: bytes, headers: Headers) -> bool:
        return target in WHOLE_TARGETS and not are_lines_wanted(headers)

    def answer_whole(self, request: WholeRequest) -> Coroutine[Any, Any, WholeAnswer | None]:
        return self._running().query.answer_whole(request)

    def stop_waiting(self) -> None:
        """The process is to end soon: who waits for something long is told how far it is, and who only looks on is sent away."""
        self._running().verifier.send_away()
        self._running().live.send_away()


def allow_many_connections() -> None:
    """As many open files as the process may have: each client is one, and the usual bound is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Start and stop the coordinator of `application`."""
    allow_many_connections()
    application.coordinator = coordinator = Coordinator(
        CoordinatorSettings(),  # type: ignore[call-arg]  # from the environment
        application.access,
    )
    await coordinator.start()
    # what is there now stays; what a request makes is gone with it, so it is seldom worth looking for garbage (5 % of the time)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    try:
        yield
    finally:
        await coordinator.stop()


service_log.set_up("coordinator")
crash_point.arm(points.POINTS, os.environ)
application = Application(access_from_environment("coordinator", "ACCESS_TOKENS"))
app = DrainingWhole(application, msgspec.json.encode(errors.stopping().body()), application.stop_waiting)
