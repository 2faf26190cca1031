"""Keys over the API, kept in a real SQLite file."""

from pathlib import Path

import httpx
import pytest
from sqlmodel import SQLModel

import shared.tables  # noqa: F401 - its rows are the schema
from services.console.keys_api import key_routes
from shared.clock import FakeClock
from shared.db import Database
from shared.http import service_app
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from tests.builders import NOON
from tests.fakes import RecordingLog

ADMIN = {"authorization": "Bearer sk_admin"}


@pytest.fixture
async def api(tmp_path: Path):
    database, clock = Database(f"sqlite+aiosqlite:///{tmp_path / 'state.db'}"), FakeClock(NOON)
    async with database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    keys = KeyRing(database, clock, [("sk_admin", Key("sk_0", "secret", "admin", "first"))])
    await keys.reload()
    ports = Ports(RecordingLog(), database, clock, keys, Playbooks(database, clock), Signer(b"x"))
    app = service_app("console", ports, [key_routes(keys)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://console.test") as client:
        yield client
    await database.close()


async def test_a_key_is_made_works_at_once_and_is_never_shown_again(api: httpx.AsyncClient):
    made = (await api.post("/api/keys", json={"kind": "secret", "role": "admin", "name": "shop"}, headers=ADMIN)).json()
    assert made["token"].startswith("sk_")
    listed = (await api.get("/api/keys", headers={"authorization": f"Bearer {made['token']}"})).json()
    assert [(key["id"], key["name"], key["role"]) for key in listed["items"][:-1]] == [(made["id"], "shop", "admin")]
    assert made["token"] not in str(listed)


async def test_a_revoked_key_opens_nothing(api: httpx.AsyncClient):
    made = (await api.post("/api/keys", json={"kind": "secret", "role": "admin"}, headers=ADMIN)).json()
    assert (await api.delete(f"/api/keys/{made['id']}", headers=ADMIN)).json() == {"id": made["id"], "revoked": True}
    assert (await api.get("/api/keys", headers={"authorization": f"Bearer {made['token']}"})).status_code == 401
    assert (await api.delete(f"/api/keys/{made['id']}", headers=ADMIN)).status_code == 404


async def test_only_admins_touch_keys(api: httpx.AsyncClient):
    made = (await api.post("/api/keys", json={"kind": "secret", "role": "marketer"}, headers=ADMIN)).json()
    marketer = {"authorization": f"Bearer {made['token']}"}
    assert (await api.get("/api/keys", headers=marketer)).status_code == 403
    assert (await api.post("/api/keys", json={"kind": "write"}, headers=marketer)).status_code == 403
    assert (await api.get("/api/keys")).status_code == 401


@pytest.mark.parametrize(
    "wanted", [{"kind": "secret"}, {"kind": "write", "role": "admin"}, {"kind": "other"}, {"kind": "write", "more": 1}]
)
async def test_a_key_that_makes_no_sense_is_refused(api: httpx.AsyncClient, wanted: dict):
    answer = await api.post("/api/keys", json=wanted, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
