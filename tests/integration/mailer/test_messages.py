"""Transactional mail over the API: asked for twice it goes once, and it goes where it was asked to."""

import asyncio
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx
import pytest

from services.mailer.erasing import obey
from services.mailer.leads import find_by_address
from services.mailer.outcomes import Refused
from shared import wire
from shared.erasing import Marks
from tests.builders import a_lead, a_template
from tests.mailer_house import House

RECEIPT = a_template("<p>Your order {{ entry.properties.order }}, {{ lead.traits.name | default('dear customer') }}</p>", "Receipt")


@pytest.fixture
async def shop(house: House) -> House:
    """A mailer whose playbook has a receipt."""
    house.version = await house.publish({"welcome-1.html": a_template(), "receipt.html": RECEIPT})
    return house


async def ask(house: House, key: str | None = None, role: str = "admin", **message: Any) -> httpx.Response:
    message = {"template": "receipt", "properties": {"order": "A-17"}} | message
    headers = {"Authorization": f"Bearer sk_{role}"} | ({"Idempotency-Key": key} if key else {})
    async with house.api() as client:
        return await client.post("/api/messages", json=message, headers=headers)


def mails(house: House) -> list[tuple[str, str]]:
    """Who got what, to read."""
    return [(recipient, _text(mail)) for recipient, mail in house.relay.taken]


def _text(mail: bytes) -> str:
    part = message_from_bytes(mail, policy=default).get_body(("plain",))
    assert part is not None
    return str(part.get_content())


async def test_a_lead_gets_it_without_consent_and_its_fate_is_told(shop: House) -> None:
    await shop.know(a_lead(consent=wire.Consent(), traits={"name": "Ana"}), sequence=2)
    answer = await ask(shop, lead_id="l1")
    assert answer.status_code == 202
    await shop.tick()
    [(recipient, mail)] = mails(shop)
    assert (recipient, "Your order A-17, Ana" in mail) == ("ana@example.com", True)
    row = await shop.row(answer.json()["id"])
    assert (row.status, row.lead_id, row.template) == ("sent", "l1", "receipt")
    [event] = shop.log.events
    assert (event.name, event.lead_id) == ("Email Sent", "l1")


async def test_an_address_that_a_lead_has_is_that_lead(shop: House) -> None:
    answer = await ask(shop, to="Ana@Example.com")
    await shop.tick()
    assert (await shop.row(answer.json()["id"])).lead_id == "l1"
    assert shop.told() == ["Email Sent"]


@pytest.mark.parametrize("kept", ["Bo@Example.com", "bo@example.com", "JOSÉ@Exämple.com", "josé@exämple.com", "Straße@example.com"])
@pytest.mark.parametrize("spelt", [str, str.lower, str.upper])
async def test_a_lead_is_found_however_its_address_is_written(shop: House, kept: str, spelt: Callable[[str], str]) -> None:
    await shop.know(a_lead(id="l2", email=kept))
    async with shop.database.reading() as connection:
        assert await find_by_address(connection, spelt(kept)) == "l2"


async def test_a_lead_whose_address_was_named_in_mixed_case_is_no_stranger(shop: House) -> None:
    await shop.know(a_lead(id="l2", email="Bo@Example.com"))
    for to in ("bo@example.com", "Bo@Example.com"):
        answer = await ask(shop, to=to)
        await shop.tick()
        assert (await shop.row(answer.json()["id"])).lead_id == "l2"
    assert shop.told() == ["Email Sent"] * 2


async def test_an_address_of_nobody_is_mailed_all_the_same_and_nobody_is_told(shop: House) -> None:
    answer = await ask(shop, to="new@example.com")
    await shop.tick()
    [(recipient, mail)] = mails(shop)
    assert (recipient, "Your order A-17, dear customer" in mail) == ("new@example.com", True)
    assert (await shop.row(answer.json()["id"])).status == "sent"
    assert shop.told() == []


async def test_what_a_browser_said_of_an_address_gets_into_no_mail_to_it(shop: House) -> None:
    await shop.know(a_lead(id="l2", email="bo@example.com", address_trusted=False, traits={"name": "You won"}))
    await ask(shop, to="bo@example.com")
    await shop.tick()
    [(recipient, mail)] = mails(shop)
    assert (recipient, "You won" in mail) == ("bo@example.com", False)


async def test_the_same_key_with_the_same_request_is_the_same_message(shop: House) -> None:
    first = await ask(shop, "k1", to="new@example.com")
    await shop.tick()
    again = await ask(shop, "k1", to="new@example.com")
    await shop.tick()
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(mails(shop)) == 1


