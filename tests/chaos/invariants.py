"""What must hold when the storm is over: ten invariants, each a function that answers what breaks it, by lead, event or step.

They look from outside: at what was acknowledged, at what relay and endpoint accepted, and at the rows; the only code of ours that they
use reads what we stored.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shared.wire import OURSELVES, Event, decode_event
from tests.chaos.load import PHONE, user_of
from tests.chaos.records import GROUPS
from tests.chaos.storm import SETTLED, Storm

WORTH = {"Ebook Downloaded": 7, "Webinar Attended": 8, "Link Clicked": 9}
"""storm_playbook/readiness.yaml, as a person reads it: `at_least` of each, and a hundredth for each time."""
STEPS = {"welcome": ("send", "wait", "send"), "cart": ("wait", "send"), "hot": ("handoff",), "receipt": ("send",)}
WAITS = {"welcome": 2_000_000, "cart": 1_000_000}
"""Microseconds."""
LINES = 20
"""Mails that one mailer has under way at its relay at once: as many may come in doubt when it dies."""
IN_FLIGHT = 40.0
"""Seconds that a mail may still take which was under way when its reader left: its process may have been halted between mark and DATA."""
LARGEST_PROCESS, MOST_FILES = 400, 400


@dataclass
class Evidence:
    """All that is known at the end."""

    storm: Storm
    events: list[tuple[str, Event]]  # with their leads
    leads: dict[str, dict[str, Any]]  # those that are not part of another
    home: dict[str, str]  # where every lead id ended
    deliveries: list[dict[str, Any]]
    visits: dict[str, list[dict[str, Any]]]  # by enrollment, in order
    enrollments: dict[str, dict[str, Any]]
    handoffs: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    positions: dict[tuple[str, str, int], int]
    ends: dict[tuple[str, int], int]
    blobs: int
    audit: dict[str, Any]

    def lead_of(self, user: str) -> str | None:
        return next((lead_id for lead_id, lead in self.leads.items() if lead["user_id"] == user), None)


Invariant = Callable[[Evidence], Iterable[str]]


async def gather(storm: Storm) -> Evidence:
    records = storm.records

    async def rows(question: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await records.fetch(question)]

    every = {row["id"]: row for row in await rows("SELECT id, user_id, readiness, state, merged_into FROM scoring_lead")}
    visits: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in await rows("SELECT * FROM journeys_visit ORDER BY enrollment_id, transition"):
        visits[row["enrollment_id"]].append(row)
    audited = storm.town.command("audit", "--format", "json")
    return Evidence(
        storm=storm,
        events=[(row["lead_id"], decode_event(row["event"])) for row in await rows("SELECT lead_id, event FROM scoring_event")],
        leads={lead_id: lead for lead_id, lead in every.items() if lead["merged_into"] is None},
        home={lead_id: _home(lead_id, every) for lead_id in every},
        deliveries=await rows(
            "SELECT id, kind, status, reason, lead_id, journey, template, message_id, message, address FROM mailer_delivery"
        ),
        visits=visits,
        enrollments={
            row["id"]: row for row in await rows("SELECT id, lead_id, journey, key, status, reason, wake_at FROM journeys_enrollment")
        },
        handoffs=await rows("SELECT id, lead_id, status, delivery_id FROM mailer_handoff"),
        letters=await rows("SELECT service, topic, key, code, payload FROM shared_dead_letter"),
        positions=await records.positions(),
        ends=dict(await records.ends()),
        blobs=(await rows("SELECT count(*) AS n FROM shared_outbox"))[0]["n"],
        audit=json.loads(audited.stdout) if audited.returncode in (0, 1) else {"ok": False, "checks": [], "said": audited.stderr},
    )


def _home(lead_id: str, every: dict[str, dict[str, Any]]) -> str:
    while every[lead_id]["merged_into"]:
        lead_id = every[lead_id]["merged_into"]
    return lead_id


def i1_what_was_acknowledged_is_recorded_once(found: Evidence) -> Iterator[str]:
    """Acknowledged message ids = the record of events and of what was refused, each once; nothing that nobody sent."""
    ledger = found.storm.load.ledger
    recorded = Counter(event.message_id for _, event in found.events if event.source != OURSELVES)
    yield from (f"event {message_id} was answered with 200 and is lost" for message_id in sorted(ledger.accepted - recorded.keys()))
    yield from (f"event {message_id} is recorded {times} times" for message_id, times in recorded.items() if times > 1)
    yield from (f"event {message_id} is recorded, and nobody sent it" for message_id in sorted(recorded.keys() - ledger.sent))


def i2_each_readiness_is_the_pure_fold_of_its_events(found: Evidence) -> Iterator[str]:
    """The points of every lead, reckoned here from its recorded events; and what was done on a device is its user's."""
    done: dict[str, Counter[str]] = defaultdict(Counter)
    for lead_id, event in found.events:
        if event.name in WORTH:
            done[found.home[lead_id]][event.name] += 1
    for lead_id, lead in found.leads.items():
        names = done[lead_id]
        points = max((WORTH[name] for name in names), default=0) + names.total() / 100
        held = json.loads(lead["state"])["lead"].get("points", 0)
        if abs(held - points) > 1e-6:
            yield f"lead {lead_id} ({lead['user_id']}) has {held} points; its events {dict(names)} are worth {points}"
        if lead["readiness"] != min(10, max(1, int(points + 0.5))):
            yield f"lead {lead_id} ({lead['user_id']}) has readiness {lead['readiness']} with {points} points"
    for event_lead, event in found.events:
        device = event.anonymous_id
        if device in found.storm.load.ledger.tied and found.home[event_lead] != found.lead_of(user_of(device)):
            yield f"event {event.message_id} of {device} is not {user_of(device)}'s"


