"""One address for all services: each path of the interface goes to the service that owns it, as it came."""

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from services.console.together import Caller, Together
from services.console.upstreams import Answer, Upstreams
from shared.http import Problem

OWNERS = {
    "/v1/": "ingest",
    "/dripline.js": "ingest",
    "/api/leads": "scoring",
    "/api/journeys": "journeys",
    "/api/enrollments": "journeys",
    "/api/visits": "journeys",
    "/api/deliveries": "mailer",
    "/api/suppressions": "mailer",
    "/api/handoffs": "mailer",
    "/api/endpoints": "mailer",
    "/api/messages": "mailer",
    "/o/": "mailer",
    "/c/": "mailer",
    "/u/": "mailer",
    "/p/": "mailer",
    "/a/": "mailer",
    "/confirm/": "mailer",
    "/hooks/": "mailer",
}
"""Whose a path is, by how it begins. A path that is not here is nobody's."""

SERVICES = ("ingest", "scoring", "journeys", "mailer")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

KEPT_BACK = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "cookie",
        "accept-encoding",
    }
)
"""Request headers that end here: those of the connection (RFC 9110, 7.6.1), and the console's own cookie."""

DROPPED = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "content-encoding", "server", "date"})


def owner_of(path: str) -> str | None:
    """The service that answers this path, or None."""
    for prefix, service in OWNERS.items():
        if path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) :][:1] in ("", "/")):
            return service
    return None


def caller_of(request: Request) -> Caller:
    """The authority a request came with; it is passed on, and the services judge it."""
    return {"authorization": request.headers["authorization"]} if "authorization" in request.headers else {}


def front_routes(upstreams: Upstreams, together: Together) -> APIRouter:
    """What spans services, then everything else by its owner; include it last."""
    router = APIRouter()

    @router.get("/api/leads/{lead_id}")
    async def lead(request: Request, lead_id: str, as_of: str | None = None) -> Response:
        return as_json(await together.lead(caller_of(request), lead_id, as_of))

    @router.get("/api/leads/{lead_id}/timeline")
    async def timeline(request: Request, lead_id: str, limit: int = 50, cursor: str | None = None) -> Response:
        return as_json(await together.timeline(caller_of(request), lead_id, min(max(limit, 1), 200), cursor))

    @router.get("/api/dead-letters")
    async def dead_letters(request: Request, limit: int = 100, before: str | None = None) -> Response:
        return as_json(await together.dead_letters(caller_of(request), min(max(limit, 1), 500), before))

    @router.get("/api/dead-letters/{letter_id}")
    async def dead_letter(request: Request, letter_id: str) -> Response:
        return as_json(await together.dead_letter(caller_of(request), letter_id))

    @router.post("/api/dead-letters/{letter_id}/replay")
    async def replay(request: Request, letter_id: str) -> Response:
        return as_json(await together.replay(caller_of(request), letter_id))

    @router.get("/api/audit")
    async def audit(request: Request) -> Response:
        return as_json(await together.audit(caller_of(request)))

    @router.get("/api/audit/refolded", include_in_schema=False)
    async def refolded(request: Request, after: str = "", limit: int = 200) -> Response:
        params = {"after": after, "limit": str(limit)}
        return as_json(await together.ask(caller_of(request), "scoring", "/api/audit/refolded", params))

    @router.api_route("/{path:path}", methods=METHODS, include_in_schema=False)
    async def forward(request: Request) -> Response:
        service = owner_of(request.url.path)
        if service is None:
            raise Problem(404, "not_found", f"nothing answers {request.method} {request.url.path}")
        return _passed_on(await _forwarded(upstreams, service, request))

    return router


def as_json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _forwarded(upstreams: Upstreams, service: str, request: Request) -> Answer:
    headers = {name: value for name, value in request.headers.items() if name not in KEPT_BACK}
    if request.client is not None:
        headers["x-forwarded-for"] = ", ".join(filter(None, (headers.get("x-forwarded-for"), request.client.host)))
    path = request.scope.get("raw_path") or request.url.path.encode()
    return await upstreams.request(
        service, request.method, path.decode("latin-1"), params=request.url.query, headers=headers, body=await request.body()
    )


def _passed_on(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    ours = [(name, value) for name, value in response.raw_headers if name == b"content-length"]
    response.raw_headers = [*_bytes((name, value) for name, value in answer.headers if name.lower() not in DROPPED), *ours]
    return response


def _bytes(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
