"""Debian's Chromium, headless, in the hands of a test. It reaches 127.0.0.1 and nothing else; what it complains of is kept."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import ConsoleMessage, Error, Page, Request, async_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "this test needs a browser: install Debian's package chromium (apt-get install chromium)"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@dataclass
class Complaints:
    """What a person would see in the browser's developer tools."""

    errors: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    """All that were asked for."""

    def listen_to(self, page: Page) -> None:
        page.on("console", self._told)
        page.on("pageerror", self._fault)
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _fault(self, error: Error) -> None:
        self.errors.append(str(error))

    def _failed(self, request: Request) -> None:
        self.errors.append(f"{request.method} {request.url}: {request.failure}")

    def _asked(self, request: Request) -> None:
        self.urls.append(request.url)


@contextlib.asynccontextmanager
async def opened_page(url: str, **context: Any) -> AsyncIterator[tuple[Page, Complaints]]:
    """The page at this address; `context` as Playwright's new_context takes it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, MISSING
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            # every name is one that does not exist
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        try:
            page = await browser.new_page(**({"viewport": DESKTOP, "locale": "en-GB"} | context))
            complaints = Complaints()
            complaints.listen_to(page)
            await page.goto(url)
            yield page, complaints
        finally:
            await browser.close()
