"""A catalogue is right for one version of the schema, from the beginning of its reading to its end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError, StatementResult
from adapters.schema_reader import SchemaReader, SchemaUnknown
from replication.effects import ReadAllowed, ReadRefused
from replication.values import ReadNeed
from statements.schema_tables import QUERIES

TABLES = [("d", "t", "BASE TABLE", 0)]
SOON_S = 2.0


class State:
    schema_version = 1
    schema_in_flux = False


class Leaves:
    def __init__(self) -> None:
        self.refusal: ReadRefused | None = None
        self.given = 0
        self.finished = 0

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.given += 1
        return self.refusal or ReadAllowed(1, "replica-1", 7)

    def read_finished(self, node: str, latency_ns: int) -> None:
        self.finished += 1


class Session:
    """Answers with the one table; `during` happens while it is being asked."""

    def __init__(self, *during: Callable[[], None]) -> None:
        self._during = list(during)
        self.is_open = True
        self.opened_ns = 0
        self.may_see_triggers = True
        self.readings = 0
        self.lock = asyncio.Lock()

    async def open(self) -> None:
        await asyncio.sleep(0)  # a turn of the loop, as the real one takes
        self.is_open, self.opened_ns = True, time.monotonic_ns()

    async def run(self, statements: Sequence[str], timeout_s: float) -> list[StatementResult]:
        await asyncio.sleep(0.001)  # others run meanwhile
        self.readings += 1
        if self._during:
            self._during.pop(0)()
        rows: list[Sequence[tuple[object, ...]]] = [TABLES if sql == QUERIES["tables"] else [] for sql in statements]
        rows[1] = [(int(self.may_see_triggers),)]
        return [StatementResult(0, 0, None, one) for one in rows]

    def close(self) -> None:
        self.is_open = False


class Bench:
    def __init__(self, *during: Callable[[], None]) -> None:
        self.state, self.leaves, self.session = State(), Leaves(), Session(*during)
        sessions = {"replica-1": cast(MySQLSession, self.session)}
        self.reader = SchemaReader(self.leaves, self.state, sessions, "d", 1.0)

    async def version(self, within_s: float = SOON_S) -> int:
        catalogue = await self.reader.catalogue(time.monotonic_ns() + int(within_s * 1e9))
        assert catalogue.find("", "t") is not None
        return catalogue.version


async def test_what_was_read_is_kept_while_its_version_holds() -> None:
    bench = Bench()
    assert [await bench.version() for _ in range(3)] == [1, 1, 1]
    assert (bench.session.readings, bench.leaves.given, bench.leaves.finished) == (1, 1, 1)


async def test_nothing_is_at_hand_of_another_version_or_while_the_schema_changes() -> None:
    bench = Bench()
    assert bench.reader.at_hand() is None
    await bench.version()
    assert bench.reader.at_hand() is not None
    bench.state.schema_in_flux = True
    assert bench.reader.at_hand() is None
    bench.state.schema_in_flux = False
    bench.state.schema_version += 1
    assert bench.reader.at_hand() is None
    assert await bench.version() == 2


async def test_who_can_do_without_a_catalogue_does_not_wait_for_one_and_has_it_read_once_a_second() -> None:
    bench = Bench()
    assert [bench.reader.at_hand_or_soon(time.monotonic_ns() + 10**9) for _ in range(3)] == [None] * 3
    await asyncio.sleep(0.05)  # the reading goes on meanwhile
    catalogue = bench.reader.at_hand_or_soon(0)
    assert catalogue is not None
    assert catalogue.version == 1
    bench.state.schema_version += 1
    assert bench.reader.at_hand_or_soon(time.monotonic_ns() + 10**9) is None
    await asyncio.sleep(0.05)  # time enough for a reading
    assert bench.session.readings == 1, "the next one is a second later"
    bench.reader._not_before_ns = 0
    assert bench.reader.at_hand_or_soon(time.monotonic_ns() + 10**9) is None
    await asyncio.sleep(0.05)  # the reading goes on meanwhile
    assert bench.reader.at_hand_or_soon(0) is not None


async def test_a_catalogue_that_takes_long_to_read_is_read_unasked_the_less_often() -> None:
    bench = Bench()
    await bench.version()
    bench.reader._took_ns = 300_000_000
    bench.state.schema_version += 1
    before_ns = time.monotonic_ns()
    assert bench.reader.at_hand_or_soon(before_ns + 10**9) is None
    assert bench.reader._not_before_ns - before_ns >= 6_000_000_000


async def test_a_reading_during_which_the_version_changed_is_thrown_away() -> None:
    bench = Bench()
    bench.session._during.append(lambda: setattr(bench.state, "schema_version", 5))
    assert await bench.version() == 5
    assert bench.session.readings == 2


async def test_a_reading_during_which_a_change_began_is_thrown_away_and_waits_for_its_end() -> None:
    bench = Bench()

    def begin() -> None:
        bench.state.schema_in_flux = True
        asyncio.get_running_loop().call_later(0.05, end)

    def end() -> None:
        bench.state.schema_version, bench.state.schema_in_flux = 2, False

    bench.session._during.append(begin)
    assert await bench.version() == 2
    assert bench.session.readings == 2


async def test_a_connection_that_is_younger_than_the_leave_is_not_believed() -> None:
    bench = Bench()
    bench.session.is_open = False
    assert await bench.version() == 1
    assert (bench.session.readings, bench.leaves.given, bench.leaves.finished) == (1, 2, 2)


@pytest.mark.parametrize(
    "error", [ConnectionBroken("gone", sent=True), ServerError(1205, "HY000", "lock wait", 3)], ids=["broken", "error"]
)
async def test_a_reading_that_fails_is_done_again(error: Exception) -> None:
    def fail() -> None:
        raise error

    bench = Bench(fail)
    assert await bench.version() == 1
    assert bench.session.readings == 2


async def test_an_account_that_may_not_see_triggers_tells_nothing() -> None:
    bench = Bench()
    bench.session.may_see_triggers = False
    with pytest.raises(SchemaUnknown, match="may not see triggers"):
        await bench.version(within_s=0.05)


async def test_without_leave_to_read_the_reason_is_said() -> None:
    bench = Bench()
    bench.leaves.refusal = ReadRefused(1, "fewer than 3 nodes confirmed")
    with pytest.raises(SchemaUnknown, match="fewer than 3 nodes"):
        await bench.version()
    assert (bench.leaves.given, bench.leaves.finished) == (1, 0)


async def test_one_reading_serves_all_that_wait_and_none_that_gives_up_ends_it() -> None:
    bench = Bench()
    waiting = [asyncio.create_task(bench.version()) for _ in range(10)]
    await asyncio.sleep(0)  # a turn of the loop, as the real one takes
    waiting[0].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [1] * 9
    assert bench.session.readings == 1


async def test_a_change_that_does_not_end_is_waited_for_until_the_deadline() -> None:
    bench = Bench()
    bench.state.schema_in_flux = True
    begun = time.monotonic()
    with pytest.raises(SchemaUnknown):
        await bench.version(within_s=0.05)
    assert 0.04 < time.monotonic() - begun < SOON_S


async def test_whoever_has_more_time_goes_on_where_another_reading_gave_up() -> None:
    bench = Bench()
    bench.state.schema_in_flux = True
    hasty = asyncio.create_task(bench.version(within_s=0.05))
    patient = asyncio.create_task(bench.version())
    asyncio.get_running_loop().call_later(0.1, lambda: setattr(bench.state, "schema_in_flux", False))
    with pytest.raises(SchemaUnknown):
        await hasty
    assert await patient == 1
