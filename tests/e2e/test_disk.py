"""A full disk: ingest says 503 instead of yes, the stages hold, and when there is room again all goes on by itself."""

import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from shared.wire import OURSELVES, decode_event
from tests.e2e.house import House, until


@contextmanager
def small_file_system(house: House) -> Iterator[None]:
    """The data folder on a file system of 48 MiB: a little more than has to be free for the house to call itself ready."""
    house.data.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", house.data], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"only root can mount a small file system: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        house.close()
        subprocess.run(["umount", house.data], check=True)


@contextmanager
def ballast(house: House) -> Iterator[None]:
    """Nothing more fits on the file system."""
    heavy = house.data / "ballast"
    with heavy.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    heavy.unlink()


@contextmanager
def short_files(house: House) -> Iterator[None]:
    """No file of the process may grow beyond 4 KiB: what works everywhere, and fails as a full quota does."""
    limits = resource.prlimit(house.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(house.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.prlimit(house.pid, resource.RLIMIT_FSIZE, limits)


def recorded(house: House) -> list[str]:
    with closing(sqlite3.connect(house.data / "state.db")) as database:
        events = [decode_event(row[0]) for row in database.execute("SELECT event FROM scoring_event")]
    return [event.message_id for event in events if event.source != OURSELVES]


class Poster:
    """Posts numbered events and remembers those that were answered with 200."""

    def __init__(self, house: House) -> None:
        self.accepted: set[str] = set()
        self._house = house
        self._numbers = count()

    def post(self) -> int:
        message_id = f"m{next(self._numbers)}"
        properties = {"path": "/pricing", "text": "x" * 2000}
        body = {"userId": "ana", "event": "Page Viewed", "messageId": message_id, "properties": properties}
        answer = self._house.track("track", body)
        if answer.status_code == 200:
            self.accepted.add(message_id)
        else:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status_code


def keeps_its_word(house: House, full: Callable[[House], AbstractContextManager[None]]) -> None:
    poster = Poster(house)
    assert [poster.post() for _ in range(5)] == [200] * 5
    with full(house):
        answers = [poster.post() for _ in range(100)]
        assert answers[-20:] == [503] * 20
        assert set(answers) <= {200, 503}
        assert house.http.get(f"{house.url}/healthz").status_code == 200
        assert house.http.get(f"{house.url}/readyz").status_code == 503
    until(lambda: poster.post() == 200)
    house.reader("bea")
    house.event("bea", "Ebook Downloaded")
    until(lambda: poster.accepted <= set(recorded(house)))
    assert len(recorded(house)) == len(set(recorded(house)))
    assert until(lambda: house.mails("bea"))
    assert house.get("/api/audit")["ok"]
    assert house.stop() == 0


def test_on_a_small_file_system(tmp_path: Path):
    house = House(tmp_path)
    with small_file_system(house):
        house.start()
        keeps_its_word(house, ballast)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit is Linux's")
def test_where_no_file_may_grow(tmp_path: Path):
    house = House(tmp_path)
    try:
        house.start()
        keeps_its_word(house, short_files)
    finally:
        house.close()
