"""How a process of ours serves HTTP, and how it treats its memory: the same for `run`, `serve` and the bench."""

import gc

import uvicorn
from starlette.types import ASGIApp

from shared.one_write import OneWrite

GRACE_SECONDS = 5
"""How long an open request may take once the process was told to stop."""


def http_config(app: ASGIApp) -> uvicorn.Config:
    """uvicorn, lean: answers in one write, no log of its own, and no header of a proxy believed."""
    return uvicorn.Config(
        app,
        http=OneWrite,
        interface="asgi3",  # an app may hand a call on without being a coroutine itself
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def relax_collector() -> None:
    """What was built stays for good and need not be looked at again; a batch makes much at once, and hardly ever in circles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
