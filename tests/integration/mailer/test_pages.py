"""The public pages over HTTP: what a reader, his mail program and his mailbox provider get, and what the ledger is told."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser

from services.mailer.links import Links
from services.mailer.pages import PIXEL, Reader, create_pages
from shared.clock import FakeClock
from shared.errors import Outage
from shared.http import service_app
from shared.service import Ports
from shared.signing import Signer
from tests.builders import DELIVERY, NOON

LINKS = Links(Signer(b"k" * 32), "http://mail.test")
TARGET = "https://acme.example/a?x=1&y=%C3%A9"
BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


class Ledger:
    """One delivery with one link, and a note of everything the pages told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.away = False
        self.locale: str | None = "en"

    async def find_target(self, delivery_id: str, index: int) -> str | None:
        return TARGET if (delivery_id, index) == (DELIVERY, 0) else None

    async def find_reader(self, delivery_id: str) -> Reader | None:
        return Reader(self.locale, "Acme <&> Sons") if delivery_id == DELIVERY else None

    async def clicked(self, delivery_id: str, index: int, human: bool, at: datetime) -> None:
        self._note("clicked", delivery_id, index, human, at)

    async def opened(self, delivery_id: str, at: datetime) -> None:
        self._note("opened", delivery_id, at)

    async def unsubscribe(self, delivery_id: str, at: datetime) -> None:
        self._note("unsubscribe", delivery_id, at)

    def _note(self, *what: Any) -> None:
        if self.away:
            raise Outage("the database is away")
        self.told.append(what)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def reader(ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    ports = cast(Ports, SimpleNamespace())
    app = service_app("mailer", ports, [create_pages(ledger, LINKS, FakeClock(NOON))])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, headers=BROWSER, timeout=timedelta(seconds=5).total_seconds()) as client:
        yield client


def shown(answer: httpx.Response) -> LexborHTMLParser:
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return LexborHTMLParser(answer.text)


