"""Builds the console: pages for people, one front for programs."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import FileResponse
from starlette.routing import Route

from services.console.audit_metrics import EVERY as AUDIT_EVERY
from services.console.audit_metrics import measure
from services.console.erasing import Erasing, Keeper, erasing_routes
from services.console.exporting import export_routes
from services.console.front import as_json, front_routes
from services.console.keys_api import key_routes
from services.console.kpi import kpi_page, kpi_routes
from services.console.leads import lead_routes
from services.console.pages import STATIC, Pages, Room, SignInFirst
from services.console.playbook_api import Checker, playbook_routes
from services.console.session import Sessions
from services.console.settings import ConsoleSettings
from services.console.sign_in import sign_in_routes
from services.console.together import SERVICES, Together
from services.console.upstreams import Upstreams, said
from shared.errors import Outage
from shared.housekeeping import Chore
from shared.http import Problem, service_app
from shared.service import Ports, Service


def build(
    settings: ConsoleSettings,
    ports: Ports,
    upstreams: Upstreams,
    check: Checker,
    rooms: Sequence[Room] = (),
    keepers: Mapping[str, Keeper] | None = None,
) -> Service:
    """The console, not yet started; it has no loops and no tables; a chore of it makes the audit, for its metrics.

    `check` judges a playbook before it is published, `rooms` are further pages under its session, `keepers` what must forget an erased
    person beside the services.
    """
    together = Together(upstreams, ports.clock)
    https = settings.public_url.startswith("https:")
    sessions = Sessions(ports.signer, settings.console_password_hash, timedelta(hours=settings.session_hours), https=https)
    caller = {"authorization": f"Bearer {settings.api_key.get_secret_value()}"}
    pages = Pages(sessions, together, caller, ports.clock, rooms)
    routers = [
        _static_routes(),
        sign_in_routes(pages, settings.console_password_hash),
        lead_routes(pages),
        kpi_page(pages),
        *(room.routes(pages) for room in rooms),
        key_routes(ports.keys),
        playbook_routes(ports.playbooks, check),
        erasing_routes(Erasing(together, keepers)),
        export_routes(together, ports.clock),
        kpi_routes(together),
        front_routes(upstreams, together),
    ]
    app = service_app("console", ports, routers, [partial(all_ready, upstreams)])
    _say_errors_as_pages(app, pages)
    _describe_all(app, together)
    return Service("console", app, chores=[Chore("audit", AUDIT_EVERY, partial(measure, together, caller))])


def _say_errors_as_pages(app: FastAPI, pages: Pages) -> None:
    app.add_exception_handler(SignInFirst, pages.on_sign_in_first)
    app.add_exception_handler(Problem, pages.on_problem)
    app.add_exception_handler(Outage, pages.on_outage)


def _describe_all(app: FastAPI, together: Together) -> None:
    """`/openapi.json` of the front stands before the one that every service has."""

    async def described(_: Request) -> Response:
        return as_json(await together.openapi(app.openapi()))

    app.router.routes.insert(0, Route("/openapi.json", described))


async def all_ready(upstreams: Upstreams) -> None:
    """Raises Outage, naming each service that is away or not ready, and why."""
    found = await asyncio.gather(*(_trouble(upstreams, service) for service in SERVICES))
    if troubles := [trouble for trouble in found if trouble]:
        raise Outage("; ".join(troubles))


async def _trouble(upstreams: Upstreams, service: str) -> str | None:
    try:
        answer = await upstreams.request(service, "GET", "/readyz")
    except Outage as outage:
        return str(outage)
    return None if answer.status == 200 else f"{service} is not ready: {said(answer)}"


def _static_routes() -> APIRouter:
    router = APIRouter(prefix="/static", include_in_schema=False)
    files = {path.name: path for path in STATIC.iterdir()}

    @router.get("/{name}")
    async def static(name: str) -> Response:
        if name not in files:
            raise Problem(404, "not_found", f"no file {name}")
        return FileResponse(
            files[name], headers={"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        )

    return router
