"""`make demo` as a process, on real servers: the whole story, a promise that is broken under it, and Ctrl-C in its middle."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from free_ports import free_port_offset
from root_connection import connect_as_root

from cluster_layout import NODES, ROOT, socket_folder
from local_process import find_processes

pytestmark = pytest.mark.alone

END_S = 120.0
LOST = "demo-100"
"""Acknowledged in the first scene, and not the first one, which the demo itself damages."""
SENTENCES = (
    "starting ten processes on this machine",
    "1/6 Writes flow",
    r"acknowledged, \d+ a second, p50 \d+ ms, none failed; the master is mysql-master",
    "2/6 The master is killed with kill -9",
    r"\$ make kill NODE=mysql-master CLUSTER_DIR=",
    "GET /elections: .*mysql-master",
    r"\d ms  fencing nodes",
    r"\d ms  in all, epoch 2",
    "ranked: replica-",
    r"passed over: mysql-master",
    r"replica-\d is the master\. The clients had no answer for \d+ ms; their requests were held, none failed",
    "3/6 The old master comes back",
    "GET /status: .*→ level",
    r"mysql-master is a replica, and level \d+\.\d s after it answered",
    "4/6 A replica is frozen",
    r"█.* in the quorum",
    r"\d s later it cannot be ranked, and the quorum is \S+ and \S+",
    r"writes were acknowledged meanwhile, the longest pause was \d+ ms",
    "5/6 A row is damaged behind the cluster's back",
    r"rows on 4 nodes in \d+ ms: users, id = \d+ is on \S+ not what it is on the others",
    r"was rebuilt from another node's data in \d+\.\d s: .*copying.*→ level",
    "POST /verify again: .*: equal",
    "6/6 The count",
    *(rf"found on {node.name} +[\d,]+" for node in NODES),
    r"lost +0",
    r"duplicates +0",
    r"failed requests +0",
    r"failover time +\d+ ms; the election took \d+ ms of it",
    "Everything was as promised.",
)


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The demo as a process. It takes its cluster down by itself, also when the test fails, or is killed."""
    process = subprocess.Popen(
        [sys.executable, "demo.py", "--fast", *options],
        cwd=ROOT,
        env={**os.environ, "CLUSTER_DIR": str(folder), "PORT_OFFSET": str(free_port_offset())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=END_S)
    assert find_processes(folder) == []


def read_until_end(
    process: "subprocess.Popen[str]", hear: Callable[[str], None] = lambda line: None
) -> tuple[int, str]:
    """Exit status, and all that was said. `hear` is called with each line as it comes."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        hear(line)
    return process.wait(END_S), "".join(said)


def test_the_demo_tells_the_whole_story_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with running_demo(folder) as process:
        status, said = read_until_end(process)
    assert status == 0, said
    rest = said
    for sentence in SENTENCES:
        found = re.search(sentence, rest)
        assert found, f"{sentence!r} is not there, or not in its place:\n{said}"
        rest = rest[found.end() :]
    acknowledged = re.search(r"acknowledged +([\d,]+) writes of 8 clients", said)
    assert acknowledged
    assert re.findall(r"found on \S+ +([\d,]+)", said) == [acknowledged[1]] * len(NODES)
    assert "\x1b" not in said
    assert not folder.exists()


def test_an_acknowledged_row_that_vanishes_on_every_node_is_counted_as_lost(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    def hear(line: str) -> None:
        if "mysql-master is a replica, and level" in line:
            for node in NODES:
                with connect_as_root(socket_folder(folder) / f"{node.name}.sock") as root, root.cursor() as cursor:
                    assert cursor.execute(f"DELETE FROM distributed_db.users WHERE email = '{LOST}'") == 1

    with running_demo(folder) as process:
        status, said = read_until_end(process, hear)
    assert status == 1, said
    assert re.search(r"lost +1\n", said), said
    assert "6/6 The count: expected every acknowledged write once on every node; seen: " in said
    for node in NODES:
        assert re.search(rf"{node.name}: 1 acknowledged writes that it lacks: {LOST} \(timestamp \d+\)", said), said
    # what can be looked at afterwards
    assert f"its logs and data are in {folder}" in said
    assert (folder / "log" / "coordinator.log").stat().st_size
    refused = subprocess.run(
        [sys.executable, "demo.py"],
        cwd=ROOT,
        env={**os.environ, "CLUSTER_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is a cluster in" in refused.stderr


def test_ctrl_c_takes_the_cluster_down(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    def hear(line: str) -> None:
        if "2/6" in line:
            process.send_signal(signal.SIGINT)

    with running_demo(folder) as process:
        status, said = read_until_end(process, hear)
    assert status == 130, said
    assert "Interrupted." in said
    assert not folder.exists()
