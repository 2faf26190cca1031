"""The pages of leads: the list, and one lead with its readiness, journeys and timeline, fresh within two seconds."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from services.console.ahead import ahead, graphs_of
from services.console.pages import Pages
from services.console.telling import Walk, line, told_traits, walk

PAGE = 50


def lead_routes(pages: Pages) -> APIRouter:
    """`/` and `/leads/{id}`, each with the fragment that keeps it fresh."""
    router = APIRouter(dependencies=[Depends(pages.signed_in)], include_in_schema=False)

    @router.get("/")
    async def leads(request: Request) -> Response:
        return pages.page(request, "leads.html", **await _listed(pages, request))

    @router.get("/leads/fragment")
    async def fresh_leads(request: Request) -> Response:
        return pages.fragment(request, "leads_part.html", **await _listed(pages, request))

    @router.get("/leads/{lead_id}")
    async def lead(request: Request, lead_id: str, cursor: str | None = None) -> Response:
        return pages.page(request, "lead.html", **await _told(pages, lead_id, cursor))

    @router.get("/leads/{lead_id}/fragment")
    async def fresh_lead(request: Request, lead_id: str, cursor: str | None = None) -> Response:
        return pages.fragment(request, "lead_part.html", **await _told(pages, lead_id, cursor))

    return router


async def _listed(pages: Pages, request: Request) -> dict[str, Any]:
    """One page of leads: the services page by when a lead was first seen; within the page the one seen last comes first."""
    asked = {name: value for name in ("q", "min_readiness", "hot", "sleeping", "cursor") if (value := request.query_params.get(name))}
    found = await pages.together.ask(pages.caller, "scoring", "/api/leads", asked | {"limit": str(PAGE)})
    return {
        "leads": sorted(found["items"], key=lambda lead: str(lead["last_seen_at"]), reverse=True),
        "more": _link(asked | {"cursor": found["next"]}) if found["next"] else None,
        "filtered": bool(asked),
        "q": asked.get("q", ""),
        "hot": "hot" in asked,
        "sleeping": "sleeping" in asked,
        "min_readiness": asked.get("min_readiness", ""),
        "query": _link(asked),
        "origin": str(request.base_url).rstrip("/"),
    }


async def _told(pages: Pages, lead_id: str, cursor: str | None) -> dict[str, Any]:
    lead = await pages.together.lead(pages.caller, lead_id)
    timeline = await pages.together.timeline_of(pages.caller, lead["id"], PAGE, cursor)
    graphs = await graphs_of(pages.together, pages.caller, lead["enrollments"])
    return {
        "lead": lead | {"consent": lead.get("consent") or {}},
        "walks": sorted((walk(one, _next(one, graphs[one["journey"]])) for one in lead["enrollments"]), key=_by_what_is_next),
        "facts": _facts(lead),
        "traits": told_traits(lead),
        "lines": [said for item in timeline["items"] if (said := line(item)) is not None],
        "older": _link({"cursor": timeline["next"]}) if timeline["next"] else None,
        "query": _link({"cursor": cursor}) if cursor else "",
    }


def _next(enrollment: Mapping[str, Any], graph: Mapping[str, Any]) -> str:
    """What a walk under way does now, and then; empty for one that is over, or whose journey is not published any more."""
    nodes = {node["step"]: node for node in graph.get("steps", ())}
    here = nodes.get(enrollment.get("step") or "")
    return ahead(here, nodes) if here is not None and enrollment["status"] == "active" else ""


def _by_what_is_next(one: Walk) -> tuple[bool, str]:
    """Those under way first, what is due soonest before all."""
    return one.where != "active", one.wake_at or ""


def _facts(lead: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = (("e-mail", "email"), ("user id", "user_id"), ("lead id", "id"), ("time zone", "timezone"), ("language", "locale"))
    return [(name, str(lead[field])) for name, field in named if lead.get(field)]


def _link(params: Mapping[str, str]) -> str:
    return f"?{urlencode(params)}" if params else ""
