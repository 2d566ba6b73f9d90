"""Tokens, roles, and when a service may run without any: what is taken, what is refused, and that no sentence has a token."""

import hmac
from pathlib import Path

import access
import pytest
from access import OFF, Access, AccessError, Role, Tokens, access_from_environment, bearer, is_loopback, parse_tokens
from pydantic import SecretStr

READ, WRITE, ADMIN = "reader-token-0123456789", "writer-token-0123456789", "admin-token-0123456789"
SERVICE = "service-token-0123456789"
THREE = f"read:{READ},write:{WRITE},admin:{ADMIN}"
SETTINGS = (
    "ACCESS_TOKENS",
    "ACCESS_TOKENS_FILE",
    "SERVICE_TOKEN",
    "BIND_ADDRESS",
    "SWARM_TASK",
    "ACCESS_OPEN",
    "UVICORN_SSL_CERTFILE",
    "SSL_CERT_FILE",
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def coordinator(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Access:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return access_from_environment("coordinator", "ACCESS_TOKENS")


def known(settings: Access) -> Tokens:
    assert settings.tokens is not None
    return settings.tokens


# ------------------------------------------------------------------------------------------ tokens


def test_a_role_includes_those_below_it() -> None:
    assert Role.READ < Role.WRITE < Role.ADMIN


def test_every_token_has_its_role_and_several_may_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = known(coordinator(monkeypatch, ACCESS_TOKENS=f"{THREE}, read:another-{READ}"))
    found = [tokens.role_of(token.encode()) for token in (READ, WRITE, ADMIN, f"another-{READ}")]
    assert found == [Role.READ, Role.WRITE, Role.ADMIN, Role.READ]


@pytest.mark.parametrize(
    "token", [b"", b"x", READ[:-1].encode(), f"{READ}x".encode(), READ.upper().encode(), "ü".encode()]
)
def test_what_is_no_token_to_the_letter_is_nobodys(token: bytes) -> None:
    assert Tokens([(Role.READ, SecretStr(READ))]).role_of(token) is None


def test_every_known_token_is_compared_in_constant_time_also_after_one_has_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def compare(known: bytes, token: bytes) -> bool:
        compared.append(known)
        return compare_digest(known, token)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = Tokens([(Role.READ, SecretStr(READ)), (Role.WRITE, SecretStr(WRITE)), (Role.ADMIN, SecretStr(ADMIN))])
    assert tokens.role_of(READ.encode()) is Role.READ
    assert compared == [READ.encode(), WRITE.encode(), ADMIN.encode()]


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        ([(b"host", b"here"), (b"authorization", f"Bearer {WRITE}".encode())], Role.WRITE),
        ([(b"authorization", f"bearer   {WRITE} ".encode())], Role.WRITE),
        ([], None),
        ([(b"authorization", b"")], None),
        ([(b"authorization", WRITE.encode())], None),
        ([(b"authorization", f"Basic {WRITE}".encode())], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"x-authorization", f"Bearer {WRITE}".encode())], None),
        # two of them: the first counts, whatever the second says
        ([(b"authorization", b"Bearer nobody"), (b"authorization", f"Bearer {WRITE}".encode())], None),
    ],
)
def test_a_token_is_read_from_the_authorization_header_alone(
    headers: list[tuple[bytes, bytes]], role: Role | None
) -> None:
    assert Tokens([(Role.WRITE, SecretStr(WRITE))]).role_in(headers) is role


def test_a_file_has_an_entry_a_line_and_comments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who reads\nread:{READ}\n\n  admin:{ADMIN}  \n")
    tokens = known(coordinator(monkeypatch, ACCESS_TOKENS_FILE=str(file), ACCESS_TOKENS=f"write:{WRITE}"))
    found = [tokens.role_of(token.encode()) for token in (READ, WRITE, ADMIN)]
    assert found == [Role.READ, Role.WRITE, Role.ADMIN]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([f"read:{READ}", READ], "entry 2 of X is not role:token"),
        ([""], "entry 1 of X is not role:token"),
        ([f"{READ}:read"], "the role of entry 1 of X is none of read, write, admin"),
        ([f"ADMIN:{ADMIN}"], "the role of entry 1 of X is none of read, write, admin"),
        (["read:short-token-15c"], "the token of entry 1 of X has 15 characters, and at least 16 are needed"),
        (["read:"], "the token of entry 1 of X has 0 characters, and at least 16 are needed"),
        ([f"read:{READ} {READ}"], "the token of entry 1 of X has characters that a header cannot carry"),
        ([f"read:{READ}$"], "the token of entry 1 of X has characters that a header cannot carry"),
        ([f"read:{READ}ü"], "the token of entry 1 of X has characters that a header cannot carry"),
    ],
)
def test_an_entry_that_is_refused_is_named_by_its_place_and_not_quoted(entries: list[str], sentence: str) -> None:
    with pytest.raises(AccessError) as refused:
        parse_tokens(entries, "X")
    assert str(refused.value).startswith(sentence)
    assert READ not in str(refused.value)
    assert "short-token" not in str(refused.value)


