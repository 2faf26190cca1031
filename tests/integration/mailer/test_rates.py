"""How fast mail goes, in the ledger: one rate for all replicas, domains with a rate of their own, and a new sender's ladder over weeks."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from services.mailer.outcomes import Deferred
from services.mailer.rates import LEEWAY, SECOND
from services.mailer.tables import DELIVERIES, WARM_UPS
from shared import wire
from tests.builders import NOON, a_lead
from tests.fakes import FakeRelay
from tests.integration.mailer.test_caps import sent, with_rules
from tests.mailer_house import CONSENT, House

BEAT = timedelta(milliseconds=50)
DAY = timedelta(days=1)


class Timed(FakeRelay):
    """Remembers when each mail came to it, and at which address."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house
        self.came: list[tuple[datetime, str]] = []

    async def before_offer(self, recipient: str) -> None:
        self.came.append((self._house.clock.now(), recipient))

    def busiest(self, stretch: timedelta, domain: str = "") -> int:
        moments = [at for at, recipient in self.came if recipient.endswith(domain)]
        return max(sum(1 for at in moments if since <= at < since + stretch) for since in moments)


async def pass_time(house: House, length: timedelta, *schedulers: Any) -> None:
    """The replicas beat in turn until then."""
    end = house.clock.now() + length
    while house.clock.now() < end:
        for scheduler in schedulers:
            for _ in range(5):
                if await house.tick(scheduler) != house.clock.now():
                    break
        house.clock.advance(BEAT)


async def transactional(house: House, count: int, first: int = 1, **overrides: Any) -> None:
    await house.receive(*(house.a_send(number, category="transactional", **overrides) for number in range(first, first + count)))


async def test_two_replicas_together_reach_the_rate_and_do_not_exceed_it(house: House) -> None:
    await with_rules(house, "rate: {per_second: 20}")
    relay = Timed(house)
    replicas = [house.new_scheduler(relay=relay) for _ in range(2)]
    await transactional(house, 200)
    await pass_time(house, 6 * SECOND, *replicas)
    assert 20 * 6 - 4 <= len(relay.came) <= 20 * 6 + 6
    assert relay.busiest(SECOND) <= 20 * (SECOND + LEEWAY).total_seconds() + 1
    await pass_time(house, 5 * SECOND, *replicas)
    assert len(set(sent(house))) == len(sent(house)) == 200


async def test_what_a_killed_replica_held_is_lost_for_its_second_only(house: House) -> None:
    await with_rules(house, "rate: {per_second: 20}")
    relay = Timed(house)
    killed, living = (house.new_scheduler(relay=relay) for _ in range(2))
    await transactional(house, 200)
    await house.tick(killed)  # it has taken the whole of this second, and beats no more
    assert len(relay.came) <= 2
    await pass_time(house, SECOND - BEAT, living)
    assert len(relay.came) <= 2
    await pass_time(house, 3 * SECOND, living)
    assert len(relay.came) >= 20 * 3 - 4


async def test_over_the_rate_they_wait_in_the_order_of_priority_then_due_time(house: House) -> None:
    await with_rules(house, "rate: {per_second: 2}")
    await house.receive(*(house.a_send(number, priority=100) for number in (1, 2)), house.a_send(3, priority=1))
    house.clock.advance(BEAT)
    await house.receive(house.a_send(4, priority=1), house.a_send(5, category="transactional", priority=500))
    await pass_time(house, 4 * SECOND, house.scheduler)
    assert sent(house) == ["e5", "e3", "e4", "e1", "e2"]


async def test_what_is_over_the_rate_is_queued_and_beyond_its_max_age_it_expires(house: House) -> None:
    await with_rules(house, "rate: {per_second: 1}")
    late = house.clock.now() + 2 * SECOND
    await house.receive(house.a_send(1), *(house.a_send(number, expires_at=late) for number in range(2, 9)))
    await house.tick()
    assert set((await house.statuses()).values()) == {"sent", "queued"}
    await pass_time(house, 9 * SECOND, house.scheduler)
    assert sorted((await house.statuses()).values()) == ["sent"] * 2 + ["suppressed"] * 6


