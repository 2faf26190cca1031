"""Endpoints as people see them: who is told of hot leads, which of them wants nothing more, and how it is asked again."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter

from services.mailer import endpoints, store
from services.mailer.editions import Editions
from services.mailer.loader import Endpoint
from shared.errors import ConfigurationError
from shared.http import Problem, allow
from shared.service import Ports
from shared.shapes import named
from shared.work import Outbox


def endpoint_routes(ports: Ports, outbox: Outbox, editions: Editions, wake: Callable[[], None]) -> APIRouter:
    """The endpoints of the playbook in force. `wake` tells the scheduler."""
    router = APIRouter(prefix="/api/endpoints")

    @router.get("", dependencies=[allow("marketer", "sales", "viewer")])
    async def list_endpoints() -> dict[str, Any]:
        async with ports.database.reading() as connection:
            disabled = await endpoints.load_disabled(connection)
        known = await _known(editions)
        return {"items": [_shown(one, disabled.get(endpoints.mark_of(one))) for one in known.values()], "next": None}

    @router.post("/{name}/enable", dependencies=[allow("marketer")])
    async def enable(name: str) -> dict[str, Any]:
        """What failed because it was disabled, and still waits for an answer, goes again."""
        known = await _known(editions)
        if name not in known:
            raise Problem(404, "not_found", f"no endpoint `{name}`; the playbook in force has {named(known) or 'none'}")
        async with outbox.work() as work:
            if not await endpoints.enable(work.conn, name):
                raise Problem(409, "not_disabled", f"endpoint `{name}` is not disabled")
            again = (await store.lock(work.conn, await endpoints.load_refused(work.conn, name))).values()
            for delivery in again:
                await store.requeue(work, delivery)
        wake()
        return {"name": name, "enabled": True, "retried": len(again)}

    return router


async def _known(editions: Editions) -> dict[str, Endpoint]:
    try:
        return dict((await editions.newest()).endpoints)
    except ConfigurationError:
        return {}


def _shown(endpoint: Endpoint, disabled: Any) -> dict[str, Any]:
    """Without the rest of the URL: it may hold a secret."""
    parts = urlsplit(endpoint.url)
    about = {"name": endpoint.name, "host": parts.netloc, "secrets": len(endpoint.secrets), "enabled": disabled is None}
    return about | {"disabled_at": disabled and disabled.disabled_at, "reason": disabled and disabled.reason}
