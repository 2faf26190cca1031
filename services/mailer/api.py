"""The mailer's HTTP face for people and programs: the ledger, what may be done about a delivery, suppressions, the audit."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field

from services.mailer import handoff_store, handoffs, leads, queries, store
from services.mailer.policy import Delivery, State, Status, address_key
from services.mailer.queries import Wanted
from services.mailer.tables import SUPPRESSIONS
from shared.erasing import find_erased
from shared.http import Problem, allow
from shared.service import Ports
from shared.work import Outbox, Work

Limit = Annotated[int, Query(ge=1, le=500)]
RETRIED = frozenset({"failed", "deferred"})


class Resolution(BaseModel):
    """What became of a delivery in doubt, by a person's word."""

    as_: Literal["sent", "failed", "retry"] = Field(alias="as")


class NewSuppression(BaseModel):
    """An address that must not be mailed."""

    address: Annotated[str, Field(min_length=3, max_length=254, pattern=r"^\S+@\S+$")]
    scope: Literal["all", "marketing"] = "all"
    reason: Annotated[str, Field(min_length=1, max_length=200)] = "manual"


def ledger_routes(ports: Ports) -> APIRouter:
    """Deliveries: the list, and one of them."""
    router = APIRouter(prefix="/api/deliveries", dependencies=[allow("marketer", "sales", "viewer")])

    @router.get("")
    async def list_deliveries(
        lead_id: str | None = None,
        journey: str | None = None,
        status: Status | None = None,
        kind: Literal["email", "webhook"] | None = None,
        message_id: str | None = None,
        limit: Limit = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        wanted, after = Wanted(lead_id, journey, status, kind, message_id), _place(cursor)
        async with ports.database.reading() as connection:
            items, following = await queries.list_deliveries(connection, wanted, limit, after)
        return {"items": items, "next": following}

    @router.get("/{delivery_id}")
    async def show_delivery(delivery_id: str) -> dict[str, Any]:
        return await _shown(ports, delivery_id)

    return router


def action_routes(ports: Ports, outbox: Outbox, wake: Callable[[], None]) -> APIRouter:
    """What a person may do about a delivery: another try, and the settling of what is in doubt. `wake` tells the scheduler."""
    router = APIRouter(prefix="/api/deliveries", dependencies=[allow("marketer")])

    @router.post("/{delivery_id}/retry")
    async def retry(delivery_id: str) -> dict[str, Any]:
        async with outbox.work() as work:
            delivery = await _locked(work, delivery_id)
            if delivery.status not in RETRIED:
                raise Problem(409, "not_retryable", _why_not_retried(delivery))
            await _requeue(work, delivery)
        wake()
        return await _shown(ports, delivery_id)

    @router.post("/{delivery_id}/resolve")
    async def resolve(delivery_id: str, resolution: Annotated[Resolution, Body()]) -> dict[str, Any]:
        async with outbox.work() as work:
            delivery = await _locked(work, delivery_id)
            if delivery.status != "in_doubt":
                raise Problem(409, "not_in_doubt", f"delivery {delivery_id} is {delivery.status}; only one in_doubt is resolved")
            await _resolve(work, delivery, resolution.as_)
        wake()
        return await _shown(ports, delivery_id)

    return router


def _place(cursor: str | None) -> queries.Place | None:
    try:
        return queries.read_cursor(cursor) if cursor is not None else None
    except ValueError:
        raise Problem(400, "invalid", "cursor: not one that this list gave; leave it out to begin at the newest") from None


async def _shown(ports: Ports, delivery_id: str) -> dict[str, Any]:
    async with ports.database.reading() as connection:
        found = await queries.find_delivery(connection, delivery_id)
    if found is None:
        raise _no_delivery(delivery_id)
    return found


async def _locked(work: Work, delivery_id: str) -> Delivery:
    delivery = (await store.lock(work.conn, [delivery_id])).get(delivery_id)
    if delivery is None:
        raise _no_delivery(delivery_id)
    return delivery


def _no_delivery(delivery_id: str) -> Problem:
    return Problem(404, "not_found", f"no delivery {delivery_id}; `dripline deliveries list` names them")


def _why_not_retried(delivery: Delivery) -> str:
    match delivery.status:
        case "in_doubt":
            return "it may have been accepted: say what became of it with `resolve`, as sent, failed or retry"
        case "sent" | "suppressed":
            return f"it is {delivery.status}, and stays so"
        case _:
            return f"it is {delivery.status}: it goes as soon as it can"


async def _resolve(work: Work, delivery: Delivery, how: Literal["sent", "failed", "retry"]) -> None:
    if how == "retry":
        await _requeue(work, delivery)
    else:
        await store.save_states(work, [(delivery, State(how, "resolved", attempts=delivery.attempts))])


def handoff_routes(ports: Ports) -> APIRouter:
    """Hand-offs: who has them, and what was answered."""
    router = APIRouter(prefix="/api/handoffs", dependencies=[allow("marketer", "sales", "viewer")])

    @router.get("")
    async def list_handoffs(lead_id: str | None = None, status: handoffs.Status | None = None, limit: Limit = 50) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            return {"items": await handoff_store.list_handoffs(connection, lead_id, status, limit), "next": None}

    return router


async def _requeue(work: Work, delivery: Delivery) -> None:
    if await find_erased(work.conn, work.service, [delivery.lead_id]):
        raise Problem(409, "erased", "its lead was erased: nobody knows any more what it said, and to whom")
    if delivery.kind == "webhook" and (why := _why_not_told(await handoff_store.find(work.conn, delivery.id), delivery)):
        raise Problem(409, "not_retryable", why)
    await store.requeue(work, delivery)


def _why_not_told(handoff: handoffs.Handoff | None, delivery: Delivery) -> str | None:
    """Why sales need not hear of this hand-off any more. The row of its newest webhook is locked, so nobody moves it meanwhile."""
    if handoff is None:
        return "nothing is kept of its hand-off any more"
    if handoff.status != "open":
        return f"its hand-off is {handoff.status}, and stays so: sales would get a lead that is seen to"
    if handoff.delivery_id != delivery.id:
        return f"its hand-off was passed on to the fallback by delivery {handoff.delivery_id}"
    return None


def suppression_routes(ports: Ports, outbox: Outbox) -> APIRouter:
    """Addresses that must not be mailed: listed, added and taken off by hand."""
    router = APIRouter(prefix="/api/suppressions")

    @router.get("", dependencies=[allow("marketer", "viewer")])
    async def list_suppressions(address: str | None = None, limit: Limit = 100) -> dict[str, Any]:
        async with ports.database.reading() as connection:
            return {"items": await queries.list_suppressions(connection, address, limit), "next": None}

    @router.post("", dependencies=[allow("marketer")])
    async def suppress(suppression: Annotated[NewSuppression, Body()]) -> dict[str, Any]:
        async with outbox.work() as work:
            row = suppression.model_dump() | {"address": address_key(suppression.address), "delivery_id": None, "at": work.now}
            await leads.save_suppressions(work.conn, [row])
        return row

    @router.delete("/{address}", dependencies=[allow("marketer")])
    async def lift(address: str) -> dict[str, Any]:
        async with outbox.work() as work:
            lifted = await work.conn.execute(SUPPRESSIONS.delete().where(SUPPRESSIONS.c.address == address_key(address)))
        if lifted.rowcount == 0:
            raise Problem(404, "not_found", "this address is not suppressed")
        return {"lifted": lifted.rowcount}

    return router
