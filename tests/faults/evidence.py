"""What a failed run leaves behind, so that it can be looked at when the cluster is long gone.

One folder: the schedule with its seed, the history as JSON lines, every log, what /status and /elections said, and the
reason. And two commands: one plays the round again, one checks the saved history again, with a newer checker perhaps.
"""

import contextlib
import json
import shutil
from pathlib import Path

import httpx
from fault_cluster import FaultCluster
from history import History

from cluster_layout import ROOT

ASK_S = 3.0


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def keep(folder: Path, cluster: FaultCluster, history: History, schedule: str, reason: str, replay: str) -> str:
    """Save all there is; answers with what to tell a person."""
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run; there may be none
    folder.mkdir(parents=True)
    (folder / "reason.txt").write_text(reason + "\n")
    (folder / "schedule.txt").write_text(f"{replay}\n{schedule}\n")
    history.save(folder / "history.jsonl")
    shutil.copytree(cluster.handle.folder / "log", folder / "log", dirs_exist_ok=True)
    for path in ("/status", "/elections"):
        with contextlib.suppress(httpx.HTTPError, ValueError):  # who does not answer is no reason to keep less
            answer = cluster.handle.get("coordinator", path, timeout_s=ASK_S).json()
            (folder / f"{path.strip('/')}.json").write_text(json.dumps(answer, indent=2) + "\n")
    checks = Path(__file__).with_name("history_checks.py")
    return (
        f"evidence in {folder}\n"
        f"play it again: {replay}\n"
        f"check it again: .venv/bin/python {_relative(checks)} {folder / 'history.jsonl'}"
    )
