"""What an event makes of its lead: the whole of scoring for the leads that one transaction has in hand. Pure; the store fills and saves it.

event ──take──► whose it is (identity) ──► what it says (profile) ──► what it is worth (readiness) ──► activities, in the lead's order
time ──rescore──► `Readiness Changed` where fading moved the value, `Lead Asleep` where a silence has lasted long enough
rules that changed ──renew──► the same leads, judged by them; nothing starts by it
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct

from services.scoring.history import Noted
from services.scoring.identity import Names, Owner, names_of, settle
from services.scoring.past import Past
from services.scoring.profile import LARGEST_TRAITS, MOST_TRAITS, NOTHING_KEPT, Kept, differs, join, observe
from services.scoring.readiness import Evidence, Rules, earned_at, fold, is_hot, merge, next_change_at, readiness
from services.scoring.sleeping import SleepRule, falls_asleep_at, is_asleep, roused
from services.scoring.telling import as_text, digest, id_after, id_before, our_event
from services.scoring.words import is_unclear
from shared.errors import InvalidMessage
from shared.wire import Activity, Event, Lead, encode, replace

DEEPEST = 16
"""How many of our own effects may lie between an event and a person: past it, journeys set each other off in a circle."""
REASONS_TOLD = 5
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Definitions:
    """The part of the playbook that scoring goes by. `version` is that of whatever the past is folded and judged under."""

    version: str
    rules: Rules
    noted: Noted
    late_after: timedelta | None = None
    sleep: SleepRule | None = None


class Scored(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A lead as its row holds it. `version` is that of the definitions that all its past was folded under; `roused_at`: see sleeping.py."""

    lead: Lead
    sequence: int = 0
    kept: Kept = NOTHING_KEPT
    evidence: dict[str, Evidence] = {}
    version: str = ""
    roused_at: datetime | None = None


class Refusal(NamedTuple):
    """What of an event was not taken, as an event that can be repeated when that has changed, and why."""

    event: Event
    code: str
    message: str


class Issued(NamedTuple):
    """An activity, and its event's bytes as the record keeps them."""

    activity: Activity
    event: bytes


