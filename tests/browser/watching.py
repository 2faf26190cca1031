"""A browser's pages under watch: what they ask for, what they say in the console, whether they fit."""

import re

from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.house import House

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 375, "height": 740}
FRESH = 2_000
"""Milliseconds within which a lead's page shows what has happened; the other pages get more on a busy machine."""
SOON = 5_000


class Watched:
    """A context whose every request and every console line is remembered."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.trouble: list[str] = []
        self._url = url
        context.on("request", lambda request: self._judge(request.url))
        context.on("console", lambda line: self._hear(line.type, line.text))
        context.on("weberror", lambda error: self.trouble.append(str(error.error)))

    def _hear(self, kind: str, text: str) -> None:
        kept_out = "/o/" in text and "violates" in text  # the pixel of a mail that is only looked at in the mailbox: it must not count
        if kind in ("error", "warning") and not kept_out:
            self.trouble.append(text)

    def _judge(self, url: str) -> None:
        if not url.startswith((self._url, "data:", "about:", "blob:")):
            self.trouble.append(f"asked {url}")


def sign_in(page: Page, house: House, path: str) -> None:
    """By the way of the page that was asked for."""
    page.goto(path)
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Password").fill((house.data / "console_password").read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(house.url + path)


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