async def test_a_click_leads_where_the_mail_said_and_is_recorded(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    answer = await reader.get(LINKS.click_url(DELIVERY, 0))
    assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
    assert ledger.told == [("clicked", DELIVERY, 0, True, NOON)]


@pytest.mark.parametrize(
    "url",
    [
        LINKS.click_url(DELIVERY, 1),
        LINKS.click_url("0f8fad5b-d9cb-469f-a165-70867728950f", 0),
        Links(Signer(b"o" * 32), "http://mail.test").click_url(DELIVERY, 0),
        LINKS.unsubscribe_url(DELIVERY).replace("/u/", "/c/"),
        "http://mail.test/c/x?url=https://evil.example",
        "http://mail.test/c/https:%2F%2Fevil.example",
    ],
)
async def test_no_click_leads_anywhere_else(reader: httpx.AsyncClient, ledger: Ledger, url: str) -> None:
    answer = await reader.get(url)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert not ledger.told


async def test_looking_without_clicking_is_not_recorded(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    answer = await reader.head(LINKS.click_url(DELIVERY, 0))
    assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
    assert not ledger.told


MACHINES = [
    {"user-agent": ""},
    {"user-agent": "Googlebot/2.1"},
    {"user-agent": "curl/8"},
    {"user-agent": "python-requests/2"},
    {"user-agent": "Mozilla/5.0 HeadlessChrome/120"},
    BROWSER | {"sec-purpose": "prefetch;prerender"},
    BROWSER | {"purpose": "prefetch"},
]


@pytest.mark.parametrize("headers", MACHINES)
async def test_a_machines_click_is_recorded_as_a_machines(reader: httpx.AsyncClient, ledger: Ledger, headers: dict[str, str]) -> None:
    await reader.get(LINKS.click_url(DELIVERY, 0), headers=headers)
    assert [human for _, _, _, human, _ in ledger.told] == [False]


async def test_a_reader_gets_on_when_his_click_cannot_be_recorded(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    ledger.away = True
    assert (await reader.get(LINKS.click_url(DELIVERY, 0))).headers["location"] == TARGET


async def test_the_pixel_always_comes(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    told = []
    for url, away in ((LINKS.open_url(DELIVERY), False), ("http://mail.test/o/nonsense.gif", False), (LINKS.open_url(DELIVERY), True)):
        ledger.away = away
        answer = await reader.get(url)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/gif", PIXEL)
        told.append(len(ledger.told))
    assert told == [1, 1, 1]


async def test_the_unsubscribe_page_asks_and_changes_nothing(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    for method in ("GET", "HEAD"):
        answer = await reader.request(method, LINKS.unsubscribe_url(DELIVERY))
        assert answer.status_code == 200
    page = shown(await reader.get(LINKS.unsubscribe_url(DELIVERY)))
    assert len(page.css("form[method=post] button[type=submit]")) == 1
    assert not page.css("script, img, link")
    assert "Acme <&> Sons" in (page.text() or "")
    assert not ledger.told


@pytest.mark.parametrize(
    "sent", [{"data": ONE_CLICK}, {"files": {"List-Unsubscribe": (None, "One-Click")}}, {}, {"content": b"\xff" * 1000}]
)
async def test_one_click_unsubscribes_without_a_redirect(reader: httpx.AsyncClient, ledger: Ledger, sent: dict[str, Any]) -> None:
    answer = await reader.post(LINKS.unsubscribe_url(DELIVERY), **sent)
    assert answer.status_code == 200
    assert "unsubscribed" in (shown(answer).text() or "")
    assert ledger.told == [("unsubscribe", DELIVERY, NOON)]


async def test_one_click_needs_no_cookie_and_may_be_repeated(reader: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = await reader.post(LINKS.unsubscribe_url(DELIVERY), data=ONE_CLICK, headers={"origin": "https://provider.example"})
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers


async def test_unsubscribing_while_the_database_is_away_says_try_again(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    ledger.away = True
    answer = await reader.post(LINKS.unsubscribe_url(DELIVERY), data=ONE_CLICK, headers={"accept-language": "fa"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "دوباره امتحان کنید" in (shown(answer).text() or "")


async def test_a_foreign_token_unsubscribes_nobody(reader: httpx.AsyncClient, ledger: Ledger) -> None:
    for url in (LINKS.open_url(DELIVERY).replace("/o/", "/u/"), "http://mail.test/u/x", LINKS.unsubscribe_url("somebody-else")):
        assert (await reader.get(url)).status_code == 404
        assert (await reader.post(url, data=ONE_CLICK)).status_code == 404
    assert not ledger.told


@pytest.mark.parametrize("path", ["/c/x", "/u/x", "/o/x.gif", None])
async def test_no_answer_is_kept_indexed_or_told_on(reader: httpx.AsyncClient, path: str | None) -> None:
    answer = await reader.get(f"http://mail.test{path}" if path else LINKS.click_url(DELIVERY, 0))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"


async def test_pages_run_no_scripts_and_stand_in_no_frame(reader: httpx.AsyncClient) -> None:
    policy = (await reader.get(LINKS.unsubscribe_url(DELIVERY))).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("locale", "lang", "direction", "word"),
    [
        ("en-IE", "en", "ltr", "Unsubscribe"),
        ("fa-IR", "fa", "rtl", "لغو اشتراک"),
        ("ar", "ar", "rtl", "إلغاء الاشتراك"),
        (None, "en", "ltr", "Stop"),
    ],
)
async def test_a_page_speaks_the_readers_language(
    reader: httpx.AsyncClient, ledger: Ledger, locale: str | None, lang: str, direction: str, word: str
) -> None:
    ledger.locale = locale
    answer = await reader.get(LINKS.unsubscribe_url(DELIVERY))
    root = shown(answer).root
    assert root is not None
    assert (root.attributes["lang"], root.attributes["dir"]) == (lang, direction)
    assert answer.headers["content-language"] == lang
    assert word in answer.text


async def test_a_link_that_leads_nowhere_says_so_in_the_browsers_language(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("http://mail.test/u/x", headers={"accept-language": "fa-IR,fa;q=0.9"})
    assert answer.status_code == 404
    assert 'dir="rtl"' in answer.text
