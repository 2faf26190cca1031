"""Real PostgreSQL and Kafka for the rows that are measured on them: started once a run, as processes, on this machine's disk."""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

from deploy.servers import Kafka, Postgres
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, make_topics


@cache
def kafka() -> Kafka:
    server = Kafka(_folder("kafka"))
    server.start()
    atexit.register(server.stop)
    return server


@cache
def postgres() -> Postgres:
    """PostgreSQL as it comes: every commit is synced."""
    server = Postgres(_folder("postgres"))
    server.start()
    atexit.register(server.stop)
    return server


def fresh_database() -> str:
    """The address of an empty database."""
    name = f"bench{uuid4().hex[:12]}"
    postgres().make_database(name)
    return postgres().url(name)


def fresh_cluster(partitions: int) -> Cluster:
    """Our topics under a prefix that nobody has used, one replica each: there is one broker."""
    cluster = Cluster(kafka().bootstrap, f"bench{uuid4().hex[:12]}")
    asyncio.run(make_topics(cluster, Layout(partitions, 1, 1)))
    return cluster


async def fill(cluster: Cluster, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
    """Put records on a topic."""
    log = KafkaLog(cluster)
    for first in range(0, len(records), 1000):
        await log.append(topic, records[first : first + 1000])
    await log.close()


def _folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"dripline-bench-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
