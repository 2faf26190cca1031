"""The sales team of `run` where none was named.

mailer ──signed webhook──► SalesInbox, a page of hot leads ──a button──► `respond_url`, where every sales team answers
"""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.types import ASGIApp

from services.console.pages import IsTheirs, Pages, Room
from services.mailer.loader import Endpoint
from services.mailer.outcomes import Deferred, Delivered, Gone, Refused
from services.mailer.webhook import WebhookTransport
from shared.errors import Outage
from shared.http import Problem
from shared.names import names_in

PATH = "/demo/sales"
KEEP = 200
"""How many hot leads are kept; the oldest make room."""

LARGEST = 1 << 20
"""Bytes of one webhook."""


class HouseSender:
    """Webhooks of `run`: its own sales inbox is reached on this machine; every other endpoint only where webhooks may go anyway."""

    def __init__(self, ours: str, *, allow_private: bool) -> None:
        self._ours = ours
        self._near = WebhookTransport(True)
        self._far = WebhookTransport(allow_private)

    async def post(self, endpoint: Endpoint, webhook_id: str, body: bytes, at: datetime) -> Delivered | Deferred | Refused | Gone:
        transport = self._near if endpoint.url == self._ours else self._far
        return await transport.post(endpoint, webhook_id, body, at)

    async def close(self) -> None:
        await self._near.close()
        await self._far.close()


class SalesInbox:
    """Hot leads as they came, one JSON line each in one file; a webhook that comes again is shown once."""

    def __init__(self, file: Path, secret: str, now: Callable[[], datetime], mailer: ASGIApp) -> None:
        """`mailer` is where `respond_url` leads; within this process it is reached without a socket."""
        self._mailer = mailer
        self._file = file
        self._verifier = Webhook(secret)
        self._now = now
        self._hot: dict[str, dict[str, Any]] = {}
        self._writing = threading.Lock()
        if file.exists():
            for line in file.read_bytes().splitlines():
                self._remember(line)
            self._write_all()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Keep one webhook. Raises Problem where its signature does not verify, OSError where the disk does not take it."""
        try:
            content = self._verifier.verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            raise Problem(401, "bad_signature", "the webhook's signature does not verify with this endpoint's secret") from error
        webhook_id = headers["webhook-id"]
        if webhook_id in self._hot:
            return
        line = msgspec.json.encode({"id": webhook_id, "at": self._now().isoformat(), "content": content})
        with self._writing:
            with self._file.open("ab") as file:
                file.write(line + b"\n")
            self._remember(line)

    def forget(self, is_theirs: IsTheirs) -> int:
        """Delete the hot leads that are somebody; says how many."""
        with self._writing:
            theirs = [key for key, one in self._hot.items() if any(map(is_theirs, names_in(msgspec.json.encode(one))))]
            for key in theirs:
                del self._hot[key]
            if theirs:
                self._write_all()
        return len(theirs)

    def _write_all(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in self._hot.values()))
        draft.replace(self._file)

    def _remember(self, line: bytes) -> None:
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError:  # torn when a process was killed; its sender comes again
            return
        self._hot[found["id"]] = found
        if len(self._hot) > KEEP:
            del self._hot[next(iter(self._hot))]

    def newest(self) -> list[dict[str, Any]]:
        """The newest first, each with its body as text."""
        return [one | {"text": written(one["content"])} for one in reversed(self._hot.values())]

    async def answer(self, webhook_id: str, word: str) -> None:
        """Answer the hand-off that this webhook told of, as any sales team would. Raises Problem where it is not known or not taken."""
        found = self._hot.get(webhook_id)
        if found is None:
            raise Problem(404, "not_found", f"this hot lead is not here; the inbox keeps the newest {KEEP}")
        path = urlsplit(found["content"]["data"]["respond_url"] or "").path
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self._mailer), base_url="http://mailer") as client:
            answer = await client.post(path, json={"answer": word})
        if answer.status_code != 200:
            told = answer.json()
            raise Problem(answer.status_code, told["code"], told["message"])

    def room(self) -> Room:
        """Its page, under the console's session, and the address that takes webhooks, which proves itself by its signature."""
        return Room("Sales inbox", PATH, Path(__file__).parent / "html", self._routes, self.forget)

    def _routes(self, pages: Pages) -> APIRouter:
        router = APIRouter(include_in_schema=False)

        @router.post(PATH, status_code=204)
        async def receive(request: Request) -> None:
            if int(request.headers.get("content-length", LARGEST + 1)) > LARGEST:
                raise Problem(413, "too_large", f"a webhook of more than {LARGEST} bytes, or of unknown size")
            self.take(dict(request.headers), await request.body())

        @router.get(PATH)
        async def show(request: Request) -> Response:
            pages.signed_in(request)
            return pages.page(request, "sales.html", hot=self.newest(), standing=await _standing(pages))

        @router.get(PATH + "/fragment")
        async def show_part(request: Request) -> Response:
            pages.signed_in(request)
            return pages.fragment(request, "sales_part.html", hot=self.newest(), standing=await _standing(pages))

        @router.post(PATH + "/answer")
        async def answer(request: Request) -> Response:
            pages.signed_in(request)
            said = dict(parse_qsl((await request.body()).decode(errors="replace")))
            await self.answer(said.get("id", ""), said.get("answer", ""))
            return RedirectResponse(PATH, 303)

        return router


async def _standing(pages: Pages) -> dict[str, Any]:
    """How each hand-off stands, by its id; none while mailer is away."""
    try:
        found = await pages.together.ask(pages.caller, "mailer", "/api/handoffs", {"limit": str(KEEP)})
    except Outage:
        return {}
    return {handoff["id"]: handoff for handoff in found["items"]}


def written(content: Any) -> str:
    """A webhook's body to read: its keys in their order, its letters as they are."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
