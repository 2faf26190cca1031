"""What will be done to the town, by a seed alone: nothing here looks at a clock or at what came of it, so that a seed replays."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.failpoints import FAILPOINTS

EVERYWHERE = ("kafka", "database", "outbox", "consumer")
"""Rooms of failpoints that every service with a consumer comes past; the others belong to the service they are named after."""
T = TypeVar("T")
ELSEWHERE = ("moving",)
"""Rooms that no served process comes past."""
CONSUMERS = ("ingest", "scoring", "journeys", "mailer")

FAULTS = (
    "halt",
    "broker",
    "kafka_away",
    "postgres_restart",
    "postgres_crash",
    "postgres_hangs_up",
    "mail_busy",
    "mail_slow",
    "mail_deaf",
    "mail_gone",
    "sales_failing",
    "sales_hanging",
    "clock_ahead",
    "clock_back",
    "poison",
)
"""Everything but kills; tests/chaos/faults.py does them."""


@dataclass(frozen=True)
class Kill:
    """kill -9 of a replica; where `then` names a failpoint, who is started in its place dies there, at that passing."""

    replica: str
    then: str = ""


@dataclass(frozen=True)
class Fault:
    """One of `FAULTS`, to a replica where it needs one; `seconds` is how long it lasts."""

    kind: str
    replica: str
    seconds: float


@dataclass(frozen=True)
class Step:
    """Wait, then do."""

    pause: float
    do: Kill | Fault


def failpoints() -> list[tuple[str, str]]:
    """Each failpoint with each service that comes past it."""
    found = []
    for name in FAILPOINTS:
        room = name.partition(".")[0]
        if room in ELSEWHERE:
            continue
        services = CONSUMERS if room in EVERYWHERE else ({"webhook": "mailer"}.get(room, room),)
        found += [(service, name) for service in services]
    return found


def plan(seed: int, replicas: Sequence[str], kills_between_faults: int, pace: float = 1.0) -> Iterator[Step]:
    """Kills without end, every other one leading to a failpoint, and now and then a fault. A deck is played out, then shuffled anew."""
    chance = random.Random(seed)
    faults, halted, victims, services = _deck(chance, FAULTS), _deck(chance, replicas), _deck(chance, replicas), _deck(chance, CONSUMERS)
    places = {service: _deck(chance, [name for one, name in failpoints() if one == service]) for service in CONSUMERS}
    number = 0
    while True:
        number += 1
        if number % (kills_between_faults + 1) == 0:
            yield Step(chance.uniform(0.5, 1.5) * pace, Fault(next(faults), next(halted), chance.uniform(4, 9)))
        elif number % 2:
            service = next(services)
            then = f"{next(places[service])}=kill@{chance.choice((1, 1, 1, 2, 3, 8))}"
            yield Step(chance.uniform(0.8, 3.2) * pace, Kill(chance.choice([name for name in replicas if name.startswith(service)]), then))
        else:
            yield Step(chance.uniform(0.8, 3.2) * pace, Kill(next(victims)))


def _deck(chance: random.Random, cards: Sequence[T]) -> Iterator[T]:
    while True:
        yield from chance.sample(list(cards), len(cards))
