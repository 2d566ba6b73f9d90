"""Who may ask: bearer tokens, what each may do, and whether a service may run without any.

A role includes those below it: read < write < admin. The coordinator's clients have tokens of such roles (ACCESS_TOKENS, or the
file ACCESS_TOKENS_FILE). The other services have one token, which their callers share (SERVICE_TOKEN): who has it may ask all.

Invariant: no token is in a message, a log or a repr. What is wrong with one is said by its place. Comparisons take equally long
whether and where a token differs, and every token is compared.

Hard case: a service sees only the address inside its container, which is all of them. So it is told where it is published
(BIND_ADDRESS). A swarm publishes at all addresses whatever it is told; it fills in a template that compose leaves as it is
(SWARM_TASK). Without tokens a service starts on loopback only, unless ACCESS_OPEN=1 says that this is meant.

The other services use the same file, and their images copy it.
"""

import enum
import hmac
import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

TOKEN_CHARS_MIN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1: what fits into the header as it stands."""


class Role(enum.IntEnum):
    READ = 1
    WRITE = 2
    ADMIN = 3


class AccessError(ValueError):
    """A setting of access that cannot be used; the message is a sentence without the token."""


class Tokens:
    """The tokens that are known, each with its role. Immutable."""

    def __init__(self, known: Sequence[tuple[Role, SecretStr]]) -> None:
        self._known = tuple((role, token.get_secret_value().encode()) for role, token in known)

    def role_of(self, token: bytes) -> Role | None:
        """None: nobody's."""
        found = None
        for role, known in self._known:
            if hmac.compare_digest(known, token):
                found = role
        return found

    def role_in(self, headers: Iterable[tuple[bytes, bytes]]) -> Role | None:
        """Of a request with these headers (names in lower case, as ASGI has them). None: no token, or nobody's."""
        for name, value in headers:
            if name == b"authorization":
                scheme, _, token = value.partition(b" ")
                return self.role_of(token.strip()) if scheme.lower() == b"bearer" else None
        return None


def parse_tokens(entries: Iterable[str], source: str) -> list[tuple[Role, SecretStr]]:
    """`role:token` each; `source` is where they come from, for the sentences. Raises AccessError."""
    found: list[tuple[Role, SecretStr]] = []
    for place, entry in enumerate(entries, 1):
        name, separator, token = entry.strip().partition(":")
        where = f"entry {place} of {source}"
        if not separator:
            raise AccessError(f"{where} is not role:token")
        if name not in ("read", "write", "admin"):
            # not quoted: whoever writes token:role has put the token there
            raise AccessError(f"the role of {where} is none of read, write, admin")
        found.append((Role[name.upper()], checked_token(token, f"the token of {where}")))
    return found


def checked_token(text: str, where: str) -> SecretStr:
    """Raises AccessError where the text cannot serve as a token."""
    if len(text) < TOKEN_CHARS_MIN:
        raise AccessError(f"{where} has {len(text)} characters, and at least {TOKEN_CHARS_MIN} are needed")
    if not _TOKEN.fullmatch(text):
        raise AccessError(f"{where} has characters that a header cannot carry: take letters, digits and ._~+/-")
    return SecretStr(text)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens there. A name that is not `localhost` is held to be reachable."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


class AccessSettings(BaseSettings):
    """Environment variables of the same names in capitals. An empty one is not set: compose passes all of them on."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    access_tokens: SecretStr | None = None
    """role:token,role:token"""
    access_tokens_file: Path | None = None
    """The same, an entry a line; lines that are empty or begin with # do not count."""
    service_token: SecretStr | None = None
    bind_address: str = "127.0.0.1"
    """Where the service is published, which is not always where it listens."""
    swarm_task: str = ""
    access_open: bool = False
    uvicorn_ssl_certfile: Path | None = None
    """Uvicorn's own: whether the services speak TLS."""
    ssl_cert_file: Path | None = None
    """OpenSSL's own: by what they verify each other."""

    @property
    def publication(self) -> str | None:
        """Where others than this machine reach the service; None: nowhere."""
        if self.swarm_task and not self.swarm_task.startswith("{{"):
            return "all addresses of a swarm"
        return None if is_loopback(self.bind_address) else self.bind_address

    def check_certificates(self) -> None:
        """Raises AccessError where no call could be verified: OpenSSL passes over a file that it cannot read."""
        file = self.ssl_cert_file
        if self.uvicorn_ssl_certfile is not None and file is not None and not os.access(file, os.R_OK):
            raise AccessError(f"SSL_CERT_FILE={file} cannot be read")

    def clients(self) -> Tokens | None:
        """The tokens of the coordinator's clients; None: access is off. Raises AccessError."""
        known: list[tuple[Role, SecretStr]] = []
        if self.access_tokens is not None:
            known += parse_tokens(self.access_tokens.get_secret_value().split(","), "ACCESS_TOKENS")
        if self.access_tokens_file is not None:
            known += parse_tokens(_lines_of(self.access_tokens_file), "ACCESS_TOKENS_FILE")
        texts = [token.get_secret_value() for _, token in known]
        if len(set(texts)) < len(texts):
            raise AccessError("one token stands twice in ACCESS_TOKENS or ACCESS_TOKENS_FILE")
        if self.service_token is not None and self.service_token.get_secret_value() in texts:
            # a client that may only read could move numbers of the timestamp servers
            raise AccessError("SERVICE_TOKEN is one of the clients' tokens: take another one")
        return Tokens(known) if known else None

    def callers(self) -> Tokens | None:
        """The one token of a service's callers; None: access is off. Raises AccessError."""
        if self.service_token is None:
            return None
        return Tokens([(Role.ADMIN, checked_token(self.service_token.get_secret_value(), "SERVICE_TOKEN"))])


def _lines_of(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"ACCESS_TOKENS_FILE={file} cannot be read ({type(error).__name__})") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise AccessError(f"ACCESS_TOKENS_FILE={file} has no token")
    return found


@dataclass(frozen=True)
class Access:
    """What a service knows of access."""

    tokens: Tokens | None
    """With which it is asked; None: access is off."""
    service_token: SecretStr | None
    """With which it asks the other services."""


OFF = Access(None, None)


def access_from_environment(service: str, asked_with: Literal["ACCESS_TOKENS", "SERVICE_TOKEN"]) -> Access:
    """Ends the process with a sentence instead of a stack trace: the reader is whoever wrote the environment."""
    try:
        settings = AccessSettings()
        settings.check_certificates()
        callers = settings.callers()
        tokens = settings.clients() if asked_with == "ACCESS_TOKENS" else callers
        if tokens is None and settings.publication is not None and not settings.access_open:
            raise AccessError(
                f"it is published at {settings.publication}, where anybody could ask it: set {asked_with}, "
                "or ACCESS_OPEN=1 if something else guards it, or BIND_ADDRESS=127.0.0.1"
            )
    except (AccessError, ValidationError) as error:
        # `from None`, here and above: a cause would be printed with its input
        raise SystemExit(f"{service} does not start: {_sentence(error)}.") from None
    return Access(tokens, settings.service_token)


def _sentence(error: AccessError | ValidationError) -> str:
    if isinstance(error, AccessError):
        return str(error)
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, finding['loc'])).upper()}: {finding['msg']}" for finding in findings)


def bearer(token: SecretStr | None) -> dict[str, str]:
    """The headers of a call to another service."""
    return {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}
