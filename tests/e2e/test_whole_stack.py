"""What happens to all containers at once, to a master that is away longer than any time-out, and to a first start."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from container_faults import KILLED, kill, lose, make_anew, pause, start_alone, unpause
from equal_nodes import check_record, wait_until_equal
from recording_client import Load
from stack import NAMES, NODE_NAMES, Stack
from under_load import acknowledged_more, under_load

CLIENTS = 8
ORIGINAL = NODE_NAMES[0]
GOES_ON_S = 30.0
AWAY_S = 15.0
"""Longer than a request is held (10 s) and than whatever the coordinator waits for at a node that serves."""
COUNT = "SELECT COUNT(*) FROM distributed_db.users"
LOG_BEGIN = "SELECT MIN(last_timestamp) FROM _replication.log"
FILLER = "INSERT INTO users (name, email) VALUES " + ", ".join(f"('filler', '{'x' * 200}')" for _ in range(2_000))
MARK = "/var/lib/mysql/.first-start-unfinished"


async def test_what_was_acknowledged_is_there_after_all_ten_were_killed_at_once(stack: Stack) -> None:
    def kill_all() -> None:
        with ThreadPoolExecutor(len(NAMES)) as pool:
            list(pool.map(kill, [stack] * len(NAMES), NAMES))
        # by nobody's restart policy, and at one time
        assert [stack.state(name)["ExitCode"] for name in NAMES] == [KILLED] * len(NAMES)
        assert {row["State"] for row in stack.rows().values()} == {"exited"}

    async def act(load: Load) -> None:
        await acknowledged_more(load, 300, within_s=GOES_ON_S)
        await asyncio.to_thread(kill_all)
        await asyncio.to_thread(stack.compose, "up", "-d", "--wait")
        await asyncio.to_thread(stack.wait_until_well)
        await acknowledged_more(load, 100, within_s=GOES_ON_S)

    record = await under_load(stack, "kill-all", act, clients=CLIENTS)
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, "kill-all")
    assert record.with_status(0), "nothing was under way"
    assert set(record.statuses()) <= {0, 200, 503, 504}


async def test_a_master_that_is_paused_for_longer_than_any_time_out_comes_back_as_a_replica(stack: Stack) -> None:
    stack.make_master(ORIGINAL)
    epoch = stack.status()["epoch"]

    async def act(load: Load) -> None:
        await acknowledged_more(load, 300, within_s=GOES_ON_S)
        await asyncio.to_thread(pause, stack, ORIGINAL)
        began = time.monotonic()
        await acknowledged_more(load, 300, within_s=GOES_ON_S)
        await asyncio.sleep(AWAY_S - (time.monotonic() - began))  # so long it is away
        status = await asyncio.to_thread(stack.status)
        assert status["current_master"] in NODE_NAMES[1:]
        assert status["epoch"] > epoch
        await asyncio.to_thread(unpause, stack, ORIGINAL)
        await asyncio.to_thread(stack.wait_until_well)
        await acknowledged_more(load, 100, within_s=GOES_ON_S)

    record = await under_load(stack, "long-pause", act, clients=CLIENTS)
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, "long-pause")
    assert set(record.statuses()) == {200}
    status = stack.status()
    assert status["nodes"][ORIGINAL]["role"] == "replica"
    assert (status["nodes"][ORIGINAL]["state"], status["nodes"][ORIGINAL]["member"]) == ("level", True)


async def test_a_first_start_that_was_cut_off_is_begun_anew(stack: Stack) -> None:
    name = "replica-3"

    def cut_off() -> None:
        lose(stack, name)
        stack.compose("create", name)
        container = stack.container(name)
        container.start()
        deadline_s = time.monotonic() + 20
        # the mark, and something of the data folder behind it
        while container.exec_run(["test", "-e", MARK, "-a", "-e", "/var/lib/mysql/ibdata1"]).exit_code:
            assert time.monotonic() < deadline_s, "the first start was not seen"
        kill(stack, name)
        # by now it may have ended in order
        container.get_archive(MARK)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 100, within_s=GOES_ON_S)
        await asyncio.to_thread(cut_off)
        await acknowledged_more(load, 100, within_s=GOES_ON_S)
        await asyncio.to_thread(stack.compose, "start", name)
        await asyncio.to_thread(stack.wait_until_well)
        await acknowledged_more(load, 100, within_s=GOES_ON_S)

    record = await under_load(stack, "cut-off", act, clients=CLIENTS)
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, "cut-off")
    assert set(record.statuses()) == {200}
    assert stack.container(name).exec_run(["test", "-e", MARK]).exit_code == 1
    assert b"the last first start was cut off" in stack.container(name).logs()


async def test_a_node_that_the_log_cannot_fill_gets_a_full_copy_and_is_started_again_by_its_restart_policy(
    stack: Stack,
) -> None:
    name = "replica-1"

    def cut_the_log() -> None:
        """Until no node's log begins where it once began, and the coordinator holds nothing older in memory either."""
        deadline_s = time.monotonic() + 60
        while any(stack.rows_on(node, LOG_BEGIN)[0][0] == 0 for node in NODE_NAMES):
            stack.query(FILLER).raise_for_status()
            assert time.monotonic() < deadline_s, "the log was not cut"
        kill(stack, "coordinator")
        start_alone(stack, "coordinator")
        stack.wait_until_well()

    await asyncio.to_thread(cut_the_log)

    async def act(load: Load) -> None:
        await acknowledged_more(load, 100, within_s=GOES_ON_S)
        await asyncio.to_thread(lose, stack, name)
        await asyncio.to_thread(make_anew, stack, name)
        await asyncio.to_thread(stack.wait_until_well)
        await acknowledged_more(load, 100, within_s=GOES_ON_S)

    record = await under_load(stack, "copy", act, clients=CLIENTS)
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, "copy")
    assert set(record.statuses()) == {200}
    assert stack.container(name).attrs["RestartCount"] == 1
    assert stack.rows_on(name, LOG_BEGIN)[0][0] > 0


async def test_down_keeps_the_data_and_down_with_volumes_forgets_it(stack: Stack) -> None:
    record = await Load(stack.port("coordinator"), CLIENTS, "down", count=200, host=stack.host).run()
    wait_until_equal(stack, within_s=30)
    cluster_id, count = stack.status()["cluster_id"], stack.rows_on(ORIGINAL, COUNT)[0][0]
    assert record.statuses() == {200: 200}

    stack.compose("down")
    assert (stack.rows(), len(stack.volumes())) == ({}, 7)
    stack.compose("up", "-d", "--wait")
    stack.wait_until_well()
    wait_until_equal(stack, within_s=30)
    check_record(stack, record, "down")
    assert stack.status()["cluster_id"] == cluster_id
    assert [stack.rows_on(node, COUNT)[0][0] for node in NODE_NAMES] == [count] * 4

    stack.compose("down", "--volumes")
    assert (stack.rows(), stack.volumes()) == ({}, [])
    stack.compose("up", "-d", "--wait")
    stack.wait_until_well()
    wait_until_equal(stack, within_s=30)
    assert stack.status()["cluster_id"] not in ("", cluster_id)
    assert [stack.rows_on(node, COUNT)[0][0] for node in NODE_NAMES] == [0] * 4
