"""Fakes for the ports: they keep what they were given and fail when told to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.mailer.loader import Endpoint
from services.mailer.outcomes import Deferred, Delivered, Gone, Held, Outcome, Refused
from shared import wire
from shared.errors import Outage
from shared.log import Positions, Subscription


@dataclass
class RecordingLog:
    """A log that nobody reads but the test."""

    topics: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    away: bool = False

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        if self.away:
            raise Outage("the log is away")
        self.topics.setdefault(topic, []).extend(records)

    def subscribe(self, group: str, topic: str, positions: Positions) -> Subscription:
        raise AssertionError("nobody reads this log")

    def backlog_since(self, group: str, topic: str) -> datetime | None:
        return None

    async def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        if self.away:
            raise Outage("the log is away")
        return {0: (0, len(self.topics.get(topic, ())))}

    async def close(self) -> None:
        return

    @property
    def events(self) -> list[wire.Event]:
        return [wire.decode_event(value) for _, value in self.topics.get(wire.EVENTS, [])]


@dataclass
class FakeRelay:
    """A mail transport that answers what it is told, per recipient where that is told, and keeps the mails it took."""

    to_offer: Deferred | Refused | Held | None = None
    to_mail: Outcome = field(default_factory=Delivered)
    by_recipient: dict[str, Deferred | Refused | Held] = field(default_factory=dict)
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)  # of each that was taken
    offered: list[str] = field(default_factory=list)
    withdrawn: int = 0

    async def offer(self, sender: str, recipient: str) -> "FakeOffer | Deferred | Refused | Held":
        self.offered.append(recipient)
        await self.before_offer(recipient)
        return self.to_offer or self.by_recipient.get(recipient) or FakeOffer(self, recipient)

    async def before_offer(self, recipient: str) -> None:
        """What a test lets happen between the claim and the mark."""

    async def close(self) -> None:
        return


@dataclass
class FakeOffer:
    relay: FakeRelay
    recipient: str

    async def data(self, message: bytes) -> Outcome:
        self.relay.taken.append((self.recipient, message))
        self.relay.outcomes.append(self.relay.to_mail)
        return self.relay.to_mail

    async def withdraw(self) -> None:
        self.relay.withdrawn += 1


@dataclass
class FakeWebhooks:
    """Endpoints that answer what they are told, by name, and keep what reached them."""

    answers: dict[str, Delivered | Deferred | Refused | Gone] = field(default_factory=dict)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def post(self, endpoint: Endpoint, webhook_id: str, body: bytes, at: datetime) -> Delivered | Deferred | Refused | Gone:
        await self.before_post(endpoint)
        self.received.append((endpoint.name, webhook_id, body))
        return self.answers.get(endpoint.name, Delivered("HTTP 200"))

    async def before_post(self, endpoint: Endpoint) -> None:
        """What a test lets happen before the endpoint answers."""

    async def close(self) -> None:
        return
