"""Two seconds after a quorum can be reached again the cluster has written, with the time-outs that it ships with (healing.py)."""

from unittest.mock import patch

import pytest
from healing import SHAPES, play, play_all
from links import MS
from schedules import side_by_side

from replication.reads import ReadPath
from replication.state import Phase

SEEDS = 16
WRITES_AGAIN_NS = 2_000 * MS


@pytest.mark.parametrize("shape", SHAPES)
def test_writes_come_back_within_two_seconds_of_a_quorum(shape: str) -> None:
    halves = [range(SEEDS // 2), range(SEEDS // 2, SEEDS)]
    found = [each for half in side_by_side(play_all, [shape] * 2, halves) for each in half]
    late = {seed: each for seed, each in enumerate(found) if each.waited_ns > WRITES_AGAIN_NS}
    assert not late, late


def test_without_a_heartbeat_in_elections_a_node_that_hangs_there_is_waited_for() -> None:
    """This measure can see it."""
    only_serving = property(lambda self: self._state.phase is Phase.SERVING)
    with patch.object(ReadPath, "_beats", only_serving):
        assert play("frozen in the election", 0).waited_ns > 10_000 * MS
