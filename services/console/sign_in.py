"""The door of the pages: a password opens a session, a button ends it."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import RedirectResponse

from services.console.pages import HEADERS, Pages
from services.console.session import Brake, password_matches
from shared.clock import real_now
from shared.http import Problem

LONGEST_PASSWORD = 1_000


def sign_in_routes(pages: Pages, password_hash: str) -> APIRouter:
    """`/sign-in` and `/sign-out`; guesses are checked one at a time, at most ten wrong ones a minute."""
    router = APIRouter(include_in_schema=False)
    brake = Brake()
    one_at_a_time = asyncio.Lock()  # a guess takes 16 MiB

    @router.get("/sign-in")
    async def show(request: Request, next: str = "/") -> Response:
        return pages.page(request, "sign_in.html", next=inside(next))

    @router.post("/sign-in")
    async def sign_in(
        request: Request, password: Annotated[str, Form(max_length=LONGEST_PASSWORD)], next: Annotated[str, Form()] = "/"
    ) -> Response:
        same_site(request)
        async with one_at_a_time:
            wait = brake.seconds_to_wait(time.monotonic())
            if wait:
                answer = pages.page(request, "sign_in.html", 429, next=inside(next), wrong=f"Too many tries. Try again in {wait} seconds.")
                answer.headers["Retry-After"] = str(wait)
                return answer
            if not await asyncio.to_thread(password_matches, password, password_hash):
                brake.missed(time.monotonic())
                return pages.page(request, "sign_in.html", 403, next=inside(next), wrong="That is not the password.")
        answer = RedirectResponse(inside(next), 303, HEADERS)
        _set_cookie(answer, pages)
        return answer

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        same_site(request)
        answer = RedirectResponse("/sign-in", 303, HEADERS)
        answer.delete_cookie(pages.sessions.cookie, secure=pages.sessions.https, httponly=True, samesite="lax")
        return answer

    return router


def inside(target: str) -> str:
    """The target if it is a path of ours, else the first page: a sign-in link must not lead elsewhere."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain else "/"


def same_site(request: Request) -> None:
    """Refuse a form that another site sent. SameSite=Lax keeps the cookie from it; this keeps the rest. Raises Problem."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "foreign_form", "this form was sent from another site")


def _set_cookie(answer: Response, pages: Pages) -> None:
    sessions = pages.sessions
    seconds = int(sessions.lifetime.total_seconds())
    answer.set_cookie(sessions.cookie, sessions.start(real_now()), max_age=seconds, secure=sessions.https, httponly=True, samesite="lax")
