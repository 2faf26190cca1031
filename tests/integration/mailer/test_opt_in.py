"""Double opt-in: who is asked, how often, what his answer does; and that nobody else can make us write to him."""

from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser
from sqlalchemy import select

from services.mailer.audit import _sums_up
from services.mailer.erasing import obey
from services.mailer.outcomes import Refused
from services.mailer.tables import ADDRESSES
from shared import wire
from shared.erasing import Marks
from tests.builders import NOON, a_lead, a_template, an_activity, an_event
from tests.mailer_house import YAML, House

CONSENT_YAML = YAML + "consent: {events: [Newsletter Subscribed], confirmations: {per_address: 7d, per_hour: 3}}\n"
STRANGER = a_lead(id="l2", email="bo@example.com", address_trusted=False, user_id=None)


@pytest.fixture
async def asking(house: House) -> House:
    house.version = await house.publish(yaml=CONSENT_YAML)
    return house


@pytest.fixture
async def browser(asking: House) -> AsyncIterator[httpx.AsyncClient]:
    async with asking.api() as client:
        yield client


def subscribed(number: int = 1, lead: wire.Lead = STRANGER, **event: Any) -> wire.Activity:
    fields = {"name": "Newsletter Subscribed", "id": f"s{number}", "anonymous_id": "a1", "user_id": None} | event
    said = an_event(**fields)
    return an_activity(lead=lead, event=said, sequence=number)


def asked(house: House) -> list[str]:
    return [recipient for recipient, _ in house.relay.taken]


def a_mail(house: House, number: int = -1) -> Message:
    return message_from_bytes(house.relay.taken[number][1], policy=default)


def a_page(mail: Message) -> str:
    body = mail.get_body(("html",))  # type: ignore[attr-defined]
    return str(body.get_content())


def the_link(house: House) -> str:
    """Where the button of the newest confirmation mail leads."""
    button = LexborHTMLParser(a_page(a_mail(house))).css_first("a.button")
    assert button is not None
    return button.attributes["href"] or ""


async def test_a_browsers_subscription_sends_one_mail_that_asks(asking: House) -> None:
    await asking.activities(subscribed())
    await asking.tick()
    assert asked(asking) == ["bo@example.com"]
    assert the_link(asking).startswith("https://mail.example/confirm/")
    [delivery] = [name for name in await asking.statuses()]
    row = await asking.row(delivery)
    assert (row.journey, row.step, row.template, row.status, row.lead_id) == ("", "confirmation", "confirm", "sent", "l2")
    assert "List-Unsubscribe" not in a_mail(asking)


async def test_the_same_event_asks_once_however_often_it_is_read(asking: House) -> None:
    for _ in range(2):
        await asking.activities(subscribed(), subscribed())
        await asking.tick()
    assert asked(asking) == ["bo@example.com"]
    assert list((await asking.statuses()).values()) == ["sent"]


@pytest.mark.parametrize(
    "event",
    [
        {"properties": {"email": "new@example.com"}},
        {"traits": {"email": "new@example.com"}},
        {"context": {"traits": {"email": "new@example.com"}}},
        {"properties": {"email": "new@example.com"}, "traits": {"email": "older@example.com"}},
    ],
)
async def test_the_address_is_the_one_that_the_event_names(asking: House, event: dict[str, Any]) -> None:
    await asking.activities(subscribed(**event))
    await asking.tick()
    assert asked(asking) == ["new@example.com"]


UNASKED = [
    subscribed(trusted=True),
    subscribed(name="Ebook Downloaded"),
    subscribed(properties={"email": "no address"}),
    subscribed(lead=a_lead(id="l2", email=None)),
    subscribed(properties={"email": "other@example.com"}, lead=a_lead(id="l2", email="bo@example.com")),
    subscribed(lead=a_lead(id="l2", email="bo@example.com", consent=wire.Consent(marketing=True, address="BO@example.com", at=NOON))),
    wire.replace(subscribed(), late=True),
]


@pytest.mark.parametrize("activity", UNASKED, ids=["trusted", "another", "no_address", "none", "confirmed_other", "consents", "late"])
async def test_who_need_not_be_asked_is_not(asking: House, activity: wire.Activity) -> None:
    await asking.activities(activity)
    await asking.tick()
    assert asked(asking) == []
    assert await asking.statuses() == {}


