"""Which nodes may be ranked at all.

Decides whether a node's figures can go into a formula. Invariant: a node is ranked only if it answers and every figure
that the formula needs is a finite number, zero or more; any other node is left out, and the reason is a sentence.

The hard case is a figure that is present and wrong. One NaN makes every comparison false and thereby the order of the
healthy nodes depend on the order of the input; a negative lag makes 1 / (latency + lag + 1) jump to infinity or below
zero and a sick node the best one. Clamping such a value to zero would rank the node whose probe is broken first, so
it is treated as not measured.
"""

import sys
from collections.abc import Iterable
from typing import Literal

from metrics_contract import NodeMetrics

Figure = Literal["latency_ms", "lag_ms", "uptime_s", "crash_count"]


class NotRankableError(Exception):
    """This node is left out of a ranking; the message says why."""


def usable_figures(node: NodeMetrics, figures: Iterable[Figure]) -> tuple[float, ...]:
    """The figures in the order asked for, each finite and zero or more; raises NotRankableError if that cannot be."""
    if not node.healthy:
        raise NotRankableError(f"unhealthy: {node.error or 'the metrics collector gives no cause'}")
    return tuple(_usable(figure, getattr(node, figure)) for figure in figures)


def _usable(figure: Figure, value: float | None) -> float:
    if value is None:
        raise NotRankableError(f"unmeasured: {figure} is not known yet")
    # the upper bound also stops an int too large for a float, on which math.isfinite itself would raise
    if not 0 <= value <= sys.float_info.max:
        raise NotRankableError(f"unmeasured: {figure} is {value!s:.40}, not a finite number of zero or more")
    return float(value)