async def test_a_domains_rate_holds_up_that_domain_and_no_other(house: House) -> None:
    await with_rules(house, "rate: {per_second: 40, per_domain: {Slow.example: 2}}")
    slow = a_lead(id="slow", email="bo@SLOW.example", consent=wire.replace(CONSENT, address="bo@slow.example"))
    await house.know(slow)
    relay = Timed(house)
    replicas = [house.new_scheduler(relay=relay) for _ in range(2)]
    await transactional(house, 60, lead_id="slow")
    house.clock.advance(BEAT)
    await transactional(house, 60, first=100)
    await pass_time(house, 4 * SECOND, *replicas)
    assert sum(1 for _, recipient in relay.came if recipient == "ana@example.com") == 60
    assert 6 <= sum(1 for _, recipient in relay.came if recipient != "ana@example.com") <= 9
    assert relay.busiest(SECOND, "slow.example") <= 3
    waiting = await house.row("m60")
    assert (waiting.status, waiting.reason, waiting.lane) == ("queued", "rate", "relay:slow.example")


async def test_a_domain_keeps_its_order_and_transactional_mail_goes_before_what_waits(house: House) -> None:
    await with_rules(house, "rate: {per_domain: {example.com: 2}}")
    await house.receive(*(house.a_send(number) for number in range(1, 5)))
    await house.tick()
    await house.tick()
    await transactional(house, 1, first=9)
    await pass_time(house, 4 * SECOND, house.scheduler)
    assert sent(house) == ["e1", "e9", "e2", "e3", "e4"]


async def test_a_rate_that_the_newest_playbook_has_no_more_holds_nobody(house: House) -> None:
    await with_rules(house, "rate: {per_domain: {example.com: 0.1}}")
    await transactional(house, 30)
    await pass_time(house, 2 * SECOND, house.scheduler)
    assert len(sent(house)) <= 2
    await house.publish()
    await pass_time(house, 2 * BEAT, house.scheduler)
    assert len(sent(house)) == 30


async def test_who_moved_to_another_domain_waits_in_that_ones_lane(house: House) -> None:
    await with_rules(house, "rate: {per_domain: {example.com: 0.1, example.org: 0.1}}")
    await transactional(house, 3)
    await pass_time(house, BEAT, house.scheduler)
    await house.know(a_lead(email="ana@example.org", consent=wire.replace(CONSENT, address="ana@example.org")), sequence=2)
    await pass_time(house, 10 * SECOND, house.scheduler)
    assert {(await house.row(f"m{number}")).lane for number in (2, 3)} == {"relay:example.org"}


async def test_hand_offs_wait_for_no_rate_of_mail(house: House) -> None:
    await with_rules(house, "rate: {per_second: 0.01}")
    await house.receive(*(house.a_handoff(number) for number in range(1, 6)))
    await house.tick()
    await house.tick()
    assert set((await house.statuses()).values()) == {"sent"}


async def marketing(house: House, count: int, first: int = 1, **overrides: Any) -> None:
    await house.receive(*(house.a_send(number, **overrides) for number in range(first, first + count)))


async def spend(house: House) -> None:
    """Whatever may go now, goes; what waits for those under way looks again a little later."""
    for _ in range(3):
        while await house.tick() == house.clock.now():
            pass
        house.clock.advance(5 * SECOND)


async def went(house: House) -> int:
    async with house.database.reading() as connection:
        return (await connection.execute(select(func.count()).where(DELIVERIES.c.status == "sent"))).scalar_one()


@pytest.fixture
async def short_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.mailer.warm_up.LADDER", (4, 8, 16, 32))


