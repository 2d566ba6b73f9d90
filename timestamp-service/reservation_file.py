"""The durable bound: every number up to it may have been handed out.

Invariant: once `reserve(bound)` has returned, every later `open()` of the folder reads at least `bound`, also after
kill -9 or a power cut. Hence the order: write a new file, fsync it, rename it over the old one, fsync the folder.
Without the first fsync a power cut can leave an empty file under the final name; without the second the old file can
come back.

Hard case: a file that cannot be believed. Starting at 0 would hand numbers out again, and nothing in this folder knows
a safe bound, so the server does not start and says what to do. A missing file is a first start only in a folder that
was never in use, which a second file (`initialised`) remembers; it is durable before the first number leaves.

A failed fsync is not repeated on the same file: the kernel may have dropped the unwritten pages and then report
success. Each attempt writes a new file.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import timestamp_points as points
from timestamp_contract import SERVER_COUNT, TIMESTAMP_MAX

FILE_NAME = "reservation.json"
TEMPORARY_NAME = "reservation.json.new"
MARKER_NAME = "initialised"
_MARKER_TEXT = f"This folder has handed out timestamps. If {FILE_NAME} is missing, it was lost: do not start at 0.\n"
# A first start that died before its first rename leaves the temporary file; lost+found is the file system's own.
_NAMES_IN_A_FRESH_FOLDER = {TEMPORARY_NAME, "lost+found"}
_SIZE_MAX = 4096


class StateFolderError(Exception):
    """The server must not start on this folder. The text says why and what to do."""


class ReservationFile:
    """The locked state folder of one timestamp server. One instance per process; `reserve` blocks on the disk."""

    def __init__(self, folder: Path, folder_fd: int, server_id: int) -> None:
        self._folder = folder
        # All later access goes through this descriptor: if the folder is deleted or replaced under a running server,
        # reservations fail instead of landing in a folder that another process may lock too.
        self._folder_fd = folder_fd
        self._server_id = server_id
        self._reserved_until = 0
        self._marked = False
        self._reach: Callable[[str], None] = _pass_by

    @classmethod
    def open(cls, folder: Path, server_id: int, reach: Callable[[str], None] | None = None) -> Self:
        """Lock the folder and read the bound (0 at a first start). Raises StateFolderError.

        `reach` is told each crash point. Handed in: as a repair tool, this file runs where nothing else can be imported.
        """
        file = cls._lock(folder, server_id)
        file._reach = reach or _pass_by
        try:
            file._reserved_until = file._read_bound()
        except BaseException:  # whatever it was: the lock must not outlive it
            file.close()
            raise
        return file

    @classmethod
    def rebuild(cls, folder: Path, server_id: int, reserved_until: int) -> None:
        """Replace a lost or damaged bound by one that an operator vouches for."""
        file = cls._lock(folder, server_id)
        try:
            file.reserve(reserved_until)
        finally:
            file.close()

    @property
    def reserved_until(self) -> int:
        return self._reserved_until

    def reserve(self, reserved_until: int) -> None:
        """Make the bound durable. OSError: it is not, or nobody knows; hand out nothing above the bound before."""
        if not self._reserved_until <= reserved_until <= TIMESTAMP_MAX:
            raise ValueError(f"bound {reserved_until} is not between {self._reserved_until} and {TIMESTAMP_MAX}")
        with contextlib.suppress(FileNotFoundError):  # only a crash leaves one behind
            os.unlink(TEMPORARY_NAME, dir_fd=self._folder_fd)
        self._reach(points.WRITE)
        self._write_new(TEMPORARY_NAME, _encode(self._server_id, reserved_until))
        self._reach(points.RENAME)
        os.rename(TEMPORARY_NAME, FILE_NAME, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        if not self._marked:
            with contextlib.suppress(FileExistsError):  # of a crash before the folder was synced
                self._write_new(MARKER_NAME, _MARKER_TEXT.encode())
        self._reach(points.SYNC_FOLDER)
        os.fsync(self._folder_fd)
        self._marked = True
        self._reserved_until = reserved_until

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    @classmethod
    def _lock(cls, folder: Path, server_id: int) -> Self:
        try:
            _make_folder_durably(folder)
            folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StateFolderError(
                f"The state folder {folder} cannot be used: {error.strerror}. "
                "Set STATE_DIR to a folder that this process may write to."
            ) from error
        try:
            # The folder itself, not a file in it: there is nothing to leave behind, and a crash releases it.
            fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(folder_fd)
            raise StateFolderError(
                f"The state folder {folder} is in use by another process. "
                "Stop that timestamp server first, or give this one its own STATE_DIR: "
                "two on one folder would hand out the same numbers."
            ) from error
        return cls(folder, folder_fd, server_id)

    def _read_bound(self) -> int:
        try:
            fd = os.open(FILE_NAME, os.O_RDONLY, dir_fd=self._folder_fd)
        except FileNotFoundError:
            self._check_that_the_folder_is_fresh()
            return 0
        except OSError as error:
            raise StateFolderError(self._damaged(f"cannot be opened: {error.strerror}")) from error
        try:
            with os.fdopen(fd, "rb") as stream:
                content = stream.read(_SIZE_MAX + 1)
        except OSError as error:
            raise StateFolderError(self._damaged(f"cannot be read: {error.strerror}")) from error
        try:
            server_id, reserved_until = _decode(content)
        except ValueError as error:
            raise StateFolderError(self._damaged(f"is damaged: {error}")) from error
        if server_id != self._server_id:
            raise StateFolderError(
                f"{self._folder / FILE_NAME} belongs to timestamp server {server_id}, "
                f"but SERVER_ID is {self._server_id}. "
                "Set SERVER_ID or STATE_DIR right; each server keeps its own folder."
            )
        return reserved_until

    def _check_that_the_folder_is_fresh(self) -> None:
        names = sorted(set(os.listdir(self._folder_fd)) - _NAMES_IN_A_FRESH_FOLDER)
        if names:
            raise StateFolderError(
                self._damaged(f"is missing, though the folder was in use (it holds {', '.join(names)})")
            )

    def _damaged(self, what: str) -> str:
        return (
            f"{self._folder / FILE_NAME} {what}. "
            "Starting at 0 could hand out numbers a second time, so this server does not start. "
            "Find the greatest last_timestamp in _replication.log over all nodes, add 1000000 to it, and run: "
            f"python reservation_file.py {self._folder} {self._server_id} NUMBER"
        )

    def _write_new(self, name: str, content: bytes) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=self._folder_fd)
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(fd)


def _pass_by(_: str) -> None:
    """A crash point that nobody watches."""


def _encode(server_id: int, reserved_until: int) -> bytes:
    return (
        json.dumps({**_body(server_id, reserved_until), "sha256": _checksum(server_id, reserved_until)}).encode()
        + b"\n"
    )


def _decode(content: bytes) -> tuple[int, int]:
    """(server_id, reserved_until); ValueError says what is wrong with the content."""
    if len(content) > _SIZE_MAX:
        raise ValueError(f"it is longer than {_SIZE_MAX} bytes")
    try:
        record = json.loads(content)
    except ValueError as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(record, dict) or record.keys() != {"server_id", "reserved_until", "sha256"}:
        raise ValueError("it does not hold exactly server_id, reserved_until and sha256")
    server_id, reserved_until = record["server_id"], record["reserved_until"]
    if type(server_id) is not int or type(reserved_until) is not int:
        raise ValueError("server_id and reserved_until are not whole numbers")
    if record["sha256"] != _checksum(server_id, reserved_until):
        raise ValueError("its checksum does not fit its numbers")
    if not 0 <= reserved_until <= TIMESTAMP_MAX:
        raise ValueError(f"reserved_until is not between 0 and {TIMESTAMP_MAX}")
    return server_id, reserved_until


def _body(server_id: int, reserved_until: int) -> dict[str, int]:
    return {"server_id": server_id, "reserved_until": reserved_until}


def _checksum(server_id: int, reserved_until: int) -> str:
    return hashlib.sha256(json.dumps(_body(server_id, reserved_until)).encode()).hexdigest()


def _make_folder_durably(folder: Path) -> None:
    """A folder that is lost in a power cut takes the bound with it: fsync each parent that got a new entry."""
    if folder.is_dir():
        return
    _make_folder_durably(folder.parent)
    folder.mkdir(exist_ok=True)
    parent_fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent_fd)
    finally:
        os.close(parent_fd)


def _main(arguments: list[str]) -> str:
    """The repair that a damaged file's message names."""
    if len(arguments) != 3 or not (arguments[1].isdecimal() and arguments[2].isdecimal()):
        return "usage: python reservation_file.py STATE_DIR SERVER_ID NUMBER"
    server_id, reserved_until = int(arguments[1]), int(arguments[2])
    if server_id not in range(1, SERVER_COUNT + 1) or reserved_until > TIMESTAMP_MAX:
        return f"SERVER_ID must be 1 or {SERVER_COUNT}, and NUMBER at most {TIMESTAMP_MAX}"
    try:
        ReservationFile.rebuild(Path(arguments[0]), server_id, reserved_until)
    except (StateFolderError, OSError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]) or 0)
