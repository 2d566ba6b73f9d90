"""The cluster at work, in one or two minutes: `make demo`, or `make demo-docker` for the same in containers.

It brings up a cluster of its own, beside whatever runs, tells the story of demo_story.py, and takes the cluster down again, in
whichever way it ends. Exit status 0: everything was seen as it is promised, and every acknowledged write was found on every node.
1: something was not; it says what, and keeps logs and data. 130: it was interrupted.

Environment: CLUSTER_DIR (.demo) and PORT_OFFSET (one that is free); NO_COLOR for lines only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import read_port_offset
from cluster_layout import ROOT
from demo_clients import Clients
from demo_cluster import DemoCluster, LocalCluster, free_port_offset
from demo_containers import ContainerCluster
from demo_story import SCENES, Stage
from demo_view import View, open_view
from demo_watch import NotAsExpected, Watch
from runner_console import CannotRun

KEPT, BROKEN, INTERRUPTED = 0, 1, 130
DRAW_EVERY_S = 0.125


async def tell(stage: Stage) -> None:
    """All of it, from the first start to the count. Raises NotAsExpected, CannotRun."""
    try:
        async with asyncio.TaskGroup() as together:
            drawing = together.create_task(draw(stage))
            stage.scene = "Start"
            stage.view.say(f"starting {stage.cluster.made_of} (minutes, the first time)")
            await stage.cluster.up(stage.hear)
            stage.doing = ""
            await play(stage)
            drawing.cancel()
    except ExceptionGroup as failed:
        raise first_of(failed) from None


def first_of(failed: ExceptionGroup[Exception]) -> Exception:
    """Who failed first has ended the others."""
    first = failed.exceptions[0]
    return first_of(first) if isinstance(first, ExceptionGroup) else first


async def play(stage: Stage) -> None:
    """The scenes, while clients write and somebody watches."""
    async with asyncio.TaskGroup() as together:
        watching = together.create_task(stage.watch.run())
        stage.writing = together.create_task(stage.clients.run())
        for number, (title, scene) in enumerate(SCENES, 1):
            stage.scene = f"{number}/{len(SCENES)} {title}"
            stage.view.scene(stage.scene)
            await scene(stage)
        watching.cancel()


async def draw(stage: Stage) -> None:
    while True:
        stage.view.draw(stage.snapshot())
        await asyncio.sleep(DRAW_EVERY_S)  # as often as an eye needs it


async def attend(cluster: DemoCluster, view: View, *, is_fast: bool, is_kept: bool) -> int:
    """Tell the story and clear up behind it; the exit status. Raises CannotRun where nothing was begun."""
    await cluster.refuse_if_taken()
    clients = Clients(cluster.url("coordinator"))
    watch = Watch(cluster.url("coordinator"), cluster.url("cabinet-service"))
    stage = Stage(cluster, view, clients, watch, is_fast)
    # only the story is interrupted, and only once: what clears up behind it goes on to its end
    story = asyncio.create_task(tell(stage))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, story.cancel)
    status, said = BROKEN, "it ended in a way that nobody foresaw"
    try:
        with view:
            status, said = await outcome(story, stage)
    finally:
        view.scene(said)
        if is_kept:
            view.say(cluster.keep())
        elif status == BROKEN:
            view.say(await cluster.leave_evidence())
        else:
            view.say("taking the cluster down")
            await cluster.remove()
    return status


async def outcome(story: asyncio.Task[None], stage: Stage) -> tuple[int, str]:
    """Exit status, and a sentence."""
    try:
        await story
    except asyncio.CancelledError:
        return INTERRUPTED, "Interrupted."
    except (NotAsExpected, CannotRun) as failed:
        return BROKEN, f"{stage.scene}: {failed}"
    return KEPT, "Everything was as promised."


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.py", description="Show the cluster at work.")
    parser.add_argument("--docker", action="store_true", help="in containers, by docker compose")
    parser.add_argument("--fast", action="store_true", help="without the pauses that are there for reading")
    parser.add_argument("--keep", action="store_true", help="let the cluster go on at the end")
    return parser.parse_args(argv)


def main() -> int:
    arguments = parse(sys.argv[1:])
    folder = Path(os.environ.get("CLUSTER_DIR") or ROOT / ".demo").resolve()
    try:
        wanted = read_port_offset(os.environ.get("PORT_OFFSET"))
        offset = free_port_offset() if wanted is None else wanted
        cluster: DemoCluster = ContainerCluster(offset) if arguments.docker else LocalCluster(folder, offset)
        return asyncio.run(attend(cluster, open_view(), is_fast=arguments.fast, is_kept=arguments.keep))
    except CannotRun as error:
        print(f"demo: {error}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
