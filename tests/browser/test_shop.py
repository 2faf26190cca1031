"""The demo's shop as a newcomer clicks through it, in Chromium on a real `run`: what he does, and what the panel makes of it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.watching import FRESH, NARROW, SOON, WIDE, Watched, fits, sign_in
from tests.e2e.house import STARTER, House, until, zone_at


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("shop"), STARTER)
    house.start()
    yield house
    house.close()


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest, browser: Browser, house: House) -> Iterator[Page]:
    """A visitor's first look at the shop; whatever its pages do must be quiet and stay here."""
    context = browser.new_context(viewport=request.param, base_url=house.url, locale="en-GB")
    watched = Watched(context, house.url)
    page = context.new_page()
    page.goto("/shop/")
    yield page
    fits(page)
    context.close()
    assert watched.trouble == []


def panel(page: Page, part: str) -> Locator:
    return page.locator(f"#panel [data-part={part}]")


def go(page: Page, name: str) -> None:
    """By the shop's own links."""
    page.get_by_role("banner").get_by_role("link", name=name).click()
    expect(page.get_by_role("link", name=name).first).to_have_attribute("aria-current", "page")


def fill_cart(page: Page) -> None:
    go(page, "Teas")
    for tea in ("Sencha", "Darjeeling, first flush"):
        page.get_by_role("listitem").filter(has_text=tea).get_by_role("button", name="Into the cart").click()
    expect(page.locator("[data-count]")).to_have_text("2")


def say_who(page: Page, name: str, *, newsletter: bool) -> str:
    """Sign up with the form on this page; answers the address."""
    address = f"{name.lower()}-{page.viewport_size['width']}@example.com"
    page.get_by_label("First name").fill(name)
    page.get_by_label("E-mail").fill(address)
    page.get_by_role("checkbox").set_checked(newsletter)
    page.get_by_role("button", name="Sign up").click()
    expect(page.locator(".sign-up .said")).to_contain_text("You are signed up")
    return address


def anonymous_id(context: BrowserContext) -> str:
    return next(str(cookie["value"]) for cookie in context.cookies() if cookie["name"] == "shop_visitor")


def test_the_guide_is_downloaded_and_the_panel_tells_of_it_within_two_seconds(page: Page):
    go(page, "The guide")
    page.evaluate("window.stayed = true")
    with page.expect_download() as guide:
        page.get_by_role("link", name="Download the guide").click()
    assert "THE OFFICE TEA GUIDE" in guide.value.path().read_text()
    expect(panel(page, "readiness")).to_contain_text("7 of 10", timeout=SOON)
    expect(panel(page, "readiness")).to_contain_text("downloaded an e-book")
    expect(panel(page, "next")).to_contain_text("welcome", timeout=FRESH)
    expect(panel(page, "events")).to_contain_text("Ebook Downloaded")
    assert page.evaluate("window.stayed")
    fits(page)


def test_the_tasting_and_the_paid_link_make_a_visitor_hot(page: Page):
    go(page, "Tasting")
    page.get_by_role("button", name="Join the tasting").click()
    expect(page.get_by_text("You are in.")).to_be_visible()
    expect(panel(page, "readiness")).to_contain_text("8 of 10", timeout=SOON)
    go(page, "For offices")
    page.get_by_role("button", name="Begin with this one").first.click()
    expect(panel(page, "readiness")).to_contain_text("hot", timeout=SOON)
    expect(panel(page, "next")).to_contain_text("sales-handoff", timeout=SOON)


def test_an_address_that_is_none_is_not_taken(page: Page):
    page.get_by_label("E-mail").fill("ana@")
    page.get_by_role("button", name="Sign up").click()
    expect(page.locator(".sign-up .said")).to_have_text("That is not an address we could write to.")
    expect(page.get_by_label("E-mail")).to_be_focused()


def test_who_signs_in_again_takes_along_what_he_did_unknown(page: Page, house: House):
    address = say_who(page, "Ana", newsletter=False)
    expect(panel(page, "who")).to_contain_text(address, timeout=SOON)
    known = house.get("/api/leads", anonymous_id=anonymous_id(page.context))["items"][0]["id"]

    page.get_by_role("button", name="Sign out").click()
    expect(panel(page, "who")).not_to_contain_text("Ana", timeout=SOON)
    page.goto("/shop/guide")
    page.get_by_role("link", name="Download the guide").click()
    expect(panel(page, "readiness")).to_contain_text("7 of 10", timeout=SOON)
    expect(panel(page, "who")).to_contain_text("Visitor")

    page.get_by_role("button", name="Sign in again").click()
    expect(panel(page, "who")).to_contain_text(address, timeout=SOON)
    expect(panel(page, "readiness")).to_contain_text("7 of 10")
    assert house.get("/api/leads", anonymous_id=anonymous_id(page.context))["items"][0]["id"] == known


def test_who_wants_to_be_somebody_else_begins_at_1(page: Page):
    say_who(page, "Bea", newsletter=False)
    expect(panel(page, "who")).to_contain_text("Bea", timeout=SOON)
    fill_cart(page)
    page.get_by_role("button", name="Be somebody else").click()
    expect(page.locator("[data-count]")).to_have_text("0")
    expect(page.locator("#panel")).not_to_contain_text("Bea")
    expect(page.get_by_role("button", name="Sign in again")).to_be_hidden()


def test_who_wants_to_be_somebody_else_on_the_persian_page_stays_there(page: Page):
    page.goto("/shop/fa")
    before = page.locator("body").get_attribute("data-customer")
    page.get_by_role("button", name="Be somebody else").click()
    expect(page.locator("body")).not_to_have_attribute("data-customer", before or "", timeout=SOON)
    expect(page).to_have_url(re.compile("/shop/fa$"))


