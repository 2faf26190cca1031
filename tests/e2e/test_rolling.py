"""A rolling restart under load: nobody gets a 5xx, nothing is lost or doubled, and each replica stops in time."""

import signal
import threading
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.chaos.sinks import SalesSink
from tests.e2e.house import until
from tests.e2e.test_front import City, Letters, city, outside  # noqa: F401 - fixtures
from tests.town import KEY


class Crowd:
    """Readers and writers at both consoles, as behind a balancer: who is not let in at one goes to the other."""

    def __init__(self, town: City) -> None:
        self._city = town
        self._over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.failed: list[str] = []
        self.posted: list[str] = []
        self._threads = [threading.Thread(target=target) for target in (self._write, self._read, self._act)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response | None:
        """None where the connection was refused or closed by both; whatever was answered counts."""
        for url in self._city.urls("console"):
            try:
                answer = client.request(method, f"{url}{path}", **options)
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                self.failed.append(f"{time.monotonic():.1f} {method} {path}: {answer.status_code} {answer.text}")
            return answer
        return None

    def _client(self) -> httpx.Client:
        return httpx.Client(trust_env=False, timeout=30, headers={"authorization": f"Bearer {KEY}"})

    def _write(self) -> None:
        with self._client() as client:
            number = 0
            while not self._over.wait(0.05):
                number += 1
                user = f"bo{number}"
                traits = {"name": user, "email": f"{user}@example.com", "consent": True}
                batch = [{"type": "identify", "traits": traits}, {"type": "track", "event": "Ebook Downloaded"}]
                body = {"batch": [one | {"userId": user, "messageId": f"{user}-{place}"} for place, one in enumerate(batch)]}
                while not self._over.is_set():
                    answer = self._ask(client, "POST", "/v1/batch", json=body, auth=(KEY, ""))
                    if answer is not None and answer.status_code == 200:
                        self.posted.append(user)
                        break

    def _read(self) -> None:
        with self._client() as client:
            paths = ("/api/leads", "/api/journeys", "/api/deliveries", "/api/kpi", "/api/handoffs", "/api/dead-letters")
            while not self._over.wait(0.05):
                for path in paths:
                    self._ask(client, "GET", path)

    def _act(self) -> None:
        with self._client() as client:
            while not self._over.wait(0.2):
                for what in ("pause", "resume"):
                    self._ask(client, "POST", f"/api/journeys/cart/{what}")
                body = {"address": "no@example.com", "scope": "all", "reason": "asked"}
                self._ask(client, "POST", "/api/suppressions", json=body)


@pytest.mark.timeout(480)
def test_a_rolling_restart_under_load_answers_no_5xx_and_loses_nothing(
    city: City,  # noqa: F811 - the fixture
    outside: tuple[Letters, SalesSink, Letters, SalesSink],  # noqa: F811 - the fixture
) -> None:
    mail = outside[0]
    slow = []
    with Crowd(city) as crowd:
        until(lambda: len(mail.accepted) > 5, 120)
        for name in [name for name in city.replicas if name != "ingest-1"]:
            process = city.processes[name]
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, city.log_of(name)[-3000:]
            slow.append((time.monotonic() - began, name))
            city.begin(name)
            until(lambda name=name: city.is_ready(name), 90)
    assert max(slow)[0] < 15, slow
    assert crowd.failed == []
    assert crowd.statuses[200] > 50
    until(lambda: len(mail.accepted) >= 2 * len(crowd.posted), 180)
    assert len(mail.accepted) == 2 * len(crowd.posted)
    assert max(mail.accepted.values()) == 1
    until(lambda: city.command("audit").returncode == 0, 60)
