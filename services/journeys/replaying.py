"""Replaying what journeys set aside: most is read once more; what was stopped as a loop begins after all, for now a person asks for it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from services.journeys import store
from services.journeys.catalogue import Catalogue
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier
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
        in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
        dossiers = await store.load_dossiers(work.conn, [activity.lead.id], work.now)
        dossier = store.resolve(dossiers, activity.lead.id)
        await store.load_past(work.conn, [dossier])
        begun = _begin(dossier, activity, in_force.starters(activity.event.name), work)
        await store.save(work, [dossier], [effect for entered in begun for effect in entered.effects])
        self._wake()


def _begin(dossier: Dossier, activity: Activity, starters: Sequence[Journey], work: Work) -> list[Entered]:
    """Let the lead into the journeys that this activity triggers. The chain of causes begins anew, with the person who replays."""
    if dossier.known is None:
        raise Problem(409, "unknown_lead", "its lead is not here any more")
    begun: list[Entered] = []
    refused = None
    for journey in starters:
        outcome: Entered | Refused | Call | None = find_call(journey, activity, dossier.known.lead, work.now)
        if isinstance(outcome, Call):
            outcome = dossier.admit(journey, replace(outcome, depth=0), work.now)
        if isinstance(outcome, Entered):
            begun.append(outcome)
        elif isinstance(outcome, Refused):
            refused = refused or Problem(409, outcome.reason, f"the lead may not begin `{journey.name}`: {WHY[outcome.reason]}")
    if not begun:
        raise refused or Problem(409, "no_trigger", "no journey that is in force has this event as its trigger any more")
    return begun
