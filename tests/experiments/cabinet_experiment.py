"""Cabinet: what is gained by waiting for the right replicas?

    make experiment-cabinet

The lines to the three replicas are 0, 10 and 40 ms long (each way), and every few seconds the lengths move on by one replica, so
that each is the slow one for a while. Clients insert all the time. What a write waits for is chosen in five ways (CHOICES), one
coordinator after the other, three rounds of all of them. Before the delays come, all lines are equal for a moment: there, nothing
can be gained.

A write needs the master and two of three replicas on every choice, so all five promise the same.
"""

import random
import sys
import time
from collections.abc import Mapping
from functools import partial

import msgspec
from experiment_cluster import REPLICAS, SHIPPED, ExperimentCluster
from experiment_run import Experiment, Say, in_turn, markdown_table, run, spread_text
from steady_writes import steady_writes
from write_figures import Stretch, rates, stretch

DELAYS_MS = (0.0, 10.0, 40.0)
"""Far enough apart that what everything on two cores costs is small beside them."""
EVEN, UNEVEN = "even", "uneven"
RATE_NS = 250_000_000
NOBODY_LISTENS = "http://127.0.0.1:9"
"""The port `discard`."""
FIRST_TWO, FIRST_TWO_ALONE, PROPOSED, RANDOM, FIXED = "first-two", "first-two-alone", "proposed", "random", "fixed"
TITLES = {
    FIRST_TWO: "first two to answer (as shipped)",
    FIRST_TWO_ALONE: "first two, Cabinet away",
    PROPOSED: "the two that Cabinet proposes",
    RANDOM: "two at random",
    FIXED: "always replica-1 and replica-2",
}
AWAITING = "awaiting_coordinator:app"
CHOICES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    FIRST_TWO: (SHIPPED, {}),
    FIRST_TWO_ALONE: (SHIPPED, {"CABINET_URL": NOBODY_LISTENS}),
    PROPOSED: (AWAITING, {"AWAITED_PAIR": "proposed"}),
    RANDOM: (AWAITING, {"AWAITED_PAIR": "random"}),
    FIXED: (AWAITING, {"AWAITED_PAIR": "fixed"}),
}
"""Which coordinator runs, and its settings."""


class QuorumPlan(msgspec.Struct, frozen=True):
    """Times in seconds."""

    rounds: int = 3
    clients: int = 16
    warm_up_s: float = 0.5
    even_s: float = 0.8
    phase_s: float = 2.5


class QuorumRow(msgspec.Struct, frozen=True):
    """One choice in one round, under one condition. `rates`: writes a second in each quarter of a second."""

    choice: str
    round: int
    condition: str
    figures: Stretch
    refused: int
    rates: list[float]


class QuorumFound(msgspec.Struct, frozen=True):
    rows: list[QuorumRow]


def delays_by_phase(offset: int) -> list[dict[str, float]]:
    """Each replica has each length once; `offset` says who begins with which."""
    count = len(REPLICAS)
    return [
        {replica: DELAYS_MS[(place - phase + offset) % count] for place, replica in enumerate(REPLICAS)}
        for phase in range(count)
    ]


def measure(cluster: ExperimentCluster, plan: QuorumPlan, seed: int, say: Say) -> QuorumFound:
    rows: list[QuorumRow] = []
    chance = random.Random(seed)
    for number in range(plan.rounds):
        phases, pair_seed = delays_by_phase(chance.randrange(len(REPLICAS))), str(chance.random())
        for choice in in_turn(list(CHOICES), number):
            app, settings = CHOICES[choice]
            with cluster.coordinator({**settings, "AWAITED_PAIR_SEED": pair_seed}, app):
                found = cluster.undisturbed(partial(_one_choice, cluster, plan, choice, number, phases), say)
            rows += found
            even, uneven = (row.figures for row in found)
            say(
                f"round {number + 1} of {plan.rounds}, {TITLES[choice]:<34} even {even.per_second:6,.0f}/s, "
                f"uneven {uneven.per_second:6,.0f}/s, p50 {uneven.p50_ms or 0:5.1f} ms, p99 {uneven.p99_ms or 0:5.1f} ms"
            )
    return QuorumFound(rows)


def _one_choice(
    cluster: ExperimentCluster, plan: QuorumPlan, choice: str, number: int, phases: list[dict[str, float]]
) -> list[QuorumRow]:
    with steady_writes(cluster.port, plan.clients) as writes:
        time.sleep(plan.warm_up_s)  # connections, caches, Cabinet's first proposal
        marks_ns = [time.monotonic_ns()]
        time.sleep(plan.even_s)  # the time that is measured
        marks_ns.append(time.monotonic_ns())
        for delays_ms in phases:
            cluster.delay(delays_ms)
            time.sleep(plan.phase_s)  # the time that is measured
        marks_ns.append(time.monotonic_ns())
        cluster.delay(dict.fromkeys(REPLICAS, 0.0))
    began_ns, uneven_ns, ended_ns = marks_ns
    seen = writes.acknowledged
    return [
        QuorumRow(choice, number, EVEN, stretch(seen, began_ns, uneven_ns), writes.refused, []),
        QuorumRow(
            choice,
            number,
            UNEVEN,
            stretch(seen, uneven_ns, ended_ns),
            writes.refused,
            rates(seen, uneven_ns, ended_ns, RATE_NS),
        ),
    ]


def rows_of(found: QuorumFound, choice: str, condition: str) -> list[Stretch]:
    return [row.figures for row in found.rows if (row.choice, row.condition) == (choice, condition)]


def table(found: QuorumFound) -> str:
    lines = []
    for choice, title in TITLES.items():
        even, uneven = rows_of(found, choice, EVEN), rows_of(found, choice, UNEVEN)
        lines.append(
            (
                title,
                spread_text([each.per_second for each in uneven]),
                spread_text([each.p50_ms for each in uneven], 1),
                spread_text([each.p99_ms for each in uneven], 1),
                spread_text([each.per_second for each in even]),
                spread_text([each.p50_ms for each in even], 1),
            )
        )
    head = ("a write waits for", "writes/s", "p50, ms", "p99, ms", "all lines equal: writes/s", "p50, ms")
    return markdown_table(head, lines)


CABINET = Experiment(
    "cabinet",
    QuorumPlan(),
    QuorumPlan(rounds=1, clients=4, warm_up_s=0.2, even_s=0.3, phase_s=0.4),
    QuorumFound,
    measure,
    table,
)

if __name__ == "__main__":
    sys.exit(run(CABINET))
