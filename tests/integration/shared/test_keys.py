"""Who may call: keys made, found, ended; and what holds while their store is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.clock import FakeClock
from shared.db import Database
from shared.errors import Outage
from shared.keys import Key, KeyRing
from tests.databases import database_url, make_tables

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
FIXED = ("sk_fixed", Key("sk_f", "secret", "admin", "fixed"))


@pytest.fixture
async def database(tmp_path: Path, database_kind: str) -> AsyncIterator[Database]:
    database = Database(database_url(tmp_path))
    async with database.transaction() as connection:
        await make_tables(connection)
    yield database
    await database.close()


@pytest.fixture
async def ring(database: Database) -> KeyRing:
    ring = KeyRing(database, FakeClock(START), [FIXED])
    await ring.reload()
    return ring


async def test_a_made_key_is_found_and_only_its_hash_is_kept(ring: KeyRing, database: Database):
    key, token = await ring.create("secret", "marketer", "Mia")
    assert token.startswith("sk_")
    assert ring.find(token) == key
    assert (key.role, key.name) == ("marketer", "Mia")
    async with database.reading() as connection:
        rows = (await connection.execute(text("SELECT * FROM shared_key"))).all()
    assert token not in str(rows)


async def test_another_process_knows_it_after_its_next_reading(ring: KeyRing, database: Database):
    other = KeyRing(database, FakeClock(START))
    await other.reload()
    key, token = await ring.create("write", None, "shop")
    assert other.find(token) is None
    await other.reload()
    assert other.find(token) == key


async def test_an_ended_key_is_refused_and_stays_in_the_list(ring: KeyRing):
    key, token = await ring.create("write", None, "shop")
    assert ring.find(token)
    assert await ring.revoke(key.id)
    assert ring.find(token) is None
    assert not await ring.revoke(key.id)
    listed, _ = await ring.list_keys()
    assert listed["revoked_at"] == START
    assert "token_sha256" not in listed


async def test_a_fixed_key_works_is_listed_and_never_stored(ring: KeyRing):
    assert ring.find("sk_fixed") == FIXED[1]
    (listed,) = await ring.list_keys()
    assert (listed["id"], listed["created_at"]) == (FIXED[1].id, None)
    assert ring.is_fixed(FIXED[1].id)
    assert not await ring.revoke(FIXED[1].id)


async def test_while_the_store_is_away_known_keys_work_and_nobody_is_turned_away(ring: KeyRing, database: Database):
    if not database.url.startswith("sqlite"):
        pytest.skip("a table that is not there is no outage to PostgreSQL")
    _, token = await ring.create("write", None, "shop")
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE shared_key RENAME TO away"))
    with pytest.raises(Outage):
        await ring.reload()
    assert ring.find(token)
    assert ring.find("sk_fixed")
    with pytest.raises(Outage):
        ring.find("pk_unknown")
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO shared_key"))
    await ring.reload()
    assert ring.find("pk_unknown") is None


async def test_keys_are_read_anew_only_where_something_was_written(tmp_path: Path):
    sole = Database(f"sqlite+aiosqlite:///{tmp_path}/sole.db", sole=True)  # only SQLite's is anybody's alone
    database = Database(sole.url)
    async with database.transaction() as connection:
        await make_tables(connection)
    ring = KeyRing(sole, FakeClock(START))
    await ring.refresh()
    _, elsewhere = await KeyRing(database, FakeClock(START)).create("write", None, "somebody who does not count")
    await ring.refresh()
    assert ring.find(elsewhere) is None
    await KeyRing(sole, FakeClock(START)).create("write", None, "shop")
    await ring.refresh()
    assert ring.find(elsewhere) is not None
    await database.close()
    await sole.close()