def i3_each_mail_is_accepted_once(found: Evidence) -> Iterator[str]:
    """A mail sent was accepted once, one in doubt at most once (receipts go again: `retry`), none is missing, nobody has two alike."""
    mail, log = found.storm.mail, found.storm.log
    mails = [row for row in found.deliveries if row["kind"] == "email"]
    for row in mails:
        copies, again = mail.accepted[row["message_id"] or ""], row["template"] == "receipt"
        least, most = (1 if row["status"] == "sent" else 0), (10**6 if again else 1)
        if row["status"] in ("suppressed", "failed"):
            most = 0
        if not least <= copies <= most:
            yield f"{_mail(row)} is {row['status']} and was accepted {copies} times"
        if row["status"] == "failed" or (row["status"] == "in_doubt" and again):
            yield f"{_mail(row)} ended as {row['status']} ({row['reason']})"
    yield from (f"a mail {one} was accepted that no delivery knows" for one in mail.accepted.keys() - {row["message_id"] for row in mails})
    doubtful = sum(row["status"] == "in_doubt" for row in mails)
    deaths = log.killed["mailer"] + sum(times for place, times in log.struck.items() if place.endswith(" in mailer"))
    if doubtful > (deaths + log.faults["halt"]) * LINES + mail.moody:
        yield f"{doubtful} mails are in doubt, more than {deaths} killed mailers and {mail.moody} hang-ups explain"
    twice = Counter((found.home[row["lead_id"]], row["template"]) for row in mails if row["journey"] == "welcome")
    yield from (f"lead {lead_id} has {times} mails `{template}`" for (lead_id, template), times in twice.items() if times > 1)
    yield from _missing(found, mails)


