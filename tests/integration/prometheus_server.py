"""A real Prometheus beside a test's cluster, with the project's own configuration: other addresses, and nothing else.

Hard case: the test run is killed. Prometheus is ended by the kernel then (PR_SET_PDEATHSIG): it has nothing to lose.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from cluster_handle import ClusterHandle
from free_ports import free_ports
from prometheus_package import prometheus_programs
from waiting import wait_until

from cluster_layout import HOST, ROOT, SERVICES

OBSERVABILITY = ROOT / "metrics-collector" / "observability"
READY_S = 60.0
STOP_S = 20.0
PORTS_FROM = 29_090
PR_SET_PDEATHSIG = 1
PLAIN, TLS = "targets.yml", "targets-tls.yml"


class Prometheus:
    """Questions to one server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10.0, trust_env=False)

    def is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that the expression gives now."""
        result = self.ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expression: str) -> float | None:
        """Of an expression with one series; None: it gives none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    def targets(self) -> dict[str, dict[str, Any]]:
        """By the name of the service."""
        return {target["labels"]["service"]: target for target in self.ask("targets")["activeTargets"]}

    def close(self) -> None:
        self._http.close()


def configuration(
    folder: Path,
    addresses: Mapping[str, str],
    tokens: Mapping[str, str],
    changes: Mapping[str, str],
    targets: str = PLAIN,
) -> Path:
    """The project's own files in `folder`, with `addresses` in the place of the containers', and `changes` in prometheus.yml.
    `targets`: the file that names them."""
    shutil.copy(OBSERVABILITY / "alerts.yml", folder)
    text = (OBSERVABILITY / "prometheus.yml").read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "prometheus.yml").write_text(text)
    text = (OBSERVABILITY / targets).read_text()
    for service, at in addresses.items():
        text, count = re.subn(rf'"{service}:\d+"', f'"{at}"', text)
        assert count == 1, service
    (folder / "targets.yml").write_text(text)
    (folder / "tokens").mkdir()
    for job in ("coordinator", "services"):
        (folder / "tokens" / job).write_text(tokens.get(job, ""))
    return folder / "prometheus.yml"


@contextlib.contextmanager
def scraping(
    cluster: ClusterHandle, folder: Path, *, tokens: Mapping[str, str] | None = None, ca: str = ""
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the cluster every second. `tokens`: by job. `ca`: by which https services are verified."""
    addresses = {service.name: f"{HOST}:{cluster.port(service.name)}" for service in SERVICES}
    config = configuration(folder, addresses, tokens or {}, {": 5s": ": 1s"}, TLS if ca else PLAIN)
    port = next(free_ports(PORTS_FROM))
    log = (folder / "prometheus.log").open("wb")
    with log:
        process = subprocess.Popen(
            [
                prometheus_programs() / "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={HOST}:{port}",
            ],
            cwd=folder,
            env={**os.environ, **({"SSL_CERT_FILE": ca} if ca else {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
        server = Prometheus(f"http://{HOST}:{port}")
        try:
            wait_until(lambda: server.is_ready() or process.poll() is not None, READY_S)
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield server
        finally:
            server.close()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
