"""Journeys' HTTP face: its journeys with their counts, what a lead's walks did, pausing, and enrolling by hand."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from services.journeys import queries, store
from services.journeys.catalogue import Catalogue, Control
from services.journeys.definitions import Status
from services.journeys.enrolling import Enrolling, EnrollmentRequest, known_journey, unknown_journey
from shared.http import Problem, allow
from shared.service import Ports
from shared.work import Outbox

Limit = Annotated[int, Query(ge=1, le=500)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
Item = dict[str, Any]


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


def enrollment_routes(ports: Ports, enrolling: Enrolling) -> APIRouter:
    """Routes of a lead's enrollments and of what they did at each step."""
    router = APIRouter(prefix="/api")

    @router.post("/journeys/{name}/enrollments", status_code=201, dependencies=[allow("marketer")])
    async def enroll(name: str, request: EnrollmentRequest, response: Response, idempotency_key: IdempotencyKey = None) -> Item:
        answer = await enrolling.enroll(name, request, idempotency_key)
        response.status_code = 201 if answer.is_new else 200
        return answer.enrollment

    @router.get("/enrollments", dependencies=[allow("marketer", "sales", "viewer")])
    async def list_enrollments(lead_id: str, limit: Limit = 100, cursor: str | None = None) -> Item:
        async with ports.database.reading() as connection:
            return await _listed(queries.list_enrollments(connection, await queries.find_survivor(connection, lead_id), limit, cursor))

    @router.get("/endings", include_in_schema=False, dependencies=[allow("marketer", "sales", "viewer")])
    async def list_endings(lead_id: str, limit: Limit = 100, cursor: str | None = None) -> Item:
        async with ports.database.reading() as connection:
            return await _listed(queries.list_endings(connection, await queries.find_survivor(connection, lead_id), limit, cursor))

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
                raise unknown_journey(name, in_force)
            return found[0] | {"steps": await queries.count_steps(connection, in_force, name)}

    async def set_status(self, name: str, status: Status) -> Item:
        """Let a status hold until another one is set or published."""
        async with self._outbox.work() as work:
            in_force = await self._catalogue.in_force(await store.load_controls(work.conn))
            said = known_journey(name, in_force).status
            if in_force.said_of(name) == "draft":
                raise Problem(409, "draft", f"`{name}` is a draft: publish it with `status: live` first")
            await store.set_control(work.conn, name, Control(status, in_force.said_of(name)), work.now)
        self._wake()
        return {"journey": name, "status": status, "was": said}


async def _listed(page: Awaitable[queries.Page]) -> queries.Page:
    try:
        return await page
    except queries.BadCursor:
        raise Problem(400, "invalid", "cursor: not one that this list gave; leave it out to begin at the newest") from None
