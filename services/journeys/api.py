"""Journeys' HTTP face: its journeys with their counts, what a lead's walks did, pausing, and enrolling by hand."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from services.journeys import queries, store
from services.journeys.catalogue import Catalogue, Control, InForce
from services.journeys.definitions import Journey, Status
from services.journeys.entering import WHY, Call, Entered
from services.journeys.matching import key_text
from shared.http import Problem, allow
from shared.service import Ports
from shared.wire import Entry
from shared.work import Outbox, Work

Limit = Annotated[int, Query(ge=1, le=500)]
Item = dict[str, Any]


class EnrollmentRequest(BaseModel):
    """Who is to begin a journey: `lead_id` or `email`; `properties` become the entry's."""

    model_config = ConfigDict(extra="forbid")

    lead_id: str | None = None
    email: str | None = None
    key: str | int | float | None = None
    properties: dict[str, Any] = {}


def journey_routes(desk: "Desk") -> APIRouter:
    """Routes of the journeys themselves."""
    router = APIRouter(prefix="/api/journeys")

    @router.get("", dependencies=[allow("marketer", "sales", "viewer")])
    async def list_journeys() -> Item:
        return {"items": await desk.journeys(), "next": None}

    @router.get("/{name}", dependencies=[allow("marketer", "sales", "viewer")])
    async def show_journey(name: str) -> Item:
        return await desk.journey(name)

    @router.post("/{name}/pause", dependencies=[allow("marketer")])
    async def pause(name: str) -> Item:
        return await desk.set_status(name, "paused")

    @router.post("/{name}/drain", dependencies=[allow("marketer")])
    async def drain(name: str) -> Item:
        return await desk.set_status(name, "draining")

    @router.post("/{name}/resume", dependencies=[allow("marketer")])
    async def resume(name: str) -> Item:
        return await desk.set_status(name, "live")

    return router


def enrollment_routes(ports: Ports, desk: "Desk") -> APIRouter:
    """Routes of a lead's enrollments and of what they did at each step."""
    router = APIRouter(prefix="/api")

    @router.post("/journeys/{name}/enrollments", status_code=201, dependencies=[allow("marketer", "sales")])
    async def enroll(name: str, request: EnrollmentRequest) -> Item:
        return await desk.enroll(name, request)

    @router.get("/enrollments", dependencies=[allow("marketer", "sales", "viewer")])
    async def list_enrollments(lead_id: str, limit: Limit = 100, cursor: str | None = None) -> Item:
        async with ports.database.reading() as connection:
            return await _listed(queries.list_enrollments(connection, await queries.find_survivor(connection, lead_id), limit, cursor))

    @router.get("/visits", dependencies=[allow("marketer", "sales", "viewer")])
    async def list_visits(lead_id: str, limit: Limit = 100, cursor: str | None = None) -> Item:
        async with ports.database.reading() as connection:
            return await _listed(queries.list_visits(connection, await queries.find_survivor(connection, lead_id), limit, cursor))

    return router


class Desk:
    """What the routes do. Each raises Problem where the answer is no; `wake` is called when something may be due at once."""

    def __init__(self, ports: Ports, outbox: Outbox, catalogue: Catalogue, wake: Callable[[], None]) -> None:
        self._ports = ports
        self._outbox = outbox
        self._catalogue = catalogue
        self._wake = wake

    async def journeys(self) -> list[Item]:
        async with self._ports.database.reading() as connection:
            in_force = await self._catalogue.in_force(await store.load_controls(connection))
            return await queries.list_journeys(connection, in_force)

    async def journey(self, name: str) -> Item:
        """One journey with its graph."""
        async with self._ports.database.reading() as connection:
            in_force = await self._catalogue.in_force(await store.load_controls(connection))
            found = [item for item in await queries.list_journeys(connection, in_force) if item["journey"] == name]
            if not found:
                raise _unknown(name, in_force)
            return found[0] | {"steps": await queries.count_steps(connection, in_force, name)}

    async def set_status(self, name: str, status: Status) -> Item:
        """Let a status hold until another one is set or published."""
        async with self._outbox.work() as work:
            in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
            said = _known(name, in_force).status
            if in_force.said_of(name) == "draft":
                raise Problem(409, "draft", f"`{name}` is a draft: publish it with `status: live` first")
            await store.set_control(work.conn, name, Control(status, in_force.said_of(name)), work.now)
        self._wake()
        return {"journey": name, "status": status, "was": said}

    async def enroll(self, name: str, request: EnrollmentRequest) -> Item:
        """Begin a walk by hand; obeys status, audience and reentry."""
        async with self._outbox.work() as work:
            in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
            journey = _known(name, in_force)
            enrolled = await self._admit(work, journey, await _lead_of(work, request), request)
        self._wake()
        return enrolled

    async def _admit(self, work: Work, journey: Journey, lead_id: str, request: EnrollmentRequest) -> Item:
        dossiers = await store.load_dossiers(work.conn, [lead_id], work.now)
        dossier = store.resolve(dossiers, lead_id)
        if dossier.known is None:
            raise Problem(404, "unknown_lead", f"no lead {lead_id} here")
        key = key_text(request.key)
        if key is None and any(trigger.key for trigger in journey.triggers):
            raise Problem(409, "no_key", f"`{journey.name}` tells walks of one lead apart by a key: send `key`")
        await store.load_past(work.conn, [dossier])
        entry = Entry(at=work.now, event_id=uuid4().hex, properties=request.properties)
        outcome = dossier.admit(journey, Call(key, entry, dossier.known.sequence), work.now)
        if not isinstance(outcome, Entered):
            raise Problem(409, outcome.reason, f"the lead may not begin `{journey.name}`: {WHY[outcome.reason]}")
        await store.save(work, [dossier], outcome.effects)
        return queries.shown(outcome.enrollment)


async def _lead_of(work: Work, request: EnrollmentRequest) -> str:
    if (request.lead_id is None) == (request.email is None):
        raise Problem(400, "invalid", "send either `lead_id` or `email`")
    if request.lead_id is not None:
        return request.lead_id
    found = await store.find_lead(work.conn, request.email or "")
    if found is None:
        raise Problem(404, "unknown_lead", "no lead has this address")
    return found


def _known(name: str, in_force: InForce) -> Journey:
    journey = in_force.find(in_force.version, name)
    if journey is None:
        raise _unknown(name, in_force)
    return journey


def _unknown(name: str, in_force: InForce) -> Problem:
    return Problem(
        404, "unknown_journey", f"no journey is called `{name}`; there are {', '.join(sorted(in_force.newest.by_name)) or 'none'}"
    )


async def _listed(page: Awaitable[queries.Page]) -> queries.Page:
    try:
        return await page
    except queries.BadCursor:
        raise Problem(400, "invalid", "cursor: not one that this list gave; leave it out to begin at the newest") from None
