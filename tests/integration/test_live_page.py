"""The live page in a real browser, before a real cluster."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Complaints, opened_page
from cluster_handle import ClusterHandle, private_cluster
from playwright.async_api import Locator, Page, expect
from recording_client import Load
from served_service import Services
from under_load import acknowledged_more, under_load
from waiting import wait_until

from cluster_layout import NODES

pytestmark = pytest.mark.alone

SHOWN_S = 1.0
"""A failover is on the page so soon after the new master serves."""
LEVEL_S = 60.0
TOKENS = {"read": "token-to-read-0123456789", "admin": "token-of-admin-0123456789"}
SCRIPT = "<img src=x onerror=alert(1)>"
Opened = tuple[Page, Complaints]


def address(cluster: ClusterHandle) -> str:
    return cluster.url("coordinator") + "/"


def status(cluster: ClusterHandle) -> dict[str, Any]:
    told: dict[str, Any] = cluster.get("coordinator", "/status").json()
    return told


def is_whole(cluster: ClusterHandle) -> bool:
    nodes = status(cluster)["nodes"].values()
    return all(node["state"] == "level" and node["member"] for node in nodes)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHandle]:
    """Its own: other tests count on the rows that theirs has."""
    with private_cluster(tmp_path_factory.mktemp("page")) as handle:
        yield handle


@pytest.fixture(autouse=True)
async def whole(cluster: ClusterHandle) -> None:
    """Each test begins with four level nodes, and some rows."""
    await asyncio.to_thread(wait_until, lambda: is_whole(cluster), LEVEL_S)
    told = await asyncio.to_thread(cluster.query, "INSERT INTO users (name, email) VALUES ('page', 'page')")
    told.raise_for_status()


@pytest.fixture
async def opened(cluster: ClusterHandle) -> AsyncIterator[Opened]:
    """The page, when it has shown something."""
    async with opened_page(address(cluster)) as (page, complaints):
        await expect(page.locator("#headline")).to_have_text("Writes are taken")
        yield page, complaints


async def test_the_page_shows_the_cluster_and_asks_nobody_else_for_anything(
    cluster: ClusterHandle, opened: Opened
) -> None:
    page, complaints = opened
    known = await asyncio.to_thread(status, cluster)
    await expect(page.locator("#link")).to_have_text("● live")
    await expect(page.locator("#master")).to_have_text(known["current_master"])
    await expect(page.locator("#epoch")).to_have_text(str(known["epoch"]))
    for node in NODES:
        card = page.locator(f"#node-{node.name}")
        is_master = node.name == known["current_master"]
        await expect(card.locator(".role")).to_have_text("★ master" if is_master else "replica")
        await expect(card.locator(".state")).to_have_text("● level")
        assert await card.get_by_role("button").is_visible() is not is_master
    written = (await asyncio.to_thread(cluster.query, "INSERT INTO users (name, email) VALUES ('seen', 'seen')")).json()
    await expect(page.locator("#committed")).to_have_text(f"{written['timestamp']:,}")
    await expect(page.locator("#quorums-summary")).to_contain_text(" and ".join(written["quorum"]))
    await expect(page.locator("#timestamps-summary")).to_contain_text(f"to {written['timestamp']:,}: ")
    await expect(page.locator("#scores tr")).to_have_count(3)
    await expect(page.locator("#weights-summary")).to_contain_text("Now replica")
    await expect(page.locator("#elections > li").first).to_contain_text(known["current_master"])
    assert await page.locator(".chart svg[role=img] path.line").count() >= 3
    assert complaints.errors == []
    assert {"/".join(url.split("/")[:3]) for url in complaints.urls} == {cluster.url("coordinator")}


async def test_a_failover_is_shown_within_a_second(cluster: ClusterHandle, opened: Opened) -> None:
    page, complaints = opened
    old = (await asyncio.to_thread(status, cluster))["current_master"]
    shown_at_s = 0.0

    async def kill(load: Load) -> None:
        nonlocal shown_at_s
        await acknowledged_more(load, 200, 20)
        killing = asyncio.create_task(asyncio.to_thread(cluster.kill, old))
        shown_at_s = await when_changed(page.locator("#master"), old)
        await killing
        await acknowledged_more(load, 200, 20)

    try:
        record = await under_load(cluster, "failover", kill, clients=8)
        assert set(record.statuses()) == {200}
        election = cluster.get("coordinator", "/elections").json()["elections"][-1]
        new = election["master"]
        assert new != old
        late_s = shown_at_s - (election["began_at_us"] / 1e6 + election["duration_ms"] / 1e3)
        print(f"served after {election['duration_ms']:.0f} ms, shown {1000 * late_s:.0f} ms after that")
        assert late_s < SHOWN_S
        await expect(page.locator("#master")).to_have_text(new)
        await expect(page.locator("#last-change")).to_contain_text(f"{new} became master")
        await expect(page.locator(f"#node-{new} .role")).to_have_text("★ master")
        await expect(page.locator(f"#node-{old} .state")).to_contain_text("away")
        newest = page.locator("#elections > li").first
        await expect(newest).to_contain_text(election["reason"])
        for step, spent_ms in election["step_ms"].items():
            row = newest.locator(".steps li", has_text=step)
            assert abs(float((await row.locator(".ms").inner_text()).split()[0].replace(",", "")) - spent_ms) < 5
        assert complaints.errors == []
    finally:
        await asyncio.to_thread(cluster.start, old)


async def when_changed(place: Locator, before: str) -> float:
    """When another master's name stood there, by the wall clock."""
    async with asyncio.timeout(20):
        while (await place.text_content()) in (before, "none"):
            pass  # each look is a trip to the browser
    return time.time()


