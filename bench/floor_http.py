"""The floor of ingest: bare Starlette and msgspec, typed decoding, an answer, nothing stored. `python -m bench.floor_http PORT`."""

import sys
from typing import Any

import msgspec
import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Call(Struct):
    type: str = "track"
    event: str = ""
    messageId: str = ""
    anonymousId: str | None = None
    userId: str | None = None
    timestamp: str = ""
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}


class Calls(Struct):
    batch: list[Call]
    sentAt: str = ""


one = msgspec.json.Decoder(Call).decode
many = msgspec.json.Decoder(Calls).decode
ANSWER = b'{"success":true}'


async def track(request: Request) -> Response:
    one(await request.body())
    return Response(ANSWER, media_type="application/json")


async def batch(request: Request) -> Response:
    many(await request.body())
    return Response(ANSWER, media_type="application/json")


app = Starlette(routes=[Route("/v1/track", track, methods=["POST"]), Route("/v1/batch", batch, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error", access_log=False)
