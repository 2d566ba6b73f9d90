"""How the demo is shown: lines that stay, and on a terminal a panel below them that moves.

The lines are the same in both forms, so a recording or a log tells the whole story too. Everything is said in words or by
length; colours only repeat it. The panel fits a terminal of 80 columns and 24 lines, and leaves half of those to the lines.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from demo_watch import NodeSeen

SLOTS, SLOT_S = 76, 0.25
"""Of the line of acknowledgements: the last 19 seconds."""
LEVELS = "▁▂▃▄▅▆▇█"
NONE = "·"
"""A slot without an acknowledgement; the lowest block would look like a few."""
BAR_WIDTH = 16


@dataclass(frozen=True)
class Snapshot:
    """What the panel shows."""

    scene: str
    doing: str
    """What is waited for; empty while the scene speaks for itself."""
    acknowledged: int
    per_second: float
    p50_ms: float
    failed: int
    slots: Sequence[int]
    nodes: Sequence[NodeSeen]


def bar(weight: float | None, width: int = BAR_WIDTH) -> str:
    """A weight, which lies within 0 and 1, as a length; beside it the figure."""
    if weight is None:
        return "░" * width + "    -"
    filled = round(weight * width)
    return "█" * filled + "░" * (width - filled) + f" {weight:.2f}"


def sparkline(slots: Sequence[int]) -> str:
    """Acknowledgements over time, as heights beside the greatest of them."""
    greatest = max(slots, default=0)
    return "".join(NONE if number == 0 else LEVELS[(number * len(LEVELS) - 1) // greatest] for number in slots)


def weight_lines(nodes: Sequence[NodeSeen], excluded: Mapping[str, str]) -> list[str]:
    """A line for each replica: Cabinet's weight, and whether it is in the quorum, or why it cannot be ranked."""
    lines = []
    for node in nodes:
        if node.role == "master":
            continue
        says = "in the quorum" if node.is_chosen else excluded.get(node.name, "")
        lines.append(f"{node.name:<13}{bar(node.weight)}  {says}".rstrip())
    return lines


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Two columns."""
    width = max(len(label) for label, _ in rows) + 2
    return [f"{label:<{width}}{value}" for label, value in rows]


def panel(snapshot: Snapshot) -> Panel:
    """Whatever happens, it has the same height: what jumps cannot be read."""
    lines = [
        Text.assemble(
            (f"{snapshot.acknowledged:,} acknowledged", "bold"),
            f"   {snapshot.per_second:.0f} a second   p50 {snapshot.p50_ms:.0f} ms   ",
            (f"{snapshot.failed} failed", "bold red" if snapshot.failed else ""),
        ),
        Text(sparkline(snapshot.slots), "cyan"),
        *(_node_line(node) for node in snapshot.nodes),
        *[Text()] * (4 - len(snapshot.nodes)),
        Text(snapshot.doing, "italic"),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Panel(Group(*lines), title=snapshot.scene, title_align="left", border_style="blue")


def _node_line(node: NodeSeen) -> Text:
    is_master = node.role == "master"
    return Text.assemble(
        (f"{node.name:<14}", "bold" if is_master else ""),
        f"{node.role:<9}",
        (f"{node.state:<19}", "green" if node.is_level else "yellow"),
        "" if is_master else (bar(node.weight), "cyan" if node.is_chosen else "dim"),
        "  quorum" if node.is_chosen else "",
    )


class View(Protocol):
    """Where the story is told."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was told stays to be read."""

    def scene(self, title: str) -> None: ...

    def say(self, text: str) -> None: ...

    def show(self, lines: Sequence[str]) -> None:
        """Lines that belong to what was said last."""

    def draw(self, snapshot: Snapshot) -> None: ...


class PlainView:
    """Lines, with the seconds since the start."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # nothing is on the screen that would have to be undone

    def scene(self, title: str) -> None:
        self._print(f"\n{title}")

    def say(self, text: str) -> None:
        self._print(f"{self._stamp()}{text}")

    def show(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._print(" " * len(self._stamp()) + line)

    def draw(self, snapshot: Snapshot) -> None:
        pass  # lines are said as they come, and nothing is drawn

    def _stamp(self) -> str:
        return f"[{time.monotonic() - self._began_s:5.1f} s] "

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class LiveView(PlainView):
    """The same lines above a panel that is drawn again in its place."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._console = Console(file=out, highlight=False)
        # it is drawn by whoever has something new, not by a thread in the middle of it
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def scene(self, title: str) -> None:
        self._console.print(Text(f"\n{title}", "bold"))

    def draw(self, snapshot: Snapshot) -> None:
        self._live.update(panel(snapshot), refresh=True)

    def _print(self, text: str) -> None:
        indent = " " * len(self._stamp())
        wrapped = textwrap.wrap(text, self._console.width, subsequent_indent=indent, break_on_hyphens=False)
        self._console.print(Text("\n".join(wrapped)))


def open_view(out: TextIO = sys.stdout) -> View:
    """A panel where it can be drawn: not into a file or a pipe, nor where the user wants none (NO_COLOR, TERM=dumb)."""
    can_draw = out.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return LiveView(out) if can_draw and not os.environ.get("NO_COLOR") else PlainView(out)
