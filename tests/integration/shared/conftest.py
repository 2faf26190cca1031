"""Kafka for the tests of this folder: topics of their own on the one broker of the test run, and a broker that a test may kill."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.servers import Kafka
from shared.kafka_cluster import Cluster
from shared.kafka_log import KafkaLog
from shared.kafka_topics import make_topics
from tests import servers
from tests.integration.shared.kafka_house import ONE_BROKER


@pytest.fixture
async def cluster() -> Cluster:
    cluster = Cluster(servers.kafka().bootstrap, prefix=f"test-{uuid4().hex}", session_seconds=6)
    await make_topics(cluster, ONE_BROKER)
    return cluster


@pytest.fixture
async def log(cluster: Cluster) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(cluster)
    yield log
    await log.close()


@pytest.fixture
async def own_broker() -> AsyncIterator[Kafka]:
    """A broker that the test may kill."""
    servers.kafka()  # skips or fails where there can be none
    with tempfile.TemporaryDirectory(prefix="dripline-kafka-") as folder:
        broker = Kafka(Path(folder), heap="256m")
        await asyncio.to_thread(broker.start)
        yield broker
        await asyncio.to_thread(broker.stop, signal.SIGKILL)
