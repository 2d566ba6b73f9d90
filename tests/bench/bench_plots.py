"""The results as pictures, for whoever does not read tables: bars are medians, whiskers go from the least round to the most.

One colour means one system in all pictures. matplotlib is needed here and nowhere else.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from bench_goals import slow_ratios
from results import HEALTHY, WORK_TITLES, Results, Spread, Summary, in_order, summaries

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {
    "project": "#c0392b",
    "single": "#7f8c8d",
    "semisync": "#2980b9",
    "semisync-flushed": "#7fb3d5",
    "gr": "#27ae60",
    "gr-hasty": "#82e0aa",
    "galera": "#8e44ad",
    "empty-route": "#d0d3d4",
}
DPI = 110


def draw(results: Results, folder: Path) -> list[Path]:
    """Whatever there are results for; answers with the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[str, bool, Callable[[Results], Any]]] = [
        ("insert.png", _has(results, "insert"), _inserts),
        ("works.png", bool(results.load), _works),
        ("latency.png", _has(results, "insert"), _latencies),
        ("slow-replica.png", bool(results.slow), _slow),
        ("failover.png", bool(results.failover), _failover),
        ("growth.png", len(results.growth) > 1, _growth),
    ]
    drawn = []
    for name, is_there, make in pictures:
        if not is_there:
            continue
        figure = make(results)
        figure.savefig(folder / name, dpi=DPI)
        plt.close(figure)
        drawn.append(folder / name)
    return drawn


def _has(results: Results, work: str) -> bool:
    return any(row.work == work for row in results.load)


def _bars(axes: Any, results: Results, groups: Sequence[str], values: dict[str, list[Spread | None]]) -> None:
    """Groups of bars, one bar a system."""
    width = 0.8 / len(values)
    for place, (system, spreads) in enumerate(values.items()):
        there = [(group, spread) for group, spread in enumerate(spreads) if spread is not None]
        left = [group + (place - (len(values) - 1) / 2) * width for group, _ in there]
        medians = [spread.median for _, spread in there]
        whiskers = [
            [spread.median - spread.least for _, spread in there],
            [spread.most - spread.median for _, spread in there],
        ]
        colour = COLOURS.get(system, "black")
        axes.bar(left, medians, width, yerr=whiskers, capsize=2, color=colour, label=results.title(system))
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _legend_below(figure: Any) -> None:
    """One for all its axes, where it hides no bar."""
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)


def _by_clients(
    results: Results, work: str, what: Callable[[Summary], Spread]
) -> tuple[list[str], dict[str, list[Any]]]:
    rows = [row for row in results.load if row.work == work]
    clients = sorted({row.clients for row in rows})
    found = summaries(rows)
    values: dict[str, list[Any]] = {}
    for system in in_order(row.system for row in rows):
        own = [found.get((system, work, number, HEALTHY)) for number in clients]
        values[system] = [None if each is None else what(each) for each in own]
    return [f"{number} clients" if number > 1 else "1 client" for number in clients], values


def _inserts(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    _bars(axes, results, *_by_clients(results, "insert", lambda summary: summary.per_second))
    axes.set_title("Single-row INSERTs a second")
    _legend_below(figure)
    return figure


def _works(results: Results) -> Any:
    works = [work for work in WORK_TITLES if _has(results, work)]
    rows = (len(works) + 1) // 2
    figure, grid = plt.subplots(rows, 2, figsize=(11, 3.5 * rows), squeeze=False, layout="constrained")
    for axes, work in zip(grid.flat, works, strict=False):
        _bars(axes, results, *_by_clients(results, work, lambda summary: summary.per_second))
        axes.set_title(f"{WORK_TITLES[work]}, a second")
    for axes in grid.flat[len(works) :]:
        axes.remove()
    _legend_below(figure)
    return figure


def _latencies(results: Results) -> Any:
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    _bars(axes, results, *_by_clients(results, "insert", lambda summary: summary.p99_ms))
    axes.set_yscale("log")
    axes.set_title("Single-row INSERT: p99, ms")
    _legend_below(figure)
    return figure


def _slow(results: Results) -> Any:
    found = {system: slow_ratios(results, system) for system in in_order(row.system for row in results.slow)}
    conditions = in_order(row.condition for row in results.slow if row.condition != HEALTHY)
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    values: dict[str, list[Spread | None]] = {}
    for system, ratios in found.items():
        kept = [ratios.get(condition) for condition in conditions]
        values[system] = [None if value is None else Spread(value, value, value) for value in kept]
    _bars(axes, results, conditions, values)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_title("INSERTs a second with one replica slow, of the same system's while all is well")
    _legend_below(figure)
    return figure


def _failover(results: Results) -> Any:
    faults = in_order(row.fault for row in results.failover)
    values: dict[str, list[Spread | None]] = {}
    for system in in_order(row.system for row in results.failover):
        values[system] = []
        for fault in faults:
            rows = [row for row in results.failover if (row.system, row.fault) == (system, fault)]
            times = [row.seconds for row in rows if row.seconds is not None]
            values[system].append(Spread.of(times) if times else None)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    _bars(axes, results, faults, values)
    axes.set_yscale("log")
    axes.set_title("Seconds from the fault of the master to the next acknowledged write")
    _legend_below(figure)
    return figure


def _growth(results: Results) -> Any:
    writes = [each.writes_so_far for each in results.growth]
    figure, (rate, size) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    rate.plot(writes, [each.per_second for each in results.growth], color=COLOURS["project"])
    rate.set_ylim(bottom=0)
    rate.set_title("INSERTs a second, 64 clients")
    size.plot(writes, [each.coordinator_rss_mb for each in results.growth], label="coordinator's memory, MB")
    size.plot(writes, [max(each.log_payload_mb.values()) for each in results.growth], label="log kept, MB")
    size.set_ylim(bottom=0)
    size.set_xlabel("writes so far")
    size.legend()
    for axes in (rate, size):
        axes.grid(alpha=0.3)
    return figure
