"""SEER service: ranks, over HTTP, the nodes that could become master.

Wiring only: the rule is in leader_election.py, the shapes in seer_contract.py, what it shares with Cabinet in adviser.py. Asking
changes nothing anywhere: an election is the coordinator's act, and this is one of its advisers.
"""

import os
from dataclasses import asdict
from typing import Annotated

import crash_point
import httpx
import seer_points as points
import service_log
from access import OFF, Access, access_from_environment
from adviser import Adviser, AdviserSettings, Metrics, adviser_app
from fastapi import APIRouter, Body, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from leader_election import Scores, UnknownCandidateError, rank_candidates
from metrics_contract import ClusterMetrics
from seer_contract import CandidateScores, ElectLeaderRequest, LeaderAnswer, LeaderRefusal, SeerError, SeerHealth
from seer_metrics import SeerMetrics

SEER = Adviser(
    title="SEER service",
    description="Ranks the nodes that could become master. Advice: nothing rests on it.",
    question="POST /elect-leader",
    body_example='{}, or {"candidates": [names]}',
    advice="leader",
    without="use the last scores or the node order",
    error=SeerError,
    health=SeerHealth,
    wrong_question=UnknownCandidateError,
    collector_points=(points.COLLECTOR_BEFORE, points.COLLECTOR_AFTER),
)
# an empty body asks the same as {}
Question = Annotated[ElectLeaderRequest, Body(default_factory=ElectLeaderRequest)]
router = APIRouter()


def numbers_of(request: Request) -> SeerMetrics:
    numbers: SeerMetrics = request.app.state.numbers
    return numbers


@router.post(
    "/elect-leader",
    response_model=LeaderAnswer,
    summary="Rank the candidates",
    responses=SEER.refusals(LeaderRefusal),
)
async def elect(
    body: Question, metrics: Metrics, numbers: Annotated[SeerMetrics, Depends(numbers_of)]
) -> LeaderAnswer | JSONResponse:
    """Whom to make master, by latency, stability and lag, from one reading of the metrics; asking changes nothing."""
    cluster = await SEER.metrics_from(metrics)
    master = _master_to_leave_out(body, cluster)
    offered = cluster.nodes if body.candidates is None else body.candidates
    ranking = rank_candidates(cluster.nodes, [name for name in offered if name != master])
    numbers.ranked(ranking)
    if ranking.leader is None:
        refusal = LeaderRefusal(
            message=f"{ranking.reason}. Bring a node back and ask again.",
            excluded=dict(ranking.excluded),
            master=master,
        )
        return JSONResponse(refusal.model_dump(), status_code=503)
    crash_point.reach(points.ANSWER)
    return LeaderAnswer(
        leader=ranking.leader,
        ranking=list(ranking.ranking),
        scores={name: _answered(scores) for name, scores in ranking.scores.items()},
        excluded=dict(ranking.excluded),
        master=master,
        reason=ranking.reason,
    )


def _answered(scores: Scores) -> CandidateScores:
    return CandidateScores(**asdict(scores), total=scores.total)


def _master_to_leave_out(body: ElectLeaderRequest, cluster: ClusterMetrics) -> str | None:
    if body.master is not None:
        if body.master not in cluster.nodes:
            raise UnknownCandidateError(
                f"master {body.master!r} is not a node of this cluster; known: {', '.join(sorted(cluster.nodes))}"
            )
        return body.master
    # named candidates are those that the coordinator has fenced; a deposed master may rightly be one of them
    return cluster.master if body.candidates is None else None


def create_app(
    settings: AdviserSettings, transport: httpx.AsyncBaseTransport | None = None, access: Access = OFF
) -> FastAPI:
    return adviser_app(SEER, router, SeerMetrics(), settings, transport, access)


service_log.set_up("seer-service")
crash_point.arm(points.POINTS, os.environ)
app = create_app(AdviserSettings(), access=access_from_environment("seer-service", "SERVICE_TOKEN"))
