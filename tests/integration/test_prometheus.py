"""A real Prometheus scrapes a real cluster, with the project's own configuration, rules and dashboard."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cluster_handle import ClusterHandle, private_cluster
from prometheus_server import OBSERVABILITY, Prometheus, scraping
from served_service import make_certificates
from waiting import wait_until

from cluster_layout import NODES, SERVICES

SCRAPED_S = 30.0
SEEN_S = 30.0
WRITES = 40
TOKENS = {
    "ACCESS_TOKENS": "read:reader-token-0123456789,admin:admin-token-0123456789",
    "SERVICE_TOKEN": "service-token-0123456789",
}


@pytest.fixture(scope="module")
def prometheus(cluster: ClusterHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(cluster, tmp_path_factory.mktemp("prometheus")) as server:
        wait_until(lambda: all_up(server), SCRAPED_S)
        yield server


def all_up(server: Prometheus) -> bool:
    return sorted(value for _, value in server.query("up")) == [1.0] * len(SERVICES)


def expressions_of(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_all_six_services_are_scraped_without_an_error(prometheus: Prometheus) -> None:
    targets = prometheus.targets()
    assert set(targets) == {service.name for service in SERVICES}
    for target in targets.values():
        assert (target["health"], target["lastError"]) == ("up", "")
        assert target["scrapePool"] == ("coordinator" if target["labels"]["service"] == "coordinator" else "services")


def test_writes_that_were_acknowledged_are_counted(cluster: ClusterHandle, prometheus: Prometheus) -> None:
    expression = 'dmysql_requests_total{kind="write", outcome="ok"}'
    before = prometheus.value(expression) or 0.0
    for number in range(WRITES):
        answer = cluster.query("INSERT INTO users (name, email) VALUES (?, ?)", params=[f"counted {number}", "a@b.c"])
        assert answer.status_code == 200, answer.text
    assert cluster.query("SELECT SLEEP(1)").status_code == 400
    wait_until(lambda: (prometheus.value(expression) or 0.0) >= before + WRITES, SEEN_S)
    assert prometheus.value('dmysql_request_duration_seconds_count{kind="write"}') == prometheus.value(
        'sum(dmysql_requests_total{kind="write"})'
    )
    # each write was stored on at least two replicas, and its batch has it once
    assert (prometheus.value("sum(dmysql_store_duration_seconds_count)") or 0) >= 2
    assert (prometheus.value("dmysql_batch_requests_sum") or 0) >= WRITES
    wait_until(lambda: (prometheus.value('dmysql_refused_requests_total{errno="1235"}') or 0) >= 1, SEEN_S)
    assert prometheus.value("dmysql_writable") == 1
    assert (prometheus.value("sum(dmysql_timestamps_granted_total)") or 0) >= WRITES


def test_what_the_services_say_of_the_nodes_is_what_the_nodes_are(
    cluster: ClusterHandle, prometheus: Prometheus
) -> None:
    status = cluster.get("coordinator", "/status").json()
    wait_until(lambda: prometheus.value("sum(dmysql_probe_healthy)") == len(NODES), SEEN_S)
    assert prometheus.value("dmysql_epoch") == status["epoch"]
    (master,) = [labels["node"] for labels, value in prometheus.query("dmysql_node_master == 1") if value]
    assert master == status["current_master"]
    assert prometheus.value("sum(dmysql_node_member)") == len(NODES)

    def weighed() -> set[str]:
        return {labels["node"] for labels, _ in prometheus.query("dmysql_cabinet_weight")}

    # Cabinet is asked once a second
    wait_until(lambda: weighed() == set(status["replicas"]), SEEN_S)
    for name in NODES:
        latency_s = prometheus.value(f'dmysql_probe_latency_seconds{{node="{name.name}"}}')
        assert latency_s is not None
        assert 0 < latency_s < 1


def test_every_expression_of_the_dashboard_can_be_asked_and_those_of_a_well_cluster_are_answered(
    cluster: ClusterHandle, prometheus: Prometheus
) -> None:
    expressions = expressions_of(json.loads((OBSERVABILITY / "dashboard.json").read_text()))
    assert len(expressions) > 40
    assert cluster.query("SELECT SLEEP(1)").status_code == 400

    def silent() -> set[str]:
        return {each for each in expressions if not prometheus.query(each.replace("$__rate_interval", "1m"))}

    # a rate takes two scrapes, and the log is looked at every few seconds
    try:
        wait_until(lambda: not silent(), SEEN_S)
    except AssertionError:
        raise AssertionError(f"nothing is answered to {silent()}") from None


def test_the_rules_are_loaded_and_nothing_fires_while_all_is_well(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 9
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    assert prometheus.firing() <= {"ElectionStorm"}, "other tests may have elected masters on this cluster"


def test_a_node_that_is_killed_is_seen_to_be_down_and_then_to_be_back(
    cluster: ClusterHandle, prometheus: Prometheus
) -> None:
    (down,) = [rule for rule in all_rules(prometheus) if rule["name"] == "NodeDown"]
    victim = cluster.get("coordinator", "/status").json()["replicas"][-1]
    expression = down["query"]

    def is_down() -> bool:
        return [labels["node"] for labels, _ in prometheus.query(expression)] == [victim]

    assert prometheus.query(expression) == []
    elections = prometheus.value("dmysql_elections_total")
    cluster.kill(victim)
    try:
        wait_until(is_down, SEEN_S)
        assert prometheus.value("dmysql_writable") == 1, "a replica less is no quorum less"
        wait_until(lambda: prometheus.value(f'dmysql_probe_healthy{{node="{victim}"}}') == 0, SEEN_S)
        wait_until(lambda: "NodeDown" in prometheus.firing(), down["duration"] + SEEN_S)
    finally:
        cluster.start(victim)
    wait_until(lambda: prometheus.value(f'dmysql_node_state{{node="{victim}", state="level"}}') == 1, SEEN_S)
    wait_until(lambda: "NodeDown" not in prometheus.firing(), SEEN_S)
    assert prometheus.value("dmysql_elections_total") == elections, "nobody was elected for a replica's sake"


def test_an_election_is_counted_and_the_epoch_grows(cluster: ClusterHandle, prometheus: Prometheus) -> None:
    elections, epoch = prometheus.value("dmysql_elections_total"), prometheus.value("dmysql_epoch")
    assert elections is not None
    assert epoch is not None
    target = cluster.get("coordinator", "/status").json()["replicas"][0]
    switched = httpx.post(
        cluster.url("coordinator") + "/switchover", json={"to": target}, timeout=30.0, trust_env=False
    )
    assert switched.status_code == 200, switched.text
    wait_until(lambda: (prometheus.value("dmysql_elections_total") or 0) == elections + 1, SEEN_S)
    wait_until(lambda: (prometheus.value("dmysql_epoch") or 0) > epoch, SEEN_S)
    wait_until(lambda: prometheus.value(f'dmysql_node_master{{node="{target}"}}') == 1, SEEN_S)


def all_rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def test_over_https_with_access_on_prometheus_needs_its_tokens_and_has_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    certificates = make_certificates(tmp_path_factory.mktemp("tls"))
    ca = certificates["SSL_CERT_FILE"]
    with private_cluster(tmp_path_factory.mktemp("cluster"), environment=TOKENS | certificates) as cluster:
        with scraping(cluster, tmp_path_factory.mktemp("without"), ca=ca) as stranger:
            wait_until(lambda: all(target["lastError"] for target in stranger.targets().values()), SCRAPED_S)
            assert {value for _, value in stranger.query("up")} <= {0.0}
            for target in stranger.targets().values():
                assert "401" in target["lastError"]
        tokens = {"coordinator": "reader-token-0123456789", "services": TOKENS["SERVICE_TOKEN"]}
        with scraping(cluster, tmp_path_factory.mktemp("with"), tokens=tokens, ca=ca) as known:
            wait_until(lambda: all_up(known), SCRAPED_S)
            assert all(target["scrapeUrl"].startswith("https://") for target in known.targets().values())
