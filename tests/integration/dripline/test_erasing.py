"""A person is forgotten everywhere: no table and no file of the folder holds a string of hers, and what comes late does not bring her back.

The whole house in one process, on one loop; its chores are done by hand.
"""

import asyncio
import base64
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from dripline.data_folder import DataFolder
from dripline.embedded import House, build_house
from dripline.migrate import every_table
from dripline.settings import RunSettings
from shared.errors import Outage
from shared.playbooks import playbook_of
from shared.segment_rewriting import frames_of
from shared.serving import http_config

FILES = {
    "playbook.yaml": (
        "name: Test\n"
        'brand: {name: Acme, url: "https://acme.example", address: "1 High Street, Dublin"}\n'
        'mail: {from: "Acme <hello@acme.example>", timezone: Europe/Dublin, locale: en}\n'
        'endpoints: {sales: {url: "${SALES_WEBHOOK_URL}", secret: "${SALES_WEBHOOK_SECRET}"}}\n'
    ),
    "readiness.yaml": "hot: 9\nrules:\n  - {id: ebook, event: Ebook Downloaded, at_least: 7}\n  - {id: paid, event: Paid, at_least: 9}\n",
    "journeys/welcome.yaml": (
        "journey: welcome\ntrigger: {event: Ebook Downloaded, key: event.properties.book}\nreentry: always\n"
        "exit_when: [{event: Order Completed}]\nsteps: [{id: hello, send: hello}, {id: pause, wait: 30d}, {id: again, send: hello}]\n"
    ),
    "journeys/sales.yaml": "journey: sales\ntrigger: {readiness: {rises_to: 9}}\nsteps: [{id: tell, handoff: sales, note: hot}]\n",
    "templates/hello.html": "---\nsubject: Hello {{ lead.traits.name }}\n---\n<p>Hello {{ lead.traits.name }}, <a href='https://acme.example/x'>look</a></p>\n",
    "templates/receipt.html": "---\nsubject: Your receipt\n---\n<p>Thank you</p>\n",
}
HERS = ("ana.unforgotten", "unforgettable", "user-ana", "device-ana", "former-ana", "ana.earlier", "secretbook")
"""What must be nowhere, in small letters."""


