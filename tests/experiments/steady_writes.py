"""Clients that insert row after row, and write down when each was acknowledged: the load of every experiment.

A closed loop: each client sends its next write when the last one was answered, so so many clients are under way at a time, and
a slow cluster is asked less. It runs in a thread with an event loop of its own, so that whoever breaks things meanwhile can wait.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from recording_client import Connection
from write_figures import Write

INSERT = "INSERT INTO users (name, email) VALUES ('experiment', 'experiment@example.com')"
REFUSED_PAUSE_S = 0.05


class SteadyWrites:
    """What the clients were told so far."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._clients = clients
        self._stopped = False
        self.acknowledged: list[Write] = []
        self.refused = 0
        """Answers that are no success, and connections that broke before there was one."""

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    def stop(self) -> None:
        self._stopped = True

    def goes_on_after(self, moment_ns: int) -> bool:
        """Whether a write was acknowledged that was sent after it: not one whose answer was on its way."""
        return any(each.answered_ns - each.took_ns > moment_ns for each in self.acknowledged[-50:])

    async def _client(self) -> None:
        connection = Connection(self._port)
        while not self._stopped:
            sent_ns = time.monotonic_ns()
            status, body = await connection.query(INSERT)
            answered_ns = time.monotonic_ns()
            if status == 200:
                self.acknowledged.append(Write(answered_ns, answered_ns - sent_ns, body["timestamp"]))
            else:
                self.refused += 1
                await asyncio.sleep(REFUSED_PAUSE_S)  # not to ask for the same refusal all the time
        connection.close()


@contextlib.contextmanager
def steady_writes(port: int, clients: int) -> Iterator[SteadyWrites]:
    """Clients write meanwhile; every write that they began has been answered afterwards."""
    writes = SteadyWrites(port, clients)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, writes.run())
        try:
            yield writes
        finally:
            writes.stop()
            running.result()
