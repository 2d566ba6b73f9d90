"""Whatever is sent to a service is answered as its OpenAPI says.

Schemathesis makes the requests out of the description: its examples, every edge of every constraint, right ones, wrong ones,
other methods, bytes that are no JSON. It holds each answer against the description: the status is declared, the body has the
shape, what fits is taken, what does not is refused. `CONFORMANCE_EXAMPLES` widens a run.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from coordinator_in_process import Load
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema
from services_in_process import SERVICES, Door, ServicesInProcess, door_of

ACCEPTED = ["2xx", "404", "409", "503"]
"""What a request that fits may be answered with: the state may be against it, but it is not called wrong."""
NOT_BY_SHAPE = {
    "POST /query": ["400", "403", "413", "422"],
    "POST /explain-replication": ["400", "413", "422"],
    "POST /select-quorum": ["422"],
    "POST /elect-leader": ["422"],
    "POST /timestamp": ["422"],
}
"""Where more must be right than a schema can say: SQL, its values, names of nodes. And 5.0, which JSON Schema holds to be an
integer: a timestamp server does not, because whoever writes numbers so rounds the great ones."""
REFUSED = {"expected-statuses": ["400", "404", "405", "413", "415", "422"]}
"""What a request that does not fit is answered with."""
CONFIG = {
    "seed": 20251123,
    "generation": {
        "max-examples": int(os.environ.get("CONFORMANCE_EXAMPLES", "60")),
        "deterministic": True,
        "database": "none",
    },
    "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}, "negative_data_rejection": REFUSED},
    "operations": [
        {
            "include-name": name,
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED + statuses},
                "negative_data_rejection": REFUSED,
            },
        }
        for name, statuses in NOT_BY_SHAPE.items()
    ],
}

Case = schemathesis.Case[Any]


@pytest.fixture
def door(
    request: pytest.FixtureRequest, load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Door]:
    with door_of(ServicesInProcess(load_service, monkeypatch, tmp_path / "state"), request.param) as door:
        yield door


@pytest.fixture
def described(request: pytest.FixtureRequest, door: Door) -> BaseSchema:
    # schemathesis 4.32 puts the operation into a test's name by an attribute that pytest 9.2 has no more
    request.node._nodeid = request.node.nodeid
    description = door.ask("GET", "/openapi.json").json()
    return schemathesis.openapi.from_dict(description, config=SchemathesisConfig.from_dict(CONFIG))


api = schemathesis.pytest.from_fixture("described")


@pytest.mark.parametrize("door", SERVICES, indirect=True)
@api.parametrize()
def test_whatever_is_sent_is_answered_as_the_openapi_says(case: Case, door: Door) -> None:
    case.validate_response(door.send(wired(case)))


def wired(case: Case) -> httpx.Request:
    """The request as bytes: headers as a server would be sent them, whatever signs are in them."""
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://service")).prepare()
    assert prepared.method
    assert prepared.url
    headers = [(_bytes(name), _bytes(value)) for name, value in prepared.headers.items()]
    return httpx.Request(prepared.method, prepared.url, headers=headers, content=prepared.body)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
