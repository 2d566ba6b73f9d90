"""The stock of granted numbers against a list of all of them (TaaS, PVLDB 17(5): order by `after`, never a number twice)."""

from hypothesis import given
from hypothesis import strategies as st

from replication.timestamps import COUNT_MAX, TimestampStock

COUNT_MIN = 8

grants = st.tuples(st.just("grant"), st.integers(1, 300), st.integers(0, 40), st.integers(1, 3))
takes = st.tuples(st.just("take"), st.integers(0, 30), st.just(0), st.just(0))
skips = st.tuples(st.just("skip"), st.integers(0, 300), st.just(0), st.just(0))
actions = st.lists(grants | takes | skips, max_size=40)


class EveryNumber:
    """The brute force: all numbers in a list."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.greatest = 0

    def grant(self, first: int, last: int, step: int) -> None:
        if first > self.greatest:
            self.numbers += range(first, last + 1, step)
            self.greatest = last

    def skip_to(self, timestamp: int) -> None:
        self.numbers = [number for number in self.numbers if number > timestamp]
        self.greatest = max(self.greatest, timestamp)

    def take(self, count: int) -> list[int]:
        taken, self.numbers = self.numbers[:count], self.numbers[count:]
        return taken


@given(actions)
def test_the_stock_gives_what_a_list_of_all_numbers_would(drawn: list[tuple[str, int, int, int]]) -> None:
    stock, twin = TimestampStock(COUNT_MIN), EveryNumber()
    for action, number, count, step in drawn:
        if action == "grant":
            last = number + count * step
            stock.grant(number, last, step)
            twin.grant(number, last, step)
        elif action == "skip":
            stock.skip_to(number)
            twin.skip_to(number)
        else:
            assert stock.take(number) == twin.take(number)
        assert stock.available == len(twin.numbers)
        assert stock.greatest == twin.greatest


@given(actions)
def test_numbers_only_grow_and_never_come_twice_whatever_is_granted(drawn: list[tuple[str, int, int, int]]) -> None:
    stock, taken, end = TimestampStock(COUNT_MIN), [0], 0
    for action, number, count, step in drawn:
        if action == "grant":
            stock.grant(number, number + count * step, step)
        elif action == "skip":
            stock.skip_to(number)
            end = max(end, number)
        else:
            numbers = stock.take(number)
            assert all(each > end for each in numbers)
            taken += numbers
    assert taken == sorted(set(taken))


@given(st.integers(1, 50), st.integers(0, 50), st.sampled_from([1, 2, 3]), st.integers(0, 300))
def test_skipping_keeps_to_the_server_s_own_numbers(first: int, count: int, step: int, timestamp: int) -> None:
    stock = TimestampStock(COUNT_MIN)
    stock.grant(first, first + count * step, step)
    stock.skip_to(timestamp)
    assert all((number - first) % step == 0 for number in stock.take(1000))


def test_a_grant_that_is_late_or_nonsense_is_thrown_away() -> None:
    stock = TimestampStock(COUNT_MIN)
    stock.skip_to(100)
    for first, last, step in ((99, 120, 1), (100, 100, 1), (110, 105, 1), (110, 120, 0), (110, 120, -2)):
        stock.requested = True
        stock.grant(first, last, step)
        assert stock.available == 0
        assert not stock.requested, "the next request must not wait for ever"
    assert stock.greatest == 100


def test_nothing_is_asked_for_while_a_request_is_under_way_or_enough_is_here() -> None:
    stock = TimestampStock(COUNT_MIN)
    assert stock.shortage() == COUNT_MIN
    stock.requested = True
    assert stock.shortage() == 0
    stock.grant(1, COUNT_MIN, 1)
    assert stock.shortage() == 0
    stock.take(COUNT_MIN // 2 + 1)
    assert stock.shortage() == COUNT_MIN


def test_larger_batches_are_provided_for_up_to_a_limit() -> None:
    stock = TimestampStock(COUNT_MIN)
    for round_number in range(1, 60):
        stock.grant(round_number * 10_000, round_number * 10_000 + 4_999, 1)
        stock.take(5_000)
    assert stock.shortage() == COUNT_MAX
