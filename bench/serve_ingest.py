"""Ingest as `run` serves it, on the embedded log: `python -m bench.serve_ingest PORT FOLDER KEY`."""

import sys
from pathlib import Path

import uvicorn
import uvloop

from services.ingest.main import build
from services.ingest.settings import IngestSettings
from shared.clock import SystemClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.serving import http_config, relax_collector
from shared.signing import Signer


def main() -> None:
    port, folder, key = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    clock = SystemClock()
    database = Database(f"sqlite+aiosqlite:///{folder}/state.db")
    keys = KeyRing(database, clock, [(key, Key("sk_bench", "secret", "admin", "bench"))])
    ports = Ports(EmbeddedLog(folder / "log", clock), database, clock, keys, Playbooks(database, clock), Signer(b"bench"))
    service = build(IngestSettings(), ports)
    relax_collector()
    config = http_config(service.app)
    config.port = port
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
