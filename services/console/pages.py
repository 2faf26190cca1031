"""What every page of the console stands on: the signed-in reader, escaped templates, safe headers, errors as pages."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse, RedirectResponse

from services.console import words
from services.console.session import Sessions
from services.console.together import Together
from shared.clock import Clock, real_now
from shared.http import Problem, error
from shared.names import Name

TEMPLATES = Path(__file__).parent / "html"
STATIC = Path(__file__).parent / "static"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache, private",
}


IsTheirs = Callable[[Name], bool]
Forget = Callable[[IsTheirs], int]
"""Deletes whatever names somebody who was erased; says how many things went. May be called in any thread."""


class SignInFirst(Exception):
    """Nobody is signed in; the answer leads to the sign-in page and back."""


@dataclass(frozen=True, slots=True)
class Room:
    """Further pages under the console's session and look, such as the built-in mailbox of `run`."""

    title: str
    path: str  # where the navigation leads
    templates: Path
    routes: Callable[["Pages"], APIRouter]
    forget: Forget | None = None  # for a room that keeps something of people


class Pages:
    """Renders templates for signed-in readers. `caller` is the authority with which pages ask the services."""

    def __init__(self, sessions: Sessions, together: Together, caller: Mapping[str, str], clock: Clock, rooms: Sequence[Room] = ()) -> None:
        self.sessions = sessions
        self.together = together
        self.caller = caller
        self._clock = clock
        self._environment = Environment(loader=FileSystemLoader([TEMPLATES, *(room.templates for room in rooms)]), autoescape=True)
        self._environment.filters |= {"stamp": words.stamp, "who": words.who, "points": words.points, "plain": words.plain, **words.NUMBERS}
        self._environment.globals |= {"rooms": rooms, "static": _fingerprint(STATIC)}

    def signed_in(self, request: Request) -> None:
        """The dependency that lets only signed-in readers pass."""
        if not self.sessions.holds(request.cookies.get(self.sessions.cookie, ""), real_now()):
            raise SignInFirst

    def page(self, request: Request, template: str, status: int = 200, **names: Any) -> Response:
        """A whole page, escaped, with headers that forbid foreign and inline scripts."""
        return HTMLResponse(self._render(request, template, names), status, HEADERS)

    def fragment(self, request: Request, template: str, **names: Any) -> Response:
        """The part of a page that changes; 304 while it is what the reader has."""
        content = self._render(request, template, names).encode()
        headers = HEADERS | {"ETag": f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(content, headers=headers)

    def _render(self, request: Request, template: str, names: Mapping[str, Any]) -> str:
        now = self._clock.now()
        given = {"path": request.url.path, "ago": lambda value: words.ago(value, now)}
        return self._environment.get_template(template).render(given | dict(names))

    def on_sign_in_first(self, request: Request, _: Exception) -> Response:
        if not wants_page(request):
            return error(401, "signed_out", "sign in at /sign-in")
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(target, safe='')}", 303, HEADERS)

    def on_problem(self, request: Request, problem: Exception) -> Response:
        """A page for a person, `{"code", "message"}` for a program."""
        assert isinstance(problem, Problem)
        if not wants_page(request):
            return error(problem.status, problem.code, str(problem))
        return self.page(
            request, "problem.html", problem.status, title="Not found" if problem.status == 404 else "That did not work", text=str(problem)
        )

    def on_outage(self, request: Request, outage: Exception) -> Response:
        if not wants_page(request):
            return error(503, "unavailable", str(outage), {"Retry-After": "5"})
        return self.page(request, "problem.html", 503, title="One moment", text=f"{outage}; nothing is lost, try again soon")


def wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")


def _fingerprint(folder: Path) -> str:
    """Changes with the static files, so that browsers may keep them for good."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(folder.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()
