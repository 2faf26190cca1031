"""`make bench`: one table; each row runs the floor beside us, alternating, and gives the ratio with its spread.

`python -m bench ingest scoring …` runs some of it.
"""

import importlib
import sys
from collections.abc import Mapping

PARTS: Mapping[str, tuple[str, str]] = {
    "ingest": ("bench.ingest", "rows"),
    "scoring": ("bench.scoring", "rows"),
    "merge": ("bench.merge", "rows"),
    "throughput": ("bench.whole_way", "throughput"),
    "waking": ("bench.waking", "rows"),
    "latency": ("bench.whole_way", "latency"),
    "idle": ("bench.whole_way", "idle"),
    "resting": ("bench.resting", "rows"),
    "audit": ("bench.audit", "rows"),
    "serve-appending": ("bench.producing", "rows"),
    "serve-scoring": ("bench.on_kafka", "scoring"),
    "serve-throughput": ("bench.on_kafka", "whole_way"),
    "claims": ("bench.claims", "rows"),
    "serve-doubled": ("bench.on_kafka", "doubled"),
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    print(f"{'':<46}{'ours':>12}{'floor':>12} {'':<10}{'ratio':>6} (spread)", flush=True)
    for name in wanted:
        module, function = PARTS[name]
        for row in getattr(importlib.import_module(module), function)():
            print(row, flush=True)


if __name__ == "__main__":
    main()
