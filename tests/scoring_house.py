"""Scoring on a real SQLite file with a log that only records: events go in by hand, time moves by hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

import services.scoring.tables
import shared.tables
from services.scoring.consumer import Scoring
from services.scoring.main import build
from services.scoring.renewal import Renewal
from services.scoring.rulebook import Rulebook
from services.scoring.scheduler import Sweep
from services.scoring.settings import ScoringSettings
from shared import wire
from shared.clock import FakeClock
from shared.db import Database
from shared.erasing import Marks
from shared.keys import Key, KeyRing
from shared.log import Record
from shared.playbooks import Playbooks, playbook_of
from shared.service import Ports
from shared.signing import Signer
from shared.work import Outbox
from tests.builders import A_READINESS_YAML, NOON
from tests.databases import database_url, make_tables
from tests.fakes import RecordingLog

TABLES = (services.scoring.tables, shared.tables)
KEYS = [
    ("sk_admin", Key("sk_admin", "secret", "admin", "tests")),
    ("sk_viewer", Key("sk_viewer", "secret", "viewer", "tests")),
    ("pk_write", Key("pk_write", "write", None, "tests")),
]


class House:
    """One scoring service; a second one on the same file stands for a second replica."""

    def __init__(self, folder: Path, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock(NOON)
        self.books_balance = True  # a test that cooks the books says so
        self.database = Database(database_url(folder))
        self.log = RecordingLog()
        self.ports = Ports(
            self.log,
            self.database,
            self.clock,
            KeyRing(self.database, self.clock, KEYS),
            Playbooks(self.database, self.clock),
            Signer(b"secret of the tests"),
        )
        self.outbox = Outbox("scoring", self.database, self.log, self.clock)
        rulebook = Rulebook(self.ports.playbooks, {})
        self._scoring = Scoring(rulebook, Marks(self.ports.signer))
        self._sweep = Sweep(self.database, self.outbox, rulebook)
        self.renewal = Renewal(self.database, self.outbox, rulebook)
        app = build(ScoringSettings(), self.ports, {}).app
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://scoring", headers={"Authorization": "Bearer sk_admin"}
        )

    async def open(self, readiness: str = A_READINESS_YAML, playbook: str = "name: Starter\n") -> None:
        """Make the tables and publish a playbook."""
        async with self.database.transaction() as connection:
            await make_tables(connection)
        await self.publish(readiness, playbook)
        await self.ports.keys.reload()

    async def publish(self, readiness: str, playbook: str = "name: Starter\n") -> None:
        await self.ports.playbooks.publish(playbook_of({"readiness.yaml": readiness.encode(), "playbook.yaml": playbook.encode()}))

    async def change_rules(self, readiness: str, playbook: str = "name: Starter\n") -> None:
        """Publish another playbook a second later: of two published at one moment neither is the newest."""
        self.clock.advance(timedelta(seconds=1))
        await self.publish(readiness, playbook)

    async def renew(self) -> None:
        """Let the background work after a change of rules come to its end."""
        while (due := await self.renewal.step(self.clock.now())) is not None:
            self.clock.advance(max(due - self.clock.now(), timedelta(0)))

    async def close(self) -> None:
        await self.client.aclose()
        await self.database.close()

    async def handle(self, *events: wire.Event) -> None:
        """One batch, in one transaction."""
        await self.handle_raw([wire.encode(event) for event in events])

    async def handle_raw(self, values: Sequence[bytes]) -> None:
        async with self.outbox.work() as work:
            await self._scoring.on_events(work, [Record("key", value, self.clock.now()) for value in values])

    async def sweep(self, now: datetime) -> datetime | None:
        return await self._sweep.tick(now)

    async def pass_time(self, by: timedelta) -> None:
        """Let the time pass, each sweep at its moment."""
        end = self.clock.now() + by
        due = await self.sweep(self.clock.now())
        while due is not None and due <= end:
            self.clock.advance(due - self.clock.now())
            due = await self.sweep(self.clock.now())
        self.clock.advance(end - self.clock.now())

    @property
    def activities(self) -> list[wire.Activity]:
        return [wire.decode_activity(value) for _, value in self.log.topics.get(wire.ACTIVITIES, [])]

    async def get(self, path: str, expected: int = 200, **params: Any) -> Any:
        answer = await self.client.get(path, params=params)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def patch(self, lead_id: str, expected: int = 200, **change: Any) -> Any:
        answer = await self.client.patch(f"/api/leads/{lead_id}", json=change)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def lead(self, user_id: str = "u1") -> Any:
        """The whole lead of a user."""
        (found,) = (await self.get("/api/leads", user_id=user_id))["items"]
        return await self.get(f"/api/leads/{found['id']}")

    async def audit(self) -> None:
        """The books must balance."""
        checks = (await self.get("/api/audit"))["checks"]
        assert [check for check in checks if not check["ok"]] == []
