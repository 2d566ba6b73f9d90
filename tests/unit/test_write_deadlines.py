"""When the write path wants to be woken: no request is answered later than its deadline because of its neighbours."""

import msgspec
from node_effects import requests

from replication.batch_under_way import BatchUnderWay
from replication.replicator import Replicator


def test_after_the_first_request_of_a_batch_has_expired_the_next_ones_deadline_is_waited_for() -> None:
    replicator = Replicator(("a", "b", "c", "d"), "owner", "cluster")
    writes = replicator.writes
    (first, one), (second, other) = requests(2, "INSERT 1", "INSERT 2")
    early = msgspec.structs.replace(one, deadline_ns=100)
    late = msgspec.structs.replace(other, deadline_ns=200)
    writes.batch = BatchUnderWay(((first, early), (second, late)), now_us=0)
    assert writes.wake_at_ns == 100
    replicator.state.now_ns = 100
    writes.expire()
    assert writes.wake_at_ns == 200
    replicator.state.now_ns = 200
    writes.expire()
    assert writes.wake_at_ns is None
