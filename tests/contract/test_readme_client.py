"""The README's Python client, as it stands there, against the coordinator in process: it works, repeats safely, and is typed."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import mypy.api
import pytest
from coordinator_in_process import InProcessCluster, Load
from services_in_process import Door, ServicesInProcess, door_of

from adapters.mysql_session import Column, StatementResult

ROOT = Path(__file__).resolve().parents[2]
(CODE,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
INSERT = "INSERT INTO users (name, email) VALUES (?, ?)"


class Wire(httpx.BaseTransport):
    """The way of a synchronous client to the coordinator in process. It can lose answers on the way back."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.answers_to_lose = 0
        self.keys: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        answered = self._door.ask("POST", request.url.path, headers=headers, content=request.read())
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise httpx.ReadError("the connection was cut", request=request)
        return httpx.Response(answered.status_code, headers=answered.headers, content=answered.content)


@pytest.fixture
def services(load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServicesInProcess:
    services = ServicesInProcess(load_service, monkeypatch, tmp_path)
    services.settings["REQUEST_DEADLINE_MS"] = "300"
    return services


@pytest.fixture
def cluster(services: ServicesInProcess) -> InProcessCluster:
    return services.cluster


@pytest.fixture
def wire(services: ServicesInProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Every client that the code makes goes over it."""
    with door_of(services, "coordinator") as door:
        wire = Wire(door)
        made: Callable[..., httpx.Client] = httpx.Client
        monkeypatch.setattr(httpx, "Client", lambda **options: made(transport=wire, **options))
        yield wire


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those that the code makes, in seconds; nobody waits for them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def names(wire: Wire, cluster: InProcessCluster) -> dict[str, Any]:
    """What the code defines, when it has run to its end."""
    cluster.reads.append(StatementResult(1, 0, [Column("name", 253)], [("Eve",)]))
    printed: list[tuple[object, ...]] = []
    names: dict[str, Any] = {"print": lambda *told: printed.append(told), "printed": printed}
    exec(compile(CODE, "README.md", "exec"), names)
    return names


def inserted(cluster: InProcessCluster) -> list[str]:
    return [
        entry.sql for entry in cluster.nodes["mysql-master"].model.data if entry.sql.startswith("INSERT INTO users")
    ]


def set_down(cluster: InProcessCluster, *, is_down: bool) -> None:
    """So many nodes that there is no master without them."""
    for name in ("mysql-master", "replica-1"):
        cluster.nodes[name].is_down = is_down


def test_the_client_of_the_readme_writes_and_reads_as_it_stands_there(
    cluster: InProcessCluster, names: dict[str, Any]
) -> None:
    assert inserted(cluster) == ["INSERT INTO users (name, email) VALUES ('Eve', 'eve@example.com')"]
    assert names["printed"] == [(5, [{"name": "Eve"}])]
    assert names["made"]["committed"] is True


def test_an_answer_that_is_lost_makes_no_second_write(
    cluster: InProcessCluster, names: dict[str, Any], wire: Wire, pauses: list[float]
) -> None:
    wire.answers_to_lose = 2
    database = names["Database"](httpx.Client(base_url="http://coordinator"))
    assert database.query(INSERT, ["Bob", "bob@example.com"])["repeated"] is True
    assert len(inserted(cluster)) == 2, "Eve's and Bob's"
    assert (len(set(wire.keys[-3:])), pauses) == (1, [1, 1])


def test_what_could_not_begin_is_sent_again_after_the_pause_that_is_asked_for(
    cluster: InProcessCluster, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def come_back(pause_s: float) -> None:
        pauses.append(pause_s)
        set_down(cluster, is_down=False)

    monkeypatch.setattr(time, "sleep", come_back)
    set_down(cluster, is_down=True)
    database = names["Database"](httpx.Client(base_url="http://coordinator"))
    statement = {"query": INSERT, "params": ["Carol", "carol@example.com"]}
    assert database.batch(statement)["rows_affected"] == 1
    assert set(pauses) == {1}


def test_a_schema_change_is_sent_without_a_key_and_once(
    cluster: InProcessCluster, names: dict[str, Any], wire: Wire
) -> None:
    database = names["Database"](httpx.Client(base_url="http://coordinator"))
    sql = "CREATE TABLE colours (id INT PRIMARY KEY)"
    assert database.change_schema(sql)["committed"] is True
    with pytest.raises(names["QueryFailed"]) as failed:
        database.change_schema(sql)
    assert (failed.value.status, failed.value.kind, failed.value.errno) == (409, "constraint", 1062)
    assert wire.keys[-2:] == [None, None]
    assert cluster.nodes["mysql-master"].model.schema == [sql]


def test_what_is_refused_is_raised_with_its_kind_and_not_sent_again(names: dict[str, Any], wire: Wire) -> None:
    sent = len(wire.keys)
    database = names["Database"](httpx.Client(base_url="http://coordinator"))
    with pytest.raises(names["QueryFailed"], match="SLEEP") as failed:
        database.query("SELECT SLEEP(5)")
    error = failed.value
    assert (error.status, error.kind, error.errno, error.committed) == (400, "refused", 1235, False)
    assert len(wire.keys) == sent + 1


def test_the_client_gives_up_when_its_patience_ends(
    cluster: InProcessCluster, names: dict[str, Any], pauses: list[float]
) -> None:
    set_down(cluster, is_down=True)
    database = names["Database"](httpx.Client(base_url="http://coordinator"), patience_s=0)
    with pytest.raises(names["QueryFailed"]) as failed:
        database.query(INSERT, ["Dora", "dora@example.com"])
    assert (failed.value.status, failed.value.kind) == (503, "unavailable")
    assert pauses == []


def test_the_client_of_the_readme_is_typed_and_short(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CODE)
    told, failures, status = mypy.api.run(
        ["--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "client.py")]
    )
    assert status == 0, told + failures
    assert len([line for line in CODE.splitlines() if line]) < 50
