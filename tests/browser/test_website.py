"""`dripline.js` on a website of another origin with a strict content policy, in Chromium: what it tells, and what it keeps to itself."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.site import serving, site, told
from tests.ingest_house import Ingest

HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<script async src="{ingest}/dripline.js" data-write-key="pk_test" {attributes}></script></head><body>"""

FORM = """
<form action="/thanks" method="post" data-dripline="Ebook Downloaded" data-dripline-title="The guide" data-dripline-page-count="40"
  data-dripline-paid="false">
  <input name="csrf" type="hidden" value="hidden"><input name="email" type="email"><input name="full_name" value="Ana">
  <input name="pass" type="password" value="hunter2"><input name="shown_password" value="hunter2">
  <input name="number" autocomplete="cc-number" value="1"><input name="card_holder" value="Ana">
  <input name="free" value="4111 1111 1111 1111"><input name="phone" value="0871234567"><input name="own" value="x" data-dripline-skip>
  <input name="empty"><input type="checkbox" name="newsletter" checked><input type="checkbox" name="terms">
  <input type="checkbox" name="likes" value="tea" checked><input type="checkbox" name="likes" value="cups" checked>
  <input type="checkbox" name="likes" value="pots"><input type="radio" name="size" value="s">
  <input type="radio" name="size" value="m" checked>
  <select name="country"><option value="ie" selected>Ireland</option></select>
  <fieldset name="group"></fieldset><output name="sum">3</output>
  <button name="go">Send</button>
</form>
<form action="/thanks" method="post" id="plain"><input name="email" value="bo@example.com"><button>Send plainly</button></form>"""


EMPTY_QUEUE = "!Object.keys(localStorage).some((name) => name.startsWith('dripline.queue'))"


def until(page: Page, expression: str) -> None:
    """Waits for it without evaluating anything in the page's own world, which its policy forbids."""
    for _ in range(500):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(expression)


@dataclass
class Shop:
    """A website with our script on every page, and what ingest was told by it."""

    context: BrowserContext
    url: str
    ingest: Ingest
    pages: dict[str, str]
    script: str  # where it comes from
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def page(self, path: str, body: str = "", attributes: str = "", title: str = "A page") -> None:
        self.pages[path] = HEAD.format(ingest=self.script, attributes=attributes, title=title) + body

    def open(self, path: str = "/", before: str = "") -> Page:
        page = self.context.new_page()
        page.on("console", lambda line: self.said.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(f"{request.method} {request.url}"))
        if before:
            page.add_init_script(before)
        page.goto(self.url + path)
        until(page, "!!window.dripline && !!window.dripline.track")
        return page

    def told(self, count: int) -> list[tuple[str, str]]:
        return [(event.type, event.name) for event in told(self.ingest, count)]

    @property
    def kept(self) -> Any:
        """What the script left in the browser."""
        return [
            entry["name"]
            for origin in self.context.storage_state()["origins"]
            for entry in origin["localStorage"]
            if entry["name"].startswith("dripline.")
        ] + [cookie["name"] for cookie in self.context.cookies()]


@pytest.fixture(scope="module")
def origins(browser: Browser) -> Iterator[tuple[Ingest, dict[str, str], str, str]]:
    ingest, pages = Ingest(), dict[str, str]()
    with ExitStack() as stack:
        address = stack.enter_context(serving(ingest))
        policy = f"default-src 'none'; script-src {address}; connect-src {address}; form-action 'self'"
        yield ingest, pages, address, stack.enter_context(site(pages, policy))


@pytest.fixture
def shop(browser: Browser, origins: tuple[Ingest, dict[str, str], str, str]) -> Iterator[Shop]:
    ingest, pages, script, url = origins
    ingest.log.topics.clear()
    ingest.log.away = False
    pages.clear()
    context = browser.new_context(locale="en-IE", timezone_id="Europe/Dublin")
    shop = Shop(context, url, ingest, pages, script)
    shop.page("/", title="Home")
    yield shop
    context.close()
    assert shop.said == []
    assert {re.sub(r"^\w+ |/[^/]*$", "", asked) for asked in shop.asked} <= {url, script, f"{script}/v1"}


def test_a_page_view_says_where_it_was_and_who_came(shop: Shop):
    shop.page("/guide", title="The guide")
    shop.open("/guide?utm_campaign=spring&utm_source=mail&a=1#part")
    (event,) = told(shop.ingest, 1)
    url = f"{shop.url}/guide?utm_campaign=spring&utm_source=mail&a=1"
    assert (event.type, event.name, event.source, event.trusted) == ("page", "Page Viewed", "pk_11111111", False)
    assert event.properties | {"referrer": ""} == {
        "path": "/guide",
        "search": "?utm_campaign=spring&utm_source=mail&a=1",
        "title": "The guide",
        "url": url,
        "referrer": "",
    }
    assert event.context["page"]["url"] == url
    assert event.context["campaign"] == {"name": "spring", "source": "mail"}
    assert (event.context["locale"], event.context["timezone"]) == ("en-IE", "Europe/Dublin")
    assert event.context["library"]["name"] == "dripline.js"
    assert event.anonymous_id
    assert event.message_id
    assert abs((event.at - event.received_at).total_seconds()) < 20  # corrected by `sentAt`: the test's clock is another


