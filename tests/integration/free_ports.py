"""Ports that nobody listens at. Test processes that run side by side take none of each other's: each has its own share of them.

All below 32768, where the kernel takes clients' own ports from.
"""

import os
from collections.abc import Iterable, Iterator

from cluster_layout import MEMBERS
from local_process import port_is_free

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
OFFSETS = range(10_000, 19_000, 100)
"""Of a whole cluster's ports."""


def free_ports(first: int, last: int = 32_767) -> Iterator[int]:
    """From `first` on, upwards."""
    return filter(port_is_free, range(first + WORKER, last + 1, WORKERS))


def free_port_offset() -> int:
    """An offset at which all ten ports of a cluster are free. Test runs that begin at the same moment look elsewhere first."""
    ours = list(OFFSETS[WORKER::WORKERS])
    start = os.getpid() % len(ours)
    return next(filter(all_are_free, ours[start:] + ours[:start]))


def all_are_free(offset: int) -> bool:
    ports: Iterable[int] = (member.base_port + offset for member in MEMBERS)
    return all(port_is_free(port) for port in ports)
