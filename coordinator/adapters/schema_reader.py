"""Reads the catalogue of users' tables at the master, as a strong read does, and keeps it while it is right.

Right is a catalogue that was read while one version of the schema held, from beginning to end: the version is looked at before
and after, and no schema change may have been under way at either moment. A version belongs to this process and grows with each
epoch and each change, so a catalogue can be compared with it at any time. Only who needs the schema asks; others pay nothing.

The hard case is a master that is replaced between the leave to read and the read: its connection is then younger than the leave,
or broken, or belongs to an epoch that is over; in each case it is asked again, until the deadline.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from long_work import in_steps

from adapters.mysql_session import ConnectionBroken, MySQLSession, ServerError
from replication.effects import ReadAllowed, ReadRefused
from replication.values import STRONG, ReadNeed
from statements.schema_catalogue import Catalogue
from statements.schema_tables import QUERIES, catalogue_in_steps

SESSION = "SET SESSION autocommit = 1, transaction_read_only = 1, time_zone = '+00:00'"
RETRY_S = 0.01
UNASKED_EVERY_NS = 1_000_000_000
"""Nobody waits for a catalogue that only makes writes cheaper, and one schema change may follow another."""
UNASKED_SHARE = 20
"""Thousands of tables take long to read: it may take one part in so many of the time."""
TRIGGER_PRIVILEGE = (
    "SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' AND grantee ="
    " CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')"
)


class SchemaUnknown(Exception):
    """The catalogue could not be read before the deadline."""


class SchemaState(Protocol):
    """What the protocol says of the schema."""

    schema_version: int
    schema_in_flux: bool


class Leaves(Protocol):
    """Who gives leave to read (driver.py)."""

    async def read_leave(self, deadline_ns: int, need: ReadNeed) -> ReadAllowed | ReadRefused: ...

    def read_finished(self, node: str, latency_ns: int) -> None: ...


class SchemaReader:
    """One connection a node, of an account that may see triggers and runs none of users' texts."""

    def __init__(
        self,
        leaves: Leaves,
        state: SchemaState,
        sessions: Mapping[str, MySQLSession],
        database: str,
        read_timeout_s: float,
    ) -> None:
        self._leaves = leaves
        self._state = state
        self._sessions = sessions
        self._database = database
        self._read_timeout_s = read_timeout_s
        self._catalogue: Catalogue | None = None
        self._reading: asyncio.Task[Catalogue] | None = None
        self._reading_until_ns = 0
        self._not_before_ns = 0
        self._took_ns = 0

    def at_hand(self) -> Catalogue | None:
        """The catalogue, if it is right at this moment."""
        catalogue = self._catalogue
        if catalogue is None or self._state.schema_in_flux or catalogue.version != self._state.schema_version:
            return None
        return catalogue

    def at_hand_or_soon(self, deadline_ns: int) -> Catalogue | None:
        """The same for who can do without: if it is not at hand, it is read meanwhile, once a second at most."""
        catalogue = self.at_hand()
        if catalogue is None and time.monotonic_ns() >= self._not_before_ns:
            self._not_before_ns = time.monotonic_ns() + max(UNASKED_EVERY_NS, UNASKED_SHARE * self._took_ns)
            self._reading_now(deadline_ns)
        return catalogue

    async def catalogue(self, deadline_ns: int) -> Catalogue:
        """One reading serves all that wait for it. Raises SchemaUnknown."""
        while True:
            if (catalogue := self.at_hand()) is not None:
                return catalogue
            reading = self._reading_now(deadline_ns)
            until_ns = self._reading_until_ns
            try:
                # one that gives up does not end the reading that others wait for
                return await asyncio.shield(reading)
            except SchemaUnknown:
                if deadline_ns <= until_ns or time.monotonic_ns() < until_ns:
                    raise

    def _reading_now(self, deadline_ns: int) -> asyncio.Task[Catalogue]:
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.get_running_loop().create_task(self._read(deadline_ns))
            # whoever waited for it may have gone away
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._reading_until_ns = deadline_ns
        return reading

    async def _read(self, deadline_ns: int) -> Catalogue:
        reason = "no catalogue of the tables was read in time"
        while time.monotonic_ns() < deadline_ns:
            if self._state.schema_in_flux:
                await asyncio.sleep(RETRY_S)  # a change under way tells nobody here: looked again
                continue
            version = self._state.schema_version
            asked_ns = time.monotonic_ns()
            leave = await self._leaves.read_leave(deadline_ns, STRONG)
            if isinstance(leave, ReadRefused):
                reason = leave.reason
                break
            try:
                parts = await self._ask(leave.node, asked_ns)
            except (ConnectionBroken, ServerError) as error:
                reason = f"{leave.node} did not tell its tables: {error}"
                parts = None
            finally:
                self._leaves.read_finished(leave.node, time.monotonic_ns() - asked_ns)
            if parts is not None and version == self._state.schema_version and not self._state.schema_in_flux:
                catalogue = await in_steps(catalogue_in_steps(version, self._database, parts))
                self._took_ns = time.monotonic_ns() - asked_ns
                # right or not by now: who waits for it looks
                self._catalogue = catalogue
                return catalogue
            await asyncio.sleep(RETRY_S)  # a change under way tells nobody here: looked again
        raise SchemaUnknown(reason)

    async def _ask(self, node: str, asked_ns: int) -> dict[str, list[tuple[object, ...]]] | None:
        """None: the connection is younger than the leave, and the server behind it may not be the one that was looked at."""
        session = self._sessions[node]
        async with session.lock:
            if not session.is_open:
                await session.open()
            if session.opened_ns > asked_ns:
                return None
            statements = ["START TRANSACTION READ ONLY", TRIGGER_PRIVILEGE, *QUERIES.values(), "COMMIT"]
            results = await session.run(statements, self._read_timeout_s)
        if not results[1].rows[0][0]:
            session.close()
            raise ConnectionBroken("its account may not see triggers", sent=True)
        return {part: list(result.rows) for part, result in zip(QUERIES, results[2:], strict=False)}

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        for session in self._sessions.values():
            session.close()
