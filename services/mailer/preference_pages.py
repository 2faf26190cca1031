"""The pages on which a reader says what he wants: his preferences, and that an address is his. No scripts; looking changes nothing.

mail ──/p/──► how it stands, with buttons ──POST──► his wishes      confirmation mail ──/confirm/──► a button ──POST──► consent
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from services.mailer.choices import Wish, read_wish
from services.mailer.confirming import Answer
from services.mailer.links import Links
from services.mailer.notices import Reader, ReaderRoute, notice, page, unknown
from services.mailer.wishes import Standing
from shared.clock import Clock

MOST_FIELDS = 1000


class Wishes(Protocol):
    """What the preferences page needs of the ledger."""

    async def find(self, delivery_id: str) -> Standing | None: ...

    async def grant(self, delivery_id: str, wish: Wish, at: datetime) -> Standing | None: ...


class Answers(Protocol):
    """What the confirmation page needs of it."""

    async def find(self, delivery_id: str, at: datetime) -> tuple[Reader, Answer] | None: ...

    async def confirm(self, delivery_id: str, at: datetime) -> tuple[Reader, Answer] | None: ...


def create_preference_pages(wishes: Wishes, answers: Answers, links: Links, clock: Clock) -> APIRouter:
    """`/p/` and `/confirm/`. The token is the reader's right to them; there is no cookie that a foreign page could use."""
    router = APIRouter(include_in_schema=False, route_class=ReaderRoute)

    @router.api_route("/p/{token}", methods=["GET", "HEAD", "POST"])
    async def preferences(request: Request, token: str) -> Response:
        delivery_id = links.read_preferences(token)
        wish = read_wish(await _form(request)) if request.method == "POST" else None
        if delivery_id is None:
            return unknown(request)
        standing = await wishes.grant(delivery_id, wish, clock.now()) if wish else await wishes.find(delivery_id)
        return unknown(request) if standing is None else _choices(standing, saved=wish is not None)

    @router.api_route("/confirm/{token}", methods=["GET", "HEAD", "POST"])
    async def confirm(request: Request, token: str) -> Response:
        delivery_id = links.read_confirm(token)
        ask = answers.confirm if request.method == "POST" else answers.find
        found = await ask(delivery_id, clock.now()) if delivery_id else None
        return unknown(request) if found is None else answered(*found)

    return router


async def _form(request: Request) -> Mapping[str, list[str]]:
    """The fields that a browser sent; none where it is something else."""
    body = await request.body()
    try:
        return parse_qs(body.decode("utf-8"), max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}


def _choices(standing: Standing, *, saved: bool) -> Response:
    return page(standing.reader, "choices.html", standing.reader.words.choices_title, shown=standing.choices, saved=saved)


def answered(reader: Reader, answer: Answer) -> Response:
    words = reader.words
    match answer:
        case "open":
            return notice(reader, words.confirm_title, words.confirm, button=words.confirm_button)
        case "confirmed":
            return notice(reader, words.confirmed_title, words.confirmed)
        case "confirmed_before":
            return notice(reader, words.confirmed_before_title, words.confirmed_before)
        case "too_old":
            return notice(reader, words.too_old_title, words.too_old)
