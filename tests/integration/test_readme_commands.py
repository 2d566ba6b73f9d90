"""Every curl command of the README, typed as it stands there, in its order, answered in the shape that it promises."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cluster_handle import ClusterHandle

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^curl .*?[^\\]$", README, flags=re.MULTILINE | re.DOTALL)


def run(cluster: ClusterHandle, command: str) -> dict[str, Any]:
    """Run a command of the README against the test's own ports; answers with its JSON."""
    moved = re.sub(r"localhost:(80\d\d)", lambda port: f"127.0.0.1:{int(port[1]) + cluster.port_offset}", command)
    done = subprocess.run(
        ["bash", "-c", moved.replace("curl", "curl -sS --max-time 20", 1)], capture_output=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check_shape(command: str, answer: dict[str, Any]) -> None:
    if "/explain-replication" in command:
        assert (answer["kind"], answer["verb"], answer["tables"]) == ("refused", "DELETE", ["users"])
        assert json.dumps(answer["refusal"]["reason"])[1:-1] in README
    elif "CREATE TABLE" in command:
        assert (answer["success"], answer["committed"], answer["rows_affected"]) == (True, True, 0)
    elif "/verify" in command:
        last = answer.get("last", answer)
        assert last["outcome"] == "equal"
    elif "INSERT" in command:
        assert answer["success"] is True
        timestamp = answer["timestamp"]
        assert answer["message"] == f"Write successful (timestamp: {timestamp}, quorum: 2/2)"
        assert answer["rows_affected"] == 1
        assert answer["executed_on"] in ("mysql-master", "replica-1", "replica-2", "replica-3")
    elif "SELECT" in command:
        assert (answer["success"], answer["message"]) == (True, "Read successful")
        assert answer["rows_affected"] == len(answer["data"]) > 0
        row = answer["data"][-1]
        assert list(row) == ["id", "name", "email", "created_at", "timestamp"]
        assert datetime.fromisoformat(row["created_at"])
    elif "/status" in command:
        assert answer["current_master"] not in answer["replicas"]
        assert len(answer["replicas"]) == 3
        assert answer["master_is_original"] is (answer["current_master"] == "mysql-master")
    elif command.endswith("/elections"):
        assert answer["elections"][-1]["master"]
    elif "/switchover" in command:
        assert answer == {"success": True, "message": "replica-2 is master", "current_master": "replica-2"}
    elif command.endswith("/metrics"):
        assert set(answer["nodes"]) == {"mysql-master", "replica-1", "replica-2", "replica-3"}
    elif "/metrics/" in command:
        assert answer["id"] == "replica-1"
        assert {"latency_ms", "lag_ms", "lag_entries", "uptime_s", "crash_count"} <= set(answer)
    elif "/select-quorum" in command:
        assert len(answer["quorum"]) == answer["quorum_size"] == 2
        assert set(answer["quorum"]) <= set(answer["weights"])
    elif "/elect-leader" in command:
        assert answer["leader"] == answer["ranking"][0]
        assert {"latency_score", "stability_score", "lag_score", "total"} <= set(answer["scores"][answer["leader"]])
    else:
        assert "/health" in command
        assert answer["status"] == "ok"


def test_the_readme_has_the_commands() -> None:
    assert len(COMMANDS) == 19, COMMANDS


@pytest.mark.parametrize("place", range(len(COMMANDS)))
def test_command_of_the_readme_works_as_written(cluster: ClusterHandle, place: int) -> None:
    check_shape(COMMANDS[place], run(cluster, COMMANDS[place]))


def test_the_row_has_the_timestamp_of_the_write_that_made_it(cluster: ClusterHandle) -> None:
    made = cluster.query(
        "INSERT INTO users (name, email) VALUES ('Alice', 'one@example.com'), ('Bob', 'two@example.com')"
    ).json()
    read = cluster.query(
        "SELECT email, timestamp FROM users WHERE email IN ('one@example.com', 'two@example.com')"
    ).json()
    assert [row["timestamp"] for row in read["data"]] == [made["timestamp"]] * 2
    assert read["rows_affected"] == 2


def test_timestamps_of_the_two_servers_are_odd_and_even(cluster: ClusterHandle) -> None:
    for number, name in ((1, "timestamp-1"), (0, "timestamp-2")):
        answer = cluster.get(name, "/timestamp?count=3").json()
        assert answer["timestamp"] % 2 == number
        assert answer["last"] == answer["timestamp"] + 4


def test_the_failover_demo(cluster: ClusterHandle) -> None:
    """The README's second test: stop the master, write, look who is master, start it again."""
    master = cluster.get("coordinator", "/status").json()["current_master"]
    cluster.stop(master)
    answer = cluster.query("INSERT INTO users (name, email) VALUES ('Charlie', 'charlie@example.com')").json()
    assert answer["success"] is True
    status = cluster.get("coordinator", "/status").json()
    assert status["current_master"] == answer["executed_on"] != master
    cluster.start(master)
