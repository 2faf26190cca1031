"""Each of scoring's counters: the damage is done by SQL, and the audit names it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Executable, delete, insert, select, update

from services.scoring.store import IDENTITIES, LEADS, RECORD
from shared import auditing, wire
from shared.auditing import LETTERS, OUTBOX, POSITIONS
from shared.clock import real_now
from tests.builders import NOON, an_event
from tests.scoring_house import House


@pytest.fixture
async def busy(house: House) -> House:
    """Two known leads, one of whom was anonymous before and did two things."""
    await house.handle(
        an_event(id="e1", name="Page Viewed", anonymous_id="a1", user_id=None), an_event(id="e2", anonymous_id="a1", user_id=None)
    )
    await house.handle(an_event(id="e3", type="identify", name="", anonymous_id="a1", user_id="u1"))
    await house.handle(an_event(id="e4", name="Ebook Downloaded", user_id="u2"))
    await house.audit()
    return house


async def damage(house: House, *statements: Executable) -> dict[str, dict[str, Any]]:
    """Do the damage; the checks that do not hold any more, by name."""
    house.books_balance = False
    async with house.database.transaction() as connection:
        for statement in statements:
            await connection.execute(statement)
    return {check["name"]: check for check in (await house.get("/api/audit"))["checks"] if not check["ok"]}


async def lead_of(house: House, user_id: str) -> str:
    found: str = (await house.lead(user_id))["id"]
    return found


TOLD = "leads that told another number of activities than they have events"


async def test_an_event_that_vanished_is_its_leads(busy: House):
    lead = await lead_of(busy, "u1")
    broken = await damage(busy, delete(RECORD).where(RECORD.c.id == "e2"))
    assert broken["recorded events = activities told"]["left"] == broken["recorded events = activities told"]["right"] - 1
    (offender,) = broken[TOLD]["offenders"]
    assert (offender["lead"], offender["told"] - offender["recorded"]) == (lead, 1)


async def test_two_mistakes_that_hide_each_other_are_found(busy: House):
    one, other = await lead_of(busy, "u1"), await lead_of(busy, "u2")
    broken = await damage(busy, update(RECORD).where(RECORD.c.id == "e2").values(lead_id=other))
    assert "recorded events = activities told" not in broken
    assert {offender["lead"] for offender in broken[TOLD]["offenders"]} == {one, other}


async def test_what_merged_leads_told_counts_for_the_living_one(busy: House):
    await busy.handle(an_event(id="e5", name="Page Viewed", anonymous_id="a9", user_id=None))
    await busy.handle(an_event(id="e6", type="identify", name="", anonymous_id="a9", user_id="u1"))
    await busy.handle(an_event(id="e7", type="alias", name="", previous_id="u1", user_id="u2", trusted=True))
    async with busy.database.reading() as connection:
        tombstones = (await connection.execute(select(LEADS.c.merged_into).where(LEADS.c.merged_into.is_not(None)))).all()
    assert len(tombstones) >= 2
    await busy.audit()


async def test_evidence_that_is_not_what_the_events_come_to_names_its_lead(busy: House):
    one, other = await lead_of(busy, "u1"), await lead_of(busy, "u2")
    stolen = select(LEADS.c.state).where(LEADS.c.id == one)
    async with busy.database.reading() as connection:
        state: bytes = (await connection.execute(stolen)).scalar_one()
    forged = state.replace(b'"readiness":', b'"readiness":1')
    broken = await damage(busy, update(LEADS).where(LEADS.c.id == one).values(state=forged))
    (check,) = broken.values()
    assert check["name"] == "evidence = recorded events folded anew"
    assert [offender["lead"] for offender in check["offenders"]] == [one]
    page = await busy.get("/api/audit/refolded", limit=1)
    found, checked = page["offenders"], page["checked"]
    while page["next"]:
        page = await busy.get("/api/audit/refolded", limit=1, after=page["next"])
        found, checked = found + page["offenders"], checked + page["checked"]
    assert ([offender["lead"] for offender in found], checked) == ([one], 2)
    assert other not in str(found)


@pytest.mark.parametrize("lead_id", ["nobody", "tombstone"])
async def test_an_identity_that_leads_to_no_living_lead_is_named(busy: House, lead_id: str):
    if lead_id == "tombstone":
        await busy.handle(an_event(id="e7", type="alias", name="", previous_id="u1", user_id="u2", trusted=True))
        async with busy.database.reading() as connection:
            lead_id = (await connection.execute(select(LEADS.c.id).where(LEADS.c.merged_into.is_not(None)).limit(1))).scalar_one()
    broken = await damage(busy, update(IDENTITIES).where(IDENTITIES.c.identity.contains("u2")).values(lead_id=lead_id))
    assert list(broken) == ["identities without a lead"]
    assert broken["identities without a lead"]["offenders"] == [{"lead": lead_id}]


async def test_a_lead_whose_fading_was_overslept_is_named(busy: House):
    lead = await lead_of(busy, "u2")
    broken = await damage(busy, update(LEADS).where(LEADS.c.id == lead).values(next_change_at=busy.clock.now() - timedelta(minutes=2)))
    assert [one["lead"] for one in broken["leads whose fading is overdue"]["offenders"]] == [lead]


async def test_what_every_service_checks(busy: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auditing, "BEGAN_AT", real_now() - timedelta(hours=1))
    letter = {"service": "scoring", "key": "k", "code": "bug", "message": "", "payload": b"{}", "at": NOON}
    broken = await damage(
        busy,
        insert(OUTBOX).values(service="scoring", topic=wire.ACTIVITIES, records=b"", created_at=real_now() - timedelta(minutes=2)),
        insert(OUTBOX).values(service="mailer", topic=wire.ACTIVITIES, records=b"", created_at=real_now() - timedelta(minutes=2)),
        insert(LETTERS).values(id="d1", topic="no-topic", **letter),
        insert(LETTERS).values(id="d2", topic=wire.EVENTS, **letter),
        insert(POSITIONS).values(consumer_group="scoring", topic=wire.EVENTS, partition=0, next_offset=5),
    )
    owed = broken["what was committed more than a minute ago is in the log"]
    assert (owed["promise"], owed["left"], owed["offenders"][0]["topic"]) == (6, 1, "activities")
    letters = broken["set aside = can be replayed"]
    assert (letters["promise"], letters["left"], letters["right"], letters["detail"]) == (5, 2, 1, "1 bug, 1 bug")
    assert letters["offenders"] == [{"topic": "no-topic", "reason": "bug", "count": 1}]
    place = broken["positions that lie within the log"]
    assert place["offenders"] == [{"topic": "events", "partition": 0, "position": 5, "holds": "0 to 0"}]
    assert len(broken) == 3


async def test_a_process_that_has_just_begun_does_not_judge_what_another_left_to_be_published(busy: House):
    old = insert(OUTBOX).values(service="scoring", topic=wire.ACTIVITIES, records=b"", created_at=real_now() - timedelta(minutes=2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(auditing, "BEGAN_AT", real_now())
        assert not await damage(busy, old)


async def test_a_log_that_is_away_is_no_mistake(busy: House):
    assert not await damage(busy, insert(POSITIONS).values(consumer_group="scoring", topic=wire.EVENTS, partition=0, next_offset=0))
    busy.log.away = True
    checks = {check["name"]: check for check in (await busy.get("/api/audit"))["checks"]}
    assert checks["positions that lie within the log"]["detail"] == "not compared: the log is away"
    await busy.audit()