def test_the_panel_says_that_dripline_cannot_be_reached_until_it_answers_again(browser: Browser, house: House):
    context = browser.new_context(base_url=house.url)
    page = context.new_page()
    page.goto("/shop/")
    lost, nothing = page.get_by_text("Dripline cannot be reached"), page.get_by_text("Nothing yet. Look around")
    expect(nothing).to_be_visible()
    expect(lost).to_be_hidden()
    context.set_offline(True)
    expect(lost).to_be_visible(timeout=SOON)
    expect(nothing).to_be_hidden()
    context.set_offline(False)
    expect(lost).to_be_hidden(timeout=SOON)
    context.close()


def test_a_browser_that_asks_not_to_be_tracked_stays_unseen_and_the_shop_works(browser: Browser, house: House):
    context = browser.new_context(base_url=house.url)
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})")
    page = context.new_page()
    page.goto("/shop/")
    fill_cart(page)
    page.get_by_role("link", name="Cart").click()
    page.get_by_role("button", name="Buy", exact=True).click()
    expect(page.get_by_text("Thank you. It would be on its way by two.")).to_be_visible()
    expect(page.locator("#panel")).to_contain_text("Nothing yet")
    context.close()


def test_a_persian_reader_reads_from_right_to_left(page: Page, house: House):
    page.goto("/shop/fa")
    assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
    heading, button = page.get_by_role("heading", level=1).bounding_box(), page.get_by_role("link", name="دریافت راهنما").bounding_box()
    assert abs((heading["x"] + heading["width"]) - (button["x"] + button["width"])) < 2  # both begin at the right
    page.get_by_label("نام", exact=True).fill("سارا")
    page.get_by_label("ایمیل").fill(f"sara-{page.viewport_size['width']}@example.com")
    page.get_by_role("button", name="ثبت‌نام").click()
    expect(page.get_by_text("خوش آمدید")).to_be_visible()
    expect(panel(page, "who")).to_contain_text("سارا", timeout=SOON)
    lead = until(lambda: house.get("/api/leads", anonymous_id=anonymous_id(page.context))["items"])[0]
    assert lead["locale"] == "fa"
    assert re.fullmatch("shop-[0-9a-f]{32}", lead["user_id"])


def confirm_link(house: House, address: str) -> str:
    """The button of the confirmation mail that this address got."""
    sources = [path.read_bytes() for path in sorted((house.data / "mailbox").glob("*.eml"))]
    mails = [message_from_bytes(source, policy=policy.default) for source in sources if f"Delivered-To: {address}".encode() in source]
    pages = [mail.get_body(("html",)).get_content() for mail in mails]
    return next((found[1] for page in pages if (found := re.search(r'href="([^"]+/confirm/[^"]+)"', page))), "")


def test_from_the_guide_to_the_welcome_by_way_of_the_mailbox(page: Page, house: House):
    go(page, "The guide")
    page.get_by_role("link", name="Download the guide").click()
    expect(panel(page, "next")).to_contain_text("waits for lead.consent.marketing, then mails welcome-1", timeout=SOON)
    address = say_who(page, "Mia", newsletter=True)
    expect(page.locator(".sign-up .said")).to_contain_text("we have sent you a mail")
    expect(panel(page, "who")).to_contain_text("may not be mailed", timeout=SOON)

    mailbox = page.context.new_page()
    sign_in(mailbox, house, "/mailbox/")
    mailbox.get_by_role("link", name=address).click()
    frame = mailbox.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_have_text("Is this your address?")
    with page.context.expect_page() as opened:
        frame.get_by_role("link", name="This is my address").click()
    asked = opened.value
    button = asked.get_by_role("button")
    expect(button).to_be_visible()
    fits(asked)
    expect(panel(page, "who")).to_contain_text("may not be mailed")  # looking changes nothing
    button.click()
    expect(button).to_have_count(0)

    expect(panel(page, "who").get_by_text("may be mailed")).to_be_visible(timeout=SOON)
    expect(panel(page, "mails")).to_contain_text("welcome-1 sent", timeout=SOON)
    mailbox.goto("/mailbox/")
    expect(mailbox.get_by_role("link", name="Your tea guide, and a better cup today").first).to_be_visible(timeout=SOON)
    asked.close()
    mailbox.close()


def test_a_cart_that_is_left_reminds_of_itself_and_the_panel_shows_it(browser: Browser, house: House):
    context = browser.new_context(base_url=house.url, locale="en-GB", timezone_id=zone_at(12))
    page = context.new_page()
    page.goto("/shop/")
    fill_cart(page)
    expect(panel(page, "next")).to_contain_text("abandoned-cart waits, then mails cart-reminder", timeout=SOON)
    expect(panel(page, "next")).to_contain_text("in 4 hours")
    page.get_by_role("link", name="Cart").click()
    address = say_who(page, "Lea", newsletter=True)
    page.goto(until(lambda: confirm_link(house, address)))
    page.get_by_role("button").click()
    page.goto("/shop/teas")
    expect(panel(page, "who").get_by_text("may be mailed")).to_be_visible(timeout=SOON)
    expect(panel(page, "mails")).to_contain_text("welcome-1 sent", timeout=SOON)

    house.later(timedelta(hours=4, minutes=1))
    expect(panel(page, "mails")).to_contain_text("cart-reminder sent", timeout=2 * SOON)
    expect(panel(page, "next")).to_contain_text("abandoned-cart walked to its end")
    page.goto("/shop/cart")
    expect(page.get_by_role("cell", name="€12")).to_be_visible()
    page.get_by_role("button", name="Buy", exact=True).click()
    expect(page.get_by_text("Thank you. It would be on its way by two.")).to_be_visible()
    expect(panel(page, "next")).to_contain_text("abandoned-cart reached its goal", timeout=SOON)
    context.close()
