"""Publishing a playbook over the API, into a real SQLite file."""

from pathlib import Path

import httpx
import pytest
from sqlmodel import SQLModel

import shared.tables  # noqa: F401 - its rows are the schema
from dripline.check import check
from services.console.playbook_api import playbook_routes
from shared.clock import FakeClock
from shared.db import Database
from shared.http import service_app
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from tests.builders import NOON
from tests.fakes import RecordingLog

FILES = {
    "playbook.yaml": "name: Tea\nmail: {from: 'Tea <tea@acme.example>'}\n",
    "readiness.yaml": "rules:\n  - {id: ebook, event: Ebook Downloaded, at_least: 7}\n",
}
KEYS = [(f"sk_{role}", Key(f"sk_{role}", "secret", role, role)) for role in ("marketer", "viewer")]


def by(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer sk_{role}"}


@pytest.fixture
async def api(tmp_path: Path):
    database, clock = Database(f"sqlite+aiosqlite:///{tmp_path / 'state.db'}"), FakeClock(NOON)
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    playbooks = Playbooks(database, clock)
    ports = Ports(RecordingLog(), database, clock, KeyRing(database, clock, KEYS), playbooks, Signer(b"x"))
    app = service_app("console", ports, [playbook_routes(playbooks, lambda book: check(book, {}))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://console.test") as client:
        yield client
    await database.close()


async def test_a_published_playbook_is_in_force_at_once(api: httpx.AsyncClient):
    published = await api.post("/api/playbook", json={"files": FILES}, headers=by("marketer"))
    assert published.status_code == 200
    found = (await api.get("/api/playbook", headers=by("viewer"))).json()
    assert found == published.json() == {"version": found["version"], "files": ["playbook.yaml", "readiness.yaml"]}


async def test_one_with_mistakes_is_refused_with_each_of_them_and_the_one_before_stays(api: httpx.AsyncClient):
    before = (await api.post("/api/playbook", json={"files": FILES}, headers=by("marketer"))).json()
    broken = FILES | {"readiness.yaml": "rules:\n  - {id: ebook, event: Ebook Downloaded, at_leest: 7}\n", "odd.yaml": "x: 1\n"}
    refused = await api.post("/api/playbook", json={"files": broken}, headers=by("marketer"))
    assert refused.status_code == 400
    assert "odd.yaml:1:1: nothing reads this file" in refused.json()["message"]
    assert "readiness.yaml:2:42" in refused.json()["message"]
    assert (await api.get("/api/playbook", headers=by("viewer"))).json()["version"] == before["version"]


async def test_only_marketers_and_admins_publish(api: httpx.AsyncClient):
    assert (await api.post("/api/playbook", json={"files": FILES}, headers=by("viewer"))).status_code == 403
    assert (await api.post("/api/playbook", json={"files": FILES})).status_code == 401
