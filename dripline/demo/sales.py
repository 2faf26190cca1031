"""The sales team of `run` where none was named: mailer ──signed webhook──► SalesInbox, a page of hot leads."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

from services.console.pages import Pages, Room
from shared.http import Problem

PATH = "/demo/sales"
KEEP = 200
"""How many hot leads the page shows; older ones are dropped from its file at the next start."""


class SalesInbox:
    """Hot leads as they came, one JSON line each in one file; a webhook that comes again is shown once."""

    def __init__(self, file: Path, secret: str, now: Callable[[], datetime]) -> None:
        self._file = file
        self._verifier = Webhook(secret)
        self._now = now
        self._hot: dict[str, dict[str, Any]] = {}
        if file.exists():
            for line in file.read_bytes().splitlines()[-KEEP:]:
                found = msgspec.json.decode(line)
                self._hot[found["id"]] = found

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Keep one webhook. Raises Problem where its signature does not verify."""
        try:
            content = self._verifier.verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            raise Problem(401, "bad_signature", "the webhook's signature does not verify with this endpoint's secret") from error
        webhook_id = headers["webhook-id"]
        if webhook_id in self._hot:
            return
        self._hot[webhook_id] = {"id": webhook_id, "at": self._now().isoformat(), "content": content}
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(self._hot[webhook_id]) + b"\n")

    def newest(self) -> list[dict[str, Any]]:
        return list(reversed(self._hot.values()))

    def room(self) -> Room:
        """Its page, under the console's session, and the address that takes webhooks, which proves itself by its signature."""
        return Room("Sales inbox", PATH, Path(__file__).parent / "html", self._routes)

    def _routes(self, pages: Pages) -> APIRouter:
        router = APIRouter(include_in_schema=False)

        @router.post(PATH, status_code=204)
        async def receive(request: Request) -> None:
            self.take(dict(request.headers), await request.body())

        @router.get(PATH)
        async def show(request: Request) -> Response:
            pages.signed_in(request)
            return pages.page(request, "sales.html", hot=self.newest())

        @router.get(PATH + "/fragment")
        async def show_part(request: Request) -> Response:
            pages.signed_in(request)
            return pages.fragment(request, "sales_part.html", hot=self.newest())

        return router