def _missing(found: Evidence, mails: list[dict[str, Any]]) -> Iterator[str]:
    """What was published has its delivery; who downloaded the e-book was written to; whoever kept a cart was reminded of it once."""
    known = {row["id"] for row in found.deliveries}
    for visits in found.visits.values():
        for visit in visits:
            if visit["message_id"] and visit["message_id"] not in known:
                yield f"{visit['journey']} · {visit['step']} of {visit['enrollment_id']} published {visit['message_id']}: no delivery"
    welcomed = {found.home[row["lead_id"]] for row in mails if row["template"] == "hello"}
    load = found.storm.load
    for user, names in load.ledger.by_user.items():
        if "Ebook Downloaded" in names and found.lead_of(user) not in welcomed:
            yield f"{user} downloaded the e-book and has no mail `hello`"
    unsure = {_key(row) for row in mails if row["template"] == "cart" and row["status"] in ("in_doubt", "suppressed")}
    for cart in load.ledger.kept:
        owner = cart.removeprefix("cart of ")
        reminded = found.storm.mail.subjects[cart]
        if reminded > 1 or (
            reminded == 0 and cart not in unsure and not owner.endswith(PHONE) and f"{owner}@example.com" not in load.leaving
        ):
            yield f"of the {cart} its owner was reminded {reminded} times"


def i4_each_hot_lead_reaches_sales(found: Evidence) -> Iterator[str]:
    """Every hand-off at least once, always under one id and with one body; answered once, as sales answered."""
    sales = found.storm.sales
    yield from (f"webhook {one} came with different bodies" for one, bodies in sales.received.items() if len(set(bodies)) > 1)
    told = Counter(json.loads(bodies[0])["data"]["lead"]["user_id"] for bodies in sales.received.values())
    for user, names in found.storm.load.ledger.by_user.items():
        if "Link Clicked" in names and told[user] != 1:
            yield f"{user} is hot, and sales was told under {told[user]} ids"
    events = Counter((event.properties["handoff_id"], event.name) for _, event in found.events if event.name.startswith("Handoff "))
    for row in found.handoffs:
        answer = sales.answer_to(row["id"])
        if row["status"] != answer:
            yield f"hand-off {row['id']} is {row['status']}; sales said {answer}"
        if events[row["id"], f"Handoff {answer.capitalize()}"] != 1:
            yield f"hand-off {row['id']} has {events[row['id'], f'Handoff {answer.capitalize()}']} events of its answer"
    if sum(events.values()) != len(found.handoffs):
        yield f"{len(found.handoffs)} hand-offs have {sum(events.values())} answers recorded"


def i5_no_wait_is_forgotten_or_early(found: Evidence) -> Iterator[str]:
    """No walk waits any more, and none left its wait before its time."""
    yield from (f"walk {one['id']} through {one['journey']} still waits" for one in found.enrollments.values() if one["wake_at"])
    for visits in found.visits.values():
        for before, after in pairwise(visits):
            if before["kind"] == "wait" and after["at"] - before["at"] < WAITS[before["journey"]]:
                yield f"walk {before['enrollment_id']} waited {after['at'] - before['at']} µs at {before['journey']} · {before['step']}"


def i6_who_left_gets_nothing_more(found: Evidence) -> Iterator[str]:
    """No reminder of a cart filled after the reader was told that he has left, and no newsletter that was not under way already."""
    load = found.storm.load
    for mail in found.storm.mail.journal:
        since = mail.at - load.left.get(mail.recipient, float("inf"))
        if "/u/" in mail.way_out and since > IN_FLIGHT:
            yield f"{mail.recipient} left, and got mail {mail.message_id} {since:.0f} s later"
    for subject in found.storm.mail.subjects:
        if subject.startswith("cart after"):
            yield f"a reader was reminded of the {subject}"


def i7_what_was_set_aside_is_the_poison(found: Evidence) -> Iterator[str]:
    """Each bad event, and each record that cannot be read by each who reads it, is set aside with its reason; nothing else is."""
    load, thrown = found.storm.load, found.storm.log.thrown
    kept: set[str] = set()
    unread: Counter[tuple[str, bytes]] = Counter()
    for letter in found.letters:
        payload = bytes(letter["payload"])
        if payload in thrown:
            unread[letter["service"], payload] += 1
        elif letter["service"] == "ingest" and letter["topic"] == "dead-letters":
            kept.add(json.loads(json.loads(payload)["payload"]).get("messageId", "?"))
        else:
            yield f"{letter['service']} set aside a record of {letter['topic']} ({letter['code']}): {payload[:200]!r}"
    yield from (f"{one} was refused, and is not kept" for one, said in load.refused.items() if said and one not in kept)
    yield from (f"{one} is kept as refused, and nobody sent it" for one in kept - load.refused.keys())
    for value, (topic, is_there) in thrown.items():
        for service in GROUPS[topic]:
            if unread[service, value] > 1 or (is_there and not unread[service, value]):
                yield f"{service} set {value!r} of {topic} aside {unread[service, value]} times"


