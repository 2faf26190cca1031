"""What a service is built from and what it is once built."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.clock import Clock
from shared.db import Database
from shared.housekeeping import Chore
from shared.keys import KeyRing
from shared.log import Log
from shared.playbooks import Playbooks
from shared.signing import Signer

Loop = Callable[[], Awaitable[None]]
"""Something that runs until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What every service stands on; `run`, `serve` and the tests pass different ones."""

    log: Log
    database: Database
    clock: Clock
    keys: KeyRing
    playbooks: Playbooks
    signer: Signer


@dataclass(frozen=True, slots=True)
class Service:
    """One service, built but not started: its HTTP face, the loops that do its work, its chores."""

    name: str
    app: Any  # an ASGI application
    loops: Sequence[Loop] = ()
    chores: Sequence[Chore] = ()
