"""The same docker-compose.yml as a stack on a swarm of one machine: it takes writes, outlives its master and keeps its data.

The one machine of a test has no IPVS in its kernel, perhaps, so a second file (swarm-without-ipvs.yml) replaces what rests on it.
"""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from recording_client import Load
from stack import Stack
from under_load import acknowledged_more

from cluster_layout import MEMBERS, NODES

NAME = "distributed-mysql-swarm"
PORT = 28_000
PORTS = {
    f"{name}_PORT": str(PORT + number)
    for number, name in enumerate(("COORDINATOR", "TIMESTAMP_1", "TIMESTAMP_2", "METRICS", "CABINET", "SEER"))
}
"""Beside the stack that the other tests have: a swarm publishes a port at all addresses of its machine."""
# so without tokens its services start only where somebody says that this is meant; the engine is the test's own
SETTINGS = {**PORTS, "ACCESS_OPEN": "1"}
URL = f"http://127.0.0.1:{PORT}"
FILES = ("-c", "docker-compose.yml", "-c", "tests/e2e/swarm-without-ipvs.yml")
SERVES_S = 180.0
GONE_S = 120.0


def names(swarm: Stack, *argv: str) -> list[str]:
    return swarm.command("docker", *argv).split()


def forget(swarm: Stack) -> None:
    """No swarm, no container of it and no volume."""
    if "active" in names(swarm, "info", "--format", "{{.Swarm.LocalNodeState}}"):
        services = names(swarm, "service", "ls", "--format", "{{.Name}}")
        assert all(name.startswith(NAME) for name in services), f"the engine is part of somebody's swarm: {services}"
        swarm.command("docker", "swarm", "leave", "--force")
    ours = ("--filter", f"label=com.docker.stack.namespace={NAME}")
    deadline_s = time.monotonic() + GONE_S
    while names(swarm, "ps", "--all", "--quiet", *ours):
        assert time.monotonic() < deadline_s, "containers of the swarm are left"
        time.sleep(0.2)  # the swarm tells nobody: asked again
    volumes = names(swarm, "volume", "ls", "--quiet", *ours)
    if volumes:
        swarm.command("docker", "volume", "rm", *volumes)


@pytest.fixture
def swarm(stack: Stack) -> Iterator[Stack]:
    """An engine that is a swarm of its own. The other stack is down meanwhile: an engine that leaves a swarm forgets the names of
    all containers that run, on all of its networks."""
    stack.compose("down")
    swarm = stack.beside(SETTINGS)
    forget(swarm)
    swarm.command("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield swarm
    finally:
        forget(swarm)


def deploy(swarm: Stack) -> None:
    swarm.command("docker", "stack", "deploy", "--resolve-image", "never", *FILES, NAME)


def remove_stack(swarm: Stack) -> None:
    """Returns when its services, containers and network are gone.

    Hard case: the command asks for the network's end straight after the services', and the swarm refuses that while it still
    counts one of their tasks as running: https://github.com/moby/swarmkit/pull/2726. What a person does: the same command again.
    """
    deadline_s = time.monotonic() + GONE_S
    while True:
        try:
            swarm.command("docker", "stack", "rm", NAME)
            break
        except AssertionError as refused:
            if "in use by task" not in str(refused) or time.monotonic() > deadline_s:
                raise
        time.sleep(0.2)  # the swarm tells nobody: asked again
    while names(swarm, "ps", "--all", "--quiet", "--filter", f"label=com.docker.stack.namespace={NAME}"):
        assert time.monotonic() < deadline_s, "the stack was not removed"
        time.sleep(0.2)  # the swarm tells nobody: asked again
    # its network is removed a moment after its containers
    while f"{NAME}_db-network" in names(swarm, "network", "ls", "--format", "{{.Name}}"):
        assert time.monotonic() < deadline_s, "the stack's network was not removed"
        time.sleep(0.2)  # the swarm tells nobody: asked again


def ask(method: str, path: str, body: object = None) -> httpx.Response | None:
    """None: nobody answers there."""
    try:
        return httpx.request(method, URL + path, json=body, timeout=30, trust_env=False)
    except httpx.TransportError:
        return None


def wait_until_level() -> None:
    deadline_s = time.monotonic() + SERVES_S
    while True:
        answer = ask("GET", "/status")
        nodes = answer.json()["nodes"] if answer is not None else {}
        if len(nodes) == len(NODES) and all(node["state"] == "level" and node["member"] for node in nodes.values()):
            return
        assert time.monotonic() < deadline_s, f"not level: {nodes}"
        time.sleep(0.2)  # the swarm tells nobody: asked again


def master_and_epoch() -> tuple[str, int]:
    answer = ask("GET", "/status")
    assert answer is not None
    status = answer.json()
    return status["current_master"], status["epoch"]


def rows() -> int:
    answer = ask("POST", "/query", {"query": "SELECT COUNT(*) AS n FROM users WHERE email LIKE 'swarm-%'"})
    assert answer is not None
    count: int = answer.raise_for_status().json()["data"][0]["n"]
    return count


def test_a_swarm_publishes_at_all_addresses_so_nothing_starts_there_without_tokens(swarm: Stack) -> None:
    deploy(swarm.beside({"ACCESS_OPEN": ""}))
    deadline_s = time.monotonic() + SERVES_S
    for service in ("coordinator", "seer-service"):
        label = f"com.docker.swarm.service.name={NAME}_{service}"
        while "it is published at all addresses of a swarm" not in (told := swarm.logs(label)):
            assert time.monotonic() < deadline_s, told
            time.sleep(0.2)  # the swarm tells nobody: asked again
    assert ask("GET", "/health") is None
    remove_stack(swarm)


async def test_a_stack_outlives_its_master_and_being_removed_and_deployed_again(swarm: Stack) -> None:
    deploy(swarm)
    assert len(names(swarm, "stack", "services", "--quiet", NAME)) == len(MEMBERS)
    wait_until_level()
    master, epoch = master_and_epoch()

    load = Load(PORT, 8, "swarm")
    running = asyncio.create_task(load.run())
    try:
        await acknowledged_more(load, 200, within_s=30)
        (container,) = names(swarm, "ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={NAME}_{master}")
        await asyncio.to_thread(swarm.command, "docker", "kill", container)
        await acknowledged_more(load, 200, within_s=30)
        await asyncio.to_thread(wait_until_level)
    finally:
        load.stop()
        record = await running
    assert set(record.statuses()) == {200}
    other, later = master_and_epoch()
    assert other != master
    assert later > epoch
    assert rows() == len(record.acknowledged)

    remove_stack(swarm)
    assert ask("GET", "/status") is None
    deploy(swarm)
    wait_until_level()
    assert rows() == len(record.acknowledged)
    verified = ask("POST", "/verify", {"wait": True})
    assert verified is not None
    last = verified.json()["last"]
    assert (last["outcome"], len(last["nodes"])) == ("equal", len(NODES)), last
