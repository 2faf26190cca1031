"""Ingest while Kafka comes and goes: 200 means kept, here or there, 503 that nothing can keep it, and comes at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.ingest import spooled_log
from services.ingest.api import TrackingApi
from services.ingest.audit import spool_check
from services.ingest.limits import Limits, Rate
from services.ingest.spool import Spool
from services.ingest.spooled_log import SpooledLog
from shared.clock import FakeClock
from shared.errors import InvalidMessage, Outage
from shared.http import service_app
from shared.service import Ports
from shared.wire import DEAD_LETTERS, EVENTS
from tests.fakes import RecordingLog
from tests.ingest_house import NOON, Answer, Keys, a_track, basic, call


@dataclass
class Kafka(RecordingLog):
    """A log that also hangs, and then takes what nobody waits for any more where it is a broker that was only slow."""

    hangs: bool = False
    asked: int = 0
    refuses: bool = False
    late: list[tuple[str, bytes]] = field(default_factory=list)

    async def append(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        self.asked += 1
        if self.refuses:
            raise InvalidMessage("too_large", "the log takes less")
        if self.hangs:
            self.late += records
            await asyncio.Event().wait()
        await super().append(topic, records)

    @property
    def values(self) -> list[bytes]:
        return [value for _, value in self.topics.get(EVENTS, [])]


@dataclass
class Steady:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_log, "PATIENCE", 0.05)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool", 1 << 20, FakeClock(NOON))
    yield spool
    await spool.close()


def a_log(kafka: Kafka, spool: Spool | None, steady: Callable[[], float] | None = None) -> SpooledLog:
    return SpooledLog(kafka, spool, FakeClock(NOON), steady or Steady())


def one(number: int) -> list[tuple[str, bytes]]:
    return [("k", f"{number}".encode())]


async def test_while_kafka_confirms_nothing_is_spooled(spool: Spool):
    kafka = Kafka()
    await a_log(kafka, spool).append(EVENTS, one(1))
    assert (kafka.values, spool.waits()) == ([b"1"], False)


@pytest.mark.usefixtures("impatient")
async def test_what_kafka_does_not_confirm_in_time_is_spooled_and_the_next_does_not_wait(spool: Spool):
    kafka = Kafka(hangs=True)
    log = a_log(kafka, spool)
    await log.append(EVENTS, one(1))
    asked = kafka.asked
    await asyncio.gather(*(log.append(EVENTS, one(number)) for number in range(2, 50)))
    assert (asked, kafka.asked) == (1, 1)
    kafka.hangs = False
    await log.drain()
    assert sorted(kafka.values, key=int) == [f"{number}".encode() for number in range(1, 50)]
    assert kafka.late == one(1)  # had it reached Kafka all the same, it would be there twice, and count once


async def test_once_the_drain_has_reached_kafka_new_records_go_there_straight(spool: Spool):
    kafka = Kafka(away=True)
    log = a_log(kafka, spool)
    await log.append(EVENTS, one(1))
    await log.drain()
    assert await log.check() == {"events": "to the spool, Kafka is away"}
    kafka.away = False
    await log.append(EVENTS, one(2))  # nobody has found out yet: behind the first
    assert kafka.values == []
    await log.drain()
    await log.append(EVENTS, one(3))
    assert kafka.values == [b"1", b"2", b"3"]
    assert await log.check() == {"events": "to Kafka"}


async def test_what_the_log_refuses_is_not_spooled(spool: Spool):
    with pytest.raises(InvalidMessage):
        await a_log(Kafka(refuses=True), spool).append(EVENTS, one(1))
    assert not spool.waits()


async def test_without_a_spool_who_asks_is_told_at_once_and_one_in_a_while_finds_out_that_kafka_is_back():
    kafka, steady = Kafka(away=True), Steady()
    log = a_log(kafka, None, steady)
    for _ in range(20):
        with pytest.raises(Outage, match="there is no spool"):
            await log.append(EVENTS, one(1))
    assert kafka.asked == 1
    with pytest.raises(Outage):
        await log.check()
    kafka.away = False
    steady.now += spooled_log.PAUSE
    await log.append(EVENTS, one(2))
    await log.append(EVENTS, one(3))
    assert kafka.values == [b"2", b"3"]
    assert await log.check() == {"events": "to Kafka"}


async def test_without_a_spool_a_replica_that_nobody_asks_becomes_ready_again():
    """Balancers leave who is not ready alone; only what comes could find out that Kafka is back."""
    kafka, steady = Kafka(away=True), Steady()
    log = a_log(kafka, None, steady)
    with pytest.raises(Outage):
        await log.append(EVENTS, one(1))
    with pytest.raises(Outage):
        await log.check()
    steady.now += spooled_log.IN_DOUBT
    assert await log.check() == {"events": "to Kafka, which was away"}


async def test_a_spool_that_cannot_be_written_is_no_end_kafka_is_tried_again(tmp_path: Path):
    spool = Spool(tmp_path / "small", 10, FakeClock(NOON))
    kafka, steady = Kafka(away=True), Steady()
    log = a_log(kafka, spool, steady)
    with pytest.raises(Outage, match="full"):
        await log.append(EVENTS, [("k", b"more than ten bytes")])
    kafka.away = False
    steady.now += spooled_log.PAUSE
    await log.append(EVENTS, one(1))
    assert kafka.values == [b"1"]
    await spool.close()


async def test_a_spool_that_cannot_be_read_keeps_nobody_from_trying_kafka_again(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    kafka, steady = Kafka(away=True), Steady()
    log = a_log(kafka, spool, steady)
    await log.append(EVENTS, one(1))
    await log.drain()

    async def unreadable(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(spool, "drain", unreadable)
        kafka.away = False
        await log.drain()
        await log.append(EVENTS, one(2))
        assert kafka.values == []
        steady.now += spooled_log.LONGEST_PROBE
        await log.append(EVENTS, one(3))
        assert kafka.values == [b"3"]
    await log.drain()
    assert sorted(kafka.values) == [b"1", b"2", b"3"]


async def test_metrics_say_what_waits_and_for_how_long(tmp_path: Path):
    spool_clock, clock = FakeClock(NOON), FakeClock(NOON)
    spool = Spool(tmp_path / "told", 1 << 20, spool_clock)
    kafka = Kafka(away=True)
    log = SpooledLog(kafka, spool, clock, Steady())
    before = REGISTRY.get_sample_value("dripline_spooled_records_total") or 0
    await log.append(EVENTS, [*one(1), *one(2)])
    clock.advance(timedelta(minutes=3))
    await log.drain()
    told = {name: REGISTRY.get_sample_value(f"dripline_spool_{name}") for name in ("records", "oldest_seconds", "bytes")}
    assert (told["records"], told["oldest_seconds"], told["bytes"]) == (2, 180, spool.size())
    assert REGISTRY.get_sample_value("dripline_spooled_records_total") == before + 2
    kafka.away = False
    await log.drain()
    assert [REGISTRY.get_sample_value(f"dripline_spool_{name}") for name in ("records", "oldest_seconds", "bytes")] == [0, 0, 0]
    await spool.close()


@settings(max_examples=40, deadline=None)
@given(story=st.lists(st.sampled_from(["append", "append", "away", "back", "drain", "kill"]), min_size=5, max_size=40))
def test_whatever_happens_in_whatever_order_what_was_acknowledged_arrives(story: list[str], tmp_path_factory: pytest.TempPathFactory):
    acknowledged, arrived = asyncio.run(_lived(story, tmp_path_factory.mktemp("story")))
    assert acknowledged <= arrived


async def _lived(story: list[str], folder: Path) -> tuple[set[bytes], set[bytes]]:
    kafka, steady = Kafka(), Steady()
    spool = Spool(folder, 2000, FakeClock(NOON), segment_bytes=150)
    log = a_log(kafka, spool, steady)
    acknowledged: set[bytes] = set()
    for number, happens in enumerate(story):
        steady.now += 0.4
        match happens:
            case "append":
                try:
                    await log.append(EVENTS, one(number))
                    acknowledged.add(f"{number}".encode())
                except Outage:
                    pass
            case "away" | "back":
                kafka.away = happens == "away"
            case "drain":
                await log.drain()
            case "kill":  # as a killed process: whatever it knew is gone, the files stay
                await spool.close()
                spool = Spool(folder, 2000, FakeClock(NOON), segment_bytes=150)
                log = a_log(kafka, spool, steady)
    kafka.away = False
    await log.drain()
    assert not spool.waits()
    await spool.close()
    return acknowledged, set(kafka.values)


Post = Callable[..., Awaitable[Answer]]


def posting(kafka: Kafka, spool: Spool | None) -> tuple[Post, Callable[[], Awaitable[Answer]]]:
    """Ingest as `serve` builds it, its database away."""
    spooled = a_log(kafka, spool)
    ports = Ports(kafka, None, FakeClock(NOON), Keys(), None, None)  # type: ignore[arg-type]  # the paths under test use only these
    pages = service_app("ingest", ports, [], [spooled.check], needs_database=False)
    api = TrackingApi(ports, spooled, pages, 1 << 20, Limits(Rate(0, 60), Rate(0, 60), Rate(0, 3600)))

    async def post(body: object, path: str = "/v1/track") -> Answer:
        return await call(api, path, [json.dumps(body).encode()], {"authorization": basic("pk_test")})

    return post, lambda: call(api, "/readyz", [b""], {}, "GET")


async def test_events_are_taken_while_kafka_and_the_database_are_away_and_ready_says_so(spool: Spool):
    post, ready = posting(Kafka(away=True), spool)
    assert (await post(a_track())).status == 200
    batch = await post({"batch": [a_track(), {"type": "nonsense", "userId": "u1"}]}, "/v1/batch")
    assert (batch.status, len(batch.json["rejected"])) == (200, 1)
    answer = await ready()
    assert (answer.status, answer.json) == (200, {"status": "ready", "events": "to the spool, Kafka is away"})
    assert sorted((held.topic, held.records) for held in spool.held()) == [(DEAD_LETTERS, 1), (EVENTS, 2)]


async def test_without_a_spool_ingest_says_503_and_when_to_come_back():
    post, ready = posting(Kafka(away=True), None)
    answer = await post(a_track())
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, "5", "unavailable")
    assert (await ready()).status == 503


async def test_a_full_spool_says_503(tmp_path: Path):
    spool = Spool(tmp_path / "full", 1500, FakeClock(NOON))
    post, ready = posting(Kafka(away=True), spool)
    answers = [await post(a_track()) for _ in range(40)]
    assert [answer.status for answer in (answers[0], answers[-1])] == [200, 503]
    assert {answer.status for answer in answers} == {200, 503}
    assert answers[-1].headers["retry-after"] == "5"
    told = await ready()
    assert (told.status, "the spool is full" in told.json["message"]) == (503, True)
    await spool.close()


async def test_the_audit_tells_what_the_spool_holds_and_calls_it_no_mistake(spool: Spool):
    kafka = Kafka(away=True)
    log = a_log(kafka, spool)
    assert (spool_check(log).left, spool_check(log).detail) == (0, "0 wait")
    await log.append(EVENTS, one(1))
    found = spool_check(log)
    assert (found.ok, found.promise, found.left) == (True, 6, 1)
    assert found.detail == f"1 wait, the oldest since {NOON:%Y-%m-%d %H:%M} UTC"
