"""Ingest over HTTP, durable append included, beside bare Starlette and msgspec that store nothing."""

import sys
import tempfile
from collections.abc import Iterator

from bench.pairs import Row, paired
from bench.servers import free_port, post, serving

SECONDS = 2.0
KEY = "sk_bench-0123456789abcdef"
ROWS = ((1, 1, None), (8, 1, None), (64, 1, 0.9), (256, 1, None), (8, 100, None), (64, 100, 0.7))
"""Connections, events a request, target."""


def rows() -> Iterator[Row]:
    ours, floor = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving([sys.executable, "-m", "bench.serve_ingest", str(ours), folder, KEY], ours),
        serving([sys.executable, "-m", "bench.floor_http", str(floor)], floor),
    ):
        for connections, batch, target in ROWS:
            path = "/v1/track" if batch == 1 else "/v1/batch"

            def rate(port: int, path: str = path, connections: int = connections, batch: int = batch) -> float:
                result = post(f"http://127.0.0.1:{port}", path, connections, SECONDS, batch=batch, key=KEY)
                return float(result["requests"] * batch / result["seconds"])

            name = f"ingest, {'single events' if batch == 1 else f'batches of {batch}'}, {connections} connections"
            yield paired(name, lambda rate=rate: rate(ours), lambda rate=rate: rate(floor), "events/s", target)  # type: ignore[misc]
