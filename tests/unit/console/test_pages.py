"""The console's pages before a browser, with canned services behind them."""

import httpx
import pytest

from services.console.session import GUESSES
from tests.unit.console.services import ADMIN, PASSWORD, FakeUpstreams, a_lead_answer, a_lead_known_everywhere, console, signed_in

HOSTILE = "<script>alert(1)</script>"


async def test_the_door_says_where_the_password_lies():
    assert "console_password" in (await console(FakeUpstreams()).get("/sign-in")).text


async def test_nobody_sees_a_page_before_signing_in():
    upstreams = a_lead_known_everywhere()
    browser = console(upstreams)
    answer = await browser.get("/leads/l1?cursor=a")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fleads%2Fl1%3Fcursor%3Da"
    assert not upstreams.asked


async def test_a_script_that_is_signed_out_is_told_so():
    browser = console(a_lead_known_everywhere())
    answer = await browser.get("/leads/l1/fragment", headers={"accept": "*/*"})
    assert (answer.status_code, answer.json()["code"]) == (401, "signed_out")


async def test_the_password_opens_a_session_and_leads_back():
    browser = console(a_lead_known_everywhere())
    answer = await browser.post("/sign-in", data={"password": PASSWORD, "next": "/leads/l1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/leads/l1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    assert (await browser.get("/leads/l1")).status_code == 200


async def test_by_https_the_cookie_stays_on_https():
    browser = console(a_lead_known_everywhere(), public_url="https://console.test")
    answer = await browser.post("/sign-in", data={"password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-dripline=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"])
async def test_signing_in_never_leads_to_another_site(target):
    answer = await console(FakeUpstreams()).post("/sign-in", data={"password": PASSWORD, "next": target})
    assert answer.headers["location"] == "/"


async def test_a_wrong_password_is_refused_and_ten_of_them_are_enough():
    browser = console(FakeUpstreams())
    for _ in range(GUESSES):
        assert (await browser.post("/sign-in", data={"password": "guess"})).status_code == 403
    held = await browser.post("/sign-in", data={"password": PASSWORD})
    assert held.status_code == 429
    assert 0 < int(held.headers["retry-after"]) <= 60
    assert "set-cookie" not in held.headers


async def test_a_form_that_another_site_sent_is_refused():
    answer = await console(FakeUpstreams()).post("/sign-in", data={"password": PASSWORD}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_signing_out_takes_the_cookie_back():
    browser = console(a_lead_known_everywhere())
    await browser.post("/sign-in", data={"password": PASSWORD})
    assert (await browser.get("/")).status_code == 200
    await browser.post("/sign-out")
    assert (await browser.get("/")).status_code == 303


async def test_the_list_asks_for_what_was_searched_and_shows_the_last_seen_first():
    upstreams = FakeUpstreams(
        {
            ("scoring", "/api/leads"): {
                "items": [
                    a_lead_answer(id="early", traits={"name": "Early"}, last_seen_at="2027-03-01T10:00:00Z"),
                    a_lead_answer(id="late", traits={"name": "Late"}, last_seen_at="2027-03-01T11:00:00Z", hot=True),
                ],
                "next": "there",
            }
        }
    )
    page = (await signed_in(upstreams).get("/?q=ana%20x&hot=true")).text
    assert upstreams.asked[-1].params == {"q": "ana x", "hot": "true", "limit": "50"}
    assert upstreams.asked[-1].headers == {"authorization": f"Bearer {ADMIN}"}
    assert page.index("Late") < page.index("Early")
    assert "?q=ana+x&amp;hot=true&amp;cursor=there" in page
    assert 'data-live="/leads/fragment?q=ana+x&amp;hot=true"' in page


async def test_without_a_lead_the_list_says_how_to_make_one():
    page = (await signed_in(FakeUpstreams({("scoring", "/api/leads"): {"items": [], "next": None}})).get("/")).text
    assert "curl" in page
    assert "http://console.test/v1/track" in page


async def test_the_lead_page_says_who_how_ready_why_where_and_what_happened():
    page = (await signed_in(a_lead_known_everywhere()).get("/leads/l1")).text
    for said in ("Ana", "ana@example.com", "<strong>7</strong>", "downloaded an e-book", "+7", "welcome", "at pause", "in 2 days"):
        assert said in page
    for said in ("Readiness 1 → 7", "Ebook Downloaded", "title: Tea", "welcome-1", "sent"):
        assert said in page


async def test_what_a_lead_says_of_itself_is_text_and_nothing_else():
    upstreams = a_lead_known_everywhere(
        email=f"{HOSTILE}@example.com",
        traits={"name": HOSTILE, HOSTILE: f'"{HOSTILE}'},
        tags=[HOSTILE],
        consent={"marketing": True, "source": HOSTILE},
        reasons=[{"rule": HOSTILE, "kind": "fit", "points": 1.0, "count": 0, "at": None, "text": HOSTILE}],
    )
    upstreams.answers["scoring", "/api/leads/l1/events"]["items"][1] |= {"name": HOSTILE, "properties": {HOSTILE: HOSTILE}}
    browser = signed_in(upstreams)
    for path in ("/", "/leads/l1", "/leads/l1/fragment", f"/?q={HOSTILE}"):
        page = (await browser.get(path)).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


async def test_no_page_runs_a_script_that_is_not_ours_or_stands_in_a_frame():
    answer = await signed_in(a_lead_known_everywhere()).get("/leads/l1")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert " style=" not in answer.text
    assert "onclick" not in answer.text


async def test_a_page_at_rest_is_not_sent_again():
    upstreams = a_lead_known_everywhere()
    browser = signed_in(upstreams)
    first = await browser.get("/leads/l1/fragment")
    rest = await browser.get("/leads/l1/fragment", headers={"if-none-match": first.headers["etag"]})
    assert (rest.status_code, rest.content) == (304, b"")
    upstreams.answers["scoring", "/api/leads/l1"]["readiness"] = 8
    changed = await browser.get("/leads/l1/fragment", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert "<strong>8</strong>" in changed.text


async def test_a_lead_that_is_not_there_is_a_page_that_says_so():
    answer = await signed_in(a_lead_known_everywhere()).get("/leads/nobody")
    assert answer.status_code == 404
    assert "Not found" in answer.text


async def test_a_service_that_is_away_is_a_page_that_says_so():
    upstreams = a_lead_known_everywhere()
    browser = signed_in(upstreams)
    upstreams.away = {"journeys"}
    answer = await browser.get("/leads/l1")
    assert answer.status_code == 503
    assert "journeys does not answer" in answer.text


async def test_static_files_are_kept_for_good_and_nothing_else_is_one():
    browser = console(FakeUpstreams())
    answer = await browser.get("/static/console.css?abc")
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    for name in ("nothing.css", "..%2fmain.py", "%2e%2e/main.py"):
        assert (await browser.get(f"/static/{name}")).status_code == 404


async def test_a_session_is_no_key_for_the_api():
    upstreams = a_lead_known_everywhere()
    browser: httpx.AsyncClient = signed_in(upstreams)
    upstreams.asked.clear()
    await browser.get("/api/leads")
    assert "authorization" not in upstreams.asked[0].headers
    assert "cookie" not in upstreams.asked[0].headers


async def test_the_lead_page_says_what_comes_next():
    upstreams = a_lead_known_everywhere()
    steps = [{"step": "pause", "kind": "wait", "next": "again"}, {"step": "again", "kind": "send", "template": "welcome-2"}]
    upstreams.answers["journeys", "/api/journeys/welcome"] = {"journey": "welcome", "steps": steps}
    async with signed_in(upstreams) as browser:
        page = (await browser.get("/leads/l1")).text
    assert "waits, then mails welcome-2" in page


async def test_the_list_is_narrowed_by_readiness_and_by_who_sleeps():
    upstreams = a_lead_known_everywhere()
    async with signed_in(upstreams) as browser:
        page = (await browser.get("/", params={"min_readiness": "7", "sleeping": "true"})).text
    asked = next(one for one in upstreams.asked if one.path == "/api/leads")
    assert (asked.params["min_readiness"], asked.params["sleeping"]) == ("7", "true")
    assert '<option value="7" selected>' in page


async def test_the_figures_are_put_together_from_three_services():
    by_readiness = {str(value): 0 for value in range(1, 11)} | {"7": 1234}
    people = dict.fromkeys(
        ("total", "known", "mailable", "hot", "sleeping", "new", "merged", "orders", "customers", "repeat_customers"), 1234
    )
    mail = dict.fromkeys(("sent", "opened", "clicked", "unsubscribed", "bounced", "complaints"), 2)
    rates = dict.fromkeys(("opened_rate", "clicked_rate", "unsubscribed_rate", "bounced_rate", "complaints_rate"))
    handoffs = dict.fromkeys(("given", "open", "accepted", "rejected", "expired"), 1) | {"median_answer_seconds": 7200.0}
    walks = {"journey": "welcome", "entered": 4, "converted": 1, "conversion": 0.25, "holdout": 0, "holdout_conversion": None}
    upstreams = a_lead_known_everywhere()
    upstreams.answers["scoring", "/api/kpi"] = {"days": 7, "leads": people | {"by_readiness": by_readiness}}
    upstreams.answers["journeys", "/api/kpi"] = {"days": 7, "journeys": [walks]}
    upstreams.answers["mailer", "/api/kpi"] = {"days": 7, "mail": mail | rates, "handoffs": handoffs}
    async with signed_in(upstreams) as browser:
        page = (await browser.get("/kpi", params={"days": "7"})).text
        whole = (await browser.get("/api/kpi", params={"days": "7"})).json()
    for said in ("1\u202f234", "25.0%", "2 hours", "welcome"):
        assert said in page
    assert set(whole) == {"days", "leads", "journeys", "mail", "handoffs"}
