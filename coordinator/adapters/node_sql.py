"""The SQL that carries out an effect on a node, as text. Pure.

One command is one packet of several statements and one round trip. MySQL runs them in order and stops at the first error,
so a *guard* that fails keeps everything behind it, the COMMIT included, from running: the guard locks the meta row, compares the
fence and the positions that stand there, and fails by a subquery with two rows (errno 1242) where they differ.

Users' statements are spliced into the packet: `query_parser` lets no text pass that could end a statement early.
"""

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from adapters.merged_inserts import Run, runs_of
from replication.effects import MeasureLog, PrepareRow, RunSchemaChange, StoreRows, TruncateLog
from replication.log import Batch, ChangeStep, Entry, EntryName, LogRow, Position

GUARD_FAILED_ERRNO = 1242

SESSION = (
    "SET SESSION autocommit = 0, time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1,"
    " sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION', group_concat_max_len = 1048576, innodb_lock_wait_timeout = 2, sql_safe_updates = 0,"
    " transaction_isolation = 'READ-COMMITTED', collation_connection = 'utf8mb4_0900_ai_ci', div_precision_increment = 4,"
    " lc_time_names = 'en_US', default_week_format = 0, block_encryption_mode = 'aes-128-ecb', max_sort_length = 1024,"
    " cte_max_recursion_depth = 1000, sql_select_limit = 18446744073709551615, optimizer_switch = 'default',"
    " default_collation_for_utf8mb4 = 'utf8mb4_0900_ai_ci'"
)
"""Every variable that a statement's result may depend on, said out loud. READ-COMMITTED: a guard that waited for the lock
must see what its former holder committed."""

READERS_END_S = 5
"""A read that has had its time is gone so soon."""

LOCK = "SELECT id FROM _replication.meta WHERE id = 1 FOR UPDATE"
META = (
    "SELECT cluster_id, node, epoch, owner, master, committed_timestamp, applied_timestamp, applied_entries, copy_note,"
    " log_epoch, log_timestamp FROM _replication.meta WHERE id = 1"
)
END_COLUMNS = "epoch, last_timestamp, entries_total, bytes_total, checksum, open_change"
LOG_END = f"SELECT {END_COLUMNS} FROM _replication.log ORDER BY last_timestamp DESC LIMIT 1"
LOG_BEGIN = "SELECT epoch, last_timestamp FROM _replication.log ORDER BY last_timestamp LIMIT 1"
TAIL = (
    "SELECT l.epoch, l.last_timestamp FROM _replication.log AS l, _replication.meta AS m"
    " WHERE m.id = 1 AND l.last_timestamp >= m.applied_timestamp ORDER BY l.last_timestamp"
)
FENCE = "SELECT epoch, owner FROM _replication.meta WHERE id = 1"


def wait_for_readers(read_s: float) -> str:
    """What a schema change's connection begins with: it waits a little longer for reads of its tables than any may take."""
    return f"SET SESSION lock_wait_timeout = {math.ceil(read_s) + READERS_END_S}"


def quote(text: str) -> str:
    """A string literal of names that we made ourselves (owner, node and cluster names)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


FAIL = "(SELECT 1 UNION ALL SELECT 2)"
"""Where one value is wanted: GUARD_FAILED_ERRNO."""


def supposed(epoch: int, owner: str, log_end: Position | None, applied_timestamp: int | None) -> str:
    """The condition that fence and positions are these (None: wherever that is)."""
    condition = f"epoch = {epoch} AND owner = {quote(owner)}"
    if applied_timestamp is not None:
        condition += f" AND applied_timestamp = {applied_timestamp}"
    if log_end is not None:
        condition += f" AND log_epoch = {log_end.epoch} AND log_timestamp = {log_end.timestamp}"
    return condition


def guard(epoch: int, owner: str, log_end: Position | None, applied_timestamp: int | None) -> str:
    """The assignment that locks the meta row and reads it afresh, and fails unless all is as supposed. A locking read sees what
    the lock's former holder committed; and it begins the transaction, because autocommit is off."""
    condition = supposed(epoch, owner, log_end, applied_timestamp)
    return f"@fence = (SELECT IF({condition}, 1, {FAIL}) FROM _replication.meta WHERE id = 1 FOR UPDATE)"


def begin_change(effect: RunSchemaChange) -> str:
    """The log may have grown meanwhile; what is applied may not."""
    return f"SET {guard(effect.epoch, effect.owner, None, effect.applied_timestamp)}"


def mark_change(timestamp: int, fingerprint: str) -> str:
    return (
        f"UPDATE _replication.meta SET ddl_timestamp = {timestamp}, ddl_fingerprint = {quote(fingerprint)} WHERE id = 1"
    )


