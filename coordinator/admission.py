"""How many requests, and how many bytes of them, the coordinator holds at once: beyond that it says so before memory grows.

Who is turned away is told at once and has changed nothing; who is in is served, however many others come.
"""

import errors
from traffic import UNKNOWN


class Admission:
    """The bounds, and what is in now."""

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self.requests_max = requests_max
        self.bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0

    def visit(self) -> "Visit":
        return Visit(self)


class Visit:
    """One request's stay. Raises QueryError (429) where there is no room for it, or for its next bytes."""

    __slots__ = ("_bytes", "_house", "kind")

    def __init__(self, house: Admission) -> None:
        self._house = house
        self._bytes = 0
        self.kind = UNKNOWN
        """What is asked, as soon as that is known."""

    def __enter__(self) -> "Visit":
        house = self._house
        if house.requests >= house.requests_max:
            raise errors.overloaded(f"{house.requests} requests are under way, and no more are taken")
        house.requests += 1
        return self

    def take(self, size: int) -> None:
        """So many bytes have come."""
        self._bytes += size
        self._house.bytes += size
        if self._house.bytes > self._house.bytes_max:
            raise errors.overloaded(f"requests of {self._house.bytes} bytes are under way, and no more are taken")

    def __exit__(self, *_: object) -> None:
        self._house.requests -= 1
        self._house.bytes -= self._bytes


NOBODYS = Visit(Admission(0, 0))
"""Of what is not asked over HTTP."""
