"""Waiting for what nobody tells of."""

import time
from collections.abc import Callable

LOOK_S = 0.01


def wait_until(condition: Callable[[], bool], within_s: float) -> None:
    """Look again and again until it is so; fails if it is not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(LOOK_S)  # nobody tells
