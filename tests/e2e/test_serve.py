"""The services as processes of their own, two of those that do the work, on real PostgreSQL and Kafka: an event's way, and a kill."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests import servers
from tests.chaos.sinks import MailSink, SalesSink
from tests.e2e.house import CHECKOUT, until
from tests.town import KEY, Town

PLAYBOOK = CHECKOUT / "tests" / "chaos" / "playbook"
TWICE = ("scoring", "journeys", "mailer")


class Guest:
    """Whoever talks to the town: posts events, asks about leads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.http = httpx.Client(trust_env=False, timeout=10, headers={"Authorization": f"Bearer {KEY}"})

    def event(self, user: str, name: str, **properties: Any) -> None:
        self.post("track", {"userId": user, "event": name, "properties": properties})

    def post(self, path: str, body: dict[str, Any]) -> None:
        answer = self.http.post(f"{self._url}/v1/{path}", json=body, auth=(KEY, ""))
        assert (answer.status_code, answer.json()) == (200, {"success": True})

    def lead(self, user: str) -> dict[str, Any] | None:
        items = self.http.get(f"{self._url}/api/leads", params={"user_id": user}).json().get("items")  # none while its service starts again
        return items[0] if items else None

    def answers(self, url: str) -> bool:
        try:
            return self.http.get(f"{url}/healthz").status_code == 200
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
def database() -> str:
    """The address of a database of its own."""
    name = f"serve{uuid4().hex[:12]}"
    servers.postgres().make_database(name)
    return servers.postgres().url(name)


def ask(database: str, question: str, *given: Any) -> Any:
    async def asked() -> Any:
        connection = await asyncpg.connect(database.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(question, *given)
        finally:
            await connection.close()

    return asyncio.run(asked())


NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
LEASES_END = "UPDATE mailer_delivery SET due_at = claimed_at WHERE claimed_at < $1 AND status IN ('queued', 'deferred', 'sending')"
ENDED = "SELECT count(*) FROM mailer_delivery WHERE kind = 'email' AND status IN ('sent', 'in_doubt')"


@pytest.fixture
def town(tmp_path: Path, database: str, sinks: tuple[MailSink, SalesSink]) -> Iterator[Town]:
    mail, sales = sinks
    kafka = servers.kafka()
    town = Town(
        tmp_path,
        dict.fromkeys(TWICE, 2),
        DRIPLINE_DATABASE_URL=database,
        DRIPLINE_KAFKA_BOOTSTRAP=kafka.bootstrap,
        DRIPLINE_KAFKA_REPLICAS="1",
        DRIPLINE_TOPIC_PREFIX=database.rpartition("/")[2],
        DRIPLINE_SMTP_URL=mail.url,
        SALES_WEBHOOK_URL=sales.url,
    )
    yield town
    town.close()


@pytest.fixture
def guest(town: Town) -> Iterator[Guest]:
    guest = Guest(town.url)
    yield guest
    guest.http.close()


@pytest.mark.timeout(420)
def test_an_event_goes_all_the_way_and_a_killed_replica_costs_nothing(
    town: Town, guest: Guest, database: str, sinks: tuple[MailSink, SalesSink]
):
    mail, sales = sinks
    refused = town.command("serve", "scoring")
    assert (refused.returncode, "run `dripline migrate` first" in refused.stderr) == (2, True)
    migrated = town.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "applied: 0001, 0002" in migrated.stdout
    for name in town.replicas:
        town.begin(name)
    for replica in town.replicas.values():
        until(lambda url=replica.url: guest.answers(url), 90)
    published = town.command("publish", str(PLAYBOOK))
    assert published.returncode == 0, published.stderr
    readers = [f"ana{number}" for number in range(40)]
    for number, user in enumerate(readers):
        guest.post("identify", {"userId": user, "traits": {"name": user, "email": f"{user}@example.com", "consent": True}})
        guest.event(user, "Ebook Downloaded")
        if number == 20:
            for service in TWICE:
                town.processes[f"{service}-1"].send_signal(signal.SIGKILL)
                town.processes[f"{service}-1"].wait(10)
            killed_at = ask(database, NOW)
            for service in TWICE:
                town.begin(f"{service}-1")
    guest.event("ana0", "Link Clicked", paid=True)
    until(lambda: (guest.lead("ana0") or {}).get("hot"), 90)
    ask(database, LEASES_END, killed_at)  # of what the killed mailer had in hand: nobody waits for minutes here
    until(lambda: ask(database, ENDED) >= 2 * len(readers) - 1, 120)
    until(lambda: sales.received, 60)
    audited = until(lambda: _reconciled(town), 60)
    assert "all" in audited
    for name, process in town.processes.items():
        process.terminate()
        assert process.wait(15) == 0, town.log_of(name)[-2000:]
    assert max(mail.accepted.values()) == 1


def _reconciled(town: Town) -> str:
    found = town.command("audit")
    return found.stdout if found.returncode == 0 else ""
