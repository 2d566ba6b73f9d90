"""How soon the cluster writes again when a quorum can be reached again, and what it waited for until then.

    PYTHONPATH=coordinator:timestamp-service python tests/simulation/healing.py [COUNT] [SHAPE]

plays each shape of trouble COUNT times, with the time-outs that the coordinator ships with, and prints distributions. A client
writes every 50 ms. Trouble takes two to four nodes away and gives them back one by one, in another order; the clock starts
when three nodes can be reached and stay so, and stops at the next acknowledgement.

The schedules of `schedules.py` have short time-outs, so that much happens in little time: what a person waits for must be
measured with the real ones. (A node that hung in the middle of an election was waited for a minute, and no schedule showed it.)
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat

from config import CoordinatorSettings
from links import MS, NAMES, Direction, Patience
from partitions import BOTH
from pydantic import SecretStr
from schedules import side_by_side
from simulated_processes import Coordinator
from world import World

from replication.effects import Acknowledge, StoreRows
from replication.state import Phase

SECRET = SecretStr("no node asks for it here")
SHIPPED = CoordinatorSettings(
    coordinator_db_password=SECRET,
    reader_db_password=SECRET,
    cloner_db_password=SECRET,
    ddl_db_password=SECRET,
    schema_reader_db_password=SECRET,
    verifier_db_password=SECRET,
    historian_db_password=SECRET,
)
AS_SHIPPED = Patience(
    connect_ns=SHIPPED.connect_timeout_ms * MS,
    confirm_ns=SHIPPED.confirm_timeout_ms * MS,
    fence_ns=SHIPPED.fence_timeout_ms * MS,
    store_ns=SHIPPED.store_timeout_ms * MS,
    copy_ns=SHIPPED.copy_timeout_ms * MS,
)
WRITE_EVERY_NS = 50 * MS
RECENT_WRITES = 100
CALM_NS = 6_000 * MS
"""Before the trouble: the epoch is stable."""
SPAN_NS_MAX = 20_000 * MS
WAIT_NS_MAX = 120_000 * MS
LOOK_EVERY_NS = 5 * MS
AWAY_MAX = 1
"""So many nodes may be away while the cluster writes."""


@dataclass
class Healing:
    """What one schedule showed."""

    waited_ns: int = 0
    """From the moment in which three nodes could be reached."""
    causes: Counter[str] = field(default_factory=Counter)
    """What the coordinator was at -> how long."""
    elections: int = 0


def doing(coordinator: Coordinator) -> str:
    """What the cluster waits for."""
    replicator = coordinator.replicator
    state = replicator.state
    if state.phase is Phase.ELECTING:
        return str(replicator.election.step.value)
    if state.phase is Phase.SERVING:
        level = sum(node.has(state.window.end.position) for node in state.replicas)
        return "serving, without enough replicas" if level < state.sizes.commit_replicas else "serving"
    return str(state.phase.value)


# ---------------------------------------------------------------------------------------------- shapes

Shape = Callable[[World], int]
"""Plans the trouble; returns when three nodes can be reached and stay so."""

Way = Callable[[World, str, int], None]
"""Takes a node away until that time."""


def cut_held(world: World, name: str, until_ns: int) -> None:
    """What is sent meanwhile comes when the link is healed."""
    world.links.cut([world.coordinators[0].name], [name], BOTH, until_ns, vanish=False)


def cut_lost(world: World, name: str, until_ns: int) -> None:
    """What is sent meanwhile never comes: the kernel would send it again long after the healing."""
    world.links.cut([world.coordinators[0].name], [name], BOTH, until_ns, vanish=True)


def cut_answers(world: World, name: str, until_ns: int) -> None:
    world.links.cut([world.coordinators[0].name], [name], (Direction.TO_COORDINATOR,), until_ns, vanish=False)


def freeze(world: World, name: str, until_ns: int) -> None:
    world.servers[name].frozen_until_ns = until_ns


def kill(world: World, name: str, until_ns: int) -> None:
    world.crash_node(name, until_ns - world.now_ns)


def at(world: World, time_ns: int, way: Way, name: str, until_ns: int) -> None:
    world.at(time_ns, lambda: way(world, name, until_ns))


def one_by_one(way: Way) -> Shape:
    """Nodes go one by one within a span, stay away for a while, and come back one by one in another order."""

    def shape(world: World) -> int:
        chance = world.random
        went = chance.sample(NAMES, chance.choice((2, 3, 4)))
        came = chance.sample(went, len(went))
        gap_ns, stay_ns = (int(chance.random() ** 2 * SPAN_NS_MAX) for _ in range(2))
        gap_ns //= len(went)
        all_gone_ns = world.now_ns + len(went) * gap_ns
        back_ns = {name: all_gone_ns + stay_ns + place * gap_ns for place, name in enumerate(came, 1)}
        for place, name in enumerate(went):
            at(world, world.now_ns + place * gap_ns, way, name, back_ns[name])
        return back_ns[came[len(went) - AWAY_MAX - 1]]

    return shape


def again_and_again(way: Way) -> Shape:
    """Each node by itself goes and comes for ten seconds, so that elections begin that nobody can win."""

    def shape(world: World) -> int:
        chance, end_ns = world.random, world.now_ns + SPAN_NS_MAX // 2
        for name in NAMES:
            time_ns = world.now_ns
            while time_ns < end_ns:
                until_ns = time_ns + int(chance.uniform(200, 2_500) * MS)
                at(world, time_ns, way, name, min(until_ns, end_ns))
                time_ns = until_ns + int(chance.uniform(5, 1_000) * MS)
        return end_ns

    return shape


def in_the_election(way: Way) -> Shape:
    """The master goes, and whoever is chosen in its place goes just when it is to be brought level. The others are there."""

    def shape(world: World) -> int:
        chance, began_ns = world.random, world.now_ns
        replicator = world.coordinators[0].replicator
        first = replicator.state.master
        assert first is not None
        back_ns = began_ns + int(chance.uniform(1_500, 3_000) * MS)
        struck: list[int] = []
        way(world, first, back_ns)

        def strike(_: Coordinator, name: str) -> None:
            if replicator.state.phase is Phase.ELECTING and name == replicator.state.master:
                struck.append(world.now_ns)
                way(world, name, world.now_ns + SPAN_NS_MAX)
            else:
                world.ambush = (StoreRows, strike)

        world.ambush = (StoreRows, strike)
        while not struck:
            world.run_until(world.now_ns + LOOK_EVERY_NS)
        return max(back_ns, *struck)

    return shape


SHAPES: dict[str, Shape] = {
    "links cut, bytes held": one_by_one(cut_held),
    "links cut, bytes lost": one_by_one(cut_lost),
    "answers cut": one_by_one(cut_answers),
    "nodes frozen": one_by_one(freeze),
    "nodes killed": one_by_one(kill),
    "links that flap, bytes held": again_and_again(cut_held),
    "links that flap, bytes lost": again_and_again(cut_lost),
    "nodes killed again and again": again_and_again(kill),
    "frozen in the election": in_the_election(freeze),
    "killed in the election": in_the_election(kill),
}


def play(shape: str, seed: int) -> Healing:
    world = World(seed, patience=AS_SHIPPED)
    world.links.trouble = 0.0
    coordinator = world.start_coordinator()
    found = Healing()
    number = 0
    acknowledged_ns = 0

    def write() -> None:
        nonlocal number
        number += 1
        world.write(f"row-{number}", coordinator)
        world.at(world.now_ns + WRITE_EVERY_NS, write)

    write()
    world.run_until(CALM_NS)
    reachable_ns = SHAPES[shape](world)
    world.run_until(reachable_ns)
    before = coordinator.replicator.election.count
    while not acknowledged_ns and world.now_ns < reachable_ns + WAIT_NS_MAX:
        found.causes[doing(coordinator)] += LOOK_EVERY_NS
        world.run_until(world.now_ns + LOOK_EVERY_NS)
        writes = list(world.history.writes.values())[-RECENT_WRITES:]
        answered = (each.answered_ns or 0 for each in writes if isinstance(each.answer, Acknowledge))
        acknowledged_ns = min((time for time in answered if time > reachable_ns), default=0)
    found.waited_ns = (acknowledged_ns or world.now_ns) - reachable_ns
    found.elections = coordinator.replicator.election.count - before
    world.history.check(world.invariants)
    return found


# ---------------------------------------------------------------------------------------------- distributions


def percentile(sorted_values: list[int], share: float) -> int:
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def play_all(shape: str, seeds: range) -> list[Healing]:
    return [play(shape, seed) for seed in seeds]


def summary(shape: str, found: list[Healing]) -> str:
    waits = sorted(each.waited_ns // MS for each in found)
    shares = "  ".join(f"p{int(100 * share)} {percentile(waits, share):6,} ms" for share in (0.5, 0.9, 0.99))
    causes: Counter[str] = Counter()
    for each in found:
        causes.update(each.causes)
    told = "; ".join(f"{cause} {time / MS / len(found):,.0f} ms" for cause, time in causes.most_common(5))
    return f"{shape:29} {len(found):5} runs  {shares}  worst {waits[-1]:6,} ms\n    on average: {told}"


def main(count: str = "200", wanted: str = "") -> None:
    chunks = [range(first, min(first + 25, int(count))) for first in range(0, int(count), 25)]
    for shape in SHAPES:
        if wanted in shape:
            found = [each for part in side_by_side(play_all, repeat(shape), chunks) for each in part]
            print(summary(shape, found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
