"""Beginning a walk by hand: POST /api/journeys/{name}/enrollments. Obeys status, audience and reentry as a trigger does.

request ──► whose, which journey ──► asked before? ──► enter (pure) ──► saved and published in one transaction
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from services.journeys import queries, store
from services.journeys.catalogue import Catalogue, InForce
from services.journeys.definitions import Journey
from services.journeys.dossier import Dossier
from services.journeys.enrollment import Enrollment
from services.journeys.entering import WHY, Call, Entered, call_by_hand
from services.journeys.matching import key_text
from shared.http import Problem
from shared.wire import Entry
from shared.work import Outbox, Work

BY_HAND = "api."
"""What the event id of an entry begins with that no event made."""


class EnrollmentRequest(BaseModel):
    """Who is to begin a journey: `lead_id` or `email`; `properties` become the entry's."""

    model_config = ConfigDict(extra="forbid")

    lead_id: str | None = None
    email: str | None = None
    key: str | int | float | None = None
    properties: dict[str, Any] = {}


class Answer(NamedTuple):
    """The enrollment as the lists show it, and whether this very call began it."""

    enrollment: dict[str, Any]
    is_new: bool


class Enrolling:
    """Begins walks by hand. `wake` is called when something may be due at once."""

    def __init__(self, outbox: Outbox, catalogue: Catalogue, wake: Callable[[], None]) -> None:
        self._outbox = outbox
        self._catalogue = catalogue
        self._wake = wake

    async def enroll(self, name: str, request: EnrollmentRequest, idempotency_key: str | None) -> Answer:
        """Begin a walk, once for each idempotency key and lead. Raises Problem: 404 for whom or what there is not, 409 with the refusal."""
        async with self._outbox.work() as work:
            in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
            journey = known_journey(name, in_force)
            dossier = await _dossier_of(work, request)
            answer = await _asked_before(work, dossier, journey, request, idempotency_key)
            answer = answer or await _admit(work, dossier, journey, request, _event_id(idempotency_key))
        self._wake()
        return answer


def known_journey(name: str, in_force: InForce) -> Journey:
    """The journey of this name as it is in force. Raises Problem."""
    journey = in_force.find(in_force.version, name)
    if journey is None:
        raise unknown_journey(name, in_force)
    return journey


def unknown_journey(name: str, in_force: InForce) -> Problem:
    there_are = ", ".join(sorted(in_force.newest.by_name)) or "none"
    return Problem(404, "unknown_journey", f"no journey is called `{name}`; there are {there_are}")


async def _dossier_of(work: Work, request: EnrollmentRequest) -> Dossier:
    if (request.lead_id is None) == (request.email is None):
        raise Problem(400, "invalid", "send either `lead_id` or `email`")
    lead_id = request.lead_id or await store.find_lead(work.conn, request.email or "")
    if lead_id is None:
        raise Problem(404, "unknown_lead", "no lead has this address")
    dossier = store.resolve(await store.load_dossiers(work.conn, [lead_id], work.now), lead_id)
    if dossier.known is None:
        raise Problem(404, "unknown_lead", f"no lead {lead_id} here")
    return dossier


async def _asked_before(
    work: Work, dossier: Dossier, journey: Journey, request: EnrollmentRequest, idempotency_key: str | None
) -> Answer | None:
    """The enrollment that an earlier call like this one began: by its idempotency key, else by key and properties while it walks."""
    if idempotency_key is not None:
        found = await store.find_entered_by(work.conn, dossier.lead_id, journey.name, _event_id(idempotency_key))
    else:
        found = _walk_like(dossier, journey, request)
    return None if found is None else Answer(queries.shown(found), is_new=False)


def _walk_like(dossier: Dossier, journey: Journey, request: EnrollmentRequest) -> Enrollment | None:
    key = key_text(request.key)
    if key is None:
        return None
    here = (one for one in dossier.open.values() if one.active and (one.journey, one.key) == (journey.name, key))
    by_hand = (one for one in here if one.entry.event_id.startswith(BY_HAND) and one.entry.properties == request.properties)
    return next(by_hand, None)


async def _admit(work: Work, dossier: Dossier, journey: Journey, request: EnrollmentRequest, event_id: str) -> Answer:
    assert dossier.known is not None
    await store.load_past(work.conn, [dossier])
    entry = Entry(at=work.now, event_id=event_id, properties=request.properties)
    call = call_by_hand(journey, entry, key_text(request.key), dossier.known, work.now)
    outcome = dossier.admit(journey, call, work.now) if isinstance(call, Call) else call
    if not isinstance(outcome, Entered):
        raise Problem(409, outcome.reason, f"the lead may not begin `{journey.name}`: {WHY[outcome.reason]}")
    await store.save(work, [dossier], outcome.effects)
    return Answer(queries.shown(outcome.enrollment), is_new=True)


def _event_id(idempotency_key: str | None) -> str:
    """Where no event began the walk, what makes its id: the same for the same idempotency key."""
    if idempotency_key is None:
        return f"{BY_HAND}{uuid4().hex}"
    return f"{BY_HAND}{blake2b(idempotency_key.encode(), digest_size=16).hexdigest()}"
