"""What a website loads from ingest: `dripline.js`.

docs/website.md tells how a site uses it; what it posts comes in as every tracking call (`api.py`).
"""

import gzip
from hashlib import blake2b
from pathlib import Path

from fastapi import APIRouter, Request, Response

SCRIPT = Path(__file__).parent / "static" / "dripline.js"
SCRIPT_SECONDS = 3600
"""How long a browser uses its copy without asking."""


def website_routes() -> APIRouter:
    """Everything that a page loads; it is the same for everybody and needs no key."""
    router = APIRouter(include_in_schema=False)
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