def measure_log(effect: MeasureLog) -> str:
    """One row a probe, found by key."""
    probes = (
        f"(SELECT last_timestamp, bytes_total, now_us FROM _replication.log WHERE last_timestamp >= {timestamp}"
        " ORDER BY last_timestamp LIMIT 1)"
        for timestamp in effect.timestamps
    )
    return " UNION ".join(probes) + " ORDER BY last_timestamp"


def truncate_log(effect: TruncateLog, rows_max: int) -> str:
    """Removes the oldest rows, at most so many; what is not applied stays, and the row that the applied ones end with."""
    return (
        f"DELETE FROM _replication.log WHERE last_timestamp < {effect.before_timestamp}"
        " AND last_timestamp < (SELECT applied_timestamp FROM _replication.meta WHERE id = 1)"
        f" ORDER BY last_timestamp LIMIT {rows_max}"
    )


def allow_donor(host: str, port: int) -> str:
    return f"SET GLOBAL clone_valid_donor_list = {quote(f'{host}:{port}')}"


def clone(host: str, port: int, password: str) -> str:
    return f"CLONE INSTANCE FROM cloner@{quote(host)}:{port} IDENTIFIED BY {quote(password)}"


def seconds(now_us: int) -> str:
    return f"{now_us // 1_000_000}.{now_us % 1_000_000:06d}"


NO_ONE_TIMESTAMP = "'of a run'"
"""What a trigger of an earlier version cannot put into a row: it would give all rows of a run the same timestamp."""


def pins(timestamp: int, insert_id: int, rand_seed: int, step: int = 0) -> str:
    """The assignments of what one entry's effect depends on beside the batch's time; or a run's, whose timestamps are so far
    apart (merged_inserts.py)."""
    of_all_rows = NO_ONE_TIMESTAMP if step else timestamp
    text = f"@write_timestamp = {of_all_rows}, @row_timestamp = {timestamp}, @row_step = {step}"
    if insert_id:
        text += f", insert_id = {insert_id}"
    if rand_seed:
        text += f", rand_seed1 = {rand_seed & 0x3FFFFFFF}, rand_seed2 = {rand_seed >> 30 & 0x3FFFFFFF}"
    return text


@lru_cache(maxsize=8)
def _values(row: LogRow) -> str:
    """Made once a row, for the master and every replica."""
    return (
        f"({row.last_timestamp}, {row.first_timestamp}, {row.epoch}, {row.previous_timestamp}, {row.previous_epoch},"
        f" {row.entries_total}, {row.bytes_total}, {row.now_us}, x'{row.payload.hex()}', x'{row.checksum.hex()}',"
        f" {row.open_change})"
    )


def insert_rows(rows: Sequence[LogRow], only_if: str = "") -> str:
    """`only_if`: fails where this is not so."""
    values = ", ".join(map(_values, rows))
    if only_if:
        first = str(rows[0].last_timestamp)
        values = f"(IF({only_if}, {first}, {FAIL}){values[1 + len(first) :]}"
    return (
        "INSERT INTO _replication.log (last_timestamp, first_timestamp, epoch, previous_timestamp, previous_epoch,"
        f" entries_total, bytes_total, now_us, payload, checksum, open_change) VALUES {values}"
    )


def pins_of(run: Run) -> str:
    first = run.entries[0]
    return pins(first.timestamp, first.insert_id, first.rand_seed, run.step)


def update_meta(
    committed: int,
    master: str,
    *,
    log_end: Position | None = None,
    applied: LogRow | None = None,
    ends_change: bool = False,
    only_if: str = "",
) -> str:
    """What is not given stays as it is. `ends_change`: the outcome of a schema change is applied, so nobody will ask any more
    whether the node executed it. `only_if`: fails where this is not so."""
    value = f"IF({only_if}, {committed}, {FAIL})" if only_if else f"{committed}"
    moved = f"committed_timestamp = {value}, master = {quote(master)}"
    if log_end is not None:
        moved += f", log_epoch = {log_end.epoch}, log_timestamp = {log_end.timestamp}"
    if applied is not None:
        moved += f", applied_timestamp = {applied.last_timestamp}, applied_entries = {applied.entries_total}"
    if ends_change:
        moved += ", ddl_timestamp = NULL, ddl_fingerprint = NULL"
    return f"UPDATE _replication.meta SET {moved} WHERE id = 1"


def prepare_row(effect: PrepareRow) -> list[str]:
    row = effect.row
    return [
        insert_rows([row]),
        update_meta(
            row.last_timestamp, effect.master, log_end=row.position, applied=row, ends_change=effect.ends_change
        ),
    ]


