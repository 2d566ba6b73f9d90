"""The disks do what their faults say, and nothing of them is left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_disk import LoopDisk, NoDisks, loop_disks
from waiting import wait_until

from cluster_layout import ROOT

DISK_BYTES = 256 << 20
GONE_S = 30.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disks({"one": tmp_path / "one"}, tmp_path / "images", DISK_BYTES, tmp_path / "no-cluster") as disks:
        yield disks["one"]


def write(path: Path, data: bytes, *, flush: bool) -> None:
    with path.open("wb") as file:
        file.write(data)
        if flush:
            file.flush()
            os.fsync(file.fileno())


def test_a_power_cut_keeps_what_was_flushed_and_nothing_else(disk: LoopDisk) -> None:
    write(disk.mount_point / "flushed", b"kept", flush=True)
    write(disk.mount_point / "written", b"lost" * 100_000, flush=False)
    disk.copy_as_power_left_it()
    disk.power_returns()
    assert (disk.mount_point / "flushed").read_bytes() == b"kept"
    lost = disk.mount_point / "written"
    assert not lost.exists() or lost.stat().st_size == 0


def test_what_comes_after_the_copy_is_not_in_it(disk: LoopDisk) -> None:
    disk.copy_as_power_left_it()
    write(disk.mount_point / "late", b"x", flush=True)
    disk.power_returns()
    assert list(disk.mount_point.iterdir()) == []


def test_a_full_disk_takes_nothing_and_takes_again_when_space_is_given_back(disk: LoopDisk) -> None:
    disk.fill()
    with pytest.raises(OSError, match="No space left on device"):
        write(disk.mount_point / "more", b"x" * 100_000, flush=True)
    (disk.mount_point / "more").unlink()
    disk.give_space_back()
    write(disk.mount_point / "more", b"x" * 100_000, flush=True)


def test_a_new_disk_is_empty(disk: LoopDisk) -> None:
    write(disk.mount_point / "file", b"x", flush=True)
    disk.replace()
    assert list(disk.mount_point.iterdir()) == []
    assert os.path.ismount(disk.mount_point)


def test_a_test_run_that_is_killed_leaves_no_disk_mounted(tmp_path: Path) -> None:
    place = tmp_path / "one"
    code = (
        "import os, sys, pathlib; sys.path[:0] = ['.', 'tests/faults']; from loop_disk import loop_disks\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        f"with loop_disks({{'one': folder / 'one'}}, folder / 'images', {DISK_BYTES}, folder / 'no-cluster'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -9
    wait_until(lambda: not os.path.ismount(place), GONE_S)


def test_without_root_a_test_fails_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(NoDisks, match="need root"), loop_disks({}, tmp_path, DISK_BYTES, tmp_path):
        pass  # it does not come to this
