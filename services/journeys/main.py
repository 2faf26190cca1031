"""Builds journeys: its HTTP face, the consumer of activities, and the metronome that wakes enrollments."""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial

from services.journeys import store
from services.journeys.api import Desk, enrollment_routes, journey_routes
from services.journeys.audit import audit_routes
from services.journeys.catalogue import Catalogue
from services.journeys.consumer import ActivityHandler
from services.journeys.enrolling import Enrolling
from services.journeys.exporting import export_routes
from services.journeys.hold import Hold
from services.journeys.kpi import count_conversions
from services.journeys.replaying import Replaying
from services.journeys.scheduler import Scheduler
from services.journeys.settings import JourneysSettings
from shared.backlogs import TELLS, Backlogs
from shared.consumer import Consumer
from shared.erasing import Marks, erasure_routes
from shared.errors import Outage
from shared.housekeeping import MEASURED, Chore
from shared.http import service_app
from shared.kpi_api import kpi_routes
from shared.letters_api import dead_letter_routes
from shared.metronome import Metronome
from shared.service import Ports, Service
from shared.wire import ACTIVITIES, EVENTS
from shared.work import SWEEPS, Outbox

UPSTREAM = "scoring"
"""The group whose backlog of events may hold the end of a walk."""


def build(_settings: JourneysSettings, ports: Ports, environ: Mapping[str, str] = os.environ) -> Service:
    """Journeys, not yet started. `environ` is what `${NAME}` means in the playbook."""
    outbox = Outbox("journeys", ports.database, ports.log, ports.clock)
    catalogue = Catalogue(ports.playbooks, environ)
    handler = ActivityHandler(catalogue, Marks(ports.signer))
    consumer = Consumer(ACTIVITIES, ports, outbox, handler.handle, after_commit=lambda: metronome.wake())
    before, here = (UPSTREAM, EVENTS), (outbox.service, ACTIVITIES)
    backlogs = Backlogs(ports, reads=here, awaits=(before, here))
    hold = Hold(partial(backlogs.since, *before), partial(backlogs.since, *here))
    scheduler = Scheduler(ports.database, outbox, catalogue, hold)
    metronome = Metronome("journeys", ports.clock, scheduler.tick, ports.database.changes)

    async def wake_walks() -> None:
        with suppress(Outage):
            await backlogs.share()  # before the first wake: what happened while we were away?
        await metronome.run()

    async def forget_recent() -> None:
        async with outbox.work() as work:
            await store.forget_recent(work.conn, work.now)

    async def measure_wakes() -> None:
        await scheduler.measure(ports.clock.now())

    desk = Desk(ports, outbox, catalogue, metronome.wake)
    enrolling = Enrolling(outbox, catalogue, metronome.wake)
    letters = dead_letter_routes(ports, outbox, Replaying(catalogue, metronome.wake).replay)
    routers = [journey_routes(desk), enrollment_routes(ports, enrolling), audit_routes(ports, catalogue), letters]
    routers += [erasure_routes(ports, outbox.service), export_routes(ports), kpi_routes(ports, {"journeys": count_conversions})]
    return Service(
        "journeys",
        service_app("journeys", ports, routers),
        loops=[consumer.run, wake_walks],
        chores=[
            Chore("journeys outbox", SWEEPS, outbox.sweep),
            Chore("journeys lag", MEASURED, consumer.measure),
            Chore("journeys backlog", TELLS, backlogs.share),
            Chore("journeys wakes", MEASURED, measure_wakes),
            Chore("journeys recent events", timedelta(hours=1), forget_recent),
        ],
    )
