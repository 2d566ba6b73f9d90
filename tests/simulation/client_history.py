"""What clients asked, when, and what they were told: the history by which the promises are judged at the end (design section 1).

Every operation takes effect at one point between its begin and its answer, in timestamp order. The log is the witness of
that order: a write's point is its timestamp, a strong read's is the timestamp up to which it saw entries. So the check
needs no search: an operation that began after another one was answered must not come before it in the log.

A refused write is a read of the master's rows: what it says is there must have been committed before it was answered.

A request of several statements is one operation: all its writes are at one place, or none is anywhere, whatever its client was
told; and a read among them sees exactly what is committed before that place, and what stands before it in the request.
"""

from collections.abc import Iterator

from model_node import key_of
from world_invariants import WorldInvariants

from replication.effects import Acknowledge, Fail, Refuse
from replication.values import ReadLevel, ReadNeed, Refusal, RequestStatement


class PromiseBroken(AssertionError):
    """A client was told something that is not true; the message says what."""


class Write:
    """A client's request to write and what it was told."""

    def __init__(self, statements: tuple[RequestStatement, ...], invoked_ns: int) -> None:
        self.statements = statements
        self.texts = [statement.sql for statement in statements if not statement.is_read]
        """Of its writes."""
        self.name = self.texts[0]
        self.invoked_ns = invoked_ns
        self.answered_ns: int | None = None
        self.answer: Acknowledge | Refuse | Fail | None = None


class Read:
    """A read and what it saw: all entries of one node at one moment."""

    def __init__(self, invoked_ns: int, need: ReadNeed) -> None:
        self.invoked_ns = invoked_ns
        self.need = need
        self.complete_at_ns: int | None = None
        """When the node had everything that was acknowledged, as it was told."""
        self.answered_ns: int | None = None
        self.asked_ns = 0
        """When it asked for leave last."""
        self.allowed_from = 0
        """The timestamp that came with the leave: the rows that are read are at least so new."""
        self.seen = 0
        self.entries = 0
        self.changes: tuple[str, ...] = ()
        """The schema that it saw."""
        self.node = ""


class ClientHistory:
    """All operations of one schedule."""

    def __init__(self) -> None:
        self.writes: dict[int, Write] = {}
        self.reads: dict[int, Read] = {}

    def check(self, known: WorldInvariants) -> None:
        """Raises PromiseBroken. `known` has the entries that are committed at last."""
        for write in self.writes.values():
            check_write(write, known)
        for read in self.reads.values():
            if read.answered_ns is not None:
                check_read(read, known)
        check_real_time(self)
        check_weak_reads(self)


def check_write(write: Write, known: WorldInvariants) -> None:
    answer, places = write.answer, {known.place.get(sql) for sql in write.texts}
    if len(places) > 1:
        raise PromiseBroken(f"{write.texts} are one request, and stand at {places}")
    (place,) = places
    if isinstance(answer, Acknowledge):
        if place != answer.timestamp:
            raise PromiseBroken(f"{write.name} was acknowledged at {answer.timestamp} and is lost")
        check_reads_among_writes(write, answer, known)
    if (isinstance(answer, Refuse) or (isinstance(answer, Fail) and answer.committed is False)) and place is not None:
        raise PromiseBroken(f"{write.name} was said not to be committed, but it is")
    if isinstance(answer, Refuse) and answer.error.refusal is Refusal.SERVER:
        refused = write.statements[answer.error.statement].sql
        key = key_of(refused)
        is_own = sum(key_of(sql) == key for sql in write.texts) > 1
        there_ns = [ns for sql, ns in known.committed_ns.items() if key_of(sql) == key]
        was_there = there_ns and write.answered_ns is not None and there_ns[0] <= write.answered_ns
        if not (key.startswith("bad") or is_own or was_there):
            raise PromiseBroken(f"{refused} was refused because of a {key} that was not committed")