async def test_where_a_browser_is_believed_nobody_is_asked(asking: House) -> None:
    await asking.publish(yaml=CONSENT_YAML.replace("confirmations:", "from_browser: single, confirmations:"))
    await asking.activities(subscribed())
    await asking.tick()
    assert asked(asking) == []


async def test_a_suppressed_address_is_never_asked(asking: House) -> None:
    asking.relay.to_offer = Refused("recipient_refused", dead_address=True)
    await asking.activities(subscribed())
    await asking.tick()
    asking.relay.to_offer = None
    await asking.go_on(days=8)
    await asking.activities(subscribed(2))
    await asking.tick()
    assert asked(asking) == []
    assert sorted((await asking.statuses()).values()) == ["failed", "suppressed"]


async def test_an_address_is_asked_once_in_its_time_whoever_asks(asking: House) -> None:
    twin = wire.replace(STRANGER, id="l3", email="BO@example.com")
    await asking.activities(subscribed(1), subscribed(2), subscribed(3, lead=twin))
    await asking.tick()
    assert asked(asking) == ["bo@example.com"]
    reasons = [(await asking.row(name)).reason for name, status in (await asking.statuses()).items() if status == "suppressed"]
    assert reasons == ["asked_lately"] * 2
    await asking.go_on(days=7)
    await asking.activities(subscribed(4, received_at=asking.clock.now()))
    await asking.tick()
    assert len(asked(asking)) == 2


async def test_a_mailbox_is_asked_once_whatever_tags_its_address_has(asking: House) -> None:
    addresses = ("ana+1@example.com", "ana+2@example.com", "Ana@example.com")
    await asking.activities(*(subscribed(number, properties={"email": address}) for number, address in enumerate(addresses)))
    await asking.tick()
    assert asked(asking) == ["ana+1@example.com"]
    refused = [name for name, status in (await asking.statuses()).items() if status == "suppressed"]
    assert [(await asking.row(name)).reason for name in refused] == ["asked_lately"] * 2


async def test_a_mailbox_that_was_asked_is_forgotten_with_its_tagged_address(asking: House) -> None:
    await asking.activities(subscribed(lead=wire.replace(STRANGER, email="bo+1@example.com")))
    await asking.tick()
    erasure = wire.Erasure(erased="l2", at=asking.clock.now(), lead_ids=["l2"], marks=[])
    async with asking.outbox.work() as work:
        await obey(work, erasure, Marks(asking.ports.signer))
    async with asking.database.reading() as connection:
        assert (await connection.execute(select(ADDRESSES.c.address))).scalars().all() == []


async def test_whom_no_mail_reached_may_ask_again(asking: House) -> None:
    asking.relay.to_offer = Refused("mail_refused")
    await asking.activities(subscribed())
    await asking.tick()
    asking.relay.to_offer = None
    await asking.activities(subscribed(2))
    await asking.tick()
    await asking.activities(subscribed(3))
    await asking.tick()
    assert asked(asking) == ["bo@example.com"]
    assert sorted((await asking.statuses()).values()) == ["failed", "sent", "suppressed"]


async def test_who_was_asked_too_late_may_ask_again(asking: House) -> None:
    await asking.activities(subscribed(received_at=NOON - timedelta(days=2)))
    await asking.tick()
    await asking.activities(subscribed(2))
    await asking.tick()
    assert asked(asking) == ["bo@example.com"]


async def test_nobody_can_use_us_as_a_mail_cannon(asking: House) -> None:
    crowd = [subscribed(number, properties={"email": f"n{number}@example.com"}) for number in range(10)]
    await asking.activities(*crowd[:5])
    await asking.activities(*crowd[5:])
    await asking.tick()
    assert len(asked(asking)) == 3
    refused = [name for name, status in (await asking.statuses()).items() if status == "suppressed"]
    assert {(await asking.row(name)).reason for name in refused} == {"too_many_asked"}
    await asking.go_on(minutes=59)
    await asking.activities(subscribed(20, properties={"email": "late@example.com"}))
    await asking.go_on(minutes=1)
    assert len(asked(asking)) == 3
    await asking.activities(subscribed(21, properties={"email": "later@example.com"}))
    await asking.tick()
    assert asked(asking)[-1] == "later@example.com"


async def test_what_a_stranger_typed_does_not_stand_in_the_mail(asking: House) -> None:
    lead = wire.replace(STRANGER, traits={"name": "Win at https://evil.example"})
    await asking.activities(subscribed(lead=lead, properties={"name": "https://evil.example"}))
    await asking.tick()
    assert b"evil" not in asking.relay.taken[0][1]
    assert "evil" not in a_page(a_mail(asking))
    assert str(a_mail(asking)["To"]) == "bo@example.com"


