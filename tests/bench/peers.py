"""MySQL as its users know it: one server, semisynchronous replication, Group Replication.

Each adds to the project's own options (mysql_system.py) what its replication needs, and leaves the rest at its defaults. A
cluster has four servers, as the project's has.

Hard case: a peer that would be measured before it is one. Each start ends when the source counts its three replicas, or the group
its four members.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from free_ports import free_ports
from local_mysqld import local_mysqld
from mysql_system import servers
from node_lines import node_lines
from systems import RunningSystem, SystemKind, short_version

from cluster_layout import HOST, NODES

GROUP_PORTS_FROM = 28_000
GROUP = "8a94f357-aab4-11df-86ab-c80aa9420000"
ONLINE_MEMBERS = "performance_schema.replication_group_members WHERE member_state = 'ONLINE'"
BINLOG = ("--log-bin=binlog", "--sync-binlog=1", "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
SOURCE = (
    *BINLOG,
    "--plugin-load-add=semisync_source.so",
    "--loose-rpl-semi-sync-source-enabled=1",
    "--loose-rpl-semi-sync-source-wait-for-replica-count=2",
    # it would go on without its replicas after that, which nobody else may
    "--loose-rpl-semi-sync-source-timeout=3600000",
)
REPLICA = (*BINLOG, "--plugin-load-add=semisync_replica.so", "--loose-rpl-semi-sync-replica-enabled=1")


@contextlib.contextmanager
def single(folder: Path, with_proxy: bool) -> Iterator[RunningSystem]:
    with servers(folder, [()]) as system:
        yield system


def semisync(*replica_options: str) -> Callable[[Path, bool], contextlib.AbstractContextManager[RunningSystem]]:
    @contextlib.contextmanager
    def start(folder: Path, with_proxy: bool) -> Iterator[RunningSystem]:
        replica = [*REPLICA, *replica_options]
        with contextlib.ExitStack() as stack:
            system = stack.enter_context(servers(folder, [SOURCE, replica, replica, replica]))
            ports = [system.port] * len(NODES)
            if with_proxy:
                # before the source, on the way of one replica
                system.lines = stack.enter_context(node_lines({NODES[1].name: system.port}))
                ports[1] = system.lines.ports[NODES[1].name]
            for place in range(1, len(NODES)):
                system.root(
                    place,
                    f"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{HOST}', SOURCE_PORT = {ports[place]}, SOURCE_USER = 'repl',"
                    " SOURCE_PASSWORD = 'repl', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
                    "START REPLICA",
                    "SET GLOBAL super_read_only = ON",
                )
            clients = "SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'"
            system.wait_for(0, clients, lambda rows: rows[0][1] == str(len(NODES) - 1))
            yield system

    return start


def group(*options: str) -> Callable[[Path, bool], contextlib.AbstractContextManager[RunningSystem]]:
    @contextlib.contextmanager
    def start(folder: Path, with_proxy: bool) -> Iterator[RunningSystem]:
        addresses = [f"{HOST}:{port}" for port in islice(free_ports(GROUP_PORTS_FROM), len(NODES))]
        with servers(folder, [[*group_options(address, addresses), *options] for address in addresses]) as system:
            system.root(0, "SET GLOBAL group_replication_bootstrap_group = ON", "START GROUP_REPLICATION")
            system.root(0, "SET GLOBAL group_replication_bootstrap_group = OFF")
            for place in range(1, len(NODES)):
                # one after the other: each is a change of the group's view
                system.root(place, "START GROUP_REPLICATION USER = 'repl', PASSWORD = 'repl'")
                system.wait_for(
                    0, f"SELECT COUNT(*) = {place + 1} FROM {ONLINE_MEMBERS}", lambda rows: bool(rows[0][0])
                )
            yield system

    return start


def group_options(address: str, seeds: Sequence[str]) -> list[str]:
    named = {
        "group-name": GROUP,
        "start-on-boot": "OFF",
        "bootstrap-group": "OFF",
        "local-address": address,
        "group-seeds": ",".join(seeds),
        "recovery-get-public-key": "ON",
    }
    return [
        *BINLOG,
        f"--report-host={HOST}",
        "--plugin-load-add=group_replication.so",
        *(f"--loose-group-replication-{name}={value}" for name, value in named.items()),
        # its members are seen there; without instruments it measures nothing
        "--performance-schema=ON",
        "--performance-schema-instrument=%=OFF",
    ]


def _version() -> str:
    return short_version(local_mysqld())


SINGLE = SystemKind(
    name="single",
    title="one unreplicated MySQL",
    promise="a write is on one disk",
    start=single,
    version=_version,
    has_replicas=False,
    fails_over=False,
)
SEMISYNC = SystemKind(
    name="semisync",
    title="semisync, 2 acks",
    promise="a write is on the source's disk and received by two of three replicas, which flush at their default "
    "(sync_relay_log 10000: not before they acknowledge); reads at the source",
    start=semisync(),
    version=_version,
    fails_over=False,
)
SEMISYNC_FLUSHED = SystemKind(
    name="semisync-flushed",
    title="semisync, 2 acks, flushed",
    promise="a write is on the disks of the source and of two of three replicas (sync_relay_log 1); reads at the source",
    start=semisync("--sync-relay-log=1"),
    version=_version,
    fails_over=False,
)
GROUP_REPLICATION = SystemKind(
    name="gr",
    title="Group Replication",
    promise="a write is on the primary's disk and in the memory of two of the other three; single primary, defaults; reads "
    "at the primary",
    start=group(),
    version=_version,
)
GROUP_REPLICATION_HASTY = SystemKind(
    name="gr-hasty",
    title="Group Replication, shortest time-out",
    promise="the same with group_replication_member_expel_timeout = 0, the shortest that it offers",
    start=group("--loose-group-replication-member-expel-timeout=0"),
    version=_version,
)
