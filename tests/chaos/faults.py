"""What is done to the town beside kills: processes halted, servers ended and started, sinks in bad moods, a wrong clock, poison."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg

from deploy.servers import KafkaCluster, Postgres
from tests.chaos.plan import Fault
from tests.chaos.records import GROUPS, Records
from tests.chaos.sinks import MailSink, SalesSink
from tests.town import Town

SESSION = 6.0
"""Seconds until Kafka gives a silent replica up; the least that a broker allows."""
NOT_NOW = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""How the database says that it is away."""


class Faults:
    """Does one after another where they would meet: of three brokers never two are killed."""

    def __init__(self, town: Town, postgres: Postgres, kafka: KafkaCluster, records: Records, mail: MailSink, sales: SalesSink) -> None:
        self._town, self._postgres, self._kafka, self._records = town, postgres, kafka, records
        self._mail, self._sales = mail, sales
        self._servers = asyncio.Lock()
        self._moods = asyncio.Lock()
        self.thrown: dict[bytes, tuple[str, bool]] = {}
        """Records that nobody can read: their topic, and whether Kafka said that it has them."""

    async def do(self, fault: Fault) -> None:
        """A fault that cannot be done because another is under way is not this test's business; what it leaves behind is."""
        works: dict[str, Callable[[Fault], Coroutine[Any, Any, None]]] = {
            "halt": self._halt,
            "broker": self._broker,
            "kafka_away": self._kafka_away,
            "postgres_restart": self._restart_postgres,
            "postgres_crash": self._restart_postgres,
            "postgres_hangs_up": self._hang_up,
            "clock_ahead": self._clock,
            "clock_back": self._clock,
            "poison": self._poison,
        }
        with suppress(*NOT_NOW):
            await works.get(fault.kind, self._mood)(fault)

    async def _halt(self, fault: Fault) -> None:
        process = self._town.processes[fault.replica]
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(SESSION + fault.seconds)
        finally:
            process.send_signal(signal.SIGCONT)

    async def _broker(self, fault: Fault) -> None:
        broker = self._kafka.brokers[int(fault.seconds * 1000) % len(self._kafka.brokers)]
        async with self._servers:
            await asyncio.to_thread(broker.stop, signal.SIGKILL)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(broker.start)

    async def _kafka_away(self, fault: Fault) -> None:
        """Without the majority nothing is acknowledged."""
        async with self._servers:
            try:
                for broker in self._kafka.brokers[1:]:
                    broker.tell(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
            finally:
                for broker in self._kafka.brokers[1:]:
                    broker.tell(signal.SIGCONT)

    async def _restart_postgres(self, fault: Fault) -> None:
        async with self._servers:
            await asyncio.to_thread(self._postgres.stop, signal.SIGQUIT if fault.kind == "postgres_crash" else signal.SIGINT)
            await asyncio.sleep(fault.seconds / 3)
            await asyncio.to_thread(self._postgres.start)

    async def _hang_up(self, fault: Fault) -> None:
        async with self._servers:
            await self._records.hang_up()

    async def _clock(self, fault: Fault) -> None:
        async with self._servers:
            await self._records.skew(timedelta(seconds=fault.seconds * 12 if fault.kind == "clock_ahead" else -fault.seconds * 3))

    async def _mood(self, fault: Fault) -> None:
        sink, _, mood = fault.kind.partition("_")
        where = self._mail if sink == "mail" else self._sales
        async with self._moods:
            where.mood = mood
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                where.mood = "fine"

    async def _poison(self, fault: Fault) -> None:
        for topic in GROUPS:
            value = f"\x00 nobody reads {len(self.thrown)} of {self._records.prefix}".encode()
            self.thrown[value] = (topic, False)
            self.thrown[value] = (topic, await self._records.throw(topic, value))
