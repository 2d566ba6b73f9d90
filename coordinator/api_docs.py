"""GET /docs of a service, without the internet: FastAPI's own page has the browser load Swagger UI from a CDN.

Here the service itself has its files, out of an installed package (fastapi-offline: these files and little else). The page
forbids the browser every other host, so nothing that Swagger UI does with a description can ask one.

The other services use the same file, and their images copy it.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)
"""Swagger UI is started by a script in the page, styles its own elements and has its pictures in its style sheet."""
CACHE = "max-age=86400"

_folder = Path(str(files("fastapi_offline"))) / "static"


def serve_docs(api: FastAPI) -> None:
    """Adds /docs and its files to an application that was made with `docs_url=None`, and makes its OpenAPI true.

    Called last: a request is held against the routes one after the other, and nobody's waits for these.
    """
    describe = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            description = describe()
            forget_validation_errors(description)
            put_nulls_back(description)
        return describe()

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way of changing it

    def page() -> HTMLResponse:
        # relative, so that it is found behind a proxy that has put something in front of the path
        html = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
        html.headers["content-security-policy"] = POLICY
        return html

    api.add_api_route("/docs", page, include_in_schema=False)
    for name, media_type in FILES.items():
        api.add_api_route(f"/docs/{name}", _file(name, media_type), include_in_schema=False)


def _file(name: str, media_type: str) -> Any:
    """The route that answers with it."""

    def file() -> FileResponse:
        return FileResponse(_folder / name, media_type=media_type, headers={"cache-control": CACHE})

    return file


def forget_validation_errors(description: dict[str, Any]) -> None:
    """FastAPI gives every route with a parameter an answer 422 in a shape of its own, which no service has."""
    for _, answers in _bodies(description):
        if "HTTPValidationError" in str(answers.get("422")):
            del answers["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        description.get("components", {}).get("schemas", {}).pop(name, None)


def put_nulls_back(description: dict[str, Any]) -> None:
    """FastAPI leaves every null out, also those of examples, which are wrong then: what a shape requires is there, if as null."""
    models = description.get("components", {}).get("schemas", {})
    for model in models.values():
        for example in model.get("examples", ()):
            _complete(models, model, example)
    for request, answers in _bodies(description):
        for body in (request, *answers.values()):
            media = body.get("content", {}).get("application/json", {})
            shown = [each["value"] for each in media.get("examples", {}).values()]
            for example in [media["example"], *shown] if "example" in media else shown:
                _complete(models, media["schema"], example)


def _bodies(description: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Of each route: what is said of the request's body, and of the answers by their status."""
    operations = [operation for methods in description["paths"].values() for operation in methods.values()]
    return [(operation.get("requestBody", {}), operation["responses"]) for operation in operations]


def _complete(models: dict[str, Any], schema: dict[str, Any], example: Any) -> None:
    """A shape that knows all its fields is the example's. Rows of tables have none, and stay as they are."""
    if "$ref" in schema:
        schema = models[schema["$ref"].rpartition("/")[2]]
    for option in schema.get("anyOf", ()):
        _complete(models, option, example)
    if isinstance(example, list):
        for each in example:
            _complete(models, schema.get("items", {}), each)
    elif isinstance(example, dict):
        fields = schema.get("properties", {})
        if set(example) <= set(fields):
            for name in schema.get("required", ()):
                example.setdefault(name, None)
        of_any = schema.get("additionalProperties")
        for name, value in example.items():
            _complete(models, fields.get(name) or (of_any if isinstance(of_any, dict) else {}), value)
