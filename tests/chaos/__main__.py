"""`make chaos`: a thousand kills over `serve` on its own Kafka and PostgreSQL, then the report; exit 1 where an invariant is broken.

`--kills 50 --seed 7` for fewer, or to replay a seed; `--keep DIR` to keep the logs and the databases.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from deploy.servers import KafkaCluster, Missing, Postgres
from tests.chaos import invariants
from tests.chaos.report import report
from tests.chaos.sinks import MailSink, SalesSink
from tests.chaos.storm import Storm


def main() -> int:
    words = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    words.add_argument("--kills", type=int, default=1000)
    words.add_argument("--seed", type=int, default=20270321)
    words.add_argument("--keep", type=Path, help="an empty folder for what the servers and services write; otherwise it is removed")
    wished = words.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what was started is stopped
    if wished.keep:
        wished.keep.mkdir(parents=True)
        return weather(wished.keep, wished.seed, wished.kills)
    with tempfile.TemporaryDirectory(prefix="dripline-chaos-", ignore_cleanup_errors=True) as folder:
        return weather(Path(folder), wished.seed, wished.kills)


def weather(folder: Path, seed: int, kills: int) -> int:
    """Start what stands around the town, let the storm go over it, and say what came of it."""
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    postgres, kafka, mail, sales = Postgres(folder / "postgres"), KafkaCluster(folder / "kafka"), MailSink(seed), SalesSink()
    try:
        postgres.start()
        kafka.start()
        mail.start()
        sales.start()
        broken = asyncio.run(_storm(Storm(folder, postgres, kafka, mail, sales, seed=seed, kills=kills)))
    except Missing as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    finally:
        kafka.stop()
        postgres.stop()
    return 1 if broken else 0


async def _storm(storm: Storm) -> bool:
    sys.stdout.write(f"seed {storm.seed}, {storm.wanted} kills; logs in {storm.town.folder}\n")
    sys.stdout.flush()
    began = time.monotonic()
    try:
        await storm.run()
        found = await invariants.gather(storm)
        broken = invariants.check(found)
        sys.stdout.write(report(found, broken, time.monotonic() - began) + "\n")
    finally:
        storm.close()
        storm.mail.stop()
        storm.sales.stop()
    return any(broken.values())


if __name__ == "__main__":
    sys.exit(main())
