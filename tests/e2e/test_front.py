"""One address for all: what `run` answers, the console of `serve` answers, whichever replica it asks, and it says which service is away."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests import servers
from tests.chaos.sinks import MailSink, SalesSink
from tests.e2e.asked import Asked, acting, forgetting, readers, reading, shape, tracking
from tests.e2e.house import House, until
from tests.e2e.test_serve import PLAYBOOK, TWICE
from tests.town import KEY, Replica, Town

PAGE = {"accept": "text/html"}


class Letters(MailSink):
    """Keeps what it accepted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.contents.append(envelope.content)
        return await super().handle_DATA(server, session, envelope)

    def token(self) -> str:
        """What stands behind `/u/` in one of the mails."""
        found = [match[1] for content in self.contents if (match := re.search(rb"/u/([^>\s]+)>", content.replace(b"\r\n ", b"")))]
        return found[0].decode() if found else ""


class City(Town):
    """A town with two of every service but ingest, whose consoles know every replica."""

    def _neighbours(self, replica: Replica) -> dict[str, str]:
        return {f"DRIPLINE_{service.upper()}_URL": ",".join(self.urls(service)) for service in ("ingest", *TWICE)}

    def urls(self, service: str) -> list[str]:
        return [replica.url for replica in self.replicas.values() if replica.service == service]

    def is_ready(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.replicas[name].url}/readyz", trust_env=False, verify=False, timeout=10).status_code == 200
        except httpx.HTTPError:
            return False


class Caller:
    """Somebody with a secret key, at one address."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30, headers={"authorization": f"Bearer {key}"})
        self._tracking = (key, "")

    def close(self) -> None:
        self.http.close()

    def ask(self, asked: Asked) -> httpx.Response:
        auth = self._tracking if asked.path.startswith("/v1/") and "authorization" not in asked.headers else None
        return self.http.request(asked.method, asked.path, json=asked.body, params=asked.params, headers=asked.headers, auth=auth)

    def get(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params)
        return answer.json() if answer.status_code == 200 else {"items": []}

    def prepare(self, mail: Letters) -> dict[str, str]:
        """Ana reads the guide, turns hot and is given to sales, who answers; somebody posts a name of ours."""
        for call, body in (
            ("identify", {"traits": {"name": "Ana", "email": "ana@example.com", "consent": True}}),
            ("track", {"event": "Ebook Downloaded"}),
            ("track", {"event": "Link Clicked", "properties": {"paid": True}}),
            ("batch", {"batch": [{"type": "track", "userId": "ana", "event": "Email Sent"}]}),
        ):
            assert self.ask(Asked("POST", f"/v1/{call}", {"userId": "ana"} | body)).status_code == 200
        lead = until(lambda: self.get("/api/leads", user_id="ana", hot="true")["items"], 120)[0]["id"]
        until(lambda: len(self.get("/api/deliveries", lead_id=lead, status="sent")["items"]) == 3, 120)
        until(lambda: [one for one in self.get("/api/handoffs", lead_id=lead)["items"] if one["status"] != "open"], 60)
        until(lambda: all(one["status"] != "active" for one in self.get("/api/enrollments", lead_id=lead)["items"]), 60)
        letter = until(lambda: self.get("/api/dead-letters")["items"], 60)[0]["id"]
        mails = self.get("/api/deliveries", lead_id=lead, kind="email")["items"]
        return {"lead": lead, "delivery": mails[0]["id"], "letter": letter, "token": until(mail.token)}


@pytest.fixture
def outside() -> Iterator[tuple[Letters, SalesSink, Letters, SalesSink]]:
    sinks = (Letters(), SalesSink(), Letters(), SalesSink())
    for sink in sinks:
        sink.start()
    yield sinks
    for sink in sinks:
        sink.stop()


@pytest.fixture
def city(tmp_path: Path, outside: tuple[Letters, SalesSink, Letters, SalesSink]) -> Iterator[City]:
    postgres, kafka = servers.postgres(), servers.kafka()
    name = f"city{uuid4().hex[:12]}"
    postgres.make_database(name)
    city = City(
        tmp_path,
        dict.fromkeys(("console", *TWICE), 2),
        DRIPLINE_DATABASE_URL=postgres.url(name),
        DRIPLINE_KAFKA_BOOTSTRAP=kafka.bootstrap,
        DRIPLINE_KAFKA_REPLICAS="1",
        DRIPLINE_TOPIC_PREFIX=name,
        DRIPLINE_SMTP_URL=outside[0].url,
        DRIPLINE_DRAIN_SECONDS="1",
        SALES_WEBHOOK_URL=outside[1].url,
    )
    try:
        migrated = city.command("migrate")
        assert migrated.returncode == 0, migrated.stderr
        for name in city.replicas:
            city.begin(name)
        for name in city.replicas:
            until(lambda name=name: city.is_ready(name), 120)
        published = city.command("publish", str(PLAYBOOK))
        assert published.returncode == 0, published.stderr
        yield city
    finally:
        city.close()


@pytest.fixture
def house(tmp_path: Path, outside: tuple[Letters, SalesSink, Letters, SalesSink]) -> Iterator[House]:
    folder = tmp_path / "house"
    folder.mkdir()
    environ = {
        "DRIPLINE_SMTP_URL": outside[2].url,
        "DRIPLINE_ALLOW_PRIVATE_WEBHOOKS": "1",
        "SALES_WEBHOOK_URL": outside[3].url,
        "SALES_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    house = House(folder, PLAYBOOK, "--no-demo", environ=environ)
    try:
        house.start()
        yield house
    finally:
        house.close()


def told(asked: Asked, answer: httpx.Response) -> tuple[int, Any]:
    """The status, and of JSON the shape."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if asked.loose or kind != "application/json":
        return answer.status_code, kind
    said = answer.json()
    return answer.status_code, shape({key: said[key] for key in said if key not in asked.but} if asked.but else said)


