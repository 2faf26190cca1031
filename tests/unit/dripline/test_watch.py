"""A saved playbook takes effect by itself; one with mistakes never does."""

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dripline.environment import playbook_environment
from dripline.watch import Watch
from shared.errors import Outage
from shared.playbooks import Playbook, read_folder

STARTER = Path(__file__).parents[3] / "playbooks" / "starter"


class Shelf:
    """Takes what is published, unless it is away."""

    def __init__(self) -> None:
        self.published: list[Playbook] = []
        self.away = False

    async def publish(self, playbook: Playbook) -> None:
        if self.away:
            raise Outage("the database is away")
        self.published.append(playbook)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(STARTER, tmp_path / "playbook")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def watch(folder: Path, shelf: Shelf) -> Watch:
    return Watch(folder, shelf, playbook_environment(), read_folder(folder))


def change(folder: Path, text: str = "\n<p>PS</p>\n", file: str = "templates/welcome-1.html") -> None:
    with (folder / file).open("a") as template:
        template.write(text)


async def looks(watch: Watch, times: int = 2) -> list[str]:
    """Look some times; the troubles that were logged."""
    with capture_logs() as logs:
        for _ in range(times):
            await watch.look()
    return [entry["trouble"] for entry in logs if entry["event"] == "playbook.refused"]


async def test_what_has_not_changed_is_not_published(watch: Watch, shelf: Shelf, capsys: pytest.CaptureFixture[str]):
    assert await looks(watch, 3) == []
    assert shelf.published == []
    assert capsys.readouterr().out == ""


async def test_a_change_is_published_once_and_said_once(watch: Watch, shelf: Shelf, folder: Path, capsys: pytest.CaptureFixture[str]):
    change(folder)
    await looks(watch, 5)
    assert [book.version for book in shelf.published] == [read_folder(folder).version]
    assert capsys.readouterr().out == f"The playbook has changed; version {shelf.published[0].version} is in force.\n"


async def test_what_is_still_being_saved_waits(watch: Watch, shelf: Shelf, folder: Path):
    for _ in range(3):
        change(folder)
        await looks(watch, 1)
    assert shelf.published == []


async def test_mistakes_are_told_once_and_the_last_good_playbook_stays(watch: Watch, shelf: Shelf, folder: Path):
    change(folder, "{% if %}")
    (trouble,) = await looks(watch, 5)
    assert trouble.startswith("templates/welcome-1.html:")
    assert shelf.published == []


async def test_the_mended_playbook_is_published(watch: Watch, shelf: Shelf, folder: Path):
    good = (folder / "readiness.yaml").read_bytes()
    change(folder, "rules: []\n", "readiness.yaml")
    assert await looks(watch)
    (folder / "readiness.yaml").write_bytes(good)
    assert await looks(watch) == []
    assert [book.version for book in shelf.published] == [read_folder(STARTER).version]


async def test_a_folder_that_is_gone_is_told_once_and_found_again(watch: Watch, shelf: Shelf, folder: Path):
    away = shutil.move(folder, folder.with_name("away"))
    (trouble,) = await looks(watch, 3)
    assert "no playbook.yaml" in trouble
    shutil.move(away, folder)
    change(folder)
    assert await looks(watch, 3) == []
    assert len(shelf.published) == 1


async def test_what_could_not_be_stored_is_published_later(watch: Watch, shelf: Shelf, folder: Path):
    change(folder)
    shelf.away = True
    with pytest.raises(Outage):
        await looks(watch)
    shelf.away = False
    await looks(watch, 1)
    assert len(shelf.published) == 1