def test_a_visitor_stays_the_same_over_pages_and_tabs_and_says_who_he_is(shop: Shop):
    page = shop.open()
    page.evaluate("dripline.identify('u1', {email: 'ana@example.com'})")
    page.evaluate("dripline.track('Product Added', {product_id: 'p1', price: 9.5})")
    shop.told(3)
    shop.open()
    events = told(shop.ingest, 4)
    assert [(event.type, event.name, event.user_id) for event in events] == [
        ("page", "Page Viewed", None),
        ("identify", "", "u1"),
        ("track", "Product Added", "u1"),
        ("page", "Page Viewed", "u1"),
    ]
    assert events[1].traits == {"email": "ana@example.com"}
    assert events[2].properties == {"product_id": "p1", "price": 9.5}
    assert len({event.anonymous_id for event in events}) == 1
    assert page.evaluate("dripline.anonymousId()") == events[0].anonymous_id


def test_somebody_else_at_the_same_device_is_another_visitor(shop: Shop):
    page = shop.open()
    page.evaluate("dripline.identify('u1')")
    page.evaluate("dripline.identify('u1', {plan: 'team'})")
    page.evaluate("dripline.identify('u2')")
    _, first, again, second = told(shop.ingest, 4)
    assert (first.user_id, again.user_id, second.user_id) == ("u1", "u1", "u2")
    assert first.anonymous_id == again.anonymous_id != second.anonymous_id


def test_who_signs_out_is_a_stranger_again(shop: Shop):
    page = shop.open()
    page.evaluate("dripline.identify('u1')")
    first = told(shop.ingest, 2)[0].anonymous_id
    page.evaluate("dripline.reset(); dripline.track('Looked')")
    looked = told(shop.ingest, 3)[-1]
    assert (looked.name, looked.user_id) == ("Looked", None)
    assert looked.anonymous_id != first


def test_calls_made_before_the_script_has_come_are_not_lost(shop: Shop):
    shop.open(before="window.dripline = [['track', 'Early', {a: 1}], ['identify', 'u1']]")
    assert sorted(shop.told(3)) == [("identify", ""), ("page", "Page Viewed"), ("track", "Early")]


def test_a_page_that_changes_its_address_without_loading_is_viewed_anew(shop: Shop):
    page = shop.open()
    page.evaluate("history.pushState({}, '', '/tea'); document.title = 'Tea'")
    shop.told(2)
    page.evaluate("history.replaceState({scroll: 1}, '', '/tea')")
    page.evaluate("history.pushState({}, '', '/tea#reviews')")
    page.go_back()
    page.go_back()
    events = told(shop.ingest, 3)
    assert [(event.properties["path"], event.properties["title"]) for event in events] == [("/", "Home"), ("/tea", "Tea"), ("/", "Tea")]
    assert [event.properties["referrer"] for event in events[1:]] == [f"{shop.url}/", f"{shop.url}/tea"]


def test_automatic_page_views_can_be_left_out(shop: Shop):
    shop.page("/own", attributes='data-page-views="off"')
    shop.open("/own").evaluate("dripline.page('Tea', {kind: 'green'})")
    (event,) = told(shop.ingest, 1)
    assert (event.properties["name"], event.properties["kind"], event.properties["path"]) == ("Tea", "green", "/own")


def test_a_form_tells_its_event_and_its_address_and_never_a_secret(shop: Shop):
    shop.page("/form", FORM)
    shop.page("/thanks")
    page = shop.open("/form")
    page.fill("[name=email]", "ana@example.com")
    page.click("[name=go]")
    page.wait_for_url(shop.url + "/thanks")
    events = {event.type: event for event in told(shop.ingest, 4)}
    assert events["identify"].traits == {"email": "ana@example.com"}
    assert events["track"].name == "Ebook Downloaded"
    assert events["track"].properties == {
        "email": "ana@example.com",
        "full_name": "Ana",
        "phone": "0871234567",
        "newsletter": True,
        "terms": False,
        "likes": ["tea", "cups"],
        "size": "m",
        "country": "ie",
        "title": "The guide",
        "page_count": 40,
        "paid": False,
    }


def test_a_form_that_says_nothing_is_not_listened_to(shop: Shop):
    shop.page("/form", FORM)
    shop.page("/thanks")
    page = shop.open("/form")
    shop.told(1)
    page.click("#plain button")
    page.wait_for_url(shop.url + "/thanks")
    assert shop.told(2) == [("page", "Page Viewed")] * 2
    assert b"bo@example.com" not in b"".join(value for _, value in shop.ingest.log.topics["events"])


def test_a_link_tells_its_event_although_the_page_goes_away(shop: Shop):
    shop.page("/links", '<a href="/thanks" data-dripline="Link Clicked" data-dripline-paid="true"><b>Buy</b></a>')
    shop.page("/thanks")
    page = shop.open("/links")
    page.click("b")
    page.wait_for_url(shop.url + "/thanks")
    (clicked,) = [event for event in told(shop.ingest, 3) if event.type == "track"]
    assert (clicked.name, clicked.properties) == ("Link Clicked", {"paid": True})


