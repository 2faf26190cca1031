"""Builders: a valid thing with one line, and only what the test is about spelled out."""

from datetime import UTC, datetime
from typing import Any

from shared.wire import Activity, Event, Lead

NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def an_event(name: str = "Ebook Downloaded", **overrides: Any) -> Event:
    fields: dict[str, Any] = {"id": "e1", "type": "track", "name": name, "at": NOON, "received_at": NOON, "source": "pk_test", "user_id": "u1"}
    return Event(**(fields | overrides))


def a_lead(**overrides: Any) -> Lead:
    fields: dict[str, Any] = {"id": "l1", "email": "ana@example.com", "user_id": "u1", "created_at": NOON, "last_seen_at": NOON}
    return Lead(**(fields | overrides))


def an_activity(name: str = "Ebook Downloaded", *, sequence: int = 1, lead: Lead | None = None, event: Event | None = None, **overrides: Any) -> Activity:
    return Activity(sequence=sequence, event=event or an_event(name), lead=lead or a_lead(), **overrides)
