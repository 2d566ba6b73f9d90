"""When the write path wants to be woken: no request is answered later than its deadline because of its neighbours."""

import pytest
from node_effects import requests

from replication.messages import Request
from replication.replicator import Replicator
from replication.write_path import BatchUnderWay


@pytest.mark.xfail(strict=True, reason="only the first request of a batch has its deadline among the times to wake at")
def test_after_the_first_request_of_a_batch_has_expired_the_next_ones_deadline_is_waited_for() -> None:
    writes = Replicator(("a", "b", "c", "d"), "owner", "cluster").writes
    (first, one), (second, other) = requests(2, "INSERT 1", "INSERT 2")
    early = Request(one.request_id, one.sql, True, False, 0, deadline_ns=100)
    late = Request(other.request_id, other.sql, True, False, 0, deadline_ns=200)
    writes.batch = BatchUnderWay(((first, early), (second, late)), now_us=0)
    assert writes.wake_at_ns == 100
    writes.batch.expired[early.request_id] = None
    assert writes.wake_at_ns == 200
