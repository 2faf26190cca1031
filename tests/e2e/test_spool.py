"""Ingest under `serve` as a process of its own, while Kafka, PostgreSQL and ingest itself come and go."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deploy.servers import Kafka, Postgres
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.wire import EVENTS, decode_event
from tests import servers
from tests.chaos.sinks import free_port
from tests.e2e.house import DRIPLINE, clean_environment, run_command, until

KEY = "sk_of_this_test_and_no_other"
pytestmark = pytest.mark.timeout(400)
FIRST_ANSWER = 10.0
"""Seconds: three until Kafka counts as away, the rest for a machine that is busy with other things."""


class Site:
    """Replicas of ingest, each with a spool of its own, on a Kafka that the test may kill."""

    def __init__(self, folder: Path, database: str, bootstrap: str) -> None:
        self.folder = folder
        self.prefix = f"spool{uuid4().hex[:12]}"
        self.bootstrap = bootstrap
        self._ours = {
            "DRIPLINE_DATABASE_URL": database,
            "DRIPLINE_KAFKA_BOOTSTRAP": bootstrap,
            "DRIPLINE_KAFKA_PARTITIONS": "2",
            "DRIPLINE_KAFKA_REPLICAS": "1",
            "DRIPLINE_TOPIC_PREFIX": self.prefix,
            "DRIPLINE_SECRET_KEY": "the secret of this test, and of no other",
            "DRIPLINE_API_KEY": KEY,
            "DRIPLINE_SMTP_URL": "smtp://127.0.0.1:9",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self.acknowledged: set[str] = set()
        self.http = httpx.Client(trust_env=False, timeout=30)
        migrated = self.command("migrate")
        assert migrated.returncode == 0, migrated.stderr

    def spool(self, name: str) -> Path:
        return self.folder / f"spool-{name}"

    def start(self, name: str, service: str = "ingest", *, spooling: bool = True, **more: str) -> None:
        """On return it answers."""
        spool = {"DRIPLINE_SPOOL_DIR": str(self.spool(name))} if spooling else {}
        self.begin(name, service, **spool, **more)
        until(lambda: self._is_up(name), 120)

    def begin(self, name: str, service: str, **more: str) -> None:
        """It starts by itself, or dies on the way."""
        port = self.ports.setdefault(name, free_port())
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [*DRIPLINE, "serve", service, "--port", str(port)]
            environ = clean_environment(**self._ours, **more)
            self.processes[name] = subprocess.Popen(command, env=environ, cwd=self.folder, stdout=log, stderr=log)

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run_command(*words, cwd=self.folder, **self._ours, **more)

    def post(self, name: str, message_id: str) -> tuple[int, float]:
        """The status, and how long it took; what was told yes is written down."""
        began = time.monotonic()
        body = {"userId": f"u{len(message_id) % 3}", "event": "Ebook Downloaded", "messageId": message_id}
        status = self.http.post(f"http://127.0.0.1:{self.ports[name]}/v1/track", json=body, auth=(KEY, "")).status_code
        if status == 200:
            self.acknowledged.add(message_id)
        return status, time.monotonic() - began

    def ready(self, name: str) -> tuple[int, str]:
        answer = self.http.get(f"http://127.0.0.1:{self.ports[name]}/readyz")
        return answer.status_code, answer.json().get("events", "")

    def waiting(self, name: str) -> float:
        """How many records wait in a replica's spool, as it says itself."""
        told = self.http.get(f"http://127.0.0.1:{self.ports[name]}/metrics").text
        found = re.search(r"^dripline_spool_records (\S+)", told, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def end(self, name: str, how: int = signal.SIGTERM, within: float = 15) -> int:
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(within)

    def arrived(self) -> set[str]:
        """The events that are in Kafka."""
        return asyncio.run(_read(Cluster(self.bootstrap, self.prefix), lambda found: self.acknowledged <= found))

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        self.http.close()
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def _is_up(self, name: str) -> bool:
        assert self.processes[name].poll() is None, self.said(name)[-2000:]
        try:
            return self.http.get(f"http://127.0.0.1:{self.ports[name]}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


class FromTheStart:
    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return None


async def _read(cluster: Cluster, is_enough: Callable[[set[str]], bool]) -> set[str]:
    log = KafkaLog(cluster)
    subscription = log.subscribe("reader", EVENTS, FromTheStart())
    found: set[str] = set()
    try:
        async with asyncio.timeout(60):
            while not is_enough(found):
                batch = await subscription.next(1000)
                found |= {decode_event(record.value).message_id for record in batch.records}
    except TimeoutError:
        pass
    finally:
        await log.close()
    return found


@pytest.fixture(scope="module")
def broker() -> Iterator[Kafka]:
    servers.kafka()  # skips or fails where there can be none
    with tempfile.TemporaryDirectory(prefix="dripline-kafka-") as folder:
        broker = Kafka(Path(folder), heap="256m")
        broker.start()
        yield broker
        broker.tell(signal.SIGCONT)
        broker.stop(signal.SIGKILL)


@pytest.fixture
def site(broker: Kafka) -> Iterator[Site]:
    yield from _site(broker, None)


def _site(broker: Kafka, postgres: Postgres | None) -> Iterator[Site]:
    server = postgres or servers.postgres()
    name = f"spool{uuid4().hex[:12]}"
    server.make_database(name)
    folder = Path(tempfile.mkdtemp(prefix="dripline-spool-", dir="/var/tmp"))  # /tmp may lie in memory, which is no place for a spool
    site = Site(folder, server.url(name), broker.bootstrap)
    yield site
    site.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_kafka_stops_and_dies_ingest_is_killed_and_every_acknowledged_event_arrives(site: Site, broker: Kafka):
    site.start("a")
    assert [site.post("a", f"before-{number}")[0] for number in range(5)] == [200] * 5
    broker.tell(signal.SIGSTOP)
    status, seconds = site.post("a", "first")
    assert (status, seconds < FIRST_ANSWER) == (200, True), seconds
    answers = [site.post("a", f"stopped-{number}") for number in range(20)]
    assert {status for status, _ in answers} == {200}
    assert sum(seconds for _, seconds in answers) < FIRST_ANSWER  # it is known to be away
    assert site.ready("a") == (200, "to the spool, Kafka is away")
    assert site.end("a", signal.SIGKILL) == -signal.SIGKILL
    site.start("a")
    assert site.post("a", "after the kill")[0] == 200
    broker.tell(signal.SIGCONT)
    broker.stop(signal.SIGKILL)
    assert [site.post("a", f"dead-{number}")[0] for number in range(5)] == [200] * 5
    broker.start()
    until(lambda: site.ready("a") == (200, "to Kafka") and site.waiting("a") == 0, 90, 0.5)
    assert site.post("a", "back")[0] == 200
    assert len(site.acknowledged) == 33
    assert site.arrived() == site.acknowledged
    assert site.end("a") == 0
    assert "serve.ended_at_once" not in site.said("a")


def test_without_a_spool_ingest_says_503_soon_and_takes_events_again_when_kafka_is_back(site: Site, broker: Kafka):
    site.start("a", spooling=False)
    assert site.post("a", "before")[0] == 200
    broker.tell(signal.SIGSTOP)
    status, seconds = site.post("a", "first")
    assert (status, seconds < FIRST_ANSWER) == (503, True), seconds
    assert site.post("a", "second")[0] == 503
    broker.tell(signal.SIGCONT)
    until(lambda: site.post("a", f"again-{uuid4()}")[0] == 200, 60, 0.5)
    assert site.arrived() >= site.acknowledged


def test_a_folder_whose_process_is_gone_is_drained_by_command(site: Site, broker: Kafka):
    site.start("a")
    broker.tell(signal.SIGSTOP)
    for number in range(10):
        assert site.post("a", f"kept-{number}")[0] == 200
    spool = str(site.spool("a"))
    in_use = site.command("spool", "drain", spool)
    assert (in_use.returncode, "another process spools or drains here" in in_use.stderr) == (2, True)
    site.end("a", signal.SIGKILL)
    listed = json.loads(site.command("spool", "list", spool, "--format", "json").stdout)
    assert (listed["in_use"], [(item["topic"], item["records"]) for item in listed["items"]]) == (False, [("events", 10)])
    broker.tell(signal.SIGCONT)
    broker.stop(signal.SIGKILL)
    away = site.command("spool", "drain", spool)
    assert (away.returncode, "0 records were sent, the rest stays in" in away.stderr) == (1, True), away.stderr
    broker.start()
    drained = until(lambda: _if_done(site.command("spool", "drain", spool)), 60)
    assert drained.stdout == "10 records sent; nothing waits any more\n"
    assert site.command("spool", "list", DRIPLINE_SPOOL_DIR=spool).stdout == "nothing waits\n"
    assert site.arrived() == site.acknowledged


def _if_done(command: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str] | None:
    return command if command.returncode == 0 else None


def test_ingest_dies_on_either_side_of_its_disk_and_of_kafkas_word_and_loses_nothing(site: Site, broker: Kafka):
    site.start("a")
    broker.tell(signal.SIGSTOP)
    try:
        assert site.post("a", "first")[0] == 200
        for number, failpoint in enumerate(("ingest.before_spool", "ingest.after_spool")):
            if number == 0:
                site.end("a", signal.SIGKILL)
            site.start("a", DRIPLINE_FAILPOINTS=f"{failpoint}=kill@3")
            with pytest.raises(httpx.HTTPError):
                for turn in range(5):
                    assert site.post("a", f"{number}-{turn}")[0] == 200
            assert site.processes["a"].wait(10) == -signal.SIGKILL
    finally:
        broker.tell(signal.SIGCONT)
    for failpoint in ("ingest.before_drain", "ingest.after_drain", "ingest.before_drain"):
        site.begin("a", "ingest", DRIPLINE_SPOOL_DIR=str(site.spool("a")), DRIPLINE_FAILPOINTS=f"{failpoint}=kill")
        assert site.processes["a"].wait(90) == -signal.SIGKILL
    site.start("a")
    until(lambda: site.waiting("a") == 0, 90, 0.5)
    assert len(site.acknowledged) == 5
    assert site.arrived() >= site.acknowledged


def test_a_spool_that_another_replica_has_or_that_lies_in_memory_is_refused_at_the_start(site: Site):
    site.start("a")
    second = site.command("serve", "ingest", "--port", "0", DRIPLINE_SPOOL_DIR=str(site.spool("a")))
    assert (second.returncode, "each replica of ingest needs a DRIPLINE_SPOOL_DIR of its own" in second.stderr) == (2, True), second.stderr
    if Path("/dev/shm").is_dir():
        third = site.command("serve", "ingest", "--port", "0", DRIPLINE_SPOOL_DIR="/dev/shm/dripline-spool")
        assert (third.returncode, "lies in memory (tmpfs)" in third.stderr) == (2, True), third.stderr


def test_ingest_takes_events_while_postgresql_is_away(broker: Kafka, tmp_path: Path):
    servers.postgres()  # skips or fails where there can be none
    with tempfile.TemporaryDirectory(prefix="dripline-postgres-") as folder:
        Path(folder).chmod(0o755)  # it runs as a user of its own
        postgres = Postgres(Path(folder) / "here", durable=False)
        postgres.start()
        steps = _site(broker, postgres)
        site = next(steps)
        try:
            site.start("a")
            postgres.stop(signal.SIGQUIT)
            for number in range(3):
                assert site.post("a", f"alone-{number}")[0] == 200
                time.sleep(3)  # over a look for new keys, which fails
            assert site.ready("a") == (200, "to Kafka")
            assert site.arrived() == site.acknowledged
            assert site.end("a") == 0
        finally:
            next(steps, None)
            postgres.stop(signal.SIGQUIT)


def test_every_service_ends_in_fifteen_seconds_though_kafka_hangs(site: Site, broker: Kafka):
    names = ("ingest", "scoring", "journeys", "mailer")
    for name in names:
        site.start(name, name)
    broker.tell(signal.SIGSTOP)
    try:
        assert site.post("ingest", "kept")[0] == 200
        began = time.monotonic()
        for name in names:
            site.processes[name].terminate()
        codes = {name: site.end(name, within=30) for name in names}
        took = time.monotonic() - began
    finally:
        broker.tell(signal.SIGCONT)
    assert took < 15, {name: site.said(name)[-1500:] for name in names}
    assert set(codes.values()) <= {0, 70}
    assert codes["ingest"] == 0, site.said("ingest")[-1500:]


def test_replicas_are_restarted_one_after_the_other_under_load_without_an_answer_of_5xx(site: Site):
    for name in ("a", "b"):
        site.start(name)
    load = Load(site)
    load.start()
    for name in ("a", "b", "a", "b"):
        taken = len(site.acknowledged)
        assert site.end(name) == 0
        site.start(name)
        until(lambda taken=taken: len(site.acknowledged) > taken + 20, 60)
    load.stop()
    assert set(load.statuses) == {200}, load.statuses
    assert load.given_up == 0
    assert site.arrived() == site.acknowledged


class Load(threading.Thread):
    """A client behind a balancer of its own: one that is not ready is left alone, a call that reached nobody goes to the other replica."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._ended = threading.Event()
        self.statuses: dict[int, int] = {}
        self.given_up = 0

    def run(self) -> None:
        number = 0
        with httpx.Client(trust_env=False, timeout=20, auth=(KEY, "")) as http:
            while not self._ended.is_set():
                number += 1
                self._post(http, f"load-{number}", number)

    def stop(self) -> None:
        self._ended.set()
        self.join(30)

    def _post(self, http: httpx.Client, message_id: str, turn: int) -> None:
        ports = list(self._site.ports.values())
        for attempt in range(4):
            port = ports[(turn + attempt) % len(ports)]
            try:
                body = {"userId": "u1", "event": "Ebook Downloaded", "messageId": message_id}
                status = http.post(f"http://127.0.0.1:{port}/v1/track", json=body).status_code
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                continue  # refused, or an idle connection that had just ended: nobody has answered
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == 200:
                self._site.acknowledged.add(message_id)
            return
        self.given_up += 1
