"""The replication log's rows: what one carries, how it is written down, and how two logs are known to be the same.

A row carries a whole batch of entries (one durable insert per batch and node; a row per entry would cost more than
the statements). Its place is its `Position`: (epoch, timestamp of its last entry). Two rows of one position are the same
row, and so is everything before them (log matching, Raft section 5.3), because a row is only ever appended after the
position it names as `previous`, and an epoch has one writer.

That argument is checked, not trusted: `checksum` chains every row to all rows before it, so two logs that agree in
their last checksum agree in every byte.

A schema change takes two rows, because MySQL cannot undo one: its *intent*, and once that was committed and the master has
executed it, its *outcome*. In between stands nothing but the no-ops of new epochs, and every row says in `open_change` which
intent still waits; so whoever reads the log's end knows it.

The payload is MessagePack, an array per entry: short, fast, and readable with any MessagePack tool.
"""

import enum
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import msgspec

CHECKSUM_BYTES = 16
NO_CHECKSUM = bytes(CHECKSUM_BYTES)


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in the log. The greater position is the more complete log (Raft section 5.4.1)."""

    epoch: int
    timestamp: int

    def __str__(self) -> str:
        return f"{self.timestamp} of epoch {self.epoch}"


LOG_BEGIN = Position(0, 0)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One replicated statement: its text and everything that its effect depends on, and the result it had. The entries of one
    request stand one behind the other and have one timestamp."""

    timestamp: int
    sql: str
    rows_affected: int
    insert_id: int = 0
    """First id that AUTO_INCREMENT gave; 0 where none was given. A replica is told to begin with the same."""
    rand_seed: int = 0
    """Seed of RAND(); 0 where the text does not call it."""
    row_at: int = 0
    """Where in `sql` its only row begins, if it may be executed as one statement with entries of the same beginning; else 0.
    The master knew the schema, and a replica that applies the entry has the same one."""


class EntryName(msgspec.Struct, frozen=True, order=True):
    """Which entry is meant."""

    timestamp: int
    number: int = 0
    """Among those of its timestamp, from 0."""

    def __str__(self) -> str:
        return f"{self.timestamp}" if self.number == 0 else f"{self.timestamp}, statement {self.number + 1}"


def names_of(entries: Sequence[Entry]) -> list[EntryName]:
    """The name of each entry. `entries`: all of their timestamps, in order."""
    names: list[EntryName] = []
    for entry in entries:
        follows = bool(names) and names[-1].timestamp == entry.timestamp
        names.append(EntryName(entry.timestamp, names[-1].number + 1 if follows else 0))
    return names


class ChangeStep(enum.Enum):
    INTENT = "intent"
    """It will be executed, by whoever is master."""
    DONE = "done"
    """The master executed it: so does everybody who applies this row."""
    FAILED = "failed"
    """MySQL refused it, and nothing was changed: nobody executes it any more."""


class SchemaChange(msgspec.Struct, frozen=True, array_like=True):
    """One of a schema change's two rows."""

    step: ChangeStep
    intent_timestamp: int
    """Place of the intent: the change's name."""
    now_us: int
    """The time that the change gives to rows that it rewrites: the same on every node."""
    sql: str


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What a row's payload holds. Neither entries nor a change: the no-op with which an epoch begins."""

    now_us: int
    """The time that NOW() gives to every entry of the batch: microseconds since 1970, UTC."""
    entries: tuple[Entry, ...]
    change: SchemaChange | None = None


class LogRow(msgspec.Struct, frozen=True):
    """A row of `_replication.log`, field by field."""

    last_timestamp: int
    first_timestamp: int
    epoch: int
    previous_timestamp: int
    previous_epoch: int
    entries_total: int
    bytes_total: int
    """Bytes of payload in this row and all before it: what lies between two rows is known without reading it."""
    now_us: int
    """The batch's time, for those that look for old rows without reading payloads."""
    payload: bytes
    checksum: bytes
    open_change: int = 0
    """Timestamp of the intent that has no outcome yet, this row included; 0: there is none."""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.last_timestamp)

    @property
    def previous(self) -> Position:
        return Position(self.previous_epoch, self.previous_timestamp)


class LogEnd(msgspec.Struct, frozen=True):
    """What the next row is chained to: the last row without its payload."""

    position: Position
    entries_total: int
    bytes_total: int
    checksum: bytes
    open_change: int = 0


EMPTY_LOG_END = LogEnd(LOG_BEGIN, 0, 0, NO_CHECKSUM)


class LogDamaged(Exception):
    """A stored row is not what was written: its checksum or its payload does not fit. The node must not be used."""


_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


def _checksum(previous: LogEnd, numbers: tuple[int, ...], payload: bytes) -> bytes:
    """`numbers`: the row's own, in the order of `_numbers`."""
    digest = blake2b(previous.checksum, digest_size=CHECKSUM_BYTES)
    header = (previous.position.epoch, previous.position.timestamp, *numbers)
    digest.update(b"".join(number.to_bytes(8, "big") for number in header))
    digest.update(payload)
    return digest.digest()


