"""Crash points: every arrow has one, an unarmed one does nothing, a mistake in the environment is told at the start, and an
armed one does exactly what its name and number say, after its mark is on the disk.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast, get_args

import cabinet_points
import coordinator_points
import crash_point
import pytest
import seer_points
import timestamp_points
from coordinator_points import AFTER, BEFORE
from crash_point import SERVICES, ArmedPoint, ConnectionCut
from driver import Driver
from traffic import Traffic

from replication.effects import ConfirmEpoch, Effect, Fail, NodeCommand, Report, RequestTimestamps
from replication.events import Event, NodeFailed, NodeReplied, TimestampsGranted, TimestampsRefused, WriteArrived
from replication.replicator import Replicator
from replication.replies import EpochSeen
from replication.values import Certainty, RequestStatement

ROOT = Path(__file__).resolve().parents[2]
POINTS_OF = {
    "cabinet-service": cabinet_points.POINTS,
    "coordinator": coordinator_points.POINTS,
    "seer-service": seer_points.POINTS,
    "timestamp-service": timestamp_points.POINTS,
}
POINTS = coordinator_points.POINTS
SOME = BEFORE[ConfirmEpoch]


@pytest.fixture(autouse=True)
def unarmed() -> Iterator[None]:
    yield
    crash_point.arm(POINTS, {})


def arm(point: str, action: str = "cut", at: int = 1) -> None:
    crash_point.arm(POINTS, {"CRASH_POINT": point, "CRASH_ACTION": action, "CRASH_AT": str(at)})


# ---------------------------------------------------------------------------------------------- names


def test_every_command_on_a_node_has_a_point_before_it_and_one_after_its_reply() -> None:
    commands = set(NodeCommand.__subclasses__())
    assert commands <= set(BEFORE)
    assert commands | {RequestTimestamps} == set(AFTER)


def test_every_effect_but_a_line_in_the_log_has_a_point_before_it() -> None:
    assert set(BEFORE) == set(get_args(Effect)) - {Report}


def test_no_name_is_given_twice_and_each_begins_with_its_service() -> None:
    names = [name for points in POINTS_OF.values() for name in points]
    assert len(set(names)) == len(names)
    for folder, points in POINTS_OF.items():
        assert {name.partition(".")[0] for name in points} == {folder.removesuffix("-service")} <= set(SERVICES)


# ---------------------------------------------------------------------------------------------- the environment


def test_without_a_point_in_the_environment_nothing_is_armed() -> None:
    assert crash_point.armed_point(POINTS, {"CRASH_ACTION": "exit", "CRASH_POINT": ""}) is None
    for name in POINTS:
        crash_point.reach(name)


def test_a_point_of_another_service_is_none_of_ours() -> None:
    environment = {"CRASH_POINT": timestamp_points.RENAME, "CRASH_ACTION": "exit"}
    assert crash_point.armed_point(POINTS, environment) is None
    assert isinstance(crash_point.armed_point(timestamp_points.POINTS, environment), ArmedPoint)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"CRASH_POINT": "coordinator.fence.befor"}, "coordinator.fence.before"),
        ({"CRASH_POINT": "coordinater.fence.before"}, "begin with cabinet, seer, timestamp"),
        ({"CRASH_ACTION": "explode"}, "exit, freeze, cut"),
        ({"CRASH_ACTION": ""}, "exit, freeze, cut"),
        ({"CRASH_AT": "0"}, "from 1 on"),
        ({"CRASH_AT": "x"}, "from 1 on"),
        ({"CRASH_MARK": "/no/such/folder/mark"}, "No such file or directory"),
    ],
)
def test_a_mistake_in_the_environment_is_refused_with_what_would_be_right(wrong: dict[str, str], told: str) -> None:
    right = {"CRASH_POINT": SOME, "CRASH_ACTION": "exit", "CRASH_AT": "2"}
    with pytest.raises(SystemExit) as refused:
        crash_point.armed_point(POINTS, right | wrong)
    assert told in str(refused.value)


@pytest.mark.parametrize("folder", sorted(POINTS_OF))
def test_a_service_does_not_start_with_a_wrong_name_and_lists_the_right_ones(
    folder: str, load_service: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SERVER_ID", "1")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("CRASH_ACTION", "exit")
    monkeypatch.setenv("CRASH_POINT", f"{folder.removesuffix('-service')}.nowhere")
    with pytest.raises(SystemExit) as refused:
        load_service(folder)
    assert all(name in str(refused.value) for name in POINTS_OF[folder])


# ---------------------------------------------------------------------------------------------- what happens


def test_a_point_acts_once_at_the_hit_that_was_asked_for() -> None:
    arm(SOME, at=3)
    outcomes = []
    for name in (SOME, BEFORE[Fail], SOME, SOME, SOME):
        try:
            crash_point.reach(name)
            outcomes.append("passed")
        except ConnectionCut:
            outcomes.append("cut")
    assert outcomes == ["passed", "passed", "passed", "cut", "passed"]


def process_that_reaches(point: str, action: str, mark: Path) -> subprocess.Popen[str]:
    code = f"import os, crash_point; crash_point.arm({POINTS!r}, os.environ); crash_point.reach({point!r}); print('on')"
    environment = {"CRASH_POINT": point, "CRASH_ACTION": action, "CRASH_MARK": str(mark)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=ROOT / "coordinator", stdout=subprocess.PIPE, text=True
    )


def test_exit_leaves_its_mark_and_nothing_runs_after_it(tmp_path: Path) -> None:
    with process_that_reaches(SOME, "exit", tmp_path / "mark") as process:
        said, _ = process.communicate(timeout=10)
    assert (process.returncode, said) == (crash_point.EXIT_STATUS, "")
    assert (tmp_path / "mark").read_text() == f"{SOME} exit 1 {process.pid}\n"


def test_a_frozen_process_goes_on_where_it_was_when_it_is_resumed(tmp_path: Path) -> None:
    with process_that_reaches(SOME, "freeze", tmp_path / "mark") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert (tmp_path / "mark").read_text() == f"{SOME} freeze 1 {process.pid}\n"
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=10)
    assert (process.returncode, said) == (0, "on\n")


def test_the_mark_is_on_the_disk_before_the_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: steps.append("on the disk"))
    monkeypatch.setattr(os, "kill", lambda *_: steps.append("frozen"))
    environment = {"CRASH_POINT": SOME, "CRASH_ACTION": "freeze", "CRASH_MARK": str(tmp_path / "mark")}
    crash_point.arm(POINTS, environment)
    crash_point.reach(SOME)
    assert steps == ["on the disk", "frozen"]


def test_hanging_up_breaks_the_connection_to_that_client_and_to_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        clients = [socket.create_connection(door.getsockname(), timeout=10) for _ in range(2)]
        served = [door.accept()[0] for _ in range(2)]
        crash_point.hang_up(None)
        crash_point.hang_up(clients[0].getsockname())
        assert clients[0].recv(1) == b""
        served[1].sendall(b"x")
        assert clients[1].recv(1) == b"x"
        for each in clients + served:
            each.close()


# ---------------------------------------------------------------------------------------------- the coordinator's arrows


class Script:
    """In the replicator's place: answers the first event of a kind with the effect that is written down for it."""

    wake_at_ns = None

    def __init__(self, effects: dict[type, Effect]) -> None:
        self._effects = effects
        self.events: list[Event] = []
        self.was_told_more = asyncio.Event()

    def step(self, event: Event, _now_ns: int, _wall_us: int) -> list[Effect]:
        if self.events:
            self.was_told_more.set()
        self.events.append(event)
        effect = self._effects.pop(type(event), None)
        return [] if effect is None else [effect]


