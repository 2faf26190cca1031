"""The demo's shop: pages for anybody, and a panel that shows a browser nobody but its own visitor."""

import re

import httpx
import pytest

from dripline.demo.shop import CUSTOMER, PAGES, TEAS, VISITOR, Shop, pace
from dripline.demo.shop_panel import told
from shared.clock import FakeClock
from tests.builders import NOON
from tests.unit.console.services import SIGNER, FakeUpstreams, a_lead_known_everywhere, console

GRAPH = {
    "journey": "welcome",
    "description": "Greet.",
    "steps": [
        {"step": "hello", "kind": "send", "template": "welcome-1", "next": "pause"},
        {"step": "pause", "kind": "wait", "wait": "2d", "next": "more"},
        {"step": "more", "kind": "send", "template": "welcome-2", "next": "rest"},
        {"step": "rest", "kind": "wait", "wait": "2d", "next": None},
        {"step": "to_sales", "kind": "handoff", "endpoint": "sales", "next": None},
        {
            "step": "asked",
            "kind": "wait_for",
            "cases": [
                {"events": None, "when": "lead.consent.marketing", "next": "hello"},
                {"events": ["Email Link Clicked"], "when": None, "next": None},
            ],
        },
    ],
}


def browser(upstreams: FakeUpstreams, speed: float = 1.0) -> httpx.AsyncClient:
    shop = Shop("pk_shop", SIGNER, FakeClock(NOON), speed)
    upstreams.answers["journeys", "/api/journeys/welcome"] = GRAPH
    return console(upstreams, (shop.room(),))


async def come_in(visitor: httpx.AsyncClient, anonymous_id: str = "a1") -> str:
    """Open the shop as a browser whose dripline.js has drawn an id; answers the customer's id."""
    page = await visitor.get("/shop/")
    visitor.cookies.set(VISITOR, anonymous_id, path="/shop/")
    return re.search(r'data-customer="([^"]+)"', page.text)[1]


@pytest.mark.parametrize("name", PAGES)
async def test_every_page_is_there_for_anybody_and_speaks_to_dripline(name: str):
    answer = await browser(FakeUpstreams()).get(f"/shop/{name}")
    assert answer.status_code == 200
    assert '<script src="/dripline.js" data-write-key="pk_shop" defer>' in answer.text
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_every_file_a_page_names_is_there():
    visitor = browser(FakeUpstreams())
    named = {path for name in PAGES for path in re.findall(r'"(/shop/static/[^"]+)"', (await visitor.get(f"/shop/{name}")).text)}
    assert len(named) == 4
    assert {path: (await visitor.get(path)).status_code for path in named} == dict.fromkeys(named, 200)
    assert (await visitor.get("/shop/static/../shop.py")).status_code == 404
    assert (await visitor.get("/shop/nothing")).status_code == 404


async def test_a_link_of_a_mail_to_the_brand_leads_in():
    answer = await browser(FakeUpstreams()).get("/shop")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/shop/")


async def test_a_persian_page_is_set_from_right_to_left_and_the_panel_from_left():
    page = (await browser(FakeUpstreams()).get("/shop/fa")).text
    assert '<html lang="fa" dir="rtl">' in page
    assert 'id="panel" lang="en" dir="ltr"' in page


async def test_teas_show_their_price_and_what_goes_into_the_cart():
    page = (await browser(FakeUpstreams()).get("/shop/teas")).text
    assert page.count("Into the cart") == len(TEAS)
    assert """{"id": "sencha", "name": "Sencha", "price": 12}""" in page


async def test_the_panel_says_nothing_of_a_browser_that_was_never_seen():
    upstreams = FakeUpstreams({("scoring", "/api/leads"): {"items": [], "next": None}})
    visitor = browser(upstreams)
    assert "Nothing yet" in (await visitor.get("/shop/panel")).text
    assert upstreams.asked == []
    await come_in(visitor)
    assert "Nothing yet" in (await visitor.get("/shop/panel")).text


async def test_the_panel_shows_an_anonymous_visitor_what_is_known_and_what_comes_next():
    visitor = browser(a_lead_known_everywhere(user_id=None, email=None, traits={}))
    await come_in(visitor)
    panel = (await visitor.get("/shop/panel")).text
    for said in (
        "downloaded an e-book",
        "Visitor l1",
        "waits, then mails welcome-2",
        "in 2 days",
        "Greet.",
        "welcome-1",
        "sent",
        "Ebook Downloaded",
    ):
        assert said in panel
    assert "Readiness Changed" not in panel


