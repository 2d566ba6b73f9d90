"""`make demo-docker` as a process, beside the stack of the other tests: the same story, and nothing of it stays behind."""

import sys

from stack import NODE_NAMES, Stack

PROJECT = "distributed-mysql-demo"
STORY_S = 420.0


def left_of_it(stack: Stack) -> str:
    label = f"label=com.docker.compose.project={PROJECT}"
    return stack.command("docker", "ps", "--all", "--quiet", "--filter", label) + stack.command(
        "docker", "volume", "ls", "--quiet", "--filter", label
    )


def test_the_demo_runs_in_containers_beside_another_stack_and_leaves_nothing(stack: Stack) -> None:
    assert left_of_it(stack) == ""
    said = stack.command(sys.executable, "demo.py", "--docker", "--fast", timeout_s=STORY_S)
    for sentence in (
        f"$ docker compose -p {PROJECT} kill mysql-master",
        "mysql-master is a replica, and level",
        f"$ docker compose -p {PROJECT} pause replica-",
        "writes were acknowledged meanwhile",
        "was rebuilt from another node's data",
        *(f"found on {name}" for name in NODE_NAMES),
        "Everything was as promised.",
    ):
        assert sentence in said, said
    assert left_of_it(stack) == ""
    assert stack.trouble() == ""
