"""The service as it runs: its loops on the embedded log, one activity in, one message out, over a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from prometheus_client import REGISTRY

from services.journeys.main import build
from services.journeys.settings import JourneysSettings
from shared import wire
from shared.embedded_log import EmbeddedLog
from shared.log import Subscription
from shared.positions import StoredPositions
from shared.service import Ports
from tests.builders import a_lead
from tests.journeys_house import House

JOURNEY = "journey: hello\ntrigger: {event: Signed Up}\nsteps: [{send: one}, {wait: 1h}, {send: two}]"


class FromTheStart:
    """A reader that keeps no position."""

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return None


@asynccontextmanager
async def running(house: House, folder: Path) -> AsyncIterator[EmbeddedLog]:
    """The service with its loops, as `run` starts it."""
    log = EmbeddedLog(folder, house.clock)
    ports = house.ports
    service = build(JourneysSettings(), Ports(log, ports.database, ports.clock, ports.keys, ports.playbooks, ports.signer))
    tasks = [asyncio.create_task(loop()) for loop in service.loops]
    try:
        yield log
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await log.close()


async def next_send(messages: Subscription) -> wire.Send:
    (record,) = (await messages.next(1)).records
    message = wire.decode_message(record.value)
    assert isinstance(message, wire.Send)
    return message


async def tell(log: EmbeddedLog, activity: wire.Activity) -> None:
    await log.append(wire.ACTIVITIES, [(activity.lead.id, wire.encode(activity))])


async def handled(house: House, count: int) -> None:
    """Returns when this many activities are."""
    while await StoredPositions(house.database).position("journeys", wire.ACTIVITIES, 0) != count:
        continue


async def test_an_activity_becomes_a_message_and_so_does_the_time(tmp_path: Path, database_kind: str) -> None:
    house = House(tmp_path, JOURNEY)
    await house.open()
    async with running(house, tmp_path / "log") as log:
        messages = log.subscribe("test", wire.MESSAGES, FromTheStart())
        await tell(log, house.an_activity("Signed Up"))
        first = await next_send(messages)
        await tell(log, house.an_activity("Email Sent", lead=a_lead(), enrollment_id=first.enrollment_id, transition=first.transition))
        await tell(log, house.an_activity("Page Viewed"))
    await house.restart()
    async with running(house, tmp_path / "log") as log:
        messages = log.subscribe("test", wire.MESSAGES, FromTheStart())
        assert await next_send(messages) == first
        await tell(log, house.an_activity("Page Viewed"))
        await handled(house, 4)  # from here on nothing but the time can be what wakes
        house.clock.advance(timedelta(hours=1, seconds=1))
        second = await next_send(messages)
    assert (first.template, second.template, second.enrollment_id) == ("one", "two", first.enrollment_id)
    house.log.away = True  # what was read lay on another log, which is closed
    await house.audit()
    await house.database.close()


async def test_how_late_the_latest_wake_is_is_told(tmp_path: Path) -> None:
    house = House(tmp_path, "journey: hello\ntrigger: {event: Signed Up}\nsteps: [{wait: 1h}, {send: two}]")
    await house.open()
    await house.happens("Signed Up")
    await house.chore("journeys wakes")
    assert REGISTRY.get_sample_value("dripline_wakes_overdue_seconds") == 0
    house.passes("1h")
    house.passes("90s")
    await house.chore("journeys wakes")
    assert REGISTRY.get_sample_value("dripline_wakes_overdue_seconds") == 90
    await house.tick()
    await house.chore("journeys wakes")
    assert REGISTRY.get_sample_value("dripline_wakes_overdue_seconds") == 0
    await house.database.close()
