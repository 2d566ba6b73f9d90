"""SEER: which node would be the best master.

Decides a ranking by expected performance and stability:

    latency_score   = 1 / (latency + 1)                        latency in ms          40 %
    stability_score = uptime / (uptime + crashes * 100 + 1)    uptime in s            40 %
    lag_score       = 1 / (lag + 1)                            lag in ms              20 %

The short form of SEER (Sakic, Vizarreta, Kellerer, arXiv 2104.01355), which learns from measured commit delays which
replica would lead best, and leaves safety to Raft's own election.

Invariants:
- The answer is a function of the set of candidates: their order in the input changes nothing, equal totals go by name.
- Every score and total lies within 0 to 1, so no single figure can outweigh what its share allows.

The hard case is a candidate whose log is behind. A sum lets a good latency buy off missing writes: with 20 % for lag, a
node a million behind still totals 0.80 when it is fast, against 0.667 for a complete one at 5 ms. No share repairs
that, because completeness is not a matter of degree. So the ranking is advice and says nothing about completeness: the
coordinator offers only fenced nodes, and whoever is chosen is brought up to the authoritative log before it leads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metrics_contract import NodeMetrics
from node_measurement import Figure, NotRankableError, usable_figures

LATENCY_SHARE = 0.4
STABILITY_SHARE = 0.4
LAG_SHARE = 0.2

# uptime that one crash weighs as much as
CRASH_PENALTY_S = 100

FIGURES: tuple[Figure, ...] = ("latency_ms", "uptime_s", "crash_count", "lag_ms")


class UnknownCandidateError(ValueError):
    """A name that is no node; the message names the nodes."""


@dataclass(frozen=True)
class Scores:
    latency_score: float
    stability_score: float
    lag_score: float

    @property
    def total(self) -> float:
        return LATENCY_SHARE * self.latency_score + STABILITY_SHARE * self.stability_score + LAG_SHARE * self.lag_score


@dataclass(frozen=True)
class LeaderRanking:
    """`ranking` and `excluded` together name every candidate exactly once; `leader` is the first of the ranking."""

    ranking: tuple[str, ...]
    scores: Mapping[str, Scores]
    excluded: Mapping[str, str]
    reason: str

    @property
    def leader(self) -> str | None:
        return self.ranking[0] if self.ranking else None


def score(*, latency_ms: float, uptime_s: float, crash_count: float, lag_ms: float) -> Scores:
    # each 1 keeps a score finite where the figures are zero: no latency, no uptime yet, no lag
    return Scores(
        latency_score=1 / (latency_ms + 1),
        stability_score=uptime_s / (uptime_s + crash_count * CRASH_PENALTY_S + 1),
        lag_score=1 / (lag_ms + 1),
    )


def rank_candidates(nodes: Mapping[str, NodeMetrics], candidates: Iterable[str]) -> LeaderRanking:
    """Rank exactly these candidates; one named twice counts once."""
    names = sorted(set(candidates))
    unknown = [name for name in names if name not in nodes]
    if unknown:
        raise UnknownCandidateError(
            f"{', '.join(unknown)}: not a node of this cluster; known: {', '.join(sorted(nodes))}"
        )
    scores: dict[str, Scores] = {}
    excluded: dict[str, str] = {}
    for name in names:
        try:
            latency_ms, uptime_s, crash_count, lag_ms = usable_figures(nodes[name], FIGURES)
        except NotRankableError as error:
            excluded[name] = str(error)
        else:
            scores[name] = score(latency_ms=latency_ms, uptime_s=uptime_s, crash_count=crash_count, lag_ms=lag_ms)
    ranking = tuple(sorted(scores, key=lambda name: (-scores[name].total, name)))
    return LeaderRanking(
        ranking=ranking,
        scores={name: scores[name] for name in ranking},
        excluded=excluded,
        reason=_reason(ranking, scores, excluded),
    )


def _reason(ranking: tuple[str, ...], scores: Mapping[str, Scores], excluded: Mapping[str, str]) -> str:
    if not ranking:
        causes = "; ".join(f"{name} is {cause}" for name, cause in excluded.items()) or "none was offered"
        return f"no candidate can be ranked: {causes}"
    totals = ", ".join(f"{name} ({scores[name].total:.4g})" for name in ranking)
    return f"highest total of 40 % latency, 40 % stability and 20 % lag: {totals}"
