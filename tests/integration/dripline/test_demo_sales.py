"""`run` posts to its own sales inbox on this machine, and to no other private address."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from aiohttp import web

from dripline.demo.sales import HouseSender
from services.mailer.loader import Endpoint
from services.mailer.outcomes import Delivered, Refused
from shared.clock import real_now
from tests.builders import A_SECRET


@pytest.fixture
async def inbox() -> AsyncIterator[tuple[str, list[str]]]:
    """An address on this machine, and the paths that were posted to it."""
    posted: list[str] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(request.path)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", posted
    await runner.cleanup()


async def test_only_the_sales_inbox_is_reached_on_this_machine(inbox: tuple[str, list[str]]):
    url, posted = inbox
    sender = HouseSender(f"{url}/demo/sales", allow_private=False)
    at: datetime = real_now()
    try:
        own = await sender.post(Endpoint("sales", f"{url}/demo/sales", (A_SECRET,)), "w1", b"{}", at)
        other = await sender.post(Endpoint("crm", f"{url}/admin", (A_SECRET,)), "w2", b"{}", at)
    finally:
        await sender.close()
    assert isinstance(own, Delivered)
    assert isinstance(other, Refused)
    assert posted == ["/demo/sales"]
