"""Scoring without a database: what the store keeps between transactions, in plain dictionaries."""

from collections.abc import Sequence
from datetime import datetime

from services.scoring.leads import Definitions, Roster, Scored
from services.scoring.store import decode_scored
from shared.wire import Activity, Event, encode
from tests.builders import NOON, scoring_definitions

DEFINITIONS = scoring_definitions()


class Memory:
    """The store, in memory."""

    def __init__(self, definitions: Definitions = DEFINITIONS) -> None:
        self.definitions = definitions
        self.leads: dict[str, bytes] = {}
        self.identities: dict[str, str] = {}
        self.tombstones: dict[str, str] = {}
        self.seen: set[str] = set()
        self.told: list[Activity] = []

    def handle(self, events: Sequence[Event], now: datetime = NOON) -> None:
        """One transaction."""
        leads = {lead_id: decode_scored(state) for lead_id, state in self.leads.items()}
        roster = Roster(self.definitions, now, leads, dict(self.identities), dict(self.tombstones))
        for event in events:
            if event.id not in self.seen:
                self.seen.add(event.id)
                roster.take(event)
        self.leads = {lead_id: encode(scored) for lead_id, scored in roster.leads.items()}
        self.identities, self.tombstones = roster.identities, roster.tombstones
        self.told += [issued.activity for issued in roster.issued]

    def of(self, identity: str) -> Scored:
        lead_id = self.identities[identity]
        while lead_id in self.tombstones:
            lead_id = self.tombstones[lead_id]
        return decode_scored(self.leads[lead_id])
