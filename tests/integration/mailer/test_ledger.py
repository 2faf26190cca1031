"""The ledger: one row a message, and each row ends where its relay, its reader and its sender want it to."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.mailer import attempt
from services.mailer.attempt import POSTS_AT_ONCE
from services.mailer.handoffs import Answer
from services.mailer.lanes import RELAY_PLACES
from services.mailer.measuring import OPEN, measure_open
from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Refused
from shared import wire
from shared.clock import real_now
from shared.errors import Outage
from shared.work import Outbox
from tests.builders import NOON, a_lead, a_template
from tests.fakes import FakeRelay, FakeWebhooks
from tests.mailer_house import CONSENT, House

MINUTE = timedelta(minutes=1)


async def test_a_message_becomes_one_mail_and_one_event(house: House) -> None:
    await house.receive(house.a_send())
    await house.tick()
    row = await house.row()
    assert (row.status, row.attempts, row.address, row.sent_at) == ("sent", 1, "ana@example.com", house.clock.now())
    [(recipient, mail)] = house.relay.taken
    assert recipient == "ana@example.com"
    assert f"Message-ID: {row.message_id}".encode() in mail
    [event] = house.log.events
    assert (event.name, event.source, event.lead_id, event.trusted) == ("Email Sent", wire.OURSELVES, "l1", True)
    assert (event.properties["enrollment_id"], event.properties["transition"], event.properties["step"]) == ("e1", 1, "hello")


async def test_how_many_deliveries_are_open_is_told(house: House) -> None:
    house.relay.to_offer = Deferred("busy")
    await house.receive(house.a_send())
    await measure_open(house.database)
    assert open_deliveries() == {"queued": 1, "sending": 0, "deferred": 0, "in_doubt": 0}
    await house.tick()
    await measure_open(house.database)
    assert open_deliveries() == {"queued": 0, "sending": 0, "deferred": 1, "in_doubt": 0}


def open_deliveries() -> dict[str, float | None]:
    return {status: REGISTRY.get_sample_value("dripline_deliveries_open", {"status": status}) for status in OPEN}


async def test_a_message_that_comes_again_is_the_same_delivery(house: House) -> None:
    await house.receive(house.a_send(), house.a_send())
    await house.tick()
    await house.receive(house.a_send())
    await house.tick()
    assert len(house.relay.taken) == 1
    assert house.told() == ["Email Sent"]


async def test_a_withdrawn_message_never_goes(house: House) -> None:
    await house.receive(house.a_send())
    await house.receive(wire.Withdraw(id="m1", lead_id="l1", reason="goal", at=NOON))
    await house.tick()
    row = await house.row()
    assert (row.status, row.reason, row.due_at) == ("suppressed", "goal", None)
    assert house.relay.taken == []
    assert house.told() == ["Email Suppressed"]


async def test_a_withdrawal_may_come_before_its_message(house: House) -> None:
    await house.receive(wire.Withdraw(id="m1", lead_id="l1", reason="goal", at=NOON))
    await house.receive(house.a_send())
    await house.tick()
    assert (await house.row()).status == "suppressed"
    assert house.relay.taken == []


async def test_a_withdrawal_comes_too_late_for_a_sent_mail(house: House) -> None:
    await house.receive(house.a_send())
    await house.tick()
    await house.receive(wire.Withdraw(id="m1", lead_id="l1", reason="goal", at=NOON))
    assert (await house.row()).status == "sent"


async def test_a_withdrawal_between_claim_and_mark_is_obeyed(house: House) -> None:
    async def withdraw(_: str) -> None:
        await house.receive(wire.Withdraw(id="m1", lead_id="l1", reason="exited", at=NOON))

    house.relay.before_offer = withdraw
    await house.receive(house.a_send())
    await house.tick()
    row = await house.row()
    assert (row.status, row.reason) == ("suppressed", "exited")
    assert (house.relay.taken, house.relay.withdrawn) == ([], 1)
    assert house.told() == ["Email Suppressed"]


async def test_an_unsubscription_between_claim_and_mark_is_obeyed(house: House) -> None:
    await house.receive(house.a_send(1))
    await house.tick()

    async def unsubscribe(_: str) -> None:
        await house.readers.unsubscribe("m1", house.clock.now())

    house.relay.before_offer = unsubscribe
    await house.receive(house.a_send(2))
    await house.tick()
    row = await house.row("m2")
    assert (row.status, row.reason) == ("suppressed", "no_consent")
    assert len(house.relay.taken) == 1
    assert house.told() == ["Email Sent", "Unsubscribed", "Email Suppressed"]


async def test_a_new_address_between_claim_and_mark_gets_a_mail_of_its_own(house: House) -> None:
    async def move(_: str) -> None:
        consent = wire.Consent(marketing=True, address="new@example.com", at=NOON)
        await house.know(a_lead(email="new@example.com", consent=consent), sequence=2)

    house.relay.before_offer = move
    await house.receive(house.a_send())
    await house.tick()
    assert house.relay.taken == []
    await house.tick()
    assert [recipient for recipient, _ in house.relay.taken] == ["new@example.com"]


@pytest.mark.parametrize(
    ("lead", "send", "reason"),
    [
        ({"email": None}, {}, "no_address"),
        ({"consent": wire.Consent()}, {}, "no_consent"),
        ({"email": "other@example.com"}, {}, "no_consent"),
        ({}, {"expires_at": NOON}, "expired"),
        ({"consent": wire.Consent(marketing=True, address="ana@example.com", topics={"offers": False})}, {"topic": "offers"}, "topic"),
    ],
)
async def test_what_may_not_go_is_suppressed_with_its_reason(house: House, lead: dict[str, Any], send: dict[str, Any], reason: str) -> None:
    await house.know(a_lead(**({"consent": CONSENT} | lead)), sequence=2)
    await house.receive(house.a_send(**send))
    await house.tick()
    assert ((await house.row()).status, (await house.row()).reason) == ("suppressed", reason)
    assert house.log.events[0].properties["reason"] == reason
    assert house.relay.offered == []


async def test_transactional_mail_needs_no_consent(house: House) -> None:
    await house.know(a_lead(), sequence=2)
    await house.receive(house.a_send(category="transactional"))
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_4xx_waits_by_the_schedule_and_then_goes(house: House) -> None:
    house.relay.by_recipient["ana@example.com"] = Deferred("relay_deferred", detail="451 greylisted")
    await house.receive(house.a_send())
    await house.tick()
    row = await house.row()
    assert (row.status, row.reason, row.detail, row.attempts) == ("deferred", "relay_deferred", "451 greylisted", 1)
    assert row.due_at == house.clock.now() + MINUTE
    await house.go_on(seconds=59)
    assert (await house.row()).attempts == 1
    house.relay.by_recipient.clear()
    await house.go_on(seconds=1)
    assert ((await house.row()).status, (await house.row()).attempts) == ("sent", 2)


async def test_4xx_for_a_day_fails(house: House) -> None:
    house.relay.by_recipient["ana@example.com"] = Deferred("relay_deferred")
    await house.receive(house.a_send())
    began = house.clock.now()
    await house.tick()
    while (row := await house.row()).status == "deferred":
        house.clock.advance(row.due_at - house.clock.now())
        await house.tick()
    assert (row.status, row.attempts) == ("failed", 10)
    assert timedelta(hours=23) < house.clock.now() - began < timedelta(hours=24)
    assert house.told() == ["Email Failed"]


async def test_a_retry_beyond_max_age_is_given_up_at_once(house: House) -> None:
    house.relay.by_recipient["ana@example.com"] = Deferred("relay_deferred")
    await house.receive(house.a_send(expires_at=house.clock.now() + timedelta(seconds=30)))
    await house.tick()
    assert ((await house.row()).status, (await house.row()).reason) == ("suppressed", "expired")


async def test_a_dead_address_fails_and_is_suppressed(house: House) -> None:
    house.relay.by_recipient["ana@example.com"] = Refused("recipient_refused", dead_address=True, detail="550 5.1.1 nobody")
    await house.receive(house.a_send(1))
    await house.tick()
    assert (await house.row()).status == "failed"
    await house.receive(house.a_send(2, category="transactional"))
    await house.tick()
    assert ((await house.row("m2")).status, (await house.row("m2")).reason) == ("suppressed", "suppressed")


async def test_a_refused_mail_fails_without_marking_its_reader(house: House) -> None:
    house.relay.to_mail = Refused("mail_refused", ours=True, detail="554 5.7.1 spam")
    await house.receive(house.a_send(1))
    await house.tick()
    house.relay.to_mail = Delivered()
    await house.receive(house.a_send(2))
    await house.tick()
    assert await house.statuses() == {"m1": "failed", "m2": "sent"}


async def test_a_relay_that_is_away_holds_all_and_resumes_by_itself(house: House) -> None:
    house.relay.to_offer = Held("relay_unreachable")
    await house.receive(*(house.a_send(n) for n in range(1, 6)))
    await house.tick()
    assert set((await house.statuses()).values()) == {"deferred"}
    assert (await house.row()).attempts == 0
    tries = len(house.relay.offered)
    for _ in range(5):
        await house.go_on(seconds=60)
    assert len(house.relay.offered) == tries + 5, "while it is away one delivery tries it, after each pause"
    house.relay.to_offer = None
    for _ in range(3):
        await house.go_on(seconds=60)
    assert set((await house.statuses()).values()) == {"sent"}
    assert len(house.relay.taken) == 5


async def test_a_relay_that_refuses_us_three_times_in_a_row_holds_the_rest(house: House) -> None:
    house.relay.to_mail = Refused("mail_refused", ours=True)
    for number in range(1, 6):
        await house.receive(house.a_send(number))
        await house.tick()
    assert list((await house.statuses()).values()) == ["failed", "failed", "failed", "queued", "queued"]


async def test_no_answer_after_the_mail_is_in_doubt_and_held(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send())
    await house.tick()
    house.relay.to_mail = Delivered()
    for _ in range(30):
        await house.go_on(hours=1)
    row = await house.row()
    assert (row.status, row.reason, row.due_at) == ("in_doubt", "no_answer", None)
    assert len(house.relay.taken) == 1
    assert house.told() == ["Email In Doubt"]


async def test_a_relay_that_never_answers_puts_few_in_doubt_not_all(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    for number in range(10):
        await house.receive(house.a_send(number))
        await house.tick()
    assert sorted((await house.statuses()).values()) == ["in_doubt"] * 3 + ["queued"] * 7


async def test_in_doubt_with_retry_goes_again_under_the_same_message_id(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send(category="transactional"))
    await house.tick()
    assert (await house.row()).status == "queued"
    house.relay.to_mail = Delivered()
    await house.go_on(minutes=1)
    assert (await house.row()).status == "sent"
    first, second = (mail.split(b"Message-ID: ")[1].split(b"\r\n")[0] for _, mail in house.relay.taken)
    assert first == second == (await house.row()).message_id.encode()
    assert house.told() == ["Email Sent"]


async def test_in_doubt_again_and_again_ends_in_doubt(house: House) -> None:
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send(category="transactional"))
    for _ in range(30):
        await house.go_on(hours=8)
    assert ((await house.row()).status, len(house.relay.taken)) == ("in_doubt", 10)


async def interrupted(house: House, number: int = 1, **overrides: Any) -> None:
    """A process dies after the relay took the mail and before it could write that down."""

    class Dies(FakeRelay):
        async def offer(self, sender: str, recipient: str) -> Any:
            offer = await FakeRelay.offer(self, sender, recipient)

            async def die(message: bytes) -> Any:
                house.relay.taken.append((recipient, message))
                raise asyncio.CancelledError

            offer.data = die
            return offer

    await house.receive(house.a_send(number, **overrides))
    other = house.new_scheduler(relay=Dies())
    await other.tick(house.clock.now())
    await other.idle()
    assert (await house.row(f"m{number}")).status == "sending"


async def test_killed_between_the_relays_yes_and_our_commit_is_in_doubt(house: House) -> None:
    await interrupted(house)
    await house.go_on(minutes=14)
    assert (await house.row()).status == "sending", "its lease still runs: a slow one may yet tell"
    await house.go_on(minutes=1)
    assert ((await house.row()).status, (await house.row()).reason) == ("in_doubt", "interrupted")
    assert len(house.relay.taken) == 1


async def test_a_sole_owner_need_not_wait_for_the_leases_of_its_earlier_life(house: House) -> None:
    await interrupted(house, 1)
    await interrupted(house, 2, category="transactional")
    await house.tick(house.new_scheduler(alone=True))
    assert await house.statuses() == {"m1": "in_doubt", "m2": "queued"}


async def test_killed_before_the_mark_goes_when_the_lease_ends(house: House) -> None:
    async def die(_: str) -> None:
        raise asyncio.CancelledError

    dying = FakeRelay()
    dying.before_offer = die  # type: ignore[method-assign]
    await house.receive(house.a_send())
    other = house.new_scheduler(relay=dying)
    await other.tick(house.clock.now())
    await other.idle()
    await house.go_on(minutes=4)
    assert (await house.row()).status == "queued"
    await house.go_on(minutes=1)
    assert ((await house.row()).status, (await house.row()).attempts) == ("sent", 1)


async def test_two_schedulers_on_one_database_send_each_delivery_once(house: House) -> None:
    other = house.new_scheduler()
    for start in range(0, 200, 50):
        await house.receive(*(house.a_send(number) for number in range(start, start + 50)))
        await asyncio.gather(house.scheduler.tick(house.clock.now()), other.tick(house.clock.now()))
    while "queued" in (await house.statuses()).values():
        await asyncio.gather(house.tick(), house.tick(other))
    await asyncio.gather(house.scheduler.idle(), other.idle())
    assert len(house.relay.taken) == 200
    assert set((await house.statuses()).values()) == {"sent"}


async def test_a_stalled_owner_that_wakes_up_late_sends_nothing(house: House) -> None:
    stalled, go = asyncio.Event(), asyncio.Event()

    async def stall(_: str) -> None:
        stalled.set()
        await go.wait()

    slow = FakeRelay()
    slow.before_offer = stall  # type: ignore[method-assign]
    other = house.new_scheduler(relay=slow)
    await house.receive(house.a_send())
    await other.tick(house.clock.now())
    await stalled.wait()
    await house.go_on(minutes=5)
    go.set()
    await other.idle()
    assert (len(house.relay.taken), slow.taken, slow.withdrawn) == (1, [], 1)


async def test_transactional_goes_first_then_priority_then_due_time(house: House) -> None:
    await house.receive(house.a_send(1), house.a_send(2, priority=10), house.a_send(3, category="transactional", priority=200))
    house.relay.to_offer = Held("relay_unreachable")
    await house.tick()
    house.relay.to_offer = None
    house.relay.offered.clear()
    for _ in range(3):
        await house.go_on(seconds=60)
    sent = [mail.split(b"Message-ID: ")[1].split(b"\r\n")[0].decode() for _, mail in house.relay.taken]
    assert sent == [(await house.row(one)).message_id for one in ("m3", "m2", "m1")]


async def test_no_more_are_under_way_than_there_are_places(house: House) -> None:
    gate = asyncio.Event()

    async def wait(_: str) -> None:
        await gate.wait()

    house.relay.before_offer = wait
    await house.receive(*(house.a_send(number) for number in range(RELAY_PLACES + 10)))
    await house.scheduler.tick(house.clock.now())
    await house.scheduler.tick(house.clock.now())
    gate.set()
    await house.scheduler.idle()
    assert len(house.relay.offered) == RELAY_PLACES


async def test_a_message_that_overtakes_its_lead_s_activity_goes_to_the_address_that_its_journey_knew(house: House) -> None:
    knew = a_lead(id="l2", email="ana@example.com", consent=CONSENT)
    await house.know(a_lead(id="l2", email=None, consent=wire.Consent()), sequence=3)
    await house.receive(house.a_send(1, lead_id="l2", lead=knew, sequence=5))
    await house.tick()
    assert (await house.row()).status == "sent"
    await house.know(a_lead(id="l2", email="old@example.com", consent=wire.Consent()), sequence=4)
    await house.receive(house.a_send(2, lead_id="l2", lead=a_lead(id="l2", email=None), sequence=2))
    await house.tick()
    assert house.relay.offered == ["ana@example.com", "ana@example.com"]


async def test_a_mail_of_an_unknown_lead_waits_for_it(house: House) -> None:
    await house.receive(house.a_send(lead_id="l2"))
    await house.tick()
    assert ((await house.row()).status, (await house.row()).reason) == ("queued", None)
    consent = wire.Consent(marketing=True, address="bo@example.com", at=NOON)
    await house.know(a_lead(id="l2", email="bo@example.com", consent=consent))
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_a_mail_whose_lead_never_comes_is_deferred_and_fails_after_a_day(house: House) -> None:
    await house.receive(house.a_send(lead_id="l2"))
    await house.tick()
    await house.go_on(seconds=60)
    assert ((await house.row()).status, (await house.row()).reason) == ("deferred", "lead_unknown")
    await house.go_on(hours=24)
    assert ((await house.row()).status, (await house.row()).reason) == ("failed", "lead_unknown")


async def test_a_template_that_misses_a_name_holds_its_mail_until_a_newer_playbook(house: House) -> None:
    version = await house.publish({"welcome-1.html": a_template("<p>{{ lead.traits.nme }} {{ nonsense }}</p>")})
    await house.receive(house.a_send(version=version))
    await house.tick()
    await house.tick()
    row = await house.row()
    assert (row.status, row.reason, row.due_at, row.attempts) == ("deferred", "template", None, 0)
    assert "nonsense" in row.detail
    await house.go_on(hours=30)
    assert (await house.row()).status == "deferred"
    await house.publish({"welcome-1.html": a_template("<p>Better</p>", subject="Better")})
    await house.tick()
    assert (await house.row()).status == "sent"
    assert b"Subject: Better" in house.relay.taken[0][1]


@pytest.mark.parametrize("trouble", [Deferred("relay_deferred", detail="451 greylisted"), Held("relay_unreachable")])
async def test_a_mail_once_held_by_its_template_goes_by_the_newest_playbook_also_after_a_deferral(
    house: House, trouble: Deferred | Held
) -> None:
    broken = await house.publish({"welcome-1.html": a_template("{{ lead.traits.nme }}")})
    await house.receive(house.a_send(version=broken))
    await house.tick()
    await house.publish()
    house.relay.to_offer = trouble
    await house.tick()
    assert ((await house.row()).reason, (await house.row()).version) == (trouble.reason, broken)
    house.relay.to_offer = None
    await house.go_on(minutes=1)
    assert ((await house.row()).status, (await house.row()).version) == ("sent", broken)


async def test_a_template_that_a_newer_playbook_has_already_mended_waits_for_no_third(house: House) -> None:
    broken = await house.publish({"welcome-1.html": a_template("{{ lead.traits.nme }}")})
    await house.publish()
    await house.tick()
    await house.receive(house.a_send(version=broken))
    await house.tick()
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_one_broken_template_stops_no_other(house: House) -> None:
    await house.receive(house.a_send(1, template="missing"), house.a_send(2), house.a_send(3, version="never-published"))
    await house.tick()
    assert await house.statuses() == {"m1": "deferred", "m2": "sent", "m3": "deferred"}


async def test_a_lead_without_a_valid_address_fails_alone(house: House) -> None:
    await house.know(a_lead(email="not an address"), sequence=2)
    await house.receive(house.a_send(category="transactional"))
    await house.tick()
    assert ((await house.row()).status, (await house.row()).reason) == ("failed", "invalid_address")


async def test_deliveries_follow_a_merged_lead(house: House) -> None:
    await house.receive(house.a_send(1, lead_id="anonymous"))
    await house.tick()
    await house.know(a_lead(consent=CONSENT), sequence=2, merged_from="anonymous")
    await house.receive(house.a_send(2, lead_id="anonymous"))
    await house.know(a_lead(id="anonymous", email="late@example.com"), sequence=9)
    await house.go_on(seconds=5)
    assert {(await house.row(one)).lead_id for one in ("m1", "m2")} == {"l1"}
    assert [recipient for recipient, _ in house.relay.taken] == ["ana@example.com"] * 2


async def test_an_activity_that_changes_nothing_only_moves_the_position(house: House) -> None:
    await house.know(a_lead(email="later@example.com"), sequence=5, profile_changed=False)
    await house.know(a_lead(email="older@example.com"), sequence=0)
    await house.receive(house.a_send())
    await house.tick()
    assert [recipient for recipient, _ in house.relay.taken] == ["ana@example.com"]


async def test_a_handoff_is_posted_with_the_body_it_was_stored_with(house: House) -> None:
    house.webhooks.answers["sales"] = Deferred("endpoint_error", detail="HTTP 500")
    await house.receive(house.a_handoff())
    await house.tick()
    first = await house.row()
    assert (first.status, first.kind, first.attempts) == ("deferred", "webhook", 1)
    pause = (first.due_at - house.clock.now()).total_seconds()
    assert 4.5 <= pause <= 5.5
    house.webhooks.answers.clear()
    await house.go_on(seconds=6)
    assert (await house.row()).status == "sent"
    (_, id_1, body_1), (_, id_2, body_2) = house.webhooks.received
    assert (id_1, body_1) == (id_2, body_2) == ("m1", first.body)
    assert house.told() == []


async def test_a_handoff_needs_neither_consent_nor_a_known_lead(house: House) -> None:
    await house.receive(house.a_handoff(lead_id="unknown"))
    await house.tick()
    assert (await house.row()).status == "sent"


async def test_an_endpoint_that_is_gone_gets_nothing_more_until_its_url_changes(house: House) -> None:
    house.webhooks.answers["sales"] = Gone("HTTP 410")
    await house.receive(house.a_handoff(1))
    await house.tick()
    await house.receive(house.a_handoff(2))
    await house.tick()
    assert [(await house.row(one)).reason for one in ("m1", "m2")] == ["gone", "endpoint_disabled"]
    assert len(house.webhooks.received) == 1
    house.webhooks.answers.clear()
    await house.publish(yaml=(await house.playbooks.get(house.version)).files["playbook.yaml"].decode().replace("/hot", "/new"))
    async with house.api() as client:
        assert (await client.post("/api/deliveries/m2/retry")).status_code == 200
    await house.tick()
    assert (await house.row("m2")).status == "sent"


async def test_an_endpoint_that_is_gone_is_shown_and_can_be_enabled_again(house: House) -> None:
    house.webhooks.answers["sales"] = Gone("HTTP 410")
    await house.receive(house.a_handoff(1))
    await house.tick()
    await house.receive(house.a_handoff(2), house.a_handoff(3))
    await house.tick()
    await house.desk.answer("m3", Answer("accepted"))
    async with house.api() as client:
        shown = {one["name"]: one for one in (await client.get("/api/endpoints")).json()["items"]}
        assert (shown["sales"]["enabled"], shown["sales"]["reason"], shown["slow"]["enabled"]) == (False, "gone", True)
        assert (shown["sales"]["host"], shown["sales"]["secrets"]) == ("sales.example", 1)
        house.webhooks.answers.clear()
        assert (await client.post("/api/endpoints/sales/enable")).json() == {"name": "sales", "enabled": True, "retried": 2}
        assert (await client.post("/api/endpoints/sales/enable")).status_code == 409
        assert (await client.post("/api/endpoints/nobody/enable")).status_code == 404
    await house.tick()
    assert await house.statuses() == {"m1": "sent", "m2": "sent", "m3": "failed"}


async def test_one_slow_endpoint_delays_no_other(house: House) -> None:
    gate = asyncio.Event()

    async def wait(endpoint: Any) -> None:
        if endpoint.name == "slow":
            await gate.wait()

    house.webhooks.before_post = wait  # type: ignore[method-assign]
    await house.receive(*(house.a_handoff(number, "slow") for number in range(20)), house.a_handoff(20), house.a_send(21))
    await house.scheduler.tick(house.clock.now())
    await asyncio.gather(*(house.scheduler._under_way[one] for one in ("m20", "m21")))
    assert {one for one, status in (await house.statuses()).items() if status == "sent"} == {"m20", "m21"}
    gate.set()
    await house.scheduler.idle()


async def test_an_endpoint_is_never_posted_more_than_a_few_at_once(house: House) -> None:
    gate, at_once = asyncio.Event(), Counter[str]()

    async def wait(endpoint: Any) -> None:
        at_once[endpoint.name] += 1
        await gate.wait()

    house.webhooks.before_post = wait  # type: ignore[method-assign]
    await house.receive(*(house.a_handoff(number, ("sales", "slow")[number % 2]) for number in range(40)))
    await house.scheduler.tick(house.clock.now())
    while sum(at_once.values()) < 2 * POSTS_AT_ONCE:
        await asyncio.sleep(0)
    assert at_once == {"sales": POSTS_AT_ONCE, "slow": POSTS_AT_ONCE}
    gate.set()
    await house.scheduler.idle()
    assert set((await house.statuses()).values()) == {"sent"}


async def test_one_that_was_answered_while_it_waited_for_its_turn_is_not_posted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "LONG_WAIT", -1.0)  # every wait is long
    gate, posting = asyncio.Event(), Counter[str]()

    async def wait(endpoint: Any) -> None:
        posting[endpoint.name] += 1
        await gate.wait()

    house.webhooks.before_post = wait  # type: ignore[method-assign]
    await house.receive(*(house.a_handoff(number) for number in range(POSTS_AT_ONCE + 1)))
    await house.scheduler.tick(house.clock.now())
    while posting["sales"] < POSTS_AT_ONCE:
        await asyncio.sleep(0)
    waiting = f"m{POSTS_AT_ONCE}"
    await house.desk.answer(waiting, Answer("accepted"))
    gate.set()
    await house.scheduler.idle()
    assert waiting not in {webhook_id for _, webhook_id, _ in house.webhooks.received}
    assert ((await house.row(waiting)).status, (await house.row("m0")).status) == ("suppressed", "sent")


async def test_webhooks_cut_off_in_flight_go_again_under_the_same_id(house: House) -> None:
    class Dying(FakeWebhooks):
        async def before_post(self, endpoint: Any) -> None:
            raise asyncio.CancelledError

    house.webhooks, working = Dying(), house.webhooks
    other = house.new_scheduler()
    await house.receive(house.a_handoff())
    await other.tick(house.clock.now())
    await other.idle()
    house.webhooks = working
    await house.tick(house.new_scheduler(alone=True))
    assert [webhook_id for _, webhook_id, _ in working.received] == ["m1"]
    assert (await house.row()).status == "sent"


async def test_what_happens_is_told_even_when_the_log_was_away(house: House) -> None:
    house.log.away = True
    await house.receive(house.a_send())
    await house.tick()
    assert (await house.row()).status == "sent"
    assert house.told() == []
    house.log.away = False
    later = Outbox("mailer", house.database, house.log, house.clock, wall=lambda: real_now() + timedelta(seconds=10))
    await later.sweep()
    assert house.told() == ["Email Sent"]


async def test_the_next_beat_is_asked_for_when_the_next_is_due(house: House) -> None:
    assert await house.tick() is None
    house.relay.by_recipient["ana@example.com"] = Deferred("relay_deferred")
    await house.receive(house.a_send())
    await house.tick()
    assert await house.tick() == house.clock.now() + MINUTE


async def test_a_database_that_goes_away_costs_no_attempt(house: House) -> None:
    class Away:
        async def of(self, delivery: Any) -> Any:
            raise Outage("the database does not answer")

    attempts = house.scheduler._attempts
    house.scheduler._attempts = replace(attempts, editions=Away())
    await house.receive(house.a_send())
    await house.tick()
    assert ((await house.row()).reason, (await house.row()).attempts) == ("database_away", 0)
    house.scheduler._attempts = attempts
    await house.go_on(seconds=1)
    assert (await house.row()).status == "sent"


async def test_a_delivery_that_trips_over_a_bug_stops_no_other(house: House) -> None:
    async def trip(recipient: str) -> None:
        if recipient == "bo@example.com":
            raise ZeroDivisionError

    house.relay.before_offer = trip
    await house.know(a_lead(id="l2", email="bo@example.com"))
    await house.receive(house.a_send(1, lead_id="l2", category="transactional"), house.a_send(2))
    await house.tick()
    assert await house.statuses() == {"m1": "deferred", "m2": "sent"}
    assert ((await house.row()).reason, (await house.row()).attempts) == ("bug", 1)


def poisoned(house: House, delivery_id: str, *, also_in_doubt: bool = False) -> None:
    """The ledger cannot write down how this delivery ended."""
    settle = house.scheduler._settle
    write = settle._write

    async def trip(work: Any, endings: Any) -> Any:
        answers = await write(work, endings)
        for ending in endings:
            if ending.claim.delivery.id == delivery_id and (also_in_doubt or not isinstance(ending.outcome, InDoubt)):
                raise ZeroDivisionError
        return answers

    settle._write = trip


async def test_an_ending_that_cannot_be_written_spoils_no_other_of_its_group(house: House) -> None:
    poisoned(house, "m3", also_in_doubt=True)
    await house.receive(*(house.a_send(number) for number in range(1, 9)))
    await house.tick()
    assert {one for one, status in (await house.statuses()).items() if status != "sent"} == {"m3"}
    assert house.told() == ["Email Sent"] * 7


async def test_a_mail_whose_ending_cannot_be_written_is_in_doubt_and_never_goes_again_by_itself(house: House) -> None:
    poisoned(house, "m1")
    await house.receive(house.a_send(category="transactional"))
    await house.tick()
    assert ((await house.row()).status, (await house.row()).reason) == ("in_doubt", "bug")
    for _ in range(30):
        await house.go_on(hours=1)
    assert len(house.relay.taken) == 1
    assert house.told() == ["Email In Doubt"]