@dataclass(slots=True)
class Roster:
    """The leads in hand, the identities and tombstones that lead to them, and what became of them.

    Every lead in hand was folded under these definitions: what was not, the store renews first.
    """

    definitions: Definitions
    now: datetime
    leads: dict[str, Scored] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    tombstones: dict[str, str] = field(default_factory=dict)  # a merged lead → the one it became part of
    claimed: dict[str, str] = field(default_factory=dict)  # identities seen for the first time
    moved: dict[str, str] = field(default_factory=dict)  # devices that are another lead's from now on
    changed: set[str] = field(default_factory=set)
    merged: dict[str, int] = field(default_factory=dict)  # leads that ended here, with their last sequence
    issued: list[Issued] = field(default_factory=list)
    due: dict[str, datetime | None] = field(default_factory=dict)  # when to look at a lead again
    refused: list[Refusal] = field(default_factory=list)  # of the event taken last

    def take(self, event: Event, names: Names | None = None, raw: bytes | None = None) -> list[Refusal]:
        """Fold an event that was not folded yet; answers what of it could not be taken.

        `names` and `raw` (its JSON) if at hand. Raises InvalidMessage, and has changed nothing, where it can belong to no lead.
        """
        if event.depth > DEEPEST:
            raise InvalidMessage("loop", f"more than {DEEPEST} of our own effects led here: some journeys set each other off in a circle")
        self.refused = []
        definitions = self.definitions
        was = self._settled(event, names)
        before = self.leads[was.id]
        seen = observe(before.lead, before.kept, event, definitions.noted)
        after = replace(before, lead=seen.lead, kept=seen.kept, evidence=fold(before.evidence, definitions.rules, event))
        if definitions.sleep is not None and event.name in definitions.sleep.events:
            after = self._roused(after, earned_at(event))
        changed = was.user_id != seen.lead.user_id or differs(before.lead, seen.lead)
        self._issue(after, event, raw or encode(event), cause=event, profile_changed=changed)
        if changed or before.lead is not was:
            self._tell_known(was, event)
        if after.lead.sleeping and not before.lead.sleeping:
            self._tell_asleep(was.id, event, late=self._is_late(event))
        self._set_aside(seen.refused, event)
        if event.trusted and event.type == "identify" and is_unclear(event.traits.get("consent")):
            self._doubt(event)
        return self.refused

    def rescore(self, lead_id: str) -> None:
        """Reckon a lead anew at this moment: where fading moved its readiness, or it has fallen asleep, that becomes an activity."""
        before = self.leads[lead_id]
        sleeping = before.lead.sleeping or is_asleep(self.definitions.sleep, before.roused_at, self.now)
        after = self._judged(replace(before, lead=replace(before.lead, sleeping=sleeping)))
        self._keep(after)
        self.due[lead_id] = self._next_look(after, next_change_at(after.evidence, self.definitions.rules, after.lead, self.now))
        if after.lead.readiness != before.lead.readiness:
            self._tell_change(before.lead, None, late=False)
        if sleeping and not before.lead.sleeping:
            self._tell_asleep(lead_id, None, late=False)

    def renew(self, lead_id: str, past: Past) -> None:
        """Lay what its recorded events come to under these definitions in the place of what they came to under others.

        Nobody becomes hot by it, and what it changes is told as late, so that others know and nothing starts: who sleeps by the new
        rules counts as having slept before. A lead that was hot and is not any more can become hot again.
        """
        before = self.leads[lead_id]
        asleep = is_asleep(self.definitions.sleep, past.roused_at, self.now)
        lead = replace(before.lead, events=dict(past.histories), orders=past.orders, sleeping=asleep)
        version = self.definitions.version
        after = self._judged(replace(before, lead=lead, evidence=past.evidence, roused_at=past.roused_at, version=version))
        if after.lead.hot and not before.lead.hot:
            after = replace(after, lead=replace(after.lead, hot=False))
        self._keep(after)
        if asleep and not before.lead.sleeping:
            self._tell_asleep(lead_id, None, late=True)
        if _standing(after.lead) != _standing(before.lead) or (before.lead.sleeping and not asleep):
            self._tell_change(before.lead, None, late=True)

    def living(self, lead_id: str) -> str | None:
        """The lead that this id stands for today; None where none is in hand."""
        while lead_id not in self.leads:
            if lead_id not in self.tombstones:
                return None
            lead_id = self.tombstones[lead_id]
        return lead_id

    def _settled(self, event: Event, names: Names | None) -> Lead:
        """Whose the event is, with identities and merges put in order; the lead as it was before any of that."""
        if event.lead_id is not None:
            known = self.living(event.lead_id)
            if known is None:
                raise InvalidMessage("unknown_lead", f"there is no lead {event.lead_id}")
            return self.leads[known].lead
        names = names or names_of(event)
        settlement = settle(names, self._owner)
        lead_id = settlement.lead_id or self._made(event)
        was = self.leads[lead_id].lead
        for identity in settlement.identities:
            (self.moved if identity in self.identities else self.claimed)[identity] = lead_id
            self.identities[identity] = lead_id
        self._identify(lead_id, names)
        if settlement.lead_id is None:
            created = our_event("Lead Created", id_before(event), lead_id, self.now, event)
            self._tell_own(created, late=self._is_late(event), is_new=True)
        for other in settlement.merged:
            self._merge(lead_id, other, event)
        return was

    def _owner(self, identity: str) -> Owner | None:
        known = self.identities.get(identity)
        if known is None or (lead_id := self.living(known)) is None:
            return None
        return Owner(lead_id, self.leads[lead_id].lead.user_id is not None)

    def _made(self, event: Event) -> str:
        """A new lead. Its id begins with the time, so the newest sort last, and comes from the event, so a repeat makes the same one."""
        lead_id = f"{int(event.received_at.timestamp() * 1000):012x}{digest('lead', event.id, size=10)}"
        lead = Lead(id=lead_id, created_at=event.received_at, last_seen_at=earned_at(event))
        self.leads[lead_id] = Scored(lead=lead, version=self.definitions.version)
        return lead_id

    def _identify(self, lead_id: str, names: Names) -> None:
        known = self.leads[lead_id]
        if names.user is None or names.user_id == known.lead.user_id or (known.lead.user_id is not None and names.former is None):
            return
        self.leads[lead_id] = replace(known, lead=replace(known.lead, user_id=names.user_id))

    def _merge(self, lead_id: str, other_id: str, cause: Event) -> None:
        """The other becomes part of the lead: profile, evidence, and what leads to it."""
        mine, theirs = self.leads[lead_id], self.leads.pop(other_id)
        on_a_claim = not cause.trusted and mine.lead.user_id is not None and theirs.lead.user_id is None
        lead, kept, refused = join(mine.lead, mine.kept, theirs.lead, theirs.kept, on_a_claim=on_a_claim)
        self.tombstones[other_id] = lead_id
        self.merged[other_id] = theirs.sequence
        self.changed.discard(other_id)
        roused_at = roused(mine.roused_at, theirs.roused_at)
        sleeping = any(one.lead.sleeping for one in (mine, theirs) if one.roused_at == roused_at)
        lead = replace(lead, hot=mine.lead.hot or theirs.lead.hot, sleeping=sleeping)
        whole = replace(mine, lead=lead, kept=kept, evidence=merge(mine.evidence, theirs.evidence), roused_at=roused_at)
        event = our_event("Lead Merged", f"{cause.id}.{other_id}", lead_id, self.now, cause, merged=other_id)
        self._issue(whole, event, encode(event), cause=cause, merged_from=other_id)
        said_at = min((theirs.kept.trait_at[name] for name in refused), default=event.at)
        self._set_aside(refused, replace(event, type="identify", name="", at=said_at, trusted=False, properties={}))

    def _roused(self, scored: Scored, at: datetime) -> Scored:
        """The lead after it did what keeps it awake; where that was too long ago and nothing came since, it sleeps all the same."""
        roused_at = roused(scored.roused_at, at)
        if roused_at == scored.roused_at:
            return scored
        sleeping = is_asleep(self.definitions.sleep, roused_at, self.now)
        return replace(scored, roused_at=roused_at, lead=replace(scored.lead, sleeping=sleeping))

    def _set_aside(self, refused: dict[str, Any], event: Event) -> None:
        if refused:
            holder, few = "company" if event.type == "group" else "lead", ", ".join(sorted(refused)[:20])
            message = f"a {holder} holds at most {MOST_TRAITS} traits of {LARGEST_TRAITS} bytes; no place for {few}"
            self.refused.append(Refusal(replace(event, id=digest("traits", event.id), traits=refused), "trait_limit", message))

    def _doubt(self, event: Event) -> None:
        """A server's word on consent that nobody can be sure of is neither believed nor passed over."""
        said = replace(event, id=digest("consent", event.id), traits={"consent": event.traits["consent"]})
        message = "traits.consent is neither true nor false: send true, false, or {marketing: true, source, topics: {NAME: false}}"
        self.refused.append(Refusal(said, "consent_unclear", message))

    def _issue(
        self, after: Scored, event: Event, raw: bytes, *, cause: Event, profile_changed: bool = True, merged_from: str | None = None
    ) -> None:
        """Judge the lead after its event and tell it; where its readiness moved, tell that too."""
        before = self.leads[after.lead.id].lead
        after = self._judged(after)
        activity = Activity(
            sequence=after.sequence + 1,
            event=event,
            lead=after.lead,
            readiness_before=before.readiness,
            points_before=before.points,
            late=self._is_late(cause),
            profile_changed=profile_changed,
            merged_from=merged_from,
        )
        self._tell(activity, raw, after)
        if after.lead.readiness != before.readiness:
            self._tell_change(before, cause, late=self._is_late(cause), after_event=event)

    def _judged(self, scored: Scored) -> Scored:
        found = readiness(scored.evidence, self.definitions.rules, scored.lead, self.now)
        hot = is_hot(self.definitions.rules, scored.lead, found.value)
        self.due[scored.lead.id] = self._next_look(scored, found.stands_until)
        told = found.reasons[:REASONS_TOLD]
        return replace(scored, lead=replace(scored.lead, readiness=found.value, points=found.points, hot=hot, reasons=told))

    def _next_look(self, scored: Scored, fades_at: datetime | None) -> datetime | None:
        """The earlier of two moments: when fading may change the value, and when the lead falls asleep."""
        asleep_at = None if scored.lead.sleeping else falls_asleep_at(self.definitions.sleep, scored.roused_at)
        if fades_at is None or asleep_at is None:
            return fades_at or asleep_at
        return min(fades_at, asleep_at)

    def _keep(self, after: Scored) -> None:
        self.leads[after.lead.id] = after
        self.changed.add(after.lead.id)

    def _tell(self, activity: Activity, raw: bytes, after: Scored) -> None:
        self.issued.append(Issued(activity, raw))
        self._keep(replace(after, sequence=activity.sequence))

    def _tell_change(self, before: Lead, cause: Event | None, *, late: bool, after_event: Event | None = None) -> None:
        """`Readiness Changed`; it is as late as its cause: what starts nothing must not start something through it."""
        after = self.leads[before.id]
        change = {"before": before.readiness, "after": after.lead.readiness}
        event_id = id_after("readiness", after_event, before.id, after.sequence)
        self._tell_own(our_event("Readiness Changed", event_id, before.id, self.now, cause, **change), late=late, before=before)

    def _tell_known(self, was: Lead, cause: Event) -> None:
        """`Lead Identified`, where a user id or an address that mail may go to has become known."""
        after = self.leads[was.id]
        if was.user_id is None and after.lead.user_id is not None:
            by = "user_id"
        elif not _has_address(was) and _has_address(after.lead):
            by = "address"
        else:
            return
        event_id = id_after("identified", cause, was.id, after.sequence)
        self._tell_own(our_event("Lead Identified", event_id, was.id, self.now, cause, by=by), late=self._is_late(cause))

    def _tell_asleep(self, lead_id: str, cause: Event | None, *, late: bool) -> None:
        """`Lead Asleep`, since when."""
        after = self.leads[lead_id]
        assert after.roused_at is not None
        event_id = id_after("asleep", cause, lead_id, after.sequence)
        self._tell_own(our_event("Lead Asleep", event_id, lead_id, self.now, cause, last_at=as_text(after.roused_at)), late=late)

    def _tell_own(self, event: Event, *, late: bool, before: Lead | None = None, is_new: bool = False) -> None:
        """Tell an event of ours; `before` is the lead before what it tells, where that moved its readiness."""
        assert event.lead_id is not None
        after = self.leads[event.lead_id]
        before = before or after.lead
        activity = Activity(
            sequence=after.sequence + 1,
            event=event,
            lead=after.lead,
            readiness_before=before.readiness,
            points_before=before.points,
            late=late,
            profile_changed=is_new,
        )
        self._tell(activity, encode(event), after)

    def _is_late(self, event: Event) -> bool:
        limit = self.definitions.late_after
        return event.historical or (limit is not None and event.received_at - event.at > limit)


def refold(lead: Lead, events: Iterable[Event], definitions: Definitions, until: datetime) -> Scored:
    """The lead as these events alone make it under today's rules, in the order in which they happened, at a moment."""
    blank = Lead(id=lead.id, user_id=lead.user_id, created_at=lead.created_at, last_seen_at=_EVER)
    roster = Roster(definitions, until, leads={lead.id: Scored(lead=blank, version=definitions.version)})
    for event in sorted(events, key=lambda event: (earned_at(event), event.id)):
        roster.now = earned_at(event)
        roster.rescore(lead.id)
        roster.take(replace(event, lead_id=lead.id))
    roster.now = until
    roster.rescore(lead.id)
    return roster.leads[lead.id]


def _standing(lead: Lead) -> tuple[int, bool]:
    return lead.readiness, lead.hot


def _has_address(lead: Lead) -> bool:
    return lead.email is not None and lead.address_trusted
