"""The HTTP face every service shares: health, metrics, errors as `{"code", "message"}`, and who may do what."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ConfigurationError, Outage
from shared.keys import Key, KeyRing, Role
from shared.service import Ports
from shared.telemetry import HTTP_SECONDS
from shared.telemetry import log as logger

LARGEST_BODY = 1 << 20
"""Bytes of a request's body that any route reads, whoever sends it."""

Check = Callable[[], Awaitable[Mapping[str, str] | None]]
"""Returns when a server we need answers, perhaps with what `/readyz` should say of it; raises Outage when it does not."""


class Problem(Exception):
    """An answer that says no: a status, a short stable code, and a text that names the remedy."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BodyLimit:
    """Ends a request whose body grows beyond what we read, before it is held in memory; however it announces itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = LARGEST_BODY

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"a body holds at most {LARGEST_BODY} bytes")
            return message

        await self._app(scope, limited if scope["type"] == "http" else receive, send)


class Timed:
    """Tells the operators' metrics how long each answer took, and of which class its status was."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 500  # whoever answers nothing has failed

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if scope["type"] == "http":
                timer(self._service, status).observe(time.perf_counter() - began)


@cache
def timer(service: str, status: int) -> Histogram:
    """What the time of such an answer is told to."""
    return HTTP_SECONDS.labels(service, f"{status // 100}xx")


def service_app(
    name: str, ports: Ports, routers: Sequence[APIRouter], checks: Sequence[Check] = (), *, needs_database: bool = True
) -> FastAPI:
    """A service's application: its own routers, `/healthz`, `/readyz`, `/metrics`, and one shape for every error."""
    app = FastAPI(title=f"Dripline {name}", openapi_url="/openapi.json", docs_url=None, redoc_url=None)
    app.state.ports = ports
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(Outage, _on_outage)
    app.add_exception_handler(ConfigurationError, _on_configuration_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(BodyLimit)
    app.add_middleware(Timed, service=name)
    app.include_router(_health([_database_answers(ports), *checks] if needs_database else checks))
    for router in routers:
        app.include_router(router)
    return app


def allow(*roles: Role) -> Any:
    """A dependency that lets secret keys of these roles in (admin always) and answers with the key."""

    def key_of(request: Request) -> Key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        keys: KeyRing = request.app.state.ports.keys
        key = keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is not None and key.kind == "write":
            raise Problem(403, "forbidden", "a write key may post events at /v1/ and nothing else; here it takes a secret key, `sk_…`")
        if key is None and scheme.lower() == "bearer" and token.strip().startswith("sk_"):
            raise Problem(401, "unauthorized", "this secret key is unknown or was revoked; `dripline keys create` makes another")
        if key is None:
            raise Problem(401, "unauthorized", "send `Authorization: Bearer sk_…`; `dripline keys create` makes a key")
        if key.role != "admin" and key.role not in roles:
            raise Problem(403, "forbidden", f"a key of role {key.role} may not do this; it takes {' or '.join(('admin', *roles))}")
        return key

    return Depends(key_of)


def _database_answers(ports: Ports) -> Check:
    async def check() -> None:
        async with ports.database.reading() as connection:
            await connection.execute(text("SELECT 1"))

    return check


def _health(checks: Sequence[Check]) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> dict[str, str]:
        said = {"status": "ready"}
        for check in checks:
            said.update(await check() or {})
        return said

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status, headers)


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return error(problem.status, problem.code, str(problem))


async def _on_outage(_: Request, outage: Exception) -> Response:
    return error(503, "unavailable", str(outage), {"Retry-After": "5"})


async def _on_configuration_error(_: Request, wrong: Exception) -> Response:
    return error(409, "not_configured", str(wrong))


def _says_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith(("/json", "+json"))


async def _on_bug(request: Request, bug: Exception) -> Response:
    logger.error("http.failed", route=getattr(request.scope.get("route"), "path", ""), why=repr(bug), exc_info=bug)
    return error(500, "bug", "this should not have happened; the log says more")


async def _on_http_exception(request: Request, found: Exception) -> Response:
    assert isinstance(found, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    detail = f"nothing answers {request.method} {request.url.path}" if found.status_code in (404, 405) else str(found.detail)
    return error(found.status_code, codes.get(found.status_code, "error"), detail)


async def _on_validation_error(request: Request, invalid: Exception) -> Response:
    assert isinstance(invalid, RequestValidationError)
    if isinstance(invalid.body, bytes) and not _says_json(request):  # its route takes JSON and was handed the bytes as they came
        return error(400, "invalid", "send JSON, and with it `Content-Type: application/json`")
    places = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in invalid.errors()]
    return error(400, "invalid", "; ".join(places))
