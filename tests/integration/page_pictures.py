"""Makes the README's pictures of the live page: a real cluster under load, as it is, during a failover, and on a phone.

    python page_pictures.py FOLDER

Debian's pngquant makes each a third as large: it leaves it 128 colours.

The failover is held up, or nobody could take its picture (it takes 0.1 s): the master is killed and a replica is frozen, so that
the election has two of the three nodes that it needs until the replica goes on.
"""

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from browser import PHONE, opened_page
from cluster_handle import ClusterHandle, private_cluster
from playwright.async_api import Page, expect
from recording_client import Connection

WRITERS, READERS = 12, 4
LOAD_S = 150.0
TALL = {"width": 1280, "height": 1500}


async def work(cluster: ClusterHandle, draw: random.Random, *, writes: bool) -> None:
    """One client, whose pace changes as people's do."""
    connection = Connection(cluster.port("coordinator"))
    try:
        while True:
            if writes:
                await connection.query(f"INSERT INTO users (name, email) VALUES ('Alice', 'a{draw.random()}')")
            else:
                await connection.query(f"SELECT * FROM users WHERE id = {draw.randrange(1, 10_000)}")
            await asyncio.sleep(draw.expovariate(40))  # its own time between two requests
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def load(cluster: ClusterHandle) -> AsyncIterator[None]:
    draw = random.Random(7)
    clients = [asyncio.create_task(work(cluster, draw, writes=number < WRITERS)) for number in range(WRITERS + READERS)]
    try:
        yield
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def picture(page: Page, file: Path, **options: Any) -> None:
    taken = await page.screenshot(**options)
    command = ["pngquant", "--speed", "1", "--force", "--output", str(file), "128", "-"]
    await asyncio.to_thread(subprocess.run, command, input=taken, check=True)


async def run_a_query(page: Page) -> None:
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("#answer")).to_contain_text("Read successful")
    await page.evaluate("scrollTo(0, 0)")


async def make_pictures(cluster: ClusterHandle, folder: Path) -> None:
    url = cluster.url("coordinator") + "/"
    async with load(cluster):
        await asyncio.sleep(LOAD_S / 2)  # the load's time
        await asyncio.to_thread(cluster.kill, "mysql-master")
        await asyncio.to_thread(cluster.start, "mysql-master")
        await asyncio.sleep(LOAD_S / 2)  # the load's time
        async with opened_page(url, viewport=TALL, color_scheme="light") as (page, _):
            await expect(page.locator("#headline")).to_have_text("Writes are taken")
            await run_a_query(page)
            await picture(page, folder / "normal.png", full_page=True)
        async with opened_page(url, viewport=PHONE, color_scheme="light", is_mobile=True) as (page, _):
            await expect(page.locator("#headline")).to_have_text("Writes are taken")
            await expect(page.locator("#nodes > li")).to_have_count(4)
            await picture(page, folder / "phone.png")
        async with opened_page(url, viewport=TALL, color_scheme="dark") as (page, _):
            await run_a_query(page)
            master = await page.locator("#master").inner_text()
            status = cluster.get("coordinator", "/status").json()
            held = next(name for name in status["replicas"] if name != master)
            await asyncio.to_thread(cluster.freeze, held)
            await asyncio.to_thread(cluster.kill, master)
            await expect(page.locator("#headline")).to_contain_text("No writes during an election")
            await asyncio.sleep(1.5)  # for some seconds of it on the charts
            await picture(page, folder / "failover.png")
            await asyncio.to_thread(cluster.thaw, held)
            await expect(page.locator("#headline")).to_have_text("Writes are taken")


def main() -> None:
    if shutil.which("pngquant") is None:
        raise SystemExit("install Debian's package pngquant")
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, private_cluster(Path(place)) as cluster:
        asyncio.run(make_pictures(cluster, folder))


if __name__ == "__main__":
    main()
