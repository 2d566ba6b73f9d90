"""Every command of the README on the containers: curl as it stands there, in its order, and the failover demo.

First of all tests here: the README supposes few rows.
"""

import re
import time
from typing import Any

import pytest
from readme_commands import COMMANDS, README, check_shape, run
from stack import Stack

BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
DEMOS = [block for block in BLOCKS if "Charlie" in block]
# a node is stopped and started by make in one place, by compose in another
STEP = re.compile(r"(?:make|docker compose) (stop|start) (?:NODE=)?(\S+)")


def steps(block: str) -> list[str]:
    """Its commands, each in one line, without comments."""
    lines = [line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("place", range(len(COMMANDS)))
def test_command_of_the_readme_works_as_written(stack: Stack, place: int) -> None:
    check_shape(COMMANDS[place], run(stack, COMMANDS[place]))


def test_the_failover_demo_works_as_written(stack: Stack) -> None:
    assert DEMOS
    for block in DEMOS:
        stack.make_master("mysql-master")
        epoch = stack.status()["epoch"]
        answers: list[dict[str, Any]] = []
        done: list[tuple[str, str]] = []
        for step in steps(block):
            if found := STEP.fullmatch(step):
                done.append((found[1], found[2]))
                stack.compose(found[1], found[2])
            elif step.startswith("sleep "):
                time.sleep(float(step.split()[1]))  # the README says so
            else:
                answers.append(run(stack, step))
                check_shape(step, answers[-1])
                assert stack.state("mysql-master")["Status"] == "exited"
        assert done[0] == ("stop", "mysql-master")
        written, status = answers
        assert status["current_master"] == written["executed_on"] != "mysql-master"
        assert status["master_is_original"] is False
        assert status["epoch"] > epoch
        stack.compose("start", "mysql-master")
        stack.wait_until_well()
        assert "mysql-master" in stack.status()["replicas"]
        assert stack.rows_on("mysql-master", "SELECT COUNT(*) FROM distributed_db.users WHERE name = 'Charlie'")[0][0]
