"""Both timestamp servers around the allocator that runs in production, and the client that asks them in turn.

A server's only memory is the bound on its disk: a restart begins above it. Numbers whose answer came too late are lost, and
a proxy that repeats an answer must do no harm either: the log refuses what does not grow.
"""

from timestamp_allocator import ReservationNeeded, TimestampAllocator, TimestampRange
from timestamp_contract import SERVER_COUNT

from replication.events import TimestampsGranted, TimestampsRefused

WINDOW_COUNT = 12
"""Small, so that it ends often."""


class ModelTimestampServer:
    """One server: its disk (`durable_bound`) and its process."""

    def __init__(self, server_id: int) -> None:
        self.server_id = server_id
        self.durable_bound = 0
        self.down_until_ns = 0
        self.restart()

    def restart(self) -> None:
        self._allocator = TimestampAllocator(
            server_id=self.server_id, durable_bound=self.durable_bound, window_count=WINDOW_COUNT
        )

    def allocate(self, count: int, after: int) -> TimestampsGranted:
        numbers = self._allocator.allocate(count, after)
        if isinstance(numbers, ReservationNeeded):
            self.durable_bound = numbers.reserve_until
            self._allocator.reserved(self.durable_bound)
            numbers = self._allocator.allocate(count, after)
        assert isinstance(numbers, TimestampRange)
        return TimestampsGranted(numbers.first, numbers.last, SERVER_COUNT)


class TimestampServers:
    """Both, and whose turn it is."""

    def __init__(self) -> None:
        self.servers = [ModelTimestampServer(server_id) for server_id in range(1, SERVER_COUNT + 1)]
        self._next = 0

    def fetch(self, count: int, after: int, now_ns: int) -> TimestampsGranted | TimestampsRefused:
        """The first that answers, beginning with the next in turn (adapters/service_clients.py)."""
        for _ in self.servers:
            server = self.servers[self._next % len(self.servers)]
            self._next += 1
            if server.down_until_ns <= now_ns:
                return server.allocate(count, after)
        return TimestampsRefused("both servers are away")
