"""One experiment from the command line: start a cluster, measure, print a table, keep JSON and a picture.

What is written down says when, at which commit, on what machine and with which seed it was measured. A picture is drawn from that
file alone, so `--redraw` needs no cluster.

Hard case: something else runs on the machine. All choices that are compared are measured in turn, round after round, so that what
makes the machine slow meets all of them; but absolute figures are only worth something on a quiet one.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from experiment_cluster import ExperimentCluster, experiment_cluster
from machine_facts import about_machine, commit
from results import Spread

from cluster_layout import ROOT

FIGURES = Path(__file__).with_name("figures")
FOLDER = ROOT / ".bench" / "experiments"
"""Beside the checkout and never in /tmp, which may be memory: then a flush would cost nothing."""

Say = Callable[[str], None]
Plan = TypeVar("Plan")
Found = TypeVar("Found")
Item = TypeVar("Item")


class Result(msgspec.Struct):
    """What one run of an experiment found; `found` in the shape that the experiment has for it."""

    experiment: str
    began: str
    commit: str
    machine: str
    seed: int
    plan: dict[str, Any]
    found: Any


@dataclass(frozen=True)
class Experiment(Generic[Plan, Found]):
    """`measure` takes a cluster without a coordinator, a plan and a seed."""

    name: str
    full: Plan
    quick: Plan
    found: type[Found]
    measure: Callable[[ExperimentCluster, Plan, int, Say], Found]
    table: Callable[[Found], str]


def in_turn(items: Sequence[Item], round_number: int) -> list[Item]:
    """All of them, beginning with another one each round: who is first meets a cluster that has just done something else."""
    first = round_number % len(items)
    return [*items[first:], *items[:first]]


def spread_text(values: Sequence[float | None], digits: int = 0) -> str:
    """The median, and in brackets the least and the most; empty if there are none."""
    there = [value for value in values if value is not None]
    if not there:
        return ""
    spread = Spread.of(there)
    return f"{spread.median:,.{digits}f} ({spread.least:,.{digits}f} to {spread.most:,.{digits}f})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def run(experiment: Experiment[Any, Any]) -> int:
    """The whole command."""
    options = _arguments(experiment.name)
    path: Path = options.out / f"{experiment.name}.json"
    if options.redraw:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
        result.found = msgspec.convert(result.found, experiment.found)
    else:
        result = _measured(experiment, options.seed, is_quick=options.quick)
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(f"\n{result.machine}, commit {result.commit}, seed {result.seed}\n\n{experiment.table(result.found)}\n")
    # not before: whoever only measures needs no matplotlib
    from experiment_plots import DRAW

    print(DRAW[experiment.name](result.found, options.out / f"{experiment.name}.png"))
    return 0


def _measured(experiment: Experiment[Any, Any], seed: int, *, is_quick: bool) -> Result:
    began_s, folder, plan = (
        time.monotonic(),
        FOLDER / experiment.name,
        experiment.quick if is_quick else experiment.full,
    )

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:4.0f} s] {text}", flush=True)

    machine = about_machine(folder)
    say(f"{experiment.name}: seed {seed}, {machine}")
    with experiment_cluster(folder) as cluster:
        say("the cluster is up")
        found = experiment.measure(cluster, plan, seed, say)
    say("done, and the cluster is gone")
    return Result(
        experiment=experiment.name,
        began=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        commit=commit(),
        machine=machine,
        seed=seed,
        plan=msgspec.to_builtins(plan),
        found=found,
    )


def _arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"The experiment {name}, on a cluster of its own.")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all that is random"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: shows that it runs, and no figures worth keeping"
    )
    parser.add_argument("--redraw", action="store_true", help="measure nothing: table and picture of what --out holds")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench")
    return parser.parse_args(sys.argv[1:])
