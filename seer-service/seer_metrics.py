"""SEER's rankings as Prometheus' families: how many there were, and the last one."""

from collections.abc import Iterable, Iterator, Sequence

from exposition import counters, gauges
from leader_election import LeaderRanking
from prometheus_client.metrics_core import Metric

RANKED = "ranked"
NOBODY = "no candidate can be ranked"


class SeerMetrics:
    def __init__(self) -> None:
        self.answers = {RANKED: 0, NOBODY: 0}
        self.last: LeaderRanking | None = None

    def ranked(self, ranking: LeaderRanking) -> None:
        self.answers[NOBODY if ranking.leader is None else RANKED] += 1
        self.last = ranking

    def collect(self) -> Iterable[Metric]:
        yield counters(
            "dmysql_seer_answers_total",
            "Questions for a leader, by what came of them.",
            ("outcome",),
            (((outcome,), count) for outcome, count in self.answers.items()),
        )
        yield gauges(
            "dmysql_seer_score",
            "The parts of each candidate's score in the last answer, each of 0 to 1.",
            ("node", "part"),
            self._parts(),
        )
        last = self.last
        yield gauges(
            "dmysql_seer_total_score",
            "Each candidate's score in the last answer: latency 40 %, stability 40 %, lag 20 %.",
            ("node",),
            () if last is None else (((node,), scores.total) for node, scores in last.scores.items()),
        )
        candidates = () if last is None else (*last.ranking, *last.excluded)
        yield gauges(
            "dmysql_seer_leader",
            "Whether the candidate was the first in the last answer.",
            ("node",),
            (((node,), float(last is not None and node == last.leader)) for node in candidates),
        )

    def _parts(self) -> Iterator[tuple[Sequence[str], float]]:
        for node, scores in self.last.scores.items() if self.last is not None else ():
            yield (node, "latency"), scores.latency_score
            yield (node, "stability"), scores.stability_score
            yield (node, "lag"), scores.lag_score
