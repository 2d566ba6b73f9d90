"""The composition root: everything that lives as long as the process, made of the settings and bound to each other."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Coroutine
from typing import Any, Literal

import coordinator_points as points
import crash_point
import status_view
from access import Access
from admission import Admission
from config import CoordinatorSettings
from coordinator_metrics import Sources
from crash_point import ConnectionCut
from driver import Driver
from errors import QueryError
from exactly_once import ExactlyOnce
from live_stream import LiveStream
from live_view import LiveView
from node_reading import NodeReading
from pydantic import SecretStr
from query_contract import HealthAnswer
from query_endpoint import QueryEndpoint
from traffic import Traffic
from traffic_history import TrafficHistory
from verification_run import Pace
from verifier import Verifier
from verify_contract import VerifyAnswer

from adapters.batch_execution import ReadLimits
from adapters.mysql_node import MySQLNode, NodePasswords, NodeTimeouts
from adapters.mysql_session import MySQLSession, ResultBounds
from adapters.node_checksums import NodeChecksums
from adapters.node_reader import NodeReader
from adapters.schema_reader import SESSION as SCHEMA_SESSION
from adapters.schema_reader import SchemaReader
from adapters.service_clients import AdviceClient, TimestampClient
from replication.effects import Acknowledge
from replication.replicator import Replicator

log = logging.getLogger("coordinator")

VERIFY_WAIT_S = 60.0
"""How long `POST /verify` waits for the end of a comparison at most."""
FORGET_INTERVAL_S = 60.0
SAMPLE_INTERVAL_S = 1.0
HISTORIANS_MAX = 2
"""Connections, a node, for looking at what became of requests."""
STREAM_END_S = 2.0
"""After a read's time is over, a client has so long to take what is left of a result that is sent as it comes."""
LOOP_STALE_S = 5.0
"""A loop that took no step for so long is stuck: the heartbeat alone makes several a second."""


