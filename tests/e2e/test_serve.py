"""The services as processes of their own, two of those that do the work, on real PostgreSQL and Kafka: an event's way, and a kill."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import servers
from tests.chaos.sinks import MailSink, SalesSink, free_port
from tests.e2e.house import CHECKOUT, DRIPLINE, clean_environment, run_command, until

PLAYBOOK = CHECKOUT / "tests" / "chaos" / "playbook"
TWICE = ("scoring", "journeys", "mailer")
KEY = "sk_of_this_test_and_no_other"


class Town:
    """Every service, `TWICE` of some, behind the console's front."""

    def __init__(self, folder: Path, mail: MailSink, sales: SalesSink) -> None:
        postgres, kafka = servers.postgres(), servers.kafka()
        name = f"serve{uuid4().hex[:12]}"
        postgres.make_database(name)
        self._folder = folder
        self._ports = {service: free_port() for service in ("console", "ingest", *TWICE)}
        urls = {f"DRIPLINE_{service.upper()}_URL": f"http://127.0.0.1:{port}" for service, port in self._ports.items()}
        ours = dict(
            DRIPLINE_DATABASE_URL=postgres.url(name),
            DRIPLINE_KAFKA_BOOTSTRAP=kafka.bootstrap,
            DRIPLINE_KAFKA_PARTITIONS="4",
            DRIPLINE_KAFKA_REPLICAS="1",
            DRIPLINE_TOPIC_PREFIX=name,
            DRIPLINE_SECRET_KEY="the secret of this test, and of no other",
            DRIPLINE_API_KEY=KEY,
            DRIPLINE_CONSOLE_PASSWORD="tea",
            DRIPLINE_SMTP_URL=mail.url,
            DRIPLINE_ALLOW_PRIVATE_WEBHOOKS="1",
            SALES_WEBHOOK_URL=sales.url,
            SALES_WEBHOOK_SECRET="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            **urls,
        )
        self.url = urls["DRIPLINE_CONSOLE_URL"]
        self._ours = ours | {"DRIPLINE_URL": self.url}
        self.environ = clean_environment(**ours)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(trust_env=False, timeout=10, headers={"Authorization": f"Bearer {KEY}"})

    def start(self) -> None:
        for service, port in self._ports.items():
            self.begin(service, service, port)
            if service in TWICE:
                self.begin(f"{service}-2", service, 0)
        for port in self._ports.values():
            until(lambda port=port: self._answers(port), 90)

    def begin(self, name: str, service: str, port: int) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [*DRIPLINE, "serve", service, "--port", str(port)]
            self.processes[name] = subprocess.Popen(command, env=self.environ, cwd=self._folder, stdout=log, stderr=log)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_command(*words, cwd=self._folder, **self._ours)

    def event(self, user: str, name: str, **properties: Any) -> None:
        self.post("track", {"userId": user, "event": name, "properties": properties})

    def post(self, path: str, body: dict[str, Any]) -> None:
        answer = self.http.post(f"{self.url}/v1/{path}", json=body, auth=(KEY, ""))
        assert (answer.status_code, answer.json()) == (200, {"success": True})

    def lead(self, user: str) -> dict[str, Any] | None:
        items = self.http.get(f"{self.url}/api/leads", params={"user_id": user}).json().get("items")  # none while its service starts again
        return items[0] if items else None

    def close(self) -> None:
        self.http.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            process.wait(20)

    def _answers(self, port: int) -> bool:
        try:
            return self.http.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def sinks() -> Iterator[tuple[MailSink, SalesSink]]:
    mail, sales = MailSink(1), SalesSink()
    mail.start()
    sales.start()
    yield mail, sales
    mail.stop()
    sales.stop()


@pytest.fixture
def town(tmp_path: Path, sinks: tuple[MailSink, SalesSink]) -> Iterator[Town]:
    town = Town(tmp_path, *sinks)
    yield town
    town.close()


def test_an_event_goes_all_the_way_and_a_killed_replica_costs_nothing(town: Town, sinks: tuple[MailSink, SalesSink], tmp_path: Path):
    mail, sales = sinks
    refused = town.command("serve", "scoring")
    assert (refused.returncode, "run `dripline migrate` first" in refused.stderr) == (2, True)
    migrated = town.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "applied: 0001, 0002" in migrated.stdout
    town.start()
    published = town.command("publish", str(PLAYBOOK))
    assert published.returncode == 0, published.stderr
    readers = [f"ana{number}" for number in range(40)]
    for number, user in enumerate(readers):
        town.post("identify", {"userId": user, "traits": {"name": user, "email": f"{user}@example.com", "consent": True}})
        town.event(user, "Ebook Downloaded")
        if number == 20:
            for service in TWICE:
                town.processes[service].send_signal(signal.SIGKILL)
                town.processes[service].wait(10)
            for service in TWICE:
                town.begin(service, service, town._ports[service])
    town.event("ana0", "Link Clicked", paid=True)
    until(lambda: (town.lead("ana0") or {}).get("hot"), 90)
    until(lambda: len(mail.accepted) >= 2 * len(readers) - 1, 120)
    until(lambda: sales.received, 60)
    audited = until(lambda: _reconciled(town), 60)
    assert "all" in audited
    for name, process in town.processes.items():
        process.terminate()
        assert process.wait(15) == 0, (tmp_path / f"{name}.log").read_text()[-2000:]
    assert max(mail.accepted.values()) == 1


def _reconciled(town: Town) -> str:
    found = town.command("audit")
    return found.stdout if found.returncode == 0 else ""
