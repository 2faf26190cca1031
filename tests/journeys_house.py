"""Journeys on a real SQLite file, taken apart: activities are handed to it, its scheduler is ticked by hand; it may be killed any time."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import Table, delete, select, update

from services.journeys import main, store
from services.journeys.catalogue import Catalogue
from services.journeys.consumer import ActivityHandler
from services.journeys.engine import TimeCame
from services.journeys.hold import Hold
from services.journeys.scheduler import Scheduler
from services.journeys.settings import JourneysSettings
from services.journeys.tables import ENROLLMENTS, VISITS
from shared import wire
from shared.clock import FakeClock
from shared.db import Database
from shared.durations import parse_duration
from shared.erasing import Marks
from shared.keys import ROLES, Key, KeyRing
from shared.log import Record
from shared.playbooks import Playbooks, playbook_of
from shared.service import Ports
from shared.signing import Signer
from shared.tables import PlaybookRow
from shared.work import Outbox
from tests.builders import NOON, a_lead
from tests.databases import database_url, make_tables
from tests.fakes import RecordingLog


class House:
    """Journeys, taken apart. `restart` forgets all that lies in memory, as a kill does."""

    def __init__(self, folder: Path, *texts: str) -> None:
        self.clock = FakeClock(NOON)
        self.books_balance = True  # a test that cooks the books says so
        self.log = RecordingLog()
        self.texts = texts
        self.url = database_url(folder)
        self.sequences: dict[str, int] = {}
        self.events_since: datetime | None = None  # since when an event waits for scoring
        self.backlog_since: datetime | None = None  # since when an activity waits for journeys
        self.build()

    def build(self) -> None:
        self.database = Database(self.url)
        self.playbooks = Playbooks(self.database, self.clock)
        keys = KeyRing(self.database, self.clock, [(f"sk_{role}", Key(f"sk_{role}", "secret", role, role)) for role in ROLES])
        self.ports = Ports(self.log, self.database, self.clock, keys, self.playbooks, Signer(b"secret"))
        self.outbox = Outbox("journeys", self.database, self.log, self.clock)
        catalogue = Catalogue(self.playbooks)
        self.handler = ActivityHandler(catalogue, Marks(self.ports.signer))
        self.scheduler = Scheduler(self.database, self.outbox, catalogue, Hold(lambda: self.events_since, lambda: self.backlog_since))

    async def open(self) -> None:
        """Make the tables and publish the journeys."""
        async with self.database.transaction() as connection:
            await make_tables(connection)
        await self.ports.keys.reload()
        await self.publish(*self.texts)

    async def restart(self) -> None:
        await self.database.close()
        self.build()
        await self.ports.keys.reload()

    async def publish(self, *texts: str) -> str:
        """Publish these journeys as the newest playbook; its version."""
        self.passes("1s")
        playbook = playbook_of({f"journeys/{text.split('journey:')[1].split()[0]}.yaml": text.encode() for text in texts})
        await self.playbooks.publish(playbook)
        return playbook.version

    def an_activity(self, name: str, *, lead: wire.Lead | None = None, ago: str = "0s", **properties: Any) -> wire.Activity:
        """The lead's next activity."""
        lead = lead or a_lead()
        sequence = self.sequences[lead.id] = self.sequences.get(lead.id, 0) + 1
        event = wire.Event(
            id=f"{lead.id}.{sequence}",
            type="track",
            name=name,
            at=self.clock.now() - parse_duration(ago),
            received_at=self.clock.now(),
            source=wire.OURSELVES if name.startswith(("Email", "Readiness", "Lead", "Handoff")) else "pk_test",
            properties=properties,
        )
        return wire.Activity(sequence=sequence, event=event, lead=lead)

    async def handle(self, *activities: wire.Activity) -> None:
        """A batch of activities, in one transaction."""
        records = [Record(activity.lead.id, wire.encode(activity), self.clock.now()) for activity in activities]
        async with self.outbox.work() as work:
            await self.handler.handle(work, records)

    async def happens(self, name: str, **more: Any) -> wire.Activity:
        activity = self.an_activity(name, **more)
        await self.handle(activity)
        return activity

    async def merge(self, survivor: str, other: str) -> None:
        """Two leads become one."""
        await self.handle(wire.replace(self.an_activity("Lead Merged", lead=a_lead(id=survivor)), merged_from=other))

    async def settles(self, name: str = "Email Sent", **properties: Any) -> None:
        """The mailer says how the newest mail went."""
        send = self.sends[-1]
        await self.happens(name, lead=a_lead(id=send.lead_id), enrollment_id=send.enrollment_id, transition=send.transition, **properties)

    def passes(self, duration: str) -> None:
        self.clock.advance(parse_duration(duration))

    async def tick(self) -> datetime | None:
        return await self.scheduler.tick(self.clock.now())

    @property
    def messages(self) -> list[wire.Message]:
        return [wire.decode_message(value) for _, value in self.log.topics.get(wire.MESSAGES, [])]

    @property
    def sends(self) -> list[wire.Send]:
        return [message for message in self.messages if isinstance(message, wire.Send)]

    @property
    def sent(self) -> list[str]:
        return [send.template or send.endpoint for send in self.sends]

    async def tick_against_another(self) -> None:
        """A tick whose work another replica does first: its save comes too late."""
        async with self.outbox.work() as work:
            controls = await store.load_controls(work.conn)
            in_force = await Catalogue(self.playbooks).in_force(controls)
            dossiers = await store.load_dossiers(work.conn, ["l1"], work.now)
            await work.conn.execute(update(ENROLLMENTS).values(transition=ENROLLMENTS.c.transition + 1))
            (dossier,) = dossiers.values()
            effects = [
                effect
                for enrollment in list(dossier.open.values())
                for journey in [in_force.find(enrollment.version, enrollment.journey)]
                if journey
                for effect in dossier.move(journey, enrollment, TimeCame(), work.now)
            ]
            await store.save(work, [dossier], effects)

    async def misplace(self, key: str, step: str) -> None:
        """As if a bug had put a walk at another step."""
        async with self.database.transaction() as connection:
            await connection.execute(update(ENROLLMENTS).where(ENROLLMENTS.c.key == key).values(step=step))

    async def break_published(self) -> None:
        """What was published so far can no longer be read."""
        async with self.database.transaction() as connection:
            await connection.execute(update(PlaybookRow).values(files=msgspec.msgpack.encode({"journeys/cart.yaml": b"journey: ["})))

    async def withdraw_playbooks(self) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(delete(PlaybookRow))

    async def chore(self, name: str) -> None:
        (found,) = [chore for chore in main.build(JourneysSettings(), self.ports).chores if chore.name == name]
        await found.do()

    async def rows(self, table: Table) -> Sequence[Any]:
        async with self.database.reading() as connection:
            return (await connection.execute(select(table))).all()

    async def enrollments(self) -> Sequence[Any]:
        return await self.rows(ENROLLMENTS)

    async def visits(self) -> list[tuple[str, str, str]]:
        async with self.database.reading() as connection:
            found = await connection.execute(
                select(VISITS.c.step, VISITS.c.outcome, VISITS.c.reason).order_by(VISITS.c.at, VISITS.c.transition)
            )
            return [tuple(row) for row in found]

    def api(self, role: str = "admin") -> httpx.AsyncClient:
        app = main.build(JourneysSettings(), self.ports).app
        headers = {"Authorization": f"Bearer sk_{role}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://journeys", headers=headers)

    async def get(self, path: str, **params: Any) -> Any:
        async with self.api() as client:
            answer = await client.get(path, params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def post(self, path: str, body: Any = None, role: str = "admin", **headers: str) -> tuple[int, Any]:
        async with self.api(role) as client:
            answer = await client.post(path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
            return answer.status_code, answer.json()

    async def audit(self) -> None:
        """The books must balance, whatever happened."""
        assert [check for check in (await self.get("/api/audit"))["checks"] if not check["ok"]] == []
