"""Wakes wait for what lies before any replica of scoring or journeys, not only before the one that wakes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.journeys.hold import Hold
from shared.backlogs import Backlogs
from shared.errors import Outage
from shared.wire import ACTIVITIES, EVENTS
from tests.fakes import RecordingLog
from tests.journeys_house import House

SCORING, JOURNEYS = ("scoring", EVENTS), ("journeys", ACTIVITIES)


@dataclass
class OneReplicasLog(RecordingLog):
    """Knows since when records wait in the partitions of one replica."""

    since: datetime | None = None
    known: bool = True

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        if not self.known:
            raise Outage("not let in yet")
        return self.since


class Replicas:
    """Two of scoring, and journeys that waits for them."""

    def __init__(self, house: House) -> None:
        self.clock = house.clock
        self.logs = [OneReplicasLog(), OneReplicasLog()]
        self.scoring = [Backlogs(replace(house.ports, log=log), reads=SCORING) for log in self.logs]
        self.here = OneReplicasLog()
        self.journeys = Backlogs(replace(house.ports, log=self.here), reads=JOURNEYS, awaits=(SCORING, JOURNEYS))
        self.another = Backlogs(house.ports, reads=JOURNEYS)
        self.hold = Hold(lambda: self.journeys.since(*SCORING), lambda: self.journeys.since(*JOURNEYS))

    async def holds(self, *alive: int) -> bool:
        """Whether wakes wait, after those of scoring that live have spoken."""
        for number in alive:
            await self.scoring[number].share()
        await self.journeys.share()
        return self.hold.is_on(self.clock.now())


@pytest.fixture
async def replicas(tmp_path: Path, database_kind: str) -> AsyncIterator[Replicas]:
    house = House(tmp_path)
    await house.open()
    yield Replicas(house)
    await house.database.close()


async def test_wakes_wait_for_the_replica_that_is_furthest_behind(replicas: Replicas) -> None:
    assert not await replicas.holds(0, 1)
    replicas.logs[1].since = replicas.clock.now() - timedelta(seconds=31)
    assert await replicas.holds(0, 1)
    replicas.logs[1].since = None
    replicas.clock.advance(timedelta(seconds=1))
    assert not await replicas.holds(0, 1)


async def test_one_that_has_gone_is_not_waited_for_while_another_reads(replicas: Replicas) -> None:
    replicas.logs[1].since = replicas.clock.now() - timedelta(seconds=31)
    assert await replicas.holds(0, 1)
    replicas.clock.advance(timedelta(seconds=31))
    assert not await replicas.holds(0)


async def test_where_none_reads_any_more_wakes_wait_though_nobody_says_so(replicas: Replicas) -> None:
    assert not await replicas.holds(0, 1)
    replicas.clock.advance(timedelta(seconds=31))
    assert await replicas.holds()
    replicas.clock.advance(timedelta(minutes=15))
    assert not await replicas.holds()  # longer than that no walk waits


async def test_what_a_replica_said_of_itself_holds_it_no_longer_than_it_is_true(replicas: Replicas) -> None:
    replicas.here.since = replicas.clock.now() - timedelta(seconds=31)  # before its first records came it knew no better
    assert await replicas.holds(0, 1)
    replicas.here.since = None
    assert not replicas.hold.is_on(replicas.clock.now())


async def test_who_does_not_know_yet_says_nothing_and_what_was_said_before_counts(replicas: Replicas) -> None:
    replicas.logs[0].since = replicas.clock.now() - timedelta(seconds=31)
    assert await replicas.holds(0)
    replicas.logs[0].since, replicas.logs[0].known = None, False
    assert await replicas.holds(0)  # its partitions are being shared out anew: they are no emptier for that
    replicas.logs[0].known = True
    assert not await replicas.holds(0)


async def test_a_replica_that_is_not_let_in_yet_wakes_nobody(replicas: Replicas) -> None:
    replicas.here.known = False
    assert await replicas.holds(0, 1)
    replicas.here.known = True
    assert not await replicas.holds(0, 1)


async def test_what_scoring_made_of_its_backlog_is_handled_by_every_replica_before_one_wakes(replicas: Replicas) -> None:
    replicas.logs[0].since = replicas.clock.now() - timedelta(seconds=31)
    await replicas.another.share()
    assert await replicas.holds(0)
    replicas.clock.advance(timedelta(seconds=1))
    replicas.logs[0].since = None
    assert await replicas.holds(0)  # the other has not spoken since: what scoring published may lie in its partitions
    replicas.clock.advance(timedelta(seconds=1))
    await replicas.another.share()
    assert not await replicas.holds(0)


async def test_before_it_has_heard_of_the_others_a_replica_wakes_nobody(replicas: Replicas) -> None:
    assert replicas.hold.is_on(replicas.clock.now())
    assert not await replicas.holds(0)


async def test_a_replica_that_left_in_peace_is_never_taken_for_one_that_is_behind(replicas: Replicas) -> None:
    await replicas.another.share()
    for _ in range(40):
        assert not await replicas.holds(0)
        replicas.clock.advance(timedelta(seconds=1))
        assert not replicas.hold.is_on(replicas.clock.now())
