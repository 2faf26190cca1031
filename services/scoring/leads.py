"""What an event makes of its lead: the whole of scoring for the leads that one transaction has in hand. Pure; the store fills and saves it.

event ──take──► whose it is (identity) ──► what it says (profile) ──► what it is worth (readiness) ──► activities, in the lead's order
time ──rescore──► `Readiness Changed`, where fading moved the value
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from msgspec import Struct

from services.scoring.history import Noted
from services.scoring.identity import Names, Owner, names_of, settle
from services.scoring.profile import NOTHING_KEPT, Kept, differs, join, observe
from services.scoring.readiness import Evidence, Rules, earned_at, fold, is_hot, merge, next_change_at, readiness
from shared.errors import InvalidMessage
from shared.wire import OURSELVES, Activity, Consent, Event, Lead, encode, replace

DEEPEST = 16
"""How many of our own effects may lie between an event and a person: past it, journeys set each other off in a circle."""
REASONS_TOLD = 5
TOLD_HERE = frozenset({"Lead Created", "Lead Identified", "Lead Merged", "Lead Asleep", "Readiness Changed"})
"""The events that scoring itself makes: what a lead is worth must not count them."""
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Definitions:
    """The part of the playbook that scoring goes by. `version` is that of the rules."""

    version: str
    rules: Rules
    noted: Noted
    late_after: timedelta | None = None


class Scored(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A lead as its row holds it. `version` is that of the rules that all its evidence was folded under; empty if they changed since."""

    lead: Lead
    sequence: int = 0
    kept: Kept = NOTHING_KEPT
    evidence: dict[str, Evidence] = {}
    version: str = ""


class Issued(NamedTuple):
    """An activity, and its event's bytes as the record keeps them."""

    activity: Activity
    event: bytes


