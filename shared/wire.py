"""What travels between services: frozen, versioned shapes; readers ignore fields they do not know.

website ──► Event (topic `events`) ──► Activity (topic `activities`) ──► Send | Withdraw (topic `messages`)
"""

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import msgspec.structs
from msgspec import Struct

EVENTS = "events"
ACTIVITIES = "activities"
MESSAGES = "messages"
DEAD_LETTERS = "dead-letters"

EventType = Literal["track", "identify", "page", "screen", "group", "alias"]

OURS = frozenset(
    {
        "Lead Created",
        "Lead Identified",
        "Lead Merged",
        "Lead Asleep",
        "Lead Erased",
        "Readiness Changed",
        "Email Sent",
        "Email Delivered",
        "Email Opened",
        "Email Link Clicked",
        "Email Bounced",
        "Email Marked as Spam",
        "Email Suppressed",
        "Email Failed",
        "Email In Doubt",
        "Unsubscribed",
        "Resubscribed",
        "Consent Given",
        "Survey Answered",
        "Handoff Accepted",
        "Handoff Rejected",
        "Handoff Snoozed",
        "Handoff Expired",
    }
)
"""Event names that only Dripline itself may use; from outside they are set aside as `reserved_name`."""

OURSELVES = "dripline"
"""The `source` of events that our own services make."""


class Event(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something a lead did, as ingest or one of our services appended it. `id` is its identity: the same id is the same event."""

    id: str
    type: EventType
    name: str = ""  # `Ebook Downloaded`; `Page Viewed` for a page call; empty for identify, group and alias
    at: datetime  # when it happened, corrected for the client's clock
    received_at: datetime
    source: str  # the id of the write key, or OURSELVES
    message_id: str = ""  # as the client sent it
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    lead_id: str | None = None  # set by our own services, which know the lead already
    trusted: bool = False  # came with a secret key, or from ourselves
    historical: bool = False  # came through /v1/import: starts and wakes nothing
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}
    depth: int = 0  # how many of our own effects lie between this event and a person
    v: int = 1


class Reason(Struct, frozen=True, omit_defaults=True):
    """One line of why a lead's readiness is what it is; the points of all reasons add up to the lead's points."""

    rule: str
    kind: str  # at_least | add | fit
    points: float
    count: int = 0
    at: datetime | None = None
    text: str = ""


class Consent(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Marketing consent belongs to the address it was given for. `source` and `at` are of the last word on marketing, not on a topic."""

    marketing: bool = False
    address: str | None = None
    topics: dict[str, bool] = {}  # only what the reader has said; a topic not named follows `marketing`
    topics_at: dict[str, datetime] = {}  # when each was said
    source: str = ""
    at: datetime | None = None


class EventHistory(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How often a lead did something the playbook names. `days` counts by UTC day, `2026-11-22` → 3."""

    count: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    last: dict[str, Any] = {}
    days: dict[str, int] = {}


class Orders(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a lead has bought, by the playbook's `orders`."""

    count: int = 0
    total: float = 0.0
    last_at: datetime | None = None


class Lead(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A lead as it stands after an event: what conditions and templates see."""

    id: str
    email: str | None = None
    address_trusted: bool = True  # not where only a browser posted `email`: nothing may be mailed to it
    user_id: str | None = None
    readiness: int = 1
    points: float = 0.0
    hot: bool = False
    sleeping: bool = False
    traits: dict[str, Any] = {}
    tags: list[str] = []
    consent: Consent = Consent()
    company: dict[str, Any] = {}
    timezone: str | None = None
    locale: str | None = None
    created_at: datetime
    last_seen_at: datetime
    events: dict[str, EventHistory] = {}
    orders: Orders = Orders()
    reasons: list[Reason] = []  # the five largest, for hand-offs


class Activity(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An event whose lead is known, with the lead as it is after it. `sequence` is dense per lead, from 1."""

    sequence: int
    event: Event
    lead: Lead
    readiness_before: int = 1
    points_before: float = 0.0
    late: bool = False  # older than `late_after` on arrival, or historical: starts and wakes nothing
    profile_changed: bool = True  # address, traits, tags, consent, zone or locale differ from the lead's last activity
    merged_from: str | None = None  # the lead that became part of this one (`Lead Merged`)
    v: int = 1


class Entry(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What began an enrollment."""

    at: datetime
    event: str = ""
    event_id: str = ""
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}


class Send(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="send"):
    """Something to deliver. `id` is uuid5 of enrollment and transition, so a repeat is the same delivery."""

    id: str
    kind: Literal["email", "handoff"]
    lead_id: str
    journey: str = ""  # empty for a message asked for over the API
    version: str  # the published playbook whose templates and endpoints it uses
    enrollment_id: str = ""
    transition: int = 0
    step: str = ""
    template: str = ""
    endpoint: str = ""
    note: str = ""
    sla: timedelta | None = None  # of a hand-off: how long sales has to answer
    sla_working: bool = False  # counted in the playbook's working hours
    fallback: str = ""  # of a hand-off: the endpoint that gets it when nobody answered
    to: str | None = None  # of a message asked for over the API: the address, where it names no lead
    category: Literal["marketing", "transactional"] = "marketing"
    topic: str | None = None
    priority: int = 100
    reached_at: datetime  # when the walk reached the step
    expires_at: datetime | None = None  # reached_at + max_age
    entry: Entry
    entered_at: datetime
    key: str | None = None
    steps: dict[str, Any] = {}
    lead: Lead | None = None  # the lead as it was decided on
    sequence: int = 0
    depth: int = 0
    v: int = 1


class Withdraw(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="withdraw"):
    """Take a message back that has not been sent; one that never arrives stays away all the same."""

    id: str
    lead_id: str
    reason: str
    at: datetime
    v: int = 1


Message = Send | Withdraw


class Rejected(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An event that ingest set aside (topic `dead-letters`): raw as it came, with the reason."""

    id: str
    code: str
    message: str
    payload: str  # the event's own JSON text
    source: str
    received_at: datetime
    type: str = ""  # what the path said it was; empty in a batch, where the event says it
    trusted: bool = False
    historical: bool = False
    v: int = 1


class Erasure(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A person to be forgotten: properties of the activity `Lead Erased`, and on topic `dead-letters` a record of its own.

    `marks` are keyed hashes of what the person was known by (see shared.erasing); nothing here says who it was.
    """

    erased: str  # the lead's id; it comes first and tells this from a Rejected
    at: datetime
    lead_ids: list[str]  # it, and those that became part of it
    marks: list[str]
    v: int = 1


class _Versioned(Struct):
    v: int = 1
    parcel: int = 1  # of what ingest keeps together (shared/parcel.py)


VERSION = 1
"""The newest shape of any record that this Dripline knows."""
_decode_version = msgspec.json.Decoder(_Versioned).decode


def version_of(value: bytes) -> int:
    """Which version of its shape a record has; where it says none, the first. A newer one must not be read as if it were known."""
    if b'"v":' not in value and not value.startswith(b'{"parcel":'):
        return 1  # as nearly every record: nothing is parsed
    try:
        said = _decode_version(value)
    except (msgspec.MsgspecError, RecursionError):  # its reader says what is wrong with it
        return 1
    return max(said.v, said.parcel)


encode = msgspec.json.Encoder().encode
replace = msgspec.structs.replace
decode_event = msgspec.json.Decoder(Event).decode
decode_activity = msgspec.json.Decoder(Activity).decode
decode_lead = msgspec.json.Decoder(Lead).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_rejected = msgspec.json.Decoder(Rejected).decode
decode_erasure = msgspec.json.Decoder(Erasure).decode
