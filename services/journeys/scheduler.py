"""Wakes the enrollments whose time has come: `tick(now) -> next due`, called by the metronome and by the simulator alike."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys import store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier
from services.journeys.engine import TimeCame
from services.journeys.enrollment import Effect, Enrollment
from services.journeys.hold import Hold
from shared.db import Database
from shared.failpoints import passing
from shared.telemetry import WAKE_LATENESS, WAKES_OVERDUE
from shared.telemetry import log as logger
from shared.work import Outbox, Work

AT_ONCE = 500
"""How many enrollments one transaction wakes."""

AHEAD = timedelta(milliseconds=20)
"""How far a beat that wakes also looks ahead for the next ones: under load the next beat then need not ask."""
LOOKS_AGAIN = timedelta(seconds=1)
IN_HAND = timedelta(milliseconds=50)
"""When to come back for what is due and others have in hand: another replica wakes it, or an activity comes to its lead."""
PUT_OFF = timedelta(hours=1)


class Scheduler:
    """Wakes what is due, unless it must hold."""

    def __init__(self, database: Database, outbox: Outbox, catalogue: Catalogue, hold: Hold) -> None:
        self._database = database
        self._outbox = outbox
        self._catalogue = catalogue
        self._hold = hold
        self._told: datetime | None = None  # what the last beat answered: where that has come, it need not be asked for again

    async def tick(self, now: datetime) -> datetime | None:
        """Wake at most `AT_ONCE` of what is due, the most urgent first; answers when something is due next, None if nothing is."""
        if self._told is None or self._told > now:
            self._told = await self._next_due()
        if self._told is None or self._told > now:
            return self._told
        if self._hold.is_on(now):
            return now + LOOKS_AGAIN
        async with self._outbox.work() as work:
            told = await self._wake_due(work, now)
            passing("journeys.before_wake")
        passing("journeys.after_wake")
        self._told = told
        return told

    async def measure(self, now: datetime) -> None:
        """Tell the operators' metrics how late the latest is, whoever should have woken it."""
        due = await self._next_due()
        late = (now - due).total_seconds() if due else 0.0
        WAKES_OVERDUE.set(max(0.0, late))

    async def _next_due(self) -> datetime | None:
        async with self._database.reading() as connection:
            return await store.find_next_due(connection, _passed_over(await self._in_force(connection)))

    async def _in_force(self, connection: AsyncConnection) -> InForce:
        return await self._catalogue.in_force(await store.load_controls(connection))

    async def _wake_due(self, work: Work, now: datetime) -> datetime | None:
        """Wake what is due; answers when the next one is."""
        in_force = await self._in_force(work.conn)
        waiting = await store.find_waiting(work.conn, now + AHEAD, _passed_over(in_force), AT_ONCE + 1)
        due = [one for one in waiting[:AT_ONCE] if one.wake_at <= now]
        mine = await store.lock_free(work.conn, due)
        dossiers = await store.load_due(work.conn, mine)
        found = list(_found(dossiers, mine))
        await self._catalogue.fetch(enrollment.version for _, enrollment in found)
        await store.load_recent(work.conn, in_force.that_await([dossier for dossier, _ in found]))
        await store.save(work, dossiers.values(), _wake(found, in_force, now))
        if len(waiting) == len(due):
            told = await store.find_next_due(work.conn, _passed_over(in_force))
        else:
            again = [dossier.open[enrollment.id].wake_at for dossier, enrollment in found]
            again += [now] if len(mine) < len(due) else []
            told = min(moment for moment in (*again, waiting[len(due)].wake_at) if moment is not None)
        return now + IN_HAND if told is not None and told <= now and not mine else told


def _found(dossiers: Mapping[str, Dossier], due: Iterable[store.Waiting]) -> Iterator[tuple[Dossier, Enrollment]]:
    """The walks as they stand now that their leads are locked: a merge or an exit may have been quicker than we."""
    for one in due:
        dossier = store.resolve(dossiers, one.lead_id)
        enrollment = dossier.open.get(one.enrollment_id)
        if enrollment is not None and enrollment.wake_at is not None:
            yield dossier, enrollment


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
