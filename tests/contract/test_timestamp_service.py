"""The timestamp server over HTTP, in process: its answers, its refusals, and its disk failing or hanging."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from reservation_file import FILE_NAME, ReservationFile, StateFolderError
from timestamp_contract import AFTER_MAX, COUNT_MAX, TimestampAnswer, TimestampHealth, TimestampRefusal

Load = Callable[[str], ModuleType]
WINDOW = 10


class Service:
    """Starts and stops servers on one state folder, as the environment would."""

    def __init__(self, load: Load, monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
        self._load, self._monkeypatch, self.state_dir = load, monkeypatch, state_dir

    def load(self, server_id: int = 1, window: int = WINDOW) -> ModuleType:
        self._monkeypatch.setenv("SERVER_ID", str(server_id))
        self._monkeypatch.setenv("STATE_DIR", str(self.state_dir))
        self._monkeypatch.setenv("RESERVATION_WINDOW", str(window))
        return self._load("timestamp-service")

    @contextlib.asynccontextmanager
    async def run(self, server_id: int = 1, window: int = WINDOW) -> AsyncIterator[httpx.AsyncClient]:
        main = self.load(server_id, window)
        transport = httpx.ASGITransport(app=main.app)
        async with main.lifespan(main.app), httpx.AsyncClient(transport=transport, base_url="http://ts") as client:
            yield client


class Disk:
    """Stands before `ReservationFile.reserve`: fails or hangs on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._asked = threading.Semaphore(0)
        reserve = ReservationFile.reserve

        def through_this_disk(file: ReservationFile, reserved_until: int) -> None:
            self._asked.release()
            assert self.may_go_on.wait(timeout=10)
            if self.full:
                raise OSError(28, "No space left on device")
            reserve(file, reserved_until)

        monkeypatch.setattr(ReservationFile, "reserve", through_this_disk)

    async def asked(self) -> None:
        """Wait until one more reservation has reached the disk."""
        assert await asyncio.to_thread(self._asked.acquire, timeout=10)


