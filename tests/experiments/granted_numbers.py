"""What the numbers of two timestamp servers look like: who granted which, how they interleave, how much is left out. Pure.

Server 1 grants odd numbers, server 2 even ones (timestamp_contract.py). A gap is what lies unused between two neighbours; one
server alone leaves every other number out, which is no gap of its making, and still counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Numbers:
    """Of the numbers that writes got, each of them once."""

    odd_share: float
    """Of server 1; 0 where there are none."""
    turns: int
    """Neighbours of which one is odd and one is even."""
    used_share: float
    """Of all numbers between the least and the greatest; 0 where there are none."""
    gap_most: int
    """The most numbers that lie unused between two neighbours."""


def numbers_of(timestamps: Sequence[int]) -> Numbers:
    ordered = sorted(timestamps)
    if not ordered:
        return Numbers(0.0, 0, 0.0, 0)
    neighbours = list(pairwise(ordered))
    return Numbers(
        odd_share=sum(number % 2 for number in ordered) / len(ordered),
        turns=sum((later - earlier) % 2 for earlier, later in neighbours),
        used_share=len(ordered) / (ordered[-1] - ordered[0] + 1),
        gap_most=max((later - earlier - 1 for earlier, later in neighbours), default=0),
    )


def out_of_order_share(granted: Sequence[int]) -> float:
    """Of the numbers after the first, in the order in which they were granted: those that are below one granted before."""
    greatest, below = 0, 0
    for number in granted:
        below += number < greatest
        greatest = max(greatest, number)
    return below / max(1, len(granted) - 1)
