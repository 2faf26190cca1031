"""Brings a database to the schema this code knows, and refuses one that a newer code has written."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import MetaData, create_engine, event
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

import services.journeys.tables
import services.mailer.tables
import services.scoring.tables
import shared.tables
from shared.errors import ConfigurationError

TABLES = (shared.tables, services.scoring.tables, services.journeys.tables, services.mailer.tables)
"""Imported so that their rows are known to SQLModel's metadata."""


def every_table() -> MetaData:
    return SQLModel.metadata


def migrate(url: str) -> list[str]:
    """Upgrade the database at `url`; answers the revisions that were applied. Running it twice changes nothing.

    Raises ConfigurationError where the database is of a newer Dripline.
    """
    engine = create_engine(url.replace("+aiosqlite", "").replace("+asyncpg", ""), connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    before = _revision(connection)
    try:
        pending = [step.revision for step in script.iterate_revisions("head", before or "base")]
    except CommandError as error:
        raise ConfigurationError(
            f"the database is at revision {before}, which this Dripline does not know: it is newer; update Dripline"
        ) from error
    command.upgrade(config, "head")
    return list(reversed(pending))


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