async def test_a_query_is_run_and_explained_and_what_is_in_a_row_is_shown_as_text(
    cluster: ClusterHandle, opened: Opened
) -> None:
    page, complaints = opened
    query, answer = page.get_by_label("SQL", exact=True), page.locator("#answer")
    await query.fill(f"INSERT INTO users (id, name, email) VALUES (9007199254740993, '{SCRIPT}', 'script')")
    await query.press("Control+Enter")
    await expect(answer).to_contain_text("Write successful")
    await expect(answer).to_contain_text("Quorum")
    await expect(page.locator("#plan-facts")).to_contain_text("INSERT")
    await query.fill("SELECT id, name, NULL AS nothing FROM users WHERE email = 'script'")
    await page.get_by_label("Level of a read").select_option("bounded")
    await expect(page.get_by_label("At most so many ms old")).to_be_visible()
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(answer).to_contain_text("Read successful")
    await expect(answer).to_contain_text("Executed on")
    cells = await page.locator("#answer-rows td").all_inner_texts()
    assert cells == ["9007199254740993", SCRIPT, "NULL"]
    assert await page.locator("img").count() == 0
    assert complaints.errors == []
    # and were a script of the page's to forget that, the browser would not
    made = "() => { try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (error) { return error.name } }"
    assert await page.evaluate(made) == "TypeError"
    complaints.errors.clear()
    await query.fill("DELETE FROM users ORDER BY name LIMIT 5")
    await page.get_by_role("button", name="Explain").click()
    await expect(answer).to_contain_text("It would be refused")
    await expect(answer).to_contain_text("ORDER BY id")
    assert complaints.errors == []
    await query.fill("SELECT nonsense FROM users")
    await page.get_by_label("Level of a read").select_option("strong")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(answer).to_contain_text("nonsense")
    await expect(answer).to_contain_text("SHOW COLUMNS")
    await expect(answer).to_contain_text("1054")
    (await asyncio.to_thread(cluster.query, "DELETE FROM users WHERE email = 'script'")).raise_for_status()


async def test_a_switchover_is_asked_for_once_and_made_by_the_keyboard_alone(
    cluster: ClusterHandle, opened: Opened
) -> None:
    page, complaints = opened
    before = await asyncio.to_thread(status, cluster)
    target = before["replicas"][0]
    assert await tab_to(page, f"Make master: {target}")
    for key, expected in (("Tab", before["current_master"]), ("Shift+Tab", target)):
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text(f"Make {target} the master?")
        focused = page.locator("dialog button:focus")
        await expect(focused).to_have_text("Leave it as it is")
        if key == "Shift+Tab":
            await page.keyboard.press(key)
            await expect(focused).to_have_text("Switch over")
        await page.keyboard.press("Enter")
        await expect(dialog).not_to_be_visible()
        await expect(page.locator("#master")).to_have_text(expected)
    await expect(page.locator("#switchover-outcome")).to_have_text(f"{target} is master")
    assert (await asyncio.to_thread(status, cluster))["current_master"] == target
    assert complaints.errors == []


