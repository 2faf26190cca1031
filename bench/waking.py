"""Waking enrollments whose time has come, with few and with a million waiting, beside APScheduler's SQL job store firing jobs.

Lateness: from an enrollment's `wake_at` until the log has taken the message that its wake-up led to, which is after the transaction
(enrollment moved, visit written, message in the outbox) was committed and synced. The metronome beats as under `run`, on the real clock.
`DRIPLINE_BENCH_CROWD=50000` makes the crowd smaller for a quick look; 46,000 are used up.
"""

import asyncio
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import SQLModel

from bench.crowd import Copies, enrollment_ids, multiply
from bench.pairs import Figure, Row, paired
from services.journeys.main import build
from services.journeys.settings import JourneysSettings
from shared import wire
from shared.clock import Clock, SystemClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.instant import EPOCH, MICROSECOND
from shared.keys import KeyRing
from shared.playbooks import Playbooks, playbook_of
from shared.positions import StoredPositions
from shared.service import Ports
from shared.serving import relax_collector
from shared.signing import Signer

T = TypeVar("T")
MANY, FEW = int(os.environ.get("DRIPLINE_BENCH_CROWD", "1000000")), 10_000
RATE = 2_000
"""Enrollments that come due a second."""
SECONDS = 10
FEW_AT_ONCE = 2_000
"""Enrollments that are due at once when the cost of a wake is measured."""
MANY_AT_ONCE = 5_000
"""Enrollments, and jobs, that are due at once when the fire rate is measured."""
ROUNDS = 3
START_SECONDS = 2
LOOKS = 0.002
"""Seconds between two looks at how far it has come. What was published is read when all is over: reading it is no part of waking."""
LEAD = "lead-000000000"
APART = 7_368_787
"""A prime: the enrollments entered one after the other are of leads that lie apart, as in life."""
JOURNEY = b"""\
journey: waiting
trigger: {event: Seen}
goal: {event: Order Completed}
steps: [{id: pause, wait: 1h}, {id: hello, send: hello}, {wait: 30d}]
"""


@dataclass
class Woken:
    """What a run took: CPU seconds a wake, wakes a second, how late each was in seconds, and the share of a core that was busy."""

    cpu: float
    rate: float
    lateness: list[float]
    busy: float


def rows() -> Iterator[Row | Figure]:
    relax_collector()
    with tempfile.TemporaryDirectory() as folder:
        few, many = _crowd(Path(folder) / "few", FEW), _crowd(Path(folder) / "many", MANY)
        yield _lateness(_run(_steady(many)))
        yield _costs([(_run(_burst(few, FEW_AT_ONCE)).cpu, _run(_burst(many, FEW_AT_ONCE)).cpu) for _ in range(ROUNDS)])
        name = f"{MANY_AT_ONCE:,} wakes at once, of {MANY:,}"
        yield paired(name, lambda: _run(_burst(many, MANY_AT_ONCE)).rate, lambda: _apscheduler(MANY_AT_ONCE), "fired/s", 10.0, pairs=ROUNDS)


def _lateness(woken: Woken) -> Figure:
    late = sorted(seconds * 1000 for seconds in woken.lateness)
    note = f"p50 {late[len(late) // 2]:.1f}, longest {late[-1]:.0f}; {woken.busy:.0%} of a core"
    return Figure(f"{RATE:,} wakes a second, {MANY:,} waiting: p99", late[int(len(late) * 0.99)], "ms late", 50, note=note)


def _costs(rounds: list[tuple[float, float]]) -> Figure:
    few, many = (statistics.median(costs) * 1e6 for costs in zip(*rounds, strict=True))
    return Figure(f"CPU a wake, {MANY:,} waiting / {FEW:,}", many / few, "x", 1.5, note=f"{many:.0f} / {few:.0f} µs")


def _crowd(folder: Path, count: int) -> Path:
    """A database whose journeys hold `count` enrollments in a wait, none due for a month."""
    folder.mkdir()
    _run(_seed(folder))
    with closing(sqlite3.connect(folder / "state.db")) as database:
        ((enrollment, entered),) = database.execute("SELECT id, entered_at FROM journeys_enrollment")
    scattered = f"n * {APART} % {count}"
    entry = f"{entered - count * 1_000_000} + n * 1000000"  # one a second
    walk = {LEAD: f"printf('lead-%09d', {scattered})", enrollment: enrollment_ids(f"({entry}) / 1000", scattered)}
    far = f"{_micros(SystemClock().now() + timedelta(days=30))} + n * 1000000"
    tables = [
        Copies("journeys_lead", {LEAD: "printf('lead-%09d', n)"}),
        Copies("journeys_visit", walk),
        Copies("journeys_enrollment", walk, {"entry_at": entry, "entered_at": entry, "wake_at": far}),
    ]
    multiply(folder / "state.db", tables, count)
    return folder / "state.db"