class OneNode:
    """Carries every command out, and counts."""

    def __init__(self) -> None:
        self.carried_out = 0
        self.closed = False

    async def carry_out(self, _: object) -> EpochSeen:
        self.carried_out += 1
        return EpochSeen(1, "owner")

    def close(self) -> None:
        self.closed = True


async def fetch(count: int, after: int) -> TimestampsGranted:
    return TimestampsGranted(after + 1, after + count, 1)


async def events_after(effect: Effect, node: OneNode) -> list[Event]:
    """What the protocol is told after `effect`."""
    script = Script({TimestampsRefused: effect})
    timestamps = SimpleNamespace(fetch=fetch)
    driver = Driver(cast(Replicator, script), {"node": cast(Any, node)}, timestamps, 10**9, 10**9, Traffic())
    driver.dispatch(TimestampsRefused("so that something happens"))
    await asyncio.wait_for(script.was_told_more.wait(), 5)
    return script.events[1:]


async def test_unarmed_a_command_is_carried_out_and_its_reply_told() -> None:
    node = OneNode()
    assert await events_after(ConfirmEpoch("node", 7), node) == [NodeReplied("node", 7, EpochSeen(1, "owner"))]
    assert (node.carried_out, node.closed) == (1, False)


async def test_a_cut_before_a_command_means_that_it_was_certainly_not_sent() -> None:
    node, name = OneNode(), BEFORE[ConfirmEpoch]
    arm(name)
    failure = NodeFailed("node", 7, Certainty.NOT_APPLIED, f"cut by {name}")
    assert await events_after(ConfirmEpoch("node", 7), node) == [failure]
    assert (node.carried_out, node.closed) == (0, True)


async def test_a_cut_after_a_command_loses_its_reply_so_nobody_knows_whether_it_happened() -> None:
    node, name = OneNode(), AFTER[ConfirmEpoch]
    arm(name)
    failure = NodeFailed("node", 7, Certainty.UNKNOWN, f"cut by {name}")
    assert await events_after(ConfirmEpoch("node", 7), node) == [failure]
    assert (node.carried_out, node.closed) == (1, True)


@pytest.mark.parametrize("name", [BEFORE[RequestTimestamps], AFTER[RequestTimestamps]])
async def test_a_cut_around_a_request_for_timestamps_is_a_refused_one(name: str) -> None:
    arm(name)
    assert await events_after(RequestTimestamps(8, 0), OneNode()) == [TimestampsRefused(f"cut by {name}")]


async def test_a_client_that_is_cut_off_gets_no_answer() -> None:
    arm(BEFORE[Fail])
    script = Script({WriteArrived: Fail(1, committed=False, reason="no")})
    driver = Driver(cast(Replicator, script), {}, SimpleNamespace(fetch=fetch), 10**9, 10**9, Traffic())
    with pytest.raises(ConnectionCut):
        await driver.write((RequestStatement("INSERT"),))