@pytest.fixture
def service(load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    return Service(load_service, monkeypatch, tmp_path / "state")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def take(client: httpx.AsyncClient, **wanted: int) -> TimestampAnswer:
    response = await client.post("/timestamp", json=wanted)
    assert response.status_code == 200, response.text
    return TimestampAnswer.model_validate_json(response.content, strict=True)


def refusal_in(response: httpx.Response) -> str:
    return TimestampRefusal.model_validate_json(response.content, strict=True).message


@pytest.mark.parametrize(("server_id", "expected"), [(1, [1, 3, 5]), (2, [2, 4, 6])])
async def test_server_1_answers_1_3_5_and_server_2_answers_2_4_6(
    service: Service, server_id: int, expected: list[int]
) -> None:
    async with service.run(server_id) as client:
        assert [(await take(client)).timestamp for _ in range(3)] == expected


async def test_an_answer_names_every_number_of_its_range(service: Service) -> None:
    async with service.run() as client:
        response = await client.post("/timestamp", json={"count": 3, "after": 100})
        assert response.json() == {
            "timestamp": 101,
            "first": 101,
            "last": 105,
            "step": 2,
            "count": 3,
            "server_id": 1,
        }


async def test_get_and_post_and_an_empty_body_ask_for_the_same(service: Service) -> None:
    async with service.run() as client:
        answers = [
            (await client.post("/timestamp")).json()["first"],
            (await client.post("/timestamp", json={})).json()["first"],
            (await client.get("/timestamp")).json()["first"],
            (await client.get("/timestamp", params={"count": 2, "after": 10})).json()["last"],
        ]
        assert answers == [1, 3, 5, 13]
        assert (await client.get("/timestamp")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "body",
    [
        '{"count": 0}',
        f'{{"count": {COUNT_MAX + 1}}}',
        '{"count": -1}',
        '{"count": 1.5}',
        '{"count": "1"}',
        '{"count": true}',
        '{"count": null}',
        '{"after": -1}',
        f'{{"after": {AFTER_MAX + 1}}}',
        '{"after": 1e30}',
        '{"atfer": 5}',
        "[1]",
        "null",
        "count=5",
        '"',
        "\xff",
    ],
)
async def test_a_wrong_body_is_refused_with_a_sentence_and_takes_no_number(service: Service, body: str) -> None:
    async with service.run() as client:
        response = await client.post("/timestamp", content=body.encode("latin-1"))
        assert response.status_code == 422
        assert "Send count (1 to 100000) and after" in refusal_in(response)
        assert (await take(client)).first == 1


@pytest.mark.parametrize("query", ["count=0", "count=x", "after=-1", "atfer=5", f"after={2**63}"])
async def test_a_wrong_query_is_refused_with_a_sentence(service: Service, query: str) -> None:
    async with service.run() as client:
        response = await client.get(f"/timestamp?{query}")
        assert response.status_code == 422
        assert query.split("=")[0] in refusal_in(response)


async def test_a_huge_body_an_unknown_path_and_a_wrong_method_are_refused(service: Service) -> None:
    async with service.run() as client:
        for status_code, response in (
            (413, await client.post("/timestamp", content=b" " * 5000)),
            (404, await client.get("/nothing")),
            (405, await client.delete("/timestamp")),
        ):
            assert response.status_code == status_code
            assert refusal_in(response)


async def test_the_limits_themselves_are_served(service: Service) -> None:
    async with service.run() as client:
        taken = await take(client, count=COUNT_MAX, after=AFTER_MAX)
        assert taken.first == AFTER_MAX + 1
        assert taken.last == taken.first + 2 * (COUNT_MAX - 1)


async def test_numbers_that_do_not_exist_any_more_are_refused(service: Service) -> None:
    ReservationFile.rebuild(service.state_dir, 1, 2**63 - 4)
    async with service.run() as client:
        assert (await take(client)).first == 2**63 - 3
        response = await client.post("/timestamp", json={"count": 2})
        assert response.status_code == 503
        assert "greatest timestamp" in refusal_in(response)


async def test_a_restart_goes_on_above_everything_that_was_reserved(service: Service) -> None:
    last = 0
    for _ in range(3):
        async with service.run() as client:
            reserved_until = TimestampHealth.model_validate_json((await client.get("/health")).content).reserved_until
            taken = await take(client, count=4)
            assert taken.first > last
            last = reserved_until


async def test_health_tells_how_far_the_server_has_come(service: Service) -> None:
    async with service.run(server_id=2, window=100) as client:
        await take(client, count=3)
        assert (await client.get("/health")).json() == {
            "status": "ok",
            "service": "timestamp-2",
            "server_id": 2,
            "last_timestamp": 6,
            "reserved_until": 200,
            "message": None,
        }


async def test_concurrent_requests_of_all_sizes_never_share_a_number(service: Service) -> None:
    async with service.run() as client:
        answers = await asyncio.gather(*(take(client, count=1 + i % 37, after=i * 3) for i in range(300)))
    ranges = sorted((answer.first, answer.last) for answer in answers)
    assert all(last < first for (_, last), (first, _) in pairwise(ranges))


async def test_a_full_disk_hands_out_what_is_reserved_then_nothing_then_recovers(service: Service, disk: Disk) -> None:
    async with service.run() as client:
        disk.full = True
        assert [(await take(client)).first for _ in range(WINDOW)] == list(range(1, 2 * WINDOW, 2))
        for _ in range(2):
            response = await client.post("/timestamp")
            assert response.status_code == 503
            assert "No timestamp was handed out" in refusal_in(response)
            assert "No space left" in refusal_in(response)
        health = TimestampHealth.model_validate_json((await client.get("/health")).content)
        assert (health.status, health.last_timestamp) == ("degraded", 2 * WINDOW - 1)
        disk.full = False
        assert (await take(client)).first == 2 * WINDOW + 1
        assert (await client.get("/health")).json()["status"] == "ok"


async def test_a_server_that_cannot_write_does_not_start(service: Service, disk: Disk) -> None:
    disk.full = True
    with pytest.raises(Exception, match="No space left"):
        async with service.run():
            pytest.fail("it started")
    disk.full = False
    async with service.run() as client:
        assert (await take(client)).first == 1


async def test_the_next_window_is_reserved_in_the_background_and_nobody_waits_for_it(
    service: Service, disk: Disk
) -> None:
    async with service.run() as client:
        await disk.asked()
        disk.may_go_on.clear()
        assert [(await take(client)).first for _ in range(WINDOW)] == list(range(1, 2 * WINDOW, 2))
        await disk.asked()
        disk.may_go_on.set()
        assert (await take(client)).first == 2 * WINDOW + 1


async def test_health_answers_while_the_disk_hangs_and_requests_wait_their_turn(service: Service, disk: Disk) -> None:
    async with service.run() as client:
        await disk.asked()
        disk.may_go_on.clear()
        large = asyncio.create_task(take(client, count=500))
        await disk.asked()
        small = [asyncio.create_task(take(client)) for _ in range(5)]
        assert (await client.get("/health")).status_code == 200
        assert not large.done()
        disk.may_go_on.set()
        first = await large
        followers = await asyncio.gather(*small)
        assert all(answer.first > first.last for answer in followers)


async def test_a_caller_who_goes_away_does_not_stop_the_reservation_that_others_wait_for(
    service: Service, disk: Disk
) -> None:
    async with service.run() as client:
        await disk.asked()
        disk.may_go_on.clear()
        leaving = asyncio.create_task(take(client, count=500))
        await disk.asked()
        staying = asyncio.create_task(take(client, count=500))
        leaving.cancel()
        await asyncio.wait({leaving})
        disk.may_go_on.set()
        assert (await staying).count == 500


async def test_a_damaged_reservation_refuses_the_start(service: Service) -> None:
    async with service.run() as client:
        await take(client)
    (service.state_dir / FILE_NAME).write_text("{}")
    with pytest.raises(StateFolderError, match="does not start"):
        async with service.run():
            pytest.fail("it started")


async def test_a_second_server_on_the_same_folder_refuses_the_start(service: Service) -> None:
    async with service.run():
        with pytest.raises(StateFolderError, match="in use by another process"):
            async with service.run():
                pytest.fail("it started")


@pytest.mark.parametrize(
    ("name", "value"),
    [("SERVER_ID", "3"), ("SERVER_ID", ""), ("RESERVATION_WINDOW", "1"), ("RESERVATION_WINDOW", "many")],
)
def test_a_wrong_setting_ends_the_process_with_a_sentence_that_names_it(
    load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    for key, setting in {"SERVER_ID": "1", "STATE_DIR": str(tmp_path), name: value}.items():
        monkeypatch.setenv(key, setting)
    with pytest.raises(SystemExit, match=f"timestamp-service does not start: {name}: "):
        load_service("timestamp-service")


def test_neither_the_server_id_nor_the_state_folder_has_a_default(
    load_service: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVER_ID", raising=False)
    monkeypatch.delenv("STATE_DIR", raising=False)
    with pytest.raises(SystemExit, match=r"SERVER_ID: Field required\. STATE_DIR: Field required"):
        load_service("timestamp-service")


async def test_an_allocator_that_contradicts_itself_ends_the_process(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = service.load()
    signals: list[int] = []
    monkeypatch.setattr(main.signal, "raise_signal", signals.append)
    transport = httpx.ASGITransport(app=main.app)
    async with main.lifespan(main.app), httpx.AsyncClient(transport=transport, base_url="http://ts") as client:
        main.app.state.server._allocator._server_id = 7.5
        response = await client.post("/timestamp")
        assert response.status_code == 500
        assert "contradict" not in refusal_in(response)
        assert signals == [main.signal.SIGTERM] * 2