async def _seed(folder: Path) -> None:
    """One lead that began the journey as leads do, by an activity; two hours ago, so that whenever it is woken its wait is over."""
    async with _journeys(folder, SystemClock(origin=SystemClock().now() - timedelta(hours=2))) as (ports, _):
        await ports.playbooks.publish(playbook_of({"journeys/waiting.yaml": JOURNEY, "playbook.yaml": b"name: Bench\n"}))
        await ports.log.append(wire.ACTIVITIES, [(LEAD, wire.encode(_activity(ports.clock.now())))])
        positions = StoredPositions(ports.database)
        while await positions.position("journeys", wire.ACTIVITIES, 0) != 1:
            await asyncio.sleep(0.01)


def _activity(now: datetime) -> wire.Activity:
    address = f"{LEAD}@example.com"
    consent = wire.Consent(marketing=True, address=address, source="shop", at=now)
    traits = {"name": "Ana Example", "plan": "pro", "employees": 70, "city": "Dublin"}
    lead = wire.Lead(id=LEAD, email=address, traits=traits, consent=consent, created_at=now, last_seen_at=now)
    event = wire.Event(
        id="e1",
        type="track",
        name="Seen",
        at=now,
        received_at=now,
        source="pk_bench",
        properties={"title": "The guide", "path": "/guide", "url": "https://shop.example/guide"},
        context={"library": {"name": "analytics.js", "version": "2.1.0"}, "locale": "en-IE", "timezone": "Europe/Dublin"},
    )
    return wire.Activity(sequence=1, event=event, lead=lead)


async def _steady(state: Path) -> Woken:
    """`RATE` enrollments come due each second for `SECONDS`, evenly, while the rest waits."""
    return await _wake(state, RATE * SECONDS, timedelta(seconds=1) / RATE)


async def _burst(state: Path, count: int) -> Woken:
    """All at the same moment."""
    return await _wake(state, count, timedelta())


def _make_due(state: Path, count: int, begins: datetime, apart: timedelta) -> dict[str, datetime]:
    """Set the wake-ups of the next `count` that still wait, in the order in which they entered; answers them by lead."""
    next_ones = f"SELECT id, lead_id FROM journeys_enrollment WHERE step = 'pause' ORDER BY rowid LIMIT {count}"
    with closing(sqlite3.connect(state)) as database, database:
        due = [(begins + place * apart, *found) for place, found in enumerate(database.execute(next_ones).fetchall())]
        database.executemany("UPDATE journeys_enrollment SET wake_at = ? WHERE id = ?", [(_micros(at), key) for at, key, _ in due])
    return {lead_id: at for at, _, lead_id in due}


async def _wake(state: Path, count: int, apart: timedelta) -> Woken:
    """Let enrollments come due while the service runs, until they were woken; what it takes to start is not counted."""
    begins = SystemClock().now() + timedelta(seconds=START_SECONDS)
    due = _make_due(state, count, begins, apart)
    async with _journeys(state.parent) as (_, log):
        before = _published(log)
        await asyncio.sleep((begins - SystemClock().now()).total_seconds())
        cpu, started = time.process_time(), time.perf_counter()
        while _published(log) < before + count:
            await asyncio.sleep(LOOKS)
        used, seconds = time.process_time() - cpu, time.perf_counter() - started
        messages = log.subscribe("bench", wire.MESSAGES, _From(before))
        late: list[float] = []
        while len(late) < count:
            late += [(record.at - due[record.key]).total_seconds() for record in (await messages.next(10_000)).records]
        await messages.close()
    return Woken(used / count, count / seconds, late, used / seconds)


class _From:
    """A reader that begins at a position which it was told."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    async def position(self, group: str, topic: str, partition: int) -> int:
        return self._offset


@asynccontextmanager
async def _journeys(folder: Path, clock: Clock | None = None) -> AsyncIterator[tuple[Ports, EmbeddedLog]]:
    """The service with its loops on the embedded log, as `run` starts it."""
    clock = clock or SystemClock()
    database = Database(f"sqlite+aiosqlite:///{folder}/state.db", sole=True)
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    log = EmbeddedLog(folder / "log", clock)
    ports = Ports(log, database, clock, KeyRing(database, clock), Playbooks(database, clock), Signer(b"bench"))
    tasks = [asyncio.create_task(loop()) for loop in build(JourneysSettings(), ports).loops]  # type: ignore[arg-type]
    try:
        yield ports, log
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await log.close()
        await database.close()


def _published(log: EmbeddedLog) -> int:
    """How many messages are on the log."""
    return log.ends().get((wire.MESSAGES, 0), 0)


def _run(what: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(what)


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


# The floor.

_fired = threading.Semaphore(0)


def _fire() -> None:
    _fired.release()


def _apscheduler(count: int) -> float:
    """Jobs a second that a scheduler with an SQL job store fires, all due at once: set up as its manual says, with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLAlchemyJobStore(url=f"sqlite:///{folder}/jobs.sqlite")
        scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
        scheduler.start(paused=True)
        due = SystemClock().now() + timedelta(seconds=1)
        for _ in range(count):
            scheduler.add_job(_fire, "date", run_date=due, misfire_grace_time=None)
        while SystemClock().now() < due:
            time.sleep(0.01)
        started = time.perf_counter()
        scheduler.resume()
        for _ in range(count):
            _fired.acquire()
        seconds = time.perf_counter() - started
        scheduler.shutdown()
    return count / seconds
