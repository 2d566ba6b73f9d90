"""The allocator against a model that remembers every number, with crashes between any two steps.

TaaS, PVLDB 17(5): a start begins above the durable limit, so no number is handed out twice (server side, `Boot`).
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from timestamp_allocator import (
    AllocatorInvariantError,
    ReservationNeeded,
    TimestampAllocator,
    TimestampRange,
    TimestampsExhaustedError,
)
from timestamp_contract import AFTER_MAX, COUNT_MAX, STEP, TIMESTAMP_MAX

SERVER_IDS = st.sampled_from([1, 2])


def new_allocator(server_id: int = 1, durable_bound: int = 0, window_count: int = 100) -> TimestampAllocator:
    return TimestampAllocator(server_id=server_id, durable_bound=durable_bound, window_count=window_count)


def take(allocator: TimestampAllocator, count: int = 1, after: int = 0) -> TimestampRange:
    """A caller whose disk never fails."""
    while isinstance(outcome := allocator.allocate(count, after), ReservationNeeded):
        allocator.reserved(outcome.reserve_until)
    return outcome


def brute_force(server_id: int, floor: int, count: int) -> list[int]:
    """Count upwards from the floor, one by one, and keep what has the server's parity."""
    numbers: list[int] = []
    candidate = floor
    while len(numbers) < count:
        candidate += 1
        if candidate % 2 == server_id % 2:
            numbers.append(candidate)
    return numbers


