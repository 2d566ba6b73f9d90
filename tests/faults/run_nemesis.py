"""Round after round of seeded faults on one cluster until the time is over: `make test-faults SEED=… MINUTES=…`.

It ends with a failure at the first anomaly, and leaves the evidence. `--first-round N --rounds 1` plays one round again.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests/integration", "tests/faults", "coordinator")]

from fault_cluster import FaultCluster, fault_cluster  # noqa: E402 (behind the path that they are found by)
from fault_schedule import Round, schedule  # noqa: E402 (behind the path that they are found by)
from history_checks import Totals  # noqa: E402 (behind the path that they are found by)
from nemesis import Anomalous, play, seed_of_the_day  # noqa: E402 (behind the path that they are found by)


def evidence_folder() -> Path:
    return Path(tempfile.gettempdir()) / "nemesis-evidence"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--first-round", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=None, help="end after so many, whatever the time")
    parser.add_argument("--scale", type=float, default=1.0, help="of the faults' lengths (3 to 20 s)")
    parser.add_argument("--no-disks", action="store_true", help="without disk faults and power cuts, which need root")
    parser.add_argument("--evidence", type=Path, default=evidence_folder())
    return parser.parse_args(argv)


def replay_command(arguments: argparse.Namespace, seed: int, number: int) -> str:
    options = f"--seed {seed} --scale {arguments.scale} --first-round {number} --rounds 1"
    return f".venv/bin/python tests/faults/run_nemesis.py {options}{' --no-disks' if arguments.no_disks else ''}"


def wanted_rounds(arguments: argparse.Namespace, seed: int) -> Iterator[Round]:
    deadline_s = time.monotonic() + 60 * arguments.minutes
    rounds = schedule(seed, arguments.scale, first=arguments.first_round, with_disks=not arguments.no_disks)
    for count, planned in enumerate(rounds):
        if count == arguments.rounds or time.monotonic() > deadline_s:
            return
        yield planned


async def run(cluster: FaultCluster, arguments: argparse.Namespace, seed: int, totals: Totals) -> bool:
    """Whether all rounds went well."""
    for planned in wanted_rounds(arguments, seed):
        replay = replay_command(arguments, seed, planned.number)
        try:
            print(await play(cluster, planned, seed, totals, arguments.evidence, replay), flush=True)
        except Anomalous as anomalous:
            print(f"FAILED: {anomalous}", flush=True)
            return False
    return True


def main() -> int:
    arguments = parse(sys.argv[1:])
    seed = seed_of_the_day() if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    totals = Totals()
    # a short path: the sockets of ten processes are in it
    with (
        tempfile.TemporaryDirectory(prefix="nemesis-") as folder,
        fault_cluster(Path(folder), with_disks=not arguments.no_disks) as cluster,
    ):
        went_well = asyncio.run(run(cluster, arguments, seed, totals))
    print(totals)
    return 0 if went_well else 1


if __name__ == "__main__":
    sys.exit(main())
