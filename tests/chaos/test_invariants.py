"""The invariants have teeth: a small town where all is well passes each, and each single thing amiss is told by the one it breaks."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared.wire import OURSELVES, Event
from tests.chaos.invariants import IN_FLIGHT, Evidence, check
from tests.chaos.load import Ledger
from tests.chaos.sinks import Accepted, SalesSink
from tests.chaos.storm import Log

NOW = datetime(2027, 3, 1, tzinfo=UTC)
POISON = b"nobody reads this"
HANDOFF = "h0"  # sales accepts it: its last digit is even


def event(message_id: str, name: str, source: str = "key", **more: Any) -> tuple[str, Event]:
    return "ana", Event(id=message_id, type="track", name=name, at=NOW, received_at=NOW, source=source, message_id=message_id, **more)


def mail(number: str, template: str, status: str = "sent", **more: Any) -> dict[str, Any]:
    journey = {"hello": "welcome", "again": "welcome"}.get(template, template)
    row = {"id": number, "kind": "email", "status": status, "reason": None, "lead_id": "ana", "journey": journey, "template": template}
    return row | {"message_id": f"<{number}>", "message": b"{}", "address": "ana@example.com"} | more


def visit(transition: int, journey: str, kind: str, at: int, message_id: str | None = None) -> dict[str, Any]:
    return {
        "enrollment_id": journey,
        "transition": transition,
        "journey": journey,
        "step": kind,
        "kind": kind,
        "at": at,
        "message_id": message_id,
    }


def walk(journey: str, **more: Any) -> dict[str, Any]:
    return {"id": journey, "lead_id": "ana", "journey": journey, "key": None, "status": "completed", "reason": None, "wake_at": None} | more


@pytest.fixture
def town() -> Evidence:
    ledger = Ledger({"e1", "e2"}, {"e1", "e2"}, {"ana": ["Ebook Downloaded", "Link Clicked"]}, {}, {"ana-phone"}, {"cart of ana"})
    letter = {"service": "ingest", "topic": "dead-letters", "key": "k", "code": "no_event"}
    body = json.dumps({"data": {"lead": {"user_id": "ana"}}}).encode()
    storm = SimpleNamespace(
        load=SimpleNamespace(ledger=ledger, refused={"bad": True}, left={"bo@example.com": 10.0}, leaving={"bo@example.com"}),
        mail=SimpleNamespace(
            accepted=Counter({"<m1>": 1, "<m2>": 1, "<m3>": 1}), journal=[], subjects=Counter({"cart of ana": 1}), moody=0
        ),
        sales=SimpleNamespace(received={"w1": [body]}, answer_to=SalesSink.answer_to),
        log=Log(thrown={POISON: ("messages", True)}),
    )
    lead = {"user_id": "ana", "readiness": 9, "state": json.dumps({"lead": {"points": 9.02}}).encode()}
    told = event("h", "Handoff Accepted", OURSELVES, properties={"handoff_id": HANDOFF})
    return Evidence(
        storm=storm,  # type: ignore[arg-type]
        events=[event("e1", "Ebook Downloaded"), event("e2", "Link Clicked", anonymous_id="ana-phone"), told],
        leads={"ana": lead},
        home={"ana": "ana"},
        deliveries=[mail("m1", "hello"), mail("m2", "again"), mail("m3", "cart")],
        visits={
            "welcome": [visit(1, "welcome", "send", 0, "m1"), visit(2, "welcome", "wait", 0), visit(3, "welcome", "send", 2_000_000, "m2")],
            "cart": [visit(1, "cart", "wait", 0), visit(2, "cart", "send", 1_000_000, "m3")],
        },
        enrollments={"welcome": walk("welcome"), "cart": walk("cart")},
        handoffs=[{"id": HANDOFF, "lead_id": "ana", "status": "accepted", "delivery_id": "w1"}],
        letters=[
            letter | {"payload": json.dumps({"payload": json.dumps({"messageId": "bad"})}).encode()},
            {"service": "mailer", "topic": "messages", "key": "k", "code": "undecodable", "payload": POISON},
        ],
        positions={("scoring", "events", 0): 3},
        ends={("events", 0): 3},
        blobs=0,
        audit={"ok": True, "checks": []},
    )


def test_a_town_where_all_is_well_breaks_nothing(town: Evidence):
    assert {name: what for name, what in check(town).items() if what} == {}


def _late_news(town: Evidence) -> None:
    town.storm.mail.journal.append(Accepted("<m9>", "bo@example.com", 11.0 + IN_FLIGHT, "https://mail.example/u/token"))


AMISS: list[tuple[str, str, Callable[[Evidence], Any]]] = [
    ("i1", "an acknowledged event is lost", lambda town: town.storm.load.ledger.accepted.add("e3")),
    ("i1", "an event counts twice", lambda town: town.events.append(event("e1", "Page Viewed"))),
    ("i1", "an event that nobody sent", lambda town: town.events.append(event("e9", "Page Viewed"))),
    ("i2", "points that no event explains", lambda town: town.leads["ana"].update(state=b'{"lead": {"points": 9.03}}')),
    ("i2", "a readiness that is not its points'", lambda town: town.leads["ana"].update(readiness=8)),
    ("i3", "a mail came twice", lambda town: town.storm.mail.accepted.update(["<m1>"])),
    ("i3", "a sent mail never came", lambda town: town.storm.mail.accepted.pop("<m1>")),
    ("i3", "a mail without a delivery", lambda town: town.storm.mail.accepted.update(["<m9>"])),
    ("i3", "more doubt than deaths", lambda town: town.deliveries[0].update(status="in_doubt")),
    ("i3", "two mails of a kind", lambda town: town.deliveries[1].update(template="hello")),
    ("i3", "a published message without a delivery", lambda town: town.visits["cart"][1].update(message_id="m8")),
    ("i3", "a cart of which nobody was reminded", lambda town: town.storm.mail.subjects.clear()),
    ("i4", "a hot lead that sales never heard of", lambda town: town.storm.sales.received.clear()),
    ("i4", "one webhook with two bodies", lambda town: town.storm.sales.received["w1"].append(b"{}")),
    ("i4", "an answer that was lost", lambda town: town.handoffs[0].update(status="open")),
    ("i5", "a wait that ended early", lambda town: town.visits["welcome"][2].update(at=1_999_999)),
    ("i5", "a walk that nobody wakes", lambda town: town.enrollments["cart"].update(wake_at=1)),
    ("i6", "news for one who left", _late_news),
    ("i6", "a reminder to one who left", lambda town: town.storm.mail.subjects.update(["cart after bo left"])),
    ("i7", "a letter that is no poison", lambda town: town.letters.append(town.letters[1] | {"payload": b"fine"})),
    ("i7", "poison that nobody kept", lambda town: town.letters.pop()),
    ("i7", "a refused event that is not kept", lambda town: town.storm.load.refused.update(worse=True)),
    ("i8", "a position short of the end", lambda town: town.positions.update({("scoring", "events", 0): 2})),
    ("i8", "a position that went back", lambda town: town.storm.log.wounds.append("i8: it went back")),
    ("i8", "a blob that nobody published", lambda town: setattr(town, "blobs", 1)),
    ("i9", "steps out of order", lambda town: town.visits["cart"].reverse()),
    ("i9", "a walk that never ended", lambda town: town.enrollments["cart"].update(status="active")),
    ("i9", "a walk begun twice", lambda town: town.enrollments.update(cart=walk("welcome"))),
    ("i10", "a process that grows", lambda town: setattr(town.storm.log, "largest_process", 4000)),
    ("i10", "an audit that does not reconcile", lambda town: town.audit["checks"].append({"ok": False, "name": "received"})),
]


@pytest.mark.parametrize(("invariant", "amiss"), [(each[0], each[2]) for each in AMISS], ids=[each[1] for each in AMISS])
def test_what_is_amiss_is_told_by_the_invariant_that_it_breaks(town: Evidence, invariant: str, amiss: Callable[[Evidence], Any]):
    amiss(town)
    assert invariant in {name.partition("_")[0] for name, what in check(town).items() if what}
