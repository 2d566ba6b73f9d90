"""TLS by settings alone: real uvicorn, as the runner starts it, with a certificate of a CA that nobody else knows."""

import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from access import bearer
from metrics_client import CollectorUnavailableError, MetricsClient
from pydantic import SecretStr
from served_service import Services, make_certificates

from adapters.service_clients import AdviceClient, TimestampClient
from cluster_layout import ROOT
from replication.events import TimestampsGranted, TimestampsRefused

SERVICE_TOKEN = SecretStr("service-token-0123456789")
ACCESS_TOKEN = SecretStr("reader-token-0123456789")


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    return make_certificates(tmp_path)


@pytest.fixture
def services(tmp_path: Path, certificates: dict[str, str]) -> Services:
    tokens = {
        "SERVICE_TOKEN": SERVICE_TOKEN.get_secret_value(),
        "ACCESS_TOKENS": f"read:{ACCESS_TOKEN.get_secret_value()}",
    }
    return Services(tmp_path / "cluster", certificates | tokens)


def verifying(certificates: dict[str, str], token: SecretStr) -> httpx.Client:
    """A client that trusts this CA and no other."""
    context = ssl.create_default_context(cafile=certificates["SSL_CERT_FILE"])
    return httpx.Client(verify=context, headers=bearer(token), trust_env=False)


def probe(port: int, **environment: str) -> int:
    """The exit status of a container's health check."""
    command = [sys.executable, "-IS", str(ROOT / "coordinator" / "health_probe.py"), str(port)]
    return subprocess.run(command, env=environment, timeout=20, check=False).returncode


async def test_the_coordinators_clients_verify_the_services_and_are_known_to_them(
    services: Services, certificates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as running:
        for name in ("timestamp-1", "metrics-collector", "cabinet-service", "seer-service"):
            running.enter_context(services.run(name))
        urls = {name: services.layout.url(name) for name in ("timestamp-1", "cabinet-service", "seer-service")}
        assert all(url.startswith("https://127.0.0.1:") for url in urls.values())

        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        stranger = TimestampClient([urls["timestamp-1"]], 5.0, SERVICE_TOKEN)
        refused = await stranger.fetch(1, 0)
        await stranger.close()
        assert isinstance(refused, TimestampsRefused)
        assert "CERTIFICATE_VERIFY_FAILED" in refused.reason

        monkeypatch.setenv("SSL_CERT_FILE", certificates["SSL_CERT_FILE"])
        nobody = TimestampClient([urls["timestamp-1"]], 5.0)
        refused = await nobody.fetch(1, 0)
        await nobody.close()
        assert isinstance(refused, TimestampsRefused)
        assert "401 Unauthorized" in refused.reason

        timestamps = TimestampClient([urls["timestamp-1"]], 5.0, SERVICE_TOKEN)
        assert isinstance(await timestamps.fetch(1, 0), TimestampsGranted)
        await timestamps.close()

        # the advisers answer, and they have asked the collector over TLS, with the token
        with verifying(certificates, SERVICE_TOKEN) as client:
            for name in ("cabinet-service", "seer-service"):
                assert client.get(f"{urls[name]}/health").json()["metrics_collector"] == "reachable"
        advice = AdviceClient(urls["cabinet-service"], urls["seer-service"], 5.0, SERVICE_TOKEN)
        arrived = await advice.fetch("mysql-master")
        await advice.close()
        # no node is there to be advised: both said so, and neither call failed
        assert (arrived.quorum, arrived.ranking) == ((), ())


async def test_the_collectors_client_takes_no_answer_of_a_server_that_it_cannot_verify(
    services: Services, certificates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with services.run("metrics-collector"):
        url = services.layout.url("metrics-collector")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        stranger = MetricsClient(url, timeout_ms=5000, cache_ms=0, token=SERVICE_TOKEN)
        with pytest.raises(CollectorUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.read()
        await stranger.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", certificates["SSL_CERT_FILE"])
        client = MetricsClient(url, timeout_ms=5000, cache_ms=0, token=SERVICE_TOKEN)
        assert set((await client.read()).nodes) == {"mysql-master", "replica-1", "replica-2", "replica-3"}
        await client.aclose()


def test_the_coordinator_speaks_tls_with_the_protocol_that_writes_once(
    services: Services, certificates: dict[str, str]
) -> None:
    with services.run("coordinator"), verifying(certificates, ACCESS_TOKEN) as client:
        url = services.layout.url("coordinator")
        status = client.get(f"{url}/status")
        assert (status.status_code, status.headers["cache-control"]) == (200, "no-store")
        assert client.post(f"{url}/explain-replication", json={"query": "SELECT 1"}).json()["verb"] == "SELECT"
        denied = client.post(f"{url}/query", json={"query": "DELETE FROM users WHERE id = 1"})
        assert (denied.status_code, denied.json()["error"]["kind"]) == (403, "denied")
        # a body that is not read is no reason to end the connection, and long ones arrive whole
        long = {"query": "SELECT " + " " * 1_000_000 + "1", "level": "nonsense"}
        assert client.post(f"{url}/query", json=long, headers={"authorization": ""}).status_code == 401
        assert client.post(f"{url}/query", json=long).status_code == 422
        with pytest.raises(httpx.TransportError):
            client.get(url.replace("https:", "http:") + "/health")


def test_the_containers_health_check_speaks_tls_where_the_service_does(
    services: Services, certificates: dict[str, str]
) -> None:
    with services.run("timestamp-1") as process:
        port = services.layout.port("timestamp-1")
        assert probe(port, UVICORN_SSL_CERTFILE=certificates["UVICORN_SSL_CERTFILE"]) == 0
        assert probe(port) == 1
    assert process.returncode == 0
    assert probe(port, UVICORN_SSL_CERTFILE=certificates["UVICORN_SSL_CERTFILE"]) == 1
