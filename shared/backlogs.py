"""How far behind a group of readers is, to those who must wait for it (journeys' hold, docs/adr/0010).

Where one process reads everything the log knows. Else each replica knows of its own partitions only, and says so in the database.
"""

import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Table, delete, select

from shared.db import upsert
from shared.errors import Outage
from shared.service import Ports
from shared.tables import BacklogRow

BACKLOGS: Table = BacklogRow.__table__  # type: ignore[attr-defined]
B = BACKLOGS.c

TELLS = timedelta(seconds=5)
STALE = timedelta(seconds=30)
"""Who has said nothing for this long reads no more: others have his partitions, and speak for them. If nobody speaks, nobody reads."""
FORGOTTEN = timedelta(days=1)

Told = tuple[datetime | None, datetime]
"""Since when records wait for a reader, and when he said so."""


class Backlogs:
    """What one replica knows of the groups whose backlog matters; `share` keeps that and the others' knowledge fresh."""

    def __init__(self, ports: Ports, *, reads: tuple[str, str], awaits: tuple[tuple[str, str], ...] = ()) -> None:
        """`reads`: our own group and topic, told to the others. `awaits`: those whose backlog is asked for here."""
        self._ports = ports
        self._reads = reads
        self._awaits = awaits
        self._reader = uuid.uuid4().hex
        self._told: list[Row[Any]] | None = None  # of all readers but ourselves: of our own the log knows more, and sooner

    def since(self, group: str, topic: str) -> datetime | None:
        """When the oldest record came that the group has not settled; it may be too early, never too late.

        None when it has caught up, or nobody ever read for it. Raises Outage while our own part of it is not known, or the others'.
        """
        moments = (self._ports.log.backlog_since(group, topic), self._others_since(group, topic))
        return min((moment for moment in moments if moment is not None), default=None)

    def _others_since(self, group: str, topic: str) -> datetime | None:
        """Who had nothing when he spoke may have got something since."""
        if self._ports.database.changes() is not None:
            return None
        if self._told is None:
            raise Outage("what the other replicas have still to handle has not been heard yet")
        told: list[Told] = [(row.since, row.told_at) for row in self._told if (row.consumer_group, row.topic) == (group, topic)]
        stale = self._ports.clock.now() - STALE
        fresh = [since or told_at for since, told_at in told if told_at > stale]
        if told and not fresh and (group, topic) != self._reads:
            return max(told_at for _, told_at in told)  # since then nobody reads
        return min(fresh, default=None)

    async def share(self) -> None:
        """A chore: tell the others, and see what they told. Nothing where this process alone has the database."""
        if self._ports.database.changes() is not None:
            return
        now, (group, _) = self._ports.clock.now(), self._reads
        async with self._ports.database.transaction() as connection:
            await upsert(connection, BACKLOGS, self._news(now), ["consumer_group", "topic", "reader"])
            await connection.execute(delete(BACKLOGS).where(B.consumer_group == group, B.told_at < now - FORGOTTEN))
            rows = (await connection.execute(select(BACKLOGS).where(B.reader != self._reader))).all()
        self._told = [row for row in rows if (row.consumer_group, row.topic) in self._awaits]

    def _news(self, now: datetime) -> list[dict[str, Any]]:
        """What we tell; nothing while we do not know it: then what was told last counts."""
        group, topic = self._reads
        with suppress(Outage):
            since = self._ports.log.backlog_since(group, topic)
            return [{"consumer_group": group, "topic": topic, "reader": self._reader, "since": since, "told_at": now}]
        return []