class CrashingServer(RuleBasedStateMachine):
    """One server, its disk, and everything it ever handed out. A reservation is two steps: durable, then known."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_out: list[int] = []
        self.disk_bound = 0
        self.in_flight: int | None = None
        self.durable_but_unknown: int | None = None

    @initialize(server_id=SERVER_IDS, window_count=st.integers(2, 8))
    def first_start(self, server_id: int, window_count: int) -> None:
        self.server_id, self.window_count = server_id, window_count
        self.start()

    def start(self) -> None:
        self.allocator = new_allocator(self.server_id, self.disk_bound, self.window_count)
        self.floor = self.disk_bound
        self.in_flight = self.durable_but_unknown = None

    @rule(count=st.integers(1, 12), after=st.integers(0, 400))
    def request(self, count: int, after: int) -> None:
        outcome = self.allocator.allocate(count, after)
        if isinstance(outcome, ReservationNeeded):
            self.begin(outcome)
            return
        numbers = list(range(outcome.first, outcome.last + 1, STEP))
        assert numbers == brute_force(self.server_id, max(self.floor, after), count)
        assert outcome.count == count
        assert outcome.last <= self.disk_bound
        self.handed_out += numbers
        self.floor = outcome.last

    @rule()
    def look_ahead(self) -> None:
        due = self.allocator.reservation_due()
        if due is not None:
            self.begin(due)

    def begin(self, needed: ReservationNeeded) -> None:
        if self.in_flight is None and self.durable_but_unknown is None:
            self.in_flight = needed.reserve_until

    @precondition(lambda self: self.in_flight is not None)
    @rule(reaches_the_disk=st.booleans())
    def the_disk_answers(self, reaches_the_disk: bool) -> None:
        assert self.in_flight is not None
        if reaches_the_disk:
            self.disk_bound = self.durable_but_unknown = self.in_flight
        self.in_flight = None

    @precondition(lambda self: self.durable_but_unknown is not None)
    @rule()
    def the_server_learns_of_it(self) -> None:
        assert self.durable_but_unknown is not None
        self.allocator.reserved(self.durable_but_unknown)
        self.durable_but_unknown = None

    @rule(write_on_its_way_survives=st.booleans())
    def kill_and_restart(self, write_on_its_way_survives: bool) -> None:
        if write_on_its_way_survives and self.in_flight is not None:
            self.disk_bound = self.in_flight
        self.start()

    @invariant()
    def numbers_only_grow_and_none_is_repeated(self) -> None:
        assert all(a < b for a, b in pairwise(self.handed_out))

    @invariant()
    def the_disk_is_never_behind_the_memory(self) -> None:
        if hasattr(self, "allocator"):
            assert self.allocator.last <= self.allocator.reserved_until <= self.disk_bound


CrashingServer.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestNoInterleavingOfRequestsReservationsAndCrashesRepeatsANumber = CrashingServer.TestCase


def test_server_1_counts_1_3_5_and_server_2_counts_2_4_6() -> None:
    for server_id, expected in ((1, [1, 3, 5]), (2, [2, 4, 6])):
        allocator = new_allocator(server_id)
        assert [take(allocator).first for _ in range(3)] == expected


@given(SERVER_IDS, st.integers(0, 50), st.lists(st.tuples(st.integers(1, 30), st.integers(0, 300)), max_size=10))
def test_ranges_are_those_of_counting_upwards_one_by_one(
    server_id: int, durable_bound: int, requests: list[tuple[int, int]]
) -> None:
    allocator = new_allocator(server_id, durable_bound, window_count=5)
    floor = durable_bound
    for count, after in requests:
        taken = take(allocator, count, after)
        assert list(range(taken.first, taken.last + 1, STEP)) == brute_force(server_id, max(floor, after), count)
        floor = taken.last


@given(st.integers(0, AFTER_MAX), st.integers(1, COUNT_MAX))
def test_two_servers_never_hand_out_the_same_number(after: int, count: int) -> None:
    odd = take(new_allocator(1), count, after)
    even = take(new_allocator(2), count, after)
    assert odd.first % 2 == 1
    assert even.first % 2 == 0


def test_nothing_is_handed_out_before_the_first_reservation() -> None:
    allocator = new_allocator(window_count=10)
    assert isinstance(allocator.allocate(1, 0), ReservationNeeded)
    assert allocator.last == 0


def test_a_request_that_needs_a_reservation_changes_nothing_until_it_is_durable() -> None:
    allocator = new_allocator(window_count=10)
    take(allocator, 3)
    before = (allocator.last, allocator.reserved_until)
    assert isinstance(allocator.allocate(50, 1_000), ReservationNeeded)
    assert (allocator.last, allocator.reserved_until) == before
    assert take(allocator).first == 7


def test_a_reservation_covers_the_request_and_a_window_beyond_it() -> None:
    allocator = new_allocator(window_count=10)
    needed = allocator.allocate(4, 100)
    assert needed == ReservationNeeded(107 + 10 * STEP)


def test_the_next_window_is_due_when_half_of_this_one_is_used() -> None:
    allocator = new_allocator(window_count=10)
    allocator.reserved(20)
    take(allocator, 5)
    assert allocator.reservation_due() is None
    take(allocator, 1)
    assert allocator.reservation_due() == ReservationNeeded(11 + 20)


def test_a_restart_skips_everything_that_may_have_been_handed_out() -> None:
    assert take(new_allocator(1, durable_bound=20)).first == 21
    assert take(new_allocator(2, durable_bound=20)).first == 22


def test_the_greatest_after_still_gets_the_greatest_count() -> None:
    taken = take(new_allocator(1), COUNT_MAX, AFTER_MAX)
    assert AFTER_MAX < taken.first < taken.last <= TIMESTAMP_MAX


def test_a_request_beyond_the_greatest_timestamp_is_refused_and_smaller_ones_still_fit() -> None:
    allocator = new_allocator(1, durable_bound=TIMESTAMP_MAX - 4)
    with pytest.raises(TimestampsExhaustedError, match="greatest timestamp"):
        take(allocator, 3)
    assert take(allocator, 2).last == TIMESTAMP_MAX
    assert allocator.reservation_due() is None
    with pytest.raises(TimestampsExhaustedError):
        take(allocator)


def test_a_bound_that_goes_back_is_refused() -> None:
    allocator = new_allocator()
    allocator.reserved(50)
    with pytest.raises(AllocatorInvariantError, match="from 50 to 49"):
        allocator.reserved(49)


@pytest.mark.parametrize(
    ("server_id", "durable_bound", "window_count"),
    [(0, 0, 10), (3, 0, 10), (1, -1, 10), (1, TIMESTAMP_MAX + 1, 10), (1, 0, 1)],
)
def test_impossible_settings_are_refused(server_id: int, durable_bound: int, window_count: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        new_allocator(server_id, durable_bound, window_count)
