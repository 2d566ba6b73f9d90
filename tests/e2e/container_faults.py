"""What can happen to a container, each in two steps: it strikes, and the operator undoes it. Both make sure that they did."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from stack import VOLUMES, Stack

STATE_S = 20.0
HOLD_S = 3.0
KILLED = 137
"""Exit status: by SIGKILL, whoever sent it."""


@dataclass(frozen=True)
class Fault:
    """`holds_s`: the least time until it is undone."""

    name: str
    strike: Callable[[Stack, str], None]
    undo: Callable[[Stack, str], None]
    holds_s: float = 0.0
    is_noticed: bool = True
    """Whether a node is surely away for long enough to be missed."""


def wait_for_state(stack: Stack, name: str, state: str) -> None:
    deadline_s = time.monotonic() + STATE_S
    while (now := stack.state(name))["Status"] != state:
        assert time.monotonic() < deadline_s, f"{name} is not {state}: {now}"
        time.sleep(0.02)  # the engine tells nobody here: asked again


def stop(stack: Stack, name: str) -> None:
    """As README says. In order: whoever has to be killed after its time of grace did not stop."""
    stack.compose("stop", name)
    state = stack.state(name)
    assert state["Status"] == "exited", state
    assert state["ExitCode"] != KILLED, state


def kill(stack: Stack, name: str) -> None:
    stack.container(name).kill()
    wait_for_state(stack, name, "exited")
    assert stack.state(name)["ExitCode"] == KILLED


def start(stack: Stack, name: str) -> None:
    stack.compose("start", name)
    assert stack.state(name)["Running"]


def start_alone(stack: Stack, name: str) -> None:
    """Without a look at what else there is."""
    stack.container(name).start()
    assert stack.state(name)["Running"]


def crash(stack: Stack, name: str) -> None:
    """The process in it dies; the restart policy must bring it back."""
    before = stack.state(name)["StartedAt"]
    # all processes but the first one, which is the engine's init, and ends with its child
    stack.container(name).exec_run(["bash", "-c", "kill -9 -1"])
    deadline_s = time.monotonic() + STATE_S
    while (now := stack.state(name))["StartedAt"] == before or not now["Running"]:
        assert time.monotonic() < deadline_s, f"{name} was not started again: {now}"
        time.sleep(0.02)  # the engine tells nobody here: asked again


def nothing(_stack: Stack, _name: str) -> None:
    """Nobody has to do anything."""


def pause(stack: Stack, name: str) -> None:
    stack.container(name).pause()
    assert stack.state(name)["Paused"]


def unpause(stack: Stack, name: str) -> None:
    stack.container(name).unpause()
    assert not stack.state(name)["Paused"]


def disconnect(stack: Stack, name: str) -> None:
    stack.network().disconnect(stack.container(name))
    assert stack.network_name not in stack.container(name).attrs["NetworkSettings"]["Networks"]
    assert stack.state(name)["Running"]


def connect(stack: Stack, name: str) -> None:
    stack.connect(name)
    assert stack.network_name in stack.container(name).attrs["NetworkSettings"]["Networks"]


def lose(stack: Stack, name: str) -> None:
    """The container and its disk."""
    stack.remove(name)
    assert name not in stack.rows()
    if name in VOLUMES:
        assert stack.volume_name(name) not in stack.volumes()


def make_anew(stack: Stack, name: str) -> None:
    """With an empty disk. What is there already is left as it is."""
    others = {other: row["Id"] for other, row in stack.rows().items()}
    stack.compose("up", "-d", name)
    now = {other: row["Id"] for other, row in stack.rows().items()}
    assert name in now
    assert {other: now[other] for other in others} == others


FAULTS = (
    Fault("stop", stop, start),
    Fault("kill", kill, start_alone),
    Fault("crash", crash, nothing, is_noticed=False),
    Fault("pause", pause, unpause, HOLD_S),
    Fault("disconnect", disconnect, connect, HOLD_S),
    Fault("lose", lose, make_anew),
)
