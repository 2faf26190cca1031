"""Brings a database to the schema this code knows, and refuses one that a newer code has written."""

import asyncio
from importlib import import_module
from pathlib import Path

from sqlalchemy import MetaData, NullPool, create_engine, event, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from shared.errors import ConfigurationError

HEAD = "0006"
"""The newest revision in migrations/versions."""

LOCK = 0x64726970
"""PostgreSQL's advisory lock that one migration holds while another waits."""

PATIENCE = "SET LOCAL lock_timeout = '20s'"
"""A table that somebody keeps is not waited for longer: whoever asks for it meanwhile would have to wait, too."""


def every_table() -> MetaData:
    """All rows of all services; they are loaded only where somebody asks, not by each process that looks at `HEAD`."""
    for name in ("shared", "services.scoring", "services.journeys", "services.mailer"):
        import_module(f"{name}.tables")
    return SQLModel.metadata


def migrate(url: str) -> list[str]:
    """Upgrade the database at `url`; answers the revisions that were applied. Running it twice, or twice at once, changes nothing more.

    Not to be called while an event loop runs. Raises ConfigurationError where it cannot be opened, or is of a newer Dripline.
    """
    return _migrate_sqlite(url) if url.startswith("sqlite") else asyncio.run(_migrate_postgresql(url))


def _migrate_sqlite(url: str) -> list[str]:
    engine = create_engine(url.replace("+aiosqlite", ""), connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    except DatabaseError as error:
        raise ConfigurationError(f"{engine.url.database}: cannot be used as a database ({error.orig}); restore it from a backup") from error
    finally:
        engine.dispose()


async def _migrate_postgresql(url: str) -> list[str]:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await connection.execute(text(PATIENCE))
            return await connection.run_sync(_upgrade)
    except (DBAPIError, OSError) as error:
        said = error.orig if isinstance(error, DBAPIError) else error
        raise ConfigurationError(f"{engine.url.render_as_string()}: cannot be used as a database ({said})") from error
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    before = _revision(connection)
    if before == HEAD:
        return []
    # Alembic costs a third of a second and 14 MB: only what has to change pays for it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    try:
        pending = [step.revision for step in script.iterate_revisions(HEAD, before or "base")]
    except RevisionError as error:
        raise ConfigurationError(
            f"the database is at revision {before}, which this Dripline does not know: it is newer; update Dripline"
        ) from error
    command.upgrade(config, HEAD)
    return list(reversed(pending))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision
