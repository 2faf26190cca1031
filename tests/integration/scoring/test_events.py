"""Events on a real database: recorded once, folded once, set aside alone; leads meet and nothing is lost."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from services.scoring.main import build
from services.scoring.settings import ScoringSettings
from shared import wire
from shared.embedded_log import EmbeddedLog
from shared.errors import Outage
from shared.positions import StoredPositions
from shared.service import Ports
from shared.wire import OURSELVES
from tests.builders import A_READINESS_YAML, NOON, an_event
from tests.scoring_house import House

DAY = timedelta(days=1)


async def rows(house: House, query: str) -> list[tuple[object, ...]]:
    async with house.database.reading() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def letters(house: House) -> list[str]:
    return [item["code"] for item in (await house.get("/api/dead-letters"))["items"]]


async def test_ebook_7_then_webinar_8_then_the_paid_link_9_is_hot(house: House):
    script = [("Ebook Downloaded", 7, False), ("Webinar Attended", 8, False), ("Link Clicked", 9, True)]
    for name, readiness, hot in script:
        await house.handle(an_event(name, id=name, properties={"paid": True}))
        lead = await house.lead()
        assert (lead["readiness"], lead["points"], lead["hot"]) == (readiness, readiness, hot)
    changes = [activity for activity in house.activities if activity.event.name == "Readiness Changed"]
    assert [tuple(change.event.properties.values()) for change in changes] == [(1, 7), (7, 8), (8, 9)]
    assert [activity.sequence for activity in house.activities] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_redelivered_batch_changes_nothing(house: House):
    batch = [an_event("Page Viewed", id=f"e{number}", properties={"path": "/pricing"}) for number in range(3)]
    await house.handle(*batch)
    before, told = await house.lead(), len(house.activities)
    await house.handle(*reversed(batch), *batch)
    assert await house.lead() == before
    assert len(house.activities) == told


async def test_one_batch_holds_many_leads_each_in_its_own_order(house: House):
    batch = [an_event("Page Viewed", id=f"e{n}", user_id=f"u{n % 7}", properties={"path": "/pricing"}) for n in range(700)]
    await house.handle(*batch)
    sequences: dict[str | None, list[int]] = {}
    for activity in house.activities:
        sequences.setdefault(activity.lead.user_id, []).append(activity.sequence)
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())
    assert (await house.lead("u3"))["reasons"] == [
        {"rule": "pricing", "kind": "add", "points": 1.5, "count": 100, "at": "2027-03-01T12:00:00Z", "text": ""}
    ]


async def test_what_is_no_event_is_set_aside_and_its_neighbours_pass(house: House):
    good = wire.encode(an_event())
    await house.handle_raw([b"not json", b'{"id": "x"}', good, wire.encode(an_event(id="e2", user_id="null"))])
    assert sorted(await letters(house)) == ["no_identity", "not_an_event", "not_an_event"]
    assert (await house.lead())["readiness"] == 7


async def test_an_alias_from_a_browser_is_set_aside_and_joins_nobody(house: House):
    await house.handle(an_event(id="a"), an_event(id="b", user_id="u2"), an_event(id="c", type="alias", user_id="u2", previous_id="u1"))
    assert await letters(house) == ["alias_untrusted"]
    assert (await house.lead("u1"))["id"] != (await house.lead("u2"))["id"]


async def test_traits_beyond_the_limit_are_set_aside_and_can_be_replayed(house: House):
    await house.handle(an_event("", type="identify", traits={f"t{number:03}": 1 for number in range(201)}))
    assert len((await house.lead())["traits"]) == 200
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert letter["code"] == "trait_limit"
    await house.patch((await house.lead())["id"], traits={"t000": None})
    await house.handle_raw([letter["payload"].encode()])
    traits = (await house.lead())["traits"]
    assert "t200" in traits
    assert "t000" not in traits


async def test_traits_that_a_merge_has_no_place_for_are_set_aside_and_can_be_replayed_but_name_no_address(house: House):
    identify = {"type": "identify", "user_id": None}
    await house.handle(
        an_event("", id="a", type="identify", traits={f"t{number:03}": 1 for number in range(200)}),
        an_event("", id="b", **identify, anonymous_id="d", traits={"email": "eve@example.com", "plan": "pro"}),
        an_event("Page Viewed", id="c", anonymous_id="d", trusted=True),
    )
    lead = await house.lead()
    assert len(lead["traits"]) == 200
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert letter["code"] == "trait_limit"
    await house.patch(lead["id"], traits={"t000": None, "t001": None}, consent=True)
    await house.handle_raw([letter["payload"].encode()])
    lead = await house.lead()
    assert (lead["traits"]["plan"], lead["traits"]["email"]) == ("pro", "eve@example.com")
    assert (lead["consent"]["marketing"], lead["consent"]["address"]) == (False, None)


async def test_a_merged_lead_leaves_a_tombstone_and_its_events_move_along(house: House):
    await house.handle(an_event(id="a"), an_event("Webinar Attended", id="b", user_id=None, anonymous_id="d"))
    anonymous = next(activity.lead.id for activity in house.activities if activity.lead.user_id is None)
    await house.handle(an_event("Something Else", id="c", anonymous_id="d"))
    lead = await house.lead()
    assert (await house.get(f"/api/leads/{anonymous}"))["id"] == lead["id"]
    names = [item["name"] for item in (await house.get(f"/api/leads/{anonymous}/events"))["items"]]
    told = ["Lead Merged", "Lead Identified", *["Lead Created"] * 2, *["Readiness Changed"] * 3]
    assert sorted(names) == sorted(["Ebook Downloaded", "Webinar Attended", "Something Else", *told])
    assert await rows(house, "SELECT DISTINCT lead_id FROM scoring_identity") == [(lead["id"],)]


async def test_a_lead_made_and_merged_in_one_batch_is_a_tombstone_all_the_same(house: House):
    await house.handle(an_event(id="a"))
    await house.handle(an_event("Webinar Attended", id="b", user_id=None, anonymous_id="d"), an_event("X", id="c", anonymous_id="d"))
    assert (await house.lead())["readiness"] == 8
    assert await rows(house, "SELECT count(*) FROM scoring_lead WHERE merged_into IS NOT NULL") == [(1,)]


async def test_readiness_falls_in_its_time_and_is_told(house: House):
    await house.handle(an_event("Link Clicked", properties={"paid": True}))
    await house.pass_time(60 * DAY)
    changes = [activity for activity in house.activities if activity.event.name == "Readiness Changed"]
    assert [change.event.properties["after"] for change in changes] == [9, 8, 7, 6, 5, 4]
    assert [change.lead.hot for change in changes] == [True, True, False, False, False, False]
    first = changes[1].event.at - NOON
    assert timedelta(days=17) < first < timedelta(days=18)
    assert (await house.lead())["readiness"] == 4


async def test_a_sweep_takes_many_leads_and_leaves_nothing_due(house: House):
    await house.handle(*[an_event("Ebook Downloaded", id=f"e{number}", user_id=f"u{number}") for number in range(1200)])
    await house.pass_time(20 * DAY)
    falls = [activity for activity in house.activities if activity.event.properties == {"before": 7, "after": 6}]
    assert len(falls) == 1200


async def test_without_a_playbook_events_wait(house: House, tmp_path: Path):
    async with house.database.transaction() as connection:
        await connection.execute(text("DELETE FROM shared_playbook"))
    other = House(tmp_path)
    with pytest.raises(Outage, match="no playbook"):
        await other.handle(an_event())
    await other.close()
    await house.publish("hot: 9\n")


def a_crowd(chance: random.Random) -> list[wire.Event]:
    """Events of three people over six devices, in every combination of ids, some of them twice."""
    events = []
    for number in range(240):
        device = chance.randrange(6)
        ids = chance.choice([{"user_id": None}, {"anonymous_id": None}, {}])
        name = chance.choice(["Ebook Downloaded", "Webinar Attended", "Page Viewed", "Unsubscribed"])
        fields = {"user_id": f"u{device % 3}", "anonymous_id": f"d{device}", "properties": {"path": "/pricing"}} | ids
        events.append(an_event(name, id=f"e{number}", at=NOON - timedelta(hours=chance.randrange(500)), **fields))
    ties = [an_event("", type="identify", id=f"tie{device}", user_id=f"u{device % 3}", anonymous_id=f"d{device}") for device in range(6)]
    return [*events, *ties, *chance.sample(events, 60)]


async def test_concurrent_first_sights_and_merges_lose_nothing(tmp_path: Path, database_kind: str):
    """Two replicas with connections of their own work through one crowd from two sides."""
    chance = random.Random(7)
    straight, one, other = House(tmp_path / "straight"), House(tmp_path), House(tmp_path)
    (tmp_path / "straight").mkdir()
    crowd = a_crowd(chance)
    for house in (straight, one):
        await house.open()
    await straight.handle(*crowd)
    chance.shuffle(crowd)

    async def work_through(house: House, events: list[wire.Event]) -> None:
        for first in range(0, len(events), 3):
            while not await tried(house, events[first : first + 3]):
                pass

    async def tried(house: House, events: list[wire.Event]) -> bool:
        """As a consumer does: what the other replica was faster at is an outage, and tried again."""
        try:
            await house.handle(*events)
        except Outage:
            return False
        return True

    await asyncio.gather(work_through(one, crowd[::2]), work_through(other, crowd[1::2]))
    for user in ("u0", "u1", "u2"):
        expected, found = await straight.lead(user), await one.lead(user)
        assert (found["points"], found["reasons"]) == (expected["points"], expected["reasons"])
    assert await rows(one, "SELECT count(*) FROM scoring_lead WHERE merged_into IS NULL") == [(3,)]
    assert await rows(one, "SELECT count(*) FROM scoring_event WHERE id LIKE 'e%' AND id NOT LIKE '%.%'") == [(240,)]
    for house in (straight, one, other):
        await house.audit()
        await house.close()


async def test_the_service_reads_the_log_and_a_position_set_back_changes_nothing(house: House, tmp_path: Path):
    log = EmbeddedLog(tmp_path / "log", house.clock)
    ports = Ports(log, house.database, house.clock, house.ports.keys, house.ports.playbooks, house.ports.signer)
    events = [an_event("Page Viewed", id=f"e{n}", user_id=f"u{n % 5}", properties={"path": "/pricing"}) for n in range(50)]
    await log.append(wire.EVENTS, [("key", wire.encode(event)) for event in events])
    positions = StoredPositions(house.database)
    for _ in range(2):
        service = build(ScoringSettings(), ports, {})
        running = [asyncio.ensure_future(loop()) for loop in service.loops]
        async with asyncio.timeout(20):
            while await positions.position("scoring", wire.EVENTS, 0) != 50:
                await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert await rows(house, "SELECT count(*), count(CASE sequence WHEN 1 THEN 1 END) FROM scoring_event") == [(65, 5)]
        async with house.database.transaction() as connection:
            await connection.execute(text("DELETE FROM shared_position WHERE consumer_group = 'scoring'"))
    await log.close()


async def test_a_companys_traits_beyond_the_limit_are_set_aside_and_can_be_replayed(house: House):
    first = an_event("", id="a", type="group", group_id="acme", traits={"name": "Acme", "story": "x" * 9000})
    more = an_event("", id="b", type="group", group_id="acme", traits={"history": "y" * 9000}, at=NOON + timedelta(seconds=1))
    await house.handle(first, more)
    assert set((await house.lead())["company"]) == {"id", "name", "story"}
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert letter["code"] == "trait_limit"
    assert "company" in letter["message"]
    moved = an_event(
        "", id="c", type="group", group_id="other", traits={}, at=NOON + timedelta(hours=1), received_at=NOON + timedelta(hours=1)
    )
    await house.handle(moved)
    await house.handle_raw([letter["payload"].encode()])
    assert (await house.lead())["company"] == {"id": "other"}


@pytest.mark.parametrize("said", ["yes", 1, {"newsletter": True}])
async def test_a_servers_unclear_word_on_consent_is_set_aside_and_the_rest_of_its_event_counts(house: House, said: object):
    await house.handle(an_event("", type="identify", traits={"email": "ana@example.com", "consent": said}, trusted=True))
    lead = await house.lead()
    assert (lead["email"], lead["consent"]["marketing"]) == ("ana@example.com", False)
    (letter,) = (await house.get("/api/dead-letters"))["items"]
    assert letter["code"] == "consent_unclear"
    assert "send true, false" in letter["message"]


async def test_consent_as_text_is_consent_and_withdrawn_as_text_is_withdrawn(house: House):
    for number, (said, expected) in enumerate([("true", True), ("False", False)]):
        at = NOON + timedelta(minutes=number)
        traits = {"email": "ana@example.com", "consent": said}
        await house.handle(an_event("", id=f"e{number}", type="identify", traits=traits, trusted=True, at=at, received_at=at))
        assert (await house.lead())["consent"]["marketing"] is expected
    assert await letters(house) == []


CONSENT = "consent: {events: [Newsletter Subscribed], from_browser: %s}\n"


@pytest.mark.parametrize(
    ("from_browser", "trusted", "expected"), [("double_opt_in", False, False), ("double_opt_in", True, True), ("single", False, True)]
)
async def test_who_asks_for_mail_has_consent_as_the_playbook_says(house: House, from_browser: str, trusted: bool, expected: bool):
    await house.change_rules(A_READINESS_YAML, CONSENT % from_browser)
    await house.handle(
        an_event("Newsletter Subscribed", user_id=None, anonymous_id="d", properties={"email": "ana@example.com"}, trusted=trusted)
    )
    event = next(activity for activity in house.activities if activity.event.name == "Newsletter Subscribed")
    assert (event.lead.consent.marketing, event.lead.email == "ana@example.com") == (expected, expected)
    identified = [activity.event.properties for activity in house.activities if activity.event.name == "Lead Identified"]
    assert identified == ([{"by": "address"}] if expected else [])


async def test_an_address_that_its_owner_confirmed_has_consent(house: House):
    await house.handle(an_event("Page Viewed", user_id=None, anonymous_id="d"))
    lead_id = house.activities[0].lead.id
    about = {"address": "ana@example.com", "source": "double_opt_in", "event": "Newsletter Subscribed"}
    ours = {"lead_id": lead_id, "user_id": None, "source": OURSELVES, "trusted": True}
    await house.handle(an_event("Consent Given", id="given", properties=about, **ours))
    lead = await house.get(f"/api/leads/{lead_id}")
    assert (lead["email"], lead["consent"]["marketing"], lead["consent"]["source"]) == ("ana@example.com", True, "double_opt_in")
