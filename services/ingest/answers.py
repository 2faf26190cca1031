"""What ingest answers a tracking call, and what lets a web page of another origin read it (CORS)."""

import json
from typing import Any

from starlette.types import Message

Answer = tuple[Message, Message]
Header = tuple[bytes, bytes]

FOR_PAGES: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"Retry-After"))
"""No client sends cookies, and none are looked at: any page may read, and an answer is the same for each, so that nothing varies."""


def answer(status: int, body: Any, *headers: Header) -> Answer:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    return _whole(status, data, *head, *headers)


def refusal(status: int, code: str, message: str, *headers: Header) -> Answer:
    return answer(status, {"code": code, "message": message}, *headers)


def readable(told: Answer) -> Answer:
    """The same answer for a page."""
    start, body = told
    return {**start, "headers": [*start["headers"], *FOR_PAGES]}, body


def _whole(status: int, data: bytes, *headers: Header) -> Answer:
    return {"type": "http.response.start", "status": status, "headers": [*headers]}, {"type": "http.response.body", "body": data}


TAKEN = answer(200, {"success": True})
PREFLIGHT = readable(
    _whole(
        204,
        b"",
        (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
        (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-retry-count"),
        (b"access-control-max-age", b"7200"),
    )
)
"""Whether a page may call: analytics-next sends `Authorization` from 1.84.0 on, so browsers ask first. Chromium remembers for two hours."""
