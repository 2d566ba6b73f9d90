"""Starts an engine where none is named, and leaves nothing running: a process that outlives the test run.

It says in one line of JSON how to reach the engine, or why there is none, and reads a pipe until that ends. The test run
and every command that it starts hold the other end; the kernel closes it when the last of them is gone, however they went.
So by then nobody starts containers any more, and what is taken down stays down. An orderly end takes the same way.

Hard case: the test run is killed while the engine is being started. We start it ourselves, so it cannot come up behind us.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".docker"
START_S = 600.0
STOP_S = 120.0


class NoEngine(Exception):
    """There is none; the text says why."""


def said_by(*argv: str, environment: dict[str, str], timeout_s: float) -> str:
    """What the command wrote to its standard output."""
    try:
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoEngine(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise NoEngine(f"{' '.join(argv)} ends with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def answers(environment: dict[str, str]) -> bool:
    try:
        said_by("docker", "version", environment=environment, timeout_s=30.0)
    except NoEngine:
        return False
    return True


def engine() -> tuple[dict[str, str], bool]:
    """(its settings, whether it is ours to stop)."""
    settings = {name: os.environ[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG") if name in os.environ}
    ours = False
    if "DOCKER_HOST" not in settings:
        ours = not answers({**os.environ, "DOCKER_HOST": f"unix://{FOLDER}/docker.sock"})
        said = said_by(".ci/docker-engine", "start", str(FOLDER), environment={**os.environ}, timeout_s=START_S)
        settings = dict(line.split("=", 1) for line in said.splitlines())
    environment = {**os.environ, **settings}
    said_by("docker", "version", environment=environment, timeout_s=30.0)
    said_by("docker", "compose", "version", environment=environment, timeout_s=30.0)
    return settings, ours


def main() -> None:
    try:
        settings, ours = engine()
    except NoEngine as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        sys.exit(1)
    environment = {**os.environ, **settings}
    down = ("docker", "compose", "down", "--volumes", "--remove-orphans", "--timeout", "0")
    # what a keeper left behind that was killed itself
    said_by(*down, environment=environment, timeout_s=STOP_S)
    print(json.dumps({"settings": settings}), flush=True)
    sys.stdin.read()
    try:
        said_by(*down, environment=environment, timeout_s=STOP_S)
    finally:
        if ours:
            said_by(".ci/docker-engine", "stop", str(FOLDER), environment=environment, timeout_s=STOP_S)


if __name__ == "__main__":
    main()
