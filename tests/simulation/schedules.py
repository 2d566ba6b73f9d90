"""One schedule of trouble, from a seed, and what must be true at its end.

    PYTHONPATH=coordinator:timestamp-service python tests/simulation/schedules.py SEED [COUNT] [--kind plain] [--trace]

replays one schedule (with its trace), or runs many on all cores and names those that fail.
"""

import argparse
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import TypeVar

import msgspec
from client_history import PromiseBroken
from links import MS, NAMES
from model_node import key_of
from simulated_processes import PLAIN, Coordinator
from trouble import Trouble
from world import World

from replication.effects import Effect
from replication.events import AdviceArrived, Event, PauseSkipped, SwitchoverRequested
from replication.progress import NodeState
from replication.replicator import Replicator
from replication.state import Phase, ReplicationSettings
from replication.values import ReadLevel, ReadNeed, RequestStatement

ROUNDS = 60
REST_NS_MAX = 20_000 * MS
"""How long after the last fault the cluster may take until all is done and equal. An election may pause for 5 s."""


class NotServing(PromiseBroken):
    """All is well again, but the cluster does not go on."""


class HostileAdvice(Replicator):
    """Hears nonsense from Cabinet and SEER, and is told to change the master every now and then: nothing unsafe may follow."""

    def __init__(self, owner: str, settings: ReplicationSettings, chance: random.Random) -> None:
        super().__init__(NAMES, owner, f"cluster-of-{owner}", settings)
        self._chance = chance
        self.quiet = False
        """All must come to rest."""

    def step(self, event: Event, now_ns: int, wall_us: int) -> list[Effect]:
        effects: list[Effect] = []
        if not self.quiet and self._chance.random() < 0.1:
            names = [*NAMES, "nobody"]
            quorum, ranking = (tuple(self._chance.choices(names, k=self._chance.randrange(5))) for _ in range(2))
            effects += super().step(AdviceArrived(quorum, ranking), now_ns, wall_us)
        if not self.quiet and self._chance.random() < 0.02:
            effects += super().step(SwitchoverRequested(self._chance.choice(NAMES)), now_ns, wall_us)
            effects += super().step(PauseSkipped(), now_ns, wall_us)
        return effects + super().step(event, now_ns, wall_us)


TIGHT = msgspec.structs.replace(
    PLAIN, chunk_bytes_max=60, window_bytes_max=150, batch_statements_max=2, batch_bytes_max=40, pending_max=5
)
"""Everything that has a limit reaches it."""


TRUNCATING = msgspec.structs.replace(TIGHT, log_bytes_max=250, log_check_ns=30 * MS, log_patience_ns=20 * MS)
"""And whoever was away for a while, or is filled from the log for long, needs a full copy."""


class Tight(Coordinator):
    def make(self) -> Replicator:
        return Replicator(NAMES, self.name, f"cluster-of-{self.name}", TIGHT)


class Advised(Coordinator):
    def make(self) -> Replicator:
        return HostileAdvice(self.name, PLAIN, self.chance)


class TightAdvised(Coordinator):
    def make(self) -> Replicator:
        return HostileAdvice(self.name, TIGHT, self.chance)


class Truncating(Coordinator):
    def make(self) -> Replicator:
        return Replicator(NAMES, self.name, f"cluster-of-{self.name}", TRUNCATING)


KINDS = {
    "plain": Coordinator,
    "tight": Tight,
    "advised": Advised,
    "tight-advised": TightAdvised,
    "truncating": Truncating,
}
"""Kinds of coordinators that a schedule can be run with."""


def run(seed: int, kind: str = "plain") -> World:
    """Run schedule `seed` to its end and check it. Raises PromiseBroken or InvariantBroken."""
    world = World(seed, replicator=KINDS[kind])
    play(world)
    return world


def play(world: World) -> None:
    chance = world.random
    trouble = Trouble(world)
    world.start_coordinator()
    world.run_until(50 * MS)
    for number in range(ROUNDS):
        gap_ns = 80 * MS if chance.random() < 0.95 else 800 * MS
        world.run_until(world.now_ns + chance.randrange(gap_ns))
        if not world.alive and chance.random() < 0.3:
            world.start_coordinator()
        ask(world, number)
        trouble.strike()
    trouble.heal()
    settle(world, trouble)
    world.history.check(world.invariants)


def ask(world: World, number: int) -> None:
    """Clients send up to three writes or schema changes and a read. Some keys are used twice: the second is refused."""
    chance = world.random
    for _ in range(chance.randrange(4)):
        if not world.alive:
            return  # perhaps it was killed in the middle of the write before
        changes_schema = chance.random() < 0.05
        kind = "bad" if chance.random() < 0.1 else "column" if changes_schema else "row"
        key = chance.randrange(max(0, number - 3), number + 1) if chance.random() < 0.1 else chance.randrange(1 << 40)
        sql = f"{kind}-{key} by {number}-{chance.randrange(1 << 40)}"
        coordinator = chance.choice(world.alive)
        if changes_schema:
            world.write(sql, coordinator, changes_schema=True)
        else:
            world.request(together(sql), coordinator)
    if world.alive:
        world.read(chance.choice(world.alive))
    if world.alive:
        weak = random.Random(f"{world.now_ns} {number}")
        world.read(weak.choice(world.alive), weak_need(world, weak))
    if world.alive and chance.random() < 0.15:
        world.verify(chance.choice(world.alive))