@pytest.mark.timeout(300)
def test_every_path_answers_at_the_consoles_address_as_under_run(
    house: House, city: City, outside: tuple[Letters, SalesSink, Letters, SalesSink]
) -> None:
    with closing(Caller(house.url, house.secret_key)) as here, closing(Caller(city.url, KEY)) as there:
        known = [here.prepare(outside[2]), there.prepare(outside[0])]
        differing = list(_differences(here, there, known))
        assert not differing, "\n".join(differing)
        paths = [set(caller.get("/openapi.json")["paths"]) for caller in (here, there)]
        assert paths[0] == paths[1]
        _says_which_is_away(city, there)


def _differences(here: Caller, there: Caller, known: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for part in (lambda _: tracking(), reading, acting, readers, forgetting):
        for ours, theirs in zip(part(known[0]), part(known[1]), strict=True):
            under_run, under_serve = told(ours, here.ask(ours)), told(theirs, there.ask(theirs))
            if under_run != under_serve or under_run[0] >= 500:
                yield f"{ours}\n  run   {under_run}\n  serve {under_serve}"


def _says_which_is_away(city: City, caller: Caller) -> None:
    """Without its mailers the console goes on with what the others know, and names who is missing, to programs and to people."""
    for name in ("mailer-1", "mailer-2"):
        city.processes[name].kill()
        city.processes[name].wait(10)
    began = time.monotonic()
    for path in ("/api/deliveries", "/api/audit", "/readyz"):
        answer = caller.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "mailer does not answer" in answer.json()["message"]
        assert answer.headers["retry-after"] == "5"
    assert caller.http.get("/api/leads").status_code == 200
    with httpx.Client(base_url=city.url, trust_env=False, timeout=30, follow_redirects=True) as person:
        person.post("/sign-in", data={"password": "tea", "next": "/"})
        assert person.get("/", headers=PAGE).status_code == 200
        page = person.get("/kpi", headers=PAGE)
    assert page.status_code == 503
    assert "mailer does not answer" in page.text
    assert time.monotonic() - began < 20
