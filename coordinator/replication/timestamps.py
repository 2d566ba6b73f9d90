"""The numbers that the timestamp service granted and that are not used yet.

Any of them may be used as long as the log grows: numbers come from two servers in turn, so a range is asked for with
`after` = the greatest number known, and what is not greater than the log's end is thrown away (gaps are fine). Asking ahead
takes the service off the write path: the next numbers are there before the next batch is.
"""

from collections import deque

COUNT_MAX = 4096


class TimestampStock:
    """Ranges granted, in order of use."""

    def __init__(self, count_min: int) -> None:
        self._count_min = count_min
        self._ranges: deque[tuple[int, int, int]] = deque()
        self.greatest = 0
        """Greatest number ever granted or seen in the log."""
        self.requested = False
        self.retry_at_ns = 0
        """Not 0: the last request was refused."""
        self._batch_size = 1.0

    def grant(self, first: int, last: int, step: int) -> None:
        self.requested = False
        self.retry_at_ns = 0
        if first <= self.greatest or step < 1 or last < first:
            return  # late or not what was asked for: using it could break the order
        self._ranges.append((first, last, step))
        self.greatest = last

    def skip_to(self, timestamp: int) -> None:
        """The log ends at `timestamp`: smaller numbers are of no use any more."""
        while self._ranges and self._ranges[0][0] <= timestamp:
            first, last, step = self._ranges.popleft()
            if last > timestamp:
                first += ((timestamp - first) // step + 1) * step
                if first <= last:
                    self._ranges.appendleft((first, last, step))
                    break
        self.greatest = max(self.greatest, timestamp)

    @property
    def available(self) -> int:
        return sum((last - first) // step + 1 for first, last, step in self._ranges)

    def take(self, count: int) -> list[int]:
        """The next `count` numbers, fewer if there are not so many."""
        taken: list[int] = []
        while self._ranges and len(taken) < count:
            first, last, step = self._ranges.popleft()
            upto = min(last, first + (count - len(taken) - 1) * step)
            taken.extend(range(first, upto + 1, step))
            if upto < last:
                self._ranges.appendleft((upto + step, last, step))
        if taken:
            self._batch_size = 0.8 * self._batch_size + 0.2 * len(taken)
        return taken

    def shortage(self) -> int:
        """How many numbers to ask for now; 0: enough are here, or on their way."""
        wanted = min(COUNT_MAX, max(self._count_min, int(self._count_min / 2 * self._batch_size)))
        return 0 if self.requested or self.available * 2 > wanted else wanted
