"""Which database a test stands on: SQLite in its own folder, or a fresh one on the test run's PostgreSQL server."""

import os
from hashlib import blake2b
from pathlib import Path

from tests import servers

KIND = "DRIPLINE_TEST_DATABASE"


def database_url(folder: Path) -> str:
    """The URL of a database that belongs to this folder; a second call gives the same one."""
    if os.environ.get(KIND) != "postgresql":
        return f"sqlite+aiosqlite:///{folder}/state.db"
    server = servers.postgres()
    name = f"t{blake2b(str(folder).encode(), digest_size=12).hexdigest()}"
    server.make_database(name)
    return server.url(name)
