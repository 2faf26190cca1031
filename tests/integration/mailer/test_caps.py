"""When marketing goes, in the ledger: caps by address, in the order of rule 9, quiet hours, and rules that change."""

from datetime import timedelta
from typing import Any

import pytest

from services.mailer.outcomes import Deferred, Delivered, InDoubt, Refused
from shared import wire
from tests.builders import NOON, a_lead
from tests.mailer_house import CONSENT, YAML, House

ONE_A_DAY = "frequency_cap: [{messages: 1, per: 20h}]"
LATER = ONE_A_DAY.replace("20h}", "20h, on_hit: defer}")
HOURS = timedelta(hours=1)


async def with_rules(house: House, *rules: str) -> None:
    """The playbook in force has these keys in `mail`."""
    house.version = await house.publish(yaml=YAML.replace("mail: {", "mail: {" + "".join(f"{rule}, " for rule in rules)))


def sent(house: House) -> list[str]:
    return [event.properties["enrollment_id"] for event in house.log.events if event.name == "Email Sent"]


async def test_rule_09_of_two_that_are_due_together_the_cap_takes_the_one_of_higher_priority(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    await house.receive(house.a_send(1, priority=100), house.a_send(2, priority=1), house.a_send(3, priority=50))
    await house.tick()
    await house.go_on(seconds=5)
    assert sent(house) == ["e2"]
    assert [(await house.row(name)).reason for name in ("m1", "m3")] == ["frequency_cap"] * 2


async def test_rule_09_then_the_one_that_was_due_first_then_by_the_journeys_name(house: House) -> None:
    await with_rules(house, LATER)
    await house.receive(house.a_send(1, journey="b"), house.a_send(2, journey="a"))
    house.clock.advance(timedelta(seconds=1))
    await house.receive(house.a_send(3, journey="0"))
    await house.tick()
    for _ in range(2):
        await house.go_on(seconds=5)
        await house.go_on(hours=20)
    assert sent(house) == ["e2", "e1", "e3"]


async def test_rule_09_transactional_mail_goes_first_and_takes_no_place(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    await house.receive(house.a_send(1), house.a_send(2, category="transactional"), house.a_send(3, category="transactional"))
    await house.tick()
    assert sorted(sent(house)) == ["e1", "e2", "e3"]


async def test_rule_09_within_a_walk_nothing_overtakes(house: House) -> None:
    """Journeys sends the second only when the first is over; put off together, the first goes first."""
    await with_rules(house, 'quiet_hours: {from: "11:00", to: "13:00"}')
    await house.receive(house.a_send(1, enrollment_id="e"))
    house.clock.advance(timedelta(minutes=1))
    await house.receive(house.a_send(2, enrollment_id="e", transition=3))
    await house.tick()
    await house.go_on(hours=1)
    assert [event.properties["transition"] for event in house.log.events if event.name == "Email Sent"] == [1, 3]


async def test_rule_10_a_cap_that_defers_goes_at_the_first_moment_that_has_room(house: House) -> None:
    await with_rules(house, LATER)
    await house.receive(house.a_send(1))
    await house.tick()
    await house.receive(house.a_send(2))
    await house.tick()
    row = await house.row("m2")
    assert (row.status, row.reason, row.due_at, row.attempts) == ("deferred", "frequency_cap", house.clock.now() + 20 * HOURS, 0)
    await house.go_on(hours=20)
    assert sent(house) == ["e1", "e2"]


async def test_rule_10_a_cap_counts_an_address_whatever_leads_have_it(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    twin = wire.replace(CONSENT, address="ANA@example.com")
    await house.know(a_lead(id="l2", email="ANA@example.com", consent=twin))
    await house.receive(house.a_send(1), house.a_send(2, lead_id="l2"))
    await house.tick()
    await house.go_on(seconds=5)
    assert sent(house) == ["e1"]


async def test_rule_11_a_merge_counts_what_both_leads_got(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    await house.know(a_lead(id="l2", consent=CONSENT))
    await house.receive(house.a_send(1, lead_id="l2"))
    await house.tick()
    await house.know(a_lead(consent=CONSENT), sequence=2, merged_from="l2")
    await house.receive(house.a_send(2))
    await house.tick()
    assert (await house.row("m2")).reason == "frequency_cap"


@pytest.mark.parametrize("outcome", [Deferred("relay_deferred"), Refused("mail_refused", ours=True)])
async def test_a_mail_that_did_not_go_leaves_its_place(house: House, outcome: Any) -> None:
    await with_rules(house, ONE_A_DAY)
    house.relay.to_mail = outcome
    await house.receive(house.a_send(1))
    await house.tick()
    house.relay.to_mail = Delivered()
    await house.receive(house.a_send(2))
    await house.tick()
    assert sent(house) == ["e2"]


async def test_a_mail_in_doubt_keeps_its_place(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    house.relay.to_mail = InDoubt("no_answer")
    await house.receive(house.a_send(1))
    await house.tick()
    await house.receive(house.a_send(2))
    await house.tick()
    assert (await house.row("m2")).reason == "frequency_cap"


async def test_a_mail_tried_again_does_not_stand_in_its_own_way(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    house.relay.to_offer = Deferred("relay_deferred")
    await house.receive(house.a_send(1))
    await house.tick()
    house.relay.to_offer = None
    await house.go_on(minutes=1)
    assert sent(house) == ["e1"]


async def test_of_two_replicas_that_send_at_once_one_cap_lets_one_through(house: House) -> None:
    await with_rules(house, ONE_A_DAY)
    other = house.new_scheduler()
    await house.receive(house.a_send(1), house.a_send(2))
    for scheduler in (house.scheduler, other):
        await scheduler.tick(house.clock.now())
    for scheduler in (house.scheduler, other):
        await scheduler.idle()
    await house.go_on(seconds=5)
    assert len(house.relay.taken) == 1
    assert sorted((await house.statuses()).values()) == ["sent", "suppressed"]


async def test_rule_10_quiet_hours_bind_at_the_moment_of_sending(house: House) -> None:
    await with_rules(house, 'quiet_hours: {from: "13:00", to: "08:00"}')
    house.relay.to_offer = Deferred("relay_deferred", timedelta(minutes=90))
    await house.receive(house.a_send(1))
    await house.tick()
    house.relay.to_offer = None
    await house.go_on(minutes=90)
    row = await house.row()
    assert (row.status, row.reason, row.due_at) == ("deferred", "quiet_hours", NOON + 20 * HOURS)
    await house.go_on(hours=18, minutes=30)
    assert sent(house) == ["e1"]


async def test_rule_10_the_rules_in_force_bind_mails_of_older_versions_too(house: House) -> None:
    old = house.version
    await with_rules(house, 'quiet_hours: {from: "11:00", to: "13:00"}')
    await house.receive(house.a_send(1, version=old))
    await house.tick()
    assert (await house.row()).reason == "quiet_hours"
    await with_rules(house)
    await house.tick()
    assert sent(house) == ["e1"]


async def test_nobody_there_is_a_hard_bounce_at_once_and_told_before_the_failure(house: House) -> None:
    house.relay.to_offer = Refused("recipient_refused", dead_address=True, detail="550 5.1.1 no such user")
    await house.receive(house.a_send(1))
    await house.tick()
    assert house.told() == ["Email Bounced", "Email Failed"]
    assert house.log.events[0].properties["kind"] == "hard"
    house.relay.to_offer = None
    await house.receive(house.a_send(2, category="transactional"))
    await house.tick()
    assert (await house.row("m2")).reason == "suppressed"
