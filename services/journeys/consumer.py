"""Topic `activities` → journeys: what each activity does to the walks of its lead, a batch in one transaction.

consume → load the dossiers → react (pure) → save → publish. Most activities match nothing; they only renew their lead's row.
"""

from collections.abc import Sequence

import msgspec

from services.journeys import store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.dossier import Dossier, Loop, merge, react
from services.journeys.enrollment import Effect
from shared import wire
from shared.errors import InvalidMessage
from shared.log import Record
from shared.wire import Activity
from shared.work import Work


class ActivityHandler:
    """Applies batches of activities; a repeated one changes nothing."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def handle(self, work: Work, records: Sequence[Record]) -> None:
        """Raises InvalidMessage for what is no activity, Outage where no playbook can be used or a move was lost."""
        activities = [_decoded(record) for record in records]
        in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
        named = {activity.lead.id for activity in activities} | {activity.merged_from for activity in activities if activity.merged_from}
        dossiers = await store.load_dossiers(work.conn, named, work.now)
        await self._catalogue.fetch(enrollment.version for dossier in dossiers.values() for enrollment in dossier.open.values())
        await store.load_past(work.conn, _that_may_enter(activities, dossiers, in_force))
        batch = _Batch(work, in_force, dossiers)
        for record, activity in zip(records, activities, strict=True):
            batch.take(record, activity)
        await store.save(work, dossiers.values(), batch.effects)


class _Batch:
    """The dossiers of one batch while its activities are applied in their order."""

    def __init__(self, work: Work, in_force: InForce, dossiers: dict[str, Dossier]) -> None:
        self._work = work
        self._in_force = in_force
        self._dossiers = dossiers
        self.effects: list[Effect] = []

    def take(self, record: Record, activity: Activity) -> None:
        if not self._dossiers[activity.lead.id].see(activity):
            return
        if activity.merged_from is not None:
            self._merge(activity.lead.id, activity.merged_from)
        dossier = store.resolve(self._dossiers, activity.lead.id)
        event, now = activity.event, self._work.now
        if event.name in self._in_force.newest.watched and event.at >= now - store.KEPT:
            dossier.remember(event, activity.sequence)
        starters = self._in_force.starters(event.name)
        for effect in react(dossier, activity, self._in_force.find, starters, now) if starters or dossier.open else ():
            if isinstance(effect, Loop):
                self._set_aside(record, activity, effect)
            else:
                self.effects.append(effect)

    def _merge(self, survivor_id: str, other_id: str) -> None:
        survivor, other = store.resolve(self._dossiers, survivor_id), store.resolve(self._dossiers, other_id)
        if survivor is not other:
            self.effects += merge(survivor, other, self._in_force.find, self._work.now)

    def _set_aside(self, record: Record, activity: Activity, loop: Loop) -> None:
        message = (
            f"`{loop.journey}` was not begun: {activity.event.depth} of our own effects led to this event; look for a circle without a wait"
        )
        self._work.set_aside(wire.ACTIVITIES, record.key, record.value, code="loop", message=message)


def _that_may_enter(activities: Sequence[Activity], dossiers: dict[str, Dossier], in_force: InForce) -> list[Dossier]:
    """Those whose past must be known: a trigger has the activity's name, or two leads become one."""
    ids = {
        activity.lead.id
        for activity in activities
        if activity.merged_from or (in_force.starters(activity.event.name) and not activity.late)
    }
    ids |= {activity.merged_from for activity in activities if activity.merged_from}
    found = {dossier.lead_id: dossier for dossier in (store.resolve(dossiers, lead_id) for lead_id in ids)}
    return list(found.values())


def _decoded(record: Record) -> Activity:
    try:
        return wire.decode_activity(record.value)
    except msgspec.MsgspecError as error:
        raise InvalidMessage("bad_activity", str(error)) from error