@dataclass(slots=True)
class Roster:
    """The leads in hand, the identities and tombstones that lead to them, and what became of them."""

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
    homeless: list[Event] = field(default_factory=list)  # of the event taken last: what found no place

    def take(self, event: Event, names: Names | None = None, raw: bytes | None = None) -> list[Event]:
        """Fold an event that was not folded yet; answers the traits that found no place, as events to repeat once there is room.

        `names` and `raw` (its JSON) if at hand. Raises InvalidMessage, and has changed nothing, where it can belong to no lead.
        """
        if event.depth > DEEPEST:
            raise InvalidMessage("loop", f"more than {DEEPEST} of our own effects led here: some journeys set each other off in a circle")
        self.homeless = []
        lead_id, fresh = self._settled(event, names)
        before = self.leads[lead_id]
        rules = self.definitions.rules
        seen = observe(before.lead, before.kept, event, self.definitions.noted)
        evidence = fold(before.evidence, rules, event)
        self._issue(
            replace(before, lead=seen.lead, kept=seen.kept, evidence=evidence, version=self._version(before)),
            event,
            raw or encode(event),
            cause=event,
            profile_changed=fresh or differs(before.lead, seen.lead),
        )
        self._set_aside(seen.refused, event)
        return self.homeless

    def rescore(self, lead_id: str) -> None:
        """Reckon a lead anew at this moment; where fading moved its readiness, that becomes an activity."""
        before = self.leads[lead_id]
        after = self._judged(before)
        self.leads[lead_id] = after
        self.changed.add(lead_id)
        self.due[lead_id] = next_change_at(after.evidence, self.definitions.rules, after.lead, self.now)
        if after.lead.readiness != before.lead.readiness:
            self._tell_change(before.lead, after, _digest("readiness", lead_id, str(after.sequence)), None)

    def living(self, lead_id: str) -> str | None:
        """The lead that this id stands for today; None where none is in hand."""
        while lead_id not in self.leads:
            if lead_id not in self.tombstones:
                return None
            lead_id = self.tombstones[lead_id]
        return lead_id

    def _settled(self, event: Event, names: Names | None) -> tuple[str, bool]:
        """Whose the event is, with identities and merges put in order; and whether that made or identified the lead."""
        if event.lead_id is not None:
            known = self.living(event.lead_id)
            if known is None:
                raise InvalidMessage("unknown_lead", f"there is no lead {event.lead_id}")
            return known, False
        names = names or names_of(event)
        settlement = settle(names, self._owner)
        lead_id = settlement.lead_id or self._made(event)
        for identity in settlement.identities:
            (self.moved if identity in self.identities else self.claimed)[identity] = lead_id
            self.identities[identity] = lead_id
        identified = self._identified(lead_id, names)
        for other in settlement.merged:
            self._merge(lead_id, other, event)
        return lead_id, identified or settlement.lead_id is None

    def _owner(self, identity: str) -> Owner | None:
        known = self.identities.get(identity)
        if known is None or (lead_id := self.living(known)) is None:
            return None
        return Owner(lead_id, self.leads[lead_id].lead.user_id is not None)

    def _made(self, event: Event) -> str:
        """A new lead. Its id begins with the time, so the newest sort last, and comes from the event, so a repeat makes the same one."""
        lead_id = f"{int(event.received_at.timestamp() * 1000):012x}{_digest('lead', event.id, size=10)}"
        lead = Lead(id=lead_id, created_at=event.received_at, last_seen_at=earned_at(event))
        self.leads[lead_id] = Scored(lead=lead, version=self.definitions.version)
        return lead_id

    def _identified(self, lead_id: str, names: Names) -> bool:
        known = self.leads[lead_id]
        if names.user is None or names.user_id == known.lead.user_id or (known.lead.user_id is not None and names.former is None):
            return False
        self.leads[lead_id] = replace(known, lead=replace(known.lead, user_id=names.user_id))
        return True

    def _merge(self, lead_id: str, other_id: str, cause: Event) -> None:
        """The other becomes part of the lead: profile, evidence, and what leads to it."""
        mine, theirs = self.leads[lead_id], self.leads.pop(other_id)
        their_kept = theirs.kept
        if not cause.trusted and mine.kept.reach.told:  # a browser joins a device, and never replaces an address that a server named
            their_kept = their_kept._replace(reach=their_kept.reach._replace(told=(), given=Consent()))
        lead, kept, refused = join(mine.lead, mine.kept, theirs.lead, their_kept)
        self.tombstones[other_id] = lead_id
        self.merged[other_id] = theirs.sequence
        self.changed.discard(other_id)
        version = mine.version if mine.version == theirs.version else ""
        whole = replace(mine, lead=replace(lead, hot=mine.lead.hot or theirs.lead.hot), kept=kept, version=version)
        event = self._our_event("Lead Merged", f"{cause.id}.{other_id}", lead_id, cause, merged=other_id)
        self._issue(replace(whole, evidence=merge(mine.evidence, theirs.evidence)), event, encode(event), cause=cause, merged_from=other_id)
        said_at = min((theirs.kept.trait_at[name] for name in refused), default=event.at)
        self._set_aside(refused, replace(event, type="identify", name="", at=said_at, trusted=False, properties={}))

    def _set_aside(self, refused: dict[str, Any], event: Event) -> None:
        if refused:
            self.homeless.append(replace(event, id=_digest("traits", event.id), traits=refused))

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
            self._tell_change(before, self.leads[after.lead.id], event.id, cause)

    def _judged(self, scored: Scored) -> Scored:
        found = readiness(scored.evidence, self.definitions.rules, scored.lead, self.now)
        hot = is_hot(self.definitions.rules, scored.lead.hot, found.value)
        self.due[scored.lead.id] = found.stands_until
        told = found.reasons[:REASONS_TOLD]
        return replace(scored, lead=replace(scored.lead, readiness=found.value, points=found.points, hot=hot, reasons=told))

    def _tell(self, activity: Activity, raw: bytes, after: Scored) -> None:
        self.issued.append(Issued(activity, raw))
        self.leads[after.lead.id] = replace(after, sequence=activity.sequence)
        self.changed.add(after.lead.id)

    def _tell_change(self, before: Lead, after: Scored, id: str, cause: Event | None) -> None:
        """`Readiness Changed`; it is as late as its cause: what starts nothing must not start something through it."""
        change = {"before": before.readiness, "after": after.lead.readiness}
        event = self._our_event("Readiness Changed", f"{id}.readiness", after.lead.id, cause, **change)
        activity = Activity(
            sequence=after.sequence + 1,
            event=event,
            lead=after.lead,
            readiness_before=before.readiness,
            points_before=before.points,
            late=cause is not None and self._is_late(cause),
            profile_changed=False,
        )
        self._tell(activity, encode(event), after)

    def _our_event(self, name: str, id: str, lead_id: str, cause: Event | None, **properties: Any) -> Event:
        """What scoring itself tells. Its id begins with its cause's, so that at the same moment it sorts after it."""
        return Event(
            id=id,
            type="track",
            name=name,
            at=self.now if cause is None else earned_at(cause),
            received_at=self.now,
            source=OURSELVES,
            lead_id=lead_id,
            trusted=True,
            properties=properties,
            depth=0 if cause is None else cause.depth + 1,
        )

    def _is_late(self, event: Event) -> bool:
        limit = self.definitions.late_after
        return event.historical or (limit is not None and event.received_at - event.at > limit)

    def _version(self, before: Scored) -> str:
        return before.version if before.version == self.definitions.version else ""


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


def _digest(*parts: str, size: int = 16) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=size).hexdigest()