@pytest.mark.usefixtures("short_ladder")
async def test_a_new_sender_climbs_day_by_day_and_loses_none(house: House) -> None:
    await with_rules(house, "warm_up: true")
    await marketing(house, 80)
    found = []
    house.clock.advance(DAY / 2 + SECOND)
    for _ in range(6):
        before = await went(house)
        for _ in range(3):
            await spend(house)
            house.clock.advance(DAY / 3)
        found.append(await went(house) - before)
    assert found == [4, 8, 16, 32, 20, 0]
    assert len(set(sent(house))) == len(sent(house)) == 80


@pytest.mark.usefixtures("short_ladder")
async def test_the_warm_up_binds_marketing_only_and_says_why_it_waits_until_the_senders_midnight(house: House) -> None:
    await with_rules(house, "warm_up: true")  # in Dublin, on 1 March: midnight there is midnight UTC
    await marketing(house, 6)
    await transactional(house, 20, first=100)
    await spend(house)
    row = await house.row("m6")
    assert (row.status, row.reason, row.due_at) == ("deferred", "warm_up", NOON.replace(hour=0) + DAY)
    assert len(sent(house)) == 24


@pytest.mark.usefixtures("short_ladder")
async def test_what_the_warm_up_would_hold_beyond_its_max_age_is_given_up_at_once(house: House) -> None:
    await with_rules(house, "warm_up: true")
    await marketing(house, 4)
    await marketing(house, 1, first=5, expires_at=NOON + timedelta(hours=2))
    await spend(house)
    row = await house.row("m5")
    assert (row.status, row.reason) == ("suppressed", "warm_up")


@pytest.mark.usefixtures("short_ladder")
async def test_two_replicas_count_one_day_and_a_mail_that_did_not_go_holds_no_place(house: House) -> None:
    await with_rules(house, "warm_up: true")
    house.relay.to_offer = Deferred("greylisted")
    other = house.new_scheduler()
    await marketing(house, 2)
    await spend(house)
    house.relay.to_offer = None
    await marketing(house, 9, first=10)
    for _ in range(4):
        await house.tick()
        await house.tick(other)
        house.clock.advance(5 * SECOND)
    assert len(sent(house)) == 4


@pytest.mark.usefixtures("short_ladder")
async def test_a_sender_that_is_warm_is_counted_no_more(house: House) -> None:
    await with_rules(house, "warm_up: true")
    await marketing(house, 1)
    await spend(house)
    async with house.database.transaction() as connection:
        await connection.execute(update(WARM_UPS).values(rung=4, used=0))
    await marketing(house, 70, first=2)
    await spend(house)
    async with house.database.reading() as connection:
        assert (await connection.execute(select(WARM_UPS.c.used))).scalar_one() == 0
    assert len(sent(house)) == 71


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_domains_slot_waits_for_the_next_slot_of_all_mail(house: House, replicas: int) -> None:
    """Both slow, their slots never come together: a mail that needs one of each must not wait for ever."""
    await with_rules(house, "rate: {per_second: 0.5, per_domain: {slow.example: 0.25}}")
    await house.know(a_lead(id="slow", email="bo@slow.example", consent=wire.replace(CONSENT, address="bo@slow.example")))
    relay = Timed(house)
    schedulers = [house.new_scheduler(relay=relay) for _ in range(replicas)]
    await transactional(house, 40, first=100)
    await transactional(house, 1, lead_id="slow", priority=1)
    await pass_time(house, 11 * SECOND, *schedulers)
    house.clock.advance(BEAT / 4)
    await transactional(house, 4, first=10, lead_id="slow", priority=1)
    for _ in range(5):
        await pass_time(house, 4 * SECOND, *schedulers)
        house.clock.advance(BEAT / 4)  # no replica beats as evenly as slots lie
    assert sum(1 for _, recipient in relay.came if recipient == "bo@slow.example") == 5
    assert relay.busiest(4 * SECOND, "slow.example") <= 2
    assert 14 <= len(relay.came) <= 17
