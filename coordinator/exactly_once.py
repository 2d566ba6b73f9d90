"""Requests with a key of the client's own (`Idempotency-Key`) take effect once, however often they are sent.

A request with a key begins with one statement more, the *claim*: it inserts the key into `_replication.requests`, where it is the
primary key. So the claim and what the request does are in one transaction, at one timestamp, in entries that follow one another
in the log, on every node: whatever dies, both are there or none is. A request that is sent again finds its key taken, by MySQL's
own word, and nothing of it is done; it is answered with what the log says of the first one. One that was refused left no key
either, and may be sent again.

Keys are forgotten after a set time, by writes like any other, so that all nodes forget the same ones. What the first request's
statements did is in the log; where that does not reach back so far any more, the answer says when it was committed and no more.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import errors
import msgspec
from node_reading import NodeReading

from replication.log import Entry, batch_in
from replication.values import STRONG, ReadLevel, ReadNeed, RequestStatement

KEY_BYTES_MAX = 128
DUPLICATE_ERRNO = 1062
FORGOTTEN_AT_ONCE = 5_000
_FORGETFUL = ReadNeed(ReadLevel.ANY)


class First(msgspec.Struct, frozen=True):
    """The request that took effect."""

    timestamp: int
    node: str
    """Where it was found."""
    entries: tuple[Entry, ...] | None
    """What its writes did, without the claim; None: the log does not reach back to it."""


class Fate(msgspec.Struct, frozen=True):
    """What became of a request."""

    fate: str
    """committed, not committed, unknown"""
    message: str
    timestamp: int | None = None
    results: list[dict[str, int]] | None = None
    """Of its writes, where the log still has them."""


class ExactlyOnce:
    """The claims, and what is known of earlier requests. `history` reads under an account that may see both tables."""

    def __init__(self, history: NodeReading, keep_s: int, deadline_ms: int) -> None:
        self._history = history
        self._keep_s = keep_s
        self._deadline_ns = deadline_ms * 1_000_000
        self._under_way: dict[str, int] = {}

    @contextlib.contextmanager
    def under_way(self, key: str) -> Iterator[None]:
        """Until a request with the key is answered."""
        self._under_way[key] = self._under_way.get(key, 0) + 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]

    # ------------------------------------------------------------------------------------------ again

    async def first(self, key: str, digest: bytes) -> First:
        """The request that took this key. Raises QueryError: it was another request's, or nobody can tell."""
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        leave, (known, row) = await self._history.read([_known(key), _row_of_key(key)], STRONG, deadline_ns)
        if not known.rows:
            # forgotten in the moment between
            raise errors.unavailable("its key was taken, and is forgotten now", False)
        ((its_digest, timestamp),) = known.rows
        if bytes(its_digest) != digest:
            message = "this Idempotency-Key was used for another request: take a new one for each request"
            raise errors.bad_request(422, message)
        return First(timestamp, leave.node, entries_at(timestamp, row.rows, has_claim=True))

    # ------------------------------------------------------------------------------------------ fates

    async def fate_of_key(self, key: str) -> Fate:
        """Raises QueryError."""
        check_key(key)
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        _, (known, row) = await self._history.read([_known(key), _row_of_key(key)], STRONG, deadline_ns)
        if known.rows:
            ((_, timestamp),) = known.rows
            return committed(timestamp, entries_at(timestamp, row.rows, has_claim=True))
        if key in self._under_way:
            return Fate("unknown", "a request with this key is under way: ask again in a moment")
        return Fate("not committed", f"no request with this key was committed in the last {self._keep_s} s")

    async def fate_at(self, timestamp: int) -> Fate:
        """Raises QueryError."""
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        texts = [_APPLIED, _row_at(timestamp), _BEGIN]
        _, (applied, row, begin) = await self._history.read(texts, STRONG, deadline_ns)
        ((applied_timestamp,),), ((begin_timestamp,),) = applied.rows, begin.rows
        if timestamp > applied_timestamp:
            return Fate(
                "unknown", f"what is committed ends at {applied_timestamp}: a write may still be given {timestamp}"
            )
        if timestamp < begin_timestamp:
            return Fate("unknown", f"the log does not reach back so far any more: it begins at {begin_timestamp}")
        entries = entries_at(timestamp, row.rows, has_claim=False)
        return committed(timestamp, entries) if entries else Fate("not committed", "no write has this timestamp")

    # ------------------------------------------------------------------------------------------ forget

    async def has_old_ones(self) -> bool:
        """Whether keys are there that are to be forgotten. Raises QueryError."""
        deadline_ns = time.monotonic_ns() + self._deadline_ns
        text = f"SELECT 1 FROM _replication.requests WHERE {_old(self._keep_s)} LIMIT 1"
        _, (found,) = await self._history.read([text], _FORGETFUL, deadline_ns)
        return bool(found.rows)

    def forgetting(self) -> RequestStatement:
        """NOW() is the batch's time on every node, and the order is one of unique values."""
        order = "ORDER BY made_at, idempotency_key"
        sql = f"DELETE FROM _replication.requests WHERE {_old(self._keep_s)} {order} LIMIT {FORGOTTEN_AT_ONCE}"
        return RequestStatement(sql)


