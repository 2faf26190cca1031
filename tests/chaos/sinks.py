"""What stands outside while Dripline is killed: a mail server and a sales endpoint that remember all they accepted."""

import asyncio
import random
import socket
import threading
from collections import Counter
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MailSink:
    """Accepts mail on a free port; counts every accepted Message-ID. Answers after a short random while, so that kills fall into it."""

    def __init__(self, seed: int) -> None:
        self.accepted: Counter[str] = Counter()
        self.recipients: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.content or b"")
        self.accepted[str(message["Message-ID"])] += 1
        self.recipients[envelope.rcpt_tos[0]] += 1
        await asyncio.sleep(self._random.random() * 0.02)
        return "250 accepted"


class SalesSink:
    """Accepts webhooks on a free port and remembers every body by its webhook-id."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.setdefault(self.headers["webhook-id"], []).append(body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/sales"
