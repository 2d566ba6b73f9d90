"""A crash in the middle of what a file goes through on its way to the disk: before the nth call of one kind."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest


class Crash(BaseException):
    """Stands for kill -9: nothing after it runs."""


@contextmanager
def crash_before(monkeypatch: pytest.MonkeyPatch, call: str, nth: int) -> Iterator[None]:
    """What is inside ends before the `nth` time that it calls `os.<call>`, or goes to its end."""
    original: Callable[..., Any] = getattr(os, call)
    made = 0

    def crash(*args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += 1
        if made == nth:
            raise Crash
        return original(*args, **kwargs)

    with monkeypatch.context() as patched, suppress(Crash):  # the crash that is made here
        patched.setattr(os, call, crash)
        yield
