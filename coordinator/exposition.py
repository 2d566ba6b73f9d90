"""The numbers of a service in the text that Prometheus reads, https://prometheus.io/docs/instrumenting/exposition_formats/.

Numbers are kept as plain numbers, by whoever has them. Families are made of them when somebody scrapes, on the event loop, so
that no number changes meanwhile and nothing but a scrape pays for it. Each application has a registry of its own: the library's
global one would mix those of several applications in a process.

Hard case: a label whose values a stranger chooses. Every new value is a time series for as long as the process lives, here and in
Prometheus. So a request is counted by its route's template, a path that no route has is "unknown", and a method that is none of
HTTP's is "other".

The other services use the same file, and their images copy it.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from security_headers import App, Message, Receive, Scope, Send
from traffic import SECONDS, Histogram

PATH = "/metrics/prometheus"
PLAIN = "text/plain"
OPENMETRICS = "application/openmetrics-text"
UNKNOWN = "unknown"
NO_ANSWER = "none"
"""The status of a request whose client went away first."""
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_PLAIN_SAMPLE = """# HELP dmysql_http_requests_total Requests by route, method and status of the answer.
# TYPE dmysql_http_requests_total counter
dmysql_http_requests_total{method="GET",route="/health",status="200"} 3.0
"""
_OPENMETRICS_SAMPLE = """# HELP dmysql_http_requests Requests by route, method and status of the answer.
# TYPE dmysql_http_requests counter
dmysql_http_requests_total{method="GET",route="/health",status="200"} 3.0
# EOF
"""
TOLD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All numbers, in Prometheus' text form, or in OpenMetrics' for whoever accepts that",
        "content": {
            PLAIN: {"schema": {"type": "string"}, "example": _PLAIN_SAMPLE},
            OPENMETRICS: {"schema": {"type": "string"}, "example": _OPENMETRICS_SAMPLE},
        },
    }
}
"""What the OpenAPI says of it."""

Labelled = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, in the order of their names, and the number."""


def counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value)


def counters(name: str, documentation: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


def gauge(name: str, documentation: str, value: float | None) -> Metric:
    """None: nobody knows it, and there is no sample."""
    return GaugeMetricFamily(name, documentation, value)


def gauges(name: str, documentation: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


def states(name: str, documentation: str, label: str, known: Iterable[str], now: str | None) -> Metric:
    """1 for the state that it is in, 0 for all others that there are."""
    return gauges(name, documentation, (label,), (((state,), float(state == now)) for state in known))


def histograms(
    name: str, documentation: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for of_labels, histogram in values:
        buckets, below = [], 0
        for bound, count in zip((*map(float, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            below += count
            buckets.append((str(bound), below))
        family.add_metric(of_labels, buckets, histogram.total)
    return family


class HttpTraffic:
    """The requests that came through FastAPI, since the process began."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        """(route, method, status) -> how many."""
        self.seconds: dict[str, Histogram] = {}
        """Route -> from a request's head to the end of its answer."""

    def ended(self, route: str, method: str, status: str, nanoseconds: int) -> None:
        place = route, method, status
        self.requests[place] = self.requests.get(place, 0) + 1
        histogram = self.seconds.get(route)
        if histogram is None:
            histogram = self.seconds[route] = Histogram(SECONDS)
        histogram.observe(nanoseconds / 1e9)

    def collect(self) -> Iterable[Metric]:
        yield counters(
            "dmysql_http_requests_total",
            "Requests by route, method and status of the answer.",
            ("route", "method", "status"),
            self.requests.items(),
        )
        yield histograms(
            "dmysql_http_request_duration_seconds",
            "Time from a request's head to the end of its answer, by route.",
            ("route",),
            (((route,), histogram) for route, histogram in self.seconds.items()),
        )


class CountedRequests:
    """A pure ASGI wrapper around a whole application."""

    def __init__(self, app: App, traffic: HttpTraffic, paths: Iterable[str]) -> None:
        """`paths`: of the application's routes."""
        self._app = app
        self._traffic = traffic
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_ns = time.perf_counter_ns()
        status = NO_ANSWER

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            # the router leaves it there, but not where a request was refused before, nor for a plain Starlette route
            route = getattr(scope.get("route"), "path_format", None)
            if route is None:
                route = scope["path"] if scope["path"] in self._paths else UNKNOWN
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self._traffic.ended(route, method, status, time.perf_counter_ns() - began_ns)


class Exposition:
    """What one application tells of itself."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.http = HttpTraffic()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.add(self.http)

    def add(self, collector: Collector) -> None:
        """`collector` is asked for its families at every scrape."""
        self._registry.register(collector)

    def answer(self, request: Request) -> Response:
        """In the form that the request accepts."""
        accept = request.headers.get("accept", "")
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # it names a version that is not made of numbers
            encode, media_type = choose_encoder(PLAIN)
        return Response(encode(self._registry), headers={"content-type": media_type})


def prefers_text(accept: str) -> bool:
    """Whether who sends this Accept header would rather have the text than JSON: where both are as good, JSON it is."""
    text = json = anything = 0.0
    for part in accept.split(","):
        media_type, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = _weight(parameters)
        if media_type in (PLAIN, OPENMETRICS, "text/*"):
            text = max(text, weight)
        elif media_type == "application/json":
            json = max(json, weight)
        elif media_type in ("*/*", "application/*"):
            anything = max(anything, weight)
    return text > (json or anything)


def _weight(parameters: Iterable[str]) -> float:
    """RFC 9110, section 12.4.2: q, 1 where it is not named. What is no number counts for nothing."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