class Coordinator:
    """Everything that lives as long as the process."""

    def __init__(self, settings: CoordinatorSettings, access: Access) -> None:
        addresses = settings.addresses
        self.original_master = next(iter(addresses))
        connect_timeout_s = settings.connect_timeout_ms / 1000
        timeouts = NodeTimeouts(
            connect_s=connect_timeout_s,
            confirm_s=settings.confirm_timeout_ms / 1000,
            fence_s=settings.fence_timeout_ms / 1000,
            store_s=settings.store_timeout_ms / 1000,
            copy_s=settings.copy_timeout_ms / 1000,
            change_s=settings.schema_change_timeout_ms / 1000,
            read_s=settings.read_timeout_ms / 1000,
        )
        passwords = NodePasswords(
            coordinator=settings.coordinator_db_password.get_secret_value(),
            cloner=settings.cloner_db_password.get_secret_value(),
            ddl=settings.ddl_db_password.get_secret_value(),
        )
        checksums = {
            name: NodeChecksums(
                host,
                port,
                settings.verifier_db_password.get_secret_value(),
                connect_timeout_s=connect_timeout_s,
                timeout_s=settings.verify_query_timeout_ms / 1000,
            )
            for name, (host, port) in addresses.items()
        }
        read_limits = ReadLimits(settings.read_rows_max, settings.batch_read_timeout_ms)
        nodes = {
            name: MySQLNode(name, addresses, passwords, settings.database, timeouts, checksums[name], read_limits)
            for name in addresses
        }
        self.readers = readers_of(
            settings, "reader", settings.reader_db_password, settings.database, settings.reader_connections_max
        )
        self.timestamps = TimestampClient(
            settings.timestamp_urls.split(","), settings.timestamp_timeout_ms / 1000, access.service_token
        )
        self.advice = AdviceClient(
            settings.cabinet_url, settings.seer_url, settings.advice_timeout_ms / 1000, access.service_token
        )
        self._advice_interval_s = settings.advice_interval_ms / 1000
        self.replicator = Replicator(
            list(addresses), owner=str(uuid.uuid4()), new_cluster_id=str(uuid.uuid4()), settings=settings.replication
        )
        deadline_ns, change_deadline_ns = (
            milliseconds * 1_000_000
            for milliseconds in (settings.request_deadline_ms, settings.schema_change_deadline_ms)
        )
        self.traffic = Traffic()
        admission = Admission(settings.requests_max, settings.request_bytes_max)
        self.driver = Driver(
            self.replicator, dict(nodes), self.timestamps, deadline_ns, change_deadline_ns, self.traffic
        )
        schema_password = settings.schema_reader_db_password.get_secret_value()
        self.schema = SchemaReader(
            self.driver,
            self.replicator.state,
            {
                name: MySQLSession(
                    host,
                    port,
                    "schema_reader",
                    schema_password,
                    setup=[SCHEMA_SESSION],
                    connect_timeout_s=connect_timeout_s,
                )
                for name, (host, port) in addresses.items()
            },
            settings.database,
            settings.read_timeout_ms / 1000,
        )
        self.historians = readers_of(
            settings, "historian", settings.historian_db_password, "_replication", HISTORIANS_MAX
        )
        history = NodeReading(self.driver, self.historians)
        self._keep_keys_s = settings.idempotency_keep_s
        self.once = ExactlyOnce(history, settings.idempotency_keep_s, settings.request_deadline_ms)
        self.query = QueryEndpoint(
            self.driver,
            NodeReading(self.driver, self.readers),
            self.schema,
            self.once,
            admission,
            settings.body_bytes_max,
            settings.batch_statements_max,
            settings.request_deadline_ms,
            settings.read_timeout_ms / 1000 + STREAM_END_S,
            self.traffic,
            access.tokens,
        )
        pace = Pace(settings.verify_chunk_rows, settings.verify_pause_ms / 1000)
        self.verifier = Verifier(self.driver, self.replicator.state, checksums, pace)
        self._verify_interval_s = settings.verify_interval_s
        self.numbers = Sources(self.traffic, admission, self.replicator, self.timestamps.failures, self.verifier)
        self.live_view = LiveView(
            self.replicator, self.advice, self.driver.recent, TrafficHistory(self.traffic), self.status
        )
        self.live = LiveStream(self.live_view)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        crash_point.reach(points.START_BEFORE)
        self.driver.start()
        self._begin(self._ask_for_advice(), "asking for advice")
        if self._verify_interval_s:
            self._begin(
                self.verifier.repeat(self._verify_interval_s, self._verification_ended), "comparing now and then"
            )
        self._begin(self._forget_keys(), "forgetting keys")
        self._begin(self._sample_traffic(), "sampling the traffic")
        crash_point.reach(points.START_AFTER)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.live.stop()
        await self.verifier.stop()
        await self.driver.stop()
        for reader in (*self.readers.values(), *self.historians.values()):
            reader.close()
        self.schema.close()
        await self.timestamps.close()
        await self.advice.close()

    async def _ask_for_advice(self) -> None:
        while True:
            with contextlib.suppress(ConnectionCut):  # a test's crash point hung up: there is a next time
                crash_point.reach(points.ADVICE_BEFORE)
                advice = await self.advice.fetch(self.replicator.state.master)
                crash_point.reach(points.ADVICE_AFTER)
                self.driver.advise(advice)
            await asyncio.sleep(self._advice_interval_s)  # advice is asked for so often

    async def _forget_keys(self) -> None:
        while True:
            await asyncio.sleep(min(FORGET_INTERVAL_S, self._keep_keys_s))  # it is looked for so often
            with contextlib.suppress(QueryError):  # nobody could be asked: there is a next time
                while await self.once.has_old_ones():
                    if not isinstance(await self.driver.write((self.once.forgetting(),)), Acknowledge):
                        break

    async def _sample_traffic(self) -> None:
        began_s = time.monotonic()
        while True:
            self.live_view.sample(time.monotonic_ns())
            # a second without a sample would be missing on the page
            left_s = SAMPLE_INTERVAL_S - (time.monotonic() - began_s) % SAMPLE_INTERVAL_S
            await asyncio.sleep(left_s)  # to the next whole one since the beginning

    def _begin(self, work: Coroutine[None, None, None], what: str) -> None:
        """Something that goes on as long as the process."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda task: self._must_not_fail(task, what))
        self._tasks.append(task)

    def _must_not_fail(self, task: asyncio.Task[None], what: str) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed in an unforeseen way", what, exc_info=task.exception())
            self.driver.die(f"{what} failed in an unforeseen way")

    def _verification_ended(self, task: asyncio.Task[None]) -> None:
        self._must_not_fail(task, "comparing all rows")

    async def verify(self, *, wait: bool) -> int:
        """Begin a comparison of all nodes' rows, unless one is under way; the HTTP status that says so."""
        if self.verifier.is_running:
            return 409
        self.verifier.begin(self._verification_ended)
        if wait:
            await self.verifier.wait(VERIFY_WAIT_S)
        return 202 if self.verifier.is_running else 200

    def verification(self, status: int = 200) -> VerifyAnswer:
        """How far the comparison is, and what came of the last one."""
        last = self.verifier.last
        message = "a comparison is under way" if self.verifier.is_running else "no comparison was made yet"
        if status != 409 and not self.verifier.is_running and last is not None:
            message = f"{last.outcome} at {last.timestamp}" + (f": {last.reason}" if last.reason else "")
        return VerifyAnswer(
            success=status != 409,
            message=message,
            running=self.verifier.is_running,
            progress=self.verifier.progress,
            last=last,
        )

    def status(self) -> dict[str, Any]:
        """Body of GET /status."""
        return status_view.status(self.replicator, self.original_master, self.timestamps.errors)

    def why_not_alive(self) -> str:
        """Empty: the protocol's loop runs."""
        stale_s = (time.monotonic_ns() - self.driver.stepped_at_ns) / 1e9
        return f"the protocol took no step for {stale_s:.0f} s" if stale_s > LOOP_STALE_S else ""

    def why_not_ready(self, purpose: Literal["write", "read"]) -> str:
        """Empty: one can be answered now."""
        if reason := self.why_not_alive():
            return reason
        if purpose == "read":
            return status_view.why_not_readable(self.replicator)
        return status_view.why_not_writable(self.replicator)

    def health(self) -> HealthAnswer:
        reason = self.why_not_ready("write")
        status: Literal["ok", "unavailable"] = "unavailable" if self.why_not_alive() else "ok"
        return HealthAnswer(
            status=status, service="coordinator", can_write=not reason, reason=reason or "writes are taken"
        )


def readers_of(
    settings: CoordinatorSettings, account: str, password: SecretStr, database: str, connections_max: int
) -> dict[str, NodeReader]:
    """One pool a node, under one account."""
    return {
        name: NodeReader(
            host,
            port,
            password.get_secret_value(),
            database,
            account=account,
            connect_timeout_s=settings.connect_timeout_ms / 1000,
            read_timeout_s=settings.read_timeout_ms / 1000,
            bounds=ResultBounds(settings.read_rows_max, settings.read_bytes_max),
            connections_max=connections_max,
            streams_max=settings.streams_max,
        )
        for name, (host, port) in settings.addresses.items()
    }
