"""Prometheus' text as tests look at it: parsed by the library, a number by its name and labels."""

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Labels = frozenset[tuple[str, str]]


class Family(NamedTuple):
    """One metric: its name as it stands in the text, what it is, and the names of its labels (None: there is no sample)."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...] | None


class Told:
    """What one scrape said."""

    def __init__(self, text: str) -> None:
        self.families: list[Family] = []
        self._values: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            self.families.append(_family(family))
            for sample in family.samples:
                place = sample.name, frozenset(sample.labels.items())
                assert place not in self._values, f"told twice: {place}"
                self._values[place] = float(sample.value)

    def __call__(self, name: str, **labels: str) -> float:
        """KeyError where it was not told."""
        return self._values[name, frozenset(labels.items())]

    def series(self, name: str) -> list[dict[str, str]]:
        """The labels of each that was told."""
        return [dict(labels) for told, labels in self._values if told == name]

    @property
    def size(self) -> int:
        return len(self._values)


def _family(family: Metric) -> Family:
    # the parser takes the ending of a counter's name away
    name = family.name + ("_total" if family.type == "counter" else "")
    names = {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples}
    assert len(names) <= 1, f"{name} has samples with different labels: {names}"
    return Family(name, family.type, family.documentation, next(iter(names), None))


def told_by(collector: Collector) -> Told:
    registry = CollectorRegistry()
    registry.register(collector)
    return Told(generate_latest(registry).decode())


class Families:
    """A collector of these."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