async def test_the_panel_asks_for_the_browsers_own_anonymous_id():
    upstreams = a_lead_known_everywhere(user_id=None)
    visitor = browser(upstreams)
    await come_in(visitor, "a1")
    await visitor.get("/shop/panel")
    assert [dict(asked.params) for asked in upstreams.asked if asked.path == "/api/leads"] == [{"anonymous_id": "a1"}]


async def test_the_panel_shows_a_customer_whom_the_shop_has_named():
    upstreams = a_lead_known_everywhere()
    visitor = browser(upstreams)
    customer = await come_in(visitor)
    lead = upstreams.answers["scoring", "/api/leads/l1"]
    lead["user_id"] = customer
    assert "ana@example.com" in (await visitor.get("/shop/panel")).text


async def test_claiming_somebody_elses_user_id_uncovers_nothing():
    visitor = browser(a_lead_known_everywhere(user_id="ana"))
    await come_in(visitor)
    for path in ("/shop/panel", "/shop/teas"):
        page = (await visitor.get(path)).text
        assert "whom the shop does not know" in page
        assert "ana@example.com" not in page
        assert "e-book</bdi>" not in page


async def test_a_cookie_that_names_a_customer_without_our_signature_is_not_believed():
    upstreams = a_lead_known_everywhere(user_id="ana")
    visitor = browser(upstreams)
    await come_in(visitor)
    visitor.cookies.set(CUSTOMER, "ana", path="/shop/")
    assert "ana@example.com" not in (await visitor.get("/shop/panel")).text
    assert await come_in(visitor) != "ana"


async def test_a_browser_keeps_its_customer_until_it_wants_to_be_somebody_else():
    visitor = browser(FakeUpstreams({("scoring", "/api/leads"): {"items": [], "next": None}}))
    customer = await come_in(visitor)
    assert await come_in(visitor) == customer
    assert (await visitor.post("/shop/leave")).status_code == 204
    assert await come_in(visitor) != customer


async def test_the_shop_stays_open_while_a_service_is_away():
    upstreams = a_lead_known_everywhere()
    visitor = browser(upstreams)
    await come_in(visitor)
    upstreams.away.add("scoring")
    answer = await visitor.get("/shop/teas")
    assert answer.status_code == 200
    assert "scoring does not answer" in answer.text


async def test_the_panel_tells_the_houses_clock_where_time_runs_fast():
    assert "1 Mar, 12:00 UTC, a day passes in 1 min" in (await browser(FakeUpstreams(), 1440).get("/shop/panel")).text
    assert "UTC" not in (await browser(FakeUpstreams()).get("/shop/panel")).text


@pytest.mark.parametrize(
    ("speed", "said"),
    [(1.0, ""), (1440.0, "a day passes in 1 min"), (100_000.0, "a day passes in 0.86 s"), (24.0, "a day passes in 60 min")],
)
def test_a_pace_in_words(speed: float, said: str):
    assert pace(speed) == said


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("hello", "is about to mail welcome-1"),
        ("pause", "waits, then mails welcome-2"),
        ("rest", "waits, then is at its end"),
        ("to_sales", "waits for an answer of sales"),
        (
            "asked",
            "waits for lead.consent.marketing, then mails welcome-1 or waits for Email Link Clicked, then is at its end",
        ),
        ("gone", "is at a step of an earlier version"),
    ],
)
def test_a_walk_under_way_says_what_comes(step: str, said: str):
    walk = told({"journey": "welcome", "status": "active", "step": step, "wake_at": "2027-03-03T12:00:00Z"}, GRAPH)
    assert (walk.story, walk.description, walk.active) == (said, "Greet.", True)
    assert walk.is_limit == (step == "asked")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"reason": "no_address"}, "ended: no address"),
        ({"reason": None}, "walked to its end"),
        ({"reason": "goal", "converted_at": "2027-03-01T12:00:00Z"}, "reached its goal"),
    ],
)
def test_a_walk_that_is_over_says_how_it_ended(ended: dict[str, str | None], said: str):
    walk = told({"journey": "welcome", "status": "exited", "step": None, "wake_at": None} | ended, {})
    assert (walk.story, walk.active, walk.wake_at) == (said, False, None)
