"""One node's probe: a connection of its own, a thread of its own, a time limit on everything.

Promise: `ask` ends within the two time-outs with an answer or a ProbeError, whatever the node does, and no node can
delay another's probe. A stopped MySQL accepts connections (the kernel does) and then says nothing; a stopped container
is a name that takes seconds to not resolve. A thread per node contains both: a name look-up cannot be
cancelled, and in a shared pool one dead name would use up the threads of all nodes.

Invariant: a connection that timed out or failed in any way is closed and never used again; the late answer to an old
question would otherwise be read as the answer to the next one.

The probe is one SELECT by primary key: it takes no locks, waits for none, and costs the node some tens of microseconds.
The run of the server is asked only on a new connection: no connection outlives the server process it was made to.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import pymysql
from crash_journal import ServerRun
from node_metrics import NodeReading

ACCOUNT = "collector"

# Bits 24 to 55 of UUID_SHORT() are the second in which this server process started: exact, fixed for the run, readable
# by everybody, and there without the performance schema. now - Uptime is none of that: it wanders with the clock.
_RUN_SQL = "SELECT @@server_uuid, (UUID_SHORT() >> 24) & 0xFFFFFFFF, UNIX_TIMESTAMP()"

_PROBE_SQL = """\
SELECT /*+ MAX_EXECUTION_TIME({timeout_ms}) */
  m.epoch, m.master, m.committed_timestamp, m.applied_timestamp, m.applied_entries,
  (SELECT c.entries_total FROM _replication.log c WHERE c.last_timestamp <= m.committed_timestamp
   ORDER BY c.last_timestamp DESC LIMIT 1),
  (SELECT MAX(e.last_timestamp) FROM _replication.log e)
