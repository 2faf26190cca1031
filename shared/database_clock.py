"""Under `serve` the database's time is everybody's: each process looks there every few seconds, and reckons on from its own clock."""

import time
from datetime import datetime

from sqlalchemy import text

from shared.clock import SystemClock, real_now
from shared.db import Database


class DatabaseClock(SystemClock):
    """The database's time as this process knows it; between two looks it goes by the wall, and it never runs backwards."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ahead = 0.0
        self._has_looked = False
        super().__init__(wall=self._database_wall)

    def _database_wall(self) -> float:
        return real_now().timestamp() + self._ahead

    async def look(self) -> None:
        """Ask the database what time it is. Raises Outage where it does not answer; time goes on all the same."""
        async with self._database.reading() as connection:
            asked = time.monotonic()
            said: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
            took = time.monotonic() - asked
        self._ahead = said.timestamp() + took / 2 - real_now().timestamp()
        if not self._has_looked:  # nobody has asked yet: what the database says first is no jump, however wrong this machine's clock is
            self._has_looked = True
            super().__init__(wall=self._database_wall)
