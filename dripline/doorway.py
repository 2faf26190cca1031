"""One port for all services: each path goes to the service that owns it."""

from collections.abc import Mapping
from typing import Any

MAILER_PATHS = ("/c/", "/u/", "/o/", "/p/", "/a/", "/confirm/", "/hooks/")


def doorway(ingest: Any, mailer: Any, console: Any, demo: Mapping[str, Any]) -> Any:
    """The ASGI application of `run`. Tracking calls are looked for first: they are the many."""

    async def enter(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path.startswith("/v1/"):
            await ingest(scope, receive, send)
        elif path.startswith(MAILER_PATHS):
            await mailer(scope, receive, send)
        else:
            await _room(path)(scope, receive, send)

    def _room(path: str) -> Any:
        return next((app for prefix, app in demo.items() if path.startswith(prefix)), console)

    return enter
