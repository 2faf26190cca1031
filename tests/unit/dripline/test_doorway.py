"""One port: each path goes to the service that owns it."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from dripline.doorway import doorway


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/track", "ingest"),
        ("/v1/projects/pk_x/settings", "ingest"),
        ("/c/token", "mailer"),
        ("/u/token", "mailer"),
        ("/o/token.gif", "mailer"),
        ("/hooks/handoff/token", "mailer"),
        ("/", "console"),
        ("/v1", "console"),
        ("/contact", "console"),
        ("/unsubscribe", "console"),
        ("/api/leads", "console"),
        ("/mailbox/", "console"),
        ("/healthz", "console"),
    ],
)
async def test_a_path_reaches_its_owner(path: str, service: str):
    app = doorway(*(PlainTextResponse(name) for name in ("ingest", "mailer", "console")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://dripline") as client:
        assert (await client.get(path)).text == service
