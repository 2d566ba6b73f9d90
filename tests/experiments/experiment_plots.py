"""The experiments as pictures. A bar is the median of the rounds, its whisker goes from the least to the most, and every round is
a point: with three rounds one can see them all.

Colours are Okabe and Ito's, which people who see fewer colours can tell apart; lines differ in style and points in shape besides.
matplotlib is needed here and nowhere else.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cabinet_experiment as cabinet
import matplotlib
import seer_experiment as seer
import timestamps_experiment as timestamps
from experiment_cluster import REPLICAS
from results import Spread

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

BLUE, SKY, GREEN, ORANGE, RED, GREY = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#7F7F7F"
DPI = 80

CHOICE_COLOURS = {
    cabinet.FIRST_TWO: BLUE,
    cabinet.FIRST_TWO_ALONE: SKY,
    cabinet.PROPOSED: GREEN,
    cabinet.RANDOM: ORANGE,
    cabinet.FIXED: RED,
}
CHOICE_LINES = {
    cabinet.FIRST_TWO: "-",
    cabinet.FIRST_TWO_ALONE: ":",
    cabinet.PROPOSED: "--",
    cabinet.RANDOM: "-.",
    cabinet.FIXED: "-",
}
FAULT_POINTS = {seer.SLOW: ("s", RED), seer.CRASHED: ("^", ORANGE), seer.BEHIND: ("o", BLUE)}
SERVERS_COLOURS = {2: BLUE, 1: RED}


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})
    plt.close(figure)
    return path


def _bar(axes: Any, place: float, width: float, values: Sequence[float | None], **looks: Any) -> None:
    """Median, whisker and every round. Nothing where there is no value."""
    there = [value for value in values if value is not None]
    if not there:
        return
    spread = Spread.of(there)
    whisker = [[spread.median - spread.least], [spread.most - spread.median]]
    axes.bar([place], [spread.median], width, yerr=whisker, capsize=3, alpha=0.75, **looks)
    axes.plot([place] * len(there), there, "o", markersize=3, color="black")


def _grid(axes: Any, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(unit)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _logarithmic(axes: Any) -> None:
    """With plain numbers at its ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_cabinet(found: cabinet.QuorumFound, path: Path) -> Path:
    """Of the time in which the lines differ; where they are equal there is nothing to see, and the table says so."""
    figure, grid = plt.subplot_mosaic("abb;ccc", figsize=(9.5, 6.5), layout="constrained")
    for place, (choice, name) in enumerate(cabinet.TITLES.items()):
        uneven = cabinet.rows_of(found, choice, cabinet.UNEVEN)
        looks = {"color": CHOICE_COLOURS[choice]}
        _bar(grid["a"], place, 0.8, [each.per_second for each in uneven], label=name, **looks)
        for group, values in enumerate(([each.p50_ms for each in uneven], [each.p99_ms for each in uneven])):
            _bar(grid["b"], group + (place - 2) * 0.16, 0.16, values, **looks)
    grid["a"].set_xticks([])
    grid["b"].set_xticks([0, 1], ["p50", "p99"])
    lines = ", ".join(f"{delay_ms:.0f}" for delay_ms in cabinet.DELAYS_MS)
    _grid(grid["a"], f"Lines of {lines} ms: writes a second", "acknowledged writes/s")
    _grid(grid["b"], "Latency of a write", "ms")
    _draw_rates(grid["c"], found)
    figure.legend(
        *grid["a"].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="a write waits for"
    )
    return _save(figure, path)


def _draw_rates(axes: Any, found: cabinet.QuorumFound) -> None:
    """The median of the rounds at each moment. Rounds begin with another replica, so phases line up and names do not."""
    width_s, longest = cabinet.RATE_NS / 1e9, 0
    for choice, colour in CHOICE_COLOURS.items():
        rounds = [row.rates for row in found.rows if (row.choice, row.condition) == (choice, cabinet.UNEVEN)]
        medians = [statistics.median(each) for each in zip(*rounds, strict=False)]
        longest = max(longest, len(medians))
        times_s = [(place + 0.5) * width_s for place in range(len(medians))]
        axes.plot(times_s, medians, CHOICE_LINES[choice], color=colour)
    phases = len(REPLICAS)
    for number in range(1, phases):
        axes.axvline(number * longest * width_s / phases, color="black", linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, longest * width_s)
    axes.set_xlabel("seconds; at the vertical lines another replica becomes the slow one")
    _grid(axes, "Writes a second while the lines' lengths move on", "acknowledged writes/s")


def draw_seer(found: seer.ElectionFound, path: Path) -> Path:
    figure, (latency, pause) = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
    _elections(latency, found, lambda row: row.after.p50_ms)
    _logarithmic(latency)
    _grid(latency, "Median latency of a write under the new master", "ms (logarithmic)")
    _elections(pause, found, lambda row: row.pause_ms)
    pause.set_ylim(bottom=0)
    _grid(pause, "Failover: longest pause of writes after kill -9 of the master", "ms")
    handles, labels = latency.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=2)
    return _save(figure, path)


