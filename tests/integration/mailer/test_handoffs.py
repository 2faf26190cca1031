"""Hand-offs: sales answers, the clock runs, and the row alone judges."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.mailer.erasing import obey
from services.mailer.handoff_desk import HandoffDesk
from services.mailer.handoffs import LONGEST_SNOOZE, Answer
from services.mailer.outcomes import Deferred, Delivered, Gone, Refused
from services.mailer.tables import DELIVERIES, HANDOFFS
from shared import wire
from shared.erasing import Marks
from tests.builders import a_lead
from tests.mailer_house import YAML, House

HOUR = timedelta(hours=1)
SLA = 4 * HOUR
HOURS = 'working_hours: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00", timezone: UTC}\n'


async def given(house: House, number: int = 1, **overrides: Any) -> str:
    """A hand-off that its endpoint took; answers the path at which sales answers it."""
    await house.receive(house.a_handoff(number, **overrides))
    await house.tick()
    return path_of(house, f"m{number}")


def path_of(house: House, delivery_id: str) -> str:
    return house.links.respond_url(delivery_id).removeprefix("https://mail.example")


async def post(house: House, path: str, **answer: Any) -> httpx.Response:
    async with house.api() as client:
        return await client.post(path, json=answer)


async def row(house: House, handoff_id: str = "m1") -> Any:
    async with house.database.reading() as connection:
        return (await connection.execute(select(HANDOFFS).where(HANDOFFS.c.id == handoff_id))).one()


async def the_clock_goes_on(house: House, by: timedelta) -> datetime | None:
    """Time passes, and hand-offs whose clock ran out are seen to; then their webhooks go."""
    house.clock.advance(by)
    due = await house.desk.tick(house.clock.now())
    await house.tick()
    return due


def told(house: House) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, event.properties) for event in house.log.events]


async def test_sales_accepts_and_the_walk_hears_of_it(house: House) -> None:
    path = await given(house, sla=SLA)
    answer = await post(house, path, answer="accepted", reason="I know her")
    assert answer.status_code == 200
    assert answer.json() == {
        "handoff_id": "m1",
        "status": "accepted",
        "reason": "I know her",
        "until": None,
        "answered_at": house.clock.now().isoformat(),
    }
    [event] = house.log.events
    assert (event.name, event.source, event.trusted, event.lead_id) == ("Handoff Accepted", wire.OURSELVES, True, "l1")
    assert event.properties == {
        "journey": "welcome",
        "step": "hello",
        "enrollment_id": "e1",
        "transition": 1,
        "handoff_id": "m1",
        "endpoint": "sales",
        "reason": "I know her",
    }


async def test_the_address_to_answer_at_stands_in_the_webhook(house: House) -> None:
    path = await given(house)
    assert f'"respond_url":"https://mail.example{path}"'.encode() in (await house.row()).body


@pytest.mark.parametrize("first", ["accepted", "rejected"])
@pytest.mark.parametrize("second", ["accepted", "rejected", "snoozed"])
async def test_a_later_answer_is_told_what_stands(house: House, first: str, second: str) -> None:
    path = await given(house)
    assert (await post(house, path, answer=first, reason="so be it")).status_code == 200
    late = await post(house, path, answer=second)
    assert (late.status_code, late.json()["code"]) == (409, first)
    assert "so be it" in late.json()["message"]
    assert ((await row(house)).status, len(house.log.events)) == (first, 1)


async def test_of_two_answers_at_once_one_stands(house: House) -> None:
    path = await given(house)
    answers = await asyncio.gather(*(post(house, path, answer=word) for word in ("accepted", "rejected", "accepted")))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(house.log.events) == 1


async def test_an_answer_may_be_a_form_and_its_word_may_be_called_status(house: House) -> None:
    path = await given(house)
    async with house.api() as client:
        answer = await client.post(path, data={"status": "rejected", "reason": "a student"})
    assert (answer.status_code, answer.json()["status"]) == (200, "rejected")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", '{"answer": "accepted"'),
        (b"[]", "send an object"),
        (b"\xff", '{"answer": "accepted"'),
        (b"{}", "answer: write one of accepted, rejected, snoozed"),
        (b'{"answer": ["accepted"]}', "answer: write one of"),
        (b'{"answer": "accepted", "reason": 7}', "reason: write a text"),
        (b'{"answer": "snoozed", "for": "soon"}', "`soon` is not a duration"),
        (b'{"answer": "snoozed", "for": "31d"}', "at most 30 days"),
        (b'{"answer": "snoozed", "for": "0s"}', "a moment to come"),
        (b'{"answer": "snoozed", "until": "2027-03-02"}', "such as 2027-03-01T12:00:00Z"),
        (b'{"answer": "snoozed", "until": "2020-03-02T00:00:00Z"}', "a moment to come"),
        (b'{"answer": "snoozed", "until": "9999-12-31T23:59:59-23:00"}', "at most 30 days"),
    ],
)
async def test_what_is_no_answer_is_refused_with_the_remedy_and_changes_nothing(house: House, body: bytes, says: str) -> None:
    path = await given(house)
    async with house.api() as client:
        answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert says in answer.json()["message"]
    assert ((await row(house)).status, house.log.events) == ("open", [])


async def test_an_address_we_did_not_make_is_unknown(house: House) -> None:
    path = await given(house)
    forged = path[:-1] + ("A" if path[-1] != "A" else "B")
    for url in (forged, "/hooks/handoff/x", path_of(house, "m1").replace("/hooks/handoff/", "/hooks/handoff/" + "A" * 4)):
        assert (await post(house, url, answer="accepted")).status_code == 404
    unsubscribe = house.links.unsubscribe_url("m1").rpartition("/")[2]
    assert (await post(house, f"/hooks/handoff/{unsubscribe}", answer="accepted")).status_code == 404
    assert (await row(house)).status == "open"


async def test_opening_the_address_shows_who_it_is_and_changes_nothing(house: House) -> None:
    path = await given(house, note="Call <b>today</b>", lead=a_lead(readiness=9, traits={"name": "Ana & co"}))
    async with house.api() as client:
        page = await client.get(path)
        assert (await client.head(path)).status_code == 200
    assert page.status_code == 200
    assert "Ana &amp; co" in page.text
    assert "Call &lt;b&gt;today&lt;/b&gt;" in page.text
    assert page.text.count("<button") == 3
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert ((await row(house)).status, house.log.events) == ("open", [])


async def test_a_person_presses_a_button_and_sees_what_came_of_it(house: House) -> None:
    path = await given(house)
    async with house.api() as client:
        client.headers["accept"] = "text/html"
        first = await client.post(path, data={"answer": "snoozed", "for": "3d", "reason": ""})
        second = await client.post(path, data={"answer": "accepted", "reason": "mine"})
        third = await client.post(path, data={"answer": "rejected"})
        broken = await client.post(path, data={"answer": "perhaps"})
        shown = await client.get(path)
    assert [page.status_code for page in (first, second, third, broken, shown)] == [200, 200, 409, 400, 200]
    assert "Put off" in first.text
    assert "It is yours" in second.text
    assert "accepted since" in third.text
    assert "<button" not in shown.text
    assert [name for name, _ in told(house)] == ["Handoff Snoozed", "Handoff Accepted"]


async def test_the_clock_begins_when_the_endpoint_takes_it(house: House) -> None:
    house.webhooks.answers["sales"] = Deferred("endpoint_error", detail="HTTP 500")
    await house.receive(house.a_handoff(sla=SLA))
    await house.tick()
    assert (await row(house)).due_at == house.clock.now() + SLA
    house.webhooks.answers.clear()
    await house.go_on(hours=3)
    assert (await row(house)).due_at == house.clock.now() + SLA
    await the_clock_goes_on(house, 2 * HOUR)
    assert (await row(house)).status == "open"


async def test_nobody_answers_and_it_expires_once(house: House) -> None:
    path = await given(house, sla=SLA)
    await the_clock_goes_on(house, SLA - timedelta(seconds=1))
    assert house.log.events == []
    await the_clock_goes_on(house, timedelta(seconds=1))
    await the_clock_goes_on(house, 100 * HOUR)
    assert [(name, about["handoff_id"]) for name, about in told(house)] == [("Handoff Expired", "m1")]
    late = await post(house, path, answer="accepted")
    assert (late.status_code, late.json()["code"]) == (409, "expired")


async def test_the_beat_says_when_the_next_clock_runs_out(house: House) -> None:
    assert await house.desk.tick(house.clock.now()) is None
    await given(house, 1, sla=SLA)
    await given(house, 2, sla=HOUR)
    assert await house.desk.tick(house.clock.now()) == house.clock.now() + HOUR


async def test_the_fallback_gets_the_same_handoff_and_a_clock_of_its_own(house: House) -> None:
    await given(house, sla=SLA, fallback="slow", sequence=7)
    await the_clock_goes_on(house, SLA)
    assert house.log.events == []
    (_, first_id, first), (endpoint, second_id, second) = house.webhooks.received
    assert (endpoint, first_id) == ("slow", "m1")
    assert second_id != first_id
    one, two = (json.loads(body)["data"] for body in (first, second))
    assert (one["handoff_id"], two["handoff_id"]) == ("m1", "m1")
    assert (one["sequence"], two["sequence"]) == (7, 8)
    assert one["lead"] == two["lead"]
    assert one["respond_url"] != two["respond_url"]
    assert (await row(house)).due_at == house.clock.now() + SLA
    await the_clock_goes_on(house, SLA)
    assert [name for name, _ in told(house)] == ["Handoff Expired"]


async def test_who_no_longer_has_it_may_accept_but_not_turn_it_down(house: House) -> None:
    path = await given(house, sla=SLA, fallback="slow")
    await the_clock_goes_on(house, SLA)
    for word in ("rejected", "snoozed"):
        late = await post(house, path, answer=word)
        assert (late.status_code, late.json()["code"]) == (409, "passed_on")
    assert (await post(house, path, answer="accepted")).status_code == 200
    second = path_of(house, (await row(house)).delivery_id)
    assert (await post(house, second, answer="rejected")).json()["code"] == "accepted"


async def test_an_endpoint_that_will_never_take_it_is_not_waited_for_where_there_is_a_fallback(house: House) -> None:
    house.webhooks.answers["sales"] = Gone("HTTP 410")
    await given(house, 1, sla=SLA, fallback="slow")
    await given(house, 2, sla=SLA)
    await the_clock_goes_on(house, timedelta(0))
    assert [endpoint for endpoint, _, _ in house.webhooks.received].count("slow") == 1
    assert (await row(house, "m2")).due_at == house.clock.now() + SLA


async def test_what_was_passed_on_is_not_tried_at_the_first_endpoint_any_more(house: House) -> None:
    house.webhooks.answers["sales"] = Deferred("endpoint_error")
    await given(house, sla=HOUR, fallback="slow")
    await the_clock_goes_on(house, HOUR)
    assert ((await house.row()).status, (await house.row()).reason) == ("suppressed", "passed_on")
    tried = len(house.webhooks.received)
    await house.go_on(hours=1)
    assert len(house.webhooks.received) == tried


async def test_an_answer_ends_the_tries_to_deliver(house: House) -> None:
    house.webhooks.answers["sales"] = Deferred("timeout")
    path = await given(house)
    assert (await post(house, path, answer="accepted")).status_code == 200
    assert ((await house.row()).status, (await house.row()).reason) == ("suppressed", "answered")


async def test_a_snooze_stops_the_clock_until_then(house: House) -> None:
    path = await given(house, sla=SLA)
    house.clock.advance(HOUR)
    answer = await post(house, path, answer="snoozed", reason="on holiday", **{"for": "2d"})
    until = house.clock.now() + timedelta(days=2)
    assert (answer.json()["status"], answer.json()["until"]) == ("snoozed", until.isoformat())
    assert (await row(house)).due_at == until + 3 * HOUR
    [(name, about)] = told(house)
    assert (name, about["until"], about["reason"]) == ("Handoff Snoozed", until.isoformat(), "on holiday")
    assert (await post(house, path, answer="accepted")).status_code == 200


async def test_a_snooze_can_be_repeated_and_takes_nothing_from_the_sla(house: House) -> None:
    path = await given(house, sla=SLA)
    house.clock.advance(HOUR)
    await post(house, path, answer="snoozed", **{"for": "30d"})
    house.clock.advance(HOUR)
    again = await post(house, path, answer="snoozed", until=(house.clock.now() + LONGEST_SNOOZE).isoformat())
    assert again.status_code == 200
    assert (await row(house)).due_at == house.clock.now() + LONGEST_SNOOZE + 3 * HOUR
    assert len({event.id for event in house.log.events}) == 2


async def test_a_snooze_of_a_day_is_meant_where_none_is_said(house: House) -> None:
    path = await given(house)
    answer = await post(house, path, answer="snoozed")
    assert answer.json()["until"] == (house.clock.now() + timedelta(days=1)).isoformat()


async def test_an_sla_in_working_hours_waits_for_sales_to_be_there(house: House) -> None:
    house.version = await house.publish(yaml=YAML + HOURS)
    monday_noon = house.clock.now()
    await given(house, sla=SLA, sla_working=True)
    assert (await row(house)).due_at == monday_noon + SLA
    house.clock.advance(timedelta(hours=4))  # an hour before they close
    await given(house, 2, sla=SLA, sla_working=True)
    assert (await row(house, "m2")).due_at == monday_noon + timedelta(days=1)


async def test_an_answer_goes_to_the_lead_that_it_has_become_part_of(house: House) -> None:
    path = await given(house, lead_id="anonymous")
    await house.know(a_lead(), sequence=2, merged_from="anonymous")
    await post(house, path, answer="accepted")
    assert [event.lead_id for event in house.log.events] == ["l1"]
    async with house.api() as client:
        listed = (await client.get("/api/handoffs", params={"lead_id": "anonymous"})).json()["items"]
    assert [(one["id"], one["lead_id"], one["status"]) for one in listed] == [("m1", "l1", "accepted")]


async def test_a_handoff_that_is_no_longer_kept_takes_no_answer(house: House) -> None:
    path = await given(house)
    async with house.database.transaction() as connection:
        await connection.execute(HANDOFFS.delete())
        await connection.execute(DELIVERIES.delete())
    house.books_balance = False
    async with house.api() as client:
        assert (await client.get(path)).status_code == 410
        assert (await client.post(path, json={"answer": "accepted"})).status_code == 410


async def test_the_handoff_of_an_erased_lead_ends_and_says_nothing_more(house: House) -> None:
    path = await given(house, sla=SLA)
    erasure = wire.Erasure(erased="l1", at=house.clock.now(), lead_ids=["l1"], marks=[])
    async with house.outbox.work() as work:
        await obey(work, erasure, Marks(house.ports.signer))
    async with house.api() as client:
        assert (await client.get(path)).status_code == 410
        assert (await client.post(path, json={"answer": "accepted"})).status_code == 410
    await the_clock_goes_on(house, 2 * SLA)
    assert house.log.events == []


async def test_clocks_survive_a_restart_and_of_two_replicas_one_acts(house: House) -> None:
    await given(house, sla=SLA, fallback="slow")
    house.clock.advance(SLA)
    other = HandoffDesk(house.outbox, house.database, house.editions, house.links.respond_url)
    await asyncio.gather(house.desk.tick(house.clock.now()), other.tick(house.clock.now()))
    await house.tick()
    assert [endpoint for endpoint, _, _ in house.webhooks.received] == ["sales", "slow"]


async def test_an_answer_and_the_end_of_the_clock_at_once_leave_one_ending(house: House) -> None:
    await given(house, sla=SLA)
    house.clock.advance(SLA)
    judged, _ = await asyncio.gather(house.desk.answer("m1", Answer("accepted")), house.desk.tick(house.clock.now()))
    assert judged is not None
    assert [name for name, _ in told(house)] == ["Handoff Accepted" if judged.taken else "Handoff Expired"]


async def test_the_audit_counts_what_was_given(house: House) -> None:
    for number, word in ((1, "accepted"), (2, "rejected"), (3, "snoozed")):
        await post(house, await given(house, number), answer=word)
    await given(house, 4, sla=HOUR, fallback="slow")
    await the_clock_goes_on(house, HOUR)
    await the_clock_goes_on(house, HOUR)
    async with house.api() as client:
        checks = (await client.get("/api/audit")).json()["checks"]
        received = (await client.get("/api/audit/received", params={"before": "2028-01-01T00:00:00Z"})).json()["items"]
    [books] = [check for check in checks if check["name"].startswith("given")]
    counts = {name: books[name] for name in ("given", "open", "accepted", "rejected", "expired", "ok")}
    assert counts == {"given": 4, "open": 1, "accepted": 1, "rejected": 1, "expired": 1, "ok": True}
    assert [item["count"] for item in received] == [4]


async def test_a_webhook_without_its_handoff_is_found_by_the_audit(house: House) -> None:
    await given(house)
    async with house.database.transaction() as connection:
        await connection.execute(HANDOFFS.delete())
    house.books_balance = False
    async with house.api() as client:
        checks = (await client.get("/api/audit")).json()["checks"]
    assert [check["ok"] for check in checks if check["name"].startswith("given")] == [False]


async def test_handoffs_are_listed_with_who_has_them(house: House) -> None:
    await given(house, 1)
    house.clock.advance(HOUR)
    await given(house, 2, endpoint="slow", sla=SLA)
    await post(house, path_of(house, "m1"), answer="rejected", reason="too small")
    async with house.api() as client:
        everything = (await client.get("/api/handoffs")).json()["items"]
        still_open = (await client.get("/api/handoffs", params={"status": "open"})).json()["items"]
    assert [(one["id"], one["endpoint"], one["status"], one["reason"]) for one in everything] == [
        ("m2", "slow", "open", None),
        ("m1", "sales", "rejected", "too small"),
    ]
    assert [one["id"] for one in still_open] == ["m2"]


async def test_a_delivered_webhook_shows_whom_it_went_to(house: House) -> None:
    house.webhooks.answers["sales"] = Delivered("HTTP 204")
    await given(house)
    async with house.api() as client:
        [listed] = (await client.get("/api/deliveries")).json()["items"]
        shown = (await client.get("/api/deliveries/m1")).json()
    assert (listed["to"], shown["to"]) == ("sales", "sales")
    assert "lane" not in listed


async def retry(house: House, delivery_id: str = "m1") -> tuple[int, str]:
    async with house.api() as client:
        answer = await client.post(f"/api/deliveries/{delivery_id}/retry")
    return answer.status_code, answer.json().get("message", "")


async def test_a_failed_webhook_of_an_open_handoff_is_tried_again_on_request(house: House) -> None:
    house.webhooks.answers["sales"] = Refused("endpoint_refused")
    await given(house)
    house.webhooks.answers.clear()
    assert (await retry(house))[0] == 200
    await house.tick()
    assert (await house.row()).status == "sent"


@pytest.mark.parametrize("ending", ["accepted", "rejected", "expired"])
async def test_sales_gets_no_lead_again_that_is_seen_to(house: House, ending: str) -> None:
    house.webhooks.answers["sales"] = Refused("endpoint_refused")
    path = await given(house, sla=SLA)
    if ending == "expired":
        await the_clock_goes_on(house, SLA)
    else:
        await post(house, path, answer=ending)
    tried = len(house.webhooks.received)
    status, why = await retry(house)
    await house.tick()
    assert (status, f"its hand-off is {ending}" in why) == (409, True)
    assert ((await house.row()).status, len(house.webhooks.received)) == ("failed", tried)


async def test_a_handoff_that_the_fallback_has_is_not_told_to_the_first_endpoint_again(house: House) -> None:
    house.webhooks.answers["sales"] = house.webhooks.answers["slow"] = Refused("endpoint_refused")
    await given(house, sla=SLA, fallback="slow")
    await the_clock_goes_on(house, timedelta(0))
    newest = (await row(house)).delivery_id
    assert newest != "m1"
    status, why = await retry(house)
    assert (status, f"passed on to the fallback by delivery {newest}" in why) == (409, True)
    assert (await retry(house, newest))[0] == 200
