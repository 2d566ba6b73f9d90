"""The metrics collector over HTTP, in process, with probes that need no MySQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from crash_journal import CrashJournal, JournalError, ServerRun
from metrics_contract import ClusterMetrics, CollectorHealth, MetricsRefusal, NodeMetrics
from node_metrics import NodeReading
from node_probe import NodeAddress, ProbeAnswer, ProbeError

Load = Callable[[str], ModuleType]
NODE_IDS = ("mysql-master", "replica-1", "replica-2", "replica-3")


class FakeProbe:
    """A node that answers what it is told to, or fails, or hangs, or has a bug."""

    def __init__(self) -> None:
        self.epoch, self.master = 1, "mysql-master"
        self.applied = 10
        self.started_at_s = 100
        self.error: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.closed = False
        self._ended = asyncio.Condition()
        self._ended_count = 0

    async def ask(self) -> ProbeAnswer:
        try:
            await self.may_answer.wait()
            if self.error is not None:
                raise self.error
            reading = NodeReading(
                epoch=self.epoch,
                master=self.master,
                committed_timestamp=self.applied,
                applied_timestamp=self.applied,
                applied_entries=self.applied,
                committed_entries=self.applied,
                log_end_timestamp=self.applied,
                latency_ns=2_000_000,
                uptime_s=60.0,
            )
            return ProbeAnswer(reading, ServerRun("uuid", self.started_at_s))
        finally:
            async with self._ended:
                self._ended_count += 1
                self._ended.notify_all()

    async def close(self) -> None:
        self.closed = True

    async def next_outcome(self) -> None:
        """Until a probe that begins from now on has ended and its outcome has been written down."""
        async with asyncio.timeout(10), self._ended:
            # One may be half way; the start of the second after it shows that the collector is done with the first.
            wanted = self._ended_count + 3
            await self._ended.wait_for(lambda: self._ended_count >= wanted)


class Cluster:
    """Starts and stops collectors on one state folder."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.probes: dict[str, FakeProbe] = {}

    def load(self) -> ModuleType:
        main = self._load("metrics-collector")

        def make_probe(settings: object, address: NodeAddress) -> FakeProbe:
            return self.probes.setdefault(address.id, FakeProbe())

        main.app.state.make_probe = make_probe
        return main

    @asynccontextmanager
    async def run(self) -> AsyncIterator[httpx.AsyncClient]:
        main = self.load()
        transport = httpx.ASGITransport(app=main.app)
        async with main.lifespan(main.app), httpx.AsyncClient(transport=transport, base_url="http://mc") as client:
            await asyncio.gather(
                *(self.next_outcome(name) for name in NODE_IDS if self.probes[name].may_answer.is_set())
            )
            yield client

    async def next_outcome(self, node_id: str) -> None:
        await self.probes[node_id].next_outcome()


