"""`dripline migrate --from DATA_DIR`: the folder of one `run` moves to PostgreSQL and Kafka, and nothing is lost on the way.

the folder, locked ──rows──► one transaction in PostgreSQL ◄──positions── unread records ──► Kafka
The transaction is the move: killed before its commit nothing has moved, and the next try begins anew; what a try left on Kafka lies before
the positions that the next one stores. `moved.json` in the folder tells the tries apart, and keeps `run` off a folder that has moved, or
may have: one killed at the commit.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import make_url

from dripline.data_folder import DataFolder
from dripline.folder_clock import NOTICED
from dripline.migrate import LOCK, every_table, migrate
from dripline.moving_log import READERS, Places, copy_log, stored_positions
from dripline.moving_tables import Report, copy_tables, refuse_unless_empty, tables_of
from dripline.settings import ServeSettings
from shared.clock import real_now
from shared.errors import ConfigurationError, Outage
from shared.failpoints import arm, passing
from shared.instant import EPOCH, MICROSECOND
from shared.kafka_log import KafkaLog
from shared.keys import Kind, Role, key_row

NOTED_ON = "shared_position"
"""The table whose comment names the move that filled the database: it commits with it."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved: rows by table, records by topic. `again`: an earlier try had done it all."""

    rows: Mapping[str, int] = field(default_factory=dict)
    records: Mapping[str, int] = field(default_factory=dict)
    again: bool = False


def move(folder: DataFolder, settings: ServeSettings, report: Report) -> Moved:
    """Move the folder, whose lock the caller holds; the servers are migrated already. Raises ConfigurationError, Outage."""
    arm(settings.failpoints)
    migrate(folder.database_url)
    _refuse_other_time(folder)
    _refuse_other_secret(folder, settings)
    note = _note_of(folder, settings)
    moved = asyncio.run(_move(folder, settings, note["id"], report))
    folder.write_private(folder.MOVED, json.dumps(note | {"state": "done"}))
    return moved


async def _move(folder: DataFolder, settings: ServeSettings, move_id: str, report: Report) -> Moved:
    target = await _connected(settings)
    log = KafkaLog(settings.cluster())
    try:
        async with target.transaction():
            await target.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            if await _noted(target) == move_id:
                return Moved(again=True)
            moved = await _fill(folder, target, log, move_id, report)
            folder.write_private(folder.MOVED, json.dumps(_read(folder) | {"state": "ending"}))
            passing("moving.before_commit")
        passing("moving.after_commit")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Outage(
            f"the database broke off: {error!r}; run the same command again, which begins anew, or says that all had moved"
        ) from error
    finally:
        await log.close()
        await target.close()
    return moved


async def _fill(folder: DataFolder, target: asyncpg.Connection, log: KafkaLog, move_id: str, report: Report) -> Moved:
    tables = tables_of(dict(every_table().tables))
    await refuse_unless_empty(target, [*tables, every_table().tables[NOTED_ON]])
    await _refuse_strange_topics(folder, log)
    rows = await copy_tables(folder.state, target, tables, report)
    await _keep_keys(folder, target)
    folder.write_private(folder.MOVED, json.dumps(_read(folder) | {"state": "under way"}))
    records, places = await copy_log(folder.log, stored_positions(folder.state), log, report)
    await _store(target, places)
    await target.execute(f"COMMENT ON TABLE {NOTED_ON} IS 'moved {move_id}'")
    return Moved(rows, records)


async def _connected(settings: ServeSettings) -> asyncpg.Connection:
    url = settings.database_url.get_secret_value().replace("+asyncpg", "")
    try:
        return await asyncpg.connect(url, timeout=10)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise Outage(f"PostgreSQL does not answer: {error!r}") from error


async def _noted(target: asyncpg.Connection) -> str | None:
    comment = await target.fetchval("SELECT obj_description($1::regclass, 'pg_class')", NOTED_ON)
    return comment.removeprefix("moved ") if comment else None


async def _keep_keys(folder: DataFolder, target: asyncpg.Connection) -> None:
    """The folder's own two keys lie in files; who uses them goes on doing so."""
    keys: list[tuple[str, Kind, Role | None]] = [("write_key", "write", None), ("api_key", "secret", "admin")]
    for file, kind, role in keys:
        if not (folder.path / file).exists():
            continue
        row = key_row(folder.secret(file), kind, role, "of the folder that moved here", real_now())
        row["created_at"] = (row["created_at"] - EPOCH) // MICROSECOND
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await target.execute(f"INSERT INTO shared_key ({', '.join(row)}) VALUES ({places}) ON CONFLICT DO NOTHING", *row.values())


async def _store(target: asyncpg.Connection, places: Places) -> None:
    rows = [(group, topic, partition, offset) for (group, topic, partition), offset in places.items()]
    columns = ("consumer_group", "topic", "partition", "next_offset")
    await target.copy_records_to_table(NOTED_ON, records=rows, columns=columns)


async def _refuse_strange_topics(folder: DataFolder, log: KafkaLog) -> None:
    """A topic holds nothing but what an earlier try of this move has left there."""
    if _read(folder)["state"] != "begun":
        return
    filled = [topic for topic in READERS if any(end > 0 for _, end in (await log.bounds(topic)).values())]
    if filled:
        raise ConfigurationError(f"the topics {', '.join(filled)} hold records already; name another DRIPLINE_TOPIC_PREFIX for what moves")


def _refuse_other_time(folder: DataFolder) -> None:
    reserved = folder.reserved_time()
    if reserved is not None and reserved > real_now() + NOTICED:
        raise ConfigurationError(
            f"{folder.path}: its clock runs ahead, to {reserved:%Y-%m-%d %H:%M} UTC, for it ran with --speed; servers go by real time, and "
            "what waits there would wait as much longer. A folder to be moved must have run at speed 1"
        )


def _refuse_other_secret(folder: DataFolder, settings: ServeSettings) -> None:
    """Links in mails that were sent are signed with it, and whoever was erased is known by it alone."""
    kept = folder.path / "secret"
    if kept.exists() and kept.read_text().strip() != settings.secret_key.get_secret_value():
        raise ConfigurationError(
            f"DRIPLINE_SECRET_KEY is not the folder's: links in mails that were sent would be void, and who was erased unknown. "
            f'Set it for all services: export DRIPLINE_SECRET_KEY="$(cat {kept})"; a folder that ran with a DRIPLINE_SECRET_KEY of its own '
            f"keeps that one: then move {kept} away first"
        )


def _note_of(folder: DataFolder, settings: ServeSettings) -> dict[str, Any]:
    """The note of the move under way, begun where there is none. Raises ConfigurationError where one to elsewhere was begun."""
    url = make_url(settings.database_url.get_secret_value())
    where = f"{url.host}:{url.port or 5432}/{url.database} and {settings.kafka_bootstrap} ({settings.topic_prefix}.*)"
    if not (folder.path / folder.MOVED).exists():
        folder.write_private(folder.MOVED, json.dumps({"id": str(uuid.uuid4()), "to": where, "state": "begun"}))
    note = _read(folder)
    if note["to"] != where:
        raise ConfigurationError(
            f"{folder.path}: a move to {note['to']} was begun, and this is {where}; finish that one, or remove {folder.MOVED} if nothing "
            "of it is to stay"
        )
    return note


def _read(folder: DataFolder) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((folder.path / folder.MOVED).read_text())
    return note
