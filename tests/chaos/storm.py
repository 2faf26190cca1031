"""A storm over the town: load, kills and faults by a plan, a supervisor that starts again what died, and calm until all has settled.

plan(seed) ──► Storm ──► kill -9, SIGSTOP, brokers, PostgreSQL, relay, endpoint, clock …     Load ──► ingest ──► … ──► sinks
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from aiokafka.errors import KafkaError

from deploy.servers import KafkaCluster, Missing, Postgres
from shared.instant import EPOCH
from shared.wire import decode_event
from tests.chaos.faults import NOT_NOW, SESSION, Faults
from tests.chaos.plan import FAULTS, Fault, Kill, plan
from tests.chaos.records import GROUPS, Records
from tests.chaos.sinks import MailSink, SalesSink
from tests.chaos.storm_load import StormLoad
from tests.town import SERVICES, Town

HERE = Path(__file__).parent
FAILPOINT_WITHIN, START_WITHIN = 15.0, 90.0
"""Seconds that an armed process gets to come to its failpoint once it serves, and to serve: some failpoints are seldom passed."""
PATIENCE = 5.0
"""Seconds that the storm waits for its victim to have started: on a slow machine it would else kill nothing but starts."""
SPOOLS = {"ingest-1": "64MiB", "ingest-2": "32KiB"}
"""While Kafka is away the one takes everything in; the other's spool is soon full, and it says 503."""
SETTLED = ("sent", "failed", "suppressed", "in_doubt")


@dataclass
class Log:
    """What was done, and what was seen while it was done."""

    killed: Counter[str] = field(default_factory=Counter)
    """By service, at random."""
    struck: Counter[str] = field(default_factory=Counter)
    """By failpoint and service."""
    faults: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves, by service and code: a start while the database is away, or a consumer that gave up."""
    wounds: list[str] = field(default_factory=list)
    """Invariants seen broken while it was going on."""
    thrown: dict[bytes, tuple[str, bool]] = field(default_factory=dict)
    """Records that nobody can read: their topic, and whether Kafka said that it has them."""
    slowest_restart: float = 0.0
    largest_process: int = 0
    """In MiB."""
    most_files: int = 0

    @property
    def kills(self) -> int:
        return self.killed.total() + self.struck.total()


class Storm:
    """One run. The servers and sinks are running already; the town is made here."""

    def __init__(
        self,
        folder: Path,
        postgres: Postgres,
        kafka: KafkaCluster,
        mail: MailSink,
        sales: SalesSink,
        *,
        seed: int,
        kills: int,
        pace: float = 1.0,
    ) -> None:
        self.seed, self.wanted = seed, kills
        self._pace = pace
        self.mail, self.sales = mail, sales
        self.log = Log()
        name = f"storm{seed}x{os.getpid()}"
        postgres.make_database(name)
        self.records = Records(postgres.url(name), name, kafka.bootstrap, name)
        self.town = Town(
            folder,
            dict.fromkeys(SERVICES, 2),
            DRIPLINE_DATABASE_URL=postgres.url(name),
            DRIPLINE_KAFKA_BOOTSTRAP=kafka.bootstrap,
            DRIPLINE_KAFKA_REPLICAS=str(len(kafka.brokers)),
            DRIPLINE_KAFKA_SESSION_SECONDS=str(SESSION),
            DRIPLINE_TOPIC_PREFIX=name,
            DRIPLINE_SMTP_URL=mail.url,
            SALES_WEBHOOK_URL=sales.url,
        )
        self._chance = random.Random(seed)
        self._next: dict[str, str] = {}  # the failpoint of a replica's next process
        self._armed: dict[str, str] = {}
        self._struck_at: dict[str, float] = {}  # killed by us, not buried yet
        self._since: dict[str, float] = {}
        self._up: dict[str, float] = {}  # since when a replica's process has been seen to serve
        self._owed: dict[str, list[str]] = defaultdict(list)  # failpoints that a service has not been armed with yet
        self._http = httpx.AsyncClient(trust_env=False, timeout=2)
        self._positions: dict[tuple[str, str, int], int] = {}
        self._faults = Faults(self.town, postgres, kafka, self.records, mail, sales)
        self.log.thrown = self._faults.thrown
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """All of it; on return everything has settled, and the town still stands."""
        await self._found()
        self.load = StormLoad(self.town, self.mail, self.seed)
        watching = [asyncio.create_task(work) for work in (self._supervise(), self._sample())]
        try:
            await self._until("every service answers", self._all_answer, 300)
            await self._publish()
            posting = asyncio.create_task(self.load.run())
            await self._rage(posting)
            await self._calm()
            self.load.stop()
            await posting
            await self._drain()
            await asyncio.sleep(2.5)  # one more sample of a town at rest
        finally:
            for task in [*watching, *self._under_way]:
                task.cancel()
            await asyncio.gather(*watching, *self._under_way, return_exceptions=True)
            await self._http.aclose()

    def close(self) -> None:
        for process in self.town.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.town.close()

    # the town

    async def _found(self) -> None:
        migrated = await asyncio.to_thread(self.town.command, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        await self.records.skewable()
        for name in self.town.replicas:
            self._begin(name)

    async def _publish(self) -> None:
        published = await asyncio.to_thread(self.town.command, "publish", str(HERE / "storm_playbook"))
        assert published.returncode == 0, published.stderr

    def _begin(self, name: str) -> None:
        """The first of each service has a name in its groups, the second is a stranger after each start: both kinds are to be had."""
        failpoints = self._next.pop(name, "")
        ours = {"DRIPLINE_FAILPOINTS": failpoints}
        if name.endswith("-1"):
            ours["DRIPLINE_KAFKA_INSTANCE"] = name
        if name.startswith("ingest"):
            ours["DRIPLINE_SPOOL_DIR"] = str(self.town.folder / f"spool-{name}")
            ours["DRIPLINE_SPOOL_BYTES"] = SPOOLS[name]
        self.town.begin(name, **ours)
        self._since[name] = time.monotonic()
        self._up.pop(name, None)
        if failpoints:
            self._armed[name] = failpoints

    async def _supervise(self) -> None:
        """Start again whoever ended: the killed at once, who ended by himself (a server is away) a second after his last start."""
        resting: dict[str, float] = {}
        while True:
            now = time.monotonic()
            for name, process in list(self.town.processes.items()):
                code = process.poll()
                if code is None:
                    continue
                if name not in resting:
                    resting[name] = now if self._bury(name, code) else max(now, self._since[name] + 1)
                if resting[name] <= now:
                    del resting[name]
                    self._begin(name)
            await asyncio.sleep(0.05)

    def _bury(self, name: str, code: int) -> bool:
        """Count the dead; whether it was a kill."""
        service = self.town.replicas[name].service
        failpoint = self._armed.pop(name, "")
        if name in self._struck_at:
            self.log.killed[service] += 1
            self.log.slowest_restart = max(self.log.slowest_restart, time.monotonic() - self._struck_at.pop(name))
        elif failpoint and code == -signal.SIGKILL:
            self.log.struck[f"{failpoint.partition('=')[0]} in {service}"] += 1
        else:
            self.log.exits[f"{service}, code {code}"] += 1
            if failpoint:
                self._next.setdefault(name, failpoint)
            return False
        return True

    def _kill(self, name: str) -> None:
        process = self.town.processes[name]
        if process.poll() is None:
            self._struck_at[name] = time.monotonic()
            process.send_signal(signal.SIGKILL)

    async def _all_answer(self) -> bool:
        return all(await asyncio.gather(*map(self._answers, self.town.replicas)))

    async def _answers(self, name: str) -> bool:
        """Whether it serves; its port is taken long before."""
        try:
            answer = await self._http.get(f"{self.town.replicas[name].url}/healthz")
        except httpx.HTTPError:
            return False
        if answer.status_code == 200:
            self._up.setdefault(name, time.monotonic())
        return answer.status_code == 200

    # the storm

    async def _rage(self, posting: "asyncio.Task[None]") -> None:
        between = max(1, min(15, self.wanted // len(FAULTS)))
        for step in plan(self.seed, list(self.town.replicas), between, self._pace):
            if self.log.kills >= self.wanted and (between > 1 or self.log.faults.total() >= len(FAULTS)):
                return
            await asyncio.sleep(step.pause)
            assert not posting.done(), posting
            match step.do:
                case Kill() as kill:
                    await self._strike(kill)
                case Fault() as fault:
                    self.log.faults[fault.kind] += 1
                    task = asyncio.create_task(self._do(fault))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)

    async def _do(self, fault: Fault) -> None:
        try:
            await self._faults.do(fault)
        except Missing as missing:
            self.log.wounds.append(f"a server did not come back after {fault.kind}: {missing}")

    async def _strike(self, kill: Kill) -> None:
        """Kill the replica, or another where this one is on its way to its failpoint. What its service owes arms whoever comes next."""
        service = kill.replica.partition("-")[0]
        if kill.then:
            self._owed[service].append(kill.then)
        victim = next((name for name in self._from(kill.replica) if not self._is_on_its_way(name)), kill.replica)
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends and not await self._answers(victim):
            await asyncio.sleep(0.2)
        owed = self._owed[victim.partition("-")[0]]
        if owed:
            self._next[victim] = owed.pop(0)
        self._kill(victim)

    def _from(self, name: str) -> list[str]:
        """The replica, its siblings, then all others in their order."""
        service = name.partition("-")[0]
        siblings = [other for other in self.town.replicas if other.startswith(service) and other != name]
        return [name, *siblings, *(other for other in self.town.replicas if not other.startswith(service))]

    def _is_on_its_way(self, name: str) -> bool:
        """Armed, and started so lately that it may still come to its failpoint."""
        now = time.monotonic()
        if name not in self._armed:
            return False
        return now - self._up[name] < FAILPOINT_WITHIN if name in self._up else now - self._since[name] < START_WITHIN

    # the calm

    async def _calm(self) -> None:
        """Every server is there, nothing is halted, and no failpoint is armed any more."""
        self._next.clear()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=90)
        for name in list(self._armed):
            self._kill(name)
        await self._until("every service answers", self._all_answer, 300)

    async def _drain(self) -> None:
        """Wait until nothing is on its way any more. Leases and backoffs need not be waited for: the clock goes ahead."""
        ends = time.monotonic() + 240 + self.wanted / 2
        while (left := await self._not_settled()) and time.monotonic() < ends:
            await asyncio.sleep(1.0)
            if left == ["later"]:
                await self._go_ahead()
        self.log.wounds += [f"not settled: {what}" for what in left]

    async def _not_settled(self) -> list[str]:
        """As `_left`; a question that a slow machine does not answer in time is asked again."""
        try:
            return await self._left() or await self._unrecorded()
        except (*NOT_NOW, KafkaError) as error:
            return [f"nobody knows what: {error!r}"]

    async def _left(self) -> list[str]:
        """What is still on its way; `later` alone where all that is left waits for its time."""
        found = []
        ends, positions = await self.records.ends(), await self.records.positions()
        for (topic, number), end in ends.items():
            behind = [group for group in GROUPS[topic] if end and positions.get((group, topic, number), 0) != end]
            found += [f"{group} behind on {topic}/{number}: {positions.get((group, topic, number))} of {end}" for group in behind]
        counts = await self.records.fetch(
            """SELECT (SELECT count(*) FROM shared_outbox) AS blobs,
                 (SELECT count(*) FROM journeys_enrollment WHERE status = 'active') AS walks,
                 (SELECT count(*) FROM mailer_delivery WHERE status <> ALL($1)) AS deliveries,
                 (SELECT count(*) FROM mailer_handoff WHERE status = 'open') AS handoffs""",
            list(SETTLED),
        )
        found += [f"{number} {what}" for what, number in counts[0].items() if number]
        if not found:
            return []
        waits = [what for what in found if what.split()[-1] in ("walks", "deliveries", "handoffs")]
        due = await self._due()
        return ["later"] if len(waits) == len(found) and due is not None and due > timedelta(seconds=2) else found

    async def _unrecorded(self) -> list[str]:
        """What was acknowledged and is in no table yet: it may still wait in a spool."""
        rows = await self.records.fetch("SELECT event FROM scoring_event")
        missing = self.load.ledger.accepted - {decode_event(row["event"]).message_id for row in rows}
        return [f"{len(missing)} acknowledged events to be recorded"] if missing else []

    async def _due(self) -> timedelta | None:
        """How long until the next thing is due; None where nothing ever is."""
        rows = await self.records.fetch(
            """SELECT min(at) AS at FROM (SELECT min(due_at) AS at FROM mailer_delivery WHERE status <> ALL($1)
                 UNION SELECT min(wake_at) FROM journeys_enrollment WHERE status = 'active') AS waiting""",
            list(SETTLED),
        )
        return EPOCH + timedelta(microseconds=rows[0]["at"]) - await self.records.now() if rows[0]["at"] else None

    async def _go_ahead(self) -> None:
        """Set the clock to when the next thing is due. Who is started anew believes it at once; who runs would want a minute's proof."""
        with suppress(*NOT_NOW):
            await self._set_ahead()

    async def _set_ahead(self) -> None:
        due = await self._due()
        if due is None:
            return
        await self.records.skew(due + timedelta(seconds=1))
        for name, replica in self.town.replicas.items():
            if replica.service in ("journeys", "mailer", "scoring"):
                self.town.processes[name].send_signal(signal.SIGTERM)
        await asyncio.sleep(6)

    # what is watched all the while

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(2.0)
            self._weigh()
            await asyncio.gather(*map(self._answers, list(self._armed)))
            with suppress(Exception):
                self._compare(await self.records.positions())

    def _compare(self, positions: dict[tuple[str, str, int], int]) -> None:
        for place, offset in self._positions.items():
            if positions.get(place, 0) < offset:
                self.log.wounds.append(f"i8: the position of {place} went back from {offset} to {positions.get(place)}")
        self._positions = positions

    def _weigh(self) -> None:
        for process in self.town.processes.values():
            with suppress(OSError, ValueError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text()
                pages = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
                self.log.largest_process = max(self.log.largest_process, int(pages.split()[1]) >> 10)
                self.log.most_files = max(self.log.most_files, len(os.listdir(f"/proc/{process.pid}/fd")))

    async def _until(self, what: str, ask: Callable[[], Coroutine[Any, Any, bool]], seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not await ask():
            assert time.monotonic() < ends, f"{what}: not within {seconds} s"
            await asyncio.sleep(0.2)
