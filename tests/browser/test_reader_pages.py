"""What readers of mails get to see, in Chromium: the public pages and the mails, in each language, wide and narrow, light and dark.

Most are laid out from the pages' own code; the preferences are tried on a real `run`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from playwright.sync_api import Browser, Page, expect

from services.mailer.choices import Choices, Language, Topic
from services.mailer.compose import compose
from services.mailer.links import Links
from services.mailer.notices import Aside, Reader, notice, page
from services.mailer.preference_pages import answered
from shared.signing import Signer
from tests.browser.watching import NARROW, SOON, WIDE, Watched, fits
from tests.builders import NOON, a_lead, a_mailer_playbook, a_send, a_template
from tests.e2e.house import House, until

LOCALES = ("en", "ar", "fa")
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data
  }
  const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255)
  const ground = node => {
    for (; node; node = node.parentElement) { const c = rgba(getComputedStyle(node).backgroundColor); if (c[3]) return c }
    return [255, 255, 255]
  }
  const poor = []
  for (const node of document.body.querySelectorAll('*')) {
    const says = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())
    if (!says || !node.checkVisibility() || node.tagName === 'OPTION') continue
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x)
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(node.tagName + ' ' + node.textContent.trim().slice(0, 40))
  }
  return poor
}"""
"""What stands with a contrast below 4.5 (WCAG 2.2, 1.4.3)."""


def public_pages(locale: str) -> Iterator[tuple[str, str]]:
    """Every page that a reader can see, by its name."""
    reader = Reader(locale, "Acme Tea", "en", "ana.with-a-very-long-name.indeed@subdomain.example.com")
    words = reader.words
    topics = (Topic("a", "Offers", True), Topic("b", "نامهٔ هفتگی", False), Topic("c", "Tastings in Dublin, once a month", True))
    languages = (Language("en", "English"), Language("ar", "العربية"), Language("fa", "فارسی"))
    standing = Choices(reader.address, True, True, topics, languages, locale)
    others = {"paused": replace(standing, paused_until=NOON + timedelta(days=30)), "left": replace(standing, subscribed=False)}
    for name, shown in ({"choices": standing} | others).items():
        yield name, body(page(reader, "choices.html", words.choices_title, shown=shown, saved=name == "left"))
    choose = Aside("/p/x", words.choose)
    yield "ask", body(notice(reader, words.ask_title, words.ask, button=words.unsubscribe, aside=choose))
    yield "done", body(notice(reader, words.done_title, words.done, aside=choose))
    for answer in ("open", "confirmed", "confirmed_before", "too_old"):
        yield answer, body(answered(reader, answer))


def mails(locale: str) -> Iterator[tuple[str, str]]:
    """A mail in its reader's language, one that has no variant for it, and the one that asks."""
    hello = a_template("<h1>Hello</h1><p>{{ lead.traits.name | bdi }} (1)</p><p><a class='button' href='{{ brand.url }}'>Open</a></p>")
    playbook = a_mailer_playbook({"own.html": hello, "own.ar.html": hello, "own.fa.html": hello, "plain.html": hello})
    links = Links(Signer(b"k" * 32), "http://mail.test")
    asks = a_send("confirm", journey="", step="confirmation", to="ana@example.com", category="transactional")
    for send in (a_send("own"), a_send("plain"), asks):
        mail = compose(playbook, send, a_lead(locale=locale, traits={"name": "سارا Ana"}), links, "<m@acme.example>", NOON)
        part = message_from_bytes(mail.data, policy=default).get_body(("html",))
        assert part is not None
        yield send.template, str(part.get_content())


def body(answer: object) -> str:
    return bytes(answer.body).decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("width", "light"), [(1200, "light"), (1200, "dark"), (360, "dark"), (320, "light")], ids=["wide", "night", "narrow", "narrowest"]
)
@pytest.mark.parametrize("locale", LOCALES)
def test_every_page_and_mail_fits_and_can_be_read(browser: Browser, locale: str, width: int, light: str):
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=light)
    tab = context.new_page()
    for name, html in (*public_pages(locale), *mails(locale)):
        tab.set_content(html)
        fits(tab)
        assert tab.evaluate(CONTRAST) == [], name
        assert tab.evaluate("getComputedStyle(document.querySelector('h1')).direction") == (
            "rtl" if locale != "en" and name != "plain" else "ltr"
        ), name
    context.close()


@pytest.mark.parametrize("locale", LOCALES)
def test_every_control_has_a_name_and_shows_that_it_has_the_focus(browser: Browser, locale: str):
    tab = browser.new_page(viewport=NARROW)
    for name, html in public_pages(locale):
        tab.set_content(html)
        controls = tab.locator("button, a, select, input:not([type=hidden])")
        for control in controls.all():
            tab.keyboard.press("Tab")
            expect(control).to_be_focused()
            expect(control).to_have_accessible_name(re.compile(r"\S"))
            assert control.evaluate("node => getComputedStyle(node).outlineStyle") != "none", name
            assert control.evaluate("node => (node.closest('label') || node).getBoundingClientRect().height") >= 24, name  # WCAG 2.2, 2.5.8
    tab.close()


@pytest.mark.parametrize("locale", ["ar", "fa"])
def test_a_foreign_name_does_not_turn_the_line_it_stands_in(browser: Browser, locale: str):
    """`سارا Ana (1)` in a line from right to left: the number stays behind the name, that is to its left."""
    tab = browser.new_page(viewport=WIDE)
    tab.set_content(dict(mails(locale))["own"])
    name = tab.locator("p bdi").first.bounding_box()
    line = tab.locator("p", has=tab.locator("bdi")).first
    number = line.evaluate(
        "node => { const r = document.createRange(); r.selectNodeContents(node.lastChild); return r.getBoundingClientRect().right }"
    )
    assert name is not None
    assert number <= name["x"] + 1
    tab.close()


