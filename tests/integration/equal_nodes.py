"""What a test asks of the four nodes' rows and tables, past the coordinator: by SQL on each node itself."""

import re
import time
from collections.abc import Iterable
from typing import Any, Protocol

from recording_client import Record

USER_TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
    " AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', '_replication')"
)
LOG_DIGEST = (
    "SELECT last_timestamp, entries_total, HEX(checksum) FROM _replication.log ORDER BY last_timestamp DESC LIMIT 1"
)


class OpenCluster(Protocol):
    """Nodes that a test can look into."""

    @property
    def nodes(self) -> Iterable[str]: ...

    def rows_on(self, node: str, sql: str, /) -> list[tuple[Any, ...]]: ...


def checksums(cluster: OpenCluster, node: str) -> dict[str, int]:
    """Checksum of every user table of a node."""
    tables = [f"`{schema}`.`{name}`" for schema, name in cluster.rows_on(node, USER_TABLES)]
    return dict(cluster.rows_on(node, "CHECKSUM TABLE " + ", ".join(tables)))


def definitions(cluster: OpenCluster, node: str) -> dict[str, str]:
    """How every user table is made. (Which id is next may differ: a write that was rolled back has used some up.)"""
    tables = [f"`{schema}`.`{name}`" for schema, name in cluster.rows_on(node, USER_TABLES)]
    shown = {table: cluster.rows_on(node, f"SHOW CREATE TABLE {table}")[0][1] for table in tables}
    return {table: re.sub(r" AUTO_INCREMENT=\d+", "", text) for table, text in shown.items()}


def wait_until_equal(cluster: OpenCluster, within_s: float, nodes: Iterable[str] | None = None) -> float:
    """Wait until all nodes hold equal tables, rows and logs; returns how long that took. Fails with what differs."""
    names = list(nodes or cluster.nodes)
    began = time.monotonic()
    while True:
        asked_at = time.monotonic()
        logs = {name: cluster.rows_on(name, LOG_DIGEST) for name in names}
        applied = {name: cluster.rows_on(name, "SELECT applied_timestamp FROM _replication.meta") for name in names}
        tables = {name: checksums(cluster, name) for name in names}
        views = [(logs[name], applied[name], tables[name]) for name in names]
        if all(view == views[0] for view in views):
            took_s = asked_at - began
            made = [definitions(cluster, name) for name in names]
            assert all(each == made[0] for each in made), f"the tables differ: {made}"
            return took_s
        assert time.monotonic() - began < within_s, f"after {within_s} s the nodes differ: {logs} {applied} {tables}"
        time.sleep(0.02)  # nobody tells: looked again


def check_record(cluster: OpenCluster, record: Record, label: str) -> None:
    """Exactly the acknowledged rows are there, each once, with the timestamps that the clients were told."""
    like = f"SELECT email, timestamp, created_at FROM distributed_db.users WHERE email LIKE '{label}-%'"
    first = next(iter(cluster.nodes))
    rows = cluster.rows_on(first, like)
    stored = {email: timestamp for email, timestamp, _ in rows}
    assert len(stored) == len(rows), "a row is there twice"
    told = {answer.marker: answer.body["timestamp"] for answer in record.acknowledged}
    lost = sorted(set(told) - set(stored))
    assert not lost, f"{len(lost)} acknowledged rows are lost, for example {lost[:3]}"
    wrong = {marker: (told[marker], stored[marker]) for marker in told if told[marker] != stored[marker]}
    assert not wrong, f"rows with another timestamp than the client was told: {wrong}"
    unexpected = {answer.marker for answer in record.answers if answer.committed is False} & set(stored)
    assert not unexpected, f"rows of writes that were said not to be committed: {sorted(unexpected)[:3]}"
    unknown = {answer.marker for answer in record.answers if answer.committed == "unknown"}
    assert set(stored) <= set(told) | unknown, "rows that nobody wrote"
    assert len(set(told.values())) == len(told), "two writes were told the same timestamp"
    check_real_time(record)


def check_real_time(record: Record) -> None:
    """A write that was sent after another was acknowledged has the greater timestamp."""
    ends = sorted((answer.answered_ns, answer.body["timestamp"]) for answer in record.acknowledged)
    greatest = index = 0
    for answer in sorted(record.acknowledged, key=lambda answer: answer.sent_ns):
        while index < len(ends) and ends[index][0] < answer.sent_ns:
            greatest, index = max(greatest, ends[index][1]), index + 1
        assert answer.body["timestamp"] > greatest, f"{answer.marker} was sent after {greatest} was acknowledged"
