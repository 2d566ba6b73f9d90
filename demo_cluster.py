"""A cluster in the demo's hands, made of processes of this machine, by the commands that a user has (cluster.py).

The demo ends with the data removed, so it never takes a cluster that somebody else made: where something of one is already, it
refuses and says how to remove it. (What an earlier demo left that was killed is such a thing too.) A cluster in containers:
demo_containers.py.

Hard case: Ctrl-C, at any moment. A terminal sends it to every process in front of it, so each command gets a session of its own
and hears of it from us alone: what starts is interrupted, what takes the cluster down is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import asyncmy
from asyncmy.errors import MySQLError

from cluster_layout import BY_NAME, CERTIFICATES, HOST, MEMBERS, ROOT, TOKENS
from local_process import find_processes, port_is_free
from runner_console import CannotRun

COMMAND_S, UP_S, INTERRUPT_S = 120.0, 1800.0, 20.0
"""The first start may download and build."""
ANSWER_S = 60
OFFSETS = range(500, 5_000, 100)
TAIL_LINES = 15
Say = Callable[[str], None]


class DemoCluster(Protocol):
    """Commands and questions. Every command returns when its effect is there; what cannot be done raises CannotRun."""

    made_of: str

    def command(self, what: str, name: str) -> str:
        """What a person types to have the same effect: `what` is kill, start, freeze or thaw."""

    def url(self, name: str) -> str: ...

    async def refuse_if_taken(self) -> None:
        """Raises CannotRun where something of a cluster is there already. Until it has not, nothing may be removed."""

    async def up(self, say: Say) -> None:
        """Returns when a write can be taken. `say` hears what is being done meanwhile."""

    async def kill(self, name: str) -> None: ...

    async def start(self, name: str) -> None: ...

    async def freeze(self, name: str) -> None: ...

    async def thaw(self, name: str) -> None: ...

    async def rows_on(self, node: str, sql: str) -> list[tuple[str, ...]]:
        """Run one statement on one node itself as MySQL's root, past the coordinator. Every value is a text."""

    async def remove(self) -> None:
        """End everything, and remove the data."""

    async def leave_evidence(self) -> str:
        """End everything, but keep data and logs; a sentence that says how to look at them."""

    def keep(self) -> str:
        """End nothing; a sentence that says how to do it later."""


async def run_command(
    argv: Sequence[str], environment: Mapping[str, str], timeout_s: float, say: Say | None = None, text: str = ""
) -> str:
    """What the command wrote to its standard output. `say` hears each line of it and of its errors; `text` is what it reads.
    One that fails, or takes too long, raises CannotRun with the end of what it said."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=ROOT,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=2**20,
    )
    try:
        async with asyncio.timeout(timeout_s):
            said, errors, _ = await asyncio.gather(
                _lines(process.stdout, say), _lines(process.stderr, say), _write(process.stdin, text)
            )
            status = await process.wait()
    except TimeoutError:
        await _interrupt(process)
        raise CannotRun(f"`{' '.join(argv)}` did not end within {timeout_s:.0f} s.") from None
    except asyncio.CancelledError:
        await _interrupt(process)
        raise
    if status != 0:
        tail = "\n".join([*said, *errors][-TAIL_LINES:])
        raise CannotRun(f"`{' '.join(argv)}` ended with {status}:\n{tail}")
    return "\n".join(said)


async def _lines(stream: asyncio.StreamReader | None, say: Say | None) -> list[str]:
    assert stream is not None
    lines = []
    while line := await stream.readline():
        lines.append(line.decode(errors="replace").rstrip())
        if say is not None and lines[-1]:
            say(lines[-1])
    return lines


async def _write(stream: asyncio.StreamWriter | None, text: str) -> None:
    assert stream is not None
    stream.write(text.encode())
    stream.close()
    await stream.wait_closed()


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    """End a command and what it has started in its session, as Ctrl-C would; a cluster's processes have others."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            async with asyncio.timeout(INTERRUPT_S):
                await process.wait()
        except ProcessLookupError:
            return  # it has ended by itself
        except TimeoutError:
            continue  # it did not heed SIGINT: SIGKILL is next
        return


def free_port_offset() -> int:
    """One at which nobody listens at any of the cluster's ports."""
    for offset in OFFSETS:
        if all(port_is_free(member.base_port + offset) for member in MEMBERS):
            return offset
    raise CannotRun(f"no PORT_OFFSET from {OFFSETS.start} to {OFFSETS.stop} is free: set one.")


class LocalCluster:
    """Ten processes on this machine, in a folder of their own."""

    made_of = "ten processes on this machine"

    def __init__(self, folder: Path, port_offset: int) -> None:
        self._folder = folder
        self._offset = port_offset
        own = {"CLUSTER_DIR": str(folder), "PORT_OFFSET": str(port_offset)}
        # tokens and certificates are of somebody's own cluster; this one is on loopback and asks for none
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in (*TOKENS, *CERTIFICATES)},
            **own,
        }

    def _make(self, target: str) -> str:
        return f"make {target} CLUSTER_DIR={os.path.relpath(self._folder)}"

    async def _run(self, *argv: str, timeout_s: float = COMMAND_S, say: Say | None = None) -> str:
        return await run_command([sys.executable, "cluster.py", *argv], self._environment, timeout_s, say)

    def command(self, what: str, name: str) -> str:
        return self._make(f"{what} NODE={name}")

    def url(self, name: str) -> str:
        return f"http://{HOST}:{BY_NAME[name].base_port + self._offset}"

    async def refuse_if_taken(self) -> None:
        if find_processes(self._folder) or (self._folder / "cluster.json").exists():
            taken = f"there is a cluster in {self._folder} already"
            raise CannotRun(f"{taken}: `{self._make('clean')}` removes it and its data.")

    async def up(self, say: Say) -> None:
        await self._run("up", timeout_s=UP_S, say=say)

    async def kill(self, name: str) -> None:
        await self._run("kill", name)

    async def start(self, name: str) -> None:
        await self._run("start", name)

    async def freeze(self, name: str) -> None:
        await self._run("freeze", name)

    async def thaw(self, name: str) -> None:
        await self._run("thaw", name)

    async def rows_on(self, node: str, sql: str) -> list[tuple[str, ...]]:
        record = json.loads((self._folder / "cluster.json").read_text())
        socket = next(row["socket"] for row in record["processes"] if row["name"] == node)
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                asyncmy.connect(unix_socket=socket, user="root", autocommit=True) as connection,
                connection.cursor() as cursor,
            ):
                await cursor.execute(sql)
                return [tuple(map(str, row)) for row in await cursor.fetchall()]
        except (OSError, TimeoutError, MySQLError) as error:
            raise CannotRun(f"{node} does not answer root: {error!r}") from error

    async def remove(self) -> None:
        await self._run("clean")

    async def leave_evidence(self) -> str:
        await self._run("down")
        return f"its logs and data are in {self._folder}: `{self._make('logs')}`; `{self._make('clean')}` removes them"

    def keep(self) -> str:
        return f"it goes on at {self.url('coordinator')}: `{self._make('clean')}` ends it and removes its data"