def check_reads_among_writes(write: Write, answer: Acknowledge, known: WorldInvariants) -> None:
    """What is committed before the request, and what the request itself did before."""
    before: list[str] | None = None
    own: list[str] = []
    for statement, did in zip(write.statements, answer.results, strict=True):
        if not statement.is_read:
            own.append(statement.sql)
            continue
        assert did.found is not None
        if before is None:
            before = [entry.sql for entry in known.entries if entry.timestamp < answer.timestamp]
        seen = [sql for (sql,) in did.found.rows]
        if seen != before + own and not any("by nobody" in sql for sql in seen):
            raise PromiseBroken(f"a read of {write.name} at {answer.timestamp} saw {seen}, not {before + own}")


def check_read(read: Read, known: WorldInvariants) -> None:
    if read.seen < read.allowed_from:
        raise PromiseBroken(f"a read at {read.node} saw {read.seen}, its leave promised {read.allowed_from}")
    if known.entries_until.get(read.seen) != read.entries:
        raise PromiseBroken(
            f"a read at {read.node} up to {read.seen} saw {read.entries} entries; "
            f"committed are {known.entries_until.get(read.seen)}"
        )
    until = known.changes_until[read.seen]
    if read.changes[:until] != tuple(known.changes[:until]) or len(read.changes) > until + 1:
        raise PromiseBroken(f"a read at {read.node} up to {read.seen} saw the schema {read.changes}")
    if len(read.changes) > until:
        # a change that the master had made already, and that nobody had been told of: that is the read's place
        made = read.changes[until]
        place = known.place_of_change(made)
        if place <= read.seen:
            raise PromiseBroken(f"a read at {read.node} saw {made}, which was never made")
        read.seen = place


def points(history: ClientHistory) -> Iterator[tuple[int, int, int, str, bool]]:
    """(begin, answer, place in the log, name, whether it is a write) of every operation that succeeded."""
    for write in history.writes.values():
        if isinstance(write.answer, Acknowledge) and write.answered_ns is not None:
            yield write.invoked_ns, write.answered_ns, write.answer.timestamp, write.name, True
    for number, read in history.reads.items():
        if read.answered_ns is not None and read.need.level is ReadLevel.STRONG:
            yield read.invoked_ns, read.answered_ns, read.seen, f"read {number} at {read.node}", False


def check_real_time(history: ClientHistory) -> None:
    """What began after something was answered is not before it in the log."""
    done = sorted(points(history))
    ends = sorted((answered_ns, place, name) for _, answered_ns, place, name, _ in done)
    greatest, who, index = -1, "", 0
    for invoked_ns, _, place, name, is_write in done:
        while index < len(ends) and ends[index][0] < invoked_ns:
            if ends[index][1] > greatest:
                _, greatest, who = ends[index]
            index += 1
        if place < greatest or (is_write and place == greatest):
            raise PromiseBroken(f"{name} is at {place}; it began after {who} at {greatest} was answered")


def check_weak_reads(history: ClientHistory) -> None:
    """A weak read sees the write it names, and is no staler than it was told and may be. (That it sees a state that was, no more
    and no less, is true of every read.)"""
    acknowledged = sorted(
        (write.answered_ns, write.answer.timestamp)
        for write in history.writes.values()
        if isinstance(write.answer, Acknowledge) and write.answered_ns is not None
    )
    for number, read in history.reads.items():
        if read.answered_ns is None or read.need.level is ReadLevel.STRONG:
            continue
        name = f"read {number}, {read.need.level.value}, at {read.node}"
        if read.seen < read.need.after_timestamp:
            raise PromiseBroken(f"{name} saw {read.seen}, and was to see {read.need.after_timestamp}")
        moments = [] if read.complete_at_ns is None else [read.complete_at_ns]
        if read.need.level is ReadLevel.BOUNDED:
            moments.append(read.invoked_ns - read.need.max_staleness_ns)
        for answered_ns, place in acknowledged:
            if any(answered_ns < moment for moment in moments) and place > read.seen:
                raise PromiseBroken(f"{name} saw {read.seen}; {place} was acknowledged long before")