def test_sixteen_characters_are_enough() -> None:
    ((role, token),) = parse_tokens(["admin:0123456789abcde="], "X")
    assert (role, token.get_secret_value()) == (Role.ADMIN, "0123456789abcde=")


# ------------------------------------------------------------------------------------------ at the start


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"ACCESS_TOKENS": f"read:{READ},admin:{READ}"},
            "one token stands twice in ACCESS_TOKENS or ACCESS_TOKENS_FILE",
        ),
        ({"ACCESS_TOKENS": f"read:{READ},"}, "entry 2 of ACCESS_TOKENS is not role:token"),
        (
            {"ACCESS_TOKENS": THREE, "SERVICE_TOKEN": READ},
            "SERVICE_TOKEN is one of the clients' tokens: take another one",
        ),
        ({"SERVICE_TOKEN": "short"}, "SERVICE_TOKEN has 5 characters, and at least 16 are needed"),
        ({"ACCESS_TOKENS_FILE": "/nowhere"}, "ACCESS_TOKENS_FILE=/nowhere cannot be read (FileNotFoundError)"),
        ({"UVICORN_SSL_CERTFILE": "/a", "SSL_CERT_FILE": "/nowhere"}, "SSL_CERT_FILE=/nowhere cannot be read"),
        ({"ACCESS_OPEN": READ}, "ACCESS_OPEN: Input should be a valid boolean, unable to interpret input"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_a_sentence_without_it(
    settings: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        coordinator(monkeypatch, **settings)
    assert ended.value.code == f"coordinator does not start: {sentence}."
    # nothing behind it that would be printed with it
    assert ended.value.__cause__ is None
    assert ended.value.__suppress_context__


@pytest.mark.parametrize("text", ["", "# nobody yet\n\n"])
def test_a_file_without_a_token_is_refused_and_does_not_turn_access_off(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(SystemExit, match="has no token"):
        coordinator(monkeypatch, ACCESS_TOKENS_FILE=str(tmp_path / "tokens"))


def test_access_is_off_on_loopback_with_no_setting_at_all_or_with_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coordinator(monkeypatch) == OFF
    assert coordinator(monkeypatch, **dict.fromkeys(SETTINGS, "")) == OFF


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.3", "127.255.0.9", "::1", "[::1]", "localhost"])
def test_loopback_is_all_of_127_and_the_one_of_ipv6(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_loopback(address)
    assert coordinator(monkeypatch, BIND_ADDRESS=address) == OFF


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "[::]", "10.0.0.5", "192.168.1.7", "2001:db8::1", "db.example.com"]
)
@pytest.mark.parametrize("asked_with", ["ACCESS_TOKENS", "SERVICE_TOKEN"])
def test_a_service_without_tokens_does_not_start_where_others_reach_it(
    address: str, asked_with: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIND_ADDRESS", address)
    # the other one is no help
    monkeypatch.setenv(
        *{"ACCESS_TOKENS": ("SERVICE_TOKEN", SERVICE), "SERVICE_TOKEN": ("ACCESS_TOKENS", THREE)}[asked_with]
    )
    with pytest.raises(SystemExit) as ended:
        access_from_environment("any-service", "ACCESS_TOKENS" if asked_with == "ACCESS_TOKENS" else "SERVICE_TOKEN")
    assert ended.value.code == (
        f"any-service does not start: it is published at {address}, where anybody could ask it: set {asked_with}, "
        "or ACCESS_OPEN=1 if something else guards it, or BIND_ADDRESS=127.0.0.1."
    )


def test_with_tokens_or_where_it_is_said_it_starts_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIND_ADDRESS", "0.0.0.0")
    assert coordinator(monkeypatch, ACCESS_OPEN="1") == OFF
    monkeypatch.delenv("ACCESS_OPEN")
    assert known(coordinator(monkeypatch, ACCESS_TOKENS=THREE)).role_of(READ.encode()) is Role.READ
    monkeypatch.setenv("SERVICE_TOKEN", SERVICE)
    callers = known(access_from_environment("timestamp-service", "SERVICE_TOKEN"))
    assert callers.role_of(SERVICE.encode()) is Role.ADMIN
    assert callers.role_of(ADMIN.encode()) is None


def test_a_swarm_is_public_whatever_the_address_says_and_compose_is_not_a_swarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert coordinator(monkeypatch, SWARM_TASK="{{.Task.Name}}") == OFF
    with pytest.raises(SystemExit, match="it is published at all addresses of a swarm"):
        coordinator(monkeypatch, SWARM_TASK="cluster_coordinator.1.x8f")


def test_no_token_is_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = coordinator(monkeypatch, ACCESS_TOKENS=THREE, SERVICE_TOKEN=SERVICE)
    shown = f"{settings!r} {settings} {settings.tokens!r} {access.AccessSettings()!r}"
    assert not [token for token in (READ, WRITE, ADMIN, SERVICE) if token in shown]


def test_a_call_carries_the_services_token_or_nothing() -> None:
    assert bearer(SecretStr(SERVICE)) == {"authorization": f"Bearer {SERVICE}"}
    assert bearer(None) == {}
