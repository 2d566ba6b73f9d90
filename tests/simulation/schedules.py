"""One schedule of trouble, from a seed, and what must be true at its end.

    PYTHONPATH=coordinator python tests/simulation/schedules.py SEED [COUNT] [--kind plain] [--trace]

replays one schedule (with its trace), or runs many and names those that fail.
"""

import argparse
import random
import sys
import traceback
from collections.abc import Callable

from world import MS, NAMES, Coordinator, World

from replication.messages import Acknowledge, AdviceArrived, Effect, Event, Fail, Refuse, SwitchoverRequested
from replication.replicator import Replicator
from replication.state import Phase, ReplicationSettings


class Lost(AssertionError):
    """A promise was broken; the message says which and where."""


class NotServing(Lost):
    """All is well again, but the cluster does not go on."""


class HostileAdvice(Replicator):
    """Hears nonsense from Cabinet and SEER, and is told to change the master every now and then: nothing unsafe may follow."""

    def __init__(self, owner: str, settings: ReplicationSettings) -> None:
        super().__init__(NAMES, owner, f"cluster-of-{owner}", settings)
        self._chance = random.Random(owner)

    def step(self, event: Event, now_ns: int, wall_us: int) -> list[Effect]:
        effects: list[Effect] = []
        if self._chance.random() < 0.2:
            names = [*NAMES, "nobody"]
            quorum, ranking = (tuple(self._chance.choices(names, k=self._chance.randrange(5))) for _ in range(2))
            effects += super().step(AdviceArrived(quorum, ranking), now_ns, wall_us)
        if self._chance.random() < 0.02 and now_ns < 2_000 * MS:  # not when all must come to rest
            effects += super().step(SwitchoverRequested(self._chance.choice(NAMES)), now_ns, wall_us)
        return effects + super().step(event, now_ns, wall_us)


TIGHT = ReplicationSettings(
    chunk_bytes_max=60, window_bytes_max=150, batch_requests_max=2, batch_bytes_max=40, pending_max=5
)
"""Everything that has a limit reaches it."""


class Tight(Coordinator):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.replicator = Replicator(NAMES, name, f"cluster-of-{name}", TIGHT)


class Advised(Coordinator):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.replicator = HostileAdvice(name, ReplicationSettings())


class TightAdvised(Coordinator):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.replicator = HostileAdvice(name, TIGHT)


KINDS = {"plain": Coordinator, "tight": Tight, "advised": Advised, "tight-advised": TightAdvised}
"""Kinds of coordinators that a schedule can be run with."""


def run(seed: int, make: Callable[[str], Coordinator] = Coordinator) -> World:
    """Run schedule `seed` to its end and check it. Raises Lost."""
    world = World(seed, replicator=make)
    play(world, seed)
    return world


def play(world: World, seed: int) -> None:
    chance = world.random
    world.start_coordinator()
    world.run_until(50 * MS)
    for number in range(60):
        world.run_until(world.now_ns + chance.randrange(80 * MS))
        alive = [coordinator for coordinator in world.coordinators if coordinator.alive]
        for _ in range(chance.randrange(4)):
            sql = f"{'bad' if chance.random() < 0.1 else 'row'}-{number}-{chance.randrange(1 << 40)}"
            world.write(sql, chance.choice(alive))
        world.read(chance.choice(alive))
        disturb(world)
    world.heal()
    # commands of dead coordinators may still be under way, and depose the last one
    world.run_until(world.now_ns + 3_000 * MS)
    if world.coordinators[-1].replicator.state.phase is Phase.DEPOSED or not world.coordinators[-1].alive:
        world.coordinators[-1].alive = False
        world.start_coordinator()
    world.run_until(world.now_ns + 10_000 * MS)
    check(world, seed)


def disturb(world: World) -> None:
    chance = world.random
    name, dice, duration = chance.choice(NAMES), chance.random(), chance.randrange(10 * MS, 900 * MS)
    newest = world.coordinators[-1]
    if dice < 0.10:
        world.crash_node(name, duration)
    elif dice < 0.20:
        world.freeze_node(name, duration)
    elif dice < 0.215:
        if world.may_harm_a_disk(name):
            world.lose_disk(name, duration)
    elif dice < 0.235:
        world.keep_copy(name)
    elif dice < 0.26:
        if world.has_copy(name) and world.may_harm_a_disk(name):
            world.restore_copy(name, duration)
    elif dice < 0.31:
        newest.frozen_until_ns = world.now_ns + duration
    elif dice < 0.35:
        newest.alive = chance.random() < 0.5  # a second one beside a living first, half of the time
        world.start_coordinator()


def check(world: World, seed: int) -> None:
    """Nothing acknowledged lost, nothing refused kept, nothing twice, four equal nodes, order of real time, no stale read."""
    state = world.coordinators[-1].replicator.state
    if state.phase is not Phase.SERVING:
        waits_for = world.coordinators[-1].replicator.election.waits_for
        raise NotServing(f"seed {seed}: after healing the cluster does not serve: {state.phase} {waits_for}")
    contents = {name: node.data for name, node in world.nodes.items()}
    first = contents[NAMES[0]]
    for name, data in contents.items():
        if data != first:
            raise Lost(f"seed {seed}: {name} has {len(data)} entries, {NAMES[0]} has {len(first)}, or others")
    timestamps = [entry.timestamp for entry in first]
    if timestamps != sorted(set(timestamps)):
        raise Lost(f"seed {seed}: timestamps do not grow")
    place = {entry.sql: entry.timestamp for entry in first}
    for write in world.writes.values():
        if isinstance(write.answer, Acknowledge):
            if place.get(write.sql) != write.answer.entry.timestamp:
                raise Lost(f"seed {seed}: {write.sql} was acknowledged at {write.answer.entry.timestamp} and is lost")
        elif said_not_committed(write.answer) and write.sql in place:
            raise Lost(f"seed {seed}: {write.sql} was said not to be committed, but it is")
    check_real_time(world, seed)
    for read in world.reads.values():
        if read.seen is not None and read.seen < read.must_see:
            raise Lost(
                f"seed {seed}: a strong read saw {read.seen}, but {read.must_see} was acknowledged before it began"
            )


def said_not_committed(answer: Acknowledge | Refuse | Fail | None) -> bool:
    return isinstance(answer, Refuse) or (isinstance(answer, Fail) and answer.committed is False)


def check_real_time(world: World, seed: int) -> None:
    """A write that began after another was acknowledged has the greater timestamp."""
    done = [w for w in world.writes.values() if isinstance(w.answer, Acknowledge)]
    ends = sorted((w.answered_ns or 0, w.answer.entry.timestamp) for w in done if isinstance(w.answer, Acknowledge))
    greatest, index = 0, 0
    for write in sorted(done, key=lambda w: w.invoked_ns):
        while index < len(ends) and ends[index][0] < write.invoked_ns:
            greatest, index = max(greatest, ends[index][1]), index + 1
        assert isinstance(write.answer, Acknowledge)
        if write.answer.entry.timestamp <= greatest:
            raise Lost(f"seed {seed}: {write.sql} began after {greatest} was acknowledged, but is before it")


# ---------------------------------------------------------------------------------------------- replay


def failure(seed: int, kind: str = "plain", *, trace: bool = False) -> str | None:
    """What goes wrong in schedule `seed`, and how to see it again; None: nothing."""
    world = World(seed, replicator=KINDS[kind])
    try:
        play(world, seed)
    except Exception as error:  # noqa: BLE001 (whatever it is, the seed must be told)
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error or place.line} ({place.filename}:{place.lineno})"
        again = f"make simulate SEEDS=1 SEED={seed} KIND={kind}"
        return f"seed {seed}, kind {kind}: {what}\n  see it again: {again}"
    finally:
        if trace:
            print(*world.trace, sep="\n")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Run seeded schedules of trouble over the coordinator's protocol.")
    parser.add_argument("seed", type=int, help="the first seed")
    parser.add_argument("count", type=int, nargs="?", default=1, help="how many seeds from there on")
    parser.add_argument("--kind", choices=sorted(KINDS), default="plain", help="kind of coordinators")
    parser.add_argument("--trace", action="store_true", help="print every event and every command")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    failures = [found for seed in seeds if (found := failure(seed, options.kind, trace=options.trace))]
    for found in failures:
        print(found)
    print(f"{len(failures)} of {options.count} schedules failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
