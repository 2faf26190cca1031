"""Topics as `migrate` makes them, and what is told of those that somebody made otherwise; on a real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.errors import ConfigurationError
from shared.kafka_cluster import Cluster
from shared.kafka_topics import TOPICS, Layout, differences, extents, make_topics
from tests import servers
from tests.integration.shared.kafka_house import ONE_BROKER


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(servers.kafka().bootstrap, prefix=f"topics-{uuid4().hex}")


@asynccontextmanager
async def admin_of(cluster: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def settings_of(cluster: Cluster, name: str) -> dict[str, str]:
    async with admin_of(cluster) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, cluster.topic(name))])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def test_topics_are_made_once_as_they_should_be(cluster: Cluster):
    made = await make_topics(cluster, ONE_BROKER)
    assert made == [cluster.topic(name) for name in ("events", "activities", "messages", "dead-letters")]
    assert await make_topics(cluster, ONE_BROKER) == []
    assert await differences(cluster, ONE_BROKER) == []
    assert await extents(cluster, TOPICS) == {(name, number): (0, 0) for name in TOPICS for number in range(4)}
    settings = await settings_of(cluster, "events")
    assert settings["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert settings["cleanup.policy"] == "delete"
    assert settings["unclean.leader.election.enable"] == "false"
    assert int(settings["max.message.bytes"]) > 8 << 20


async def test_at_rest_an_acknowledged_record_lies_on_two_brokers_of_three():
    assert (Layout().replicas, Layout().in_sync) == (3, 2)


async def test_a_topic_that_was_made_otherwise_is_told_and_left_alone(cluster: Cluster):
    theirs = NewTopic(cluster.topic("events"), 2, 1, topic_configs={"retention.ms": "60000", "max.message.bytes": "1048588"})
    async with admin_of(cluster) as admin:
        await admin.create_topics([theirs])
    assert len(await make_topics(cluster, ONE_BROKER)) == 3
    told = await differences(cluster, replace(ONE_BROKER, replicas=3, in_sync=2), ["events"])
    name = cluster.topic("events")
    assert told[0] == f"{name} has 2 partitions, not 4: set DRIPLINE_KAFKA_PARTITIONS=2; more would move keys"
    assert told[1].startswith(f"{name} lies on 1 brokers, not 3: set DRIPLINE_KAFKA_REPLICAS=1, or move it")
    alter = f"`kafka-configs.sh --alter --topic {name} --add-config retention.ms=604800000`"
    assert told[2] == f"{name} has retention.ms=60000, not 604800000: {alter}, unless it is meant so"
    assert [line.split()[2].split("=")[0] for line in told[3:]] == ["max.message.bytes", "min.insync.replicas"]
    assert (await settings_of(cluster, "events"))["retention.ms"] == "60000"


async def test_more_replicas_than_brokers_are_refused_with_their_topic(cluster: Cluster):
    with pytest.raises(ConfigurationError, match=r"refuses to make the topic topics-.*\.events: .*"):
        await make_topics(cluster, Layout(partitions=1, replicas=3))
