"""A CSV goes in through the real command and the real tracking API, on a folder that nothing runs on, and again while it is read."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dripline.cli.main import app
from dripline.migrate import migrate
from shared.clock import FakeClock
from shared.db import Database
from shared.frames import HEADER_SIZE, header_of
from shared.playbooks import Playbooks, playbook_of
from tests.builders import NOON

CSV = "email,name,consent\nzahra@example.com,زهرا کریمی,yes\nnobody,x,\nomar@example.com,عمر السيد,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    migrate(f"sqlite+aiosqlite:///{tmp_path}/data/state.db")
    (tmp_path / "leads.csv").write_text(CSV)
    asyncio.run(publish(Database(f"sqlite+aiosqlite:///{tmp_path}/data/state.db")))
    return tmp_path


async def publish(database: Database) -> None:
    await Playbooks(database, FakeClock(NOON)).publish(playbook_of({"playbook.yaml": b"name: Test\n", "readiness.yaml": b"rules: []\n"}))
    await database.close()


def in_the_log(folder: Path) -> list[dict]:
    """The calls of every parcel."""
    found = []
    for path in sorted((folder / "data" / "log" / "events").rglob("*.log")):
        content, at = path.read_bytes(), 0
        while frame := header_of(content[at:]):
            records = frame.records(content[at + HEADER_SIZE : at + frame.size])
            found += [item for record in records for item in json.loads(record.value)["items"]]
            at += frame.size
    return found


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["import", "leads.csv", "--data", "data", *words])
    return done.exit_code, done.stdout, done.stderr


def test_good_rows_go_in_and_bad_ones_are_named(folder: Path):
    code, said, wrong = run()
    assert (code, said) == (1, "2 rows went in, 1 did not (utf-8)\n")
    assert "row 3, column email: `nobody` is no address" in wrong
    assert [item["traits"]["name"] for item in in_the_log(folder)] == ["زهرا کریمی", "عمر السيد"]
    assert in_the_log(folder)[0]["traits"]["consent"] == {"marketing": True, "source": "import:leads.csv"}
    run()
    ids = [item["messageId"] for item in in_the_log(folder)]
    assert len(ids) == 4
    assert len(set(ids)) == 2


def test_a_dry_run_sends_nothing(folder: Path):
    code, said, _ = run("--dry-run", "--format", "json")
    assert code == 1
    assert json.loads(said) == {
        "encoding": "utf-8",
        "delimiter": ",",
        "accepted": 2,
        "rejected": [{"row": 3, "column": "email", "message": "`nobody` is no address"}],
    }
    assert in_the_log(folder) == []


def test_a_column_that_is_not_there_is_wrong_use(folder: Path):
    code, said, wrong = run("--map", "Mail=email")
    assert (code, said) == (2, "")
    assert "there is no column `Mail`; it has email, name, consent" in wrong
