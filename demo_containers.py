"""The same cluster in the demo's hands, as the ten containers of docker-compose.yml, by the commands that a user has.

The compose project is the demo's own, and so are the ports: a stack that somebody has running is never touched, and the volumes
that go at the end are those that the demo made. `.env` counts as always, but for what would lead elsewhere: other compose files,
tokens, ports, addresses.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cluster_layout import BY_NAME, HOST, TOKENS
from demo_cluster import COMMAND_S, UP_S, Say, run_command
from runner_console import CannotRun

PROJECT = "distributed-mysql-demo"
FILES = ("-f", "docker-compose.yml", "-f", "docker-compose.override.yml")
PORT_SETTINGS = {
    "coordinator": "COORDINATOR_PORT",
    "timestamp-1": "TIMESTAMP_1_PORT",
    "timestamp-2": "TIMESTAMP_2_PORT",
    "metrics-collector": "METRICS_PORT",
    "cabinet-service": "CABINET_PORT",
    "seer-service": "SEER_PORT",
}
WORDS = {"freeze": "pause", "thaw": "unpause"}
"""What compose calls it, where that is something else."""
# over the node's own socket, where root is let in; the password is the container's own, and stands in no command line
AS_ROOT = 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" exec mysql --user=root --batch --skip-column-names'


class ContainerCluster:
    """Ten containers."""

    made_of = "ten containers"

    def __init__(self, port_offset: int) -> None:
        self._ports = {name: BY_NAME[name].base_port + port_offset for name in PORT_SETTINGS}
        self._environment = {
            **os.environ,
            # empty, not left out: .env would speak then
            **dict.fromkeys((*TOKENS, "ACCESS_OPEN"), ""),
            "BIND_ADDRESS": HOST,
            **{setting: str(self._ports[name]) for name, setting in PORT_SETTINGS.items()},
        }

    async def _compose(self, *argv: str, timeout_s: float = COMMAND_S, say: Say | None = None, text: str = "") -> str:
        return await self._run(["docker", "compose", "-p", PROJECT, *FILES, *argv], timeout_s, say, text)

    async def _run(
        self, argv: Sequence[str], timeout_s: float = COMMAND_S, say: Say | None = None, text: str = ""
    ) -> str:
        try:
            return await run_command(argv, self._environment, timeout_s, say, text)
        except FileNotFoundError:
            raise CannotRun("there is no `docker` here: `make demo` needs none.") from None

    def command(self, what: str, name: str) -> str:
        return f"docker compose -p {PROJECT} {WORDS.get(what, what)} {name}"

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self._ports[name]}"

    async def refuse_if_taken(self) -> None:
        volumes = ["docker", "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
        if await self._compose("ps", "--all", "--quiet") or await self._run(volumes):
            raise CannotRun(f"there is something of {PROJECT} already: `{self._down()}` removes it and its data.")

    async def up(self, say: Say) -> None:
        await self._compose("up", "--detach", "--build", "--wait", timeout_s=UP_S, say=say)

    async def kill(self, name: str) -> None:
        await self._compose("kill", name)

    async def start(self, name: str) -> None:
        await self._compose("start", name)

    async def freeze(self, name: str) -> None:
        await self._compose("pause", name)

    async def thaw(self, name: str) -> None:
        await self._compose("unpause", name)

    async def rows_on(self, node: str, sql: str) -> list[tuple[str, ...]]:
        answer = await self._compose("exec", "-T", node, "sh", "-c", AS_ROOT, text=sql)
        return [tuple(line.split("\t")) for line in answer.splitlines()]

    async def remove(self) -> None:
        await self._compose("down", "--volumes", "--timeout", "10")

    async def leave_evidence(self) -> str:
        await self._compose("stop")
        return f"its containers are stopped: `docker compose -p {PROJECT} logs`; `{self._down()}` removes them"

    def keep(self) -> str:
        return f"it goes on at {self.url('coordinator')}: `{self._down()}` ends it and removes its data"

    @staticmethod
    def _down() -> str:
        return f"docker compose -p {PROJECT} down --volumes"
