"""The preferences page over HTTP, on the real ledger: what a reader sees, what his buttons do here at once, and what is told of it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser

from services.mailer.addresses import save_addresses
from shared import wire
from tests.builders import a_lead, a_template
from tests.mailer_house import CONSENT, YAML, House

TOPICS_YAML = YAML + "topics: {offers: Offers & more, digest: Weekly digest}\n"
FILES = {"welcome-1.html": a_template(), "welcome-1.fa.html": a_template("<p>سلام</p>", "سلام")}


@pytest.fixture
async def reader(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has got a marketing mail."""
    house.version = await house.publish(FILES, yaml=TOPICS_YAML)
    await house.receive(house.a_send(1, topic="offers"))
    await house.tick()
    async with house.api() as client:
        client.headers["user-agent"] = "Mozilla/5.0"
        yield client


def link(house: House, delivery_id: str = "m1") -> str:
    return house.links.preferences_url(delivery_id)


async def press(client: httpx.AsyncClient, house: House, do: str, **form: Any) -> httpx.Response:
    answer = await client.post(link(house), data={"do": do, **form})
    assert (answer.status_code, 'role="status"' in answer.text) == (200, True)
    return answer


def ticked(answer: httpx.Response) -> dict[str, bool]:
    boxes = LexborHTMLParser(answer.text).css("input[type=checkbox]")
    return {box.attributes["value"] or "": "checked" in box.attributes for box in boxes}


def buttons(answer: httpx.Response) -> list[str | None]:
    return [button.attributes.get("value") for button in LexborHTMLParser(answer.text).css("button")]


async def told(house: House) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, event.properties) for event in house.log.events if event.name.endswith("subscribed")]


async def mailed(house: House, number: int, **send: Any) -> str | None:
    """What becomes of another mail: None where it went."""
    await house.receive(house.a_send(number, **send))
    await house.tick()
    return (await house.row(f"m{number}")).reason


async def test_the_page_shows_how_it_stands_and_looking_changes_nothing(house: House, reader: httpx.AsyncClient) -> None:
    before = len(house.log.events)
    for method in ("GET", "HEAD", "GET"):
        answer = await reader.request(method, link(house))
        assert answer.status_code == 200
    assert ticked(answer) == {"offers": True, "digest": True}
    assert buttons(answer) == ["save", "pause", "leave"]
    page = LexborHTMLParser(answer.text)
    assert "ana@example.com" in (page.text() or "")
    assert "Offers & more" in (page.text() or "")
    assert not page.css("script, img, link")
    assert [option.attributes["value"] for option in page.css("option")] == ["en", "fa"]
    assert len(house.log.events) == before


async def test_every_field_has_its_words(house: House, reader: httpx.AsyncClient) -> None:
    page = LexborHTMLParser((await reader.get(link(house))).text)
    assert all(box.parent is not None and box.parent.tag == "label" for box in page.css("input[type=checkbox]"))
    assert [label.attributes["for"] for label in page.css("label[for]")] == [select.attributes["id"] for select in page.css("select")]
    assert len(page.css("fieldset legend")) == 1
    assert len(page.css("h1")) == 1


async def test_a_topic_that_was_left_is_left_at_once_and_told(house: House, reader: httpx.AsyncClient) -> None:
    answer = await press(reader, house, "save", shown=["offers", "digest"], topic=["digest"], language="en")
    assert ticked(answer) == {"offers": False, "digest": True}
    [(name, about)] = await told(house)
    assert (name, about["topic"], about["address"]) == ("Unsubscribed", "offers", "ana@example.com")
    assert await mailed(house, 2, topic="offers") == "topic"
    assert await mailed(house, 3, topic="digest") is None
    assert ticked(await reader.get(link(house))) == {"offers": False, "digest": True}
    await press(reader, house, "save", shown=["offers", "digest"], topic=["digest"])
    assert len(await told(house)) == 1


async def test_a_topic_taken_up_again_counts_once_the_profile_says_so(house: House, reader: httpx.AsyncClient) -> None:
    await press(reader, house, "save", shown=["offers"])
    house.clock.advance(timedelta(hours=1))
    answer = await press(reader, house, "save", shown=["offers"], topic=["offers"])
    assert ticked(answer)["offers"]
    assert [(name, about["topic"]) for name, about in await told(house)] == [("Unsubscribed", "offers"), ("Resubscribed", "offers")]
    said = wire.replace(CONSENT, topics={"offers": True}, topics_at={"offers": house.clock.now()})
    await house.know(a_lead(consent=said), sequence=2)
    assert await mailed(house, 2, topic="offers") is None


async def test_a_pause_puts_off_marketing_for_a_month_and_nothing_else(house: House, reader: httpx.AsyncClient) -> None:
    answer = await press(reader, house, "pause")
    assert "31 March 2027" in answer.text
    assert buttons(answer) == ["save", "resume", "leave"]
    assert await told(house) == []
    await house.receive(
        house.a_send(2), house.a_send(3, category="transactional"), house.a_send(4, expires_at=house.clock.now() + timedelta(days=1))
    )
    await house.tick()
    row = await house.row("m2")
    assert (row.status, row.reason, row.due_at) == ("deferred", "paused", house.clock.now() + timedelta(days=30))
    assert (await house.statuses())["m3"] == "sent"
    assert ((await house.row("m4")).status, (await house.row("m4")).reason) == ("suppressed", "paused")
    await house.go_on(days=30)
    assert (await house.statuses())["m2"] == "sent"


