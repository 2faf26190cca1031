"""The other services, as the console sees them: canned answers, and a note of what was asked."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from services.console.main import build
from services.console.pages import Room
from services.console.session import Sessions, hash_password
from services.console.settings import ConsoleSettings
from services.console.upstreams import Answer
from shared.clock import FakeClock, real_now
from shared.db import Database
from shared.errors import Outage
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from tests.builders import NOON

PASSWORD = "open sesame"
PASSWORD_HASH = hash_password(PASSWORD)
ADMIN = "sk_admin"
SALES = "sk_sales"
SIGNER = Signer(b"secret")


@dataclass(frozen=True)
class Asked:
    service: str
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class FakeUpstreams:
    """Answers by service and path; a value, or a function of the request's parameters."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)

    async def request(self, service, method, path, *, params="", headers=None, body=b"") -> Answer:
        given = dict(httpx.QueryParams(params))
        self.asked.append(Asked(service, method, path, given, dict(headers or {}), body))
        await asyncio.sleep(0)
        if service in self.away:
            raise Outage(f"{service} does not answer")
        found = self.answers.get((service, path))
        if found is None:
            return Answer(404, (("content-type", "application/json"),), b'{"code": "not_found", "message": "nothing there"}')
        found = found(given) if callable(found) else found
        return found if isinstance(found, Answer) else Answer(200, (("content-type", "application/json"),), json.dumps(found).encode())


def ports(clock: FakeClock | None = None) -> Ports:
    clock = clock or FakeClock(NOON)
    database = Database("sqlite+aiosqlite://")
    fixed = [(ADMIN, Key("sk_1", "secret", "admin", "ours")), (SALES, Key("sk_2", "secret", "sales", "theirs"))]
    return Ports(None, database, clock, KeyRing(database, clock, fixed), Playbooks(database, clock), SIGNER)  # type: ignore[arg-type]


def console(upstreams: Any, rooms: tuple[Room, ...] = (), **settings: Any) -> httpx.AsyncClient:
    """A browser before the console, not signed in."""
    asked = ConsoleSettings(console_password_hash=PASSWORD_HASH, api_key=ADMIN, **settings)
    app = build(asked, ports(), upstreams, lambda _: [], rooms).app
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(
        transport=transport, base_url="https://console.test" if settings else "http://console.test", headers={"accept": "text/html"}
    )


def signed_in(upstreams: Any, rooms: tuple[Room, ...] = (), **settings: Any) -> httpx.AsyncClient:
    browser = console(upstreams, rooms, **settings)
    sessions = Sessions(SIGNER, PASSWORD_HASH, timedelta(hours=1), https=False)
    browser.cookies.set(sessions.cookie, sessions.start(real_now()))
    return browser


def a_lead_answer(**overrides: Any) -> dict[str, Any]:
    """A lead as scoring answers it."""
    return {
        "id": "l1",
        "email": "ana@example.com",
        "user_id": "ana",
        "readiness": 7,
        "points": 7.0,
        "hot": False,
        "sleeping": False,
        "traits": {"name": "Ana"},
        "tags": [],
        "consent": {},
        "timezone": None,
        "locale": None,
        "created_at": "2027-03-01T11:00:00Z",
        "last_seen_at": "2027-03-01T11:58:00Z",
        "reasons": [
            {"rule": "ebook", "kind": "at_least", "points": 7.0, "count": 1, "at": "2027-03-01T11:58:00Z", "text": "downloaded an e-book"}
        ],
    } | overrides


def a_lead_known_everywhere(**overrides: Any) -> FakeUpstreams:
    """Services that know one lead, who is in a journey and was mailed."""
    lead = a_lead_answer(**overrides)
    event = {"id": "e1", "name": "Ebook Downloaded", "type": "track", "at": "2027-03-01T11:58:00Z", "properties": {"title": "Tea"}}
    risen = {
        "id": "e2",
        "name": "Readiness Changed",
        "type": "track",
        "at": "2027-03-01T11:58:00.5Z",
        "properties": {"before": 1, "after": 7},
    }
    enrollment = {"id": "n1", "journey": "welcome", "key": None, "status": "active", "step": "pause", "wake_at": "2027-03-03T12:00:00Z"}
    visit = {
        "enrollment_id": "n1",
        "transition": 1,
        "journey": "welcome",
        "step": "hello",
        "kind": "send",
        "outcome": "published",
        "reason": "",
    }
    delivery = {
        "id": "d1",
        "kind": "email",
        "lead_id": "l1",
        "journey": "welcome",
        "step": "hello",
        "template": "welcome-1",
        "to": "ana@example.com",
    }
    return FakeUpstreams(
        {
            ("scoring", "/api/leads"): {"items": [lead], "next": None},
            ("scoring", "/api/leads/l1"): lead,
            ("scoring", "/api/leads/l1/events"): {"items": [risen, event], "next": None},
            ("journeys", "/api/enrollments"): {"items": [enrollment], "next": None},
            ("journeys", "/api/endings"): {"items": [], "next": None},
            ("journeys", "/api/visits"): {"items": [visit | {"at": "2027-03-01T11:58:01Z"}], "next": None},
            ("mailer", "/api/deliveries"): {
                "items": [
                    delivery
                    | {
                        "status": "sent",
                        "reason": None,
                        "attempts": 1,
                        "message_id": "<d1@acme.example>",
                        "queued_at": "2027-03-01T11:58:02Z",
                    }
                ],
                "next": None,
            },
        }
    )
