"""The OpenAPI of each service is complete, and true: what it shows as an example is sent to the service, and answered so."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from coordinator_in_process import Load
from services_in_process import SERVICES, ServicesInProcess
from timestamp_contract import AFTER_MAX

Description = dict[str, Any]
INSERT = 'INSERT INTO users (name, email) VALUES ("Alice", "alice@example.com")'


@pytest.fixture
def services(load_service: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServicesInProcess:
    return ServicesInProcess(load_service, monkeypatch, tmp_path / "state")


@pytest.fixture(params=SERVICES)
async def client(services: ServicesInProcess, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with services.run(request.param) as client:
        yield client


async def description_of(client: httpx.AsyncClient) -> Description:
    described: Description = (await client.get("/openapi.json")).json()
    return described


def operations(description: Description) -> Iterator[tuple[str, str, Description]]:
    """Method, path and what is said of it."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def media_in(part: Description) -> Description:
    """Of the body of a request or an answer: JSON, or text where there is no JSON."""
    content = part["content"]
    media: Description = content["application/json"] if "application/json" in content else content["text/plain"]
    return media


def schema_in(part: Description) -> Any:
    return media_in(part)["schema"]


def examples_in(description: Description, part: Description) -> list[Any]:
    """Those of a body: its own, or those of the models that it may be."""
    media = media_in(part)
    if "example" in media:
        return [media["example"]]
    if "examples" in media:
        return [each["value"] for each in media["examples"].values()]
    return [example for model in models_in(description, media["schema"]) for example in model.get("examples", ())]


def models_in(description: Description, schema: Description) -> list[Description]:
    names = [each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema]) if "$ref" in each]
    return [description["components"]["schemas"][name] for name in names]


def check_fits(description: Description, schema: Description, body: object) -> None:
    """The body has the shape, and no field that the shape does not name."""
    whole = {**schema, "components": description["components"]}
    errors = [error.message for error in jsonschema_rs.validator_for(whole).iter_errors(body)]
    assert not errors, errors
    if isinstance(body, dict):
        known = [set(model["properties"]) for model in models_in(description, schema)]
        assert any(set(body) <= names for names in known), set(body)


# ------------------------------------------------------------------------------------------ complete


async def test_every_route_says_what_it_is_for_and_what_each_status_means(client: httpx.AsyncClient) -> None:
    description = await description_of(client)
    assert description["info"]["description"]
    for method, path, operation in operations(description):
        assert operation["summary"], (method, path)
        assert len(operation.get("description", "")) > 20, (method, path)
        for status, answer in operation["responses"].items():
            assert answer["description"], (method, path, status)
            assert schema_in(answer), (method, path, status)


async def test_every_body_has_an_example_that_fits_its_own_schema(client: httpx.AsyncClient) -> None:
    description = await description_of(client)
    for method, path, operation in operations(description):
        parts = {**operation["responses"], "body": operation.get("requestBody")}
        for status, part in parts.items():
            if part is not None:
                examples = examples_in(description, part)
                assert examples, (method, path, status)
                for example in examples:
                    check_fits(description, schema_in(part), example)


async def test_every_parameter_has_an_example(client: httpx.AsyncClient) -> None:
    for method, path, operation in operations(await description_of(client)):
        for parameter in operation.get("parameters", ()):
            assert examples_of(parameter), (method, path, parameter["name"])


def examples_of(parameter: Description) -> list[Any]:
    # a header that may be left out is anyOf its type and null
    kinds = [parameter, parameter["schema"], *parameter["schema"].get("anyOf", ())]
    return [example for kind in kinds for example in kind.get("examples", ())]


async def test_every_service_may_be_stopping_and_says_so_of_every_route(client: httpx.AsyncClient) -> None:
    for method, path, operation in operations(await description_of(client)):
        assert "503" in operation["responses"], (method, path)


async def test_no_answer_is_described_that_is_only_fastapis(client: httpx.AsyncClient) -> None:
    assert "ValidationError" not in json.dumps(await description_of(client))


# ------------------------------------------------------------------------------------------ true


async def test_every_example_of_a_request_is_answered_with_success_and_as_described(client: httpx.AsyncClient) -> None:
    description = await description_of(client)
    if "/query" in description["paths"]:
        assert (await client.post("/query", json={"query": INSERT})).json()["timestamp"] == 5  # examples speak of it
    sent = 0
    for method, path, operation in operations(description):
        parameters = operation.get("parameters", ())
        query = {each["name"]: examples_of(each)[0] for each in parameters if each["in"] == "query"}
        for each in parameters:
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", str(examples_of(each)[0]))
        body = operation.get("requestBody")
        for example in [None] if body is None else examples_in(description, body):
            response = await client.request(method, path, params=query, json=example)
            assert 200 <= response.status_code < 300, (method, path, example, response.text)
            is_json = response.headers["content-type"] == "application/json"
            answer = response.json() if is_json else response.text
            check_fits(description, schema_in(operation["responses"][str(response.status_code)]), answer)
            sent += 1
    assert sent >= 3


async def test_a_result_as_lines_comes_as_described_to_whoever_accepts_that_type(services: ServicesInProcess) -> None:
    async with services.run("coordinator") as client:
        answer = (await description_of(client))["paths"]["/query"]["post"]["responses"]["200"]
        (media_type,) = set(answer["content"]) - {"application/json"}
        asked = await client.post("/query", json={"query": "SELECT 1"}, headers={"accept": media_type})
        assert (asked.status_code, asked.headers["content-type"]) == (200, media_type)
        shown, sent = (
            [json.loads(line) for line in text.splitlines()]
            for text in (answer["content"][media_type]["example"], asked.text)
        )
        assert [list(line) for line in shown] == [["result"], ["row"], ["end"]]
        assert [list(line) for line in sent] == [["result"], ["end"]], "nothing is written yet"
        for one, other in ((shown[0]["result"], sent[0]["result"]), (shown[-1]["end"], sent[-1]["end"])):
            assert list(one) == list(other)


