"""What the recorded events of a lead come to under rules that changed since they were folded. Pure.

record ──recall──► evidence, histories, orders, when it was last awake ──► leads.py lays it in the lead's place
Profile and consent are not of it: what somebody said stays said, whatever the rules.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from services.scoring.history import Noted, purchase, remember
from services.scoring.readiness import Evidence, Rules, earned_at, fold
from services.scoring.sleeping import SleepRule, roused
from shared.wire import OURSELVES, Event, EventHistory, Orders

TOLD_HERE = frozenset({"Lead Created", "Lead Identified", "Lead Merged", "Lead Asleep", "Readiness Changed"})
"""The events that scoring itself makes: what a lead is worth must not count them."""


class Past(NamedTuple):
    """What events leave behind that depends on the playbook."""

    evidence: Mapping[str, Evidence] = {}
    histories: Mapping[str, EventHistory] = {}
    orders: Orders = Orders()
    roused_at: datetime | None = None

    def with_event(self, event: Event, rules: Rules, noted: Noted, sleep: SleepRule | None) -> "Past":
        """This past with one more event in it."""
        at = earned_at(event)
        past = self._replace(evidence=fold(self.evidence, rules, event))
        if event.name in noted.histories:
            past = past._replace(histories=remember(past.histories, event, at))
        if noted.orders is not None and event.name in noted.orders.names:
            past = past._replace(orders=purchase(past.orders, noted.orders, event, at))
        if sleep is not None and event.name in sleep.events:
            past = past._replace(roused_at=roused(past.roused_at, at))
        return past


def is_told_here(event: Event) -> bool:
    """Whether scoring itself told this of a lead, instead of the lead doing it."""
    return event.source == OURSELVES and event.name in TOLD_HERE


def recall(past: Past, events: Iterable[Event], rules: Rules, noted: Noted, sleep: SleepRule | None) -> Past:
    """A past with these events in it, in whatever order they come."""
    for event in events:
        if not is_told_here(event):
            past = past.with_event(event, rules, noted, sleep)
    return past
