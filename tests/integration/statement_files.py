"""The readable files of statements beside this module, as lists."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
CORPUS = FOLDER.parent / "unit" / "statement_corpus.txt"
BETWEEN = " ;; "
"""Between statements that stand in one line because they belong together."""
_VISIBLE = str.maketrans({"⏎": "\n", "␍": "\r", "⇥": "\t", "␀": "\0", "␉": "\v", "␏": "\x0f"})


def script(name: str) -> list[str]:
    """The statements of a file, each of which ends with `;` at the end of a line."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("--"))
    return [statement.strip() for statement in re.split(r";$", text, flags=re.MULTILINE) if statement.strip()]


def rows(path: Path) -> list[list[str]]:
    """`A | B | C` a line; lines with # and empty lines are comments. Only the first two bars divide."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [[part.strip() for part in line.split(" | ", 2)] for line in lines]


def corpus() -> list[tuple[str, str]]:
    """(verdict, statement) of the parser's own corpus."""
    lines = [line for line in CORPUS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(verdict, statement.translate(_VISIBLE)) for verdict, _, statement in (x.partition(" | ") for x in lines)]