PLAYBOOK = {
    "playbook.yaml": """\
name: Acme Tea
mail: {from: "Acme Tea <hello@acme.example>", timezone: UTC}
topics: {letters: Tea letters, cart: Reminders of a cart}
consent: {events: [Newsletter Subscribed]}
""",
    "journeys/hello.yaml": "journey: hello\ntopic: letters\ntrigger: {event: Ebook Downloaded}\nsteps: [{send: hello}]\n",
    "templates/hello.html": a_template().decode(),
    "templates/hello.fa.html": a_template("<p>سلام</p>", "سلام").decode(),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[House]:
    playbook = tmp_path_factory.mktemp("playbook")
    for name, text in PLAYBOOK.items():
        (playbook / name).parent.mkdir(exist_ok=True)
        (playbook / name).write_text(text)
    house = House(tmp_path_factory.mktemp("readers"), playbook)
    house.start()
    yield house
    house.close()


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def tab(request: pytest.FixtureRequest, browser: Browser, house: House) -> Iterator[Page]:
    """A reader's browser, without JavaScript: the pages need none."""
    context = browser.new_context(viewport=request.param, base_url=house.url, java_script_enabled=False)
    watched = Watched(context, house.url)
    yield context.new_page()
    context.close()
    assert watched.trouble == []


def preferences_of(house: House, user: str) -> str:
    """Where the foot of a reader's first mail leads."""
    house.reader(user)
    house.event(user, "Ebook Downloaded")
    (mail,) = until(lambda: house.mails(user))
    return link_in(mail, "p")


def link_in(mail: bytes, path: str) -> str:
    part = message_from_bytes(mail, policy=default).get_body(("html",))
    found = re.search(rf"http[^\s\"]+/{path}/[\w-]+", str(part.get_content()) if part else "")
    assert found
    return found[0]


def test_a_reader_chooses_what_he_gets_without_javascript(tab: Page, house: House):
    user = f"reader-{'wide' if tab.viewport_size == WIDE else 'narrow'}"
    url = preferences_of(house, user)
    for _ in range(2):
        tab.goto(url)
    assert house.lead(user)["consent"]["topics"] == {}

    tab.get_by_label("Reminders of a cart").uncheck()
    tab.get_by_role("button", name="Save").click()
    expect(tab.get_by_role("status")).to_have_text("Saved.")
    expect(tab.get_by_label("Reminders of a cart")).not_to_be_checked()
    expect(tab.get_by_label("Tea letters")).to_be_checked()
    until(lambda: house.lead(user)["consent"]["topics"] == {"cart": False})

    tab.get_by_role("button", name="Pause for a month").click()
    expect(tab.get_by_text("You get no news and offers until")).to_be_visible()
    tab.get_by_role("button", name="Go on now").click()
    expect(tab.get_by_role("button", name="Pause for a month")).to_be_visible()

    tab.get_by_label("Language").select_option("fa")
    tab.get_by_role("button", name="Save").click()
    expect(tab.locator("html[lang=fa][dir=rtl]")).to_be_attached()
    until(lambda: house.lead(user)["locale"] == "fa")
    tab.get_by_label("زبان").select_option("en")
    tab.get_by_role("button", name="ذخیره").click()
    until(lambda: house.lead(user)["locale"] == "en")

    tab.get_by_role("button", name="Unsubscribe from everything").click()
    expect(tab.get_by_text("You get no news and offers from Acme Tea")).to_be_visible()
    until(lambda: not house.lead(user)["consent"]["marketing"])
    tab.goto(url)
    back = tab.get_by_role("button", name="Send me news and offers again")
    expect(back).to_be_visible(timeout=SOON)


def test_who_signs_up_in_a_browser_is_asked_and_his_button_makes_him_mailable(tab: Page, house: House):
    user = f"newcomer-{'wide' if tab.viewport_size == WIDE else 'narrow'}"
    body = {"anonymousId": user, "event": "Newsletter Subscribed", "properties": {"email": f"{user}@example.com"}}
    write_key = (house.data / "write_key").read_text().strip()
    assert house.http.post(f"{house.url}/v1/track", json=body, auth=(write_key, "")).status_code == 200
    (mail,) = until(lambda: house.mails(user))
    (lead,) = house.get("/api/leads", anonymous_id=user)["items"]
    for _ in range(2):
        tab.goto(link_in(mail, "confirm"))
    expect(tab.get_by_role("heading", name="Is this your address?")).to_be_visible()
    assert not house.get(f"/api/leads/{lead['id']}")["consent"]["marketing"]
    tab.get_by_role("button", name="Yes, write to me").click()
    expect(tab.get_by_role("heading", name="Thank you, it is confirmed")).to_be_visible()
    consent = until(lambda: (found := house.get(f"/api/leads/{lead['id']}")["consent"])["marketing"] and found)
    assert (consent["address"], consent["source"]) == (f"{user}@example.com", "double_opt_in")

    tab.goto(link_in(mail, "confirm"))
    expect(tab.get_by_role("heading", name="It is confirmed already")).to_be_visible()
    expect(tab.get_by_role("button")).to_have_count(0)


def test_who_left_comes_back_by_his_preferences(tab: Page, house: House):
    user = f"returner-{'wide' if tab.viewport_size == WIDE else 'narrow'}"
    tab.goto(preferences_of(house, user))
    tab.get_by_role("button", name="Unsubscribe from everything").click()
    until(lambda: not house.lead(user)["consent"]["marketing"])
    tab.get_by_role("button", name="Send me news and offers again").click()
    expect(tab.get_by_role("button", name="Pause for a month")).to_be_visible()
    until(lambda: house.lead(user)["consent"]["marketing"])
