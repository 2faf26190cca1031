"""Topic `activities` → journeys: what each activity does to the walks of its lead, a batch in one transaction.

consume → load the dossiers → react (pure) → save → publish. Most activities match nothing; they only renew their lead's row.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from services.journeys import store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier, Loop, merge, react
from services.journeys.enrollment import Effect
from services.journeys.erasing import without_erased
from shared import wire
from shared.erasing import Marks
from shared.errors import InvalidMessage
from shared.log import Record
from shared.wire import Activity
from shared.work import Work


class Glance(Struct, frozen=True):
    """What is looked at first of an activity: enough to know that most of them match nothing."""

    sequence: int
    event: "Named"
    lead: Raw
    late: bool = False
    merged_from: str | None = None


class Named(Struct, frozen=True):
    """Of an event its name, of a lead its id."""

    name: str = ""
    id: str = ""


class ActivityHandler:
    """Applies batches of activities; a repeated one changes nothing."""

    def __init__(self, catalogue: Catalogue, marks: Marks) -> None:
        self._catalogue = catalogue
        self._marks = marks

    async def handle(self, work: Work, records: Sequence[Record]) -> None:
        """Raises InvalidMessage for what is no activity, Outage where no playbook can be used or a move was lost."""
        arrivals = await without_erased(work, [Arrival(record) for record in records], self._marks)
        in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
        dossiers = await store.load_dossiers(work.conn, {lead_id for arrival in arrivals for lead_id in arrival.leads}, work.now)
        await self._catalogue.fetch(enrollment.version for dossier in dossiers.values() for enrollment in dossier.open.values())
        may_enter = _that_may_enter(arrivals, dossiers, in_force)
        await store.load_past(work.conn, may_enter.values())
        await store.load_recent(work.conn, [one for one in in_force.that_await(dossiers.values()) if one.lead_id not in may_enter])
        batch = _Batch(work, in_force, dossiers)
        for arrival in arrivals:
            batch.take(arrival)
        await store.save(work, dossiers.values(), batch.effects)


class Arrival:
    """A record of the topic, glanced at."""

    __slots__ = ("glance", "lead_id", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        try:
            self.glance = _glance(record.value)
            self.lead_id = _named(self.glance.lead).id
        except msgspec.MsgspecError as error:
            raise InvalidMessage("bad_activity", str(error)) from error

    @property
    def name(self) -> str:
        return self.glance.event.name

    @property
    def leads(self) -> Iterator[str]:
        yield self.lead_id
        if self.glance.merged_from is not None:
            yield self.glance.merged_from

    def whole(self) -> Activity:
        try:
            return wire.decode_activity(self.record.value)
        except msgspec.MsgspecError as error:
            raise InvalidMessage("bad_activity", str(error)) from error


class _Batch:
    """The dossiers of one batch while its activities are applied in their order."""

    def __init__(self, work: Work, in_force: InForce, dossiers: dict[str, Dossier]) -> None:
        self._work = work
        self._in_force = in_force
        self._dossiers = dossiers
        self.effects: list[Effect] = []

    def take(self, arrival: Arrival) -> None:
        glance = arrival.glance
        if not self._dossiers[arrival.lead_id].see(glance.sequence, bytes(glance.lead)):
            return
        if glance.merged_from is not None:
            self._merge(arrival.lead_id, glance.merged_from)
        dossier = store.resolve(self._dossiers, arrival.lead_id)
        starters = self._in_force.starters(glance.event.name)
        watched = glance.event.name in self._in_force.newest.watched
        if starters or watched or dossier.open:
            self._react(arrival, dossier, starters, watched=watched)

    def _react(self, arrival: Arrival, dossier: Dossier, starters: Sequence[Journey], *, watched: bool) -> None:
        activity, now = arrival.whole(), self._work.now
        if watched and activity.event.at >= now - store.KEPT:
            dossier.remember(activity.event, activity.sequence, late=activity.late)
        for effect in react(dossier, activity, self._in_force.find, starters, now):
            if isinstance(effect, Loop):
                self._set_aside(arrival.record, activity, effect)
            else:
                self.effects.append(effect)

    def _merge(self, survivor_id: str, other_id: str) -> None:
        survivor, other = store.resolve(self._dossiers, survivor_id), store.resolve(self._dossiers, other_id)
        if survivor is not other:
            self.effects += merge(survivor, other, self._in_force.find, self._work.now)

    def _set_aside(self, record: Record, activity: Activity, loop: Loop) -> None:
        message = (
            f"`{loop.journey}` was not begun or woken: {activity.event.depth} of our own effects led here; look for a circle without a wait"
        )
        self._work.set_aside(wire.ACTIVITIES, record.key, record.value, code="loop", message=message)


def _that_may_enter(arrivals: Sequence[Arrival], dossiers: dict[str, Dossier], in_force: InForce) -> dict[str, Dossier]:
    """Those whose past must be known: a trigger has the activity's name, or two leads become one."""
    ids: set[str] = set()
    for arrival in arrivals:
        if arrival.glance.merged_from is not None or (in_force.starters(arrival.glance.event.name) and not arrival.glance.late):
            ids.update(arrival.leads)
    return {dossier.lead_id: dossier for dossier in (store.resolve(dossiers, lead_id) for lead_id in ids)}


_glance = msgspec.json.Decoder(Glance).decode
_named = msgspec.json.Decoder(Named).decode
