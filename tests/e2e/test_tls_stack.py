"""The stack with docker-compose.tls.yml and with tokens: all six services speak https, verify each other, and ask who calls."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served_service import make_certificates
from stack import SERVICE_NAMES, Stack

SERVICE_TOKEN = "of-the-services-0123456789"
TOKENS = {role: f"of-who-may-{role}-0123456789" for role in ("read", "write", "admin")}
FILES = "docker-compose.yml:docker-compose.override.yml:docker-compose.tls.yml"
INSERT = {"query": "INSERT INTO users (name, email) VALUES ('n', 'tls')"}


@pytest.fixture
def certificates(stack: Stack, tmp_path: Path) -> Path:
    """Their folder; the containers' user can read it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    make_certificates(folder, SERVICE_NAMES, stack.host)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@pytest.fixture
def secured(stack: Stack, certificates: Path) -> Iterator[Stack]:
    """The same stack, its services made anew with these settings; afterwards as it was."""
    tokens = ",".join(f"{role}:{token}" for role, token in TOKENS.items())
    settings = {"COMPOSE_FILE": FILES, "TLS_FOLDER": str(certificates)}
    secured = stack.beside(settings | {"ACCESS_TOKENS": tokens, "SERVICE_TOKEN": SERVICE_TOKEN})
    try:
        secured.compose("up", "-d", "--wait")
        yield secured
    finally:
        stack.compose("up", "-d", "--wait")
        stack.wait_until_well()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_with_certificates_and_tokens_all_six_speak_https_and_ask_who_calls(secured: Stack, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    urls = {name: secured.url(name).replace("http:", "https:") for name in SERVICE_NAMES}
    with httpx.Client(verify=context, timeout=30, trust_env=False) as client:
        for name, url in urls.items():
            assert client.get(f"{url}/health").status_code == 200, name
            with pytest.raises(httpx.TransportError):
                secured.get(name, "/health")
        query, switchover = f"{urls['coordinator']}/query", f"{urls['coordinator']}/switchover"
        answers = [client.post(query, json=INSERT, headers=headers) for headers in ({}, bearer("x" * 20))]
        answers += [client.post(query, json=INSERT, headers=bearer(token)) for token in TOKENS.values()]
        assert [answer.status_code for answer in answers] == [401, 401, 403, 200, 200]
        assert client.post(switchover, json={"to": "replica-1"}, headers=bearer(TOKENS["write"])).status_code == 403
        question = f"{urls['cabinet-service']}/select-quorum"
        asked = [
            client.post(question, json={"operation": "write"}, headers=headers)
            for headers in ({}, bearer(SERVICE_TOKEN))
        ]
        assert [answer.status_code for answer in asked] == [401, 200]
        # the services are known to each other
        status = client.get(f"{urls['coordinator']}/status", headers=bearer(TOKENS["read"])).json()
        assert status["timestamp_service_errors"] == {}
        assert client.get(f"{urls['seer-service']}/health").json()["metrics_collector"] == "reachable"
