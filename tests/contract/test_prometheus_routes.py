"""What all six services tell Prometheus: where, in which form, to whom; and that METRICS.md names it all and nothing else."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from coordinator_in_process import NAMES, Load, until_status
from services_in_process import SERVICES, ServicesInProcess
from told_numbers import Told

from cluster_layout import ROOT

FORMS = {
    "text/plain": "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text;version=1.0.0": (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    ),
}
SCRAPE = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""The Accept header of Prometheus 2.42."""
TABLE = ROOT / "metrics-collector" / "observability" / "METRICS.md"
BY_ALL = "all"
FOLDERS = {
    "coordinator": "coordinator",
    "timestamp-1": "timestamp",
    "metrics-collector": "metrics collector",
    "cabinet-service": "Cabinet",
    "seer-service": "SEER",
}
"""Service -> how METRICS.md calls it; both timestamp servers are one there."""


class Row(NamedTuple):
    name: str
    kind: str
    labels: tuple[str, ...]
    service: str
    documentation: str


@pytest.fixture
def services(load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServicesInProcess:
    services = ServicesInProcess(load_service, monkeypatch, tmp_path / "state")
    services.settings["LOG_CHECK_MS"] = "10"
    return services


@pytest.fixture(params=SERVICES)
async def client(services: ServicesInProcess, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with services.run(request.param) as client:
        yield client


async def scrape(client: httpx.AsyncClient) -> Told:
    answer = await client.get("/metrics/prometheus")
    assert answer.status_code == 200
    return Told(answer.text)


# ------------------------------------------------------------------------------------------ the form


@pytest.mark.parametrize("accept", [*FORMS, SCRAPE, "*/*", "application/json"])
async def test_every_service_tells_its_numbers_in_the_form_that_is_accepted(
    client: httpx.AsyncClient, accept: str
) -> None:
    answer = await client.get("/metrics/prometheus", headers={"accept": accept})
    assert answer.status_code == 200
    in_openmetrics = "openmetrics" in accept
    wanted = list(FORMS.values())[in_openmetrics]
    assert answer.headers["content-type"] == wanted
    assert answer.text.endswith("# EOF\n") is in_openmetrics
    for line in answer.text.splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[a-z0-9_]+(\{.*\})? [-+0-9.eNaInf]+", line), line


async def test_metrics_are_text_for_a_scraper_at_every_service(client: httpx.AsyncClient) -> None:
    for accept in ("text/plain", SCRAPE):
        answer = await client.get("/metrics", headers={"accept": accept})
        assert answer.status_code == 200
        assert "dmysql_http_requests" in answer.text


async def test_metrics_of_the_collector_are_json_for_everybody_else_and_text_at_all_others(
    services: ServicesInProcess,
) -> None:
    for name in FOLDERS:
        async with services.run(name) as client:
            for accept in ("*/*", "application/json", "text/html,*/*;q=0.8"):
                answer = await client.get("/metrics", headers={"accept": accept})
                assert answer.status_code == 200
                is_json = answer.headers["content-type"] == "application/json"
                assert is_json == (name == "metrics-collector"), (name, accept)
            if name == "metrics-collector":
                assert set((await client.get("/metrics")).json()) == {"nodes", "master", "epoch", "collected_at"}


async def test_two_applications_in_a_process_do_not_count_for_each_other(services: ServicesInProcess) -> None:
    async with services.run("cabinet-service") as cabinet, services.run("seer-service") as seer:
        await cabinet.post("/select-quorum", json={"operation": "write"})
        told = await scrape(seer)
    assert "/select-quorum" not in {labels["route"] for labels in told.series("dmysql_http_requests_total")}
    assert "dmysql_cabinet_answers_total" not in {family.name for family in told.families}


async def test_every_service_tells_of_its_process(client: httpx.AsyncClient) -> None:
    told = await scrape(client)
    assert told("process_resident_memory_bytes") > 1 << 20
    assert told("process_cpu_seconds_total") > 0
    assert told("process_open_fds") > 0


async def test_every_service_counts_its_requests_by_route(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/health", "/nothing-of-ours"):
        await client.get(path)
    told = await scrape(client)
    assert told("dmysql_http_requests_total", route="/health", method="GET", status="200") >= 2
    assert told("dmysql_http_requests_total", route="unknown", method="GET", status="404") == 1
    assert told("dmysql_http_request_duration_seconds_count", route="unknown") == 1


# ------------------------------------------------------------------------------------------ the values


async def test_the_coordinator_tells_what_it_did(services: ServicesInProcess) -> None:
    async with services.run("coordinator") as client:
        for number in range(3):
            sent = await client.post("/query", json={"query": f"INSERT INTO users (name) VALUES ('{number}')"})
            assert sent.status_code == 200, sent.text
        assert (await client.post("/query", json={"query": "SELECT * FROM users"})).status_code == 200
        assert (await client.post("/query", json={"query": "SELECT SLEEP(1)"})).status_code == 400
        assert (await client.post("/query", content=b"no JSON")).status_code == 400
        told = await scrape(client)
    assert told("dmysql_requests_total", kind="write", outcome="ok") == 3
    assert told("dmysql_requests_total", kind="read", outcome="ok") == 1
    assert sum(told("dmysql_requests_total", **labels) for labels in told.series("dmysql_requests_total")) == 6
    assert told("dmysql_refused_requests_total", errno="1235") == 1
    assert told("dmysql_request_duration_seconds_count", kind="write") == 3
    assert told("dmysql_batch_requests_sum") == 3
    # the election stored rows on the master, too
    assert {labels["node"] for labels in told.series("dmysql_store_duration_seconds_count")} == set(NAMES)
    assert (told("dmysql_writable"), told("dmysql_elections_total")) == (1, 1)
    # the two that carry queries are counted by kind, and never as routes
    routes = {labels["route"] for labels in told.series("dmysql_http_requests_total")}
    assert "/query" not in routes


async def test_a_node_that_is_down_is_told_to_be(services: ServicesInProcess) -> None:
    async with services.run("coordinator") as client:
        services.cluster.nodes["replica-3"].is_down = True
        await until_status(client, lambda status: status["nodes"]["replica-3"]["state"] == "away")
        told = await scrape(client)
    assert told("dmysql_node_state", node="replica-3", state="away") == 1
    assert told("dmysql_node_state", node="replica-3", state="level") == 0
    assert told("dmysql_node_state", node="replica-2", state="away") == 0
    assert told("dmysql_writable") == 1


async def test_a_timestamp_server_that_fails_is_counted(services: ServicesInProcess) -> None:
    async with services.run("coordinator") as client:
        services.cluster.timestamps.is_away = True
        for number in range(100):  # until what was granted ahead is used up
            answer = await client.post(
                "/query", json={"query": f"INSERT INTO users (name) VALUES ('{number}')"}, timeout=30
            )
            if services.cluster.timestamps.failures["http://127.0.0.1:8001"]:
                break
            assert answer.status_code == 200
        told = await scrape(client)
        services.cluster.timestamps.is_away = False
    assert told("dmysql_timestamp_call_failures_total", server="http://127.0.0.1:8001") > 0


async def test_timestamp_servers_count_numbers_and_calls(services: ServicesInProcess) -> None:
    async with services.run("timestamp-1") as client:
        await client.post("/timestamp", json={"count": 3})
        await client.get("/timestamp")
        await client.post("/timestamp", json={"count": 0})
        told = await scrape(client)
    assert (told("dmysql_timestamps_granted_total"), told("dmysql_timestamp_grants_total")) == (4, 2)
    assert (told("dmysql_timestamp_last"), told("dmysql_timestamp_reservation_failing")) == (7, 0)
    assert told("dmysql_timestamp_reserved_until") > 7
    assert told("dmysql_http_requests_total", route="/timestamp", method="POST", status="422") == 1


async def test_the_collector_tells_in_base_units_what_it_measured(services: ServicesInProcess) -> None:
    async with services.run("metrics-collector") as client:
        told = await scrape(client)
        replica = (await client.get("/metrics/replica-1")).json()
    assert told("dmysql_probe_latency_seconds", node="replica-1") == pytest.approx(replica["latency_ms"] / 1000)
    assert told("dmysql_probe_healthy", node="replica-1") == 1
    assert told("dmysql_probe_uptime_seconds", node="replica-1") == 60
    assert [told("dmysql_probe_master", node=name) for name in ("mysql-master", "replica-1")] == [1, 0]


async def test_cabinet_and_seer_tell_their_last_answer(services: ServicesInProcess) -> None:
    async with services.run("cabinet-service") as client:
        before = await scrape(client)
        assert before.series("dmysql_cabinet_weight") == []
        answer = (await client.post("/select-quorum", json={"operation": "write"})).json()
        # of no concern to who writes
        await client.post("/select-quorum", json={"operation": "read", "quorum_size": 1})
        told = await scrape(client)
    for name, weight in answer["weights"].items():
        assert told("dmysql_cabinet_weight", node=name) == pytest.approx(weight)
        assert told("dmysql_cabinet_in_quorum", node=name) == (name in answer["quorum"])
    assert told("dmysql_cabinet_answers_total", outcome="proposed") == 2
    async with services.run("seer-service") as client:
        answer = (await client.post("/elect-leader", json={})).json()
        told = await scrape(client)
    for name, scores in answer["scores"].items():
        assert told("dmysql_seer_score", node=name, part="stability") == pytest.approx(scores["stability_score"])
        assert told("dmysql_seer_total_score", node=name) == pytest.approx(scores["total"])
        assert told("dmysql_seer_leader", node=name) == (name == answer["leader"])


# ------------------------------------------------------------------------------------------ METRICS.md


def rows_of_the_table() -> list[Row]:
    found: list[Row] = []
    for line in TABLE.read_text().splitlines():
        if line.startswith("| `"):
            name, kind, labels, service, documentation = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(name.strip("`"), kind, tuple(filter(None, labels.split(", "))), service, documentation))
    return found


async def everything_told(services: ServicesInProcess) -> list[Row]:
    """Of all services, each after it did what it is for."""
    told: dict[str, dict[str, Row]] = {}
    for name, title in FOLDERS.items():
        async with services.run(name) as client:
            if name == "coordinator":
                for sql in ("INSERT INTO users (name) VALUES ('a')", "SELECT 1", "SELECT SLEEP(1)"):
                    await client.post("/query", json={"query": sql})
                assert (await client.post("/verify", json={"wait": True})).status_code == 200
            elif name == "cabinet-service":
                await client.post("/select-quorum", json={"operation": "write"})
            elif name == "seer-service":
                await client.post("/elect-leader", json={})
            await client.get("/health")
            for family in (await scrape(client)).families:
                assert family.labels is not None or family.name == "dmysql_log_size_bytes", family
                row = Row(family.name, family.kind, family.labels or (), title, family.documentation)
                told.setdefault(family.name, {})[title] = row
    rows = []
    for by_service in told.values():
        first = next(iter(by_service.values()))
        if len(by_service) > 1:
            assert set(by_service) == set(FOLDERS.values()), by_service
            assert {row._replace(service="") for row in by_service.values()} == {first._replace(service="")}
            first = first._replace(service=BY_ALL)
        rows.append(first)
    return rows


async def test_the_table_names_every_metric_with_its_meaning_and_nothing_else(services: ServicesInProcess) -> None:
    assert sorted(rows_of_the_table()) == sorted(await everything_told(services))


async def test_every_name_is_as_prometheus_wants_names(services: ServicesInProcess) -> None:
    for row in await everything_told(services):
        assert row.name.startswith(("dmysql_", "process_", "python_")), row
        assert row.name.endswith("_total") == (row.kind == "counter"), row
        assert not re.search(r"_(ms|milliseconds|us|ns|mb|kb)(_|$)", row.name), row
        if row.name.startswith("dmysql_"):
            assert re.fullmatch(r"[A-Z1].*\.", row.documentation), f"{row.name} has no sentence"
