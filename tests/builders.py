"""Builders: a valid thing with one line, and only what the test is about spelled out."""

from datetime import UTC, datetime
from typing import Any

from services.mailer.loader import MailerPlaybook
from services.mailer.loader import load as load_mailer_playbook
from services.scoring.leads import Definitions
from services.scoring.loader import load as load_scoring
from shared.wire import Activity, Entry, Event, Lead, Send

NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def an_event(name: str = "Ebook Downloaded", **overrides: Any) -> Event:
    fields: dict[str, Any] = {
        "id": "e1",
        "type": "track",
        "name": name,
        "at": NOON,
        "received_at": NOON,
        "source": "pk_test",
        "user_id": "u1",
    }
    return Event(**(fields | overrides))


def a_lead(**overrides: Any) -> Lead:
    fields: dict[str, Any] = {"id": "l1", "email": "ana@example.com", "user_id": "u1", "created_at": NOON, "last_seen_at": NOON}
    return Lead(**(fields | overrides))


def an_activity(
    name: str = "Ebook Downloaded", *, sequence: int = 1, lead: Lead | None = None, event: Event | None = None, **overrides: Any
) -> Activity:
    return Activity(sequence=sequence, event=event or an_event(name), lead=lead or a_lead(), **overrides)


A_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DELIVERY = "0f8fad5b-d9cb-469f-a165-70867728950e"

A_PLAYBOOK_YAML = """\
name: Starter
brand: {name: Acme, url: "https://acme.example", address: "1 High Street, Dublin"}
mail: {from: "Acme <hello@acme.example>", reply_to: care@acme.example, timezone: Europe/Dublin, locale: en}
"""


def a_send(template: str = "welcome-1", **overrides: Any) -> Send:
    fields: dict[str, Any] = {"id": DELIVERY, "kind": "email", "lead_id": "l1", "journey": "welcome", "version": "v1", "step": "hello"}
    fields |= {"template": template, "reached_at": NOON, "entry": Entry(at=NOON, event="Ebook Downloaded"), "entered_at": NOON}
    return Send(**(fields | overrides))


def a_template(page: str = "<p>Hello</p>", subject: str = "Welcome", **front: str) -> bytes:
    lines = [f"{key}: {value}" for key, value in {"subject": subject, **front}.items()]
    return "\n".join(["---", *lines, "---", page]).encode()


def a_mailer_playbook(files: dict[str, bytes] | None = None, *, yaml: str = A_PLAYBOOK_YAML, **environ: str) -> MailerPlaybook:
    """A mailer's playbook from template files by their name in `templates/`."""
    templates = {f"templates/{name}": content for name, content in (files or {"welcome-1.html": a_template()}).items()}
    return load_mailer_playbook({"playbook.yaml": yaml.encode(), **templates}, environ, "v1")


A_READINESS_YAML = """\
hot: 9
rearm_below: 8
half_life: 45d
hold: 14d
rules:
  - {id: ebook, event: Ebook Downloaded, at_least: 7, text: "downloaded an e-book"}
  - {id: webinar, event: Webinar Attended, at_least: 8}
  - {id: paid_link, event: Link Clicked, when: "event.properties.paid", at_least: 9}
  - {id: pricing, event: Page Viewed, when: "event.properties.path.startswith('/pricing')", add: 0.5, max: 1.5, half_life: 14d}
  - {id: unsubscribed, event: Unsubscribed, add: -3}
fit:
  - {id: size, when: "lead.traits.employees >= 50", add: 1, text: "a company of 50 or more"}
"""
"""The example of docs/playbook.md."""


def scoring_definitions(readiness: str = A_READINESS_YAML, playbook: str = "name: Starter\n", **files: str) -> Definitions:
    """Scoring's part of a playbook."""
    texts = {"readiness.yaml": readiness, "playbook.yaml": playbook} | files
    return load_scoring({name: text.encode() for name, text in texts.items()}, {})