async def tab_to(page: Page, label: str) -> bool:
    """From the page's beginning, as far as the element of this label. Each on the way can be seen to have the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        outline = await focused.evaluate("element => getComputedStyle(element).outlineStyle")
        assert outline != "none", await focused.inner_text()
        if await focused.get_attribute("aria-label") == label:
            return True
    return False


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_can_be_read_in_light_and_in_dark(cluster: ClusterHandle, scheme: str) -> None:
    context = {"viewport": PHONE, "color_scheme": scheme, "is_mobile": True, "has_touch": True}
    async with opened_page(address(cluster), **context) as (page, complaints):
        await expect(page.locator("#headline")).to_have_text("Writes are taken")
        await expect(page.locator("#scores tr")).to_have_count(3)
        widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] <= PHONE["width"]
        assert await page.evaluate(TOO_FAINT) == []
        dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert dark == (scheme == "dark")
        assert complaints.errors == []


TOO_FAINT = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility() || element.tagName === "NOSCRIPT") continue;
    const style = getComputedStyle(element);
    const colour = parts(element instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) faint.push([element.tagName, element.getAttribute("class"), contrast, element.textContent]);
  }
  return faint;
}"""
"""Texts whose contrast is less than what WCAG 2 asks for (1.4.3)."""


async def test_a_coordinator_that_is_gone_is_said_and_the_page_goes_on_when_it_is_back(
    cluster: ClusterHandle, opened: Opened
) -> None:
    page, _ = opened
    await asyncio.to_thread(cluster.kill, "coordinator")
    try:
        await expect(page.locator("#headline")).to_contain_text("No connection to the coordinator")
    finally:
        await asyncio.to_thread(cluster.start, "coordinator")
    await expect(page.locator("#headline")).to_have_text("Writes are taken", timeout=20_000)
    await expect(page.locator("#link")).to_have_text("● live")


async def test_with_access_on_the_page_asks_for_a_token_and_says_what_its_role_may(tmp_path: Path) -> None:
    """A coordinator alone: no node is needed for that."""
    tokens = ",".join(f"{role}:{token}" for role, token in TOKENS.items())
    services = Services(tmp_path, {"ACCESS_TOKENS": tokens, "SERVICE_TOKEN": "token-of-services-0123456789"})
    with services.run("coordinator"):
        url = f"http://127.0.0.1:{services.layout.port('coordinator')}/"
        async with opened_page(url) as (page, _):
            await expect(page.get_by_role("alert")).to_contain_text("send a token that this coordinator knows")
            field, note = page.get_by_label("Token", exact=True), page.locator("#switchover-note")
            await field.fill("nobody-has-this-token")
            await field.press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("send a token that this coordinator knows")
            await field.fill(TOKENS["read"])
            await field.press("Enter")
            await expect(page.locator("#link")).to_have_text("● live")
            await expect(page.get_by_role("alert")).not_to_be_visible()
            await expect(note).to_contain_text("enter a token of the role admin: this one's is read")
            await page.locator("#access > summary").click()
            await field.fill(TOKENS["admin"])
            await field.press("Enter")
            await expect(note).not_to_be_visible()
            await expect(page.locator("#headline")).to_contain_text("No writes")
            # for as long as the tab is there, and nowhere else
            kept = await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
            assert kept == [[TOKENS["admin"]], [], ""]


EVENTS = (
    ': a comment\n\nevent: state\ndata: {"a": 1}\n\ndata: two\r\ndata:lines\r\n\r\nevent: empty\n\ndata\n\n'
    "event: traffic\rdata: µs ✓\r\rid: 7\nretry: 3\ndata: last\n\ndata: cut"
)
EXPECTED = [["state", '{"a": 1}'], ["message", "two\nlines"], ["message", ""], ["traffic", "µs ✓"], ["message", "last"]]


async def test_events_are_read_whatever_the_pieces_that_they_come_in(opened: Opened) -> None:
    page, complaints = opened
    read = """async ([text, size]) => {
      const { EventParser } = await import("/page/events.js");
      const found = [];
      const parser = new EventParser((name, data) => found.push([name, data]));
      for (let at = 0; at < text.length; at += size) parser.push(text.slice(at, at + size));
      return found;
    }"""
    for size in (1, 2, 3, 5, 7, 11, len(EVENTS)):
        assert await page.evaluate(read, [EVENTS, size]) == EXPECTED, size
    assert complaints.errors == []
