"""Load for the storm: what `Load` posts, and beside it poison, late and shuffled repeats, and readers who leave by a mail's link."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import httpx

from shared.clock import real_now
from tests.chaos.load import Ledger, Load
from tests.chaos.sinks import MailSink
from tests.town import KEY, Town

JSON = {"Content-Type": "application/json"}
REST = 1.6
"""Seconds that a lane rests after each of its users: with eight lanes some tens of events a second."""


class StormLoad:
    """Posts to every ingest and every console's front until stopped, with a ledger of its own."""

    def __init__(self, town: Town, mail: MailSink, seed: int) -> None:
        ways_in = [town.replicas[name].url for name in ("ingest-1", "ingest-2", "console-1", "console-2")]
        self._load = Load(ways_in[0], KEY, seed, others=ways_in[1:], rest=REST)
        self._ways_in = ways_in
        self._mail = mail
        self._chance = random.Random(seed + 1)
        self._stopped = asyncio.Event()
        self.refused: dict[str, bool] = {}
        """Bad events by their message id, and whether we were told so."""
        self.left: dict[str, float] = {}
        """Addresses whose reader left, and when he was told that he has."""
        self.leaving: set[str] = set()

    @property
    def ledger(self) -> Ledger:
        return self._load.ledger

    def stop(self) -> None:
        self._stopped.set()
        self._load.stop()

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=8)
        client = httpx.AsyncClient(auth=(KEY, ""), trust_env=False, timeout=5, limits=limits)
        async with client, asyncio.TaskGroup() as group:
            group.create_task(self._load.run())
            group.create_task(self._spoil(client))
            group.create_task(self._leave(client))
            group.create_task(self._be_late(client))

    async def _spoil(self, client: httpx.AsyncClient) -> None:
        """A bad event alone, and one among good ones."""
        number = 0
        while not self._stopped.is_set():
            number += 1
            bad = {"userId": "user-1", "type": "track", "messageId": f"bad-{number}"}  # a track without a name
            good = self._track(f"neighbour-{number}", "Webinar Attended")
            self.refused[bad["messageId"]] = False
            if number % 2:
                self.refused[bad["messageId"]] = await self._until_answered(client, "/v1/track", bad) == 400
            else:
                self.ledger.sent.add(good["messageId"])
                if await self._until_answered(client, "/v1/batch", {"batch": [bad, good]}) == 200:
                    self.refused[bad["messageId"]] = True
                    self.ledger.acknowledge(good)
            await self._rest(1.0)

    async def _be_late(self, client: httpx.AsyncClient) -> None:
        """Events of last week, and each batch twice in different orders: they count like all others, once."""
        number = 0
        while not self._stopped.is_set():
            number += 1
            user = f"latecomer-{number}"
            at = (real_now() - timedelta(days=8)).isoformat()
            events = [dict(self._track(user, name), timestamp=at) for name in ("Webinar Attended", "Link Clicked", "Webinar Attended")]
            self.ledger.sent.update(event["messageId"] for event in events)
            for _ in range(2):
                if await self._until_answered(client, "/v1/batch", {"batch": events}) == 200:
                    for event in events:
                        self.ledger.accepted.add(event["messageId"])
                self._chance.shuffle(events)
            await self._rest(2.0)

    async def _leave(self, client: httpx.AsyncClient) -> None:
        """Now and then the reader of a newsletter leaves by one click; when he has been told so he fills a cart once more."""
        seen = 0
        while not self._stopped.is_set():
            await self._rest(0.2)
            news, seen = self._mail.journal[seen:], len(self._mail.journal)
            for mail in news:
                if "/u/" not in mail.way_out or mail.recipient in self.leaving or self._chance.random() > 0.1:
                    continue
                self.leaving.add(mail.recipient)
                if await self._click_away(client, mail.way_out):
                    self.left[mail.recipient] = asyncio.get_running_loop().time()
                    user = mail.recipient.partition("@")[0]
                    cart = dict(self._track(user, "Cart Updated"), properties={"cart_id": f"cart after {user} left"})
                    self.ledger.sent.add(cart["messageId"])
                    if await self._until_answered(client, "/v1/track", cart) == 200:
                        self.ledger.acknowledge(cart)

    async def _click_away(self, client: httpx.AsyncClient, way_out: str) -> bool:
        """One-click unsubscribing, as a mailbox provider does it (RFC 8058), until it is answered."""
        form = {"List-Unsubscribe": "One-Click"}
        while not self._stopped.is_set():
            try:
                if (await client.post(way_out, data=form)).status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
        return False

    def _track(self, user: str, name: str) -> dict[str, Any]:
        message_id = f"{self._chance.getrandbits(128):032x}"
        return {"type": "track", "userId": user, "event": name, "messageId": message_id, "properties": {"paid": True}}

    async def _until_answered(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> int:
        """The answer, once there is one of 200 or 400; 0 where the load stops before."""
        text = json.dumps(body)
        while not self._stopped.is_set():
            try:
                answer = await client.post(self._chance.choice(self._ways_in) + path, content=text, headers=JSON)
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code in (200, 400):
                return answer.status_code
            await asyncio.sleep(0.1)
        return 0

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
