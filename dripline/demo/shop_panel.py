"""What the panel beside the demo's shop says: what Dripline knows of one visitor, and what it will do next. Asked of the services' APIs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.console.ahead import ahead, graphs_of
from services.console.telling import told_traits
from services.console.together import Caller, Together
from services.console.words import plain

MAILS = EVENTS = 5
UNTOLD = frozenset({"Readiness Changed", "Lead Created"})
"""Events that say what the panel shows already."""


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
    graphs = await graphs_of(together, caller, lead["enrollments"])
    return Sight(
        lead | {"consent": lead.get("consent") or {}},
        {name: plain(value) for name, value in told_traits(lead).items()},
        sorted((told(enrollment, graphs[enrollment["journey"]]) for enrollment in lead["enrollments"]), key=_by_what_is_next),
        mails["items"],
        [event for event in events["items"] if event["name"] and event["name"] not in UNTOLD][:EVENTS],
    )


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


def _ended(enrollment: Mapping[str, Any]) -> str:
    if enrollment.get("converted_at"):
        return "reached its goal"
    reason = enrollment.get("reason")
    return f"ended: {str(reason).replace('_', ' ')}" if reason else "walked to its end"
