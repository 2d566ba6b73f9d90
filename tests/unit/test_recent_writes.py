"""Which writes were committed last, together with which, and on whose disks."""

import pytest
from recent_writes import BATCHES_MAX, TIMESTAMPS_MAX, RecentWrites, Turn, turns_of

from replication.effects import Acknowledge
from replication.values import Executed

ONE, TWO = ("replica-1", "replica-2"), ("replica-1", "replica-3")


def acknowledged(timestamp: int, quorum: tuple[str, ...] = ONE) -> Acknowledge:
    return Acknowledge(timestamp, timestamp, (Executed(1, 0),), "mysql-master", quorum, 2)


def test_what_is_acknowledged_in_one_step_is_one_batch() -> None:
    recent = RecentWrites()
    for timestamp, quorum, step_ns in ((5, ONE, 100), (7, ONE, 100), (9, TWO, 300), (10, ONE, 400)):
        recent.acknowledged(acknowledged(timestamp, quorum), step_ns)
    assert list(recent.timestamps) == [(5, 1), (7, 1), (9, 2), (10, 3)]
    assert [(batch.number, batch.at_ns, batch.quorum, batch.writes) for batch in recent.batches] == [
        (1, 100, ONE, 2),
        (2, 300, TWO, 1),
        (3, 400, ONE, 1),
    ]
    assert {batch.master for batch in recent.batches} == {"mysql-master"}


def test_only_the_newest_are_kept() -> None:
    recent = RecentWrites()
    for number in range(1, 3001):
        recent.acknowledged(acknowledged(number), number)
    assert [number for number, _ in recent.timestamps] == list(range(3001 - TIMESTAMPS_MAX, 3001))
    assert [batch.number for batch in recent.batches] == list(range(3001 - BATCHES_MAX, 3001))


def test_a_large_batch_keeps_its_size_and_the_newest_of_its_timestamps() -> None:
    recent = RecentWrites()
    for number in range(1, 1501):
        recent.acknowledged(acknowledged(number), 7)
    (batch,) = recent.batches
    assert (batch.writes, len(recent.timestamps)) == (1500, TIMESTAMPS_MAX)


@pytest.mark.parametrize(
    ("timestamps", "expected"),
    [
        ([], []),
        ([5], [Turn(1, 5, 5, 1)]),
        ([5, 7, 11, 12, 14, 15], [Turn(1, 5, 11, 3), Turn(2, 12, 14, 2), Turn(1, 15, 15, 1)]),
    ],
)
def test_timestamps_of_one_server_that_follow_one_another_are_a_turn(
    timestamps: list[int], expected: list[Turn]
) -> None:
    assert turns_of(timestamps) == expected
