"""A million leads at rest: what `dripline run` takes while each of them waits in a journey and nothing happens."""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.crowd import Copies, enrollment_ids, multiply
from bench.pairs import Figure
from bench.waking import MANY
from bench.whole_way import Sink, at_rest, one_mail, running

USER = "reader-0000000"
ENTERED = 1_700_000_000_000
"""When the first of them entered, in milliseconds since 1970; the others a second apart."""


def rows() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        _seed(Path(folder))
        _multiply(Path(folder) / "state.db")
        with running(Path(folder)) as (_, pid):
            yield from at_rest(pid, f"{MANY:,} leads at rest", 300)


def _seed(folder: Path) -> None:
    """One lead takes the e-book, gets its mail, and waits for thirty days."""
    sink = Sink()
    with running(folder, sink) as (url, _):
        one_mail(url, sink, f"{USER}@example.com", USER)
        while _first(folder / "state.db", "SELECT count(*) FROM journeys_enrollment WHERE wake_at IS NOT NULL") != 1:
            time.sleep(0.1)


def _multiply(state: Path) -> None:
    """The lead and its walk, in every service's tables; not its events and deliveries, which nothing at rest looks at."""
    lead, enrollment = _first(state, "SELECT id FROM scoring_lead"), _first(state, "SELECT id FROM journeys_enrollment")
    texts = {
        USER: "printf('reader-%07d', n)",
        lead: f"printf('%0{len(lead)}d', n)",
        enrollment: enrollment_ids(f"{ENTERED} + n * 1000", "n"),
    }
    later = "%s + n * 1000000"
    tables = [
        Copies("scoring_lead", texts, {"next_change_at": later % "next_change_at"}),
        Copies("scoring_identity", texts),
        Copies("journeys_lead", texts),
        Copies("journeys_enrollment", texts, {"wake_at": later % "wake_at"}),
        Copies("mailer_lead", texts),
    ]
    multiply(state, tables, MANY)
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("UPDATE scoring_renewal SET is_done = 1")  # the copies are what their rules make of them, as the seed is


def _first(state: Path, query: str) -> Any:
    with closing(sqlite3.connect(state)) as database:
        ((found,),) = database.execute(query)
    return found
