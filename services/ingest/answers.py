"""What ingest answers a tracking call, and what lets a web page of another origin read it (CORS, the Fetch standard)."""

import json
from base64 import b64decode
from typing import Any

from starlette.types import Message

Answer = tuple[Message, Message]
Header = tuple[bytes, bytes]

_GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""One transparent dot."""


def answer(status: int, body: Any, *headers: Header) -> Answer:
    return _whole(status, json.dumps(body, separators=(",", ":")).encode(), b"application/json", *headers)


def refusal(status: int, code: str, message: str, *headers: Header) -> Answer:
    return answer(status, {"code": code, "message": message}, *headers)


def come_back(status: int, code: str, message: str, seconds: int) -> Answer:
    """A no for now. `X-RateLimit-Reset` is how Segment's browser client asked for the seconds until 1.84."""
    wait = str(seconds).encode()
    return refusal(status, code, message, (b"retry-after", wait), (b"x-ratelimit-reset", wait))


def pixel(told: Answer) -> Answer:
    """The same answer to an image: always one, and a bad event is no bad image."""
    status = told[0]["status"]
    return _whole(200 if status == 400 else status, _GIF, b"image/gif", (b"cache-control", b"no-store"))


def readable(told: Answer, origin: bytes) -> Answer:
    """The same answer for a page of this origin.

    The origin is named and cookies are allowed, because pages may tell their client to send some (`credentials`), and beacons always do.
    It opens nothing: no cookie is looked at here, and a page learns only whether what it posted was taken.
    """
    start, body = told
    return {**start, "headers": [*start["headers"], (b"access-control-allow-origin", origin), *_FOR_PAGES]}, body


def _whole(status: int, data: bytes, content_type: bytes, *headers: Header) -> Answer:
    head = [(b"content-type", content_type), (b"content-length", str(len(data)).encode()), *headers]
    return {"type": "http.response.start", "status": status, "headers": head}, {"type": "http.response.body", "body": data}


_FOR_PAGES: tuple[Header, ...] = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"Retry-After, X-RateLimit-Reset"),
    (b"vary", b"Origin"),
)

TAKEN = answer(200, {"success": True})

PREFLIGHT: Answer = (
    {
        "type": "http.response.start",
        "status": 204,
        "headers": [
            (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
            (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-retry-count"),
            (b"access-control-max-age", b"7200"),
        ],
    },
    {"type": "http.response.body", "body": b""},
)
"""Whether a page may call: analytics-next sends `Authorization` from 1.84.0 on, so browsers ask first. Chromium remembers for two hours."""
