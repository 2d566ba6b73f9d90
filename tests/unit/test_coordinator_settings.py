"""The coordinator refuses settings that contradict each other when it starts, with a sentence that names them."""

import pytest
from config import CoordinatorSettings, parse_nodes
from pydantic import ValidationError

FOUR = "a=h:1,b=h:2,c=h:3,d=h:4"
PASSWORDS = {
    "COORDINATOR_DB_PASSWORD": "secret-c",
    "READER_DB_PASSWORD": "secret-r",
    "CLONER_DB_PASSWORD": "secret-l",
    "DDL_DB_PASSWORD": "secret-d",
    "SCHEMA_READER_DB_PASSWORD": "secret-s",
    "VERIFIER_DB_PASSWORD": "secret-v",
    "HISTORIAN_DB_PASSWORD": "secret-h",
}


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PASSWORDS.items():
        monkeypatch.setenv(name, value)


def settings_of(monkeypatch: pytest.MonkeyPatch, **environment: str) -> CoordinatorSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return CoordinatorSettings()  # type: ignore[call-arg]  # from the environment


def test_the_defaults_are_four_nodes_whose_first_is_the_original_master(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = settings_of(monkeypatch).addresses
    assert list(addresses) == ["mysql-master", "replica-1", "replica-2", "replica-3"]
    assert len(set(addresses.values())) == 4


@pytest.mark.parametrize("name", sorted(PASSWORDS))
def test_without_a_password_it_does_not_start(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError, match=name.lower()):
        settings_of(monkeypatch)


def test_no_password_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "secret" not in repr(settings_of(monkeypatch)) + settings_of(monkeypatch).model_dump_json()


def test_settings_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings_of(monkeypatch).heartbeat_ms = 1


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"CONFIRM_TIMEOUT_MS": "1000", "REQUEST_DEADLINE_MS": "1000"},
            "confirm_timeout_ms must be below request_dead",
        ),
        ({"CONFIRM_TIMEOUT_MS": "20000"}, "confirm_timeout_ms must be below request_deadline_ms"),
        ({"IDLE_FLUSH_MS": "250"}, "idle_flush_ms must be below heartbeat_ms"),
        ({"HEARTBEAT_MS": "10", "IDLE_FLUSH_MS": "10"}, "idle_flush_ms must be below heartbeat_ms"),
        ({"ADVICE_TIMEOUT_MS": "1001"}, "advice_timeout_ms must not exceed advice_interval_ms"),
        ({"NODES": ""}, "0 nodes named, at least 4 are needed"),
        ({"NODES": "a=h:1,b=h:2,c=h:3"}, "3 nodes named, at least 4 are needed"),
        ({"NODES": FOUR + ",a=h:5"}, "node 'a' is named twice"),
        ({"NODES": FOUR + ",e=h:1"}, "h:1 is the address of two nodes"),
        ({"NODES": FOUR + ",e"}, "'e' is not name=host:port"),
        ({"NODES": FOUR + ",e=h"}, "'e=h' is not name=host:port"),
        ({"NODES": FOUR + ",e=:5"}, "'e=:5' is not name=host:port"),
        ({"NODES": FOUR + ",=h:5"}, "'=h:5' is not name=host:port"),
        ({"NODES": FOUR + ",e=h:x"}, "'e=h:x' is not name=host:port"),
        ({"NODES": FOUR + ",e=h:0"}, "'e=h:0' is not name=host:port"),
        ({"NODES": FOUR + ",e=h:65536"}, "'e=h:65536' is not name=host:port"),
        ({"NODES": FOUR + ",e=h:²"}, "'e=h:²' is not name=host:port"),
        ({"TIMESTAMP_URLS": ""}, "'' is not http://host:port"),
        ({"TIMESTAMP_URLS": "http://one:1,"}, "'' is not http://host:port"),
        ({"TIMESTAMP_URLS": "one:8001"}, "'one:8001' is not http://host:port"),
        ({"TIMESTAMP_URLS": "http://one:port"}, "'http://one:port' is not a URL"),
        ({"CABINET_URL": "ftp://cabinet"}, "'ftp://cabinet' is not http://host:port"),
        ({"SEER_URL": "http://"}, "'http:' is not http://host:port"),
        ({"DATABASE": "a`b"}, "database"),
        ({"DATABASE": ""}, "database"),
        ({"REQUEST_DEADLINE_MS": "0"}, "request_deadline_ms"),
        ({"BODY_BYTES_MAX": "10"}, "body_bytes_max"),
        ({"READ_ROWS_MAX": "0"}, "read_rows_max"),
        ({"PENDING_WRITES_MAX": "0"}, "pending_writes_max"),
        ({"HEARTBEAT_MS": "soon"}, "heartbeat_ms"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        settings_of(monkeypatch, **environment)
    assert sentence in str(refused.value)


def test_nodes_may_be_written_with_space_and_keep_their_order() -> None:
    assert parse_nodes(" b=one.example:1 ,\n a=10.0.0.1:65535, ") == {"b": ("one.example", 1), "a": ("10.0.0.1", 65535)}


def test_urls_may_be_written_with_space_and_a_slash_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, TIMESTAMP_URLS="http://one:1/, http://two:2 ", SEER_URL="https://seer/")
    assert (settings.timestamp_urls, settings.seer_url) == ("http://one:1,http://two:2", "https://seer")


def test_the_protocols_times_are_the_settings_in_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    replication = settings_of(monkeypatch, HEARTBEAT_MS="40", IDLE_FLUSH_MS="5", PENDING_WRITES_MAX="7").replication
    assert (replication.heartbeat_ns, replication.idle_flush_ns, replication.pending_max) == (40_000_000, 5_000_000, 7)
