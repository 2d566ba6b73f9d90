"""The simulated power cut takes away what was not flushed, and nothing else: so it sees what `kill -9` cannot.

With innodb_flush_log_at_trx_commit = 2 MySQL writes each commit to the kernel and flushes now and then. A killed server loses
nothing by it, because the kernel lives on; a server without power loses what it acknowledged. With 1, which every node is
held to (coordinator/adapters/audit.py), nothing is lost in either case.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bare_mysql import BareMySQL
from fault_cluster import new_data_folder
from loop_disk import LoopDisk, loop_disks

LOAD_S = 1.5
"""Short, lest the kernel writes back by itself what it was not asked to flush."""
DISK_BYTES = 1 << 30


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disks({"bare": tmp_path / "data"}, tmp_path / "images", DISK_BYTES, tmp_path / "no-cluster") as disks:
        new_data_folder(disks["bare"])
        yield disks["bare"]


def acknowledged_rows_lost(disk: LoopDisk, work: Path, flush_setting: int, end: Callable[[BareMySQL], None]) -> int:
    """Insert for a while, end the server in this way, start it again and count: how many of the rows are gone?"""
    # its own flush once a second would make the loss a matter of luck
    options = (f"--innodb-flush-log-at-trx-commit={flush_setting}", "--innodb-flush-log-at-timeout=60")
    server = BareMySQL(disk, work, *options)
    try:
        server.start()
        acknowledged, deadline_s = 0, time.monotonic() + LOAD_S
        with server.connected() as cursor:
            while time.monotonic() < deadline_s:
                cursor.execute(f"INSERT INTO distributed_db.registers (id, value) VALUES ({acknowledged}, 0)")
                acknowledged += 1
        end(server)
        server.start()
        with server.connected() as cursor:
            cursor.execute("SELECT COUNT(*) FROM distributed_db.registers")
            ((found,),) = cursor.fetchall()
    finally:
        server.kill()
    assert acknowledged > 100, "too few rows to say anything"
    print(f"flush setting {flush_setting}: {acknowledged - found} of {acknowledged} acknowledged rows lost")
    return int(acknowledged - found)


def test_a_power_cut_loses_acknowledged_rows_of_a_server_that_does_not_flush_each_commit(
    disk: LoopDisk, tmp_path: Path
) -> None:
    assert acknowledged_rows_lost(disk, tmp_path, 2, BareMySQL.lose_power) > 0


def test_kill_9_of_the_same_server_loses_none_and_so_proves_nothing(disk: LoopDisk, tmp_path: Path) -> None:
    assert acknowledged_rows_lost(disk, tmp_path, 2, BareMySQL.kill) == 0


def test_a_power_cut_loses_nothing_of_a_server_with_a_nodes_settings(disk: LoopDisk, tmp_path: Path) -> None:
    assert acknowledged_rows_lost(disk, tmp_path, 1, BareMySQL.lose_power) == 0
