"""What the demo draws: that it fits a terminal of 80 columns, says everything in words, and leaves a plain stream plain."""

import io
import re

import pytest
from rich.console import Console

from demo_view import LEVELS, NONE, LiveView, PlainView, Snapshot, bar, open_view, panel, sparkline, table, weight_lines
from demo_watch import NodeSeen

WIDTH, HEIGHT = 80, 24


def node(name: str, state: str = "level", *, weight: float | None = 0.5, is_chosen: bool = False) -> NodeSeen:
    role = "master" if weight is None and state == "level" else "replica"
    return NodeSeen(name, role, state, state == "level", "", weight, is_chosen, applied_timestamp=9)


NODES = (
    node("mysql-master", weight=None),
    node("replica-1", weight=0.71, is_chosen=True),
    node("replica-2", "catching-up 100 %", weight=0.01),
    node("replica-3", "away", weight=None),
)
BUSY = Snapshot(
    scene="4/6 A replica is frozen",
    doing="x" * 200,
    acknowledged=1_234_567,
    per_second=12_345.6,
    p50_ms=1234.5,
    failed=100_000,
    slots=[number % 9 for number in range(76)],
    nodes=NODES,
)
EMPTY = Snapshot("Start", "", 0, 0.0, 0.0, 0, [0] * 76, ())


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


def drawn(snapshot: Snapshot, width: int = WIDTH) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(panel(snapshot))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("snapshot", [BUSY, EMPTY])
def test_the_panel_fits_80_columns_and_leaves_half_of_24_lines_to_the_story(snapshot: Snapshot) -> None:
    lines = drawn(snapshot)
    assert {len(line) for line in lines} == {WIDTH}
    assert len(lines) <= HEIGHT / 2


def test_the_panel_has_the_same_height_whatever_is_known() -> None:
    assert len(drawn(BUSY)) == len(drawn(EMPTY))


def test_a_narrow_terminal_cuts_lines_and_does_not_wrap_them() -> None:
    lines = drawn(BUSY, width=40)
    assert len(lines) == len(drawn(BUSY))
    assert any("…" in line for line in lines)


def test_what_colours_say_the_words_say_too() -> None:
    text = "\n".join(drawn(BUSY))
    for words in (
        "1,234,567 acknowledged",
        "12346 a second",
        "100000 failed",
        "mysql-master  master   level",
        "catching-up 100 %",
        "replica-3     replica  away",
    ):
        assert words in text
    assert re.search(r"replica-1 .* 0\.71  quorum", text)
    assert not re.search(r"replica-2 .* quorum", text)


@pytest.mark.parametrize(("weight", "blocks"), [(0.0, 0), (0.5, 10), (0.97, 19), (1.0, 20)])
def test_a_bar_is_as_long_as_its_weight_is_great(weight: float, blocks: int) -> None:
    drawn_bar = bar(weight, width=20)
    assert (drawn_bar.count("█"), drawn_bar.count("░")) == (blocks, 20 - blocks)
    assert drawn_bar.endswith(f"{weight:.2f}")


def test_a_replica_that_cannot_be_ranked_has_an_empty_bar_and_a_reason_and_the_master_has_no_line() -> None:
    lines = weight_lines(NODES, {"replica-3": "not healthy: timed out"})
    assert [line.split()[0] for line in lines] == ["replica-1", "replica-2", "replica-3"]
    assert lines[0].endswith("0.71  in the quorum")
    assert lines[2].endswith("░    -  not healthy: timed out")


def test_a_pause_in_the_line_of_acknowledgements_looks_like_nothing_else() -> None:
    line = sparkline([0, 1, 40, 0, 80])
    assert line == NONE + LEVELS[0] + LEVELS[3] + NONE + LEVELS[-1]
    assert sparkline([0, 0]) == NONE * 2


def test_a_table_has_two_columns() -> None:
    assert table([("lost", "0"), ("duplicates", "0")]) == ["lost        0", "duplicates  0"]


# --- where there is no terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_a_terminal_gets_the_panel(terminal: Terminal) -> None:
    assert isinstance(open_view(terminal), LiveView)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")])
def test_a_terminal_that_wants_no_panel_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert type(open_view(terminal)) is PlainView


def tell(view: PlainView) -> None:
    with view:
        view.scene("1/6 Writes flow")
        view.draw(BUSY)
        view.say("8 clients write")
        view.show(weight_lines(NODES, {}))
        view.say(" ".join(["a-long-word"] * 12))


def test_a_pipe_gets_lines_without_a_single_control_character() -> None:
    out = io.StringIO()
    view = open_view(out)
    assert type(view) is PlainView
    tell(view)
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["", "1/6 Writes flow"]
    assert re.fullmatch(r"\[ +\d+\.\d s\] 8 clients write", lines[2])
    assert lines[3].startswith(" " * 10 + "replica-1")
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_lines_stay_and_the_panel_does_not(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    tell(LiveView(terminal))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "] 8 clients write" in plain
    assert "1,234,567 acknowledged" in plain
    assert max(map(len, plain.replace("\r", "\n").splitlines())) <= WIDTH
    # the panel's lines are erased at the end, and the cursor is shown again
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1
    assert terminal.getvalue().rstrip().rpartition("a-long-word")[2].count("\x1b[2K") >= len(drawn(BUSY))