def weak_need(world: World, chance: random.Random) -> ReadNeed:
    """Of all kinds; and at times a write that somebody was told of, or one that may never come."""
    level = chance.choice([ReadLevel.LEADER, ReadLevel.BOUNDED, ReadLevel.ANY])
    staleness_ns = chance.choice([0, 10, 100, 1_000]) * MS if level is ReadLevel.BOUNDED else 0
    committed = world.invariants.committed_end.timestamp
    return ReadNeed(level, staleness_ns, chance.choice([0, committed, committed + 3]))


def together(sql: str) -> tuple[RequestStatement, ...]:
    """The statement alone, or (one in four) with others. They follow from its text, so that they cost the schedule no chance."""
    chance = random.Random(sql)
    statements = [RequestStatement(sql, inserts=True)]
    if chance.random() < 0.75:
        return tuple(statements)
    for number in range(chance.randrange(1, 4)):
        kind = chance.choices(["row", "bad", "again", "read"], [12, 1, 1, 6])[0]
        key = "row-" + key_of(sql).partition("-")[2] if kind == "again" else f"{kind}-{chance.randrange(1 << 40)}"
        expected = chance.choices([None, 1, 7], [8, 3, 1])[0] if kind != "read" else None
        one = RequestStatement(f"{key} by {number} of {sql}", True, is_read=kind == "read", expected_rows=expected)
        statements.insert(chance.randrange(len(statements) + 1), one)
    return tuple(statements)


def settle(world: World, trouble: Trouble) -> None:
    """Wait until all is done and the nodes are equal. Commands of dead coordinators may still depose the last one."""
    for coordinator in world.coordinators:
        if isinstance(coordinator.replicator, HostileAdvice):
            coordinator.replicator.quiet = True
    end_ns = world.now_ns + REST_NS_MAX
    while world.now_ns < end_ns:
        newest = world.coordinators[-1]
        if newest.replicator.state.phase is Phase.DEPOSED or not newest.alive:
            if newest.alive:
                world.kill_coordinator(newest)
            newest = world.start_coordinator()
            if isinstance(newest.replicator, HostileAdvice):
                newest.replicator.quiet = True
        if any(server.node.damaged for server in world.servers.values()):
            world.verify(newest)
        world.run_until(world.now_ns + 100 * MS)
        if is_at_rest(world):
            return
    if not trouble.two_are_silent and not trouble.damage_was_not_alone:
        raise NotServing(unrest(world))


def is_at_rest(world: World) -> bool:
    replicator = world.coordinators[-1].replicator
    state, committed = replicator.state, len(world.invariants.entries)
    return (
        state.phase is Phase.SERVING
        and not world.late_commands
        and all(node.state is NodeState.LEVEL and node.member for node in state.nodes.values())
        and all(len(server.node.data) == committed for server in world.servers.values())
        and all(server.node.schema == world.invariants.changes for server in world.servers.values())
        and replicator.writes.changes.open is None
        and not replicator.writes.changes.pending
        and not any(server.node.damaged for server in world.servers.values())
        and replicator.writes.batch is None
        and not replicator.writes.waiting.requests
    )


def unrest(world: World) -> str:
    """Why it is not at rest, for people."""
    replicator = world.coordinators[-1].replicator
    state = replicator.state
    if state.phase is not Phase.SERVING:
        return f"after healing the cluster does not serve: {state.phase} {replicator.election.waits_for}"
    nodes = ", ".join(
        f"{node.name} is {'' if node.member else 'no member and '}{node.state.value} {node.reason}"
        f" with {len(world.servers[node.name].node.data)} entries{' (damaged)' * world.servers[node.name].node.damaged}"
        for node in state.nodes.values()
    )
    return f"after healing {len(world.invariants.entries)} entries are committed, but {nodes}"


# ---------------------------------------------------------------------------------------------- replay


def failure(seed: int, kind: str = "plain", *, trace: bool = False) -> str | None:
    """What goes wrong in schedule `seed`, and how to see it again; None: nothing."""
    world = World(seed, replicator=KINDS[kind])
    try:
        play(world)
    except Exception as error:  # noqa: BLE001 (whatever it is, the seed must be told)
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error or place.line} ({place.filename}:{place.lineno})"
        again = f"make simulate SEEDS=1 SEED={seed} KIND={kind}"
        return f"seed {seed}, kind {kind}: {what}\n  see it again: {again}"
    finally:
        if trace:
            print(*world.trace, sep="\n")
    return None


CHUNK = 50


Found = TypeVar("Found")


def side_by_side(work: Callable[..., list[Found]], *arguments: Iterable[object]) -> Iterator[list[Found]]:
    """`map` over all cores, in order. New processes, not copies of this one: a copy would inherit threads and patches."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, *arguments)


def failures(seeds: range, kind: str) -> list[str]:
    return [found for seed in seeds if (found := failure(seed, kind))]


def all_failures(seeds: range, kind: str) -> list[str]:
    """Of all `seeds`, on all cores."""
    chunks = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    return [found for chunk in side_by_side(failures, chunks, repeat(kind)) for found in chunk]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run seeded schedules of trouble over the coordinator's protocol.")
    parser.add_argument("seed", type=int, help="the first seed")
    parser.add_argument("count", type=int, nargs="?", default=1, help="how many seeds from there on")
    parser.add_argument("--kind", choices=sorted(KINDS), default="plain", help="kind of coordinators")
    parser.add_argument("--trace", action="store_true", help="print every event and every command")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    if options.trace or options.count == 1:
        found = [each for seed in seeds if (each := failure(seed, options.kind, trace=options.trace))]
    else:
        found = all_failures(seeds, options.kind)
    for each in found:
        print(each)
    print(f"{len(found)} of {options.count} schedules failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
