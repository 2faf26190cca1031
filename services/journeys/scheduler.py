"""Wakes the enrollments whose time has come: `tick(now) -> next due`, called by the metronome and by the simulator alike."""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement

from services.journeys import store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier
from services.journeys.engine import TimeCame
from services.journeys.enrollment import Effect, Enrollment
from services.journeys.hold import Hold
from shared.db import Database
from shared.telemetry import WAKE_LATENESS
from shared.telemetry import log as logger
from shared.work import Outbox, Work

AT_ONCE = 500
"""How many enrollments one transaction wakes."""

LOOKS_AGAIN = timedelta(seconds=1)
PUT_OFF = timedelta(hours=1)


class Scheduler:
    """Wakes what is due, unless it must hold."""

    def __init__(self, database: Database, outbox: Outbox, catalogue: Catalogue, hold: Hold) -> None:
        self._database = database
        self._outbox = outbox
        self._catalogue = catalogue
        self._hold = hold

    async def tick(self, now: datetime) -> datetime | None:
        """Wake at most `AT_ONCE` of what is due, the most urgent first; answers when something is due next, None if nothing is."""
        async with self._database.reading() as connection:
            in_force = await self._catalogue.in_force(await store.load_controls(connection))
            due = await store.find_next_due(connection, _passed_over(in_force))
        if due is None or due > now:
            return due
        if self._hold.is_on(now):
            return now + LOOKS_AGAIN
        async with self._outbox.work() as work:
            await self._wake_due(work, now)
            return await store.find_next_due(work.conn, _passed_over(in_force))

    async def _wake_due(self, work: Work, now: datetime) -> None:
        in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
        due = await store.find_due(work.conn, now, _passed_over(in_force), AT_ONCE)
        dossiers = await store.load_dossiers(work.conn, {lead_id for lead_id, _ in due}, now)
        found = [(dossiers[lead_id], dossiers[lead_id].open[enrollment_id]) for lead_id, enrollment_id in due]
        await self._catalogue.fetch(enrollment.version for _, enrollment in found)
        await store.save(work, dossiers.values(), _wake(found, in_force, now))


def _wake(found: list[tuple[Dossier, Enrollment]], in_force: InForce, now: datetime) -> list[Effect]:
    """Advance what is due: transactional first, then by priority, due time and journey (rule 9)."""
    effects: list[Effect] = []
    known = [(in_force.find(enrollment.version, enrollment.journey), dossier, enrollment) for dossier, enrollment in found]
    due = [(journey, dossier, enrollment) for journey, dossier, enrollment in known if journey is not None]
    due.sort(key=lambda one: (one[0].category == "marketing", one[0].priority, one[2].wake_at, one[0].name))
    for journey, dossier, enrollment in due:
        effects += _wake_one(journey, dossier, enrollment, now)
        if enrollment.wake_at is not None:
            WAKE_LATENESS.observe((now - enrollment.wake_at).total_seconds())
    return effects


def _wake_one(journey: Journey, dossier: Dossier, enrollment: Enrollment, now: datetime) -> tuple[Effect, ...]:
    """Advance one enrollment; one that a bug keeps from moving is put off and stops nobody else."""
    try:
        return dossier.move(journey, enrollment, TimeCame(), now)
    except Exception:  # noqa: BLE001 - whatever it is, the others are due too
        logger.exception("enrollment.stuck", enrollment=enrollment.id, journey=journey.name, version=journey.version, step=enrollment.step)
        dossier.keep(replace(enrollment, wake_at=now + PUT_OFF))
        return ()


def _passed_over(in_force: InForce) -> ColumnElement[bool]:
    return store.not_of(in_force.held(), in_force.unreadable())
