"""Makes the topics on Kafka, once, by `dripline migrate`: nothing appears by itself, and nothing that is there is changed."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared import wire
from shared.errors import ConfigurationError, Outage
from shared.kafka_cluster import LARGEST_RECORD, Cluster
from shared.kafka_door import knock

TOPICS = (wire.EVENTS, wire.ACTIVITIES, wire.MESSAGES, wire.DEAD_LETTERS)
KEEPS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Layout:
    """How topics are made. Partitions bound how many replicas of a service work at once, and cannot be changed without moving keys."""

    partitions: int = 12
    replicas: int = 3
    in_sync: int = 2


async def make_topics(cluster: Cluster, layout: Layout, names: Sequence[str] = TOPICS) -> list[str]:
    """Make those that are not there; answers their names. Raises Outage where Kafka is away, ConfigurationError where it refuses."""
    async with _admin(cluster) as admin:
        known = set(await admin.list_topics())
        missing = [cluster.topic(name) for name in names if cluster.topic(name) not in known]
        if missing:
            made = await admin.create_topics([_topic(name, layout) for name in missing])
            _check(made.topic_errors)
    return missing


async def differences(cluster: Cluster, layout: Layout, names: Sequence[str] = TOPICS) -> list[str]:
    """How topics that are there differ from what would be made, each with what to do: it may be meant so, and is left so."""
    async with _admin(cluster) as admin:
        topics = [cluster.topic(name) for name in names]
        found = {topic["topic"]: topic for topic in await admin.describe_topics(topics)}
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    settings = {name: {entry[0]: entry[1] for entry in entries} for answer in answers for _, _, _, name, entries in answer.resources}
    return [told for name in topics for told in _differs(found[name]["partitions"], settings[name], _topic(name, layout))]


async def extents(cluster: Cluster, names: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
    """Where each partition of these topics begins and ends; without those that are not there. Raises as `make_topics`."""
    prefix = len(cluster.topic(""))
    async with _admin(cluster) as admin:
        found = await admin.describe_topics([cluster.topic(name) for name in names])
    places = [TopicPartition(topic["topic"], one["partition"]) for topic in found for one in topic["partitions"]]
    if not places:
        return {}
    async with _translating(cluster):
        reader = AIOKafkaConsumer(**cluster.options())
        reader.assign(places)
        async with reader:
            begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
    return {(place.topic[prefix:], place.partition): (begins[place], ends[place]) for place in places}


@asynccontextmanager
async def _admin(cluster: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    async with _translating(cluster):
        admin = AIOKafkaAdminClient(**cluster.options())
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def _translating(cluster: Cluster) -> AsyncIterator[None]:
    try:
        yield
    except (kafka.KafkaConnectionError, kafka.RequestTimedOutError, OSError) as error:
        await knock(cluster)
        raise Outage(f"Kafka at {cluster.bootstrap} does not answer: {error!r}") from error
    except kafka.KafkaError as error:
        raise ConfigurationError(f"Kafka at {cluster.bootstrap} refuses: {error!r}") from error


def _topic(name: str, layout: Layout) -> NewTopic:
    return NewTopic(
        name=name,
        num_partitions=layout.partitions,
        replication_factor=layout.replicas,
        topic_configs={
            "retention.ms": str(int(KEEPS.total_seconds() * 1000)),
            "cleanup.policy": "delete",
            "max.message.bytes": str(LARGEST_RECORD + (1 << 20)),
            "min.insync.replicas": str(layout.in_sync),
            "unclean.leader.election.enable": "false",
        },
    )


def _check(answers: Sequence[tuple[str, int, str | None]]) -> None:
    """Another replica may have made a topic meanwhile; anything else that was refused stops here."""
    for name, code, *said in answers:
        if code not in (kafka.NoError.errno, kafka.TopicAlreadyExistsError.errno):
            why = (said[0] if said else None) or kafka.for_code(code).__name__
            raise ConfigurationError(f"Kafka refuses to make the topic {name}: {why}")


def _differs(partitions: Sequence[Mapping[str, Any]], settings: Mapping[str, str], wanted: NewTopic) -> Iterator[str]:
    name, replicas = wanted.name, len(partitions[0]["replicas"])
    if len(partitions) != wanted.num_partitions:
        there = len(partitions)
        yield f"{name} has {there} partitions, not {wanted.num_partitions}: set DRIPLINE_KAFKA_PARTITIONS={there}; more would move keys"
    if replicas != wanted.replication_factor:
        yield (
            f"{name} lies on {replicas} brokers, not {wanted.replication_factor}: set DRIPLINE_KAFKA_REPLICAS={replicas}, "
            "or move it with kafka-reassign-partitions.sh"
        )
    for setting, value in wanted.topic_configs.items():
        if settings.get(setting) != value:
            alter = f"kafka-configs.sh --alter --topic {name} --add-config {setting}={value}"
            yield f"{name} has {setting}={settings.get(setting)}, not {value}: `{alter}`, unless it is meant so"