async def test_the_limits_that_are_described_are_those_that_are_kept(services: ServicesInProcess) -> None:
    """Limits pass through floats on their way into the OpenAPI: a great one was published as a greater one."""
    async with services.run("timestamp-1") as client:
        description = await description_of(client)
        after = description["components"]["schemas"]["TimestampRequest"]["properties"]["after"]
        assert int(after["maximum"]) == AFTER_MAX
        assert (await client.post("/timestamp", json={"after": int(after["maximum"])})).status_code == 200
    async with services.run("coordinator") as client:
        (timestamp,) = (await description_of(client))["paths"]["/transactions"]["get"]["parameters"]
        greatest = int(timestamp["schema"]["maximum"])
        assert (await client.get(f"/transactions?timestamp={greatest}")).status_code == 200
        assert (await client.get(f"/transactions?timestamp={greatest + 1}")).status_code == 422
        asked = {"query": "SELECT 1", "level": "any", "after_timestamp": greatest + 1}
        assert (await client.post("/query", json=asked)).status_code == 422


# ------------------------------------------------------------------------------------------ what schemathesis found


@pytest.mark.parametrize("path", ["/switchover", "/verify"])
async def test_a_body_that_is_no_text_is_refused_in_the_shape_of_all_errors(
    services: ServicesInProcess, path: str
) -> None:
    """It was answered with FastAPI's own {"detail": …}."""
    async with services.run("coordinator") as client:
        refused = await client.post(path, content=b"\n\xff\x15$M", headers={"content-type": "application/json"})
        assert (refused.status_code, refused.json()["error"]["kind"]) == (400, "bad_request")
        assert (refused.json()["success"], refused.json()["committed"]) == (False, False)


@pytest.mark.parametrize(
    ("name", "path", "methods"),
    [
        ("coordinator", "/elections", "GET, POST"),
        ("coordinator", "/verify", "GET, POST"),
        ("coordinator", "/query", "POST"),
        ("cabinet-service", "/select-quorum", "POST"),
        ("seer-service", "/elect-leader", "POST"),
        ("seer-service", "/health", "GET"),
        ("metrics-collector", "/metrics", "GET"),
    ],
)
async def test_a_wrong_method_is_told_all_that_are_right(
    services: ServicesInProcess, name: str, path: str, methods: str
) -> None:
    """Of two routes at one path only the first one's was told, and by Cabinet and SEER none."""
    async with services.run(name) as client:
        refused = await client.request("TRACE", path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)
        assert refused.json()["success"] is False


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("coordinator", "/verify", {"wait": 0}),
        ("coordinator", "/verify", {"wait": "yes"}),
        ("cabinet-service", "/select-quorum", {"operation": "write", "quorum_size": "2"}),
        ("cabinet-service", "/select-quorum", {"operation": "write", "quorum_size": True}),
    ],
)
async def test_a_value_of_another_type_is_refused_and_not_taken_for_one_that_fits(
    services: ServicesInProcess, name: str, path: str, body: object
) -> None:
    async with services.run(name) as client:
        refused = await client.post(path, json=body)
        assert (refused.status_code, refused.json()["success"]) == (422, False)


@pytest.mark.parametrize("key", ["a%0Ab", "%0A", "%C3%A4", "k" * 129])
async def test_the_fate_of_what_is_no_key_is_a_422_whatever_is_in_it(services: ServicesInProcess, key: str) -> None:
    """With a line break in it, the path was said to be none."""
    async with services.run("coordinator") as client:
        refused = await client.get(f"/transactions/{key}")
        assert (refused.status_code, refused.json()["error"]["kind"]) == (422, "bad_request")


# ------------------------------------------------------------------------------------------ /docs


async def test_the_docs_page_names_no_other_host_and_the_service_has_every_file_that_it_names(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.search(r"//\w", re.sub(r"^\s*//.*$", "", page.text, flags=re.MULTILINE)), page.text
    named = re.findall(r"(?:src|href)=\"([^\"]*)\"", page.text) + re.findall(r"url: '([^']*)'", page.text)
    assert len(named) == 4, named
    for name in named:
        answered = await client.get(str(page.url.join(name)))
        assert (answered.status_code, len(answered.content) > 500) == (200, True), name
    directives = dict(each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";"))
    assert directives["default-src"] == "'self'"
    assert not any("http" in sources or "*" in sources for sources in directives.values())


async def test_the_docs_page_starts_swagger_ui_of_a_version_that_reads_this_openapi(client: httpx.AsyncClient) -> None:
    """OpenAPI 3.1 is read from version 5 on; 4 shows a page without routes."""
    assert (await description_of(client))["openapi"].startswith("3.1")
    script = (await client.get("/docs/swagger-ui-bundle.js")).text
    found = re.search(r'PACKAGE_VERSION:"(\d+)\.', script)
    assert found is not None
    assert int(found[1]) >= 5
    assert "SwaggerUIBundle({" in (await client.get("/docs")).text


async def test_there_is_no_redoc_page_that_would_need_the_internet(client: httpx.AsyncClient) -> None:
    assert (await client.get("/redoc")).status_code == 404
