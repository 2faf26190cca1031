"""A playbook is published while two replicas work: each learns of it within seconds, and until then no walk mixes two versions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.playbooks import FRESH_SECONDS
from tests.builders import a_lead
from tests.databases import make_tables
from tests.journeys_house import House

BEFORE = "journey: welcome\ntrigger: {event: Signed Up}\nsteps: [{send: old-1}, {wait: 1h}, {send: old-2}]"
AFTER = "journey: welcome\ntrigger: {event: Signed Up}\nsteps: [{send: new-1}, {wait: 1h}, {send: new-2}]"


@pytest.fixture
async def replicas(tmp_path: Path, database_kind: str) -> AsyncIterator[tuple[House, House]]:
    """One knows of what it has published itself; the other looked a moment before."""
    one, two = House(tmp_path, BEFORE), House(tmp_path)
    two.clock, two.log, two.sequences = one.clock, one.log, one.sequences
    two.build()
    await one.open()
    await two.playbooks.newest()
    yield one, two
    await one.audit()
    for house in (one, two):
        await house.database.close()


def sent_to(house: House, lead_id: str) -> list[tuple[str, str]]:
    return [(send.template, send.version) for send in house.sends if send.lead_id == lead_id]


async def test_a_walk_keeps_its_version_whichever_replica_moves_it(replicas: tuple[House, House]) -> None:
    one, two = replicas
    before = (await two.playbooks.newest()).version
    after = await one.publish(AFTER)
    assert (await two.playbooks.newest()).version == before != after
    await one.happens("Signed Up", lead=a_lead(id="knows"))
    await two.settles()  # by who has not heard of that version yet
    await two.happens("Signed Up", lead=a_lead(id="stale"))
    await one.settles()
    for house in (two, one):
        one.passes("61m")
        await house.tick()
    assert sent_to(one, "knows") == [("new-1", after), ("new-2", after)]
    assert sent_to(one, "stale") == [("old-1", before), ("old-2", before)]


async def test_a_wake_is_by_the_walks_version_though_its_replica_has_not_heard_of_it(replicas: tuple[House, House]) -> None:
    one, two = replicas
    after = await one.publish(AFTER)
    await one.happens("Signed Up")
    await one.settles()
    one.passes("61m")
    await two.tick()
    assert sent_to(one, "l1") == [("new-1", after), ("new-2", after)]


async def test_within_seconds_all_begin_by_the_newest(replicas: tuple[House, House]) -> None:
    one, two = replicas
    after = await one.publish(AFTER)
    two.playbooks._looked_at -= FRESH_SECONDS + 1
    await two.happens("Signed Up")
    assert sent_to(two, "l1") == [("new-1", after)]


async def test_the_first_publication_is_seen_at_once(tmp_path: Path, database_kind: str) -> None:
    one, two = House(tmp_path, BEFORE), House(tmp_path)
    async with one.database.transaction() as connection:
        await make_tables(connection)
    with pytest.raises(ConfigurationError):
        await two.playbooks.newest()
    version = await one.publish(BEFORE)
    assert (await two.playbooks.newest()).version == version
    for house in (one, two):
        await house.database.close()
