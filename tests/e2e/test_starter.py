"""The starter playbook's journeys on a real `run`, time moved by hand: each does what its description says, and stops when it should.

One process serves the whole file; time only goes on, so each test has leads of its own and leaves nothing that would disturb the next.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest

from tests.e2e.house import STARTER, House, until, zone_at

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TEAS = [{"id": "sencha", "name": "Sencha", "price": 12, "quantity": 2}]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("starter"), STARTER)
    house.start()
    yield house
    assert house.told("audit")["ok"]
    house.close()


def anonymous(house: House, device: str, name: str, **properties: Any) -> None:
    """As a browser posts it: with the write key and an anonymous id."""
    key = (house.data / "write_key").read_text().strip()
    body = {"anonymousId": device, "event": name, "properties": properties}
    assert house.http.post(f"{house.url}/v1/track", json=body, auth=(key, "")).status_code == 200


def cart(cart_id: str, value: int = 24) -> dict[str, Any]:
    return {"cart_id": cart_id, "value": value, "products": TEAS}


def walk(house: House, user: str, journey: str) -> dict[str, Any] | None:
    lead = house.lead(user)
    walks = house.get("/api/enrollments", lead_id=lead["id"])["items"] if lead else []
    return next((one for one in walks if one["journey"] == journey), None)


def subjects(house: House, user: str) -> list[str]:
    return [str(message_from_bytes(mail, policy=policy.default)["Subject"]) for mail in house.mails(user)]


def html(mail: bytes) -> str:
    body = message_from_bytes(mail, policy=policy.default).get_body(("html",))
    assert body is not None
    return str(body.get_content())


def statuses(house: House, user: str) -> dict[str, tuple[str, str | None]]:
    """What became of each mail, by its template."""
    return {row["template"]: (row["status"], row["reason"]) for row in house.deliveries(user, kind="email")}


def told_sales(house: House, user: str) -> list[dict[str, Any]]:
    """What the sales inbox was told of a lead, oldest first."""
    file = house.data / "sales.jsonl"
    told = [json.loads(line)["content"]["data"] for line in file.read_text().splitlines()] if file.exists() else []
    return [one for one in told if one["lead"].get("user_id") == user]


def test_the_welcome_waits_for_leave_and_then_speaks_the_readers_language(house: House):
    house.track("identify", {"userId": "sara", "traits": {"email": "sara@example.com", "name": "سارا", "locale": "fa-IR"}})
    house.event("sara", "Ebook Downloaded", title="راهنمای چای در محل کار")
    assert until(lambda: walk(house, "sara", "welcome"))["step"] == "allowed"
    assert house.mails("sara") == []
    house.reader("sara", timezone=zone_at(23))  # it is late where she is, but she has just asked for it
    (mail,) = until(lambda: house.mails("sara"))
    page = html(mail)
    assert subjects(house, "sara") == ["راهنمای چای شما، و فنجانی بهتر همین امروز"]
    assert 'dir="rtl"' in page
    assert "سلام" in page
    assert "راهنمای چای در محل کار" in page
    assert f"{house.url}/u/" in page


def test_a_cart_is_reminded_of_once_by_name_where_its_visitor_said_who_he_is_in_the_middle_of_the_wait(house: House):
    anonymous(house, "phone", "Cart Updated", **cart("c-ben"))
    house.reader("ben", name="Ben")
    until(lambda: house.lead("ben"))
    key = (house.data / "write_key").read_text().strip()
    house.http.post(f"{house.url}/v1/identify", json={"userId": "ben", "anonymousId": "phone"}, auth=(key, ""))
    before = until(lambda: walk(house, "ben", "abandoned-cart"))
    assert (before["status"], before["key"]) == ("active", "c-ben")
    house.later(4 * HOUR)
    (mail,) = until(lambda: house.mails("ben"))
    assert subjects(house, "ben") == ["Ben, your cart is still here"]
    assert "Sencha" in html(mail)
    anonymous(house, "phone", "Cart Updated", **cart("c-ben", 36))
    house.event("ben", "Cart Updated", **cart("c-other"))
    until(lambda: walk(house, "ben", "abandoned-cart")["key"] == "c-other")
    walks = house.get("/api/enrollments", lead_id=house.lead("ben")["id"])["items"]
    assert [one["key"] for one in walks if one["journey"] == "abandoned-cart"] == ["c-other", "c-ben"]  # not c-ben again


def test_the_purchase_ends_a_reminder_that_the_night_had_put_off(house: House):
    house.reader("cleo", timezone=zone_at(18))
    house.event("cleo", "Cart Updated", **cart("c-cleo"))
    until(lambda: walk(house, "cleo", "abandoned-cart"))
    house.later(4 * HOUR)  # past nine where she is
    until(lambda: statuses(house, "cleo") == {"cart-reminder": ("deferred", "quiet_hours")})
    house.event("cleo", "Order Completed", cart_id="c-cleo", order_id="o1", total=24)
    until(lambda: walk(house, "cleo", "abandoned-cart")["converted_at"])
    until(lambda: statuses(house, "cleo")["cart-reminder"] == ("suppressed", "goal"))
    house.later(12 * HOUR)
    assert house.mails("cleo") == []


def test_at_7_a_help_at_8_an_offer_at_9_sales(house: House):
    house.reader("dan", name="Dan", timezone=zone_at(12))
    house.event("dan", "Ebook Downloaded")
    until(lambda: subjects(house, "dan") == ["Your tea guide, and a better cup today"])
    house.later(2 * DAY + HOUR)
    until(lambda: len(house.mails("dan")) == 2)
    assert subjects(house, "dan")[1] == "Which tea for whom? A list for the kitchen wall"
    until(lambda: walk(house, "dan", "welcome")["reason"] == "nurtured")
    house.event("dan", "Webinar Attended")
    until(lambda: walk(house, "dan", "nurture")["step"] == "at_8")
    house.later(DAY)  # not two mails on one day
    until(lambda: len(house.mails("dan")) == 3)
    assert subjects(house, "dan")[2] == "The five teas of the tasting, in one box"
    house.event("dan", "Link Clicked", paid=True)
    (handoff,) = until(lambda: house.deliveries("dan", kind="webhook"))
    assert handoff["journey"] == "sales-handoff"
    until(lambda: walk(house, "dan", "nurture")["status"] != "active")
    answer = house.http.post(until(lambda: told_sales(house, "dan"))[0]["respond_url"], json={"answer": "accepted"})
    assert answer.status_code == 200
    until(lambda: house.lead("dan")["tags"] == ["with_sales"])
    until(lambda: walk(house, "dan", "sales-handoff")["status"] == "completed")
    assert [one["status"] for one in house.get("/api/handoffs", lead_id=house.lead("dan")["id"])["items"]] == ["accepted"]
    assert house.http.post(told_sales(house, "dan")[0]["respond_url"], json={"answer": "rejected"}).status_code == 409


def test_a_hot_lead_whom_nobody_calls_goes_to_the_fallback_and_is_then_written_to(house: House):
    house.reader("gia", name="Gia", timezone=zone_at(12))
    house.event("gia", "Link Clicked", paid=True)
    until(lambda: len(told_sales(house, "gia")) == 1)
    house.later(5 * DAY)  # four working hours, over any weekend
    first, second = until(lambda: told if len(told := told_sales(house, "gia")) == 2 else [])
    assert first["handoff_id"] == second["handoff_id"]
    assert first["sequence"] < second["sequence"]
    house.later(5 * DAY)
    until(lambda: house.lead("gia")["tags"] == ["nobody_called"])
    until(lambda: subjects(house, "gia") == ["We owe you a call"])
    assert [one["status"] for one in house.get("/api/handoffs", lead_id=house.lead("gia")["id"])["items"]] == ["expired"]


def test_who_unsubscribes_while_sales_is_asked_is_still_called_and_not_mailed(house: House):
    house.reader("hob", timezone=zone_at(12))
    house.event("hob", "Link Clicked", paid=True)
    until(lambda: told_sales(house, "hob"))
    house.track("identify", {"userId": "hob", "traits": {"consent": False}})
    until(lambda: not house.lead("hob")["consent"]["marketing"])
    assert (
        house.http.post(told_sales(house, "hob")[0]["respond_url"], json={"answer": "rejected", "reason": "too small"}).status_code == 200
    )
    until(lambda: house.lead("hob")["tags"] == ["not_for_sales"])


def test_a_customer_who_has_gone_quiet_gets_two_letters_and_then_silence(house: House):
    house.reader("eve", name="Eve", timezone=zone_at(12))
    house.event("eve", "Order Completed", cart_id="c-eve", order_id="o2", total=30)
    until(lambda: house.lead("eve"))
    house.later(90 * DAY)
    until(lambda: house.lead("eve")["sleeping"])
    house.later(4 * DAY)  # over a weekend, whichever it is
    until(lambda: len(house.mails("eve")) == 1)
    assert subjects(house, "eve") == ["Is the tea still good, Eve?"]
    house.later(15 * DAY)
    until(lambda: len(house.mails("eve")) == 2)
    until(lambda: walk(house, "eve", "win-back")["status"] == "completed")
    house.event("eve", "Order Completed", cart_id="c-eve2", order_id="o3", total=30)
    until(lambda: walk(house, "eve", "win-back")["converted_at"])
    until(lambda: not house.lead("eve")["sleeping"])


def test_a_sleeper_who_looks_again_gets_no_last_letter(house: House):
    house.reader("fil", name="Fil", timezone=zone_at(12))
    house.event("fil", "Order Completed", cart_id="c-fil", order_id="o4", total=30)
    until(lambda: house.lead("fil"))
    house.later(90 * DAY)
    until(lambda: house.lead("fil")["sleeping"])
    house.later(4 * DAY)
    (mail,) = until(lambda: house.mails("fil"))
    link = next(url for url in re.findall(r'href="([^"]+)"', html(mail)) if "/c/" in url)
    assert house.http.get(link, headers={"User-Agent": "Mozilla/5.0 Firefox/140.0"}).status_code == 302
    until(lambda: house.lead("fil")["tags"] == ["looked_again"])
    until(lambda: walk(house, "fil", "win-back")["status"] == "completed")
