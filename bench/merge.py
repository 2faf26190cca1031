"""A merge of two leads with 1,000 events each: one event that says who a device is, from its handling to the commit on disk."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlmodel import SQLModel

from bench.pairs import Figure
from bench.whole_way import PLAYBOOK
from services.scoring.consumer import Scoring
from services.scoring.rulebook import Rulebook
from shared import wire
from shared.clock import SystemClock
from shared.db import Database
from shared.erasing import Marks
from shared.log import Record
from shared.playbooks import Playbooks, read_folder
from shared.signing import Signer
from shared.work import Outbox

EVENTS, MERGES, MOST_MS = 1000, 30, 50.0
START = datetime(2027, 3, 1, tzinfo=UTC)


class _Nowhere:
    """A log that keeps nothing: what is published is another stage's time."""

    async def append(self, topic: str, records: object) -> None:
        return


def rows() -> Iterator[Figure]:
    milliseconds = sorted(asyncio.run(_merges()))
    note = f"median {statistics.median(milliseconds):.1f}, worst of {MERGES} {milliseconds[-1]:.1f}"
    yield Figure("a merge of leads with 1,000 events each, p95", milliseconds[int(MERGES * 0.95)], "ms", MOST_MS, note=note)


async def _merges() -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        database = Database(f"sqlite+aiosqlite:///{folder}/state.db")
        async with database.transaction() as connection:
            await connection.run_sync(SQLModel.metadata.create_all)
        playbooks = Playbooks(database, clock)
        await playbooks.publish(read_folder(PLAYBOOK))
        outbox = Outbox("scoring", database, _Nowhere(), clock)  # type: ignore[arg-type]
        scoring = Scoring(Rulebook(playbooks, {}), Marks(Signer(b"bench")))
        for number in range(MERGES):
            for ids in ({"user_id": f"u{number}"}, {"anonymous_id": f"d{number}"}):
                await _handle(outbox, scoring, [_viewed(number, index, ids) for index in range(EVENTS)])
        took = [await _timed(outbox, scoring, number) for number in range(MERGES)]
        await database.close()
    return took


async def _timed(outbox: Outbox, scoring: Scoring, number: int) -> float:
    at = START + timedelta(days=1)
    ids = {"user_id": f"u{number}", "anonymous_id": f"d{number}"}
    tie = wire.Event(id=f"tie{number}", type="identify", at=at, received_at=at, source="pk_bench", **ids)
    started = time.perf_counter()
    await _handle(outbox, scoring, [tie])
    return (time.perf_counter() - started) * 1000


async def _handle(outbox: Outbox, scoring: Scoring, events: list[wire.Event]) -> None:
    async with outbox.work() as work:
        await scoring.on_events(work, [Record("key", wire.encode(event), event.received_at) for event in events])


def _viewed(number: int, index: int, ids: dict[str, str]) -> wire.Event:
    at = START + timedelta(seconds=index)
    properties = {"path": "/pricing", "title": "Pricing", "url": "https://shop.example/pricing"}
    event_id = f"{number}.{index}.{next(iter(ids))}"
    return wire.Event(id=event_id, type="track", name="Page Viewed", at=at, received_at=at, source="pk_bench", properties=properties, **ids)
