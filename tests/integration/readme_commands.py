"""The curl commands of the README: taken out of it, run as they stand there, and what each answer promises."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from under_load import ServedCluster

from cluster_layout import SERVICES

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^curl (?:'[^']*'|\\\n|[^'\n])*$", README, flags=re.MULTILINE)


def run(cluster: ServedCluster, command: str) -> dict[str, Any]:
    """Run a command of the README against the test's own cluster; answers with its JSON (or, by a name of ours, its text)."""
    addresses = {member.base_port: f"{cluster.host}:{cluster.port(member.name)}" for member in SERVICES}
    moved = re.sub(r"localhost:(80\d\d)", lambda port: addresses[int(port[1])], command)
    done = subprocess.run(
        ["bash", "-c", moved.replace("curl", "curl -sS --max-time 20", 1)], capture_output=True, check=True
    )
    if "ndjson" in command:
        return {"lines": [json.loads(line) for line in done.stdout.splitlines()]}
    if "/metrics/prometheus" in command:
        return {"text": done.stdout.decode()}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check_shape(command: str, answer: dict[str, Any]) -> None:
    if "/explain-replication" in command:
        assert (answer["kind"], answer["verb"], answer["tables"]) == ("refused", "DELETE", ["users"])
        assert json.dumps(answer["refusal"]["reason"])[1:-1] in README
    elif "ndjson" in command:
        head, *rows, end = answer["lines"]
        assert [column["name"] for column in head["result"]["columns"]] == ["id", "name"]
        assert end == {"end": {"rows_affected": len(rows)}}
        assert list(rows[0]["row"]) == ["id", "name"]
    elif "/metrics/prometheus" in command:
        assert 'dmysql_requests_total{kind="write",outcome="ok"}' in answer["text"]
    elif "CREATE TABLE" in command:
        assert (answer["success"], answer["committed"], answer["rows_affected"]) == (True, True, 0)
    elif "/verify" in command:
        last = answer.get("last", answer)
        assert last["outcome"] == "equal"
    elif "/transactions" in command:
        assert answer["fate"] in (
            ("committed",) if "order-4711" in command else ("committed", "not committed", "unknown")
        )
    elif "Idempotency-Key" in command:
        assert (answer["success"], answer["rows_affected"], answer["committed"]) == (True, 1, True)
    elif '"statements"' in command:
        insert, read, delete = answer["results"]
        assert answer["message"] == f"Batch successful (timestamp: {answer['timestamp']}, quorum: 2/2)"
        assert (insert["rows_affected"], delete["rows_affected"]) == (1, 0)
        assert read["data"][0]["carols"] > 0
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
