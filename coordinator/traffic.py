"""What passes the door and the nodes, counted: for the page, and for Prometheus (http://prometheus.io/docs/concepts/metric_types/).

Plain numbers that only grow. Counting is on the hot path, so it is a look into a dictionary and an addition; what is made of the
numbers is made when somebody looks.
"""

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Upper bounds of what is counted together."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
UNKNOWN = "unknown"
"""The kind of a request that was refused before anybody knew."""
OK = "ok"
CLIENT_GONE = "client_gone"


class Histogram:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Between the bound before and this one; at last what is above all."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that `share` (0 to 1) of the counted ones do not exceed, as if they lay evenly between two bounds; of those above
    all bounds, the last bound. None: there are none."""
    wanted = share * sum(counts)
    below, passed = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if count and passed + count >= wanted:
            return below + (bound - below) * (wanted - passed) / count
        below, passed = bound, passed + count
    return below if any(counts) else None


class Traffic:
    """Since the process began."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        """(kind, outcome) -> how many. Outcomes are OK, CLIENT_GONE, or an error's kind."""
        self.seconds: dict[str, Histogram] = {}
        """Kind -> from a request's head to its answer."""
        self.errnos: dict[int, int] = {}
        """MySQL's errno -> how many requests were refused with it, by us or by a server."""
        self.batch_sizes = Histogram(SIZES)
        """Requests that were executed as one batch."""
        self.store_seconds: dict[str, Histogram] = {}
        """Replica -> from sending it rows to its word that they are on its disk."""

    def ended(self, kind: str, outcome: str, nanoseconds: int) -> None:
        """A request was answered, or has nobody to be answered."""
        place = kind, outcome
        self.requests[place] = self.requests.get(place, 0) + 1
        histogram = self.seconds.get(kind)
        if histogram is None:
            histogram = self.seconds[kind] = Histogram(SECONDS)
        histogram.observe(nanoseconds / 1e9)

    def refused(self, errno: int | None) -> None:
        if errno is not None:
            self.errnos[errno] = self.errnos.get(errno, 0) + 1

    def stored(self, replica: str, nanoseconds: int) -> None:
        histogram = self.store_seconds.get(replica)
        if histogram is None:
            histogram = self.store_seconds[replica] = Histogram(SECONDS)
        histogram.observe(nanoseconds / 1e9)
