"""What the panel beside the demo's shop says: what Dripline knows of one visitor, and what it will do next. Asked of the services' APIs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.console.telling import told_traits
from services.console.together import Caller, Together
from services.console.words import plain
from shared.http import Problem

MAILS = EVENTS = 5
UNTOLD = frozenset({"Readiness Changed", "Lead Created"})
"""Events that say what the panel shows already."""

DEED = {"handoff": "tells sales", "branch": "looks which way to go", "split": "draws a way", "exit": "ends", "update": "notes it"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks: the anonymous id that dripline.js drew in this browser, and the id that the shop gave its customer."""

    anonymous_id: str
    customer_id: str


@dataclass(frozen=True, slots=True)
class Walk:
    """One journey of the visitor's: where it stands, what comes then, and when."""

    journey: str
    description: str
    active: bool
    story: str
    wake_at: str | None
    is_limit: bool  # at `wake_at` it stops waiting for something else


@dataclass(frozen=True, slots=True)
class Sight:
    """All that the panel shows."""

    lead: Mapping[str, Any]
    traits: Mapping[str, str]
    walks: Sequence[Walk]
    mails: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]


class Stranger(Exception):
    """This browser's anonymous id leads to somebody whom the shop did not name: nothing of him is shown."""

    def __init__(self) -> None:
        super().__init__("This browser says it is somebody whom the shop does not know; the panel shows nobody else's data.")


async def see(together: Together, caller: Caller, visitor: Visitor) -> Sight | None:
    """What is known of this visitor, None before the first event. Raises Stranger, and Outage where a service is away."""
    found = (await together.ask(caller, "scoring", "/api/leads", {"anonymous_id": visitor.anonymous_id}))["items"]
    if not found:
        return None
    if found[0]["user_id"] not in (None, visitor.customer_id):
        raise Stranger
    lead_id = found[0]["id"]
    lead, mails, events = await asyncio.gather(
        together.lead(caller, lead_id),
        together.ask(caller, "mailer", "/api/deliveries", {"lead_id": lead_id, "kind": "email", "limit": str(MAILS)}),
        together.ask(caller, "scoring", f"/api/leads/{quote(lead_id, safe='')}/events", {"limit": str(4 * EVENTS)}),
    )
    graphs = await _graphs(together, caller, lead["enrollments"])
    return Sight(
        lead | {"consent": lead.get("consent") or {}},
        {name: plain(value) for name, value in told_traits(lead).items()},
        sorted((told(enrollment, graphs[enrollment["journey"]]) for enrollment in lead["enrollments"]), key=_by_what_is_next),
        mails["items"],
        [event for event in events["items"] if event["name"] and event["name"] not in UNTOLD][:EVENTS],
    )


async def _graphs(together: Together, caller: Caller, enrollments: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The journeys that these walks are of, by name; one that is no longer published has no steps."""
    names = sorted({enrollment["journey"] for enrollment in enrollments})
    found = await asyncio.gather(*(_graph(together, caller, name) for name in names))
    return dict(zip(names, found, strict=True))


async def _graph(together: Together, caller: Caller, name: str) -> dict[str, Any]:
    try:
        graph: dict[str, Any] = await together.ask(caller, "journeys", f"/api/journeys/{quote(name, safe='')}")
    except Problem:
        return {}
    return graph


def told(enrollment: Mapping[str, Any], graph: Mapping[str, Any]) -> Walk:
    """A walk in words. Pure."""
    journey, description = enrollment["journey"], graph.get("description", "")
    if enrollment["status"] != "active":
        return Walk(journey, description, False, _ended(enrollment), None, False)
    nodes = {node["step"]: node for node in graph.get("steps", ())}
    here = nodes.get(enrollment.get("step") or "", {})
    return Walk(journey, description, True, ahead(here, nodes), enrollment.get("wake_at"), here.get("kind") == "wait_for")


def _by_what_is_next(walk: Walk) -> tuple[bool, str]:
    """Those under way first, what is due soonest before all."""
    return not walk.active, walk.wake_at or ""


def ahead(here: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """What a walk under way does now, and then: `waits, then mails cart-reminder`. Pure."""
    match here.get("kind"):
        case "wait":
            return f"waits, then {_deed(nodes.get(here.get('next') or ''))}"
        case "wait_for":
            return " or ".join(f"waits for {_awaited(case)}, then {_deed(nodes.get(case.get('next') or ''))}" for case in here["cases"])
        case "send":
            return f"is about to mail {here.get('template')}"
        case "handoff":
            return "waits for an answer of sales"
        case _:
            return f"is at {here.get('step') or 'a step of an earlier version'}"


def _awaited(case: Mapping[str, Any]) -> str:
    return ", ".join(case.get("events") or ()) or str(case.get("when"))


def _deed(node: Mapping[str, Any] | None) -> str:
    if node is None:
        return "is at its end"
    if node.get("kind") == "send":
        return f"mails {node.get('template')}"
    return DEED.get(str(node.get("kind")), "goes on")


def _ended(enrollment: Mapping[str, Any]) -> str:
    if enrollment.get("converted_at"):
        return "reached its goal"
    reason = enrollment.get("reason")
    return f"ended: {str(reason).replace('_', ' ')}" if reason else "walked to its end"