async def test_the_same_key_with_another_request_is_refused(shop: House) -> None:
    await ask(shop, "k1", to="new@example.com")
    for other in (
        {"to": "other@example.com"},
        {"to": "new@example.com", "properties": {}},
        {"to": "new@example.com", "template": "welcome-1"},
    ):
        answer = await ask(shop, "k1", **other)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_reused")
    await shop.tick()
    assert len(mails(shop)) == 1


async def test_requests_at_once_with_one_key_are_one_message(shop: House) -> None:
    answers = await asyncio.gather(*(ask(shop, "k1", to="new@example.com") for _ in range(4)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    await shop.tick()
    assert len(mails(shop)) == 1


async def test_without_a_key_every_request_is_a_message(shop: House) -> None:
    first, second = await ask(shop, to="new@example.com"), await ask(shop, to="new@example.com")
    assert first.json()["id"] != second.json()["id"]
    await shop.tick()
    assert len(mails(shop)) == 2


@pytest.mark.parametrize("reader", [{"to": "ana@example.com"}, {"to": "NEW@example.com"}, {"lead_id": "l1"}])
async def test_a_suppressed_address_gets_nothing(shop: House, reader: dict[str, str]) -> None:
    async with shop.api() as client:
        for address in ("ana@example.com", "new@example.com"):
            await client.post("/api/suppressions", json={"address": address})
    answer = await ask(shop, **reader)
    await shop.tick()
    row = await shop.row(answer.json()["id"])
    assert (answer.status_code, row.status, row.reason, mails(shop)) == (202, "suppressed", "suppressed", [])


async def test_an_address_where_nobody_lives_is_suppressed_for_strangers_too(shop: House) -> None:
    shop.relay.by_recipient["new@example.com"] = Refused("recipient_refused", dead_address=True)
    await ask(shop, to="new@example.com")
    await shop.tick()
    second = await ask(shop, to="new@example.com")
    await shop.tick()
    assert (await shop.row(second.json()["id"])).status == "suppressed"
    assert shop.told() == []


@pytest.mark.parametrize(
    ("message", "status", "says"),
    [
        ({"template": "reciept", "to": "a@example.com"}, 400, "did you mean `receipt`?"),
        ({"template": "invoice", "to": "a@example.com"}, 400, "receipt"),
        ({"to": "a@example.com", "lead_id": "l1"}, 400, "send either `to` or `lead_id`"),
        ({}, 400, "send either `to` or `lead_id`"),
        ({"to": "nobody"}, 400, "`nobody` is not a mail address"),
        ({"to": "a@example.com\nBcc: b@example.com"}, 400, "is not a mail address"),
        ({"lead_id": "l9"}, 404, "no lead l9"),
        ({"to": "a@example.com", "properties": {"a": "x" * 40000}}, 400, "32768 bytes"),
        ({"to": "a@example.com", "propertys": {}}, 400, "propertys"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_remedy_and_leaves_nothing(
    shop: House, message: dict[str, Any], status: int, says: str
) -> None:
    answer = await ask(shop, "k1", **message)
    assert answer.status_code == status
    assert says in answer.json()["message"]
    assert await shop.statuses() == {}
    assert (await ask(shop, "k1", to="a@example.com")).status_code == 202


async def test_only_a_marketer_or_an_admin_may_ask(shop: House) -> None:
    assert [(await ask(shop, role=role, to="a@example.com")).status_code for role in ("marketer", "sales", "viewer")] == [202, 403, 403]


async def test_a_template_that_cannot_be_written_waits_for_a_better_one(shop: House) -> None:
    answer = await ask(shop, to="new@example.com", properties={})
    await shop.tick()
    row = await shop.row(answer.json()["id"])
    assert (row.status, row.reason) == ("deferred", "template")
    await shop.publish({"receipt.html": a_template("<p>Thank you</p>")})
    await shop.tick()
    assert (await shop.row(answer.json()["id"])).status == "sent"


async def test_the_books_know_it_and_journeys_is_not_asked_about_it(shop: House) -> None:
    await ask(shop, to="new@example.com")
    async with shop.api() as client:
        received = (await client.get("/api/audit/received", params={"before": "2028-01-01T00:00:00Z"})).json()["items"]
    assert received == []
    await shop.audit()


async def test_erasing_a_person_reaches_what_was_sent_to_the_address_before_anybody_knew_it(shop: House) -> None:
    answer = await ask(shop, "k1", to="Bo@example.com")
    await shop.tick()
    await shop.know(a_lead(id="l2", email="bo@example.com"))
    erasure = wire.Erasure(erased="l2", at=shop.clock.now(), lead_ids=["l2"], marks=[])
    async with shop.outbox.work() as work:
        await obey(work, erasure, Marks(shop.ports.signer))
    row = await shop.row(answer.json()["id"])
    assert (row.status, row.address) == ("sent", None)
    assert b"A-17" not in row.message
    assert b"bo@" not in row.message.lower()
