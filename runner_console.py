"""What the runner says to whoever waits for it, and how two of its commands stay out of each other's way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_WAIT_S = 300.0


class CannotRun(Exception):
    """The command cannot be carried out; the message is a sentence that says what to do."""


class Progress:
    """A line for each thing done, with the seconds since the start; on a terminal also what is being waited for."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._is_terminal = sys.stdout.isatty()

    def _stamped(self, text: str) -> str:
        return f"[{time.monotonic() - self._began_s:5.1f} s] {text}"

    def say(self, text: str) -> None:
        self.clear()
        print(self._stamped(text), flush=True)

    def waiting(self, text: str) -> None:
        if self._is_terminal:
            print("\r\x1b[2K" + self._stamped(text)[: shutil.get_terminal_size().columns - 1], end="", flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\x1b[2K", end="", flush=True)


@contextlib.contextmanager
def locked(path: Path, progress: Progress, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the file's lock. The kernel takes it back when we end, however we end, so it is never stale."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline_s = time.monotonic() + wait_s
    has_said = False
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise CannotRun(f"another command has held {path} for {wait_s:.0f} s: end it.") from None
                if not has_said:
                    progress.say(f"waiting for another command to end ({path})")
                has_said = True
                time.sleep(0.1)  # a lock with a time limit has no call that waits
                continue
            # `clean` may have removed the file while we waited for it, and a lock on that holds nobody off
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return
