"""What the server itself allows: a FastAPI route that takes one pydantic model and does nothing, under the coordinator's server.

The coordinator's reads are held against it (bench_goals.py). It is a system like the others, of one process and without a table.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fastapi
import httpx
from free_ports import free_ports
from pydantic import BaseModel
from systems import RunningSystem, SystemKind, kept_folder

import local_process
from cluster_layout import BY_NAME, HOST, ROOT
from runner_console import CannotRun

PORTS_FROM = 27_000
START_S = 30.0
NAME = "empty-route"

app = fastapi.FastAPI()


class Query(BaseModel):
    query: str


@app.post("/query", response_model=None)
async def query(asked: Query) -> dict[str, bool]:
    return {"success": True}


class EmptyRoute(RunningSystem):
    protocol = "http"

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    def execute(self, sql: str) -> None:
        answer = httpx.post(f"http://{HOST}:{self.port}/query", json={"query": sql}, trust_env=False)
        answer.raise_for_status()

    def server_pid(self, place: int) -> int:
        raise NotImplementedError


@contextlib.contextmanager
def running_route(folder: Path, with_proxy: bool) -> Iterator[RunningSystem]:
    with kept_folder(folder) as kept:
        (port,) = islice(free_ports(PORTS_FROM), 1)
        where = ["--app-dir", str(ROOT / "tests" / "bench"), "--host", HOST, "--port", str(port), "--no-access-log"]
        process = local_process.spawn(
            [sys.executable, "-m", "uvicorn", "empty_route:app", *where, *BY_NAME["coordinator"].uvicorn_options],
            name=NAME,
            cluster_dir=kept,
            environment=os.environ,
            working_dir=ROOT,
            log=kept / f"{NAME}.log",
        )
        system = EmptyRoute(kept, port)
        deadline_s = time.monotonic() + START_S
        while local_process.http_health(port) is None:
            if local_process.is_gone(process) or time.monotonic() > deadline_s:
                raise CannotRun(f"the empty route does not answer: {kept / NAME}.log")
            time.sleep(0.05)  # a starting server tells nobody
        yield system


EMPTY_ROUTE = SystemKind(
    name=NAME,
    title="an empty FastAPI route",
    promise="nothing: one pydantic model, no database",
    start=running_route,
    version=lambda: f"fastapi {fastapi.__version__}",
    works=("read",),
    has_replicas=False,
    fails_over=False,
    has_table=False,
)
