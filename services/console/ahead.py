"""What Dripline will do next with a lead: each walk laid beside its journey's graph, in words."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from services.console.together import Caller, Together
from shared.http import Problem

DEED = {"handoff": "tells sales", "branch": "looks which way to go", "split": "draws a way", "exit": "ends", "update": "notes it"}


async def graphs_of(together: Together, caller: Caller, enrollments: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
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
