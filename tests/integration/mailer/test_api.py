"""The mailer's HTTP face: the ledger as people see it, and what they may do about it; and the readers' pages, behind them the ledger."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from services.mailer.outcomes import Deferred, Delivered, InDoubt, Refused
from services.mailer.readers import MOST_TOLD, is_worth_telling
from services.mailer.tables import DELIVERIES
from services.mailer.telling import PRESSED_TWICE
from shared import wire
from tests.builders import a_lead, a_template
from tests.mailer_house import CONSENT, House

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}


async def get(house: House, path: str, **params: str) -> Any:
    async with house.api() as client:
        answer = await client.get(path, params=params)
        return answer.json()


async def post(house: House, path: str, body: Any = None) -> tuple[int, Any]:
    async with house.api() as client:
        answer = await client.post(path, json=body)
        return answer.status_code, answer.json()


async def test_a_delivery_as_the_interface_says(house: House) -> None:
    await house.receive(house.a_send())
    await house.tick()
    [item] = (await get(house, "/api/deliveries"))["items"]
    assert item == item | {
        "id": "m1",
        "kind": "email",
        "lead_id": "l1",
        "journey": "welcome",
        "version": house.version,
        "step": "hello",
        "template": "welcome-1",
        "to": "ana@example.com",
        "status": "sent",
        "reason": None,
        "attempts": 1,
        "opened_at": None,
        "clicked_at": None,
    }
    assert item["sent_at"] == item["queued_at"] == house.clock.now().isoformat().replace("+00:00", "Z")
    assert item["message_id"].endswith("@acme.example>")
    whole = await get(house, "/api/deliveries/m1")
    assert whole == whole | item | {"category": "marketing", "priority": 100, "enrollment_id": "e1", "transition": 1}


async def test_the_list_is_filtered_and_read_page_by_page(house: House) -> None:
    for number in range(1, 8):
        house.clock.advance(timedelta(seconds=number % 2))
        await house.receive(house.a_send(number, journey="welcome" if number < 6 else "other"))
    await house.receive(house.a_handoff(8))
    await house.tick()
    seen, cursor = [], None
    while True:
        page = await get(house, "/api/deliveries", journey="welcome", kind="email", limit="2", **({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["m5", "m4", "m3", "m2", "m1"]
    assert [item["id"] for item in (await get(house, "/api/deliveries", journey="other"))["items"]] == ["m7", "m6"]
    assert [item["id"] for item in (await get(house, "/api/deliveries", kind="webhook"))["items"]] == ["m8"]
    assert (await get(house, "/api/deliveries", status="failed")) == {"items": [], "next": None}
    message_id = (await house.row("m3")).message_id
    assert [item["id"] for item in (await get(house, "/api/deliveries", message_id=message_id))["items"]] == ["m3"]


async def test_a_merged_leads_id_still_finds_its_deliveries(house: House) -> None:
    await house.receive(house.a_send(lead_id="anonymous"))
    await house.know(a_lead(consent=CONSENT), sequence=2, merged_from="anonymous")
    assert [item["lead_id"] for item in (await get(house, "/api/deliveries", lead_id="anonymous"))["items"]] == ["l1"]


@pytest.mark.parametrize("cursor", ["x", "1", "99999999999999999999999.m1"])
async def test_a_cursor_that_is_none_of_ours_is_refused(house: House, cursor: str) -> None:
    answer = await get(house, "/api/deliveries", cursor=cursor)
    assert answer.get("code") == "invalid" or answer["items"] == []


async def test_who_may_not_is_told_so(house: House) -> None:
    async with house.api() as client:
        for key, reads, acts in (("sk_nobody", 401, 401), ("sk_viewer", 200, 403), ("sk_sales", 200, 403), ("sk_marketer", 200, 404)):
            headers = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/api/deliveries", headers=headers)).status_code == reads
            assert (await client.post("/api/deliveries/m9/retry", headers=headers)).status_code == acts


async def test_a_failed_delivery_is_tried_again_on_request(house: House) -> None:
    house.relay.to_mail = Refused("mail_refused", ours=True)
    await house.receive(house.a_send())
    await house.tick()
    house.relay.to_mail = Delivered()
    status, answer = await post(house, "/api/deliveries/m1/retry")
    assert (status, answer["status"], answer["attempts"]) == (200, "queued", 0)
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_a_deferred_delivery_need_not_wait(house: House) -> None:
    house.relay.by_recipient["ana@example.com"] = Deferred("relay_deferred")
    await house.receive(house.a_send())
    await house.tick()
    house.relay.by_recipient.clear()
    await post(house, "/api/deliveries/m1/retry")
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_a_mail_held_by_its_template_is_tried_with_the_newest_playbook_on_request(house: House) -> None:
    broken = await house.publish({"welcome-1.html": a_template("{{ nonsense }}")})
    await house.tick()
    await house.receive(house.a_send(version=broken))
    await house.tick()
    assert (await house.row()).reason == "template"
    assert "nonsense" in (await get(house, "/api/deliveries/m1"))["detail"]
    await post(house, "/api/deliveries/m1/retry")
    await house.tick()
    assert (await house.row()).reason == "template"
    await house.publish()
    await post(house, "/api/deliveries/m1/retry")
    await house.tick()
    assert (await house.row()).status == "sent"


@pytest.mark.parametrize(("how", "status", "told"), [("sent", "sent", "Email Sent"), ("failed", "failed", "Email Failed")])
async def test_a_person_says_what_became_of_one_in_doubt(house: House, how: str, status: str, told: str) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send())
    await house.tick()
    assert (await post(house, "/api/deliveries/m1/resolve", {"as": how}))[1]["status"] == status
    assert house.told() == ["Email In Doubt", told]
    assert len(house.relay.taken) == 1


async def test_one_in_doubt_goes_again_only_on_a_persons_word(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send())
    await house.tick()
    house.relay.to_mail = Delivered()
    assert (await post(house, "/api/deliveries/m1/retry"))[1]["code"] == "not_retryable"
    assert (await post(house, "/api/deliveries/m1/resolve", {"as": "retry"}))[0] == 200
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_a_withdrawn_one_stays_away_even_when_resolved_as_retry(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send())
    await house.tick()
    await house.receive(wire.Withdraw(id="m1", lead_id="l1", reason="goal", at=house.clock.now()))
    await post(house, "/api/deliveries/m1/resolve", {"as": "retry"})
    await house.tick()
    assert ((await house.row()).status, len(house.relay.taken)) == ("suppressed", 1)


async def test_what_cannot_be_done_is_refused_with_the_reason(house: House) -> None:
    await house.receive(house.a_send())
    await house.tick()
    assert (await post(house, "/api/deliveries/m1/retry"))[0] == 409
    assert (await post(house, "/api/deliveries/m1/resolve", {"as": "sent"}))[0] == 409
    assert (await post(house, "/api/deliveries/m1/resolve", {"as": "perhaps"}))[0] == 400
    assert (await post(house, "/api/deliveries/m9/retry"))[0] == 404
    assert (await get(house, "/api/deliveries/m9"))["code"] == "not_found"


async def test_an_address_is_suppressed_and_lifted_by_hand(house: House) -> None:
    assert (await post(house, "/api/suppressions", {"address": "Ana@Example.com"}))[0] == 200
    [item] = (await get(house, "/api/suppressions"))["items"]
    assert (item["address"], item["scope"], item["reason"]) == ("ana@example.com", "all", "manual")
    await house.receive(house.a_send(1, category="transactional"))
    await house.tick()
    async with house.api() as client:
        assert (await client.delete("/api/suppressions/ana@example.com")).json() == {"lifted": 1}
        assert (await client.delete("/api/suppressions/ana@example.com")).status_code == 404
    await house.receive(house.a_send(2, category="transactional"))
    await house.tick()
    assert await house.statuses() == {"m1": "suppressed", "m2": "sent"}


async def test_the_audit_adds_up_by_journey_and_step(house: House) -> None:
    await house.receive(house.a_send(1), house.a_send(2, step="second"), house.a_send(2, step="second"))
    await house.receive(wire.Withdraw(id="m2", lead_id="l1", reason="goal", at=house.clock.now()))
    await house.tick()
    checks = {check["name"]: check for check in (await get(house, "/api/audit"))["checks"]}
    first = checks["received = sent + suppressed + waiting + in_doubt + failed (welcome · hello)"]
    second = checks["received = sent + suppressed + waiting + in_doubt + failed (welcome · second)"]
    assert (first["received"], first["sent"], first["ok"]) == (1, 1, True)
    assert (second["received"], second["suppressed"], second["ok"]) == (1, 1, True)


async def test_the_audit_finds_a_lost_delivery(house: House) -> None:
    house.books_balance = False
    await house.receive(house.a_send(1), house.a_send(2))
    async with house.database.transaction() as connection:
        await connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id == "m2"))
    checks = (await get(house, "/api/audit"))["checks"]
    assert [check["ok"] for check in checks if not check["ok"]] == [False]


async def test_what_was_received_before_a_cut(house: House) -> None:
    now = house.clock.now()
    await house.receive(house.a_send(1, reached_at=now), house.a_send(2, reached_at=now + timedelta(seconds=1)))
    answer = await get(house, "/api/audit/received", before=(now + timedelta(seconds=1)).isoformat())
    assert answer["items"] == [{"journey": "welcome", "step": "hello", "count": 1}]
    assert (await get(house, "/api/audit/received", before="2027-03-01"))["code"] == "invalid"


async def sent_with_link(house: House) -> str:
    version = await house.publish({"welcome-1.html": a_template('<p><a href="https://acme.example/pricing">Prices</a></p>')})
    await house.receive(house.a_send(version=version))
    await house.tick()
    return click_path(house, json.loads((await house.row()).targets).index("https://acme.example/pricing"))


def click_path(house: House, index: int) -> str:
    return house.links.click_url("m1", index).removeprefix("https://mail.example")


async def test_a_click_leads_on_and_is_told(house: House) -> None:
    path = await sent_with_link(house)
    async with house.api() as client:
        answer = await client.get(path, headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (302, "https://acme.example/pricing")
        await client.get(path, headers={"User-Agent": "linkscanner-bot"})
        await client.head(path, headers=BROWSER)
    row = await house.row()
    assert (row.clicks, row.clicked_at) == (2, house.clock.now())
    clicks = [event for event in house.log.events if event.name == "Email Link Clicked"]
    assert [(event.properties["url"], event.properties["link"], event.properties["human"]) for event in clicks] == [
        ("https://acme.example/pricing", 1, True),
        ("https://acme.example/pricing", 1, False),
    ]
    assert len({event.id for event in clicks}) == 2


async def test_a_link_that_stood_in_no_mail_leads_nowhere(house: House) -> None:
    await sent_with_link(house)
    async with house.api() as client:
        for index in (2, 7):
            assert (await client.get(click_path(house, index), headers=BROWSER)).status_code == 404


async def test_clicks_are_told_once_for_each_link_and_then_only_counted(house: House) -> None:
    path = await sent_with_link(house)
    async with house.api() as client:
        for _ in range(5):
            await client.get(path, headers=BROWSER)
            await client.get(path, headers={"User-Agent": "linkscanner-bot"})
        await client.get(click_path(house, 0), headers=BROWSER)
    clicks = [(event.properties["link"], event.properties["human"]) for event in house.log.events if event.name == "Email Link Clicked"]
    assert clicks == [(1, True), (1, False), (0, True)]
    assert (await house.row()).clicks == 11


def test_a_scanner_that_tries_every_link_takes_nothing_from_the_reader() -> None:
    scanned = [f"{index}m" for index in range(MOST_TOLD)]
    assert not is_worth_telling(scanned, "99m")
    assert is_worth_telling(scanned, "0h")
    assert not is_worth_telling([*scanned, "0h"], "0h")
    assert not is_worth_telling([f"{index}h" for index in range(MOST_TOLD)], "99h")


async def test_an_opening_is_counted_once_as_the_first(house: House) -> None:
    await sent_with_link(house)
    path = house.links.open_url("m1").removeprefix("https://mail.example")
    first = house.clock.now()
    async with house.api() as client:
        assert (await client.get(path)).headers["content-type"] == "image/gif"
        house.clock.advance(timedelta(minutes=1))
        await client.get(path)
    row = await house.row()
    assert (row.opens, row.opened_at) == (2, first)
    assert house.told().count("Email Opened") == 1


async def test_unsubscribing_asks_first_then_stops_marketing_at_once(house: House) -> None:
    await sent_with_link(house)
    path = house.links.unsubscribe_url("m1").removeprefix("https://mail.example")
    async with house.api() as client:
        page = await client.get(path)
        assert (page.status_code, "Acme" in page.text) == (200, True)
        assert "Unsubscribed" not in house.told()
        assert (await client.post(path, data={"List-Unsubscribe": "One-Click"})).status_code == 200
        assert (await client.post(path)).status_code == 200
    assert house.told().count("Unsubscribed") == 1
    await house.receive(house.a_send(2), house.a_send(3, category="transactional"))
    await house.tick()
    assert [(await house.row("m2")).reason, (await house.row("m3")).status] == ["no_consent", "sent"]


async def test_who_consents_again_can_unsubscribe_again(house: House) -> None:
    await sent_with_link(house)
    path = house.links.unsubscribe_url("m1").removeprefix("https://mail.example")
    async with house.api() as client:
        await client.post(path)
        house.clock.advance(timedelta(days=1))
        again = wire.Consent(marketing=True, address="ana@example.com", at=house.clock.now())
        await house.know(a_lead(consent=again), sequence=2)
        await house.receive(house.a_send(2))
        await house.tick()
        assert (await house.row("m2")).status == "sent"
        house.clock.advance(timedelta(days=1))
        await client.post(path)
    unsubscribed = [event.id for event in house.log.events if event.name == "Unsubscribed"]
    assert len(set(unsubscribed)) == 2


async def test_who_leaves_has_left_also_where_this_replica_s_clock_is_behind_the_one_that_took_his_consent(house: House) -> None:
    consent = wire.Consent(marketing=True, address="ana@example.com", at=house.clock.now() + timedelta(seconds=20))
    await sent_with_link(house)
    await house.know(a_lead(consent=consent), sequence=2)
    async with house.api() as client:
        await client.post(house.links.unsubscribe_url("m1").removeprefix("https://mail.example"))
    await house.receive(house.a_send(2))
    await house.tick()
    assert (await house.row("m2")).reason == "no_consent"
    (told,) = (event for event in house.log.events if event.name == "Unsubscribed")
    assert consent.at is not None
    assert told.at > consent.at


async def test_a_second_unsubscription_is_told_again_unless_it_was_pressed_twice(house: House) -> None:
    """A consent given between the two may be on its way here: the later word must stand wherever the two meet."""
    await sent_with_link(house)
    path = house.links.unsubscribe_url("m1").removeprefix("https://mail.example")
    async with house.api() as client:
        for pause in (timedelta(0), PRESSED_TWICE - timedelta(seconds=1), PRESSED_TWICE):
            house.clock.advance(pause)
            await client.post(path)
    told = [event for event in house.log.events if event.name == "Unsubscribed"]
    assert len({event.id for event in told}) == 2
    assert told[-1].at == house.clock.now()
    assert {(event.properties["topic"], event.properties["address"]) for event in told} == {("all", "ana@example.com")}
    between = wire.Consent(marketing=True, address="ana@example.com", at=house.clock.now() - timedelta(seconds=1))
    await house.know(a_lead(consent=between), sequence=2)
    await house.receive(house.a_send(2))
    await house.tick()
    assert (await house.row("m2")).reason == "no_consent"


async def test_health_and_dead_letters_are_served(house: House) -> None:
    async with house.api() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/api/dead-letters")).json() == {"items": [], "next": None}