FROM _replication.meta m WHERE m.id = 1"""

_ER_ACCESS_DENIED = frozenset({1044, 1045, 1142, 1698})
_ER_NO_SUCH_THING = frozenset({1049, 1054, 1146})
_ER_QUERY_TIMEOUT = 3024


@dataclass(frozen=True, slots=True)
class NodeAddress:
    id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    reading: NodeReading
    run: ServerRun


class ProbeError(Exception):
    """The node gave no usable answer; the text is a sentence that says why."""


class Probe(Protocol):
    """What the collector needs of a node. Another implementation gives no answers that MySQL would not give."""

    async def ask(self) -> ProbeAnswer: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Session:
    connection: Any
    run: ServerRun
    uptime_at_login_s: int
    login_ns: int


class MySqlNodeProbe:
    """Asks one MySQL server. Not to be asked twice at the same time."""

    def __init__(
        self,
        address: NodeAddress,
        *,
        password: str,
        connect_timeout_ms: int,
        probe_timeout_ms: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = address
        self._password = password
        self._connect_timeout_ms = connect_timeout_ms
        self._probe_timeout_ms = probe_timeout_ms
        self._clock_ns = clock_ns
        self._sql = _PROBE_SQL.format(timeout_ms=probe_timeout_ms)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"probe-{address.id}")
        self._running: asyncio.Future[ProbeAnswer] | None = None
        # Set by the thread, read by the event loop only to cut the thread's wait short.
        self._socket: socket.socket | None = None
        self._session: _Session | None = None

    async def ask(self) -> ProbeAnswer:
        if self._running is not None:
            if not self._running.done():
                raise ProbeError("the probe before has not ended (a name look-up hangs?)")
            self._running.exception()  # nobody waited for it any more
        self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._ask_blocking)
        # The socket's own time-outs start anew with every received byte; this one spans the whole exchange.
        limit_ms = self._connect_timeout_ms + self._probe_timeout_ms
        done, _ = await asyncio.wait({self._running}, timeout=limit_ms / 1000)
        if not done:
            self._cut()
            raise ProbeError(f"no answer within {limit_ms} ms")
        running, self._running = self._running, None
        return running.result()

    async def close(self) -> None:
        """End the connection politely if it is idle, hard if a probe is running."""
        if self._running is not None:
            self._cut()
            await asyncio.wait({self._running}, timeout=self._probe_timeout_ms / 1000)
            if self._running.done() and not self._running.cancelled():
                self._running.exception()
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close_session)
        await asyncio.wait({closing}, timeout=self._probe_timeout_ms / 1000)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is not connected: nothing to cut
                self._socket.shutdown(socket.SHUT_RDWR)

    # The rest runs in the probe's thread.

    def _ask_blocking(self) -> ProbeAnswer:
        try:
            session = self._session or self._log_in()
            started_ns = time.perf_counter_ns()
            row = _query(session.connection, self._sql)
            latency_ns = time.perf_counter_ns() - started_ns
            return ProbeAnswer(_reading(row, latency_ns, self._uptime_s(session)), session.run)
        except ProbeError:
            self._close_session()
            raise
        except (pymysql.MySQLError, OSError) as error:
            self._close_session()
            raise ProbeError(self._sentence(error)) from error
        except (AssertionError, IndexError, ValueError, struct.error) as error:
            # What PyMySQL does with bytes that are no MySQL packets.
            self._close_session()
            raise ProbeError(f"the answer is not MySQL's: is NODES right? ({error})") from error

    def _log_in(self) -> _Session:
        self._socket = self._open_socket()
        connection = pymysql.Connection(
            user=ACCOUNT,
            password=self._password,
            read_timeout=self._probe_timeout_ms / 1000,
            write_timeout=self._probe_timeout_ms / 1000,
            # The default is off, and then every probe would read the snapshot of the first.
            autocommit=True,
            # TLS that verifies no certificate proves nothing, and replaces the socket that `_cut` has to reach. The
            # password is sent encrypted with the server's key all the same.
            ssl_disabled=True,
            defer_connect=True,
        )
        connection.connect(self._socket)
        server_uuid, started_at_s, now_s = _query(connection, _RUN_SQL)
        run = ServerRun(str(server_uuid), int(started_at_s))
        self._session = _Session(connection, run, max(0, int(now_s) - int(started_at_s)), self._clock_ns())
        return self._session

    def _open_socket(self) -> socket.socket:
        try:
            opened = socket.create_connection(
                (self._address.host, self._address.port), timeout=self._connect_timeout_ms / 1000
            )
        except TimeoutError as error:
            raise ProbeError(f"no connection within {self._connect_timeout_ms} ms") from error
        except ConnectionRefusedError as error:
            raise ProbeError("connection refused") from error
        except socket.gaierror as error:
            raise ProbeError(f"the name {self._address.host!r} cannot be resolved ({error.strerror})") from error
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _uptime_s(self, session: _Session) -> float:
        return session.uptime_at_login_s + (self._clock_ns() - session.login_ns) / 1e9

    def _close_session(self) -> None:
        session, self._session = self._session, None
        opened, self._socket = self._socket, None
        if session is not None and session.connection.open:
            session.connection.close()
        if opened is not None:
            opened.close()

    def _sentence(self, error: Exception) -> str:
        if _is_timeout(error):
            return f"no answer within {self._probe_timeout_ms} ms"
        number, text = (*error.args, "")[:2] if error.args else (0, "")
        if not isinstance(error, pymysql.MySQLError) or not isinstance(number, int):
            return f"connection failed: {error}"
        if number == _ER_QUERY_TIMEOUT:
            return f"no answer within {self._probe_timeout_ms} ms"
        if number in _ER_ACCESS_DENIED:
            return f"access denied for account {ACCOUNT!r}: check COLLECTOR_DB_PASSWORD (MySQL error {number}: {text})"
        if number in _ER_NO_SUCH_THING:
            return f"the node is not set up: run mysql-config/init.sql on it (MySQL error {number}: {text})"
        return f"MySQL error {number}: {text}"


def _query(connection: Any, sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise ProbeError("the node is not set up: _replication.meta has no row, run mysql-config/init.sql on it")
    return row


def _reading(row: tuple[Any, ...], latency_ns: int, uptime_s: float) -> NodeReading:
    epoch, master, committed_timestamp, applied_timestamp, applied_entries, committed_entries, log_end_timestamp = row
    return NodeReading(
        epoch=epoch,
        master=master,
        committed_timestamp=committed_timestamp,
        applied_timestamp=applied_timestamp,
        applied_entries=applied_entries,
        # The row may be truncated away, or not be here yet; what is applied is committed in any case.
        committed_entries=applied_entries if committed_entries is None else committed_entries,
        log_end_timestamp=committed_timestamp if log_end_timestamp is None else log_end_timestamp,
        latency_ns=latency_ns,
        uptime_s=uptime_s,
    )


def _is_timeout(error: BaseException) -> bool:
    """PyMySQL makes "Lost connection" of a time-out; only the exception behind it tells them apart."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
