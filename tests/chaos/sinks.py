"""What stands outside while Dripline is killed: a mail server and a sales endpoint that remember all they accepted."""

import asyncio
import json
import queue
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Accepted:
    """One mail, as it was accepted: under which Message-ID, for whom, when by the monotonic clock, and where its reader can leave."""

    message_id: str
    recipient: str
    at: float
    way_out: str


class MailSink:
    """Accepts mail on a free port; counts every accepted Message-ID. Answers after a short random while, so that kills fall into it.

    `mood` is how it treats mail: `fine`; `busy` (451 to every recipient), `slow` (seconds until it answers), `deaf` (accepts the mail and
    hangs up without a word), `gone` (hangs up without having accepted it).
    """

    def __init__(self, seed: int) -> None:
        self.accepted: Counter[str] = Counter()
        self.recipients: Counter[str] = Counter()
        self.subjects: Counter[str] = Counter()
        self.journal: list[Accepted] = []
        self.mood = "fine"
        self.moody = 0
        """How many mails were not treated fine after their DATA."""
        self._random = random.Random(seed)
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if self.mood == "busy":
            return "451 come back later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        mood = self.mood
        self.moody += mood != "fine"
        if mood == "gone":
            return _hang_up(server)
        if mood == "slow":
            await asyncio.sleep(1 + self._random.random() * 4)
        self._accept(envelope)
        if mood == "deaf":
            return _hang_up(server)
        await asyncio.sleep(self._random.random() * 0.02)
        return "250 accepted"

    def _accept(self, envelope: Envelope) -> None:
        message = message_from_bytes(envelope.content or b"")
        way_out = str(message["List-Unsubscribe"] or "").strip("<>")
        self.journal.append(Accepted(str(message["Message-ID"]), envelope.rcpt_tos[0], time.monotonic(), way_out))
        self.accepted[str(message["Message-ID"])] += 1
        self.recipients[envelope.rcpt_tos[0]] += 1
        self.subjects[str(message["Subject"])] += 1


def _hang_up(server: SMTP) -> str:
    if server.transport is not None:
        server.transport.abort()
    return "250 nobody hears this"


class SalesSink:
    """Accepts webhooks on a free port, remembers every body by its webhook-id, and answers each hand-off until it is told how it stands.

    `mood`: `fine`; `failing` (500), `hanging` (accepts it, and never answers).
    """

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        self.taken: Counter[str] = Counter()
        """How often an answer of ours was taken, by hand-off."""
        self.mood = "fine"
        self._to_answer: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        received, to_answer, sink = self.received, self._to_answer, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.mood == "failing":
                    self.send_error(500)
                    return
                received.setdefault(self.headers["webhook-id"], []).append(body)
                if sink.mood == "hanging":
                    time.sleep(25)
                    return
                to_answer.put(json.loads(body)["data"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._server.serve_forever, self._answer_all)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._to_answer.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/sales"

    @staticmethod
    def answer_to(handoff_id: str) -> str:
        """What sales says to this hand-off, whenever it is asked."""
        return "rejected" if int(handoff_id[-1], 16) % 2 else "accepted"

    def _answer_all(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while (handoff := self._to_answer.get()) is not None:
                status = self._answer(client, handoff)
                if status == 200:
                    self.taken[handoff["handoff_id"]] += 1
                elif status != 409:
                    self._to_answer.put(handoff)
                    time.sleep(0.01)

    def _answer(self, client: httpx.Client, handoff: dict[str, Any]) -> int:
        """The status of the reply; 0 where nobody is there."""
        try:
            return client.post(handoff["respond_url"], json={"answer": self.answer_to(handoff["handoff_id"])}).status_code
        except httpx.HTTPError:
            return 0
