"""promtool holds the configuration and the rules to be right, and each alert fires when it should and not before."""

import re
import subprocess
from pathlib import Path

import pytest
from cluster_handle import ClusterHandle
from prometheus_package import prometheus_programs
from prometheus_server import OBSERVABILITY, PLAIN, TLS, configuration

from cluster_layout import SERVICES

TESTS = Path(__file__).with_name("alerts_test.yml")


def promtool(*argv: str | Path, given: str = "") -> str:
    done = subprocess.run(
        [prometheus_programs() / "promtool", *argv],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_nothing_wrong_with_the_configuration_and_its_rules(tmp_path: Path) -> None:
    config = configuration(tmp_path, {}, {}, {})
    told = promtool("check", "config", config)
    assert re.search(r"SUCCESS: \d+ rules found", told), told


def test_promtool_would_find_a_rule_that_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "alerts.yml"
    wrong.write_text((OBSERVABILITY / "alerts.yml").read_text().replace("dmysql_writable == 0", "dmysql_writable =="))
    with pytest.raises(AssertionError, match="NoQuorum"):
        promtool("check", "rules", wrong)


@pytest.mark.parametrize("targets", [PLAIN, TLS])
def test_promtool_takes_both_lists_of_targets(tmp_path: Path, targets: str) -> None:
    config = configuration(tmp_path, {}, {}, {}, targets)
    promtool("check", "config", config)
    told = promtool("check", "service-discovery", "--timeout=2s", config, "services")
    for port in range(8001, 8006):
        assert f":{port}" in told, told


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    # promtool looks for the rules beside the file of tests, and wants every word of every annotation there
    rules = re.sub(r" +description: >-\n( {12}.*\n)+", "", (OBSERVABILITY / "alerts.yml").read_text())
    (tmp_path / "alerts.yml").write_text(rules)
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    assert "SUCCESS" in promtool("test", "rules", tmp_path / TESTS.name)


def test_each_alert_has_a_test_of_both_kinds_and_says_what_to_do() -> None:
    rules = (OBSERVABILITY / "alerts.yml").read_text()
    names = re.findall(r"- alert: (\w+)", rules)
    assert len(names) == len(set(names)) >= 9
    assert len(re.findall(r"^          summary: ", rules, re.MULTILINE)) == len(names)
    assert len(re.findall(r"^          description: ", rules, re.MULTILINE)) == len(names)
    assert len(re.findall(r"severity: (?:page|ticket)", rules.partition("groups:")[2])) == len(names)
    tests = TESTS.read_text()
    for name in names:
        cases = re.findall(rf"alertname: {name}\n( +exp_alerts:.*)?", tests)
        assert any(cases), f"{name} is never expected to fire"
        assert not all(cases), f"{name} is never expected to be silent"


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_promtool_finds_nothing_wrong_with_what_a_service_tells(cluster: ClusterHandle, service: str) -> None:
    told = cluster.get(service, "/metrics/prometheus").text
    assert promtool("check", "metrics", given=told) == ""
