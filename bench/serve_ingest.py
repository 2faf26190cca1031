"""Ingest as `run` serves it, on the embedded log: `python -m bench.serve_ingest PORT FOLDER KEY`."""

import sys
from pathlib import Path

import uvicorn

from services.ingest.main import build
from services.ingest.settings import IngestSettings
from shared.clock import SystemClock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.keys import Key, KeyRing
from shared.playbooks import Playbooks
from shared.service import Ports
from shared.signing import Signer


def main() -> None:
    port, folder, key = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    clock = SystemClock()
    database = Database(f"sqlite+aiosqlite:///{folder}/state.db")
    keys = KeyRing(database, clock, [(key, Key("sk_bench", "secret", "admin", "bench"))])
    ports = Ports(EmbeddedLog(folder / "log", clock), database, clock, keys, Playbooks(database, clock), Signer(b"bench"))
    service = build(IngestSettings(), ports)
    uvicorn.run(
        service.app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="error", access_log=False, lifespan="off"
    )


if __name__ == "__main__":
    main()
