"""What a website loads from ingest: `dripline.js`, and the settings that Segment's browser client asks for before it begins.

docs/website.md tells how a site uses either; what they post comes in as every tracking call (`api.py`).
"""

import gzip
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from services.ingest.callers import Callers
from shared.http import Problem
from shared.keys import KeyRing

SCRIPT = Path(__file__).parent / "static" / "dripline.js"
SCRIPT_SECONDS = 3600
"""How long a browser uses its copy without asking."""


SETTINGS_SECONDS = 300


def website_routes(keys: KeyRing, public_url: str) -> APIRouter:
    """Everything that a page loads; the same for every visitor, so that caches may keep it."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_script_routes())
    callers = Callers(keys)

    @router.get("/v1/projects/{write_key}/settings")
    async def settings(write_key: str, request: Request) -> Response:
        if callers.known(write_key).kind == "secret":
            raise Problem(403, "forbidden", "a secret key must not stand in a page; use a write key")
        headers = {"Cache-Control": f"public, max-age={SETTINGS_SECONDS}", "Access-Control-Allow-Origin": "*"}
        return JSONResponse(_settings(write_key, urlsplit(public_url or str(request.base_url))), headers=headers)

    return router


def _settings(write_key: str, here: SplitResult) -> dict[str, Any]:
    """What analytics-next needs to begin: one integration, ours (more would make it load Segment's), and nothing said of itself."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "apiHost": f"{here.netloc}{here.path.rstrip('/')}/v1",
                "protocol": here.scheme,
            }
        },
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "metrics": {"sampleRate": 0},
    }


def _script_routes() -> APIRouter:
    router = APIRouter()
    plain = SCRIPT.read_bytes()
    packed = gzip.compress(plain, 9, mtime=0)
    headers = {
        "ETag": f'W/"{blake2b(plain, digest_size=12).hexdigest()}"',
        "Cache-Control": f"public, max-age={SCRIPT_SECONDS}",
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }

    @router.api_route("/dripline.js", methods=["GET", "HEAD"])
    async def script(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        encoding = {"Content-Encoding": "gzip"} if "gzip" in request.headers.get("accept-encoding", "") else {}
        return Response(packed if encoding else plain, headers=headers | encoding, media_type="text/javascript")

    return router
