"""A timestamp server's numbers as Prometheus' families."""

from collections.abc import Callable, Iterable

from exposition import counter, gauge
from prometheus_client.metrics_core import Metric
from timestamp_server import TimestampServer


class TimestampMetrics:
    def __init__(self, server: Callable[[], TimestampServer]) -> None:
        """`server`: nothing is asked before the service has started."""
        self._server = server

    def collect(self) -> Iterable[Metric]:
        server = self._server()
        yield counter("dmysql_timestamps_granted_total", "Timestamps that were handed out.", server.numbers_granted)
        yield counter("dmysql_timestamp_grants_total", "Calls that were given timestamps.", server.grants)
        yield gauge(
            "dmysql_timestamp_last", "Everything handed out from now on is greater than this.", server.last_timestamp
        )
        yield gauge(
            "dmysql_timestamp_reserved_until", "Timestamps up to this are reserved on the disk.", server.reserved_until
        )
        yield gauge(
            "dmysql_timestamp_reservation_failing",
            "Whether the last reservation could not be written: what is reserved is handed out, and no more.",
            server.reservation_failure is not None,
        )
