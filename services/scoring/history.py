"""What a lead did how often, and what it bought: pure counts of the events that the playbook asks about.

The counts are the same for the same events in any order; days are whole UTC days, so a lead's weight is bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from services.scoring.reach import ConsentRule
from shared.expressions import Expression
from shared.wire import Event, EventHistory, Orders, encode

DAYS_KEPT = 400
_NEVER = EventHistory()


@dataclass(frozen=True, slots=True)
class OrderRule:
    """Which events are purchases, which give money back, and how much it is (an expression over `event`)."""

    bought: frozenset[str]
    returned: frozenset[str] = frozenset()
    amount: Expression | None = None

    @property
    def names(self) -> frozenset[str]:
        return self.bought | self.returned


@dataclass(frozen=True, slots=True)
class Noted:
    """What the playbook wants to be noted of a lead: the histories of these events, its orders, and by what it asks for mail."""

    histories: frozenset[str] = frozenset()
    orders: OrderRule | None = None
    consent: ConsentRule | None = None


def remember(histories: Mapping[str, EventHistory], event: Event, at: datetime) -> dict[str, EventHistory]:
    """The histories with one more event, which counts at `at`."""
    once = EventHistory(count=1, first_at=at, last_at=at, last=event.properties, days={at.astimezone(UTC).date().isoformat(): 1})
    return {**histories, event.name: _joined(histories.get(event.name, _NEVER), once)}


def join_histories(one: Mapping[str, EventHistory], other: Mapping[str, EventHistory]) -> dict[str, EventHistory]:
    """What two leads that are one person did, together."""
    return {name: _joined(one.get(name, _NEVER), other.get(name, _NEVER)) for name in sorted(one.keys() | other.keys())}


def purchase(orders: Orders, rule: OrderRule, event: Event, at: datetime) -> Orders:
    """The orders after a purchase or a refund; a refund takes its amount away and leaves the count."""
    amount = _amount(rule, event)
    if event.name in rule.returned:
        return Orders(count=orders.count, total=_money(orders.total - amount), last_at=orders.last_at)
    return join_orders(orders, Orders(count=1, total=amount, last_at=at))


def join_orders(one: Orders, other: Orders) -> Orders:
    """What two leads that are one person bought, together."""
    moments = [at for at in (one.last_at, other.last_at) if at is not None]
    return Orders(count=one.count + other.count, total=_money(one.total + other.total), last_at=max(moments, default=None))


def _joined(one: EventHistory, other: EventHistory) -> EventHistory:
    if one.last_at is None or other.last_at is None or one.first_at is None or other.first_at is None:
        return other if one.last_at is None else one
    ahead = other.last_at > one.last_at or (other.last_at == one.last_at and encode(other.last) > encode(one.last))
    days = dict(one.days)
    for day, count in other.days.items():
        days[day] = days.get(day, 0) + count
    return EventHistory(
        count=one.count + other.count,
        first_at=min(one.first_at, other.first_at),
        last_at=max(one.last_at, other.last_at),
        last=other.last if ahead else one.last,
        days=days if len(days) <= DAYS_KEPT else {day: days[day] for day in sorted(days)[-DAYS_KEPT:]},
    )


def _amount(rule: OrderRule, event: Event) -> float:
    """The amount of an order in its own currency; 0 where the event names none."""
    if rule.amount is None:
        return 0.0
    found: Any = rule.amount({"event": {"name": event.name, "properties": event.properties, "context": event.context, "at": event.at}})
    try:
        amount = float(found)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return _money(amount) if isfinite(amount) else 0.0


def _money(amount: float) -> float:
    """Rounded after each step, so that sums are the same in any order."""
    return round(amount, 6)