async def test_who_goes_on_gets_what_was_put_off(house: House, reader: httpx.AsyncClient) -> None:
    await press(reader, house, "pause")
    assert await mailed(house, 2) == "paused"
    await press(reader, house, "resume")
    await house.tick()
    assert (await house.statuses())["m2"] == "sent"


async def test_another_language_is_told_as_a_trait_and_the_page_speaks_it(house: House, reader: httpx.AsyncClient) -> None:
    answer = await press(reader, house, "save", language="fa")
    assert '<html lang="fa" dir="rtl">' in answer.text
    event = house.log.events[-1]
    assert (event.type, event.source, event.trusted, event.lead_id, event.traits) == (
        "identify",
        wire.OURSELVES,
        True,
        "l1",
        {"locale": "fa"},
    )
    await press(reader, house, "save", language="nonsense")
    assert house.log.events[-1] == event


async def test_leaving_everything_stops_marketing_at_once(house: House, reader: httpx.AsyncClient) -> None:
    answer = await press(reader, house, "leave")
    assert buttons(answer) == ["return", "save"]
    assert [(name, about["topic"]) for name, about in await told(house)] == [("Unsubscribed", "all")]
    assert await mailed(house, 2) == "no_consent"
    assert await mailed(house, 3, category="transactional") is None


async def test_who_had_consent_gives_it_back_by_the_page(house: House, reader: httpx.AsyncClient) -> None:
    await press(reader, house, "leave")
    house.clock.advance(timedelta(hours=1))
    await house.know(a_lead(consent=wire.replace(CONSENT, marketing=False)), sequence=2)
    answer = await press(reader, house, "return")
    assert buttons(answer) == ["save", "pause", "leave"]
    name, about = (await told(house))[-1]
    assert (name, about["topic"], about["address"]) == ("Resubscribed", "all", "ana@example.com")
    await house.know(a_lead(consent=wire.replace(CONSENT, at=house.clock.now())), sequence=3)
    assert await mailed(house, 2) is None


async def test_who_never_consented_cannot_give_it_back_by_the_page(house: House) -> None:
    await house.know(a_lead(id="l2", email="bo@example.com"))
    await house.receive(house.a_send(5, lead_id="l2", category="transactional"))
    await house.tick()
    async with house.api() as client:
        answer = await client.get(link(house, "m5"))
        assert buttons(answer) == []
        await client.post(link(house, "m5"), data={"do": "return"})
    assert await told(house) == []


async def test_who_confirmed_and_left_before_any_letter_came_finds_the_way_back(house: House) -> None:
    await house.know(a_lead(id="l2", email="bo@example.com"))
    await house.receive(house.a_send(5, lead_id="l2", category="transactional"))
    await house.tick()
    async with house.outbox.work() as work:
        await save_addresses(work.conn, ["bo@example.com"], confirmed_at=house.clock.now())
    async with house.api() as client:
        assert buttons(await client.get(link(house, "m5"))) == ["return"]


@pytest.mark.parametrize("sent", [{"content": b"\xff\xfe"}, {"data": {"do": "destroy"}}, {"json": {"do": "leave"}}, {}])
async def test_a_form_that_is_none_of_ours_changes_nothing(house: House, reader: httpx.AsyncClient, sent: dict[str, Any]) -> None:
    answer = await reader.post(link(house), **sent)
    assert (answer.status_code, 'role="status"' in answer.text) == (200, False)
    assert await told(house) == []


async def test_a_foreign_token_shows_and_changes_nothing(house: House, reader: httpx.AsyncClient) -> None:
    foreign = [link(house, "nobody"), "https://mail.example/p/x", house.links.unsubscribe_url("m1").replace("/u/", "/p/")]
    for url in foreign:
        assert (await reader.get(url)).status_code == 404
        assert (await reader.post(url, data={"do": "leave"})).status_code == 404
    assert await told(house) == []


@pytest.mark.parametrize(("locale", "lang", "word"), [("ar", "ar", "حفظ"), ("fa-IR", "fa", "ذخیره"), (None, "en", "Save")])
async def test_the_page_speaks_the_readers_language(
    house: House, reader: httpx.AsyncClient, locale: str | None, lang: str, word: str
) -> None:
    await house.know(a_lead(consent=CONSENT, locale=locale), sequence=2)
    answer = await reader.get(link(house))
    assert answer.headers["content-language"] == lang
    assert (f'<html lang="{lang}"' in answer.text, 'dir="rtl"' in answer.text) == (True, lang != "en")
    assert word in answer.text


async def test_the_way_out_leads_to_the_preferences(house: House, reader: httpx.AsyncClient) -> None:
    answer = await reader.get(house.links.unsubscribe_url("m1"))
    assert link(house) in answer.text
