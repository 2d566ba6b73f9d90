"""How often each node's server was seen to have started anew, kept over the collector's own restarts.

A run of a server is identified by its data folder's UUID and the second in which it started, as the server tells it.
Another run than the last one seen counts as one crash. The last run seen is durable together with the count, so a
restart while the collector was down is noticed at its first answer.

Hard case: what cannot be told apart. From outside, a clean restart looks like a crash, so it counts too. Several
restarts between two answers count as one, and so does a node rebuilt with a new data folder. The count is a lower bound
of the restarts since the collector first saw the node, and that is how SEER may use it.

Invariant: a count on disk never goes down. Hence write a new file, fsync, rename, fsync the folder; and a file that
cannot be read stops the start, because counting from 0 would make the least stable node look like the most stable.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE_NAME = "crashes.json"
_TEMPORARY_NAME = "crashes.json.new"


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One life of a server process."""

    server_uuid: str
    started_at_s: int
    """By the server's own clock, fixed for the whole run: it identifies, it is not compared with any other clock."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    server_uuid: str
    started_at_s: int
    crash_count: Annotated[int, Field(ge=0)]


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    nodes: dict[str, _Record]


class JournalError(Exception):
    """The collector must not start on this folder. The text says why and what to do."""


class CrashJournal:
    """The counts in memory, and the file that they are read from and written to."""

    def __init__(self, folder: Path, folder_fd: int) -> None:
        self._folder = folder
        self._folder_fd = folder_fd
        self._records: dict[str, _Record] = {}
        self._durable_records: dict[str, _Record] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Lock the folder and read the counts; none at a first start. Raises JournalError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise JournalError(
                f"The state folder {folder} cannot be used: {error.strerror}. "
                "Set STATE_DIR to a folder that this process may write to."
            ) from error
        journal = cls(folder, folder_fd)
        try:
            fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal._records = journal._read()
        except BlockingIOError as error:
            journal.close()
            raise JournalError(
                f"The state folder {folder} is in use by another process. "
                "Stop that collector first, or give this one its own STATE_DIR."
            ) from error
        except BaseException:  # whatever it was: the lock must not outlive it
            journal.close()
            raise
        journal._durable_records = dict(journal._records)
        return journal

    def saw(self, node_id: str, run: ServerRun) -> None:
        """An answer of the node came from this run of its server. Only in memory: see `save`."""
        known = self._records.get(node_id)
        if known is not None and (known.server_uuid, known.started_at_s) == (run.server_uuid, run.started_at_s):
            return
        self._records[node_id] = _Record(
            server_uuid=run.server_uuid,
            started_at_s=run.started_at_s,
            crash_count=0 if known is None else known.crash_count + 1,
        )

    def crash_count(self, node_id: str) -> int:
        record = self._records.get(node_id)
        return 0 if record is None else record.crash_count

    @property
    def is_durable(self) -> bool:
        return self._records == self._durable_records

    def save(self) -> None:
        """Make the counts durable. Blocks on the disk; OSError: they are not. One call at a time, from any thread."""
        # One C-level copy: `saw` may run on the event loop meanwhile, and what it adds belongs to the next save.
        records = dict(self._records)
        content = _Content(nodes=records).model_dump_json(indent=1).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(_TEMPORARY_NAME, flags, 0o644, dir_fd=self._folder_fd), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(_TEMPORARY_NAME, FILE_NAME, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        os.fsync(self._folder_fd)
        self._durable_records = records

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def _read(self) -> dict[str, _Record]:
        path = self._folder / FILE_NAME
        try:
            return _Content.model_validate_json(path.read_bytes()).nodes
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.errors(include_url=False)[0]["msg"]
            raise JournalError(
                f"{path} cannot be read: {reason}. "
                "Restore it from a copy, or move it away to start counting crashes from 0."
            ) from error
