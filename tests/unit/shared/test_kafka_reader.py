"""What a reader on Kafka knows of its backlog: nothing, until Kafka has let it in and its records have come. Without a broker."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from aiokafka import ConsumerRecord

from shared.errors import Outage
from shared.instant import EPOCH
from shared.kafka_cluster import Cluster, LoopThread
from shared.kafka_reader import KafkaSubscription

CAME = EPOCH + timedelta(days=1)


class Nowhere:
    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return None


@dataclass
class Reader:
    """Its member is played by the test."""

    subscription: KafkaSubscription

    def backlog(self) -> datetime | None:
        assert self.subscription.backlog_since() == self.subscription.unsettled_since()
        return self.subscription.unsettled_since()

    def is_unknown(self) -> bool:
        with pytest.raises(Outage):
            self.subscription.backlog_since()
        with pytest.raises(Outage, match="is not known"):
            self.subscription.unsettled_since()
        return True


@pytest.fixture
def reader() -> Iterator[Reader]:
    thread = LoopThread("kafka")
    yield Reader(KafkaSubscription("scoring", "events", Nowhere(), Cluster("127.0.0.1:1"), thread, lambda _: None))
    thread.close()


def record(offset: int, value: bytes = b"v") -> ConsumerRecord:
    milliseconds = (CAME - EPOCH) // timedelta(milliseconds=1)
    return ConsumerRecord("events", 0, offset, milliseconds, 0, b"k", value, None, 1, len(value), ())


def test_how_far_behind_it_is_nobody_knows_before_kafka_has_let_it_in(reader: Reader):
    assert reader.is_unknown()
    reader.subscription.stand({0: (0, 7, 7)})
    assert reader.backlog() is None


def test_what_lies_in_its_partition_is_not_known_before_it_has_come(reader: Reader):
    reader.subscription.stand({0: (0, 7, 9)})
    assert reader.is_unknown()
    reader.subscription.fill(0, [record(7), record(8)], 9)
    assert reader.backlog() == CAME


def test_while_partitions_are_shared_out_anew_nobody_knows_and_who_gets_none_is_behind_in_none(reader: Reader):
    reader.subscription.stand({0: (0, 7, 7)})
    reader.subscription.leave([0])
    assert reader.is_unknown()
    reader.subscription.stand({})
    assert reader.backlog() is None


NOTHING = b'{"parcel":1,"type":"track","source":"s","trusted":false,"historical":false,"received_at":"2027-03-01T00:00:00Z","items":[]}'


@pytest.mark.parametrize("value", [b'{"type":"erased"}', NOTHING])
async def test_a_record_with_nothing_in_it_is_passed_by_and_stops_nobody(reader: Reader, value: bytes):
    subscription = reader.subscription
    subscription.stand({0: (0, 0, 1)})
    subscription.fill(0, [record(0, value)], 1)
    subscription._home = asyncio.get_running_loop()  # who asked for the first batch
    batch = await subscription.next(10)
    assert (batch.position, batch.next_offset, batch.records) == (0, 1, ())
    assert reader.backlog() is None