def is_outcome(batch: Batch) -> bool:
    return batch.change is not None and batch.change.step is not ChangeStep.INTENT


class Storing(msgspec.Struct, frozen=True):
    """The packet of one StoreRows."""

    statements: list[str]
    expected: dict[int, int]
    """Place of a user's statement -> the rows that it affected on the master."""
    entries: dict[int, EntryName]
    """Place of a user's statement -> its (first) entry."""
    rows_guard: int | None
    """Place of the guard that fails, before the COMMIT, where a statement affected other rows here."""
    merges: bool
    """Whether a statement is several entries'."""


SPEND_AN_OLD_ID = (
    "SET insert_id = 1",
    "INSERT INTO _replication.spent_ids () VALUES ()",
    "DELETE FROM _replication.spent_ids",
)
"""An insert_id that its statement did not use (it named its id itself, and MySQL reports that one too) stays in the session, and
cannot be unset: it can only be used up."""


def may_use_an_old_id(entry: Entry) -> bool:
    """Whether the entry makes an id that nothing tells of: an upsert that found its row and changed nothing in it. An old one
    would be another row's, and that row would be changed instead."""
    return not entry.insert_id and not entry.rows_affected and "DUPLICATE" in entry.sql.upper()


NOTE_ROWS = "CRC32(CONCAT(@rows_digest, ',', ROW_COUNT()))"
"""The digest of all rows affected so far. It rides on the SET that every entry needs anyway."""


class Applying(msgspec.Struct, frozen=True):
    """How rows are applied, behind what opens the transaction."""

    statements: tuple[str, ...]
    expected: dict[int, int]
    entries: dict[int, EntryName]
    digest: int
    """Of all rows affected."""
    merges: bool


@lru_cache(maxsize=4)
def _applying(apply: tuple[tuple[LogRow, Batch], ...], merged: bool, place: int) -> Applying:
    """Made once for all replicas that keep up. `place`: of the first statement in the packet."""
    statements: list[str] = []
    expected: dict[int, int] = {}
    names: dict[int, EntryName] = {}
    digest = 0
    entries = 0
    for _, batch in apply:
        now = seconds(batch.now_us)
        entries += len(batch.entries)
        name = EntryName(0)
        for run in runs_of(batch.entries, 0 if merged else len(batch.entries)):
            first, rows_affected = run.entries[0], run.rows_affected
            name = EntryName(first.timestamp, name.number + 1 if first.timestamp == name.timestamp else 0)
            note = NOTE_ROWS if expected else "0"
            statements.append(f"SET {pins_of(run)}, timestamp = {now}, @rows_digest = {note}")
            statements += [] if not may_use_an_old_id(first) else SPEND_AN_OLD_ID
            expected[place + len(statements)] = rows_affected
            names[place + len(statements)] = name
            if not run.step:  # all of one timestamp
                name = EntryName(name.timestamp, name.number + len(run.entries) - 1)
            digest = zlib.crc32(f"{digest},{rows_affected}".encode())
            statements.append(run.sql)
    return Applying(tuple(statements), expected, names, digest, len(expected) < entries)


def store_rows(effect: StoreRows, merged: bool = True) -> Storing:
    """Guard and move the positions, drop, apply, append if the rows affected were those of the master, commit. `merged`:
    entries that may be are applied together.

    The guard is the UPDATE: it locks the row and sees what the lock's former holder committed. The rows affected by the last
    entry must be looked at by the very next statement."""
    statements = [
        update_meta(
            effect.committed_timestamp,
            effect.master,
            log_end=effect.append[-1].position if effect.append else effect.drop_after,
            applied=effect.apply[-1][0] if effect.apply else None,
            ends_change=any(is_outcome(batch) for _, batch in effect.apply),
            only_if=supposed(effect.epoch, effect.owner, effect.log_end, effect.applied_timestamp),
        )
    ]
    if effect.drop_after is not None:
        statements.append(f"DELETE FROM _replication.log WHERE last_timestamp > {effect.drop_after.timestamp}")
    applying = _applying(effect.apply, merged, len(statements))
    statements += applying.statements
    are_the_same = f"{NOTE_ROWS} = {applying.digest}" if applying.expected else ""
    rows_guard = len(statements) if applying.expected else None
    if effect.append:
        statements.append(insert_rows(effect.append, are_the_same))
    elif are_the_same:
        statements.append(f"SET @fence = IF({are_the_same}, 1, {FAIL})")
    statements.append("COMMIT")
    return Storing(statements, applying.expected, applying.entries, rows_guard, applying.merges)