def _numbers(row: LogRow) -> tuple[int, ...]:
    return (
        row.epoch,
        row.first_timestamp,
        row.last_timestamp,
        row.entries_total,
        row.bytes_total,
        row.now_us,
        row.open_change,
    )


def next_row(end: LogEnd, epoch: int, batch: Batch, noop_timestamp: int = 0) -> LogRow:
    """The row that carries `batch` after `end`. A batch without entries takes `noop_timestamp` as its place."""
    first = batch.entries[0].timestamp if batch.entries else noop_timestamp
    last = batch.entries[-1].timestamp if batch.entries else noop_timestamp
    open_change = end.open_change
    if batch.change is not None:
        open_change = batch.change.intent_timestamp if batch.change.step is ChangeStep.INTENT else 0
    payload = _encode(batch)
    row = LogRow(
        last_timestamp=last,
        first_timestamp=first,
        epoch=epoch,
        previous_timestamp=end.position.timestamp,
        previous_epoch=end.position.epoch,
        entries_total=end.entries_total + len(batch.entries),
        bytes_total=end.bytes_total + len(payload),
        now_us=batch.now_us,
        payload=payload,
        checksum=NO_CHECKSUM,
        open_change=open_change,
    )
    return msgspec.structs.replace(row, checksum=_checksum(end, _numbers(row), payload))


def end_after(row: LogRow) -> LogEnd:
    return LogEnd(row.position, row.entries_total, row.bytes_total, row.checksum, row.open_change)


def batch_in(payload: bytes) -> Batch:
    """What a row's payload holds. Raises msgspec.MsgspecError."""
    return _decode_batch(payload)


@lru_cache(maxsize=8)
def batch_of(row: LogRow) -> Batch:
    """The entries that a row carries; read once for all replicas that keep up. Raises LogDamaged where it cannot be read."""
    try:
        return batch_in(row.payload)
    except msgspec.MsgspecError as error:
        raise LogDamaged(f"row {row.position}: the payload cannot be read: {error}") from error


def check_chain(end: LogEnd, rows: Sequence[LogRow]) -> None:
    """Raises LogDamaged unless `rows` continue `end` without a gap and every checksum fits."""
    for row in rows:
        if row.previous != end.position:
            raise LogDamaged(f"row {row.position} follows {row.previous}, but the log ends at {end.position}")
        expected = _checksum(end, _numbers(row), row.payload)
        if row.checksum != expected:
            raise LogDamaged(f"row {row.position} has checksum {row.checksum.hex()}, its bytes give {expected.hex()}")
        end = end_after(row)


class LogWindow:
    """The newest rows of the authoritative log, in memory: what replicas that keep up are sent from.

    Holds rows after `base` up to `end`. Older rows are forgotten from the front once over the limit; a node that needs
    them is filled from another node's disk.
    """

    def __init__(self, base: LogEnd, bytes_max: int) -> None:
        self.base = base
        self.end = base
        self._bytes_max = bytes_max
        self._bytes = 0
        self._rows: deque[LogRow] = deque()

    def append(self, row: LogRow) -> None:
        if row.previous != self.end.position:
            raise LogDamaged(f"row {row.position} follows {row.previous}, but the log ends at {self.end.position}")
        if row.first_timestamp <= self.end.position.timestamp or row.epoch < self.end.position.epoch:
            raise LogDamaged(f"row {row.position} does not grow the log, which ends at {self.end.position}")
        self._rows.append(row)
        self._bytes += len(row.payload)
        self.end = end_after(row)
        while self._bytes > self._bytes_max and len(self._rows) > 1:
            gone = self._rows.popleft()
            self._bytes -= len(gone.payload)
            self.base = end_after(gone)

    def covers(self, timestamp: int) -> bool:
        """Whether every row after `timestamp` is here."""
        return timestamp >= self.base.position.timestamp

    def holds(self, position: Position) -> bool:
        """Whether this very position is a row here (or the base)."""
        if position == self.base.position:
            return True
        return any(row.position == position for row in reversed(self._rows))

    def after(self, timestamp: int, bytes_max: int) -> tuple[LogRow, ...]:
        """Rows after `timestamp`, oldest first, cut at `bytes_max` (but never fewer than one)."""
        found: list[LogRow] = []
        for row in reversed(self._rows):
            if row.last_timestamp <= timestamp:
                break
            found.append(row)
        found.reverse()
        return cut(found, bytes_max)


def cut(rows: Sequence[LogRow], bytes_max: int) -> tuple[LogRow, ...]:
    """The longest prefix of `rows` within `bytes_max` of payload, but never fewer than one row."""
    total = 0
    for count, row in enumerate(rows):
        total += len(row.payload)
        if total > bytes_max and count > 0:
            return tuple(rows[:count])
    return tuple(rows)