class Living:
    """A house at work, and what a shop says to it."""

    def __init__(self, house: House, listening: socket.socket) -> None:
        self.house = house
        self.server = uvicorn.Server(http_config(house.app))
        self.listening = listening
        self.client = httpx.AsyncClient(base_url=house.url, headers={"Authorization": f"Bearer {house.api_key}"}, trust_env=False)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.house.ports.keys.reload()
        await self.house.ports.playbooks.publish(playbook_of({name: text.encode() for name, text in FILES.items()}))
        loops = [*self.house.footing(), *(loop for service in self.house.services.values() for loop in service.loops)]
        self.server.config.load()
        self.server.lifespan = self.server.config.lifespan_class(self.server.config)
        await self.server.startup([self.listening])
        self.tasks = [asyncio.create_task(_run(loop)) for loop in loops]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.aclose()
        await self.server.shutdown([self.listening])
        await self.house.close()

    async def post(self, path: str, secret: bool = True, **body: Any) -> httpx.Response:
        key = self.house.api_key if secret else self.house.write_key
        token = base64.b64encode(f"{key}:".encode()).decode()
        return await self.client.post(f"/v1/{path}", json=body, headers={"Authorization": f"Basic {token}"})

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def leads(self, user_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.get("/api/leads", user_id=user_id))["items"]
        return found

    async def chores(self) -> None:
        """What is rung every few seconds, for as long as something still has to wait."""
        for service in self.house.services.values():
            for chore in service.chores:
                await chore.do()
        with suppress(Outage):
            await self.house.erasing.look()

    async def erase(self, lead_id: str, path: str = "/api/leads") -> dict[str, Any]:
        for _ in range(100):
            answer = await self.client.delete(f"{path}/{lead_id}", params={"wait": 0})
            assert answer.status_code in (200, 202), answer.text
            state: dict[str, Any] = answer.json()
            if state["done"]:
                return state
            path, lead_id = "/api/leads", state["lead_id"]
            await self.chores()
            await asyncio.sleep(0.05)
        raise AssertionError(state)

    async def until(self, asked: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(200):
            found = await asked()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError("it never happened")


async def _run(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


@pytest.fixture
async def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Living]:
    for name in ("SALES_WEBHOOK_URL", "SALES_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    folder = DataFolder(tmp_path / "data")
    with folder.locked(), socket.create_server(("127.0.0.1", 0)) as listening:
        house = build_house(folder, RunSettings(), f"http://127.0.0.1:{listening.getsockname()[1]}", "open sesame")
        living = Living(house, listening)
        await living.start()
        yield living
        await living.stop()


def found_in_tables(state: Path, strings: tuple[str, ...]) -> list[str]:
    """Every table and column that holds one of them."""
    database = sqlite3.connect(state)
    found = []
    for table in every_table().sorted_tables:
        for row in database.execute(f"SELECT * FROM {table.name}"):
            for column, value in zip(table.columns.keys(), row, strict=False):
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                found += [f"{table.name}.{column}: {one}" for one in strings if one in text.lower()]
    database.close()
    return sorted(set(found))


def found_in_files(folder: Path, strings: tuple[str, ...]) -> list[str]:
    """Every file whose bytes hold one of them; the log's records are read as its readers do, for they are packed."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes().lower()
        found += [f"{path.relative_to(folder)}: {one}" for one in strings if one.encode() in content]
    return sorted(set(found))


def found_in_log(folder: Path, strings: tuple[str, ...]) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*.log")):
        for _, records in frames_of(path):
            for record in records:
                text = record.key.lower().encode() + b" " + record.value.lower()
                found += [f"{path.parent.parent.name}: {one}" for one in strings if one.encode() in text]
    return sorted(set(found))


def everywhere(living: Living, strings: tuple[str, ...]) -> list[str]:
    folder = living.house.folder
    return [*found_in_tables(folder.state, strings), *found_in_files(folder.path, strings), *found_in_log(folder.log, strings)]


def kept_of(living: Living, name: str) -> list[str]:
    """Where somebody still stands in the tables, but for what is on its way out."""
    return [found for found in found_in_tables(living.house.folder.state, (name,)) if not found.startswith("shared_outbox")]


async def _sent(living: Living, user_id: str, count: int) -> bool:
    leads = await living.leads(user_id)
    deliveries = (await living.get("/api/deliveries", lead_id=leads[0]["id"], status="sent"))["items"] if leads else []
    return len(deliveries) >= count


async def a_whole_life(living: Living, name: str, device: str) -> str:
    """Everything there is to keep of somebody; answers the lead's id."""
    address = f"{name}@example.com"
    await living.post("track", secret=False, anonymousId=device, event="Page Looked At", properties={"path": f"/for/{name}"})
    await living.post("identify", userId=f"former-{name}", traits={"email": f"{name}.earlier@example.com"})
    traits = {"email": address, "name": f"{name} unforgettable", "consent": True}
    await living.post("batch", batch=[{"type": "identify", "userId": f"user-{name}", "anonymousId": device, "traits": traits}])
    await living.post("alias", userId=f"user-{name}", previousId=f"former-{name}")
    await living.post("track", userId=f"user-{name}", event="Ebook Downloaded", properties={"book": f"secretbook-{name}"})
    await living.until(lambda: _sent(living, f"user-{name}", 1))
    await living.post("track", userId=f"user-{name}", event="Order Completed", properties={"note": f"to {name} unforgettable"})
    await living.post("track", userId=f"user-{name}", event="Ebook Downloaded", properties={"book": f"secretbook-{name}-2"})
    await living.until(lambda: _sent(living, f"user-{name}", 2))
    await living.post("track", userId=f"user-{name}", event="Email Sent", properties={"forged": f"{name} unforgettable"})
    await living.post("identify", userId=f"user-{name}", traits={"long": f"{name} unforgettable " * 1500})
    await living.post("track", userId=f"user-{name}", event="Paid")
    lead = (await living.until(lambda: living.leads(f"user-{name}")))[0]

    async def is_whole() -> bool:
        letters = (await living.get("/api/dead-letters"))["items"]
        theirs = [letter for letter in letters if f"user-{name}" in letter["payload"]]
        return await _sent(living, f"user-{name}", 3) and len(theirs) >= 2

    await living.until(is_whole)
    await living.client.post("/api/suppressions", json={"address": f"{name}.earlier@example.com", "reason": "manual"})
    return str(lead["id"])


async def test_nothing_of_an_erased_person_is_left_and_all_of_the_others(living: Living):
    ana = await a_whole_life(living, "ana.unforgotten", "device-ana.unforgotten")
    bob = await a_whole_life(living, "bob.remembered", "device-bob.remembered")
    assert len({found.split(":")[0] for found in everywhere(living, ("ana.unforgotten",))}) > 10
    before = kept_of(living, "bob.remembered")
    state = await living.erase(ana)
    assert everywhere(living, ("ana.unforgotten",)) == []
    assert state["removed"]["scoring"]["events"] >= 8
    assert state["removed"]["house"]["log"] > 0
    assert (state["removed"]["house"]["Mailbox"], state["removed"]["house"]["Sales inbox"]) == (2, 1)
    assert kept_of(living, "bob.remembered") == before
    assert (await living.client.get(f"/api/leads/{ana}")).status_code == 404
    assert (await living.get(f"/api/leads/{bob}"))["traits"]["name"] == "bob.remembered unforgettable"
    audit = await living.get("/api/audit")
    assert [check for check in audit["checks"] if not check["ok"]] == []
    stayed = (await living.get("/api/deliveries", lead_id=ana))["items"]
    assert {row["to"] for row in stayed if row["kind"] == "email"} == {None}
    assert {row["status"] for row in stayed} == {"sent"}
    assert (await living.erase(ana))["removed"]["scoring"] == state["removed"]["scoring"]


async def test_an_export_holds_everything_of_a_person_and_nothing_of_another(living: Living):
    ana = await a_whole_life(living, "ana.unforgotten", "device-ana")
    await a_whole_life(living, "bob.remembered", "device-bob")
    answer = await living.client.get(f"/api/leads/{ana}/export")
    whole = answer.json()
    assert "bob" not in answer.text
    did = {event.get("name") for event in whole["events"]}
    assert did >= {"Page Looked At", "Ebook Downloaded", "Order Completed", "Paid", "Email Sent"}
    assert whole["profile"]["traits"]["name"] == "ana.unforgotten unforgettable"
    assert {"kind": "device", "value": "device-ana"} in whole["names"]
    assert {"kind": "address", "value": "ana.unforgotten.earlier@example.com"} in whole["names"]
    assert {one["journey"] for one in whole["enrollments"]} == {"welcome", "sales"}
    assert any(one["entry"].get("properties", {}).get("book") == "secretbook-ana.unforgotten" for one in whole["enrollments"])
    assert {one["address"] for one in whole["deliveries"] if one["kind"] == "email"} == {"ana.unforgotten@example.com"}
    assert [one["said"]["marketing"] if isinstance(one["said"], dict) else one["said"] for one in whole["consent_history"]] == [True]
    assert {letter["code"] for letter in whole["dead_letters"]} >= {"reserved_name", "too_large"}
    assert len(whole["lead_ids"]) == 2
    made = await living.client.post("/api/keys", json={"kind": "secret", "role": "marketer"})
    refused = await living.client.get(f"/api/leads/{ana}/export", headers={"Authorization": f"Bearer {made.json()['token']}"})
    assert refused.status_code == 403


def moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def test_what_comes_late_is_dropped_and_who_signs_up_anew_is_a_new_lead(living: Living):
    ana = await a_whole_life(living, "ana.unforgotten", "device-ana")
    state = await living.erase(ana)
    before = moment(datetime.fromisoformat(state["at"]) - timedelta(minutes=1))
    await living.post("track", secret=False, anonymousId="device-ana", event="Page Looked At", timestamp=before)
    await living.post("track", userId="user-ana.unforgotten", event="Ebook Downloaded", timestamp=before)
    await living.post("identify", userId="never-seen", anonymousId="device-ana", traits={"name": "unforgettable"}, timestamp=before)
    await living.post("identify", userId="user-ana.unforgotten", traits={"email": "ana.unforgotten@example.com"}, timestamp=before)
    await living.post("track", userId="user-ana.unforgotten", event="Email Sent", properties={"a": "unforgettable"}, timestamp=before)

    async def dropped() -> bool:
        found: int = (await living.get(f"/api/erasures/{ana}"))["dropped"]
        return found >= 5

    await living.until(dropped)
    assert await living.leads("user-ana.unforgotten") == await living.leads("never-seen") == []
    assert found_in_tables(living.house.folder.state, HERS) == []

    await living.post("identify", userId="user-ana.unforgotten", anonymousId="device-ana", traits={"email": "ana.unforgotten@example.com"})
    (anew,) = await living.until(lambda: living.leads("user-ana.unforgotten"))
    assert anew["id"] != ana
    assert (anew["readiness"], anew["consent"]["marketing"], anew["traits"].get("name")) == (1, False, None)
    await living.post("track", userId="user-ana.unforgotten", event="Paid", timestamp=before)
    await living.post("track", userId="user-ana.unforgotten", event="Ebook Downloaded", properties={"book": "b"})
    await living.until(lambda: _readiness(living, "user-ana.unforgotten", 7))
    assert [event["name"] for event in (await living.get(f"/api/leads/{anew['id']}/events"))["items"]].count("Paid") == 0
    await living.house.erasing.look()
    assert (await living.get(f"/api/leads/{anew['id']}"))["email"] == "ana.unforgotten@example.com"
    audit = await living.get("/api/audit")
    assert [check for check in audit["checks"] if not check["ok"]] == []


async def _readiness(living: Living, user_id: str, wanted: int) -> bool:
    return bool((await living.leads(user_id))[0]["readiness"] == wanted)


async def test_only_an_admin_erases(living: Living):
    ana = await a_whole_life(living, "ana.unforgotten", "device-ana")
    made = await living.client.post("/api/keys", json={"kind": "secret", "role": "marketer"})
    answer = await living.client.delete(f"/api/leads/{ana}", headers={"Authorization": f"Bearer {made.json()['token']}"})
    assert answer.status_code == 403
    assert (await living.client.delete("/api/leads/nobody")).status_code == 404


async def a_message_to(living: Living, address: str) -> str:
    """Somebody who is no lead is mailed, and told to be left alone; answers the delivery's id."""
    asked = await living.client.post("/api/messages", json={"template": "receipt", "to": address}, headers={"Idempotency-Key": address})
    assert asked.status_code == 202, asked.text
    delivery_id = str(asked.json()["id"])

    async def is_sent() -> bool:
        return bool((await living.get(f"/api/deliveries/{delivery_id}"))["status"] == "sent")

    await living.until(is_sent)
    await living.client.post("/api/suppressions", json={"address": address, "reason": "manual"})
    return delivery_id


async def test_an_address_of_nobody_is_exported_and_forgotten(living: Living):
    theirs = await a_message_to(living, "Cleo.Unknown@example.com")
    others = await a_message_to(living, "dan.unknown@example.com")
    assert {found.split(":")[0].split("/")[0] for found in everywhere(living, ("cleo.unknown",))} >= {"mailbox", "mailer_delivery.address"}
    whole = await living.get("/api/addresses/cleo.unknown@example.com/export")
    assert ([one["id"] for one in whole["deliveries"]], len(whole["suppressions"])) == ([theirs], 1)
    state = await living.erase("cleo.unknown@example.com", "/api/addresses")
    assert state["removed"]["mailer"] | {"suppressions": 1, "deliveries": 1} == state["removed"]["mailer"]
    assert state["removed"]["house"]["Mailbox"] == 1
    assert everywhere(living, ("cleo.unknown",)) == []
    assert (await living.get(f"/api/deliveries/{others}"))["to"] == "dan.unknown@example.com"
    assert (await living.get("/api/addresses/cleo.unknown@example.com/export"))["deliveries"] == []
    audit = await living.get("/api/audit")
    assert [check for check in audit["checks"] if not check["ok"]] == []


async def test_what_went_to_an_address_after_it_was_erased_is_erased_by_asking_again(living: Living):
    await a_message_to(living, "cleo.unknown@example.com")
    first = await living.erase("cleo.unknown@example.com", "/api/addresses")
    again = await living.erase("cleo.unknown@example.com", "/api/addresses")
    assert not any(any(removed.values()) for removed in again["removed"].values())
    await living.client.post("/api/messages", json={"template": "receipt", "to": "cleo.unknown@example.com"})
    await living.until(lambda: _mailed(living, "cleo.unknown"))
    third = await living.erase("cleo.unknown@example.com", "/api/addresses")
    assert first["lead_id"] != third["lead_id"]
    assert everywhere(living, ("cleo.unknown",)) == []


async def _mailed(living: Living, name: str) -> bool:
    return bool(list((living.house.folder.path / "mailbox").glob("*.eml"))) and name in str(
        await living.get("/api/deliveries", status="sent")
    )


async def test_a_leads_address_is_forgotten_with_the_lead_and_with_it_what_came_before_the_lead(living: Living):
    await a_message_to(living, "cleo.unknown@example.com")
    await living.post("identify", userId="user-cleo", traits={"email": "cleo.unknown@example.com"})
    (lead,) = await living.until(lambda: living.leads("user-cleo"))
    refused = await living.client.delete("/api/addresses/cleo.unknown@example.com")
    assert (refused.status_code, refused.json()["code"]) == (409, "has_lead")

    async def is_known() -> bool:
        return len((await living.get(f"/api/leads/{lead['id']}/export"))["deliveries"]) == 1

    await living.until(is_known)
    await living.erase(lead["id"])
    assert everywhere(living, ("cleo.unknown",)) == []
    assert (await living.erase("cleo.unknown@example.com", "/api/addresses"))["done"]
