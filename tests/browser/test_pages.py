"""The pages as a person sees them, in Chromium on a real `run`: they work, stay fresh, say nothing in the console, and call nobody else."""

import re
from collections.abc import Iterator
from email import message_from_bytes

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.watching import FRESH, NARROW, SOON, WIDE, Watched, fits, sign_in
from tests.e2e.house import STARTER, House, until


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("pages"), STARTER)
    house.start()
    yield house
    house.close()


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def page(request: pytest.FixtureRequest, browser: Browser, house: House) -> Iterator[Page]:
    """A page of somebody who has just signed in; whatever it does must be quiet and stay here."""
    context = browser.new_context(viewport=request.param, base_url=house.url, locale="en-GB")
    watched = Watched(context, house.url)
    page = context.new_page()
    sign_in(page, house, "/")
    yield page
    fits(page)
    context.close()
    assert watched.trouble == []


def a_user(page: Page) -> str:
    """A name of this width's own."""
    return "ana" if page.viewport_size == WIDE else "bea"


def test_leads_show_as_they_come_and_each_has_its_page(page: Page, house: House):
    user = f"{a_user(page)}-new"
    expect(page.get_by_role("link", name=user)).to_have_count(0)
    house.reader(user)
    row = page.get_by_role("link", name=f"{user}@example.com")
    expect(row).to_be_visible(timeout=SOON)
    fits(page)
    row.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(user)
    expect(page.get_by_text("Everyone begins at 1")).to_be_visible()


def test_a_lead_page_changes_within_two_seconds_without_a_reload(page: Page, house: House):
    user = f"{a_user(page)}-live"
    house.reader(user, name="<b>Ana</b> & سارا")
    lead = until(lambda: house.lead(user))
    page.goto(f"/leads/{lead['id']}")
    page.evaluate("window.stayed = true")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<b>Ana</b> & سارا")

    house.event(user, "Ebook Downloaded", title="The guide")
    expect(page.locator(".dial strong")).to_have_text("7", timeout=FRESH)
    expect(page.get_by_text("downloaded an e-book").first).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text("Ebook Downloaded", timeout=FRESH)
    expect(page.locator(".journeys")).to_contain_text("welcome", timeout=FRESH)
    fits(page)
    until(lambda: house.mails(user))

    house.event(user, "Link Clicked", paid=True)
    expect(page.locator(".dial strong")).to_have_text("9", timeout=FRESH)
    expect(page.locator(".person")).to_contain_text("hot", timeout=FRESH)
    assert page.evaluate("window.stayed")


def test_the_mailbox_shows_the_mail_as_its_reader_sees_it(page: Page, house: House):
    user = f"{a_user(page)}-mail"
    page.goto("/mailbox/")
    house.reader(user, name=f"Reader {user}")
    house.event(user, "Ebook Downloaded", title="The guide")
    row = page.get_by_role("link", name=f"Reader {user}").first
    expect(row).to_be_visible(timeout=SOON)
    fits(page)
    row.click()
    mail = page.frame_locator("iframe")
    expect(mail.get_by_role("heading", level=1)).to_have_text(re.compile(f"Hello Reader {user}"))
    expect(mail.get_by_role("link", name="Open the guide")).to_be_visible()
    expect(page.get_by_text("sent", exact=True).first).to_be_visible(timeout=SOON)
    until(lambda: [row for row in house.deliveries(user) if row["status"] == "sent"])
    assert [row["opened_at"] for row in house.deliveries(user)] == [None]  # looking at it here is no opening
    fits(page)

    page.get_by_role("link", name="Source").click()
    expect(page.locator("pre")).to_contain_text("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    page.get_by_role("link", name="Text", exact=True).click()
    expect(page.locator("pre")).to_contain_text(f"Hello Reader {user}")


def test_the_sales_inbox_shows_a_hot_lead_and_why(page: Page, house: House):
    user = f"{a_user(page)}-hot"
    page.goto("/demo/sales")
    house.reader(user, name=f"Hot {user}")
    house.event(user, "Link Clicked", paid=True)
    row = page.get_by_role("listitem").filter(has_text=f"Hot {user}")
    expect(row).to_be_visible(timeout=SOON)
    expect(row).to_contain_text("clicked the paid link")
    fits(page)
    row.get_by_text("As it was sent").click()
    expect(row.locator("pre")).to_contain_text('"type": "lead.hot"')
    page.wait_for_timeout(1_200)  # one more look of the page's own
    expect(row.locator("pre")).to_be_visible()
    row.get_by_role("button", name="Snooze for a day").click()
    expect(row.get_by_text("snoozed")).to_be_visible()
    row.get_by_role("button", name="Accept").click()
    expect(row.get_by_text("accepted")).to_be_visible()
    expect(row.get_by_role("button")).to_have_count(0)
    row.get_by_role("link", name=f"Hot {user}").click()
    expect(page.locator(".dial strong")).to_have_text("9")


def test_the_way_out_of_a_mail_is_a_page_with_a_button_and_looking_changes_nothing(page: Page, house: House):
    user = f"{a_user(page)}-out"
    house.reader(user)
    house.event(user, "Ebook Downloaded")
    (mail,) = until(lambda: house.mails(user))
    url = str(message_from_bytes(mail)["List-Unsubscribe"]).strip("<>")
    for _ in range(2):
        page.goto(url)
    button = page.get_by_role("button", name="Unsubscribe")
    expect(button).to_be_visible()
    assert house.lead(user)["consent"]["marketing"]
    fits(page)
    button.click()
    expect(button).to_have_count(0)
    until(lambda: not house.lead(user)["consent"]["marketing"])


def test_who_signs_out_is_out(page: Page, house: House):
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{house.url}/sign-in")
    page.goto("/mailbox/")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_a_guess_is_told_to_be_wrong(browser: Browser, house: House):
    page = browser.new_page(base_url=house.url)
    page.goto("/")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    page.close()


def test_an_open_page_outlives_a_restart(browser: Browser, house: House):
    house.reader("zoe")
    lead = until(lambda: house.lead("zoe"))
    page = browser.new_page(base_url=house.url)
    sign_in(page, house, f"/leads/{lead['id']}")
    expect(page.locator(".dial strong")).to_have_text("1")
    assert house.stop() == 0
    expect(page.locator("[data-lost]")).to_be_attached(timeout=5_000)
    house.start()
    house.event("zoe", "Ebook Downloaded")
    expect(page.locator(".dial strong")).to_have_text("7", timeout=5_000)
    expect(page.locator("[data-lost]")).to_have_count(0)
    page.close()
