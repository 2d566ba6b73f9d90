"""What every system under test can be asked, whichever it is: where its door is, which processes it is, and to take a write.

A system is started afresh for every pass, from empty data, and is gone afterwards; only one runs at a time, because idle servers
too cost processor time and memory. All data is under one folder, so all systems write to the same disk.

Hard case: the bench itself is killed, maybe with a process of the system frozen. A keeper, in a session of its own, reads a pipe
whose other end only we hold, and kills whatever carries the folder's mark once that end is closed, however we went.
"""

import abc
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from load_generators import Protocol
from process_costs import wait_until_calm

from cluster_layout import ROOT
from local_process import find_processes
from mysql_server import version_of

KEEPER_END_S = 60.0
FILLED_ROWS = 10_000
"""loads/statements.lua knows it too."""
ROWS_A_STATEMENT = 500
INSERT = "INSERT INTO users (name, email) VALUES ('bench', 'bench@example.com')"
_KEEPER = """
import signal, sys
from pathlib import Path
from local_process import find_processes, send, wait_gone
sys.stdin.read()
while left := find_processes(Path(sys.argv[1])):
    for process in left:
        send(process, signal.SIGKILL)
    wait_gone(left, 5.0)
"""

Door = Callable[[], None]
"""One try to write, at one place where a client may try; raises if it is not acknowledged."""


class CannotDelay(Exception):
    """Nothing can be put between this system's servers; the message says why."""


class RunningSystem(abc.ABC):
    """It takes writes. `folder` is the mark of its processes."""

    protocol: Protocol
    port: int
    folder: Path

    @abc.abstractmethod
    def execute(self, sql: str) -> None:
        """One write, as a client sends it."""

    def group_of(self, process: str) -> str:
        """The share of the costs that a process belongs to."""
        return "servers"

    @abc.abstractmethod
    def server_pid(self, place: int) -> int:
        """Of a database server. 0 takes the writes."""

    def doors(self) -> Sequence[Door]:
        """Where a client tries when server 0 has failed."""
        raise NotImplementedError

    def wait_until_level(self) -> None:
        """Nobody is behind any more, as far as that can be told."""
        wait_until_calm(self.folder)

    @contextlib.contextmanager
    def delayed(self, delay_ms: float) -> Iterator[None]:
        """Meanwhile each byte to and from server 1 comes so much later."""
        raise CannotDelay("no proxy can stand between its servers")
        yield


@dataclass(frozen=True)
class SystemKind:
    """One of the systems to be compared."""

    name: str
    title: str
    promise: str
    """What an acknowledged write is, and what a read sees."""
    start: Callable[[Path, bool], AbstractContextManager[RunningSystem]]
    """In this folder; True: with a proxy before server 1, so that `delayed` can be asked for."""
    version: Callable[[], str]
    objection: Callable[[], str | None] = lambda: None
    """Why it cannot run on this machine."""
    works: tuple[str, ...] = ("insert", "update", "read", "mix", "batch")
    has_replicas: bool = True
    fails_over: bool = True
    has_table: bool = True


def short_version(server: str | Path) -> str:
    """What the server says of itself, without where it is."""
    return version_of(server).partition("Ver ")[2].partition(" for ")[0] or "unknown"


def fill(system: RunningSystem) -> None:
    """Rows 1 to FILLED_ROWS, for work by key. The table must be empty: all systems give its ids from 1 on, without gaps."""
    for first in range(1, FILLED_ROWS + 1, ROWS_A_STATEMENT):
        numbers = range(first, first + ROWS_A_STATEMENT)
        rows = ", ".join(f"({number}, 'u{number}', 'u{number}@example.com')" for number in numbers)
        system.execute(f"INSERT INTO users (id, name, email) VALUES {rows}")


def emptied(folder: Path) -> Path:
    """The folder, without what an earlier run left in it."""
    folder = folder.resolve()
    left = find_processes(folder)
    assert left == [], f"{folder} is in use by pid {left[0].pid}"
    shutil.rmtree(folder, ignore_errors=True)  # there may be none
    folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def kept_folder(folder: Path) -> Iterator[Path]:
    """An empty folder; whatever was started with its mark is gone afterwards. Logs stay, data folders do not."""
    folder = emptied(folder)
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield folder
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        status, left = keeper.wait(KEEPER_END_S), find_processes(folder)
        assert (status, left) == (0, []), f"what ran in {folder} was not ended"
        shutil.rmtree(folder / "data", ignore_errors=True)  # there may be none, and room is all that is wanted
