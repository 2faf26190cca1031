"""How ingest appends under `serve`: to Kafka, and to its own disk while Kafka does not confirm in time. See docs/adr/0020.

append ──Kafka confirms within PATIENCE──► done
       └─otherwise, or known to be away──► spool ──drain, beside whatever comes──► Kafka

An append that was given up may have reached Kafka all the same and goes there again from the spool: repeats are harmless, as an event's
`messageId`, or its parcel's id, makes it count once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from services.ingest.spool import Spool
from services.ingest.spool_folder import Held
from shared.clock import Clock
from shared.errors import Outage
from shared.log import Log
from shared.telemetry import SPOOL_BYTES, SPOOL_OLDEST_SECONDS, SPOOL_RECORDS, SPOOLED
from shared.telemetry import log as logger

PATIENCE = 3.0
"""Seconds that Kafka has to confirm, while nothing says that it is away."""
PAUSE = 1.0
"""Seconds between looks whether Kafka is back."""
LONGEST_PROBE = 60.0
"""Seconds in which a drain that can read its disk has asked Kafka and been told, or not."""
IN_DOUBT = 10.0
"""Seconds after a failure for which ingest, without a spool, is not ready; then somebody must try."""

Records = Sequence[tuple[str, bytes]]


class SpooledLog:
    """The appending half of a log that is away at times. `spool` is None where there is no folder for one."""

    def __init__(self, log: Log, spool: Spool | None, clock: Clock, steady: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._spool = spool
        self._clock = clock
        self._steady = steady
        self._is_away = False
        self._failed_at = 0.0
        self._next_try = 0.0

    def held(self) -> list[Held]:
        """What waits on the disk, by topic."""
        return [] if self._spool is None else self._spool.held()

    async def append(self, topic: str, records: Records) -> None:
        """Return when the records are durable, in Kafka or here; raises Outage where neither takes them, InvalidMessage as any log."""
        if not records:
            return
        if self._may_try():
            try:
                await self._confirmed(topic, records)
            except Outage as outage:
                self._failed(outage)
            else:
                self._is_away = False
                return
        if self._spool is None:
            raise Outage("Kafka is away and there is no spool (DRIPLINE_SPOOL_DIR)")
        await self._spool.append(topic, records)
        SPOOLED.inc(len(records))

    async def run(self) -> None:
        """Drain whenever something waits, until cancelled; then the spool is closed."""
        try:
            while True:
                await self.drain()
                await asyncio.sleep(PAUSE)
        finally:
            if self._spool is not None:
                await self._spool.close()

    async def drain(self) -> None:
        """Send what waits, as far as Kafka takes it."""
        if self._spool is None:
            return
        if self._spool.waits():
            try:
                await self._spool.drain(self._send)
            except (Outage, OSError) as trouble:
                if not self._is_away:
                    logger.warning("spool.held", why=str(trouble))
            else:
                logger.info("spool.drained")
        self._measure(self._spool)

    async def check(self) -> dict[str, str]:
        """Where events go now; raises Outage where nothing takes them."""
        if not self._is_away:
            return {"events": "to Kafka"}
        if self._spool is not None:
            await self._spool.check()
            return {"events": "to the spool, Kafka is away"}
        if self._steady() < self._failed_at + IN_DOUBT:
            raise Outage("Kafka is away and there is no spool (DRIPLINE_SPOOL_DIR)")
        return {"events": "to Kafka, which was away"}

    def _may_try(self) -> bool:
        """While Kafka is away the drain finds out when it is back; where that asks nothing, one append every so often does."""
        if not self._is_away:
            return True
        drains = self._spool is not None and self._spool.waits() and self._steady() < self._failed_at + LONGEST_PROBE
        if drains or self._steady() < self._next_try:
            return False
        self._next_try = self._steady() + PAUSE
        return True

    async def _confirmed(self, topic: str, records: Records) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._log.append(topic, records)
        except TimeoutError:
            raise Outage(f"Kafka did not confirm within {PATIENCE:.0f} s") from None

    async def _send(self, topic: str, records: Records) -> None:
        try:
            await self._log.append(topic, records)
        except Outage as outage:
            self._failed(outage)
            raise
        self._is_away = False

    def _failed(self, outage: Outage) -> None:
        if not self._is_away:
            logger.warning("spool.kafka_away", why=str(outage), spool=self._spool is not None)
        self._is_away = True
        self._failed_at = self._steady()
        self._next_try = self._failed_at + PAUSE

    def _measure(self, spool: Spool) -> None:
        held = spool.held()
        oldest = min((one.oldest_at for one in held if one.oldest_at), default=None)
        SPOOL_RECORDS.set(sum(one.records for one in held))
        SPOOL_BYTES.set(spool.size())
        SPOOL_OLDEST_SECONDS.set(self._age(oldest))

    def _age(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else max(timedelta(), self._clock.now() - moment).total_seconds()
