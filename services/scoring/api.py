"""Scoring's HTTP face: the leads, one lead now or at a past moment, its events, changes to it, the audit."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scoring.audit import audit, count_living, refold_some
from services.scoring.changes import LeadChange, change_lead
from services.scoring.erasing import erase, erase_address, last_erasure
from services.scoring.leads import Scored, refold
from services.scoring.queries import LeadFilter, Recorded, events_until, find_lead, list_events, list_leads
from services.scoring.rulebook import Rulebook
from services.scoring.store import renewed
from services.scoring.views import event_view, lead_view, whole_view
from shared.auditing import answer, house_checks
from shared.erasing import Marks
from shared.http import Problem, allow
from shared.instant import EPOCH, MICROSECOND
from shared.keys import Key
from shared.service import Ports
from shared.wire import encode
from shared.work import Outbox

Limit = Annotated[int, Query(ge=1, le=500)]
READER, WRITER = allow("marketer", "sales", "viewer"), allow("marketer")


def lead_routes(ports: Ports, outbox: Outbox, rulebook: Rulebook) -> APIRouter:
    """`/api/leads` and what lies below it. A lead that became part of another is found under both ids."""
    router = APIRouter(prefix="/api/leads")

    @router.get("", dependencies=[READER])
    async def leads(wanted: Annotated[LeadFilter, Depends()], limit: Limit = 50, cursor: str | None = None) -> Response:
        definitions, now = await rulebook.newest(), ports.clock.now()
        async with ports.database.reading() as connection:
            found = await renewed(connection, await list_leads(connection, wanted, limit, cursor), definitions, now)
        return _page([lead_view(scored, definitions, now) for scored in found], found[-1].lead.id if len(found) == limit else None)

    @router.get("/{lead_id}", dependencies=[READER])
    async def lead(lead_id: str, as_of: datetime | None = None) -> Response:
        if as_of is not None:
            return await past_lead(lead_id, as_of)
        definitions, now = await rulebook.newest(), ports.clock.now()
        async with ports.database.reading() as connection:
            (scored,) = await renewed(connection, [_there(await find_lead(connection, lead_id), lead_id)], definitions, now)
        return _json(whole_view(scored, definitions, now))

    async def past_lead(lead_id: str, as_of: datetime) -> Response:
        moment = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
        if moment > ports.clock.now():
            raise Problem(400, "invalid", "as_of: lies in the future; name a past moment")
        async with ports.database.reading() as connection:
            scored = _there(await find_lead(connection, lead_id), lead_id)
            events = await events_until(connection, scored.lead.id, moment)
        if not events:
            raise Problem(404, "not_found", f"the lead {lead_id} had done nothing by then")
        definitions = await rulebook.newest()
        return _json(whole_view(refold(scored.lead, events, definitions, moment), definitions, moment))

    @router.patch("/{lead_id}")
    async def change(lead_id: str, change: LeadChange, key: Annotated[Key, WRITER]) -> Response:
        scored = _there(await change_lead(outbox, rulebook, lead_id, change, key), lead_id)
        return _json(whole_view(scored, await rulebook.newest(), ports.clock.now()))

    @router.get("/{lead_id}/events", dependencies=[READER])
    async def events(lead_id: str, limit: Limit = 50, cursor: str | None = None) -> Response:
        before = None if cursor is None else place_of(cursor)
        async with ports.database.reading() as connection:
            scored = _there(await find_lead(connection, lead_id), lead_id)
            found = await list_events(connection, scored.lead.id, limit, before)
        return _page([event_view(at, event) for at, event in found], place_text(found[-1]) if len(found) == limit else None)

    return router


def leaving_routes(outbox: Outbox, rulebook: Rulebook, marks: Marks) -> APIRouter:
    """Forgetting a lead; what is left is to be seen at `/api/erasures/{id}` of each service."""
    router = APIRouter(prefix="/api/leads")

    @router.delete("/{lead_id}", dependencies=[allow()])
    async def erase_lead(lead_id: str) -> Response:
        found = await erase(outbox, rulebook, marks, lead_id)
        if found is None:
            raise _no_lead(lead_id)
        return _json(found)

    return router


def address_routes(ports: Ports, outbox: Outbox, marks: Marks) -> APIRouter:
    """Forgetting what is held for an address that no lead has."""
    router = APIRouter(prefix="/api/addresses", dependencies=[allow()])

    @router.delete("/{address}")
    async def forget(address: str) -> Response:
        if "@" not in address:
            raise Problem(400, "invalid", f"{address} is no address")
        found = await erase_address(outbox, marks, address)
        if found is None:
            raise Problem(409, "has_lead", "a lead has this address: `GET /api/leads?email=` finds it, `DELETE /api/leads/{id}` forgets it")
        return _json(found)

    @router.get("/{address}/erasure", include_in_schema=False)
    async def last(address: str) -> Response:
        async with ports.database.reading() as connection:
            found = await last_erasure(connection, marks, address)
        if found is None:
            raise Problem(404, "not_found", "this address was never erased")
        return _json(found)

    return router


def audit_routes(ports: Ports, rulebook: Rulebook) -> APIRouter:
    """`/api/audit`: scoring's part of it."""
    router = APIRouter()

    @router.get("/api/audit", dependencies=[READER])
    async def checks() -> Response:
        definitions = await rulebook.newest()
        async with ports.database.reading() as connection:
            found = await audit(connection, definitions, ports.clock.now())
            return _json(answer("scoring", [*found, *await house_checks(ports, connection, "scoring")]))

    @router.get("/api/audit/refolded", dependencies=[READER], include_in_schema=False)
    async def refolded(after: str = "", limit: Limit = 200) -> Response:
        definitions = await rulebook.newest()
        async with ports.database.reading() as connection:
            found = await refold_some(connection, definitions, ports.clock.now(), after, limit)
            return _json(found | ({} if after else {"leads": await count_living(connection)}))

    return router


def _there(scored: Scored | None, lead_id: str) -> Scored:
    if scored is None:
        raise _no_lead(lead_id)
    return scored


async def find_or_refuse(connection: AsyncConnection, lead_id: str) -> Scored:
    """The lead of this id, or what it became part of. Raises Problem."""
    return _there(await find_lead(connection, lead_id), lead_id)


def _no_lead(lead_id: str) -> Problem:
    return Problem(404, "not_found", f"no lead {lead_id}; `GET /api/leads?email=` or `?user_id=` finds one by what is known of him")


def place_text(last: Recorded) -> str:
    return f"{(last.at - EPOCH) // MICROSECOND}.{last.event.id}"


def place_of(cursor: str) -> tuple[datetime, str]:
    """Where a list was left. Raises Problem for what no list of ours has given."""
    number, _, id = cursor.partition(".")
    try:
        return EPOCH + timedelta(microseconds=int(number)), id
    except (ValueError, OverflowError) as error:
        raise Problem(400, "invalid", "cursor: not one that this list gave; leave it out to begin at the newest") from error


def _page(items: list[dict[str, Any]], following: str | None) -> Response:
    return _json({"items": items, "next": following})


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")
