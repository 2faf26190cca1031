"""Brings a database to the schema this code knows, and refuses one that a newer code has written."""

from pathlib import Path

from sqlalchemy import MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlmodel import SQLModel

import services.journeys.tables
import services.mailer.tables
import services.scoring.tables
import shared.tables
from shared.errors import ConfigurationError

TABLES = (shared.tables, services.scoring.tables, services.journeys.tables, services.mailer.tables)
"""Imported so that their rows are known to SQLModel's metadata."""

HEAD = "0002"
"""The newest revision in migrations/versions."""


def every_table() -> MetaData:
    return SQLModel.metadata


def migrate(url: str) -> list[str]:
    """Upgrade the database at `url`; answers the revisions that were applied. Running it twice changes nothing.

    Raises ConfigurationError where it cannot be opened, or is of a newer Dripline.
    """
    engine = create_engine(url.replace("+aiosqlite", ""), connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    except DatabaseError as error:
        raise ConfigurationError(f"{engine.url.database}: cannot be used as a database ({error.orig}); restore it from a backup") from error
    finally:
        engine.dispose()


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
