"""One schedule of trouble, from a seed, and what must be true at its end."""

from collections.abc import Callable

from world import MS, NAMES, Coordinator, World

from replication.messages import Acknowledge, Fail, Refuse
from replication.state import Phase


class Lost(AssertionError):
    """A promise was broken; the message says which and where."""


class NotServing(Lost):
    """All is well again, but the cluster does not go on."""


def run(seed: int, make: Callable[[str], Coordinator] = Coordinator) -> World:
    """Run schedule `seed` to its end and check it. Raises Lost."""
    world = World(seed, replicator=make)
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
    return world


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
