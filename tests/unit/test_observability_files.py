"""The files for Prometheus and Grafana speak of what there is: services and ports, metrics, settings."""

import json
import re
from typing import Any

import pytest

from cluster_layout import ROOT, SERVICES

FOLDER = ROOT / "metrics-collector" / "observability"
OVERRIDE = (ROOT / "docker-compose.override.yml").read_text()
PROFILED = ("prometheus", "grafana")
OF_PROMETHEUS = {"up", "ALERTS"}
"""Metrics that Prometheus makes itself."""
NAME = re.compile(r"\b(?:dmysql|process|python)_\w+|\bup\b|\bALERTS\b")


def known_names() -> set[str]:
    """Every name that may stand in an expression: a histogram has three."""
    names = set(OF_PROMETHEUS)
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", (FOLDER / "METRICS.md").read_text(), re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return read


def blocks(text: str) -> dict[str, str]:
    """The services of a compose file."""
    services = text.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    return dict(re.findall(r"^  ([a-z0-9-]+):\n((?:    .*\n|\n|  #.*\n)+)", services, re.MULTILINE))


def test_prometheus_scrapes_all_six_services_at_the_ports_that_they_have() -> None:
    text = (FOLDER / "targets.yml").read_text()
    found = re.findall(r'^- \{targets: \["(\S+):(\d+)"\], labels: \{service: (\S+)\}\}$', text, re.MULTILINE)
    assert found == [(service.name, str(service.base_port), service.name) for service in SERVICES]


def test_over_https_the_targets_are_the_same() -> None:
    plain, tls = (
        [line for line in (FOLDER / name).read_text().splitlines() if line.startswith("-")]
        for name in ("targets.yml", "targets-tls.yml")
    )
    assert [line.replace("__scheme__: https, ", "") for line in tls] == plain
    assert all("__scheme__: https" in line for line in tls)


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    targets = [target for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    used = {name for target in targets for name in NAME.findall(target["expr"])}
    assert len(used) > 30
    assert used - known_names() == set()


def test_the_alerts_rest_only_on_metrics_that_there_are() -> None:
    text = (FOLDER / "alerts.yml").read_text()
    expressions = re.findall(r"^        expr: ((?:.*\n)(?:          .*\n)*)", text, re.MULTILINE)
    assert len(expressions) == len(re.findall(r"- alert:", text))
    used = {name for expression in expressions for name in NAME.findall(expression)}
    assert used - known_names() == set()


def test_the_dashboard_is_laid_out_without_a_panel_upon_another_and_asks_the_chosen_data_source() -> None:
    read = dashboard()
    (variable,) = read["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    taken: set[tuple[int, int]] = set()
    for panel in read["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            for asked in (panel, *panel["targets"]):
                assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    ids = [panel["id"] for panel in read["panels"]]
    assert len(set(ids)) == len(ids)
    rows = [panel["title"] for panel in read["panels"] if panel["type"] == "row"]
    assert rows == ["Requests", "Latency", "Quorum", "Elections", "Nodes", "Services"]


def test_both_services_are_in_the_profile_and_in_no_file_that_a_swarm_is_given() -> None:
    for name in PROFILED:
        assert "    profiles: [observability]\n" in blocks(OVERRIDE)[name]
    for file in ("docker-compose.yml", "docker-compose.tls.yml"):
        text = (ROOT / file).read_text()
        assert "profiles:" not in text
        assert not set(PROFILED) & set(blocks(text))


@pytest.mark.parametrize("name", PROFILED)
def test_what_the_profile_starts_is_pinned_on_loopback_and_may_do_little(name: str) -> None:
    block = blocks(OVERRIDE)[name]
    assert re.search(r"^    image: \$\{[A-Z]+_IMAGE:-\S+:v?\d+\.\d+\.\d+\}$", block, re.MULTILINE)
    assert '"${OBSERVABILITY_ADDRESS:-127.0.0.1}:$' in block
    assert "cap_drop: [ALL]" in block
    assert "no-new-privileges:true" in block
    for mounted in re.findall(r"- (\./metrics-collector/observability/[^:$]+):", block):
        assert (ROOT / mounted).exists(), mounted


def test_every_setting_of_the_profile_is_named_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    for name in PROFILED:
        for setting in re.findall(r"\$\{([A-Z_]+):-", blocks(OVERRIDE)[name]):
            assert re.search(rf"^#?{setting}=", example, re.MULTILINE), setting
