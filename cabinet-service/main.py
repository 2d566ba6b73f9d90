"""Cabinet service: proposes, over HTTP, which replicas a write should wait for.

Wiring only: the rule is in quorum_selection.py, the shapes in cabinet_contract.py, what it shares with SEER in adviser.py.
"""

import os
from typing import Annotated

import cabinet_points as points
import crash_point
import httpx
import service_log
from access import OFF, Access, access_from_environment
from adviser import Adviser, AdviserSettings, Metrics, adviser_app
from cabinet_contract import CabinetError, CabinetHealth, QuorumAnswer, QuorumRefusal, SelectQuorumRequest
from cabinet_metrics import CabinetMetrics
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from metrics_contract import ClusterMetrics
from quorum_selection import QuorumRequestError, select_quorum

# the master of a cluster in which nobody has been elected yet
MASTER_INITIAL = "mysql-master"
CABINET = Adviser(
    title="Cabinet service",
    description="Proposes the replicas that a write should wait for. Advice: nothing rests on it.",
    question="POST /select-quorum",
    body_example='{"operation": "write"}',
    advice="quorum",
    without="wait for whichever replicas answer first",
    error=CabinetError,
    health=CabinetHealth,
    wrong_question=QuorumRequestError,
    collector_points=(points.COLLECTOR_BEFORE, points.COLLECTOR_AFTER),
)
router = APIRouter()


def numbers_of(request: Request) -> CabinetMetrics:
    numbers: CabinetMetrics = request.app.state.numbers
    return numbers


@router.post(
    "/select-quorum",
    response_model=QuorumAnswer,
    summary="Select a quorum",
    responses=CABINET.refusals(QuorumRefusal),
)
async def select(
    body: SelectQuorumRequest, metrics: Metrics, numbers: Annotated[CabinetMetrics, Depends(numbers_of)]
) -> QuorumAnswer | JSONResponse:
    """The replicas that answer best, from one reading of the metrics; all weights with it."""
    cluster = await CABINET.metrics_from(metrics)
    master = _master_to_leave_out(body.master, cluster)
    selection = select_quorum(cluster.nodes, master=master, operation=body.operation, quorum_size=body.quorum_size)
    numbers.selected(body.operation, selection)
    if not selection.satisfied:
        refusal = QuorumRefusal(
            message=f"{selection.reason}. Bring replicas back and ask again.",
            operation=body.operation,
            quorum_size=selection.quorum_size,
            weights=dict(selection.weights),
            excluded=dict(selection.excluded),
            master=master,
        )
        return JSONResponse(refusal.model_dump(), status_code=503)
    crash_point.reach(points.ANSWER)
    return QuorumAnswer(
        operation=body.operation,
        quorum=list(selection.quorum),
        quorum_size=selection.quorum_size,
        weights=dict(selection.weights),
        excluded=dict(selection.excluded),
        master=master,
        reason=selection.reason,
    )


def _master_to_leave_out(asked: str | None, cluster: ClusterMetrics) -> str:
    if asked is None:
        return cluster.master or MASTER_INITIAL
    if asked not in cluster.nodes:
        raise QuorumRequestError(
            f"master {asked!r} is not a node of this cluster; known: {', '.join(sorted(cluster.nodes))}"
        )
    return asked


def create_app(
    settings: AdviserSettings, transport: httpx.AsyncBaseTransport | None = None, access: Access = OFF
) -> FastAPI:
    return adviser_app(CABINET, router, CabinetMetrics(), settings, transport, access)


service_log.set_up("cabinet-service")
crash_point.arm(points.POINTS, os.environ)
app = create_app(AdviserSettings(), access=access_from_environment("cabinet-service", "SERVICE_TOKEN"))
