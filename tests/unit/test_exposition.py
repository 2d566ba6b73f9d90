"""What every service tells Prometheus: the form, who gets text where JSON is, and that strangers cannot make labels."""

import httpx
import pytest
from exposition import NO_ANSWER, CountedRequests, HttpTraffic, gauge, histograms, prefers_text, states
from guarded_api import GuardedApi, service_rules
from pydantic import BaseModel
from security_headers import Message, Receive, Scope, Send
from told_numbers import Families, Told, told_by
from traffic import Histogram

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class Refusal(BaseModel):
    message: str


@pytest.mark.parametrize(
    ("accept", "wants_text"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("text/plain", True),
        ("text/*", True),
        ("application/openmetrics-text", True),
        ("Text/Plain; Q=0.9, application/json; q=0.8", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("application/json;q=0.9, text/plain;q=0.8", False),
        ("text/plain;q=0", False),
        ("text/plain;q=nan", False),
        ("text/plain;q=many", False),
        (";;,,q=;", False),
        (BROWSER, False),
    ],
)
def test_text_is_for_who_prefers_it_and_json_for_all_others(accept: str, wants_text: bool) -> None:
    assert prefers_text(accept) is wants_text


def test_buckets_count_everything_below_them_and_the_last_one_everything() -> None:
    histogram = Histogram((0.5, 1, 20_000_000))
    for value in (0.1, 0.5, 0.7, 30_000_000):
        histogram.observe(value)
    told = told_by(Families(histograms("a", "About.", ("of",), [(("b",), histogram)])))
    bounds = [(labels["le"], told("a_bucket", **labels)) for labels in told.series("a_bucket")]
    assert sorted(bounds) == [("+Inf", 4), ("0.5", 2), ("1.0", 3), ("20000000.0", 3)]
    assert told("a_count", of="b") == 4
    assert told("a_sum", of="b") == pytest.approx(30_000_001.3)


def test_what_nobody_knows_has_no_sample_and_a_state_is_one_of_those_there_are() -> None:
    told = told_by(Families(gauge("a", "About.", None), states("b", "About.", "is", ("up", "down"), "down")))
    assert told.series("a") == []
    assert [family.name for family in told.families] == ["a", "b"]
    assert (told("b", **{"is": "up"}), told("b", **{"is": "down"})) == (0, 1)


async def asked(api: GuardedApi, *requests: tuple[str, str]) -> Told:
    """What it tells after these."""
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for method, path in requests:
            await client.request(method, path)
        return Told((await client.get("/metrics/prometheus")).text)


async def test_requests_are_counted_by_route_and_strangers_make_no_label() -> None:
    api = GuardedApi(service_rules(None, Refusal))

    @api.get("/things/{name}")
    async def thing(name: str) -> str:
        if name == "broken":
            raise RuntimeError("unforeseen")
        return name

    strange = [("GET", f"/nothing/{number}") for number in range(50)] + [(f"METHOD{n}", "/things/a") for n in range(50)]
    told = await asked(
        api, ("GET", "/things/a"), ("GET", "/things/b"), ("POST", "/things/a"), ("GET", "/things/broken"), *strange
    )
    counted = {
        (labels["route"], labels["method"], labels["status"]): told("dmysql_http_requests_total", **labels)
        for labels in told.series("dmysql_http_requests_total")
    }
    assert counted == {
        ("/things/{name}", "GET", "200"): 2,
        ("/things/{name}", "GET", "500"): 1,
        ("/things/{name}", "POST", "405"): 1,
        ("/things/{name}", "other", "405"): 50,
        ("unknown", "GET", "404"): 50,
    }
    assert told("dmysql_http_request_duration_seconds_count", route="/things/{name}") == 54


async def test_a_request_that_nobody_answered_is_counted_too() -> None:
    async def leaves(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionResetError("the client went away")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        return

    traffic = HttpTraffic()
    counted = CountedRequests(leaves, traffic, ["/here"])
    with pytest.raises(ConnectionResetError):
        await counted({"type": "http", "method": "GET", "path": "/"}, receive, send)
    assert traffic.requests == {("unknown", "GET", NO_ANSWER): 1}


@pytest.mark.parametrize("version", ["abc", "1.x", "", "9" * 400])
async def test_a_version_that_makes_no_sense_is_answered_all_the_same(version: str) -> None:
    api = GuardedApi(service_rules(None, Refusal))
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for media_type in ("text/plain", "application/openmetrics-text"):
            accept = f"{media_type};version={version}"
            answer = await client.get("/metrics/prometheus", headers={"accept": accept})
            assert answer.status_code == 200
            assert "dmysql_http_requests" in answer.text
