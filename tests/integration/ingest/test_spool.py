"""Ingest's spool: what is on its disk survives, goes to Kafka in full, and is deleted only then."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest import spool as spooling
from services.ingest.spool import REFUSED, Spool, open_spool
from services.ingest.spool_folder import filesystem_of, is_in_use, refuse_memory, survey
from shared.clock import FakeClock
from shared.errors import ConfigurationError, InvalidMessage, Outage

NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
PLENTY = 1 << 20

Pairs = list[tuple[str, bytes]]


@dataclass
class Kafka:
    """Takes records, `patience` chunks of them, and refuses some for ever."""

    taken: list[bytes] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    patience: int = 1_000_000
    refuses: frozenset[bytes] = frozenset()

    async def __call__(self, topic: str, records: object) -> None:
        assert isinstance(records, list)
        if self.patience == 0:
            raise Outage("Kafka is away")
        if self.refuses & {value for _, value in records}:
            raise InvalidMessage("refused", "Kafka refuses it")
        self.patience -= 1
        self.topics.add(topic)
        self.taken += [value for _, value in records]


@pytest.fixture
async def reopen(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Spool]]]:
    """Opens the spool anew on what is already there; the one before is closed first."""
    opened: list[Spool] = []

    async def open_anew(quota: int = PLENTY, segment_bytes: int = 1 << 20) -> Spool:
        while opened:
            await opened.pop().close()
        opened.append(Spool(tmp_path / "spool", quota, FakeClock(NOON), segment_bytes))
        return opened[-1]

    yield open_anew
    for spool in opened:
        await spool.close()


def numbered(numbers: range) -> Pairs:
    return [(f"k{number % 3}", f"{number}".encode()) for number in numbers]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


async def test_what_was_spooled_reaches_kafka_in_its_order_after_a_restart(reopen):
    spool = await reopen()
    for number in range(20):
        await spool.append("events", numbered(range(number, number + 1)))
    spool = await reopen()
    kafka = Kafka()
    assert spool.waits()
    await spool.drain(kafka)
    assert kafka.taken == [f"{number}".encode() for number in range(20)]
    assert kafka.topics == {"events"}
    assert not spool.waits()


async def test_what_is_confirmed_leaves_the_disk(reopen, tmp_path: Path):
    spool = await reopen(segment_bytes=200)
    for number in range(40):
        await spool.append("events", numbered(range(number, number + 1)))
    before = spool.size()
    assert len(segments(tmp_path)) > 5
    await spool.drain(Kafka())
    assert before > 1000
    assert spool.size() == 0
    assert [path.stat().st_size for path in segments(tmp_path)] == [0]


async def test_a_segment_stays_until_kafka_has_confirmed_all_of_it(reopen, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spooling, "CHUNK_RECORDS", 4)
    spool = await reopen()
    await spool.append("events", numbered(range(10)))
    first = Kafka(patience=2)
    with pytest.raises(Outage):
        await spool.drain(first)
    assert len(first.taken) == 8
    (held,) = spool.held()
    assert (held.records, held.oldest_at) == (2, NOON)
    spool = await reopen()  # killed here: what it knew of the eight is gone, and they are sent again
    again = Kafka()
    await spool.drain(again)
    assert again.taken == [f"{number}".encode() for number in range(10)]


async def test_a_drain_that_broke_off_goes_on_where_it_was(reopen, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spooling, "CHUNK_RECORDS", 4)
    spool = await reopen()
    await spool.append("events", numbered(range(10)))
    kafka = Kafka(patience=2)
    with pytest.raises(Outage):
        await spool.drain(kafka)
    kafka.patience = 10
    await spool.drain(kafka)
    assert kafka.taken == [f"{number}".encode() for number in range(10)]


async def test_what_comes_while_it_drains_is_kept_for_the_next_time(reopen):
    spool = await reopen()
    await spool.append("events", numbered(range(3)))
    taken: list[bytes] = []

    async def send(topic: str, records: Pairs) -> None:
        if not taken:
            await spool.append("events", [("late", b"late")])
        taken.extend(value for _, value in records)

    await spool.drain(send)
    assert taken[:3] == [b"0", b"1", b"2"]
    await spool.drain(send)
    assert taken.count(b"late") == 1
    assert not spool.waits()


async def test_a_full_spool_takes_nothing_and_has_room_again_once_it_is_drained(reopen):
    spool = await reopen(quota=4096)
    noise = [("k", os.urandom(1000))]
    taken = 0
    with pytest.raises(Outage, match="the spool is full"):
        for _ in range(10):
            await spool.append("events", noise)
            taken += 1
    assert taken == 3
    assert spool.size() <= 4096
    await spool.drain(Kafka())
    await spool.append("events", noise)


async def test_what_is_on_its_way_to_the_disk_counts_as_well(reopen):
    spool = await reopen(quota=4096)
    answers = await asyncio.gather(*(spool.append("events", [("k", os.urandom(1000))]) for _ in range(10)), return_exceptions=True)
    assert len([answer for answer in answers if answer is None]) == 4
    assert spool.size() <= 4096 + 4 * 100


async def test_what_kafka_refuses_holds_nobody_up_and_is_kept_for_people(reopen, tmp_path: Path):
    spool = await reopen()
    await spool.append("events", numbered(range(5)))
    kafka = Kafka(refuses=frozenset({b"2"}))
    await spool.drain(kafka)
    assert kafka.taken == [b"0", b"1", b"3", b"4"]
    assert not spool.waits()
    found, _ = survey(tmp_path / "spool")
    assert [(held.topic, held.records) for held in found] == [("events" + REFUSED, 1)]
    kafka.refuses = frozenset()  # the topic takes more now
    await spool.drain(kafka, refused=True)
    assert kafka.taken[-1] == b"2"
    assert kafka.topics == {"events"}
    assert survey(tmp_path / "spool") == ([], [])


async def test_a_wrong_setting_of_kafkas_is_no_damage_of_what_waits(reopen, tmp_path: Path):
    spool = await reopen()
    await spool.append("events", numbered(range(5)))

    async def ill_set(topic: str, records: object) -> None:
        raise ConfigurationError("DRIPLINE_KAFKA_CA_FILE: ca.pem holds no certificate")

    with pytest.raises(Outage, match="DRIPLINE_KAFKA_CA_FILE"):
        await spool.drain(ill_set)
    kafka = Kafka()
    await spool.drain(kafka)
    assert kafka.taken == [b"0", b"1", b"2", b"3", b"4"]
    assert survey(tmp_path / "spool") == ([], [])


async def test_what_is_refused_again_stays(reopen, tmp_path: Path):
    spool = await reopen()
    await spool.append("events", numbered(range(3)))
    kafka = Kafka(refuses=frozenset({b"0", b"1"}))
    for _ in range(3):
        await spool.drain(kafka, refused=True)
    found, _ = survey(tmp_path / "spool")
    assert [(held.topic, held.records) for held in found] == [("events" + REFUSED, 2)]


async def test_two_processes_never_work_in_one_folder(reopen, tmp_path: Path):
    folder = tmp_path / "spool"
    assert not is_in_use(folder)
    spool = await reopen()
    assert is_in_use(folder)
    with pytest.raises(ConfigurationError, match="each replica of ingest needs a DRIPLINE_SPOOL_DIR of its own"):
        Spool(folder, PLENTY)
    await spool.append("events", numbered(range(1)))
    assert [held.records for held in survey(folder)[0]] == [1]  # looking is allowed


async def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"the spool cannot be written .*; see DRIPLINE_SPOOL_DIR"):
        Spool(tmp_path / "file" / "spool", PLENTY)


def test_a_folder_in_memory_is_no_spool(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"lies in memory \(tmpfs\)"):
        refuse_memory(tmp_path, lambda folder: "tmpfs")
    refuse_memory(tmp_path, lambda folder: "ext4")
    refuse_memory(tmp_path, lambda folder: "overlay")  # with a warning


def test_the_file_system_of_a_folder_is_found_before_it_is_made():
    if Path("/proc/self/mounts").exists():
        assert filesystem_of(Path("/proc/of/nothing")) == "proc"


def test_without_a_folder_there_is_no_spool():
    assert open_spool(None, PLENTY) is None


async def test_a_full_disk_says_no_and_keeps_what_it_has(reopen, monkeypatch: pytest.MonkeyPatch):
    spool = await reopen()
    await spool.append("events", numbered(range(3)))
    real = os.pwrite

    def half(fd: int, data: bytes, position: int) -> int:
        real(fd, data[: len(data) // 2], position)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", half)
        with pytest.raises(Outage, match="No space left on device"):
            await spool.append("events", numbered(range(3, 6)))
    await spool.append("events", numbered(range(6, 9)))
    spool = await reopen()
    kafka = Kafka()
    await spool.drain(kafka)
    assert kafka.taken == [b"0", b"1", b"2", b"6", b"7", b"8"]


async def test_a_disk_so_full_that_no_segment_can_be_begun_is_drained_all_the_same(reopen, monkeypatch: pytest.MonkeyPatch):
    spool = await reopen()
    await spool.append("events", numbered(range(3)))
    kafka = Kafka()
    real = os.open

    def no_new_file(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TRUNC:
            raise OSError(28, "No space left on device")
        return real(path, flags, mode)  # type: ignore[arg-type]

    with monkeypatch.context() as full:
        full.setattr(os, "open", no_new_file)
        await spool.drain(kafka)
        assert not spool.waits()
    await spool.append("events", numbered(range(3, 4)))
    await spool.drain(kafka)
    assert kafka.taken == [b"0", b"1", b"2", b"3"]  # nothing twice
    assert spool.size() == 0


async def test_a_damaged_segment_is_put_aside_and_the_rest_is_sent(reopen, tmp_path: Path):
    spool = await reopen(segment_bytes=1)
    for number in range(4):
        await spool.append("events", numbered(range(number, number + 1)))
    second = segments(tmp_path)[1]
    content = bytearray(second.read_bytes())
    content[-1] ^= 0xFF
    second.write_bytes(content)
    kafka = Kafka()
    await spool.drain(kafka)
    assert kafka.taken == [b"0", b"2", b"3"]
    _, damaged = survey(tmp_path / "spool")
    assert [path.name for path in damaged] == [second.with_suffix(".damaged").name]
    assert not spool.waits()


async def test_damage_where_it_begins_stops_nothing_either(reopen, tmp_path: Path):
    spool = await reopen(segment_bytes=1)
    for number in range(3):
        await spool.append("events", numbered(range(number, number + 1)))
    first = segments(tmp_path)[0]
    first.write_bytes(b"nothing of ours" * 9)
    (held,) = spool.held()
    assert (held.records, held.oldest_at) == (3, None)
    kafka = Kafka()
    await spool.drain(kafka)
    assert kafka.taken == [b"1", b"2"]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), batches=st.lists(st.integers(1, 3), min_size=1, max_size=6))
def test_whatever_a_kill_tears_off_the_end_only_what_was_not_acknowledged_is_lost(cut: int, batches: list[int]):
    """A killed process leaves a prefix of its last write; every whole frame before it was acknowledged, and is sent."""
    with TemporaryDirectory() as folder:
        kept, sent = asyncio.run(_torn(Path(folder), cut, batches))
    assert sent == kept


async def _torn(folder: Path, cut: int, batches: list[int]) -> tuple[list[bytes], list[bytes]]:
    spool = Spool(folder, PLENTY)
    ends: list[tuple[int, list[bytes]]] = []
    acknowledged: list[bytes] = []
    for number, size in enumerate(batches):
        values = [f"{number}.{place}".encode() for place in range(size)]
        await spool.append("events", [("k", value) for value in values])
        acknowledged += values
        ends.append((spool.size(), list(acknowledged)))
    await spool.close()
    (file,) = segments(folder)
    left = max(0, ends[-1][0] - cut)
    os.truncate(file, left)
    kept = next((whole for end, whole in reversed(ends) if end <= left), [])
    again, kafka = Spool(folder, PLENTY), Kafka()
    await again.drain(kafka)
    await again.close()
    return kept, kafka.taken


async def test_the_age_of_the_oldest_is_known(tmp_path: Path):
    clock = FakeClock(NOON)
    spool = Spool(tmp_path / "aged", PLENTY, clock)
    await spool.append("events", numbered(range(1)))
    clock.advance(timedelta(minutes=5))
    await spool.append("events", numbered(range(1)))
    assert [held.oldest_at for held in spool.held()] == [NOON]
    await spool.close()