@pytest.mark.parametrize(("locale", "title"), [("en", "Is this your address?"), ("ar-EG", "هل هذا عنوانك؟"), ("fa-IR", "این نشانی شماست؟")])
async def test_the_mail_and_its_page_speak_the_readers_language(asking: House, browser: httpx.AsyncClient, locale: str, title: str) -> None:
    await asking.activities(subscribed(lead=wire.replace(STRANGER, locale=locale)))
    await asking.tick()
    assert title in a_page(a_mail(asking))
    page = await browser.get(the_link(asking))
    assert title in page.text
    assert ('dir="rtl"' in page.text) == (locale != "en")
    assert '<html lang="' + locale[:2] in a_page(a_mail(asking))


async def test_the_playbooks_own_template_is_taken(asking: House) -> None:
    own = a_template("<p>Ours: <a class='button' href='{{ links.confirm }}'>yes</a></p>", "Ours")
    await asking.publish({"confirm.html": own}, yaml=CONSENT_YAML)
    await asking.activities(subscribed())
    await asking.tick()
    assert str(a_mail(asking)["Subject"]) == "Ours"
    assert the_link(asking).startswith("https://mail.example/confirm/")


async def test_looking_at_the_page_gives_no_consent_and_its_button_does_once(asking: House, browser: httpx.AsyncClient) -> None:
    await asking.activities(subscribed())
    await asking.tick()
    link = the_link(asking)
    for method in ("GET", "HEAD", "GET"):
        assert (await browser.request(method, link)).status_code == 200
    assert "Consent Given" not in asking.told()
    page = LexborHTMLParser((await browser.get(link)).text)
    assert "bo@example.com" in (page.text() or "")
    assert len(page.css("form[method=post] button[type=submit]")) == 1
    assert not page.css("script, img, link")

    assert "it is confirmed" in (await browser.post(link)).text
    event = asking.log.events[-1]
    assert (event.name, event.source, event.trusted, event.lead_id) == ("Consent Given", wire.OURSELVES, True, "l2")
    about = {"address": "bo@example.com", "source": "double_opt_in", "event": "Newsletter Subscribed"}
    assert about.items() <= event.properties.items()
    for method in ("GET", "POST"):
        again = await browser.request(method, link)
        assert (again.status_code, "confirmed already" in again.text, "<form" in again.text) == (200, True, False)
    assert asking.told().count("Consent Given") == 1


async def test_an_old_mail_is_answered_kindly_and_gives_nothing(asking: House, browser: httpx.AsyncClient) -> None:
    await asking.activities(subscribed())
    await asking.tick()
    asking.clock.advance(timedelta(days=30, seconds=1))
    for method in ("GET", "POST"):
        answer = await browser.request(method, the_link(asking))
        assert (answer.status_code, "grown old" in answer.text) == (200, True)
    assert "Consent Given" not in asking.told()


async def test_a_foreign_token_confirms_nothing(asking: House, browser: httpx.AsyncClient) -> None:
    await asking.receive(asking.a_send(1))
    await asking.tick()
    marketing = asking.links.confirm_url("m1")  # a delivery, but not one that asks
    for link in (marketing, "https://mail.example/confirm/x", asking.links.unsubscribe_url("m1").replace("/u/", "/confirm/")):
        for method in ("GET", "POST"):
            assert (await browser.request(method, link)).status_code == 404
    assert "Consent Given" not in asking.told()


async def test_a_confirmation_follows_its_lead_into_a_merge(asking: House, browser: httpx.AsyncClient) -> None:
    await asking.activities(subscribed())
    await asking.tick()
    await asking.know(a_lead(), sequence=2, merged_from="l2")
    await browser.post(the_link(asking))
    assert asking.log.events[-1].lead_id == "l1"


async def test_one_that_waited_longer_than_a_day_is_not_sent_any_more(asking: House) -> None:
    old = subscribed(received_at=NOON - timedelta(days=2))
    await asking.activities(old)
    await asking.tick()
    assert asked(asking) == []
    assert list((await asking.statuses()).values()) == ["suppressed"]


def test_the_audit_does_not_call_a_mail_that_asks_one_asked_for_over_the_api() -> None:
    names = [_sums_up(("", step), 1, {"sent": 1}).name for step in ("confirmation", "")]
    assert ["over the API" in name for name in names] == [False, True]