def test_what_cannot_be_stored_now_is_told_later_even_by_another_page(shop: Shop):
    shop.ingest.log.away = True
    page = shop.open()
    page.evaluate("dripline.track('Kept')")
    with page.expect_response(lambda answer: answer.status == 503):
        pass
    page.close()
    shop.ingest.log.away = False
    assert not shop.ingest.events
    shop.open()
    assert sorted(shop.told(3)) == [("page", "Page Viewed"), ("page", "Page Viewed"), ("track", "Kept")]
    shop.said = [line for line in shop.said if "503" not in line]


def test_a_page_that_stays_tries_again_by_itself(shop: Shop):
    shop.ingest.log.away = True
    page = shop.open()
    with page.expect_response(lambda answer: answer.status == 503) as answer:
        pass
    assert answer.value.headers["access-control-expose-headers"] == "Retry-After, X-RateLimit-Reset"
    shop.ingest.log.away = False
    assert shop.told(1) == [("page", "Page Viewed")]
    until(page, EMPTY_QUEUE)
    shop.said = [line for line in shop.said if "503" not in line]


def test_without_consent_nothing_is_told_and_nothing_is_kept(shop: Shop):
    shop.page("/banner", FORM, attributes='data-consent="required"')
    shop.page("/thanks", attributes='data-consent="required"')
    page = shop.open("/banner")
    page.evaluate("dripline.track('Early'); dripline.identify('u1', {email: 'ana@example.com'})")
    page.click("#plain button")
    page = shop.open("/banner")
    assert page.evaluate("dripline.anonymousId()") is None
    assert shop.kept == []
    page.evaluate("dripline.consent(true)")
    assert shop.told(1) == [("page", "Page Viewed")]
    until(page, EMPTY_QUEUE)
    assert sorted(shop.kept) == ["dripline.anonymous", "dripline.consent"]
    shop.open("/banner")
    assert shop.told(2) == [("page", "Page Viewed")] * 2


def test_consent_taken_back_clears_who_it_was(shop: Shop):
    shop.page("/banner", attributes='data-consent="required"')
    page = shop.open("/banner")
    page.evaluate("dripline.consent(true); dripline.identify('u1')")
    first = told(shop.ingest, 2)[0].anonymous_id
    page.evaluate("dripline.consent(false); dripline.track('Late')")
    assert shop.kept == []
    page.evaluate("dripline.consent(true)")
    event = told(shop.ingest, 3)[-1]
    assert (event.name, event.user_id) == ("Page Viewed", None)
    assert event.anonymous_id != first


def test_who_says_no_where_no_consent_is_needed_is_left_alone(shop: Shop):
    page = shop.open()
    shop.told(1)
    page.evaluate("dripline.consent(false); dripline.track('Late')")
    assert shop.kept == ["dripline.consent"]
    shop.open().evaluate("dripline.track('Late')")
    assert shop.kept == ["dripline.consent"]
    assert shop.told(1) == [("page", "Page Viewed")]


SIGNALS = {
    "global privacy control": "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})",
    "do not track": "Object.defineProperty(Navigator.prototype, 'doNotTrack', {get: () => '1'})",
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_browser_that_objects_is_obeyed_whatever_was_agreed_before(shop: Shop, signal: str):
    shop.open().evaluate("dripline.consent(true)")
    shop.told(1)
    page = shop.open(before=SIGNALS[signal])
    page.evaluate("dripline.consent(true); dripline.track('Late'); dripline.identify('u1')")
    assert page.evaluate("dripline.anonymousId()") is None
    assert shop.kept == ["dripline.consent"]
    assert shop.told(1) == [("page", "Page Viewed")]


def test_where_storage_is_forbidden_a_cookie_remembers(shop: Shop):
    forbidden = "Object.defineProperty(window, 'localStorage', {get: () => { throw new DOMException('no', 'SecurityError') }})"
    shop.open(before=forbidden).evaluate("dripline.identify('u1')")
    shop.open(before=forbidden)
    events = told(shop.ingest, 3)
    assert [event.user_id for event in events] == [None, "u1", "u1"]
    assert len({event.anonymous_id for event in events}) == 1
    assert sorted(shop.kept) == ["dripline.anonymous", "dripline.user"]


def test_what_no_json_can_say_harms_no_page(shop: Shop):
    page = shop.open()
    page.evaluate("() => { const loop = {}; loop.self = loop; dripline.track('Loop', loop); dripline.track(''); dripline.track('Good') }")
    assert shop.told(2) == [("page", "Page Viewed"), ("track", "Good")]
    assert len([line for line in shop.said if "dripline.js" in line]) == 2
    shop.said.clear()


def test_what_was_refused_is_said_to_the_developer_and_not_told_again(shop: Shop):
    page = shop.open()
    with page.expect_console_message(lambda line: "not taken" in line.text):
        page.evaluate("dripline.track('Email Sent')")
    until(page, EMPTY_QUEUE)
    assert shop.told(1) == [("page", "Page Viewed")]
    shop.said.clear()
