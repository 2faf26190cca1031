"""`make bench`: one table; each row runs the floor beside us, alternating, and gives the ratio with its spread.

`python -m bench ingest scoring …` runs some of it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping

from bench import ingest, scoring, whole_way
from bench.pairs import Figure, Row

PARTS: Mapping[str, Callable[[], Iterator[Row | Figure]]] = {
    "ingest": ingest.rows,
    "scoring": scoring.rows,
    "throughput": whole_way.throughput,
    "latency": whole_way.latency,
    "idle": whole_way.idle,
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    print(f"{'':<46}{'ours':>12}{'floor':>12} {'':<10}{'ratio':>6} (spread)", flush=True)
    for name in wanted:
        for row in PARTS[name]():
            print(row, flush=True)


if __name__ == "__main__":
    main()
