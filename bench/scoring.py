"""Scoring with its transaction (event, lead, outbox, position), beside a plain loop that stores each event and upserts one row each."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import SQLModel

from bench.pairs import Row, paired
from bench.whole_way import PLAYBOOK
from services.scoring.main import build
from services.scoring.settings import ScoringSettings
from shared import wire
from shared.clock import SystemClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.keys import KeyRing
from shared.playbooks import Playbooks, read_folder
from shared.positions import StoredPositions
from shared.service import Ports
from shared.serving import relax_collector
from shared.signing import Signer

EVENTS, LEADS, BATCH = 20_000, 5_000, 500
START = datetime(2027, 3, 1, tzinfo=UTC)


def rows() -> Iterator[Row]:
    values = [made_event(number) for number in range(EVENTS)]
    relax_collector()  # as `run` does at its start; the floor gains as well
    yield paired("scoring with its transaction", lambda: asyncio.run(_ours(values)), lambda: _plain(values), "events/s", 0.5)


def made_event(number: int) -> tuple[str, bytes]:
    lead = f"lead-{number * 7919 % LEADS}"
    at = START + timedelta(seconds=number)
    name = ("Page Viewed", "Page Viewed", "Page Viewed", "Ebook Downloaded", "Link Clicked")[number % 5]
    properties = {"path": "/pricing", "title": "Pricing", "url": "https://shop.example/pricing", "paid": number % 3 == 0}
    context = {"library": {"name": "analytics.js", "version": "2.1.0"}, "locale": "en-IE", "timezone": "Europe/Dublin"}
    event = wire.Event(
        id=f"{number:032x}",
        type="track",
        name=name,
        at=at,
        received_at=at,
        source="pk_bench",
        anonymous_id=lead,
        properties=properties,
        context=context,
    )
    return lead, wire.encode(event)


async def _ours(values: Sequence[tuple[str, bytes]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        database = Database(f"sqlite+aiosqlite:///{folder}/state.db")
        async with database.transaction() as connection:
            await connection.run_sync(SQLModel.metadata.create_all)
        log = EmbeddedLog(Path(folder) / "log", clock)
        ports = Ports(log, database, clock, KeyRing(database, clock), Playbooks(database, clock), Signer(b"bench"))
        await ports.playbooks.publish(read_folder(PLAYBOOK))
        for first in range(0, len(values), BATCH):
            await log.append(wire.EVENTS, values[first : first + BATCH])
        service = build(ScoringSettings(), ports)
        started = time.perf_counter()
        running = [asyncio.create_task(loop()) for loop in service.loops]  # type: ignore[arg-type]
        positions = StoredPositions(database)
        while await positions.position("scoring", wire.EVENTS, 0) != len(values):
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - started
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await log.close()
        await database.close()
    return len(values) / seconds


def _plain(values: Sequence[tuple[str, bytes]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(f"{folder}/state.db", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE event (id TEXT PRIMARY KEY, lead TEXT, name TEXT, at TEXT, body BLOB)")
        database.execute("CREATE TABLE lead (id TEXT PRIMARY KEY, score REAL, at TEXT)")
        started = time.perf_counter()
        for first in range(0, len(values), BATCH):
            _store(database, values[first : first + BATCH])
        seconds = time.perf_counter() - started
        database.close()
    return len(values) / seconds


def _store(database: sqlite3.Connection, values: Sequence[tuple[str, bytes]]) -> None:
    events = [(wire.decode_event(value), value) for _, value in values]
    database.execute("BEGIN IMMEDIATE")
    stored = [(event.id, event.anonymous_id, event.name, event.at.isoformat(), value) for event, value in events]
    database.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", stored)
    scored = [(event.anonymous_id, event.at.isoformat()) for event, _ in events]
    upsert = "INSERT INTO lead VALUES (?, 1, ?) ON CONFLICT (id) DO UPDATE SET score = score + 1, at = excluded.at"
    database.executemany(upsert, scored)
    database.execute("COMMIT")
