"""`dripline audit` on a house full of leads who were mailed and wait: how long it takes on SQLite and on PostgreSQL."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from bench.crowd import Copies, multiply
from bench.pairs import Figure
from bench.resting import USER
from bench.whole_way import Sink, one_mail, running
from deploy.servers import Postgres
from dripline.data_folder import DataFolder
from dripline.embedded import House, build_house
from dripline.migrate import every_table, migrate
from dripline.moving_tables import copy_tables, tables_of
from dripline.settings import RunSettings
from shared.db import Database

LEADS = 300_000
TARGET_SECONDS = 10


def rows() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as servers:
        house = Path(folder)
        _seed(house)
        _multiply(house / "state.db")
        yield _figure("SQLite", house, None)
        server = Postgres(Path(servers), durable=False)
        server.start()
        try:
            migrate(server.url())
            asyncio.run(_fill(house / "state.db", server.url()))
            yield _figure("PostgreSQL", house, server.url())
        finally:
            server.stop()


def _figure(name: str, folder: Path, url: str | None) -> Figure:
    """The slowest of three; a check that does not hold ends the measurement."""
    with closing(sqlite3.connect(folder / "state.db")) as database:
        tables = ("scoring_lead", "scoring_event", "journeys_enrollment", "journeys_visit", "mailer_delivery")
        count = sum(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    seconds = [asyncio.run(_audit(folder, url)) for _ in range(3)]
    note = ", ".join(f"{one:.1f}" for one in seconds)
    return Figure(f"audit, {name}, {count / 1e6:.1f} million rows: slowest", max(seconds), "s", TARGET_SECONDS, note=note)


async def _audit(path: Path, url: str | None) -> float:
    folder = DataFolder(path)
    with folder.locked():
        house = build_house(folder, RunSettings(), "http://dripline", "unused")
        if url is not None:
            _stand_on(house, Database(url))
        try:
            await house.ports.keys.reload()
            began = time.perf_counter()
            found = await _asked(house)
            took = time.perf_counter() - began
        finally:
            await house.ports.database.close()
            await house.close()
    broken = [check for check in found["checks"] if not check["ok"]]
    if broken:
        raise AssertionError(f"the audit does not hold: {broken[:3]}")
    return took


def _stand_on(house: House, database: Database) -> None:
    """The same services, on the other database: they look it up in their ports each time they read."""
    object.__setattr__(house.ports, "database", database)


async def _asked(house: House) -> Any:
    transport = httpx.ASGITransport(app=house.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://dripline", timeout=300) as client:
        answer = await client.get("/api/audit", headers={"Authorization": f"Bearer {house.api_key}"})
    answer.raise_for_status()
    return answer.json()


async def _fill(state: Path, url: str) -> None:
    target = await asyncpg.connect(url.replace("+asyncpg", ""))
    await copy_tables(state, target, tables_of(dict(every_table().tables)), lambda *_: None)
    await target.execute("VACUUM ANALYZE")
    await target.close()


def _seed(folder: Path) -> None:
    """One lead takes the e-book, gets its mail, and waits for thirty days."""
    sink = Sink()
    with running(folder, sink) as (url, _):
        one_mail(url, sink, f"{USER}@example.com", USER)
        while not _one(folder / "state.db", "SELECT count(*) FROM journeys_enrollment WHERE wake_at IS NOT NULL"):
            time.sleep(0.1)


def _multiply(state: Path) -> None:
    """The lead with all that it did and got, in every service's tables."""
    first = partial(_one, state)
    lead, enrollment = first("SELECT id FROM scoring_lead"), first("SELECT id FROM journeys_enrollment")
    texts = {
        USER: "printf('reader-%07d', n)",
        lead: f"printf('%0{len(lead)}d', n)",
        enrollment: "printf('00000000-0000-8000-8000-%012d', n)",
    }
    own = "CASE WHEN %s IS NULL THEN NULL ELSE printf('%%s-%%07d', %s, n) END"
    named = {column: own % (column, column) for column in ("id", "message_id")}
    later = "%s + n * 1000000"
    tables = [
        Copies("scoring_lead", texts, {"next_change_at": later % "next_change_at"}),
        Copies("scoring_identity", texts),
        Copies("scoring_event", texts, {"id": named["id"]}),
        Copies("journeys_lead", texts),
        Copies("journeys_enrollment", texts, {"wake_at": later % "wake_at"}),
        Copies("journeys_visit", texts, {"message_id": named["message_id"]}),
        Copies("mailer_lead", texts),
        Copies("mailer_delivery", texts, named),
    ]
    multiply(state, tables, LEADS)
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("UPDATE scoring_renewal SET is_done = 1")
        database.execute("DELETE FROM shared_outbox")  # the seed's last blobs lie in its log
        database.execute("UPDATE mailer_received SET count = count * ?", (LEADS,))


def _one(state: Path, query: str) -> Any:
    with closing(sqlite3.connect(state)) as database:
        ((found,),) = database.execute(query)
    return found
