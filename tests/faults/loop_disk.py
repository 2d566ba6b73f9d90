"""A disk of a member's own: an ext4 file system in a file, mounted by loop device. So it can be full, lost, or without power.

Why `kill -9` proves nothing about durability: what a process has written is the kernel's, and the kernel lives on. Only a
power cut takes the page cache away. Here the file is what the "platters" hold: the loop device writes into it what the
file system flushed or wrote back, and nothing else. To cut the power: freeze the processes, copy the file, kill them,
and mount the copy; ext4 replays its journal, and all that was never flushed is gone.

The copy must show one moment. The processes are frozen, but the kernel may write back meanwhile, and a copy across such
a write shows an order of writes that no disk ever had. The file's modification time tells: it is copied again until it
did not change. The journal's own rhythm is made slow (`commit=`), lest it hides what a missing flush loses.

It needs root and loop devices; who lacks them is told so, and the test fails: a skipped proof looks like a proof.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster_layout import ROOT

COMMAND_S = 60.0
COPY_S = 30.0
UNMOUNT_S = 10.0
JOURNAL_COMMIT_S = 300
INODES = 4096
QUIET_NS = 20_000_000
"""A change within the same tick of the kernel's clock shows no new modification time: look at older ones only."""


class NoDisks(AssertionError):
    """This machine gives us no disks; the message says what is missing."""


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"


def require_loop_devices() -> None:
    if os.getuid() != 0:
        raise NoDisks("disks of their own (full disks, power cuts, lost disks) need root, for mount(8): run it as root")
    missing = [program for program in ("mkfs.ext4", "mount", "umount") if shutil.which(program) is None]
    if missing:
        raise NoDisks(f"{', '.join(missing)} is missing: install e2fsprogs and mount")
    if not Path("/dev/loop-control").exists():
        raise NoDisks("there are no loop devices (/dev/loop-control): load the kernel's module `loop`")


class LoopDisk:
    """One disk, at one mount point. Whoever uses the files on it must be gone before it is unmounted."""

    def __init__(self, mount_point: Path, image: Path, size_bytes: int) -> None:
        self.mount_point = mount_point
        self._image = image
        self._cut = image.with_suffix(".cut")
        self._size_bytes = size_bytes

    @property
    def _balloon(self) -> Path:
        return self.mount_point / "balloon"

    # --- there and not there

    def make(self) -> None:
        """A new, empty disk."""
        self._image.parent.mkdir(parents=True, exist_ok=True)
        self.mount_point.mkdir(parents=True, exist_ok=True)
        self._image.unlink(missing_ok=True)
        with self._image.open("wb") as file:
            file.truncate(self._size_bytes)
        # nothing is initialised later in the background: that would be writes of nobody's
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        # no blocks are kept back for root, who would otherwise not notice that the disk is full
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(INODES), "-J", "size=16", "-E", lazy, str(self._image))
        self._mount()
        (self.mount_point / "lost+found").rmdir()
        self.flush()

    def _mount(self) -> None:
        options = f"loop,noatime,discard,commit={JOURNAL_COMMIT_S}"
        _run("mount", "-t", "ext4", "-o", options, str(self._image), str(self.mount_point))

    def _unmount(self) -> None:
        """The kernel may close the files of a process that was killed a moment after the process has gone."""
        deadline_s = time.monotonic() + UNMOUNT_S
        while os.path.ismount(self.mount_point):
            try:
                _run("umount", str(self.mount_point))
            except AssertionError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)  # who still holds it tells nobody: tried again

    def replace(self) -> None:
        """The disk is lost, and a new one is put in."""
        self._unmount()
        self.make()

    def release(self) -> None:
        self._unmount()
        for file in (self._image, self._cut):
            file.unlink(missing_ok=True)

    def flush(self) -> None:
        """Everything written up to now is on the platters, as after minutes of a node's life it would be."""
        _run("sync", "-f", str(self.mount_point))

    # --- power

    def copy_as_power_left_it(self) -> None:
        """What the platters hold now. All writers must be frozen, and be killed before `power_returns`."""
        deadline_s = time.monotonic() + COPY_S
        while True:
            before_ns = self._image.stat().st_mtime_ns
            if time.time_ns() - before_ns > QUIET_NS:
                _run("cp", "--sparse=always", str(self._image), str(self._cut))
                if self._image.stat().st_mtime_ns == before_ns:
                    return
            assert time.monotonic() < deadline_s, f"{self._image} never comes to rest: is a writer not frozen?"
            time.sleep(0.005)  # a file at rest is known by looking twice

    @property
    def has_copy(self) -> bool:
        return self._cut.exists()

    def power_returns(self) -> None:
        self._unmount()
        self._cut.rename(self._image)
        self._mount()

    # --- space

    def fill(self) -> None:
        """Take every free block, in pieces: what another writer takes meanwhile is taken."""
        with self._balloon.open("ab") as balloon:
            size_bytes, piece_bytes = 0, 64 << 20
            while piece_bytes >= 4096:
                try:
                    os.posix_fallocate(balloon.fileno(), size_bytes, piece_bytes)
                    size_bytes += piece_bytes
                except OSError:
                    piece_bytes //= 2

    def free_bytes(self) -> int:
        space = os.statvfs(self.mount_point)
        return space.f_bavail * space.f_frsize

    def give_space_back(self) -> None:
        self._balloon.unlink(missing_ok=True)


_REAPER = """
import subprocess, sys
sys.stdin.read()
subprocess.run([sys.executable, "cluster.py", "down"], stdout=subprocess.DEVNULL)
for mount_point in sys.argv[1:]:
    subprocess.run(["umount", mount_point], stderr=subprocess.DEVNULL)
"""


@contextlib.contextmanager
def loop_disks(
    mount_points: Mapping[str, Path], images: Path, size_bytes: int, cluster_dir: Path
) -> Iterator[dict[str, LoopDisk]]:
    """A new disk at each of these places. If we are killed, a reaper takes the cluster down and unmounts them."""
    require_loop_devices()
    disks = {name: LoopDisk(place, images / f"{name}.img", size_bytes) for name, place in mount_points.items()}
    environment = {key: value for key, value in os.environ.items() if key != "PORT_OFFSET"}
    reaper = subprocess.Popen(
        [sys.executable, "-c", _REAPER, *(str(place) for place in mount_points.values())],
        cwd=ROOT,
        env={**environment, "CLUSTER_DIR": str(cluster_dir)},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        for disk in disks.values():
            disk.make()
        yield disks
    finally:
        for disk in disks.values():
            disk.release()
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait(COMMAND_S)
