"""The ten containers of docker-compose.yml in the hands of a test: compose's commands, faults, and a look into every node.

The stack has a compose project, image tags and an address of its own (127.0.0.3, the same ports), so a cluster that somebody
has running on 127.0.0.1 is never touched. `stack_keeper.py` takes it down, in whichever way the test run ends.

Hard case: a container that is made anew has another address, and so may have one that was away from the network. So nothing
is remembered here: each call looks its container up.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pymysql
from docker.models.containers import Container
from docker.models.networks import Network

from cluster_layout import BY_NAME, MEMBERS, NODES, ROOT, SERVICES

NAMES = tuple(member.name for member in MEMBERS)
NODE_NAMES = tuple(member.name for member in NODES)
SERVICE_NAMES = tuple(member.name for member in SERVICES)
VOLUMES = {
    **{name: f"{name}-data" for name in NODE_NAMES},
    "timestamp-1": "timestamp-1-state",
    "timestamp-2": "timestamp-2-state",
    "metrics-collector": "metrics-state",
}
PORT_SETTINGS = {
    "coordinator": "COORDINATOR_PORT",
    "timestamp-1": "TIMESTAMP_1_PORT",
    "timestamp-2": "TIMESTAMP_2_PORT",
    "metrics-collector": "METRICS_PORT",
    "cabinet-service": "CABINET_PORT",
    "seer-service": "SEER_PORT",
}
DEFAULTS = {
    "BIND_ADDRESS": "127.0.0.3",
    "COMPOSE_PROJECT_NAME": "distributed-mysql-e2e",
    "IMAGE_TAG": "e2e",
    "IMAGE_PREFIX": "localhost/",
    "COORDINATOR_DB_PASSWORD": "demo-coordinator",
    **{setting: str(BY_NAME[name].base_port) for name, setting in PORT_SETTINGS.items()},
    "ACCESS_TOKENS": "",
    "ACCESS_TOKENS_FILE": "",
    "ACCESS_OPEN": "",
    "SERVICE_TOKEN": "",
    # so that a lost disk is filled by a copy sooner or later
    "LOG_RETENTION_MB": "1",
}
"""The environment's own come first. All are set, so that no `.env` of a developer's has a word in it."""
COMMAND_S = 300.0
BUILD_S = 900.0
KEEPER_S = 700.0
WELL_S = 90.0
CONNECTION_ENDED = (1317, 1927, 2006, 2013)
_LABEL = "com.docker.compose"


class Stack:
    """Commands and questions to one compose project. Every command returns when its effect is there."""

    def __init__(self, environment: dict[str, str], keeper_fd: int, client: docker.DockerClient) -> None:
        self.environment = environment
        self._keeper_fd = keeper_fd
        self._client = client
        self.project = environment["COMPOSE_PROJECT_NAME"]
        self.host = environment["BIND_ADDRESS"]
        self.nodes = NODE_NAMES
        self.figures: list[str] = []

    def beside(self, settings: dict[str, str]) -> "Stack":
        """Another one on the same engine, built from the same images."""
        return Stack({**self.environment, **settings}, self._keeper_fd, self._client)

    # --- commands

    def command(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        """Run a command; answers with what it said. One that fails fails the test, with all it said."""
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            # while it runs, nobody takes the stack down under it
            pass_fds=[self._keeper_fd],
        )
        assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def compose(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        return self.command("docker", "compose", *argv, timeout_s=timeout_s)

    def prepare(self) -> None:
        """The base images, if they are not named, and the project's."""
        if not {"MYSQL_IMAGE", "PYTHON_IMAGE"} <= set(self.environment):
            lines = self.command(".ci/images-offline", timeout_s=BUILD_S).splitlines()
            self.environment.update((name, value) for name, _, value in (line.partition("=") for line in lines))
        began = time.monotonic()
        self.compose("build", timeout_s=BUILD_S)
        self.figures.append(f"build: {time.monotonic() - began:.1f} s")
        services = json.loads(self.compose("config", "--format", "json"))["services"].values()
        sizes = {
            name: self._client.images.get(name).attrs["Size"] for name in sorted({row["image"] for row in services})
        }
        short = {name.removeprefix(self.environment["IMAGE_PREFIX"]): size / 1e6 for name, size in sizes.items()}
        self.figures += [f"{name}: {size:.0f} MB" for name, size in short.items()]

    def up(self) -> float:
        """Returns when a write was taken; how long that took."""
        began = time.monotonic()
        self.compose("up", "-d", "--wait")
        answer = self.query("INSERT INTO users (name, email) VALUES ('first', 'first@example.com')")
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began

    # --- containers

    def container(self, name: str) -> Container:
        labels = [f"{_LABEL}.project={self.project}", f"{_LABEL}.service={name}"]
        found = self._client.containers.list(all=True, filters={"label": labels})
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the engine lists of each container, by service."""
        listed = self._client.api.containers(all=True, filters={"label": f"{_LABEL}.project={self.project}"})
        return {row["Labels"][f"{_LABEL}.service"]: row for row in listed}

    def logs(self, label: str) -> str:
        """What all containers with this label have said, those too that have ended."""
        told = ""
        for container in self._client.containers.list(all=True, filters={"label": label}):
            with contextlib.suppress(docker.errors.NotFound):  # removed meanwhile
                told += container.logs().decode(errors="replace")
        return told

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self.container(name).attrs["State"]
        return state

    def network(self) -> Network:
        return self._client.networks.get(self.network_name)

    @property
    def network_name(self) -> str:
        return f"{self.project}_db-network"

    def connect(self, name: str) -> None:
        """Back into the network, under its service's name, which a plain connect would not give it."""
        self.network().connect(self.container(name), aliases=[name])

    def volume_name(self, name: str) -> str:
        return f"{self.project}_{VOLUMES[name]}"

    def volume_made_at(self, name: str) -> str:
        made_at: str = self._client.volumes.get(self.volume_name(name)).attrs["CreatedAt"]
        return made_at

    def remove(self, name: str) -> None:
        """The container, by force, and its volume, if it has one."""
        self.container(name).remove(force=True)
        if name in VOLUMES:
            self._client.volumes.get(self.volume_name(name)).remove()

    def volumes(self) -> list[str]:
        label = {"label": f"{_LABEL}.project={self.project}"}
        return sorted(str(volume.name) for volume in self._client.volumes.list(filters=label))

    # --- questions

    def port(self, name: str) -> int:
        return int(self.environment[PORT_SETTINGS[name]])

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self.port(name)}"

    def get(self, name: str, path: str, *, timeout_s: float = 5.0) -> httpx.Response:
        return httpx.get(self.url(name) + path, timeout=timeout_s, trust_env=False)

    def post(self, name: str, path: str, body: object, *, timeout_s: float = 30.0) -> httpx.Response:
        return httpx.post(self.url(name) + path, json=body, timeout=timeout_s, trust_env=False)

    def query(self, sql: str) -> httpx.Response:
        return self.post("coordinator", "/query", {"query": sql})

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("coordinator", "/status").raise_for_status().json()
        return answer

    def is_reachable(self, name: str) -> bool:
        """Whether a service answers at all."""
        try:
            self.get(name, "/health", timeout_s=1.0)
        except httpx.TransportError:
            return False
        return True

    def rows_on(self, node: str, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on one node itself, past the coordinator, but with its account: a fence may end our connection too."""
        attempts = 5
        while True:
            try:
                return self._rows_on(node, sql)
            except pymysql.err.OperationalError as error:
                attempts -= 1
                if error.args[0] not in CONNECTION_ENDED or not attempts:
                    raise

    def _rows_on(self, node: str, sql: str) -> list[tuple[Any, ...]]:
        connection = pymysql.connect(
            host=self.container(node).attrs["NetworkSettings"]["Networks"][self.network_name]["IPAddress"],
            user="coordinator",
            password=self.environment["COORDINATOR_DB_PASSWORD"],
            autocommit=True,
            connect_timeout=5,
            read_timeout=60,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        finally:
            connection.close()

    # --- wellness

    def trouble(self) -> str:
        """What is not well. Nothing: all ten run and are in the network, the services answer, writes are taken, and all four
        nodes are level members."""
        rows = self.rows()
        if set(rows) != set(NAMES):
            return f"containers: {sorted(rows)}"
        for name, row in rows.items():
            if row["State"] != "running" or self.network_name not in row["NetworkSettings"]["Networks"]:
                return f"{name}: {row['State']}, {row['Status']}, in {list(row['NetworkSettings']['Networks'])}"
        try:
            for name in SERVICE_NAMES:
                answer = self.get(name, "/ready" if name == "coordinator" else "/health")
                if answer.status_code != 200:
                    return f"{name}: {answer.text}"
            status = self.status()
        except httpx.TransportError as error:
            return f"{error!r} at {error.request.url}"
        nodes = {name: (node["state"], node["member"], node["reason"]) for name, node in status["nodes"].items()}
        if status["waits_for"] or any(node[:2] != ("level", True) for node in nodes.values()):
            return f"master {status['current_master']}, waits for {status['waits_for']!r}, {nodes}"
        return ""

    def wait_until_well(self, within_s: float = WELL_S) -> None:
        deadline_s = time.monotonic() + within_s
        while trouble := self.trouble():
            assert time.monotonic() < deadline_s, f"not well after {within_s} s: {trouble}"
            time.sleep(0.05)  # nobody tells: looked again

    def wait_until_healthy(self, within_s: float = WELL_S) -> None:
        """Until the engine's own health checks say so of all ten."""
        deadline_s = time.monotonic() + within_s
        while sick := {name: row["Status"] for name, row in self.rows().items() if "(healthy)" not in row["Status"]}:
            assert time.monotonic() < deadline_s, f"not healthy after {within_s} s: {sick}"
            time.sleep(0.1)  # nobody tells: looked again

    def make_master(self, name: str) -> None:
        if self.status()["current_master"] != name:
            answer = self.post("coordinator", "/switchover", {"to": name})
            assert (answer.status_code, answer.json()["current_master"]) == (200, name), answer.text

    def mend(self) -> None:
        """Undo what a test left behind that failed."""
        for name, row in self.rows().items():
            if row["State"] == "paused":
                self.container(name).unpause()
            if self.network_name not in row["NetworkSettings"]["Networks"]:
                self.connect(name)
        if self.trouble():
            self.compose("up", "-d", "--wait")
            self.wait_until_well()

    def keep_evidence(self, folder: Path) -> None:
        """All logs, and what the coordinator says of itself, if it does."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.log").write_text(self.compose("logs", "--no-color", "--timestamps"))
        (folder / "containers.json").write_text(json.dumps(self.rows(), indent=2))
        for path in ("/status", "/elections"):
            with contextlib.suppress(httpx.HTTPError):  # who does not answer is no reason to keep less
                (folder / f"{path[1:]}.json").write_text(self.get("coordinator", path).text)


@contextlib.contextmanager
def kept_engine(environment: dict[str, str]) -> Iterator[tuple[dict[str, str], int]]:
    """(How to reach an engine, the keeper's pipe.) Afterwards the project has no container and no volume left."""
    keeper = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("stack_keeper.py"))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        with keeper.stdout:
            said = json.loads(keeper.stdout.readline() or '{"failed": "the keeper of the stack ended"}')
        assert "failed" not in said, f"no engine: {said['failed']}"
        yield said["settings"], keeper.stdin.fileno()
    finally:
        keeper.stdin.close()
        ended = keeper.wait(KEEPER_S)
    assert ended == 0, "the stack was not taken down"


@contextlib.contextmanager
def project(environment: dict[str, str]) -> Iterator[Stack]:
    """A compose project that nothing was started of yet."""
    with kept_engine(environment) as (settings, keeper_fd):
        environment = {**environment, **settings}
        with contextlib.closing(docker.from_env(environment=environment, timeout=60)) as client:
            yield Stack(environment, keeper_fd, client)


@contextlib.contextmanager
def private_stack() -> Iterator[Stack]:
    """The stack, up and taking writes; gone afterwards, with its data. Its images stay, and so does what an engine of our own
    has built. Without an engine this fails, and says why there is none."""
    with project({**DEFAULTS, **os.environ}) as stack:
        stack.prepare()
        stack.figures.append(f"up, to the first write: {stack.up():.1f} s")
        yield stack
