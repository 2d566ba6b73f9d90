"""What each scene of the demo expects: it passes where the cluster keeps its promise, and says what it saw where not."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from stand_in_cluster import NAMES, StandInCluster, stage_of

import demo_story
from demo_story import Scene, Stage, election_lines, path_of
from demo_watch import NotAsExpected

ELECTION = {
    "reason": "mysql-master has gone",
    "epoch": 2,
    "master": "replica-1",
    "duration_ms": 41.3,
    "step_ms": {"fencing nodes": 12.1, "the new master applies what is committed": 8.8},
    "ranking": ["replica-1", "replica-2"],
    "rejected": {"mysql-master": "it failed as master"},
}
KEY = {"table": "distributed_db.users", "key_columns": ["id"], "first_key": ["7"]}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOON_S", "STATE_S"):
        monkeypatch.setattr(demo_story, name, 2.0)
    monkeypatch.setattr(demo_story, "FROZEN_S", 0.2)


@pytest.fixture
def cluster() -> StandInCluster:
    return StandInCluster()


@asynccontextmanager
async def acknowledging(stage: Stage, every_s: float = 0.002) -> AsyncIterator[None]:
    """Clients that are acknowledged without a word to the cluster."""
    numbers: Iterator[int] = count(1)

    async def write() -> None:
        while True:
            now_s, number = time.monotonic(), next(numbers)
            stage.clients.tally.acknowledge(f"demo-{number}", number, sent_at_s=now_s, answered_at_s=now_s)
            await asyncio.sleep(every_s)  # its pace

    tasks = [asyncio.create_task(write()), asyncio.create_task(stage.watch.run())]
    try:
        # a scene begins with something seen
        await stage.watch.until(lambda: bool(stage.clients.tally.acknowledged), 5, "a beginning")
        yield
    finally:
        for task in tasks:
            task.cancel()


async def play(cluster: StandInCluster, scene: Scene) -> Stage:
    stage = stage_of(cluster)
    stage.killed = NAMES[0]
    async with acknowledging(stage):
        await scene(stage)
    return stage


def change(cluster: StandInCluster, **fields: Any) -> None:
    cluster.status = {**cluster.status, **fields}


def elect(cluster: StandInCluster, master: str, recorded: str) -> None:
    change(cluster, current_master=master, epoch=2)
    cluster.elections = [ELECTION | {"master": recorded}]


# --- the master is killed


async def test_another_master_and_an_election_of_it_are_expected(cluster: StandInCluster) -> None:
    cluster.on_command = lambda what, name: elect(cluster, "replica-1", "replica-1")
    stage = await play(cluster, demo_story.master_is_killed)
    assert cluster.done == [("kill", "mysql-master")]
    assert stage.election_ms == 41.3
    assert 0 < stage.failover_s < 5


async def test_a_cluster_that_elects_nobody_is_seen(cluster: StandInCluster) -> None:
    cluster.on_command = lambda what, name: change(cluster, current_master=None)
    with pytest.raises(
        NotAsExpected, match=r"expected another master, within 2 s; seen: master none; mysql-master level"
    ):
        await play(cluster, demo_story.master_is_killed)


async def test_an_election_of_somebody_else_is_seen(cluster: StandInCluster) -> None:
    cluster.on_command = lambda what, name: elect(cluster, "replica-1", "replica-3")
    with pytest.raises(NotAsExpected, match=r"an election of replica-1 above epoch 1; seen: .*'master': 'replica-3'"):
        await play(cluster, demo_story.master_is_killed)


async def test_a_request_that_fails_is_seen(cluster: StandInCluster) -> None:
    stage = stage_of(cluster)

    def kill(what: str, name: str) -> None:
        elect(cluster, "replica-1", "replica-1")
        stage.clients.tally.fail("demo-0", "503, no quorum", is_unknown=False)

    cluster.on_command = kill
    async with acknowledging(stage):
        with pytest.raises(NotAsExpected, match="expected no failed request; seen: demo-0: 503, no quorum"):
            await demo_story.master_is_killed(stage)


def test_an_election_is_told_step_by_step() -> None:
    assert election_lines(ELECTION) == [
        "GET /elections: mysql-master has gone",
        "   12.1 ms  fencing nodes",
        "    8.8 ms  the new master applies what is committed",
        "   41.3 ms  in all, epoch 2",
        "ranked: replica-1, replica-2",
        "passed over: mysql-master, it failed as master",
    ]


# --- the old master comes back


def bring_back(cluster: StandInCluster, role: str, applied: int) -> None:
    change(cluster, nodes={**cluster.status["nodes"], NAMES[0]: cluster.node(role, applied=applied)})


@pytest.mark.parametrize(
    ("role", "applied", "seen"),
    [("master", 12, "expected mysql-master as a replica"), ("replica", 9, "expected more applied than timestamp 9")],
)
async def test_an_old_master_that_does_not_come_back_as_a_replica_that_follows_is_seen(
    cluster: StandInCluster, role: str, applied: int, seen: str
) -> None:
    cluster.on_command = lambda what, name: bring_back(cluster, role, applied)
    with pytest.raises(NotAsExpected, match=seen):
        await play(cluster, demo_story.old_master_returns)
    cluster.on_command = lambda what, name: bring_back(cluster, "replica", 20)
    await play(cluster, demo_story.old_master_returns)


def test_of_many_states_the_first_and_the_last_are_told() -> None:
    states = ["away", "fencing", *(f"catching-up {number} %" for number in range(90, 100)), "level"]
    assert path_of(states[:2]) == "away → fencing"
    assert path_of(states) == (
        "away → fencing → catching-up 90 % → catching-up 91 % → … → catching-up 97 % → catching-up 98 % → "
        "catching-up 99 % → level"
    )


# --- a replica is frozen


def weigh(cluster: StandInCluster, what: str, name: str) -> None:
    if what == "freeze":
        cluster.weights = {"replica-2": 0.5, "replica-3": 0.1}
        cluster.excluded = {name: "not healthy"}
    else:
        cluster.weights, cluster.excluded = {"replica-2": 0.5, "replica-1": 0.3, "replica-3": 0.1}, {}


async def test_a_frozen_replica_leaves_the_quorum_and_comes_back(cluster: StandInCluster) -> None:
    cluster.on_command = lambda what, name: weigh(cluster, what, name)
    await play(cluster, demo_story.replica_is_frozen)
    assert cluster.done == [("freeze", "replica-1"), ("thaw", "replica-1")]


async def test_weights_that_do_not_move_are_seen(cluster: StandInCluster) -> None:
    with pytest.raises(NotAsExpected, match="expected a quorum without replica-1"):
        await play(cluster, demo_story.replica_is_frozen)


async def test_writes_that_wait_for_a_frozen_replica_are_seen(
    cluster: StandInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_story, "HELD_S_MAX", 0.0005)
    cluster.on_command = lambda what, name: weigh(cluster, what, name)
    with pytest.raises(NotAsExpected, match="without an acknowledgement"):
        await play(cluster, demo_story.replica_is_frozen)


# --- a row is damaged


def comparison(outcome: str, **difference: Any) -> dict[str, Any]:
    differences = [KEY | difference] if difference else []
    return {"outcome": outcome, "nodes": list(NAMES), "rows": 7, "duration_ms": 5.0, "differences": differences}


def damage_is_found(cluster: StandInCluster, node: str, then: str) -> None:
    cluster.comparisons = [comparison("differs", wrong_nodes=[node]), comparison(then)]


async def rebuild(cluster: StandInCluster, name: str) -> None:
    """What the cluster does by itself once the damage is found."""
    await cluster.was_compared.wait()
    for state in ("copying", "level"):
        change(cluster, nodes={**cluster.status["nodes"], name: cluster.node("replica", state)})
        await asyncio.sleep(0.3)  # long enough to be seen


async def test_a_damaged_row_is_found_and_its_node_is_rebuilt(cluster: StandInCluster) -> None:
    damage_is_found(cluster, "replica-3", "equal")
    async with asyncio.TaskGroup() as both:
        both.create_task(rebuild(cluster, "replica-3"))
        both.create_task(play(cluster, demo_story.row_is_damaged))
    node, damage = cluster.done[0]
    assert (node, damage.split()[0]) == ("replica-3", "UPDATE")


async def test_damage_that_is_not_found_is_seen(cluster: StandInCluster) -> None:
    cluster.comparisons = [comparison("equal")]
    with pytest.raises(NotAsExpected, match=r"rows of distributed_db.users that differ on replica-3; seen: .*'equal'"):
        await play(cluster, demo_story.row_is_damaged)


async def test_damage_that_is_found_on_the_wrong_node_is_seen(cluster: StandInCluster) -> None:
    damage_is_found(cluster, "replica-2", "equal")
    with pytest.raises(NotAsExpected, match=r"differ on replica-3; seen: .*'replica-2'"):
        await play(cluster, demo_story.row_is_damaged)


async def test_a_node_that_is_not_rebuilt_is_seen(cluster: StandInCluster) -> None:
    damage_is_found(cluster, "replica-3", "equal")
    with pytest.raises(NotAsExpected, match="expected replica-3 rebuilt and level"):
        await play(cluster, demo_story.row_is_damaged)


# --- the count


async def count_rows(cluster: StandInCluster, written: int) -> Stage:
    stage = stage_of(cluster)
    for number in range(1, written + 1):
        stage.clients.tally.acknowledge(f"demo-{number}", number, sent_at_s=number, answered_at_s=number)
    stage.writing = asyncio.create_task(asyncio.sleep(0))  # a task that ends by itself
    watching = asyncio.create_task(stage.watch.run())
    try:
        await demo_story.rows_are_counted(stage)
    finally:
        watching.cancel()
    return stage


async def test_every_acknowledged_row_is_looked_for_on_every_node(cluster: StandInCluster) -> None:
    cluster.rows = {name: [("demo-1", "1"), ("demo-2", "2")] for name in NAMES}
    await count_rows(cluster, 2)
    assert [node for node, _ in cluster.done] == list(NAMES)


async def test_an_acknowledged_row_that_every_node_lacks_is_seen(cluster: StandInCluster) -> None:
    cluster.rows = {name: [("demo-1", "1")] for name in NAMES}
    with pytest.raises(NotAsExpected) as failed:
        await count_rows(cluster, 2)
    assert str(failed.value).startswith("expected every acknowledged write once on every node; seen: ")
    for name in NAMES:
        assert f"{name}: 1 acknowledged writes that it lacks: demo-2 (timestamp 2)" in str(failed.value)


async def test_nodes_that_do_not_settle_are_seen(cluster: StandInCluster) -> None:
    bring_back(cluster, "replica", applied=3)
    with pytest.raises(NotAsExpected, match="expected four level nodes that have applied all"):
        await count_rows(cluster, 1)
