"""A mailer on a real SQLite file, taken apart: its clock, its relay and its endpoints do what the test says."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from services.mailer.confirmations import Confirmations
from services.mailer.consumer import Arrivals, on_activities
from services.mailer.editions import Editions
from services.mailer.handoff_desk import HandoffDesk
from services.mailer.links import Links
from services.mailer.main import build_scheduler, create_app
from services.mailer.readers import LedgerReaders
from services.mailer.tables import DELIVERIES
from services.mailer.transport import MailTransport
from shared import wire
from shared.clock import FakeClock
from shared.db import Database
from shared.erasing import Marks
from shared.keys import ROLES, Key, KeyRing
from shared.log import Record
from shared.playbooks import Playbooks, playbook_of
from shared.service import Ports
from shared.signing import Signer
from shared.work import Outbox
from tests.builders import A_PLAYBOOK_YAML, A_SECRET, NOON, a_lead, a_send, a_template, an_activity
from tests.databases import database_url, make_tables
from tests.fakes import FakeRelay, FakeWebhooks, RecordingLog

YAML = f"""{A_PLAYBOOK_YAML.replace("locale: en", "locale: en, in_doubt: {marketing: hold, transactional: retry}")}\
endpoints:
  sales: {{url: "https://sales.example/hot", secret: {A_SECRET}}}
  slow: {{url: "https://slow.example/hot", secret: {A_SECRET}}}
"""
CONSENT = wire.Consent(marketing=True, address="ana@example.com", source="test", at=NOON)


class House:
    """A mailer, taken apart: what comes in is handed to it, its scheduler is ticked by hand."""

    def __init__(self, folder: Path, relay: MailTransport | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock(NOON)
        self.log = RecordingLog()
        self.database = Database(database_url(folder))
        fixed = [(f"sk_{role}", Key(f"sk_{role}", "secret", role, role)) for role in ROLES]
        keys = KeyRing(self.database, self.clock, fixed)
        self.playbooks = Playbooks(self.database, self.clock)
        self.ports = Ports(self.log, self.database, self.clock, keys, self.playbooks, Signer(b"secret"))
        self.outbox = Outbox("mailer", self.database, self.log, self.clock)
        self.editions = Editions(self.playbooks, {})
        self.links = Links(self.ports.signer, "https://mail.example")
        self.readers = LedgerReaders(self.outbox, self.database, self.editions)
        self.desk = HandoffDesk(self.outbox, self.database, self.editions, self.links.respond_url)
        self.relay: Any = relay or FakeRelay()
        self.webhooks = FakeWebhooks()
        self.scheduler = self.new_scheduler()
        self.version = ""
        self.books_balance = True  # a test that cooks the books says so

    async def open(self) -> None:
        """Make the tables, publish the playbook."""
        async with self.database.transaction() as connection:
            await make_tables(connection)
        await self.ports.keys.reload()
        self.version = await self.publish()

    def new_scheduler(self, *, alone: bool = False, relay: MailTransport | None = None) -> Any:
        return build_scheduler(self.ports, self.outbox, self.editions, self.links, relay or self.relay, self.webhooks, alone=alone)

    async def publish(self, files: dict[str, bytes] | None = None, yaml: str = YAML) -> str:
        self.clock.advance(timedelta(microseconds=1))
        templates = {f"templates/{name}": content for name, content in (files or {"welcome-1.html": a_template()}).items()}
        playbook = playbook_of({"playbook.yaml": yaml.encode(), **templates})
        await self.playbooks.publish(playbook)
        return playbook.version

    async def know(self, *leads: wire.Lead, sequence: int = 1, **overrides: Any) -> None:
        """Activities of these leads arrive."""
        await self.activities(*(an_activity(lead=lead, sequence=sequence, **overrides) for lead in leads))

    async def activities(self, *activities: wire.Activity) -> None:
        records = [Record(activity.lead.id, wire.encode(activity), self.clock.now()) for activity in activities]
        async with self.outbox.work() as work:
            await on_activities(work, records, Marks(self.ports.signer), Confirmations(self.editions))

    async def receive(self, *messages: wire.Message) -> None:
        records = [Record(message.lead_id, wire.encode(message), self.clock.now()) for message in messages]
        async with self.outbox.work() as work:
            await Arrivals(self.desk).on_messages(work, records)

    def a_send(self, number: int = 1, **overrides: Any) -> wire.Send:
        return a_send(**({"id": f"m{number}", "version": self.version, "enrollment_id": f"e{number}", "transition": 1} | overrides))

    def a_handoff(self, number: int = 1, endpoint: str = "sales", **overrides: Any) -> wire.Send:
        return self.a_send(number, **{"kind": "handoff", "template": "", "endpoint": endpoint, "lead": a_lead(readiness=9)} | overrides)

    async def tick(self, scheduler: Any = None) -> datetime | None:
        """One beat, and whatever it set going comes to its end."""
        beaten = scheduler or self.scheduler
        due = await beaten.tick(self.clock.now())
        await beaten.idle()
        return due

    async def go_on(self, **by: float) -> None:
        """Time passes in one step, then what is due is done."""
        self.clock.advance(timedelta(**by))
        await self.tick()

    async def row(self, delivery_id: str = "m1") -> Any:
        async with self.database.reading() as connection:
            return (await connection.execute(select(DELIVERIES).where(DELIVERIES.c.id == delivery_id))).one()

    async def statuses(self) -> dict[str, str]:
        async with self.database.reading() as connection:
            return {row.id: row.status for row in await connection.execute(select(DELIVERIES).order_by(DELIVERIES.c.id))}

    def told(self) -> list[str]:
        """The names of the events told so far."""
        return [event.name for event in self.log.events]

    def api(self) -> httpx.AsyncClient:
        app = create_app(self.ports, self.outbox, self.editions, self.links, lambda: None)
        headers = {"Authorization": "Bearer sk_admin"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://mailer", headers=headers)

    async def audit(self) -> None:
        """The books must balance, whatever happened."""
        async with self.api() as client:
            checks = (await client.get("/api/audit")).json()["checks"]
        assert [check for check in checks if not check["ok"]] == []
