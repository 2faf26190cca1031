"""Segment's browser client, unmodified, old and new, in Chromium on a website of another origin: every event arrives, and counts once."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, Route

from services.ingest.limits import Limits, Rate
from shared.wire import Event
from tests.browser.site import serving, site, told
from tests.clients.prepare import BROWSERS, TARGET, is_ready
from tests.ingest_house import Ingest

BATCHING = "{integrations: {'Segment.io': {deliveryStrategy: {strategy: 'batching', config: {size: 4, timeout: 500}}}}}"
CREDENTIALS = "{integrations: {'Segment.io': {deliveryStrategy: {config: {credentials: 'include'}}}}}"
CALLS = """
  await analytics.page('Pricing', {plan: 'team'}); // else it is said to be by who is told of next
  analytics.identify('u1', {email: 'ana@example.com'});
  analytics.track('Product Added', {product_id: 'p1', price: 9.5});
  analytics.group('g1', {employees: 60});
"""


@dataclass
class Place:
    """A website with the client on its page, and ingest beside it."""

    browser: Browser
    ingest: Ingest
    address: str
    url: str
    asked: list[dict[str, str]] = field(default_factory=list)

    def open(self, options: str = "{}") -> Page:
        """The page, with the client loaded by what ingest says in its settings."""
        page = self.browser.new_context().new_page()
        page.goto(self.url)
        page.evaluate(
            f"""async () => {{
              window.analytics = AnalyticsNext.AnalyticsBrowser.load({{writeKey: 'pk_test', cdnURL: '{self.address}'}}, {options});
              window.failures = [];
              analytics.on('error', (error) => failures.push(String(error.code)));
              await analytics; // what is called before gets the user that is told of after
            }}"""
        )
        return page

    def events(self, count: int) -> dict[str, Event]:
        """What came, by its kind. Nothing came twice."""
        found = told(self.ingest, count)
        assert len(self.ingest.events) == len(found) == count
        return {event.type: event for event in found}

    def posts(self) -> list[dict[str, str]]:
        return [request for request in self.asked if request["method"] == "POST"]


def through_a_proxy(route: Route) -> None:
    """TLS ends here, as at a proxy of ours: until 1.84 the client posts its batches by https, whatever the settings say."""
    route.fulfill(response=route.fetch(url=route.request.url.replace("https:", "http:")))


def client(name: str) -> dict[str, str | bytes]:
    """The files of the client as a website would serve them."""
    folder = TARGET / name / "node_modules" / "@segment" / "analytics-next" / "dist" / "umd"
    scripts: dict[str, str | bytes] = {f"/{path.name}": path.read_bytes() for path in Path(folder).glob("*.js")}
    return scripts | {"/": "<!doctype html><title>Pricing</title><script src='/index.js'></script>"}


@pytest.fixture(params=BROWSERS)
def place(request: pytest.FixtureRequest, browser: Browser, require_service: Callable[[str, str], NoReturn]) -> Iterator[Place]:
    name = request.param
    if not is_ready(name):
        require_service(f"Segment's client {name}", "tests/clients/prepare.py has not made it; `make test` runs that first")
    with ExitStack() as stack:
        asked: list[dict[str, str]] = []
        ingest = Ingest(limits=Limits(Rate(0, 60), Rate(8, 60), Rate(0, 3600)))
        address = stack.enter_context(serving(ingest, asked))
        yield Place(browser, ingest, address, stack.enter_context(site(client(name))), asked)
        for context in browser.contexts:
            context.close()


@pytest.mark.parametrize("options", ["{}", BATCHING, CREDENTIALS], ids=["one by one", "batching", "credentials"])
def test_every_call_arrives_once_and_as_it_was_made(place: Place, options: str):
    page = place.open(options)
    page.route(re.compile("^https:"), through_a_proxy)
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.evaluate(f"async () => {{ {CALLS} }}")
    events = place.events(4)
    assert {kind: (event.name, event.user_id, event.traits) for kind, event in events.items()} == {
        "page": ("Page Viewed", None, {}),
        "identify": ("", "u1", {"email": "ana@example.com"}),
        "track": ("Product Added", "u1", {}),
        "group": ("", "u1", {"employees": 60}),
    }
    assert events["page"].properties | {"name": "Pricing", "plan": "team", "path": "/"} == events["page"].properties
    assert events["track"].properties == {"product_id": "p1", "price": 9.5}
    assert events["group"].group_id == "g1"
    assert len({event.anonymous_id for event in events.values()}) == 1
    assert all(event.source == "pk_11111111" and not event.trusted and event.message_id for event in events.values())
    assert all(abs(event.at - event.received_at) < timedelta(seconds=20) for event in events.values())
    assert len({request["path"] for request in place.posts()}) == (1 if options == BATCHING else 4)
    assert page.evaluate("failures") == []


def test_old_and_new_are_served_as_they_ask(place: Place, request: pytest.FixtureRequest):
    place.open().evaluate("() => analytics.track('Looked')")
    place.events(1)
    (post,) = place.posts()
    is_new = "1.84" in request.node.name
    assert ("authorization" in post) is is_new  # so that the browser asks first
    assert ([asked["path"] for asked in place.asked if asked["method"] == "OPTIONS"] == ["/v1/t"]) is is_new
    assert post["origin"] == place.url


def test_what_cannot_be_stored_now_is_sent_again(place: Place):
    place.ingest.log.away = True
    page = place.open()
    with page.expect_response(lambda answer: answer.status == 503):
        page.evaluate("() => { analytics.track('Looked') }")
    place.ingest.log.away = False
    assert place.events(1)["track"].name == "Looked"


def test_a_client_that_is_put_off_comes_back_when_it_was_told_to(place: Place):
    page = place.open()
    page.evaluate("() => { for (let at = 0; at < 8; at++) analytics.track('Looked') }")
    told(place.ingest, 8)
    with page.expect_response(lambda answer: answer.status == 429) as refused:
        page.evaluate("() => { analytics.track('Bought') }")
    headers = refused.value.headers
    assert (headers["retry-after"], headers["x-ratelimit-reset"]) == ("8", "8")
    place.ingest.clock.advance(timedelta(minutes=1))
    assert "Bought" in {event.name for event in told(place.ingest, 9, seconds=30)}


def test_an_alias_arrives_untrusted(place: Place):
    page = place.open()
    page.evaluate("() => { analytics.identify('u1'); analytics.alias('u2', 'u1') }")
    alias = place.events(2)["alias"]
    assert (alias.previous_id, alias.trusted) == ("u1", False)  # it says `u1` as `userId` too, which joins nobody
