"""What the demo shows, scene by scene. Each does something to the cluster, says what it sees, and raises NotAsExpected where
that is not what the cluster promises. Eight clients write all the time; after the last scene every acknowledged row is looked
for on every node.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo_clients import CLIENTS, NAME, Clients
from demo_cluster import DemoCluster
from demo_counting import count
from demo_view import SLOT_S, SLOTS, Snapshot, View, table, weight_lines
from demo_watch import NotAsExpected, Watch

FLOWING = 500
"""Acknowledged writes after which the first scene has shown enough."""
GO_ON = 100
"""So many more after each fault: they go on."""
SOON_S, STATE_S, VERIFY_S = 30.0, 90.0, 90.0
FROZEN_S = 3.0
"""At least so long a replica stays frozen."""
HELD_S_MAX = 2.0
"""A pause of this length is that of writes that waited for it; one of a busy machine is shorter."""
WEIGHT_MIN = 0.02
"""Of a replica that keeps up: latency and lag are below 50 ms together."""
STATES_SHOWN = 8
ROWS = f"SELECT email, timestamp FROM distributed_db.users WHERE name = '{NAME}'"


@dataclass
class Stage:
    """What the scenes act on, and what they leave for the end."""

    cluster: DemoCluster
    view: View
    clients: Clients
    watch: Watch
    is_fast: bool
    scene: str = ""
    doing: str = ""
    killed: str = ""
    """Who was master first."""
    failover_s: float = 0.0
    election_ms: float = 0.0
    writing: asyncio.Task[None] | None = field(default=None, repr=False)

    def snapshot(self) -> Snapshot:
        now_s, tally = time.monotonic(), self.clients.tally
        return Snapshot(
            scene=self.scene,
            doing=self.doing,
            acknowledged=len(tally.acknowledged),
            per_second=tally.rate(now_s, 2.0),
            p50_ms=tally.p50_ms(),
            failed=len(tally.failures),
            slots=tally.slots(now_s, SLOTS, SLOT_S),
            nodes=self.watch.nodes,
        )

    def hear(self, line: str) -> None:
        """Of a command at work: what it does now."""
        self.doing = line

    async def reading(self, seconds: float) -> None:
        """Time for whoever reads along; nothing is waited for."""
        if not self.is_fast:
            await asyncio.sleep(seconds)  # see above

    async def acknowledged_more(self, writes: int) -> None:
        """Wait until so many more writes were acknowledged."""
        target = len(self.clients.tally.acknowledged) + writes
        expected = f"{writes} more acknowledged writes"
        await self.watch.until(lambda: len(self.clients.tally.acknowledged) >= target, SOON_S, expected)

    def expect(self, is_so: bool, expected: str, seen: object) -> None:
        if not is_so:
            raise NotAsExpected(expected, str(seen))

    def expect_none_failed(self) -> None:
        failures = self.clients.tally.failures
        self.expect(not failures, "no failed request", "; ".join(failures[:3]))

    async def act(self, what: str, name: str) -> None:
        """kill, start, freeze or thaw a node, by the command that is shown."""
        self.view.say(f"$ {self.cluster.command(what, name)}")
        await getattr(self.cluster, what)(name)

    def show_weights(self) -> None:
        self.view.show(weight_lines(self.watch.nodes, self.watch.excluded))


Scene = Callable[[Stage], Awaitable[None]]


async def writes_flow(stage: Stage) -> None:
    await stage.watch.until(lambda: stage.watch.master is not None, SOON_S, "a master")
    door = f"POST {stage.cluster.url('coordinator')}/query"
    stage.view.say(f"{CLIENTS} clients write rows, each with a mark of its own: {door}")
    await stage.acknowledged_more(FLOWING)
    await stage.reading(4)
    tally, now_s = stage.clients.tally, time.monotonic()
    stage.expect_none_failed()
    rate = f"{tally.rate(now_s, 1.0):.0f} a second, p50 {tally.p50_ms():.0f} ms"
    stage.view.say(f"{len(tally.acknowledged):,} acknowledged, {rate}, none failed; the master is {stage.watch.master}")


async def master_is_killed(stage: Stage) -> None:
    stage.killed, epoch = stage.watch.master or "", stage.watch.epoch
    killed_at_s = time.monotonic()
    await stage.act("kill", stage.killed)

    def another_serves() -> bool:
        return stage.watch.epoch > epoch and stage.watch.master not in (None, stage.killed)

    await stage.watch.until(another_serves, SOON_S, "another master")
    await stage.acknowledged_more(GO_ON)
    stage.failover_s = stage.clients.tally.longest_pause_s(killed_at_s, time.monotonic())
    elections = (await stage.watch.get("/elections"))["elections"]
    election = elections[-1]
    stage.expect(
        election["epoch"] > epoch and election["master"] == stage.watch.master,
        f"an election of {stage.watch.master} above epoch {epoch}",
        election,
    )
    for line in election_lines(election):
        stage.view.show([line])
        await stage.reading(0.8)
    stage.election_ms = election["duration_ms"]
    stage.expect_none_failed()
    stage.view.say(
        f"{stage.watch.master} is the master. The clients had no answer for {1e3 * stage.failover_s:.0f} ms; their requests were"
        " held, none failed"
    )


def election_lines(election: Mapping[str, Any]) -> list[str]:
    """An election, step by step, as GET /elections tells it."""
    steps = [f"{ms:7.1f} ms  {step}" for step, ms in election["step_ms"].items()]
    passed_over = [f"passed over: {node}, {reason}" for node, reason in election["rejected"].items()]
    return [
        f"GET /elections: {election['reason']}",
        *steps,
        f"{election['duration_ms']:7.1f} ms  in all, epoch {election['epoch']}",
        f"ranked: {', '.join(election['ranking'])}",
        *passed_over,
    ]


async def old_master_returns(stage: Stage) -> None:
    await stage.reading(2)
    name, behind = stage.killed, stage.watch.node(stage.killed).applied_timestamp
    stage.watch.forget_states(name)
    stage.view.say(f"{name} is {stage.watch.node(name).state}; meanwhile the others write on")
    await stage.act("start", name)
    started_at_s = time.monotonic()
    await stage.watch.until(lambda: stage.watch.node(name).is_level, STATE_S, f"{name} level again")
    took_s = time.monotonic() - started_at_s
    stage.expect(stage.watch.node(name).role == "replica", f"{name} as a replica", stage.watch.sentence())
    stage.view.show([f"GET /status: {path_of(stage.watch.states[name])}"])
    applied = stage.watch.node(name).applied_timestamp
    stage.expect(applied > behind, f"more applied than timestamp {behind}", f"timestamp {applied}")
    stage.view.say(f"{name} is a replica, and level {took_s:.1f} s after it answered: timestamp {applied}")
    stage.expect_none_failed()


def path_of(states: Sequence[str]) -> str:
    """States in the order in which they were seen; of many the first and the last."""
    if len(states) > STATES_SHOWN:
        half = STATES_SHOWN // 2
        states = [*states[:half], "…", *states[-half:]]
    return " → ".join(states)


async def replica_is_frozen(stage: Stage) -> None:
    watch, tally = stage.watch, stage.clients.tally
    replicas = [node.name for node in watch.nodes if node.role == "replica"]

    def all_keep_up() -> bool:
        return all((watch.node(name).weight or 0.0) > WEIGHT_MIN for name in replicas)

    await watch.until(all_keep_up, STATE_S, "a weight to be seen for each replica")
    frozen = watch.quorum[0]
    stage.view.say("Cabinet's weights, 1 / (latency + lag + 1), as POST /select-quorum tells them:")
    stage.show_weights()
    await stage.reading(3)
    before = len(tally.acknowledged)
    await stage.act("freeze", frozen)
    frozen_at_s = time.monotonic()

    def is_passed_over() -> bool:
        return frozen in watch.excluded and frozen not in watch.quorum

    await watch.until(is_passed_over, SOON_S, f"a quorum without {frozen}")
    took_s = time.monotonic() - frozen_at_s
    stage.view.say(f"{took_s:.1f} s later it cannot be ranked, and the quorum is {' and '.join(watch.quorum)}")
    stage.show_weights()
    await stage.acknowledged_more(GO_ON)
    await asyncio.sleep(max(0.0, frozen_at_s + FROZEN_S - time.monotonic()))  # so long it stays frozen
    await stage.reading(2)
    pause_s = tally.longest_pause_s(frozen_at_s, time.monotonic())
    more = len(tally.acknowledged) - before
    stage.view.say(f"{more:,} writes were acknowledged meanwhile, the longest pause was {1e3 * pause_s:.0f} ms")
    stage.expect(pause_s < HELD_S_MAX, f"no pause of {HELD_S_MAX:.0f} s", f"{pause_s:.1f} s without an acknowledgement")
    await stage.act("thaw", frozen)
    await watch.until(lambda: watch.node(frozen).is_level, STATE_S, f"{frozen} level again")
    await watch.until(all_keep_up, STATE_S, f"a weight to be seen for {frozen}")
    stage.show_weights()
    stage.expect_none_failed()


async def row_is_damaged(stage: Stage) -> None:
    await stage.reading(2)
    watch = stage.watch
    name = [node.name for node in watch.nodes if node.role == "replica"][-1]
    marker = next(iter(stage.clients.tally.acknowledged))
    damage = f"UPDATE distributed_db.users SET name = 'damaged' WHERE email = '{marker}'"
    stage.view.say(f"as root on {name}, past the cluster: {damage}")
    await stage.cluster.rows_on(name, damage)
    watch.forget_states(name)
    stage.view.say("POST /verify compares every row on every node, while writes go on")
    found = await compare(stage)
    expected = f"rows of distributed_db.users that differ on {name}"
    wrong = [(difference["table"], difference["wrong_nodes"]) for difference in found["differences"]]
    stage.expect(wrong == [("distributed_db.users", [name])], expected, found)
    columns = zip(found["differences"][0]["key_columns"], found["differences"][0]["first_key"], strict=True)
    key = ", ".join(f"{column} = {value}" for column, value in columns)
    stage.view.show([f"{compared(found)}: users, {key} is on {name} not what it is on the others"])

    def was_rebuilt() -> bool:
        return "copying" in watch.states[name] and watch.node(name).is_level

    took_s = await watch.until(was_rebuilt, STATE_S, f"{name} rebuilt and level")
    stage.view.say(f"{name} was rebuilt from another node's data in {took_s:.1f} s: {path_of(watch.states[name])}")
    again = await compare(stage)
    stage.expect(
        again["outcome"] == "equal" and len(again["nodes"]) == len(watch.nodes), "equal rows on all four nodes", again
    )
    stage.view.show([f"POST /verify again: {compared(again)}: equal"])
    there = await stage.cluster.rows_on(name, f"SELECT name FROM distributed_db.users WHERE email = '{marker}'")
    stage.expect(there == [(NAME,)], f"the row of {marker} as it was written", there)
    stage.expect_none_failed()


async def compare(stage: Stage) -> dict[str, Any]:
    """One comparison, waited for."""
    answer = await stage.watch.post("/verify", {"wait": True}, VERIFY_S)
    stage.expect(answer["last"] is not None, "a comparison that comes to its end", answer["message"])
    return dict(answer["last"])


def compared(found: Mapping[str, Any]) -> str:
    return f"{found['rows']:,} rows on {len(found['nodes'])} nodes in {found['duration_ms']:.0f} ms"


async def rows_are_counted(stage: Stage) -> None:
    await stage.reading(2)
    stage.clients.stop()
    assert stage.writing is not None
    await stage.writing
    wrote_s = time.monotonic() - stage.clients.began_at_s
    tally, watch = stage.clients.tally, stage.watch
    await watch.until(lambda: watch.is_settled, STATE_S, "four level nodes that have applied all")
    stage.view.say("the clients have stopped; each node's own rows, past the coordinator:")
    names = [node.name for node in watch.nodes]
    read = await asyncio.gather(*(stage.cluster.rows_on(name, ROWS) for name in names))
    rows = {name: [(row[0], int(row[1])) for row in found] for name, found in zip(names, read, strict=True)}
    result = count(tally, rows)
    longest_s = tally.longest_pause_s(stage.clients.began_at_s, tally.answered_at_s[-1])
    stage.view.show(
        table(
            [
                ("acknowledged", f"{result.acknowledged:,} writes of {CLIENTS} clients in {wrote_s:.0f} s"),
                *((f"found on {name}", f"{number:,}") for name, number in result.found.items()),
                ("lost", str(result.lost)),
                ("duplicates", str(result.duplicates)),
                ("failed requests", str(len(tally.failures))),
                ("longest pause", f"{1e3 * longest_s:.0f} ms without any acknowledgement"),
                (
                    "failover time",
                    f"{1e3 * stage.failover_s:.0f} ms; the election took {stage.election_ms:.0f} ms of it",
                ),
            ]
        )
    )
    stage.expect(not result.broken, "every acknowledged write once on every node", "; ".join(result.broken))


SCENES: tuple[tuple[str, Scene], ...] = (
    ("Writes flow", writes_flow),
    ("The master is killed with kill -9", master_is_killed),
    ("The old master comes back", old_master_returns),
    ("A replica is frozen", replica_is_frozen),
    ("A row is damaged behind the cluster's back", row_is_damaged),
    ("The count", rows_are_counted),
)
