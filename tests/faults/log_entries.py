"""What a node's own log holds of a round's writes, read past the coordinator: it settles whatever clients were never told.

The statements are the workload's own (workload.sql_of), so that what an entry writes can be read from its text.
"""

import re
from collections.abc import Iterable

import msgspec
from cluster_handle import ClusterHandle

from replication.log import Batch

_APPEND = re.compile(r"WHEN (\d+) THEN ',(\d+)'")
_SET = re.compile(r"^UPDATE registers SET value = (\d+) WHERE id = (\d+) ")
_decode = msgspec.msgpack.Decoder(Batch).decode

Pairs = list[tuple[str, int]]


def pairs_in(sql: str) -> Pairs:
    """(key, value) of everything that the statement appends or sets."""
    if sql.startswith("UPDATE lists "):
        return [(key, int(value)) for key, value in _APPEND.findall(sql)]
    return [(key, int(value)) for value, key in _SET.findall(sql)]


def entries_in(payloads: Iterable[bytes]) -> dict[int, Pairs]:
    """Timestamp -> what was written there; entries that write neither a list nor a register are left out."""
    entries: dict[int, Pairs] = {}
    for payload in payloads:
        for entry in _decode(payload).entries if payload else ():
            if pairs := pairs_in(entry.sql):
                entries.setdefault(entry.timestamp, []).extend(pairs)
    return entries


def end_of_log(cluster: ClusterHandle, node: str) -> int:
    ((end,),) = cluster.rows_on(node, "SELECT MAX(last_timestamp) FROM _replication.log")
    return int(end)


def entries_after(cluster: ClusterHandle, node: str, timestamp: int) -> dict[int, Pairs] | None:
    """All entries behind `timestamp`; None: the log does not reach back so far any more."""
    ((begin,),) = cluster.rows_on(node, "SELECT MIN(last_timestamp) FROM _replication.log")
    if begin > timestamp:
        return None
    sql = f"SELECT payload FROM _replication.log WHERE last_timestamp > {timestamp} ORDER BY last_timestamp"
    return entries_in(payload for (payload,) in cluster.rows_on(node, sql))