def check_key(key: str) -> str:
    """Raises QueryError."""
    if not 0 < len(key) <= KEY_BYTES_MAX or not key.isascii() or not key.isprintable():
        raise errors.bad_request(422, f"an Idempotency-Key has 1 to {KEY_BYTES_MAX} printable ASCII characters")
    return key


def digest_of(parts: Sequence[tuple[str, int | None]], *, is_batch: bool) -> bytes:
    """What makes two requests the same: their texts with their values, and what they expect."""
    digest = blake2b(b"batch" if is_batch else b"query", digest_size=16)
    for text, expected in parts:
        encoded = text.encode()
        digest.update(b"%d %d " % (len(encoded), -1 if expected is None else expected) + encoded)
    return digest.digest()


def claim(key: str, digest: bytes) -> RequestStatement:
    columns = "(idempotency_key, digest, timestamp, made_at)"
    values = f"({_literal(key)}, x'{digest.hex()}', @write_timestamp, NOW(6))"
    return RequestStatement(f"INSERT INTO _replication.requests {columns} VALUES {values}")


def entries_at(timestamp: int, payloads: Sequence[tuple[bytes]], *, has_claim: bool) -> tuple[Entry, ...] | None:
    """The entries of that timestamp in a row of the log. A claim is none of the client's."""
    if not payloads:
        return None
    ((payload,),) = payloads
    entries = tuple(entry for entry in batch_in(payload).entries if entry.timestamp == timestamp) if payload else ()
    is_claimed = bool(entries) and "INSERT INTO _replication.requests " in entries[0].sql
    assert is_claimed or not has_claim, f"no claim at {timestamp}"
    return entries[1:] if is_claimed else entries


def committed(timestamp: int, entries: tuple[Entry, ...] | None) -> Fate:
    results: list[dict[str, int]] | None = None
    if entries is not None:
        results = [{"rows_affected": each.rows_affected, "last_insert_id": each.insert_id} for each in entries]
    return Fate("committed", f"committed at {timestamp}", timestamp, results)


def _literal(key: str) -> str:
    return f"x'{key.encode().hex()}'"


def _known(key: str) -> str:
    return f"SELECT digest, timestamp FROM _replication.requests WHERE idempotency_key = {_literal(key)}"


_FROM_LOG = "SELECT l.payload FROM _replication.log AS l"
_FIRST = "ORDER BY l.last_timestamp LIMIT 1"
_APPLIED = "SELECT applied_timestamp FROM _replication.meta WHERE id = 1"
_BEGIN = "SELECT first_timestamp FROM _replication.log ORDER BY last_timestamp LIMIT 1"


def _row_of_key(key: str) -> str:
    known = f"JOIN _replication.requests AS r ON r.idempotency_key = {_literal(key)}"
    return f"{_FROM_LOG} {known} WHERE l.last_timestamp >= r.timestamp AND l.first_timestamp <= r.timestamp {_FIRST}"


def _row_at(timestamp: int) -> str:
    return f"{_FROM_LOG} WHERE l.last_timestamp >= {timestamp} AND l.first_timestamp <= {timestamp} {_FIRST}"


def _old(keep_s: int) -> str:
    return f"made_at < NOW(6) - INTERVAL {keep_s} SECOND"
