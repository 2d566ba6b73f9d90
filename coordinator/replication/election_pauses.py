"""How long to wait before the next election, where one follows another.

Epochs that are won and lost again and again harm the clients, so the pause before the next grows to seconds. An attempt
that was not won has harmed nobody: its pause is short, and keeps two coordinators from outbidding each other for ever.
"""

import zlib

from replication.state import ReplicationState


class ElectionPauses:
    """Counts elections; says the pause, in ns, and what it is made after."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._won_in_a_row = 0
        """Epochs that were won one after another, none of them stable."""
        self._failed_in_a_row = 0
        """Attempts of this election that somebody outbid, or that lost the node they rested on."""
        self._won_at_ns = 0

    def won(self) -> None:
        self._won_in_a_row += 1
        self._failed_in_a_row = 0
        self._won_at_ns = self._state.now_ns

    def after_an_epoch(self) -> tuple[int, str]:
        """One that was won is over."""
        state = self._state
        if state.now_ns - self._won_at_ns >= state.settings.stable_ns:
            self._won_in_a_row = 0
        pause_ns = self._growing_ns(self._won_in_a_row, state.settings.pause_ns_max)
        return pause_ns, f"{self._won_in_a_row} elections in a row"

    def after_an_attempt(self) -> tuple[int, str]:
        """One more failed. Not the same pause for all coordinators: two that outbid each other would do so again."""
        state = self._state
        self._failed_in_a_row += 1
        pause_ns = self._growing_ns(self._failed_in_a_row, state.settings.attempt_pause_ns_max)
        own = zlib.crc32(f"{state.owner} {self._failed_in_a_row}".encode()) / 2**32
        return int(pause_ns * (0.5 + own)), f"{self._failed_in_a_row} attempts without success"

    def _growing_ns(self, in_a_row: int, ns_max: int) -> int:
        """The first ones are not held up."""
        settings = self._state.settings
        excess = in_a_row - settings.elections_at_once
        return 0 if excess < 0 else min(settings.retry_ns * 2 ** min(excess, 10), ns_max)
