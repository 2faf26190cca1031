"""Makes the topics on Kafka, once, by `dripline migrate`: nothing appears by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared import wire
from shared.errors import ConfigurationError, Outage
from shared.kafka_cluster import LARGEST_RECORD, Cluster

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
    admin = AIOKafkaAdminClient(**cluster.options())
    try:
        await admin.start()
        known = set(await admin.list_topics())
        missing = [cluster.topic(name) for name in names if cluster.topic(name) not in known]
        if missing:
            made = await admin.create_topics([_topic(name, layout) for name in missing])
            _check(made.topic_errors)
    except (kafka.KafkaConnectionError, OSError) as error:
        raise Outage(f"Kafka at {cluster.bootstrap} does not answer: {error}") from error
    finally:
        await admin.close()
    return missing


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
