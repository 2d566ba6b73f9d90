"""The demo around its scenes: it takes no cluster that is not its own, and clears up behind it in whichever way it ends."""

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest
from stand_in_cluster import StandInCluster

import demo
import demo_cluster
from cluster_layout import NODES, SERVICES
from demo_cluster import LocalCluster, run_command
from demo_containers import PORT_SETTINGS, ContainerCluster
from demo_story import Stage
from demo_view import PlainView
from demo_watch import NotAsExpected
from runner_console import CannotRun


async def attend(cluster: StandInCluster, *, is_kept: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    return await demo.attend(cluster, PlainView(out), is_fast=True, is_kept=is_kept), out.getvalue()


def plays(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    async def play(stage: Stage) -> None:
        stage.scene = "4/6 A replica is frozen"
        if error is not None:
            raise error

    monkeypatch.setattr(demo, "play", play)


async def test_a_story_that_went_well_ends_with_0_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandInCluster()
    plays(monkeypatch)
    status, told = await attend(cluster)
    assert (status, cluster.done) == (0, [("remove", "")])
    assert "Everything was as promised." in told


async def test_a_scene_that_went_otherwise_ends_with_1_is_named_and_leaves_its_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error in (NotAsExpected("a quorum", "none"), ExceptionGroup("", [NotAsExpected("a quorum", "none")])):
        cluster = StandInCluster()
        plays(monkeypatch, error)
        status, told = await attend(cluster)
        assert (status, cluster.done) == (1, [("leave evidence", "")])
        assert "4/6 A replica is frozen: expected a quorum; seen: none" in told
        assert "its logs are kept" in told


async def test_a_fault_of_the_demos_own_clears_up_too_and_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandInCluster()
    plays(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await attend(cluster)
    assert cluster.done == [("leave evidence", "")]


async def test_a_cluster_that_is_to_be_kept_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandInCluster()
    plays(monkeypatch)
    status, told = await attend(cluster, is_kept=True)
    assert (status, cluster.done) == (0, [])
    assert "it goes on" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_interrupted_demo_clears_up_and_is_not_interrupted_in_that(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    cluster = StandInCluster()

    async def play(stage: Stage) -> None:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    async def remove() -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)  # the signal has come by then
        cluster.done.append(("remove", ""))

    monkeypatch.setattr(demo, "play", play)
    monkeypatch.setattr(cluster, "remove", remove)
    before = signal.getsignal(number)
    try:
        status, told = await attend(cluster)
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, before)
    assert (status, cluster.done) == (130, [("remove", "")])
    assert "Interrupted." in told


async def test_what_is_taken_is_refused_and_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandInCluster()

    async def refuse() -> None:
        raise CannotRun("there is one already")

    monkeypatch.setattr(cluster, "refuse_if_taken", refuse)
    with pytest.raises(CannotRun):
        await attend(cluster)
    assert cluster.done == []


async def test_a_folder_with_a_cluster_is_refused_and_the_sentence_says_how_to_remove_it(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, 500)
    await cluster.refuse_if_taken()
    (tmp_path / "cluster.json").write_text("{}")
    with pytest.raises(CannotRun, match=r"`make clean CLUSTER_DIR=\S+` removes it and its data"):
        await cluster.refuse_if_taken()


def test_containers_have_the_demos_project_in_every_command_and_ports_of_their_own() -> None:
    cluster = ContainerCluster(500)
    assert set(PORT_SETTINGS) == {service.name for service in SERVICES}
    assert cluster.url("coordinator") == "http://127.0.0.1:8500"
    name = NODES[1].name
    assert cluster.command("freeze", name) == f"docker compose -p distributed-mysql-demo pause {name}"
    assert cluster.command("kill", name) == f"docker compose -p distributed-mysql-demo kill {name}"


async def test_a_command_that_fails_says_what_it_said() -> None:
    heard: list[str] = []
    with pytest.raises(CannotRun, match=r"(?s)ended with 3:\nout\nwrong"):
        await run_command(["sh", "-c", "echo out; echo wrong >&2; exit 3"], os.environ, 10, heard.append)
    assert sorted(heard) == ["out", "wrong"]
    assert await run_command(["cat"], os.environ, 10, text="a\nb\n") == "a\nb"


@pytest.mark.parametrize("before", ["", "trap '' INT; "])
async def test_a_command_that_takes_too_long_is_ended_even_if_it_does_not_listen(
    monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(demo_cluster, "INTERRUPT_S", 0.5)
    heard: list[str] = []
    with pytest.raises(CannotRun, match="did not end within 0 s"):
        await run_command(["sh", "-c", f"{before}echo $$; sleep 60; sleep 60"], os.environ, 0.3, heard.append)
    with pytest.raises(ProcessLookupError):
        os.kill(int(heard[0]), 0)
