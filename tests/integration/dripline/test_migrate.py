"""The schema that the migrations make is the one that the code knows."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import dripline.migrate
from dripline.migrate import HEAD, every_table, migrate
from shared.errors import ConfigurationError


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/state.db"


def stamp(folder: Path, revision: str) -> None:
    database = sqlite3.connect(folder / "state.db")
    database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.commit()
    database.close()


REVISIONS = [f"{number:04}" for number in range(1, int(dripline.migrate.HEAD) + 1)]


def test_an_empty_database_gets_every_table_as_the_code_knows_it(tmp_path: Path):
    assert migrate(url(tmp_path)) == REVISIONS
    engine = create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, every_table()) == []
    engine.dispose()


def test_leads_known_before_are_found_by_their_addresses_keys(tmp_path: Path):
    config = Config()
    config.set_main_option("script_location", str(Path(dripline.migrate.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number, address in enumerate(("Ana@Example.com", "bo@example.com", "JOSÉ@Exämple.com", None)):
            row = {"id": f"l{number}", "sequence": 1, "address": address, "lead": b"{}"}
            connection.execute(text("INSERT INTO mailer_lead (id, sequence, address, lead) VALUES (:id, :sequence, :address, :lead)"), row)
    assert migrate(url(tmp_path)) == REVISIONS[1:]
    with engine.connect() as connection:
        addresses = connection.execute(text("SELECT address FROM mailer_lead ORDER BY id")).scalars().all()
    engine.dispose()
    assert addresses == ["ana@example.com", "bo@example.com", "josé@exämple.com", None]


def test_a_second_run_changes_nothing(tmp_path: Path):
    migrate(url(tmp_path))
    before = (tmp_path / "state.db").read_bytes()
    assert migrate(url(tmp_path)) == []
    assert (tmp_path / "state.db").read_bytes() == before


def test_the_newest_revision_is_the_one_the_code_asks_for():
    config = Config()
    config.set_main_option("script_location", str(Path(dripline.migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_database_of_a_newer_dripline_is_refused_and_left_alone(tmp_path: Path):
    migrate(url(tmp_path))
    stamp(tmp_path, "9999")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(ConfigurationError, match="at revision 9999, which this Dripline does not know: it is newer; update Dripline"):
        migrate(url(tmp_path))
    assert (tmp_path / "state.db").read_bytes() == before


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match=r"state\.db: cannot be used as a database \(file is not a database\)"):
        migrate(url(tmp_path))
    assert (tmp_path / "state.db").read_bytes() == b"not a database" * 100
