"""Where sales answers a hand-off: a program posts JSON or a form; a person opens the link and finds a page with buttons.

webhook ──respond_url──► GET: who the lead is, and three buttons; changes nothing      POST: the answer, judged by the hand-off's row
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from services.mailer.handoff_desk import HandoffDesk, Judged
from services.mailer.handoffs import LONGEST_SNOOZE, Answer, Handoff, Word
from services.mailer.layouts import layout
from services.mailer.links import Links
from services.mailer.notices import POLICY, QUIET
from services.mailer.outcomes import plain
from services.mailer.policy import Delivery
from shared.clock import Clock
from shared.durations import parse_duration
from shared.http import Problem, error

FORM = "application/x-www-form-urlencoded"
USUAL_SNOOZE = timedelta(days=1)
WORDS: tuple[str, ...] = get_args(Word)


def create_handoff_pages(desk: HandoffDesk, links: Links, clock: Clock) -> APIRouter:
    """The public face of hand-offs; whoever holds the token may answer."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/hooks/handoff/{token}", methods=["GET", "HEAD"])
    async def show(token: str) -> Response:
        try:
            found = await desk.find(_delivery_id(links, token))
            if found is None:
                raise _gone()
        except Problem as problem:
            return _page("This link leads nowhere" if problem.status == 404 else "No longer here", str(problem), problem.status)
        return _asked(*found)

    @router.post("/hooks/handoff/{token}")
    async def answer(request: Request, token: str) -> Response:
        wants_page = _is_form(request) and "text/html" in request.headers.get("accept", "")
        try:
            delivery_id = _delivery_id(links, token)
            said = read_answer(await _fields(request), clock.now())
            judged = await desk.answer(delivery_id, said)
            if judged is None:
                raise _gone()
        except Problem as problem:
            if not wants_page:
                raise
            return _page("That did not work", str(problem), problem.status)
        return _answered_page(judged) if wants_page else _answered(judged)

    return router


def _delivery_id(links: Links, token: str) -> str:
    delivery_id = links.read_respond(token)
    if delivery_id is None:
        raise Problem(404, "not_found", "this is no address of a hand-off: use `respond_url` as it stood in the webhook")
    return delivery_id


def _gone() -> Problem:
    return Problem(410, "gone", "this hand-off is no longer kept: its lead was forgotten")


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def _fields(request: Request) -> Mapping[str, Any]:
    """What was posted: a form or a JSON object."""
    body = await request.body()
    try:
        fields = dict(parse_qsl(body.decode(), max_num_fields=20)) if _is_form(request) else msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError) as broken:
        raise Problem(400, "not_json", 'send JSON such as {"answer": "accepted", "reason": "…"}, or a form with these fields') from broken
    if not isinstance(fields, dict):
        raise Problem(400, "not_an_object", 'send an object such as {"answer": "accepted", "reason": "…"}')
    return fields


def read_answer(fields: Mapping[str, Any], now: datetime) -> Answer:
    """The answer as posted: `answer` (or `status`), `reason`, and for a snooze `until` or `for`. Raises Problem that names the remedy."""
    word = fields.get("answer", fields.get("status"))
    if word not in WORDS:
        raise Problem(400, "invalid", f"answer: write one of {', '.join(WORDS)}")
    reason = fields.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise Problem(400, "invalid", "reason: write a text, or leave it out")
    return Answer(word, plain(reason) if reason else None, _until(fields, now) if word == "snoozed" else None)


def _until(fields: Mapping[str, Any], now: datetime) -> datetime:
    until = _moment(fields["until"]) if fields.get("until") else now + _lasting(fields.get("for"))
    if not now < until <= now + LONGEST_SNOOZE:
        raise Problem(
            400, "invalid", f"a hand-off is put off to a moment to come, by at most {LONGEST_SNOOZE.days} days; it can be put off again"
        )
    return until.astimezone(UTC)


def _lasting(written: Any) -> timedelta:
    if written is None:
        return USUAL_SNOOZE
    try:
        return parse_duration(str(written))
    except ValueError as broken:
        raise Problem(400, "invalid", f"for: {broken}") from broken


def _moment(written: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Problem(400, "invalid", "until: write a moment with its offset, such as 2027-03-01T12:00:00Z")
    return moment


@dataclass(frozen=True, slots=True)
class _Shown:
    """A lead as the page shows it."""

    name: str
    readiness: Any
    note: str
    reasons: list[str]


def _answered(judged: Judged) -> Response:
    handoff = judged.handoff
    if not judged.taken:
        return error(409, _code(handoff), _standing(handoff))
    told = {"handoff_id": handoff.id, "status": "snoozed" if handoff.status == "open" else handoff.status, "reason": handoff.reason}
    times = {"until": handoff.snoozed_until, "answered_at": handoff.answered_at}
    return JSONResponse(told | {name: at.isoformat() if at else None for name, at in times.items()})


def _code(handoff: Handoff) -> str:
    return "passed_on" if handoff.status == "open" else handoff.status


def _standing(handoff: Handoff) -> str:
    """How it stands, for who comes too late."""
    if handoff.status == "open":
        return "nobody answered in time, and it was passed on: only who has it now can put it off or turn it down; you may still accept it"
    why = f": {handoff.reason}" if handoff.reason else ""
    at = handoff.answered_at.isoformat(timespec="seconds") if handoff.answered_at else "an earlier time"
    return f"this hand-off is {handoff.status} since {at}{why}; that stands"


def _asked(handoff: Handoff, delivery: Delivery) -> Response:
    if handoff.status != "open":
        return _page("Already answered", _standing(handoff), lead=_lead(delivery))
    put_off = f"Put off until {handoff.snoozed_until.isoformat(timespec='minutes')}." if handoff.snoozed_until else "Do you take this lead?"
    return _page("A hot lead for you", put_off, lead=_lead(delivery), asks=True)


def _answered_page(judged: Judged) -> Response:
    if not judged.taken:
        return _page("Already answered", _standing(judged.handoff), 409)
    until = judged.handoff.snoozed_until
    text = (
        f"You will be waited for until {until.isoformat(timespec='minutes')}, and the usual time from then."
        if until
        else "You can close this page."
    )
    return _page({"open": "Put off", "accepted": "It is yours", "rejected": "Turned down"}[judged.handoff.status], text)


def _lead(delivery: Delivery) -> _Shown | None:
    """From the webhook's own body: what sales was told, and no more."""
    if not delivery.body:
        return None
    told = msgspec.json.decode(delivery.body)["data"]
    lead = told["lead"]
    reasons = [reason.get("text") or reason["rule"] for reason in told["reasons"]]
    name = (lead.get("traits") or {}).get("name") or lead.get("email") or lead.get("user_id") or lead["id"]
    return _Shown(str(name), told["readiness"], told["note"], reasons)


def _page(title: str, text: str, status: int = 200, lead: _Shown | None = None, *, asks: bool = False) -> Response:
    html = layout("handoff.html").render(title=title, text=text, lead=lead, asks=asks)
    return HTMLResponse(html, status, QUIET | {"Content-Security-Policy": POLICY})
