"""Two replicas of the mailer: one cap for one address, an unsubscription or an erasure against a mark, a clock that runs out."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from services.mailer import store
from services.mailer.erasing import finish
from services.mailer.lanes import Rooms
from services.mailer.ledger import Ledger, Written
from services.mailer.tables import SUPPRESSIONS
from shared import wire
from shared.erasing import ERASED, Marks
from tests.builders import a_lead, an_activity, an_event
from tests.integration.replicas.gates import meet, tried
from tests.mailer_house import CONSENT, YAML, House

Two = tuple[House, House]
ONE_A_DAY = YAML.replace("mail: {", "mail: {frequency_cap: [{messages: 1, per: 20h}], ")
BOTH_ORDERS = pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])


@pytest.fixture
async def two(tmp_path: Path, database_kind: str) -> AsyncIterator[Two]:
    """Two replicas on one database that go by one clock; at the end the books must balance."""
    one = House(tmp_path)
    await one.open()
    other = House(tmp_path, clock=one.clock)
    other.version = one.version
    await one.know(a_lead(consent=CONSENT))
    yield one, other
    await one.audit()
    for house in (one, other):
        await house.scheduler.stop()
        await house.database.close()


@BOTH_ORDERS
async def test_one_cap_holds_for_one_address_whichever_replica_claims_first(two: Two, turned: bool) -> None:
    ahead, behind = two[::-1] if turned else two
    for house in two:
        await house.publish(yaml=ONE_A_DAY)  # so that both know of it
    await ahead.know(a_lead(id="l2", consent=CONSENT))
    await ahead.receive(ahead.a_send(1), ahead.a_send(2, lead_id="l2"))
    marked: list[bool] = []

    async def go(house: House) -> None:
        ledger, written = await claimed(house, at_most=1)
        async with house.outbox.work() as work:
            marked.extend(await ledger.mark(work, written))

    await meet(ahead.outbox, partial(go, ahead), partial(go, behind), behind.database)
    assert marked.count(True) == 1
    assert list((await ahead.statuses()).values()).count("sending") == 1


@BOTH_ORDERS
async def test_after_an_unsubscription_is_committed_no_mail_is_marked(two: Two, turned: bool) -> None:
    one, other = two
    await one.receive(one.a_send(1))
    await one.tick()
    await one.receive(one.a_send(2))
    ledger, written = await claimed(one)

    async def leave() -> None:
        await other.readers.unsubscribe("m1", one.clock.now())

    async def mark() -> None:
        async with one.outbox.work() as work:
            await ledger.mark(work, written)

    if turned:
        await meet(other.outbox, leave, mark, one.database)
    else:
        await meet(one.outbox, mark, leave, other.database)
    assert (await one.row("m2")).status == ("suppressed" if turned else "sending")
    async with one.database.reading() as connection:
        assert len((await connection.execute(select(SUPPRESSIONS.c.reason))).all()) == 1


@BOTH_ORDERS
async def test_an_erasure_against_a_mark_lets_it_go_or_keeps_it_and_empties_its_row_at_last(two: Two, turned: bool) -> None:
    one, other = two
    await one.receive(one.a_send(1))
    ledger, written = await claimed(one)
    erasure = wire.Erasure(erased="l1", at=one.clock.now(), lead_ids=["l1"], marks=[])
    event = an_event(ERASED, source=wire.OURSELVES, properties=msgspec.to_builtins(erasure))

    async def erase() -> None:
        await other.activities(an_activity(event=event, lead=a_lead(email=None), sequence=9))

    async def mark() -> None:
        async with one.outbox.work() as work:
            await ledger.mark(work, written)

    if turned:
        await meet(other.outbox, erase, mark, one.database)
    else:
        await meet(one.outbox, mark, erase, other.database)
    assert (await one.row("m1")).status == ("suppressed" if turned else "sending")
    one.clock.advance(timedelta(minutes=16))
    await one.tick()  # nobody knows what became of it: in doubt, and no longer under way
    marks = Marks(one.ports.signer)
    await asyncio.gather(*(tried(partial(finish, house.outbox, house.database, marks)) for house in two))
    row = await one.row("m1")
    assert (row.status, row.address) == ("suppressed" if turned else "in_doubt", None)
    assert b"ana@example.com" not in row.message


@BOTH_ORDERS
async def test_a_clock_that_runs_out_is_seen_to_by_one_replica(two: Two, turned: bool) -> None:
    ahead, behind = two[::-1] if turned else two
    await ahead.receive(ahead.a_handoff(sla=timedelta(hours=1)))
    await ahead.tick()
    ahead.clock.advance(timedelta(hours=1, seconds=1))
    await meet(ahead.outbox, lambda: ahead.desk.tick(ahead.clock.now()), lambda: behind.desk.tick(behind.clock.now()), behind.database)
    for house in two:
        await house.desk.tick(house.clock.now())
    assert [name for house in two for name in house.told()].count("Handoff Expired") == 1


async def claimed(house: House, at_most: int = 10) -> tuple[Ledger, list[Written]]:
    """What is due, in the house's hands and written."""
    ledger = Ledger(house.outbox, house.editions, house.desk)
    async with house.database.reading() as connection:
        fronts = await store.load_fronts(connection)
    claims = (await ledger.claim(fronts, Rooms({"relay": at_most}), (), house.clock.now())).claims
    return ledger, [Written(claim, f"<{claim.delivery.id}@acme.example>", ()) for claim in claims]
