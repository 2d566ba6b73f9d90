"""No token and no password is in what a service says, however much it is told to say and whatever goes wrong."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from served_service import Services

from cluster_layout import BY_NAME, ROOT, Layout

SERVICE_TOKEN = "service-token-0123456789"
ADMIN_TOKEN = "admin-token-0123456789"
WRONG_TOKEN = "nobody-has-this-token-0123"
SHORT = "short-secret"
REQUESTS = {
    "coordinator": ("GET", "/status", ADMIN_TOKEN),
    "timestamp-1": ("POST", "/timestamp", SERVICE_TOKEN),
    "metrics-collector": ("GET", "/metrics", SERVICE_TOKEN),
    "cabinet-service": ("POST", "/select-quorum", SERVICE_TOKEN),
    "seer-service": ("POST", "/elect-leader", SERVICE_TOKEN),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_service_that_says_everything_says_no_secret(name: str, tmp_path: Path) -> None:
    settings = {"SERVICE_TOKEN": SERVICE_TOKEN, "ACCESS_TOKENS": f"admin:{ADMIN_TOKEN}", "LOG_LEVEL": "DEBUG"}
    services = Services(tmp_path, settings)
    method, path, token = REQUESTS[name]
    with services.run(name, "--log-level", "trace", "--access-log"), httpx.Client(trust_env=False) as client:
        statuses = [
            client.request(
                method,
                services.layout.url(name) + path,
                json=None if method == "GET" else {"operation": "write"} if "quorum" in path else {},
                headers={"authorization": f"Bearer {sent}"},
            ).status_code
            for sent in (WRONG_TOKEN, token)
        ]
    # the advisers have no node to advise on
    assert statuses[0] == 401
    assert statuses[1] in (200, 503)
    said = services.layout.log(name).read_text()
    assert path in said, "it was to say everything"
    secrets = [SERVICE_TOKEN, ADMIN_TOKEN, WRONG_TOKEN, *(f"{key}-of-the-test" for key in BY_NAME[name].passwords)]
    assert [secret for secret in secrets if secret in said] == []


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SERVICE_TOKEN": SHORT}, "SERVICE_TOKEN has 12 characters, and at least 16 are needed."),
        ({"BIND_ADDRESS": "0.0.0.0"}, "it is published at 0.0.0.0, where anybody could ask it: set "),
    ],
)
def test_a_start_that_is_refused_is_one_sentence_without_a_secret(
    name: str, settings: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    layout = Layout(tmp_path, 0)
    passwords = {key: f"{key}-of-the-test" for key in BY_NAME[name].passwords}
    ended = subprocess.run(
        layout.service_command(name, Path(sys.executable)),
        env={**layout.service_environment(name, settings, passwords), **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "Traceback" not in said
    folder = BY_NAME[name].source
    (line,) = (line for line in said.splitlines() if "does not start" in line)
    assert line.startswith(f"{folder} does not start: {sentence}")
    assert SHORT not in said
    assert "-of-the-test" not in said


def test_settings_that_contradict_each_other_are_refused_without_the_passwords_beside_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 0)
    passwords = dict.fromkeys(BY_NAME["coordinator"].passwords, "pw-of-the-test")
    environment = {**layout.service_environment("coordinator", {}, passwords), "CONFIRM_TIMEOUT_MS": "10000"}
    ended = subprocess.run(
        layout.service_command("coordinator", Path(sys.executable)),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "confirm_timeout_ms must be below request_deadline_ms" in said
    assert "pw-of-the-test" not in said
