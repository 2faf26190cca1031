"""What spans services: asked of each over its API with the caller's own key, and put together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from services.console import timeline
from services.console.handed_over import HandedOver
from services.console.upstreams import Answer, Upstreams
from shared.clock import Clock
from shared.errors import Outage
from shared.http import Problem

Caller = Mapping[str, str]
"""The authority a question is asked with: an `authorization` header, or nothing."""

SERVICES = ("ingest", "scoring", "journeys", "mailer")


ENDINGS = "endings"
OWNER = {ENDINGS: "journeys"}
"""Lists of a service beside its first one."""
READINESS_CHANGED = "Readiness Changed"


class Together:
    """Answers that no service can give alone. Each raises Problem as the services refuse, Outage where one is away."""

    def __init__(self, upstreams: Upstreams, clock: Clock, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._upstreams = upstreams
        self._handed = HandedOver(self.ask, self.act, clock, pause)

    async def ask(self, caller: Caller, service: str, path: str, params: Mapping[str, str] | None = None) -> Any:
        """What a service answers to GET, decoded."""
        return _decoded(service, await self._upstreams.request(service, "GET", path, params=params or {}, headers=caller))

    async def act(self, caller: Caller, service: str, method: str, path: str, body: bytes = b"") -> Any:
        """What a service answers to another method than GET, decoded; `body` is JSON."""
        headers = {**caller, "content-type": "application/json"} if body else caller
        return _decoded(service, await self._upstreams.request(service, method, path, headers=headers, body=body))

    async def ask_all(self, caller: Caller, path: str, params: Mapping[str, str] | None = None) -> Sequence[Any]:
        return await asyncio.gather(*(self.ask(caller, service, path, params) for service in SERVICES))

    async def lead(self, caller: Caller, lead_id: str, as_of: str | None = None) -> dict[str, Any]:
        """Scoring's lead with its reasons, and journeys' enrollments."""
        lead: dict[str, Any] = await self.ask(caller, "scoring", _lead_path(lead_id), {"as_of": as_of} if as_of else None)
        enrollments = await self.ask(caller, "journeys", "/api/enrollments", {"lead_id": lead["id"]})
        return lead | {"enrollments": enrollments["items"]}

    async def timeline(self, caller: Caller, lead_id: str, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """Events, readiness changes, steps and deliveries of one lead, newest first."""
        lead = await self.ask(caller, "scoring", _lead_path(lead_id))
        return await self.timeline_of(caller, lead["id"], limit, cursor)

    async def timeline_of(self, caller: Caller, lead_id: str, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """As `timeline`, for the id that `lead` answered: of two merged leads, the survivor's."""

        async def fetch(service: str, at: str | None) -> timeline.Page:
            path, params = _list_of(service, lead_id)
            found = await self.ask(
                caller, OWNER.get(service, service), path, params | {"limit": str(limit)} | ({"cursor": at} if at else {})
            )
            return timeline.Page([_item(service, row) for row in found["items"]], found["next"])

        try:
            items, following = await timeline.merged(fetch, ("scoring", "journeys", "mailer", ENDINGS), limit, cursor)
        except timeline.BadCursor:
            raise Problem(400, "invalid", "cursor: not one that this list gave; leave it out to begin at the newest") from None
        return {"items": items, "next": following}

    async def dead_letters(self, caller: Caller, limit: int, before: str | None = None) -> dict[str, Any]:
        """What every service set aside, newest first."""
        params = {"limit": str(limit)} | ({"before": before} if before else {})
        found = await self.ask_all(caller, "/api/dead-letters", params)
        items = sorted((letter for page in found for letter in page["items"]), key=timeline.key_of, reverse=True)
        more = len(items) > limit or any(page["next"] for page in found)
        return {"items": items[:limit], "next": "{at}~{id}".format_map(items[:limit][-1]) if more else None}

    async def dead_letter(self, caller: Caller, letter_id: str) -> dict[str, Any]:
        """The letter, whoever holds it."""
        found = await asyncio.gather(*(self.find(caller, service, _letter_path(letter_id)) for service in SERVICES))
        for letter in found:
            if letter is not None:
                return letter
        raise Problem(404, "not_found", f"no dead letter {letter_id}; `dripline dead-letters list` names them")

    async def replay(self, caller: Caller, letter_id: str) -> dict[str, Any]:
        """Hand the letter to its reader again, by the service that holds it."""
        letter = await self.dead_letter(caller, letter_id)
        path = f"/api/dead-letters/{quote(letter_id, safe='')}/replay"
        replayed: dict[str, Any] = _decoded(
            letter["service"], await self._upstreams.request(letter["service"], "POST", path, headers=caller)
        )
        return replayed

    async def openapi(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """One description of all services; where two describe one method of a path, ours stands in front."""
        documents = [*await self.ask_all({}, "/openapi.json"), ours]
        schemas = {name: schema for one in documents for name, schema in one.get("components", {}).get("schemas", {}).items()}
        paths: dict[str, dict[str, Any]] = {}
        for one in documents:
            for path, methods in one["paths"].items():
                paths[path] = paths.get(path, {}) | methods
        return {**ours, "info": {**ours["info"], "title": "Dripline"}, "paths": paths, "components": {"schemas": schemas}}

    async def audit(self, caller: Caller) -> dict[str, Any]:
        """Every service's own checks, and that what journeys published is what the mailer received."""
        found = await asyncio.gather(*(self._checks(caller, service) for service in SERVICES), self._handed.checks(caller))
        checks = [check for checks in found for check in checks]
        return {"ok": all(check["ok"] for check in checks), "checks": checks}

    async def _checks(self, caller: Caller, service: str) -> list[dict[str, Any]]:
        answer = await self.find(caller, service, "/api/audit")
        return [{"service": service, **check} for check in answer["checks"]] if answer else []

    async def find(self, caller: Caller, service: str, path: str) -> dict[str, Any] | None:
        """As `ask`, but None where the service has nothing there."""
        try:
            found: dict[str, Any] = await self.ask(caller, service, path)
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        return found


def _lead_path(lead_id: str) -> str:
    return f"/api/leads/{quote(lead_id, safe='')}"


def _letter_path(letter_id: str) -> str:
    return f"/api/dead-letters/{quote(letter_id, safe='')}"


def _list_of(service: str, lead_id: str) -> tuple[str, dict[str, str]]:
    lists = {ENDINGS: "/api/endings", "scoring": f"{_lead_path(lead_id)}/events", "journeys": "/api/visits", "mailer": "/api/deliveries"}
    return lists[service], {} if service == "scoring" else {"lead_id": lead_id}


def _item(service: str, row: Mapping[str, Any]) -> timeline.Item:
    """A row of a service's list as an item of the timeline: `kind`, `id` and `at`, and all that the row says."""
    match service:
        case "scoring":
            return {**row, "kind": "readiness" if row["name"] == READINESS_CHANGED else "event"}
        case "endings":
            return {**row, "kind": "step", "step_kind": "end", "outcome": row["status"], "id": f"{row['id']}.end", "at": row["ended_at"]}
        case "journeys":
            return {**row, "kind": "step", "step_kind": row["kind"], "id": f"{row['enrollment_id']}.{row['transition']}"}
        case _:
            return {**row, "kind": "delivery", "delivery_kind": row["kind"], "at": row["queued_at"]}


def _decoded(service: str, answer: Answer) -> Any:
    try:
        body = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        raise Outage(f"{service} answered {answer.status} with something that is not JSON") from None
    if answer.status < 400:
        return body
    if answer.status >= 500:
        raise Outage(f"{service}: {body.get('message', answer.status)}")
    raise Problem(answer.status, body.get("code", "error"), body.get("message", ""))
