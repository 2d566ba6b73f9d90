"""`make bench`: this project and its peers, side by side, in one run on this machine.

    make bench                          load, one slow replica, failover: about 45 minutes
    make bench QUICK=1                  only INSERTs, by 64 and 256 clients: about 5 minutes
    make bench PARTS="growth idle"      only the project: 1,000,000 writes; ten processes that nobody asks

Prints a report in markdown, and keeps it in --out with bench.json and pictures. A part that is measured again replaces what the
file held of it; `report` measures nothing and writes report and pictures again.

Hard case: a machine on which something else runs. Nothing here can see that in its own figures, so the report names the load of
the machine before the run and what one flush of its disk takes.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_report import markdown
from empty_route import EMPTY_ROUTE
from fault_measuring import measure_failover, measure_slow
from galera import GALERA
from load_generators import missing_generators
from long_measuring import measure_growth, measure_idle
from machine_facts import about_machine, commit
from measuring import Plan, measure_loads
from peers import GROUP_REPLICATION, GROUP_REPLICATION_HASTY, SEMISYNC, SEMISYNC_FLUSHED, SINGLE
from project_system import PROJECT
from results import PARTS, WORK_TITLES, Results, load, save
from systems import SystemKind

from cluster_layout import ROOT
from runner_console import CannotRun, Progress

KINDS = {
    kind.name: kind
    for kind in (
        PROJECT,
        SINGLE,
        SEMISYNC,
        SEMISYNC_FLUSHED,
        GROUP_REPLICATION,
        GROUP_REPLICATION_HASTY,
        GALERA,
        EMPTY_ROUTE,
    )
}
BY_DEFAULT = ("project", "single", "semisync", "semisync-flushed", "gr", "galera", "empty-route")
WORKS = ("insert", "update", "batch", "read", "mix")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="This project and its peers, side by side on this machine.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}, report (load slow failover)")
    parser.add_argument("--systems", type=_names(tuple(KINDS)), default=BY_DEFAULT, help=", ".join(KINDS))
    parser.add_argument("--works", type=_names(tuple(WORK_TITLES)), default=WORKS, help=", ".join(WORK_TITLES))
    parser.add_argument("--clients", type=_numbers, default=(1, 8, 64, 256))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of one load")
    parser.add_argument("--slow-clients", type=int, default=64)
    parser.add_argument("--slow-seconds", type=float, default=8, help="of one load with a slow replica")
    parser.add_argument("--failovers", type=int, default=3, help="of each kind")
    parser.add_argument("--writes", type=int, default=1_000_000, help="of growth")
    parser.add_argument("--stretch-seconds", type=float, default=20, help="of growth")
    parser.add_argument("--idle-seconds", type=float, default=30)
    parser.add_argument("--quick", action="store_true", help="only INSERTs, by 64 and 256 clients")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - {*PARTS, "report"}:
        parser.error(f"{', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}, report")
    if options.quick:
        options.parts, options.works, options.clients = ["load"], ("insert",), (64, 256)
    options.parts = options.parts or ["load", "slow", "failover"]
    return options


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        found = tuple(text.replace(",", " ").split())
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return found

    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.replace(",", " ").split())


def chosen(options: argparse.Namespace, results: Results, part: str) -> list[SystemKind]:
    """Those that can run here; the others are noted."""
    kinds = []
    for kind in (KINDS[name] for name in options.systems):
        objection = kind.objection()
        if objection:
            results.note(part, f"{kind.title}: left out: {objection}")
            continue
        kinds.append(kind)
        results.systems[kind.name] = {"title": kind.title, "version": kind.version(), "promise": kind.promise}
    return kinds


def run(options: argparse.Namespace, results: Results, say: Callable[[str], None]) -> None:
    missing = missing_generators()
    if missing:
        raise CannotRun(f"apt-get install -y --no-install-recommends {' '.join(missing)}: the load comes from there.")
    plan = Plan(
        works=options.works,
        clients=options.clients,
        rounds=options.rounds,
        seconds=options.seconds,
        slow_clients=options.slow_clients,
        slow_seconds=options.slow_seconds,
        failovers=options.failovers,
        # beside the checkout and never in /tmp, which may be memory: then a flush would cost nothing
        folder=ROOT / ".bench" / "systems",
    )
    path = options.out / "bench.json"

    def keep() -> None:
        save(results, path)

    sizes = {
        "load": f"{plan.rounds} rounds of {plan.seconds:g} s",
        "slow": f"{plan.rounds} rounds of {plan.slow_seconds:g} s",
        "failover": f"{plan.failovers} of each kind",
        "growth": f"{options.writes:,} writes in stretches of {options.stretch_seconds:g} s",
        "idle": f"{options.idle_seconds:g} s",
    }
    # once: later the load before is our own
    machine = about_machine(plan.folder)
    for part in (part for part in PARTS if part in options.parts):
        about: dict[str, Any] = {
            "began": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "commit": commit(),
            "machine": machine,
            "plan": sizes[part],
        }
        results.begin(part, about)
        say(f"{part}: {machine}; {about['plan']}")
        if part == "growth":
            measure_growth(results, plan, options.writes, options.stretch_seconds, say, keep)
        elif part == "idle":
            measure_idle(results, plan, options.idle_seconds, say)
        else:
            kinds = chosen(options, results, part)
            parts = {"load": measure_loads, "slow": measure_slow, "failover": measure_failover}
            parts[part](results, kinds, plan, say, keep)
        keep()


def main() -> int:
    options = arguments(sys.argv[1:])
    progress = Progress()
    try:
        results = load(options.out / "bench.json")
        if options.parts != ["report"]:
            run(options, results, progress.say)
    except CannotRun as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 1
    text = markdown(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.md").write_text(text)
    print("\n" + text)
    # not before: whoever only measures needs no matplotlib
    from bench_plots import draw

    for picture in draw(results, options.out):
        print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
