"""Published playbooks: read from disk, named by their content, the last published in force."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import FakeClock
from shared.db import Database
from shared.errors import ConfigurationError
from shared.playbooks import LARGEST_FILE, Playbooks, playbook_of, read_folder
from tests.databases import database_url, make_tables

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
ONE = playbook_of({"playbook.yaml": b"name: One\n"})
TWO = playbook_of({"playbook.yaml": b"name: Two\n"})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
async def playbooks(tmp_path: Path, clock: FakeClock, database_kind: str) -> AsyncIterator[Playbooks]:
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await make_tables(connection)
    yield Playbooks(database, clock)
    await database.close()


def a_folder(path: Path, **files: str) -> Path:
    for name, content in ({"playbook_yaml": "name: Starter\n"} | files).items():
        file = path / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


async def test_before_the_first_there_is_none(playbooks: Playbooks):
    with pytest.raises(ConfigurationError, match="no playbook was published yet"):
        await playbooks.newest()
    with pytest.raises(ConfigurationError, match="not in the store"):
        await playbooks.get("0123456789abcdef")


async def test_the_one_published_last_is_in_force_and_the_others_stay(playbooks: Playbooks, clock: FakeClock):
    for book in (ONE, TWO):
        await playbooks.publish(book)
        clock.advance(timedelta(seconds=1))
    assert await playbooks.newest() == TWO
    assert await playbooks.get(ONE.version) == ONE
    await playbooks.publish(ONE)
    assert await playbooks.newest() == ONE


class Overtaken(Database):
    """Lets a publication come between what somebody read and his noting it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, sole=True)
        self.overtake: Callable[[], Awaitable[None]] | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with super().reading() as connection:
            yield connection
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            await overtake()


async def test_a_publication_that_overtakes_a_look_is_seen_by_the_next(tmp_path: Path, clock: FakeClock):
    database = Overtaken(f"sqlite+aiosqlite:///{tmp_path}/state.db")
    async with database.transaction() as connection:
        await make_tables(connection)
    playbooks = Playbooks(database, clock)
    await playbooks.publish(ONE)
    clock.advance(timedelta(seconds=1))
    database.overtake = partial(playbooks.publish, TWO)
    assert await playbooks.newest() == ONE
    assert await playbooks.newest() == TWO
    await database.close()


def test_the_version_is_the_content_in_whatever_order():
    files = {"a.yaml": b"1", "b.yaml": b"2"}
    assert playbook_of(files).version == playbook_of(dict(reversed(files.items()))).version
    assert playbook_of(files | {"b.yaml": b"3"}).version != playbook_of(files).version
    assert len(playbook_of(files).version) == 16


def test_a_folder_is_its_texts_and_nothing_hidden(tmp_path: Path):
    folder = a_folder(tmp_path, journeys__welcome_yaml="x", templates__hi_html="y", notes_pdf="z")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.yaml").write_text("secret")
    (folder / "journeys" / ".welcome.yaml").write_text("half saved")
    assert sorted(read_folder(folder).files) == ["journeys/welcome.yaml", "playbook.yaml", "templates/hi.html"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "secret.txt").write_text("secret")
    folder = a_folder(tmp_path / "book")
    (folder / "templates").mkdir()
    (folder / "templates" / "hi.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ConfigurationError, match=r"hi\.txt: a link that leads out of the playbook"):
        read_folder(folder)


def test_a_link_within_the_folder_is_followed(tmp_path: Path):
    folder = a_folder(tmp_path, templates__hi_html="hello")
    (folder / "templates" / "ho.html").symlink_to("hi.html")
    assert read_folder(folder).files["templates/ho.html"] == b"hello"


def test_a_broken_link_is_named(tmp_path: Path):
    folder = a_folder(tmp_path)
    (folder / "readiness.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(ConfigurationError, match=r"readiness\.yaml: cannot be read \(No such file or directory\)"):
        read_folder(folder)


def test_a_huge_file_is_refused(tmp_path: Path):
    folder = a_folder(tmp_path)
    (folder / "readiness.yaml").write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        read_folder(folder)
