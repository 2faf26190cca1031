"""One port for all services: each path goes to the service that owns it."""

from starlette.types import ASGIApp, Receive, Scope, Send

INGEST_PATHS = ("/v1/", "/dripline.js")
MAILER_PATHS = ("/c/", "/u/", "/o/", "/p/", "/a/", "/confirm/", "/hooks/")


def doorway(ingest: ASGIApp, mailer: ASGIApp, console: ASGIApp) -> ASGIApp:
    """The application of `run`. Tracking calls are looked for first: they are the many."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(INGEST_PATHS):
            await ingest(scope, receive, send)
        elif path.startswith(MAILER_PATHS):
            await mailer(scope, receive, send)
        else:
            await console(scope, receive, send)

    return enter
