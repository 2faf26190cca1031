"""The demo's shop: a few pages that use `/dripline.js` as any shop would, beside them what Dripline makes of this one visitor.

browser ──dripline.js──► ingest ──► scoring, journeys, mailer ──their APIs──► the panel

It exists only under `run`, and not with `--no-demo`. Its panel may tell a visitor of nobody but himself. It goes by two things that only
his browser holds: the anonymous id that dripline.js drew, and the customer's id, which this server draws and keeps there in a signed
cookie. A lead whom somebody gave another user id is not shown, so claiming a customer's id in `identify` uncovers nothing here.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, RedirectResponse

from dripline.demo.shop_panel import Sight, Stranger, Visitor, see
from dripline.environment import SHOP_PATH
from services.console.pages import Pages, Room
from shared.clock import Clock
from shared.errors import Outage
from shared.http import Problem
from shared.signing import Signer

PATH = f"{SHOP_PATH}/"
PAGES = {"": "home", "guide": "guide", "tasting": "tasting", "teas": "teas", "box": "box", "pricing": "pricing", "cart": "cart", "fa": "fa"}
STATIC = {path.name: path for path in (Path(__file__).parent / "static").iterdir()}

CUSTOMER, VISITOR = "shop_customer", "shop_visitor"
"""Cookies: the customer's id, signed; the anonymous id, which the page's script copies there."""

A_YEAR = 365 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Tea:
    """Something to put into a cart; `price` in euros."""

    id: str
    name: str
    kind: str
    taste: str
    price: int
    colour: str


TEAS = (
    Tea("silver-needle", "Silver Needle", "white", "light, melon, hay", 16, "#d9cf9f"),
    Tea("sencha", "Sencha", "green", "grass, sea, a little sweet", 12, "#a9b957"),
    Tea("tie-guan-yin", "Tie Guan Yin", "oolong", "lilac and butter", 14, "#c9a24b"),
    Tea("darjeeling", "Darjeeling, first flush", "black", "muscatel, bright", 13, "#c9702f"),
    Tea("breakfast", "Our breakfast blend", "black", "malt; stands up to milk", 9, "#8c3f1e"),
    Tea("mint", "Moroccan mint", "herbal", "cool, sweet, no caffeine", 8, "#5f8a4c"),
)


class Shop:
    """The shop of one data folder. `speed` is how many times faster than outside its time passes."""

    def __init__(self, write_key: str, signer: Signer, clock: Clock, speed: float) -> None:
        self._write_key = write_key
        self._signer = signer
        self._clock = clock
        self._pace = pace(speed)

    def room(self) -> Room:
        """Pages of the console's house that nobody has to sign in for."""
        return Room("Shop", PATH, Path(__file__).parent / "html", self._routes)

    def _routes(self, pages: Pages) -> APIRouter:
        router = APIRouter(prefix=SHOP_PATH, include_in_schema=False)

        @router.get("/static/{name}")
        async def static(name: str) -> Response:
            if name not in STATIC:
                raise Problem(404, "not_found", f"no file {name}")
            return FileResponse(STATIC[name], headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})

        @router.get("/panel")
        async def panel(request: Request) -> Response:
            return pages.fragment(request, "shop/fresh.html", **await self._panel(pages, request))

        @router.post("/leave")
        async def leave() -> Response:
            """The browser forgets its customer: who comes next is somebody else."""
            answer = Response(status_code=204)
            answer.delete_cookie(CUSTOMER, path=PATH)
            return answer

        @router.get("")
        async def enter() -> Response:
            return RedirectResponse(PATH, 308)

        @router.get("/")
        @router.get("/{name}")
        async def show(request: Request, name: str = "") -> Response:
            if name not in PAGES:
                raise Problem(404, "not_found", f"the shop has no page {name}")
            customer = self._customer(request) or f"shop-{secrets.token_hex(16)}"
            shown: dict[str, Any] = {
                "write_key": self._write_key,
                "customer": customer,
                "teas": TEAS,
                "here": PAGES[name],
            }
            answer = pages.page(request, f"shop/{PAGES[name]}.html", **shown, **await self._panel(pages, request))
            self._remember(answer, customer)
            return answer

        return router

    async def _panel(self, pages: Pages, request: Request) -> Mapping[str, Any]:
        """What is known of this browser's visitor, and the time by which it is judged."""
        sight: Sight | None = None
        trouble = ""
        visitor = Visitor(request.cookies.get(VISITOR, ""), self._customer(request) or "")
        if visitor.anonymous_id:
            try:
                sight = await see(pages.together, pages.caller, visitor)
            except (Stranger, Outage) as error:
                trouble = str(error)
        return {"shop": SHOP_PATH, "sight": sight, "trouble": trouble, "now": self._clock.now(), "pace": self._pace}

    def _customer(self, request: Request) -> str | None:
        """The id that we gave this browser's customer; None where the cookie is not of our making."""
        found = self._signer.verify(CUSTOMER, request.cookies.get(CUSTOMER, ""))
        return found.decode() if found else None

    def _remember(self, answer: Response, customer: str) -> None:
        token = self._signer.sign(CUSTOMER, customer.encode())
        answer.set_cookie(CUSTOMER, token, max_age=A_YEAR, path=PATH, httponly=True, samesite="lax")


def pace(speed: float) -> str:
    """How fast the house's time passes, in words; nothing where it passes as outside."""
    if speed == 1:
        return ""
    seconds = 86_400 / speed
    span = f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.2g} s"
    return f"a day passes in {span}"
