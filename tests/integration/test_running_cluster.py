"""The local runner with real processes: what it starts, what it says of it, and that nothing of it stays behind."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from cluster_handle import ClusterHandle, private_cluster
from waiting import wait_until

from cluster_layout import MEMBERS, NODES, ROOT, SERVICES
from local_process import SUPERVISOR, find_processes, http_health, mysql_answers

PAIR = ("replica-1", "replica-2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """Two nodes and no services: all that most of these tests need."""
    with private_cluster(tmp_path_factory.mktemp("pair"), only=PAIR) as handle:
        yield handle


# --- nodes


def test_the_owner_is_root_over_the_socket_and_nobody_is_over_tcp(pair: ClusterHandle) -> None:
    assert pair.rows_on("replica-1", "SELECT current_user()") == [("root@localhost",)]
    assert stat.S_IMODE(pair.node("replica-1").socket.parent.stat().st_mode) == 0o700
    with pytest.raises(pymysql.err.OperationalError) as refused:
        pymysql.connect(host="127.0.0.1", port=pair.port("replica-1"), user="root")
    assert refused.value.args[0] == 1045


def test_the_accounts_of_init_sql_log_in_with_the_clusters_passwords(pair: ClusterHandle) -> None:
    lines = (pair.folder / "secrets.env").read_text().splitlines()
    passwords = dict(line.split("=", 1) for line in lines)
    for user in ("coordinator", "reader", "collector"):
        password = passwords[f"{user.upper()}_DB_PASSWORD"]
        pymysql.connect(host="127.0.0.1", port=pair.port("replica-2"), user=user, password=password).close()


def test_nodes_copied_from_one_template_are_different_servers_with_the_settings_of_the_option_file(
    pair: ClusterHandle,
) -> None:
    ask = "SELECT @@server_uuid, @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@log_bin, @@bind_address"
    first, second = pair.rows_on("replica-1", ask)[0], pair.rows_on("replica-2", ask)[0]
    assert first[0] != second[0]
    assert first[1:] == second[1:] == (1, "ON", 0, "127.0.0.1")


def test_a_killed_node_comes_back_with_its_rows_although_its_sockets_lock_names_a_living_process(
    pair: ClusterHandle,
) -> None:
    pair.rows_on("replica-1", "INSERT INTO distributed_db.users (name, email) VALUES ('Ann', 'ann@example.com')")
    before = pair.pids()["replica-1"]
    pair.kill("replica-1")
    assert pair.pids()["replica-1"] is None
    # what the kernel does when it gives the old pid to somebody else
    (pair.node("replica-1").socket.parent / "replica-1.sock.lock").write_text(f"{os.getpid()}\n")
    pair.start("replica-1")
    assert pair.pids()["replica-1"] not in (None, before)
    assert pair.rows_on("replica-1", "SELECT name FROM distributed_db.users") == [("Ann",)]


def test_a_node_that_lost_its_data_starts_empty(pair: ClusterHandle) -> None:
    pair.stop("replica-2")
    data = pair.node("replica-2").data
    data.rename(data.with_name("lost"))
    pair.start("replica-2")
    assert pair.rows_on("replica-2", "SELECT count(*) FROM distributed_db.users") == [(0,)]


def test_a_frozen_node_runs_but_says_nothing_until_it_is_thawed(pair: ClusterHandle) -> None:
    before = pair.pids()["replica-1"]
    pair.freeze("replica-1")
    try:
        assert not mysql_answers(pair.port("replica-1"), timeout_s=0.5)
        assert "frozen" in next(line for line in pair.command("status").splitlines() if line.startswith("replica-1 "))
        with pytest.raises(AssertionError, match="make thaw NODE=replica-1"):
            pair.start("replica-1")
    finally:
        pair.thaw("replica-1")
    assert mysql_answers(pair.port("replica-1"))
    assert pair.pids()["replica-1"] == before


def test_a_node_that_cannot_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with private_cluster(tmp_path, only=["replica-3"]) as one:
        one.stop("replica-3")
        (one.node("replica-3").data / "mysql.ibd").write_bytes(b"")
        with pytest.raises(AssertionError, match=r"replica-3 has ended\. The end of .*\n(.*\n)*.*\[ERROR\]"):
            one.start("replica-3")


def test_a_server_that_crashes_is_started_again_and_one_that_is_killed_is_not(tmp_path: Path) -> None:
    """Seen: a mysqld that freed a bad pointer while it ended for its restart after a full copy, and stayed away."""

    def servers() -> set[int]:
        # what the server's own start script calls carries the mark too
        return {
            process.pid for process in find_processes(tmp_path) if process.name == "replica-1" and process.leads_session
        }

    with private_cluster(tmp_path, only=["replica-1"]) as one:
        port = one.port("replica-1")
        (crashed,) = servers()
        os.kill(crashed, signal.SIGSEGV)
        wait_until(lambda: bool(servers() - {crashed}) and mysql_answers(port), 20)
        assert "is started again" in (tmp_path / "log" / "replica-1.log").read_text()
        (again,) = servers()
        os.kill(again, signal.SIGKILL)
        wait_until(lambda: not find_processes(tmp_path), 10)
        assert not mysql_answers(port)


def test_a_port_that_is_taken_is_said_before_anything_starts(pair: ClusterHandle, tmp_path: Path) -> None:
    other = ClusterHandle(tmp_path, pair.port_offset)
    with pytest.raises(AssertionError, match=f"port {pair.port('replica-1')} is taken"):
        other.start("replica-1")
    assert find_processes(tmp_path) == []


def test_down_ends_frozen_nodes_too_and_leaves_no_process_and_no_pid_file(tmp_path: Path) -> None:
    with private_cluster(tmp_path, only=PAIR) as handle:
        handle.freeze("replica-1")
        handle.down()
        assert find_processes(tmp_path) == []
        assert list((tmp_path / "run").glob("*.pid")) == []
        assert set(handle.pids().values()) == {None}


def test_a_test_run_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\nsys.path.insert(1, 'tests/integration')\nfrom cluster_handle import private_cluster\n"
        "with private_cluster(pathlib.Path(sys.argv[1]), only=['replica-1']):\n"
        "    print('up', flush=True)\n    time.sleep(600)\n"  # until it is killed
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        names = [process.name for process in find_processes(tmp_path)]
        # before anything is asserted: leaving the block waits for it
        run.send_signal(signal.SIGKILL)
    assert sorted(names) == ["replica-1", "replica-1" + SUPERVISOR]
    wait_until(lambda: not find_processes(tmp_path), 60)


# --- the whole cluster


def test_ten_processes_run_and_the_record_names_each_of_them(cluster: ClusterHandle) -> None:
    found = {process.name: process.pid for process in find_processes(cluster.folder) if process.leads_session}
    running = {name: pid for name, pid in found.items() if not name.endswith(SUPERVISOR)}
    assert cluster.pids() == running
    assert set(found) - set(running) == {node.name + SUPERVISOR for node in NODES}
    assert set(running) == {member.name for member in MEMBERS}
    for member in MEMBERS:
        row = cluster.record(member.name)
        assert (row["kind"], row["host"], row["port"]) == (member.kind, "127.0.0.1", cluster.port(member.name))
        assert Path(row["log"]).exists()
        assert (cluster.folder / "run" / f"{member.name}.pid").read_text() == f"{row['pid']}\n"
    for node in NODES:
        assert cluster.node(node.name).socket.is_socket()
        assert cluster.node(node.name).data.is_dir()


def test_every_service_answers_health_and_listens_on_loopback_alone(cluster: ClusterHandle) -> None:
    for service in SERVICES:
        assert cluster.get(service.name, "/health").status_code == 200, service.name
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for member in MEMBERS:
        local = [line.split()[1] for line in listening.splitlines() if f":{cluster.port(member.name):04X} " in line]
        addresses = {entry.rpartition(":")[0] for entry in local if entry.endswith(f":{cluster.port(member.name):04X}")}
        assert addresses == {"0100007F"}, member.name


def test_behind_every_port_is_the_service_that_the_name_promises(cluster: ClusterHandle) -> None:
    """A 200 from /health proves little: all services have that path, so a neighbour could answer it."""
    assert cluster.get("coordinator", "/status").json()["current_master"] in {node.name for node in NODES}
    assert cluster.get("timestamp-1", "/timestamp").json()["timestamp"] % 2 == 1
    assert cluster.get("timestamp-2", "/timestamp").json()["timestamp"] % 2 == 0
    assert cluster.get("metrics-collector", "/metrics/replica-1").status_code == 200
    # asked in the wrong way, each knows its own path (405) and not the other's (404)
    assert cluster.get("cabinet-service", "/select-quorum").status_code == 405
    assert cluster.get("cabinet-service", "/elect-leader").status_code == 404
    assert cluster.get("seer-service", "/elect-leader").status_code == 405
    assert cluster.get("seer-service", "/select-quorum").status_code == 404


def test_up_again_starts_nothing_and_is_quick(cluster: ClusterHandle) -> None:
    before, began_s = cluster.pids(), time.monotonic()
    cluster.up()
    assert time.monotonic() - began_s < 15
    assert cluster.pids() == before


def test_up_starts_only_what_is_missing(cluster: ClusterHandle) -> None:
    before = cluster.pids()
    cluster.kill("seer-service", "timestamp-1")
    assert http_health(cluster.port("seer-service")) is None
    cluster.up()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"seer-service", "timestamp-1"}
    assert None not in after.values()


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
def test_a_service_is_frozen_thawed_killed_and_started_like_a_node(cluster: ClusterHandle, name: str) -> None:
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(cluster.up)
        cluster.freeze(name)
        assert http_health(cluster.port(name), timeout_s=0.5) is None
        cluster.thaw(name)
        assert http_health(cluster.port(name), timeout_s=5.0) is not None
        cluster.kill(name)
        assert cluster.pids()[name] is None
        cluster.start(name)
        assert http_health(cluster.port(name), timeout_s=5.0) is not None
