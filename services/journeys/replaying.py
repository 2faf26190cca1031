"""Replaying what journeys set aside: most is read once more; what was stopped as a loop has its effect, for now a person asks for it."""

from collections.abc import Callable, Sequence

from services.journeys import store
from services.journeys.catalogue import Catalogue
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier, Loop, react
from services.journeys.entering import WHY, Call, Entered, Refused, find_call
from shared import wire
from shared.dead_letters import DeadLetter
from shared.http import Problem
from shared.letters_api import append_again
from shared.wire import Activity
from shared.work import Work


class Replaying:
    """Handles dead letters once more. `wake` is called when something may be due at once."""

    def __init__(self, catalogue: Catalogue, wake: Callable[[], None]) -> None:
        self._catalogue = catalogue
        self._wake = wake

    async def replay(self, work: Work, letter: DeadLetter) -> None:
        """Raises Problem where nothing comes of it; the letter then stays as it was."""
        if letter.code != "loop":
            await append_again(work, letter)
            return
        activity = wire.decode_activity(letter.payload)
        activity = wire.replace(activity, event=wire.replace(activity.event, depth=0))  # the chain of causes begins anew, with who replays
        in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
        dossiers = await store.load_dossiers(work.conn, [activity.lead.id], work.now)
        dossier = store.resolve(dossiers, activity.lead.id)
        if dossier.known is None:
            raise Problem(409, "unknown_lead", "its lead is not here any more")
        await self._catalogue.fetch(enrollment.version for enrollment in dossier.open.values())
        await store.load_past(work.conn, [dossier])
        starters = in_force.starters(activity.event.name)
        effects = [effect for effect in react(dossier, activity, in_force.find, starters, work.now) if not isinstance(effect, Loop)]
        if not dossier.changed:
            raise _nothing(dossier, activity, starters, work)
        await store.save(work, [dossier], effects)
        self._wake()


def _nothing(dossier: Dossier, activity: Activity, starters: Sequence[Journey], work: Work) -> Problem:
    """Why the activity begins nothing and wakes nothing."""
    assert dossier.known is not None
    for journey in starters:
        outcome: Entered | Refused | Call | None = find_call(journey, activity, dossier.known.lead, work.now)
        if isinstance(outcome, Call):
            outcome = dossier.admit(journey, outcome, work.now)
        if isinstance(outcome, Refused):
            return Problem(409, outcome.reason, f"the lead may not begin `{journey.name}`: {WHY[outcome.reason]}")
    return Problem(409, "no_trigger", "nothing waits for this event any more, and it is the trigger of no journey that is in force")