def _elections(axes: Any, found: seer.ElectionFound, what: Callable[[seer.ElectionRow], float | None]) -> None:
    for place, choice in enumerate(seer.TITLES):
        rows = [row for row in found.rows if row.choice == choice]
        values = [value for row in rows if (value := what(row)) is not None]
        if values:
            axes.plot(
                [place - 0.25, place + 0.25],
                [statistics.median(values)] * 2,
                color=GREY,
                linewidth=2,
                label="median of rounds",
            )
        for number, row in enumerate(rows):
            marker, colour = FAULT_POINTS[row.fault_of_master]
            left = place + (number - (len(rows) - 1) / 2) * 0.12
            label = f"became master: the one {seer.FAULT_TITLES[row.fault_of_master]}"
            axes.plot([left], [what(row)], marker, color=colour, markersize=9, label=label, linestyle="none")
    axes.set_xlim(-0.5, len(seer.TITLES) - 0.5)
    axes.set_xticks(range(len(seer.TITLES)), [f"ranked\n{title}" for title in _ranked_how(seer.TITLES)])


def _ranked_how(titles: Mapping[str, str]) -> list[str]:
    return [f"by {title}" if choice == seer.SEER else title for choice, title in titles.items()]


def draw_timestamps(found: timestamps.TimestampFound, path: Path) -> Path:
    figure, grid = plt.subplot_mosaic("ab;cd", figsize=(10, 7.5), width_ratios=(1.4, 1), layout="constrained")
    _by_condition(grid["a"], found, lambda row: row.figures.per_second)
    _grid(grid["a"], "Writes a second", "acknowledged writes/s")
    _draw_grants(grid["b"], found)
    _by_condition(grid["c"], found, lambda row: row.figures.longest_pause_ms)
    _logarithmic(grid["c"])
    _grid(grid["c"], "Longest pause of writes", "ms (logarithmic)")
    _draw_trace(grid["d"], found)
    figure.legend(
        *grid["a"].get_legend_handles_labels(), loc="outside lower center", ncols=2, title="the coordinator knows"
    )
    return _save(figure, path)


def _by_condition(
    axes: Any, found: timestamps.TimestampFound, what: Callable[[timestamps.WriterRow], float | None]
) -> None:
    for group, condition in enumerate(timestamps.CONDITIONS):
        for place, (servers, title) in enumerate(timestamps.TITLES.items()):
            values = [what(row) for row in timestamps.rows_of(found, servers, condition)]
            label = title if group == 0 else None
            _bar(axes, group + (place - 0.5) * 0.38, 0.38, values, color=SERVERS_COLOURS[servers], label=label)
    axes.set_xticks(range(len(timestamps.CONDITIONS)), [f"server 1\n{told}" for told in timestamps.CONDITIONS.values()])


def _draw_grants(axes: Any, found: timestamps.TimestampFound) -> None:
    for place, servers in enumerate(timestamps.TITLES):
        values = [row.grants_per_second for row in found.grants if row.servers == servers]
        _bar(axes, place, 0.6, values, color=SERVERS_COLOURS[servers])
    axes.set_xticks(range(len(timestamps.TITLES)), ["both asked", "server 1 asked"])
    _grid(axes, "Grants a second, asked directly", "answers/s")


def _draw_trace(axes: Any, found: timestamps.TimestampFound) -> None:
    for name, colour, line, numbers in (
        ("odd (server 1)", BLUE, "-", [point.odd for point in found.trace]),
        ("even (server 2)", ORANGE, "--", [point.even for point in found.trace]),
    ):
        points = [(point.ms / 1000, number) for point, number in zip(found.trace, numbers, strict=True) if number]
        axes.plot([time_s for time_s, _ in points], [number for _, number in points], line, color=colour, label=name)
    for condition, (began_ms, ended_ms) in found.trace_marks_ms.items():
        if condition != timestamps.WELL:
            axes.axvspan(began_ms / 1000, ended_ms / 1000, color=GREY, alpha=0.2)
            middle = (began_ms + ended_ms) / 2000
            told = timestamps.CONDITIONS[condition]
            axes.text(middle, 0.02, told, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
    axes.legend(fontsize=8, loc="upper left")
    axes.set_xlabel("seconds")
    _grid(axes, "Numbers that writes got (two servers)", "greatest so far")


DRAW: Mapping[str, Callable[[Any, Path], Path]] = {
    cabinet.CABINET.name: draw_cabinet,
    seer.SEER_CHOICE.name: draw_seer,
    timestamps.TIMESTAMPS.name: draw_timestamps,
}
