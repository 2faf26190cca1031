"""What was set aside: listed page by page without a gap, shown whole, replayed byte for byte, and back again if it is still wrong."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.clock import FakeClock
from shared.db import Database
from shared.http import service_app
from shared.keys import Key, KeyRing
from shared.letters_api import dead_letter_routes
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer
from shared.work import Outbox
from tests.databases import database_url, make_tables
from tests.fakes import RecordingLog

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
NOT_TEXT = b'{"name": "\xff\xfe"}'


class Letters:
    """One service's dead letters and their API."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(START)
        self.log = RecordingLog()
        self.database = Database(database_url(folder))
        fixed = [(f"sk_{role}", Key(role, "secret", role, role)) for role in ("admin", "viewer", "sales")]
        self.keys = KeyRing(self.database, self.clock, fixed)
        ports = Ports(self.log, self.database, self.clock, self.keys, Playbooks(self.database, self.clock), Signer(b"s"))
        self.outbox = Outbox("scoring", self.database, self.log, self.clock)
        app = service_app("scoring", ports, [dead_letter_routes(ports, self.outbox)])
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://scoring")

    async def set_aside(self, *payloads: bytes, code: str = "bug") -> None:
        async with self.outbox.work() as work:
            for payload in payloads:
                work.set_aside("events", "ana", payload, code=code, message="it broke")

    async def ask(self, path: str = "", method: str = "GET", role: str = "admin", **params: Any) -> Any:
        answer = await self.client.request(
            method, f"/api/dead-letters{path}", params=params, headers={"Authorization": f"Bearer sk_{role}"}
        )
        return answer.json() | {"status": answer.status_code}


@pytest.fixture
async def letters(tmp_path: Path, database_kind: str) -> AsyncIterator[Letters]:
    letters = Letters(tmp_path)
    async with letters.database.transaction() as connection:
        await make_tables(connection)
    await letters.keys.reload()
    yield letters
    await letters.client.aclose()
    await letters.database.close()


async def test_pages_have_no_gap_where_many_were_set_aside_at_once(letters: Letters):
    for minute in range(3):
        letters.clock.advance(timedelta(minutes=1))
        await letters.set_aside(*(f"{minute}.{number}".encode() for number in range(7)))
    seen, cursor = [], None
    while True:
        page = await letters.ask(limit=4, **({"before": cursor} if cursor else {}))
        seen += [letter["payload"] for letter in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 21
    assert [payload[0] for payload in seen] == ["2"] * 7 + ["1"] * 7 + ["0"] * 7


async def test_a_page_may_begin_at_any_moment(letters: Letters):
    await letters.set_aside(b"early")
    letters.clock.advance(timedelta(hours=1))
    await letters.set_aside(b"late")
    page = await letters.ask(before="2027-03-01T12:30:00Z")
    assert [letter["payload"] for letter in page["items"]] == ["early"]
    assert (await letters.ask(before="yesterday"))["status"] == 400


async def test_one_is_shown_whole(letters: Letters):
    await letters.set_aside(NOT_TEXT, code="not_json")
    (letter,) = (await letters.ask())["items"]
    shown = await letters.ask(f"/{letter['id']}")
    assert (shown["service"], shown["topic"], shown["key"], shown["code"]) == ("scoring", "events", "ana", "not_json")
    assert shown["payload"] == '{"name": "\ufffd\ufffd"}'
    assert shown["replayed_at"] is None
    assert (await letters.ask("/none"))["status"] == 404


async def test_a_replay_appends_the_very_bytes_and_says_when(letters: Letters):
    await letters.set_aside(NOT_TEXT)
    (letter,) = (await letters.ask())["items"]
    letters.clock.advance(timedelta(hours=1))
    replayed = await letters.ask(f"/{letter['id']}/replay", "POST")
    assert letters.log.topics["events"] == [("ana", NOT_TEXT)]
    assert replayed["replayed_at"] == "2027-03-01T13:00:00Z"
    assert (await letters.ask("/none/replay", "POST"))["status"] == 404


async def test_what_is_still_wrong_comes_back_as_a_letter_that_waits(letters: Letters):
    await letters.set_aside(b"poison")
    (letter,) = (await letters.ask())["items"]
    await letters.ask(f"/{letter['id']}/replay", "POST")
    letters.clock.advance(timedelta(minutes=1))
    await letters.set_aside(b"poison")
    (again,) = (await letters.ask())["items"]
    assert again["id"] == letter["id"]
    assert again["replayed_at"] is None
    assert again["at"] > letter["at"]


async def test_poison_that_no_database_stores_as_text_is_set_aside_all_the_same(letters: Letters):
    async with letters.outbox.work() as work:
        work.set_aside("events", "a\0na", b"\0 nobody reads this", code="bug", message="broke at \0 and at \ud800")
    (kept,) = (await letters.ask())["items"]
    assert (kept["key"], kept["message"], kept["payload"]) == ("a\ufffdna", "broke at \ufffd and at ?", "\0 nobody reads this")


async def test_the_same_record_set_aside_for_the_same_reason_is_one_letter(letters: Letters):
    await letters.set_aside(b"poison", b"poison")
    await letters.set_aside(b"poison")
    await letters.set_aside(b"poison", code="other")
    assert len((await letters.ask())["items"]) == 2


async def test_who_may_look_and_who_may_replay(letters: Letters):
    await letters.set_aside(b"x")
    (letter,) = (await letters.ask())["items"]
    for role in ("viewer", "sales"):
        assert (await letters.ask(role=role))["status"] == 403
    assert (await letters.ask(f"/{letter['id']}/replay", "POST", role="viewer"))["status"] == 403
    assert (await letters.ask(role="nobody"))["status"] == 401
