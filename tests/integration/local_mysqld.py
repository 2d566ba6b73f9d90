"""The server that tests run: the one that `make up` would, unpacked by whoever comes first."""

from pathlib import Path

from cluster import CACHE
from mysql_server import find_mysqld
from runner_console import Progress, locked


def local_mysqld() -> Path:
    with locked(CACHE / "lock", Progress()):
        return find_mysqld(CACHE, lambda _: None)
