"""Load with a ledger of its own: what was answered with 200 must be there once; what was not may be there, once."""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.clients.prepare import TARGET, is_ready

STEPS = ("Ebook Downloaded", "Webinar Attended", "Link Clicked")
PHONE = "-phone"


def user_of(device: str) -> str:
    """Whose device it is, once somebody says so."""
    return device.removesuffix(PHONE)


@dataclass
class Ledger:
    """Message ids by what became of them; the events each user, or a device of his before he said who he is, was acknowledged for.

    `tied` are the devices whose user said so, `kept` the carts that nobody tried to buy.
    """

    accepted: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    by_user: dict[str, list[str]] = field(default_factory=dict)
    by_device: dict[str, list[str]] = field(default_factory=dict)
    tied: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def __or__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.accepted | other.accepted,
            self.sent | other.sent,
            self.by_user | other.by_user,
            self.by_device | other.by_device,
            self.tied | other.tied,
            self.kept | other.kept,
        )

    def acknowledge(self, event: dict[str, Any]) -> None:
        """Count it once, however often it was posted."""
        if event["messageId"] in self.accepted:
            return
        self.accepted.add(event["messageId"])
        name, user, device = event.get("event"), event.get("userId"), event.get("anonymousId")
        if user and device:
            self.tied.add(device)
        elif name and user:
            self.by_user.setdefault(user, []).append(name)
        elif name and device:
            self.by_device.setdefault(device, []).append(name)


class Load:
    """Posts identifies, single events and batches for ever-new users until stopped; repeats some, retries what failed.

    Some were seen on a device before they say who they are, so that two leads become one; some fill a cart, and some of these buy.
    """

    def __init__(self, url: str, secret_key: str, seed: int, *, others: Sequence[str] = (), rest: float = 0.0) -> None:
        """Posts to `url` or one of the `others`; a lane rests so many seconds after each user."""
        self.ledger = Ledger()
        self._random = random.Random(seed)
        self._auth = (secret_key, "")
        self._urls = (url, *others)
        self._rest = rest
        self._stopped = asyncio.Event()
        self._users = 0

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, lanes: int = 8) -> None:
        limits = httpx.Limits(max_connections=lanes)
        client = httpx.AsyncClient(auth=self._auth, trust_env=False, timeout=5, limits=limits)
        async with client, asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._lane(client))

    async def _lane(self, client: httpx.AsyncClient) -> None:
        while not self._stopped.is_set():
            user = self._next_user()
            steps = STEPS[: self._random.randint(1, 3)]
            events = [self._track(user, name) for name in steps]
            device = user + PHONE if self._random.random() < 0.4 else None
            await self._post(client, "/v1/identify", self._identify(user))
            if device is not None:
                await self._meet(client, user, device)
            if self._random.random() < 0.5:
                await self._post(client, "/v1/batch", {"batch": [dict(event, type="track") for event in events]}, events)
            else:
                for event in events:
                    await self._post(client, "/v1/track", event)
            if self._random.random() < 0.2:
                await self._post(client, "/v1/track", events[0])
            if self._random.random() < 0.3:
                await self._shop(client, {"userId": user}, f"cart of {user}", buys=self._random.random() < 0.5)
            await asyncio.sleep(self._rest * self._random.uniform(0.5, 1.5))

    async def _meet(self, client: httpx.AsyncClient, user: str, device: str) -> None:
        """A device does something, fills a cart perhaps, and then turns out to be the user's."""
        whose = {"anonymousId": device}
        await self._post(client, "/v1/track", self._event(whose, "Webinar Attended"))
        if self._random.random() < 0.5:
            await self._shop(client, whose, f"cart of {device}", buys=False)
        await self._post(client, "/v1/identify", {"userId": user, **whose, "messageId": self._id()})

    async def _shop(self, client: httpx.AsyncClient, whose: dict[str, str], cart_id: str, *, buys: bool) -> None:
        for _ in range(self._random.randint(1, 3)):
            await self._post(client, "/v1/track", self._event(whose, "Cart Updated", cart_id=cart_id))
        if buys:
            await self._post(client, "/v1/track", self._event(whose, "Order Completed", cart_id=cart_id, total=20))
        elif not self._stopped.is_set():
            self.ledger.kept.add(cart_id)

    def _next_user(self) -> str:
        self._users += 1
        return f"user-{self._users}"

    def _identify(self, user: str) -> dict[str, Any]:
        traits = {"email": f"{user}@example.com", "name": user, "consent": True}
        return {"userId": user, "messageId": self._id(), "traits": traits}

    def _track(self, user: str, name: str) -> dict[str, Any]:
        return self._event({"userId": user}, name, paid=True, title="T")

    def _event(self, whose: dict[str, str], name: str, **properties: Any) -> dict[str, Any]:
        return {**whose, "event": name, "messageId": self._id(), "properties": properties}

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128)))

    async def _post(self, client: httpx.AsyncClient, path: str, body: dict[str, Any], events: list[dict[str, Any]] | None = None) -> None:
        """Post until it is answered with 200, as every real client does, or the load stops."""
        posted = events or [body]
        self.ledger.sent.update(event["messageId"] for event in posted)
        while not self._stopped.is_set():
            try:
                answer = await client.post(self._random.choice(self._urls) + path, json=body)
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200:
                for event in posted:
                    self.ledger.acknowledge(event)
                return
            await asyncio.sleep(0.05)


class ClientLoad:
    """Segment's own Python client posting all the while, in its own environment; its retries carry it over the kills."""

    NAME = "python-2.4.0"

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self.ledger = Ledger()
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def is_ready(cls) -> bool:
        return is_ready(cls.NAME)

    async def start(self) -> None:
        folder = TARGET / self.NAME / ("Scripts" if sys.platform == "win32" else "bin")
        script = Path(__file__).parent / "segment_load.py"
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        self._process = await asyncio.create_subprocess_exec(folder / "python", script, self._url, self._key, **pipes)  # type: ignore[arg-type]

    async def stop(self) -> None:
        """Let the client hand over what it still holds, and read what it says it gave."""
        assert self._process is not None
        said, _ = await asyncio.wait_for(self._process.communicate(b""), 120)
        told = json.loads(said)
        self.ledger.sent = set(told["given"])
        self.ledger.accepted = set(told["given"]) - set(told["failed"])
        self.ledger.by_user = {user: list(names) for user, names in told["users"].items()} if not told["failed"] else {}

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
