"""A test run that is killed leaves nothing behind in the engine, whatever it was doing."""

import json
import signal
import subprocess
import sys
import time

import pytest
from stack import Stack

# A test run in small: one container, paused, which is the hardest to remove; then it starts another one, and is killed.
RUN = """
import json, sys
from stack import project
with project(json.loads(sys.argv[1])) as stack:
    stack.compose("up", "-d", "--no-deps", "cabinet-service")
    stack.container("cabinet-service").pause()
    print("up", flush=True)
    stack.compose("up", "-d", "--no-deps", "timestamp-1")
    sys.stdin.read()
"""
GONE_S = 60.0


@pytest.mark.parametrize("wait_s", [0.0, 3.0], ids=["while it starts something", "while it waits"])
def test_a_killed_test_run_leaves_no_container_and_no_volume(stack: Stack, wait_s: float) -> None:
    environment = {**stack.environment, "COMPOSE_PROJECT_NAME": f"{stack.project}-killed", "BIND_ADDRESS": "127.0.0.4"}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(environment)],
        env={**environment, "PYTHONPATH": ":".join(path for path in sys.path if path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run.stdin, run.stdout:
        assert run.stdout.readline() == "up\n"
        time.sleep(wait_s)  # it is killed at different moments
        assert left(stack, environment["COMPOSE_PROJECT_NAME"])
        run.send_signal(signal.SIGKILL)
        run.wait()
        deadline_s = time.monotonic() + GONE_S
        while still_there := left(stack, environment["COMPOSE_PROJECT_NAME"]):
            assert time.monotonic() < deadline_s, still_there
            time.sleep(0.1)  # the keeper tells nobody
        # nothing comes up behind the keeper's back
        time.sleep(1.0)  # nothing is to happen: that takes a while to see
        assert not left(stack, environment["COMPOSE_PROJECT_NAME"])


def left(stack: Stack, project: str) -> list[str]:
    """What the engine still has of a project."""
    labelled = ("--filter", f"label=com.docker.compose.project={project}")
    containers = stack.command("docker", "ps", "--all", "--format", "{{.Names}} {{.Status}}", *labelled)
    volumes = stack.command("docker", "volume", "ls", "--format", "{{.Name}}", *labelled)
    networks = stack.command("docker", "network", "ls", "--format", "{{.Name}}", *labelled)
    return [*containers.splitlines(), *volumes.splitlines(), *networks.splitlines()]
