"""The live page at `/`, its files, and `GET /live`, from which it takes what it shows.

The page is plain files (live_page/), read once, without a build and without anything from another host. It has no secret and is
open to all; its data wants a token. The browser is told to load nothing from elsewhere, to run no script that stands in the page,
and to refuse every attempt to make HTML out of a text (trusted types): what a row, a reason or an error says is shown as text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import route_answers as told
from access import Tokens
from client_watch import ClientWatches
from composition import Coordinator
from fastapi import FastAPI, Request
from fastapi.responses import Response
from live_contract import LiveAnswer
from live_stream import LiveEvents, are_wanted
from starlette.exceptions import HTTPException

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOLDER = Path(__file__).parent / "live_page"
INDEX = (_FOLDER / "index.html").read_bytes()
FILES = {
    file.name: (_TYPES[file.suffix], file.read_bytes()) for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES
}
"""Name -> media type and content."""
PAGE_PATHS = frozenset({"/", *(f"/page/{name}" for name in FILES)})


def add_live_routes(api: FastAPI, coordinator_of: Callable[[], Coordinator], tokens: Tokens | None) -> None:
    """`tokens`: None, access is off."""
    watches = ClientWatches()

    @api.get(
        "/live",
        summary="What the live page shows",
        response_model=LiveAnswer,
        responses=told.responses({200: told.LIVE}, 429, 503),
    )
    async def live(request: Request) -> Any:
        """Nodes, traffic, elections, advice and the newest writes. Once; or, to whoever accepts `text/event-stream`, as a stream
        of server-sent events for as long as it is read.
        """
        role = None if tokens is None else tokens.role_in(request.scope["headers"])
        viewer = {"role": None if role is None else role.name.lower()}
        coordinator = coordinator_of()
        if are_wanted(request.headers.get("accept", "")):
            return LiveEvents(coordinator.live, watches, viewer)
        return {"viewer": viewer, **coordinator.live_view.whole()}

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(INDEX, media_type="text/html", headers={"content-security-policy": POLICY})

    @api.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404)
        media_type, content = FILES[name]
        return Response(content, headers={"content-type": media_type})
