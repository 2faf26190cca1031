"""Figures: what each service counts, put together, for programs and as a page."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from services.console.front import as_json, caller_of
from services.console.pages import Pages
from services.console.together import Caller, Together

Days = Annotated[int, Query(ge=1, le=365)]
SPANS = (7, 30, 90, 365)
PEOPLE = (
    *(("leads", "total"), ("known", "known"), ("mailable", "mailable"), ("hot", "hot"), ("asleep", "sleeping"), ("new", "new")),
    *(("merged", "merged"), ("orders", "orders"), ("customers", "customers"), ("bought twice or more", "repeat_customers")),
)


async def figures(together: Together, caller: Caller, days: int) -> dict[str, Any]:
    """`leads`, `journeys`, `mail` and `handoffs` of the last days."""
    asked = ("scoring", "journeys", "mailer")
    found = await asyncio.gather(*(together.ask(caller, service, "/api/kpi", {"days": str(days)}) for service in asked))
    return {key: value for part in found for key, value in part.items()}


def kpi_routes(together: Together) -> APIRouter:
    """`/api/kpi`."""
    router = APIRouter()

    @router.get("/api/kpi")
    async def kpi(request: Request, days: Days = 30) -> Response:
        return as_json(await figures(together, caller_of(request), days))

    return router


def kpi_page(pages: Pages) -> APIRouter:
    """`/kpi`."""
    router = APIRouter(dependencies=[Depends(pages.signed_in)], include_in_schema=False)

    @router.get("/kpi")
    async def show(request: Request, days: Days = 30) -> Response:
        found = await figures(pages.together, pages.caller, days)
        leads = found["leads"]
        most = max(leads["by_readiness"].values(), default=0) or 1
        readiness = [(value, number, number / most) for value, number in leads["by_readiness"].items()]
        people = [(name, leads[key]) for name, key in PEOPLE]
        return pages.page(request, "kpi.html", **found | {"spans": SPANS, "readiness": readiness, "people": people})

    return router