@pytest.fixture
def cluster(load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLLECTOR_DB_PASSWORD", "secret")
    monkeypatch.setenv("PROBE_INTERVAL_MS", "10")
    monkeypatch.setenv("PROBE_TIMEOUT_MS", "250")
    monkeypatch.setenv("CONNECT_TIMEOUT_MS", "250")
    monkeypatch.setenv("RETRY_PAUSE_MS", "10")
    monkeypatch.delenv("NODES", raising=False)
    return Cluster(load_service)


async def metrics(client: httpx.AsyncClient) -> ClusterMetrics:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return ClusterMetrics.model_validate_json(response.content)


async def health(client: httpx.AsyncClient, status_code: int = 200) -> CollectorHealth:
    response = await client.get("/health")
    assert response.status_code == status_code
    return CollectorHealth.model_validate_json(response.content)


async def test_metrics_show_every_node_the_master_and_the_epoch(cluster: Cluster) -> None:
    async with cluster.run() as client:
        answer = await metrics(client)
    assert tuple(answer.nodes) == NODE_IDS
    assert (answer.master, answer.epoch) == ("mysql-master", 1)
    assert answer.collected_at.tzinfo is not None
    for name, node in answer.nodes.items():
        assert (node.id, node.healthy, node.error, node.is_master) == (name, True, None, name == "mysql-master")
        assert (node.latency_ms, node.latency_ms_min, node.latency_ms_p99) == (2.0, 2.0, 2.0)
        assert (node.lag_ms, node.lag_entries, node.uptime_s, node.crash_count) == (0, 0, 60, 0)
        assert (node.applied_timestamp, node.committed_timestamp, node.log_end_timestamp) == (10, 10, 10)


async def test_metrics_of_one_node_are_those_of_metrics(cluster: Cluster) -> None:
    async with cluster.run() as client:
        response = await client.get("/metrics/replica-1")
        one = NodeMetrics.model_validate_json(response.content)
        all_ = (await metrics(client)).nodes["replica-1"]
    assert one.model_copy(update={"last_probe_age_ms": None}) == all_.model_copy(update={"last_probe_age_ms": None})


async def test_an_unknown_node_is_a_404_that_names_the_known_ones(cluster: Cluster) -> None:
    async with cluster.run() as client:
        response = await client.get("/metrics/replica-9")
        elsewhere = await client.get("/nothing")
    assert response.status_code == 404
    assert response.json() == {
        "success": False,
        "message": "unknown node 'replica-9'; known: mysql-master, replica-1, replica-2, replica-3",
    }
    assert elsewhere.status_code == 404
    assert MetricsRefusal.model_validate_json(elsewhere.content)


async def test_a_node_that_lags_shows_it_in_entries_and_in_ms(cluster: Cluster) -> None:
    async with cluster.run() as client:
        cluster.probes["mysql-master"].applied = 25
        await cluster.next_outcome("mysql-master")
        await cluster.next_outcome("replica-1")
        node = (await metrics(client)).nodes["replica-1"]
        assert node.lag_entries == 15
        assert node.lag_ms is not None
        assert node.lag_ms > 0
        cluster.probes["replica-1"].applied = 25
        await cluster.next_outcome("replica-1")
        node = (await metrics(client)).nodes["replica-1"]
        assert (node.lag_entries, node.lag_ms) == (0, 0)


async def test_a_node_that_refuses_is_unhealthy_with_the_reason_and_its_last_figures(cluster: Cluster) -> None:
    async with cluster.run() as client:
        cluster.probes["replica-2"].error = ProbeError("connection refused")
        await cluster.next_outcome("replica-2")
        answer = await metrics(client)
        node = answer.nodes["replica-2"]
        assert (node.healthy, node.error, node.latency_ms) == (False, "connection refused", 2.0)
        assert all(answer.nodes[name].healthy for name in NODE_IDS if name != "replica-2")
        told = await health(client)
        assert (told.status, told.nodes["replica-2"], told.nodes["replica-1"]) == ("ok", False, True)
        cluster.probes["replica-2"].error = None
        await cluster.next_outcome("replica-2")
        assert (await metrics(client)).nodes["replica-2"].healthy


async def test_a_node_that_never_answered_is_unhealthy_without_figures(cluster: Cluster) -> None:
    cluster.probes["replica-3"] = FakeProbe()
    cluster.probes["replica-3"].error = ProbeError("no answer within 250 ms")
    async with cluster.run() as client:
        node = (await metrics(client)).nodes["replica-3"]
    assert (node.healthy, node.error) == (False, "no answer within 250 ms")
    assert node.latency_ms is node.lag_ms is node.uptime_s is node.epoch is None


async def test_a_probe_that_hangs_delays_no_other_node_and_its_node_loses_its_health(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_TIMEOUT_MS", "10")
    monkeypatch.setenv("CONNECT_TIMEOUT_MS", "10")
    async with cluster.run() as client:
        cluster.probes["replica-1"].may_answer.clear()
        async with asyncio.timeout(10):
            while (node := (await metrics(client)).nodes["replica-1"]).healthy:
                await asyncio.gather(*(cluster.next_outcome(name) for name in NODE_IDS if name != "replica-1"))
        assert node.error is not None
        assert "no probe has ended" in node.error
        cluster.probes["replica-1"].may_answer.set()


async def test_the_master_follows_the_highest_epoch(cluster: Cluster) -> None:
    async with cluster.run() as client:
        cluster.probes["replica-2"].epoch, cluster.probes["replica-2"].master = 7, "replica-2"
        await cluster.next_outcome("replica-2")
        answer = await metrics(client)
    assert (answer.master, answer.epoch) == ("replica-2", 7)
    assert [name for name in NODE_IDS if answer.nodes[name].is_master] == ["replica-2"]


async def test_before_the_first_epoch_there_is_no_master(cluster: Cluster) -> None:
    for name in NODE_IDS:
        cluster.probes[name] = FakeProbe()
        cluster.probes[name].epoch, cluster.probes[name].master = 0, ""
    async with cluster.run() as client:
        answer = await metrics(client)
    assert (answer.master, answer.epoch) == (None, 0)


async def test_restarts_are_counted_over_the_collectors_own_restart(cluster: Cluster) -> None:
    async with cluster.run() as client:
        cluster.probes["replica-1"].started_at_s = 200
        await cluster.next_outcome("replica-1")
        assert (await metrics(client)).nodes["replica-1"].crash_count == 1
    # This one happens while no collector is looking.
    cluster.probes["replica-1"].started_at_s = 300
    async with cluster.run() as client:
        counts = {name: node.crash_count for name, node in (await metrics(client)).nodes.items()}
    assert counts == {"mysql-master": 0, "replica-1": 2, "replica-2": 0, "replica-3": 0}


async def test_a_probe_task_that_dies_of_a_bug_makes_health_a_503_that_names_it(cluster: Cluster) -> None:
    async with cluster.run() as client:
        cluster.probes["replica-1"].error = ZeroDivisionError("a bug")
        async with asyncio.timeout(10):
            while (await client.get("/health")).status_code == 200:
                await cluster.next_outcome("replica-2")
        told = await health(client, 503)
        assert told.status == "failed"
        assert told.message is not None
        assert "replica-1 ended: ZeroDivisionError('a bug')" in told.message


async def test_counts_that_cannot_be_saved_are_still_counted_and_reported_and_saved_later(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(journal: CrashJournal) -> None:
        raise OSError(28, "No space left on device")

    async with cluster.run() as client:
        with monkeypatch.context() as patched:
            patched.setattr(CrashJournal, "save", disk_full)
            cluster.probes["replica-1"].started_at_s = 200
            await cluster.next_outcome("replica-1")
            assert (await metrics(client)).nodes["replica-1"].crash_count == 1
            told = await health(client)
            assert told.status == "degraded"
            assert "No space left" in str(told.message)
        await cluster.next_outcome("replica-1")
        assert (await health(client)).status == "ok"
    async with cluster.run() as client:
        assert (await metrics(client)).nodes["replica-1"].crash_count == 1


async def test_every_probe_is_closed_at_the_end(cluster: Cluster) -> None:
    async with cluster.run():
        pass  # its end is what is looked at
    assert all(probe.closed for probe in cluster.probes.values())


async def test_a_second_collector_on_the_same_folder_refuses_the_start(cluster: Cluster) -> None:
    async with cluster.run():
        with pytest.raises(JournalError, match="in use by another process"):
            async with cluster.run():
                pytest.fail("it started")


def test_nodes_are_read_from_the_environment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODES", "a=db-a:3306, b=10.0.0.2:3307")
    assert cluster.load().app.state.settings.nodes == (
        NodeAddress("a", "db-a", 3306),
        NodeAddress("b", "10.0.0.2", 3307),
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("NODES", "", "is not like"),
        ("NODES", "a=db-a", "is not like"),
        ("NODES", "a=db-a:0", "is not like"),
        ("NODES", "a=db-a:99999", "is not like"),
        ("NODES", "a b=db-a:1", "is not like"),
        ("NODES", "a=x:1,a=y:1", "same id"),
        ("NODES", "a=x:1,b=x:1", "same address"),
        ("PROBE_INTERVAL_MS", "0", "PROBE_INTERVAL_MS"),
        ("PROBE_TIMEOUT_MS", "0", "PROBE_TIMEOUT_MS"),
        ("PROBE_TIMEOUT_MS", "100", "CONNECT_TIMEOUT_MS .* is above PROBE_TIMEOUT_MS"),
        ("PROBE_TIMEOUT_MS", "60000", "is above 25 times PROBE_INTERVAL_MS"),
        ("LATENCY_SMOOTHING", "0", "LATENCY_SMOOTHING"),
        ("LATENCY_WINDOW_PROBES", "0", "LATENCY_WINDOW_PROBES"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_a_sentence(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"metrics-collector does not start: .*{sentence}"):
        cluster.load()


def test_the_password_has_no_default_and_is_never_shown(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "secret" not in repr(cluster.load().app.state.settings)
    monkeypatch.delenv("COLLECTOR_DB_PASSWORD")
    with pytest.raises(SystemExit, match="COLLECTOR_DB_PASSWORD: Field required"):
        cluster.load()
