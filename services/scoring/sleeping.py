"""Who sleeps: a lead that did something at least once, and not for as long as the playbook calls silence. Pure.

event ──roused──► when it was last done ──is_asleep, falls_asleep_at──► `Lead Asleep`, found by the sweep
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class SleepRule:
    """`sleeping` of readiness.yaml: which events keep a lead awake, and how long it may go without one."""

    events: frozenset[str]
    silent_for: timedelta


def roused(last: datetime | None, at: datetime | None) -> datetime | None:
    """When a lead last did it, of two moments: the same whatever the order in which they are told."""
    if last is None or at is None:
        return last or at
    return max(last, at)


def falls_asleep_at(rule: SleepRule | None, roused_at: datetime | None) -> datetime | None:
    """When a lead that does nothing more falls asleep; None where it never will: who never did it does not sleep."""
    return None if rule is None or roused_at is None else roused_at + rule.silent_for


def is_asleep(rule: SleepRule | None, roused_at: datetime | None, now: datetime) -> bool:
    """Whether the silence has lasted long enough."""
    moment = falls_asleep_at(rule, roused_at)
    return moment is not None and moment <= now