def i8_positions_stand_at_the_end(found: Evidence) -> Iterator[str]:
    """Positions never went back, stand at the end of each partition, and nothing is left to be published."""
    yield from (wound for wound in found.storm.log.wounds if wound.startswith("i8"))
    for (topic, number), end in found.ends.items():
        for group in GROUPS[topic] if end else ():
            if found.positions.get((group, topic, number)) != end:
                yield f"{group} stands at {found.positions.get((group, topic, number))} of {topic}/{number}, which ends at {end}"
    if found.blobs:
        yield f"{found.blobs} blobs lie in the outbox"


def i9_every_walk_is_a_legal_path(found: Evidence) -> Iterator[str]:
    """Each enrollment ended, once, and its visits are a beginning of its journey's steps: all of them where it is completed."""
    for one in found.enrollments.values():
        walked = tuple(visit["kind"] for visit in found.visits[one["id"]] if visit["kind"] not in ("update", "end"))
        steps = STEPS[one["journey"]]
        if one["status"] == "active":
            yield f"walk {one['id']} of {one['lead_id']} through {one['journey']} has not ended"
        if walked != steps[: len(walked)] or (one["status"] == "completed" and walked != steps):
            yield f"walk {one['id']} through {one['journey']} is {one['status']} after {walked}"
    entered = Counter((found.home.get(one["lead_id"], one["lead_id"]), one["journey"], one["key"]) for one in found.enrollments.values())
    for (lead_id, journey, key), times in entered.items():
        if times > 1:
            yield f"lead {lead_id} walked {times} times through {journey} ({key})"
    unsettled = [row for row in found.deliveries if row["status"] not in SETTLED]
    yield from (f"{_mail(row)} is still {row['status']}" for row in unsettled)


def i10_nothing_grows_without_bound(found: Evidence) -> Iterator[str]:
    """Processes stay small, and the audit reconciles every count."""
    log = found.storm.log
    if log.largest_process > LARGEST_PROCESS:
        yield f"a process grew to {log.largest_process} MiB"
    if log.most_files > MOST_FILES:
        yield f"a process had {log.most_files} files open"
    yield from (f"audit: {check}" for check in found.audit["checks"] if not check["ok"])
    if not found.audit["ok"] and not found.audit["checks"]:
        yield f"the audit could not be made: {found.audit}"
    yield from (wound for wound in log.wounds if not wound.startswith("i8"))


INVARIANTS: tuple[Invariant, ...] = (
    i1_what_was_acknowledged_is_recorded_once,
    i2_each_readiness_is_the_pure_fold_of_its_events,
    i3_each_mail_is_accepted_once,
    i4_each_hot_lead_reaches_sales,
    i5_no_wait_is_forgotten_or_early,
    i6_who_left_gets_nothing_more,
    i7_what_was_set_aside_is_the_poison,
    i8_positions_stand_at_the_end,
    i9_every_walk_is_a_legal_path,
    i10_nothing_grows_without_bound,
)


def check(found: Evidence) -> dict[str, list[str]]:
    """What breaks each invariant, by its name; empty where it holds."""
    return {invariant.__name__: list(invariant(found)) for invariant in INVARIANTS}


def _mail(row: dict[str, Any]) -> str:
    return f"mail {row['id']} (`{row['template']}` to lead {row['lead_id']})"


def _key(row: dict[str, Any]) -> str | None:
    key: str | None = json.loads(row["message"]).get("key")
    return key
