"""The embedded log's own promises: what a crash, a full disk, damage and age do to its files."""

import asyncio
import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.clock import FakeClock
from shared.embedded_log import EmbeddedLog
from shared.errors import ConfigurationError, Outage
from shared.log import Record, Subscription

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
Open = Callable[..., EmbeddedLog]


class Stored:
    """One position, moved by hand."""

    def __init__(self, offset: int | None = None) -> None:
        self.offset = offset

    async def position(self, group: str, topic: str, partition: int) -> int | None:
        return self.offset


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
async def opened(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Open]:
    logs: list[EmbeddedLog] = []

    def open_log(**settings: int) -> EmbeddedLog:
        logs.append(EmbeddedLog(tmp_path / "log", clock, **settings))
        return logs[-1]

    yield open_log
    for log in logs:
        await log.close()


def segments(tmp_path: Path, topic: str = "events", partition: int = 0) -> list[Path]:
    return sorted((tmp_path / "log" / topic / str(partition)).glob("*.log"))


async def append(log: EmbeddedLog, *values: bytes) -> None:
    for value in values:
        await log.append("events", [("k", value)])


async def read(subscription: Subscription, count: int) -> list[bytes]:
    values: list[bytes] = []
    while len(values) < count:
        values += [record.value for record in (await asyncio.wait_for(subscription.next(7), 20)).records]
    return values


async def all_of(log: EmbeddedLog, count: int) -> list[bytes]:
    return await read(log.subscribe("test", "events", Stored()), count)


# A crash.


async def test_a_torn_last_frame_is_cut_off_wherever_it_was_torn(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first", b"second")
    await log.close()
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    kept = whole.rindex(b"DLF1")
    for size in range(kept, len(whole)):
        segment.write_bytes(whole[:size])
        log = opened()
        await append(log, b"after")
        assert await all_of(log, 2) == [b"first", b"after"]
        await log.close()


@pytest.mark.parametrize("torn", [b"\0" * 500, b"DLF1", b"DLF1" + b"\xff" * 100, b"\0" * 40 + b"DLF1" + b"x" * 40])
async def test_garbage_behind_the_last_frame_is_cut_off(tmp_path: Path, opened: Open, torn: bytes) -> None:
    log = opened()
    await append(log, b"first")
    await log.close()
    (segment,) = segments(tmp_path)
    size = segment.stat().st_size
    segment.write_bytes(segment.read_bytes() + torn)
    assert await all_of(opened(), 1) == [b"first"]
    assert segment.stat().st_size == size


def run_and_kill(program: str, folder: Path) -> set[int]:
    """Lets a program print what is acknowledged, kills it in the midst, and answers with all it printed."""
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        printed = list(itertools.islice(process.stdout, 400))
        process.send_signal(signal.SIGKILL)
        printed += [line for line in process.stdout if line.endswith(b"\n")]
    return {int(line) for line in printed}


async def test_a_process_killed_while_appending_loses_nothing_it_acknowledged(tmp_path: Path, opened: Open) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from shared.clock import SystemClock
from shared.embedded_log import EmbeddedLog

async def post(log, start):
    for number in range(start, 10**9, 8):
        await log.append("events", [("k", b"%d" % number)])
        print(number, flush=True)

async def main():
    log = EmbeddedLog(Path(sys.argv[1]), SystemClock(), segment_bytes=20_000)
    await asyncio.gather(*(post(log, start) for start in range(8)))

asyncio.run(main())
"""
    acknowledged = {number for _ in range(3) for number in await asyncio.to_thread(run_and_kill, program, tmp_path / "log")}
    log = opened()
    subscription = log.subscribe("test", "events", Stored())
    found: set[int] = set()
    while subscription.backlog_since() is not None:
        found.update(int(record.value) for record in (await subscription.next(500)).records)
    assert acknowledged <= found


async def test_a_topic_half_made_when_the_process_died_is_made_anew(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "log" / "events.new" / "0").mkdir(parents=True)
    log = opened(partitions=2)
    await append(log, b"a")
    assert await all_of(log, 1) == [b"a"]
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["events"]
    assert sorted(path.name for path in (tmp_path / "log" / "events").iterdir()) == ["0", "1"]


async def test_a_topic_keeps_the_partitions_it_was_made_with(opened: Open) -> None:
    log = opened(partitions=3)
    await log.append("events", [(f"k{number}", b"before") for number in range(30)])
    await log.close()
    log = opened(partitions=8)
    await log.append("events", [(f"k{number}", b"after") for number in range(30)])
    subscription = log.subscribe("test", "events", Stored())
    homes: dict[str, set[int]] = {}
    for _ in range(3):
        batch = await subscription.next(1000)
        for record in batch.records:
            homes.setdefault(record.key, set()).add(batch.partition)
    assert len(homes) == 30
    assert all(len(home) == 1 for home in homes.values())


# Damage.


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 5, 20, 30, 34])
async def test_damage_before_the_last_frame_is_told_with_file_place_and_remedy(tmp_path: Path, opened: Open, at: int) -> None:
    log = opened()
    await append(log, b"first", b"second", b"third")
    await log.close()
    (segment,) = segments(tmp_path)
    second = segment.read_bytes().index(b"DLF1", 1)
    flip(segment, second + at)
    with pytest.raises(ConfigurationError, match=rf"{segment}: .* byte {second}\. Restore"):
        opened()


async def test_damage_in_a_sealed_segment_is_told_when_its_place_is_reached(tmp_path: Path, opened: Open) -> None:
    log = opened(segment_bytes=100)
    await append(log, *(b"%d" % number for number in range(20)))
    damaged = segments(tmp_path)[2]
    flip(damaged, 40)
    base = int(damaged.stem)
    subscription = log.subscribe("test", "events", Stored())
    batch = await subscription.next(500)
    assert [record.value for record in batch.records] == [b"%d" % number for number in range(base)]
    with pytest.raises(ConfigurationError, match=str(damaged)):
        await subscription.next(500)


@pytest.mark.parametrize("offset", [-1, 4, 10**9])
async def test_a_position_outside_the_log_is_refused(opened: Open, offset: int) -> None:
    log = opened()
    await append(log, b"a", b"b", b"c")
    with pytest.raises(ConfigurationError, match="restore both from one backup"):
        await log.subscribe("test", "events", Stored(offset)).next(1)


# Segments.


async def test_reading_goes_on_from_any_offset_over_all_segments(tmp_path: Path, opened: Open) -> None:
    log = opened(segment_bytes=150)
    written: list[bytes] = []
    for size in (1, 3, 1, 7, 2, 1, 1, 5, 4, 9, 1, 2):
        values = [b"%d" % (len(written) + number) for number in range(size)]
        await log.append("events", [("k", value) for value in values])
        written += values
    assert len(segments(tmp_path)) > 3
    stored = Stored()
    subscription = log.subscribe("test", "events", stored)
    for offset in [*range(len(written)), *reversed(range(len(written)))]:
        stored.offset = offset
        await subscription.rewind(0)
        assert await read(subscription, len(written) - offset) == written[offset:]


async def test_a_place_read_long_ago_is_found_again(opened: Open) -> None:
    log = opened()
    await asyncio.gather(*(append(log, *(b"%d" % number for number in range(start, 3000, 50))) for start in range(50)))
    stored = Stored()
    subscription = log.subscribe("test", "events", stored)
    values = await read(subscription, 3000)
    for offset in (0, 1, 1500, 2999):
        stored.offset = offset
        await subscription.rewind(0)
        assert (await subscription.next(1)).records[0].value == values[offset]


async def test_a_reader_follows_the_writer_from_segment_to_segment(opened: Open) -> None:
    log = opened(segment_bytes=100)
    subscription = log.subscribe("test", "events", Stored())
    for number in range(30):
        await append(log, b"%d" % number)
        assert await read(subscription, 1) == [b"%d" % number]
        assert subscription.backlog_since() is None


# Age.


async def test_old_segments_are_dropped_whole(tmp_path: Path, opened: Open, clock: FakeClock) -> None:
    log = opened(segment_bytes=100)
    for number in range(10):
        await append(log, b"%d" % number)
        clock.advance(timedelta(days=1))
    before = len(segments(tmp_path))
    dropped = await log.drop_older_than(START + timedelta(days=4, hours=1))
    assert 0 < dropped == before - len(segments(tmp_path))
    first = int(segments(tmp_path)[0].stem)
    assert 0 < first <= 4
    assert await all_of(log, 10 - first) == [b"%d" % number for number in range(first, 10)]
    await log.close()
    assert await all_of(opened(segment_bytes=100), 10 - first) == [b"%d" % number for number in range(first, 10)]


async def test_what_a_group_has_still_to_handle_stays_however_old(tmp_path: Path, opened: Open, clock: FakeClock) -> None:
    log = opened(segment_bytes=100)
    await append(log, *(b"%d" % number for number in range(20)))
    clock.advance(timedelta(days=400))
    await append(log, b"new")
    stored = Stored()
    log.subscribe("slow", "events", stored)
    log.subscribe("fast", "events", Stored(21))
    assert await log.drop_older_than(clock.now()) == 0
    stored.offset = 9
    assert await log.drop_older_than(clock.now()) > 0
    assert int(segments(tmp_path)[0].stem) <= 9 < int(segments(tmp_path)[1].stem)


async def test_the_active_segment_is_never_dropped(tmp_path: Path, opened: Open, clock: FakeClock) -> None:
    log = opened()
    await append(log, b"a")
    clock.advance(timedelta(days=400))
    assert await log.drop_older_than(clock.now()) == 0
    assert await all_of(log, 1) == [b"a"]


# A disk that does not take it.


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk looks like: the write stops short and then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_an_outage_that_leaves_nothing_behind(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first")
    (segment,) = segments(tmp_path)
    size = segment.stat().st_size
    with no_file_larger_than(size + 10):
        for _ in range(3):
            with pytest.raises(Outage, match=str(segment)):
                await append(log, os.urandom(100))
        assert segment.stat().st_size == size
        assert await all_of(log, 1) == [b"first"]
    await append(log, b"second")
    assert await all_of(log, 2) == [b"first", b"second"]
    await log.close()
    assert await all_of(opened(), 2) == [b"first", b"second"]


async def test_readiness_says_so_while_nothing_can_be_written(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first")
    await log.check()
    (segment,) = segments(tmp_path)
    with no_file_larger_than(segment.stat().st_size + 10), pytest.raises(Outage):
        await append(log, os.urandom(100))
    with pytest.raises(Outage, match="the log takes nothing"):
        await log.check()
    await append(log, b"second")
    await log.check()


def no_sync(folder: Path) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def no_unlink(path: Path, missing_ok: bool = False) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("is_left_behind", [False, True])
@pytest.mark.parametrize("sealed_later", [False, True])
async def test_a_seal_that_failed_hides_nothing_that_is_acknowledged_after_it(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, is_left_behind: bool, sealed_later: bool
) -> None:
    log = opened()
    await append(log, b"first")
    with monkeypatch.context() as broken, pytest.raises(Outage, match="cannot begin a segment"):
        broken.setattr("shared.segments.sync_folder", no_sync)
        if is_left_behind:
            broken.setattr(Path, "unlink", no_unlink)
        await log.seal()
    assert len(segments(tmp_path)) == (2 if is_left_behind else 1)
    await append(log, b"second", b"third")
    if sealed_later:
        await log.seal()
        await append(log, b"fourth")
    await log.close()
    log = opened()
    wanted = [b"first", b"second", b"third", *([b"fourth"] if sealed_later else [])]
    assert await all_of(log, len(wanted)) == wanted
    await append(log, b"last")
    await log.close()
    assert await all_of(opened(), len(wanted) + 1) == [*wanted, b"last"]
    assert len(segments(tmp_path)) == (2 if sealed_later else 1)


async def test_a_crash_between_a_failed_seal_and_the_next_frames_end_leaves_a_log_that_can_be_sealed(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first", b"torn")
    await log.close()
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-3])
    segment.with_name(f"{1:020}.log").touch()
    log = opened()
    await append(log, b"b-second")
    assert await log.rewrite(without_b, await log.seal()) == 1
    assert await all_of(log, 1) == [b"first"]


async def test_an_empty_segment_behind_a_whole_one_stays(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first")
    await log.seal()
    await log.close()
    log = opened()
    assert [int(path.stem) for path in segments(tmp_path)] == [0, 1]
    await append(log, b"second")
    assert await all_of(log, 2) == [b"first", b"second"]


async def test_an_empty_segment_behind_a_broken_one_stays_so_that_the_damage_is_seen(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"first", b"second")
    await log.seal()
    await log.close()
    sealed, _ = segments(tmp_path)
    sealed.write_bytes(sealed.read_bytes()[:-3])
    log = opened()
    assert [int(path.stem) for path in segments(tmp_path)] == [0, 2]
    with pytest.raises(ConfigurationError, match="damaged"):
        await all_of(log, 2)


async def test_a_topic_that_cannot_be_made_is_an_outage(tmp_path: Path, opened: Open) -> None:
    log = opened()
    (tmp_path / "log" / "events").write_text("in the way")
    with pytest.raises(Outage):
        await append(log, b"a")
    (tmp_path / "log" / "events").unlink()
    await append(log, b"a")


async def test_a_segment_that_cannot_be_begun_is_an_outage(tmp_path: Path, opened: Open) -> None:
    log = opened(segment_bytes=10)
    await append(log, b"first")
    obstacle = tmp_path / "log" / "events" / "0" / f"{1:020}.log"
    obstacle.mkdir()
    with pytest.raises(Outage):
        await append(log, b"second")
    obstacle.rmdir()
    await append(log, b"second")
    assert await all_of(log, 2) == [b"first", b"second"]


async def test_a_folder_that_cannot_be_opened_says_so(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        EmbeddedLog(tmp_path / "log", clock)


# Loops and threads.


async def test_two_threads_append_while_a_third_reads(opened: Open) -> None:
    log = opened()

    def post(start: int) -> None:
        asyncio.run(append(log, *(b"%d" % number for number in range(start, 600, 2))))

    threads = [threading.Thread(target=post, args=(start,)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    values = await all_of(log, 600)
    for thread in threads:
        thread.join()
    assert sorted(map(int, values)) == list(range(600))
    assert [int(value) for value in values if int(value) % 2] == list(range(1, 600, 2))


async def test_an_append_whose_caller_gave_up_does_no_harm(opened: Open) -> None:
    log = opened()
    given_up = asyncio.ensure_future(log.append("events", [("k", b"a")]))
    await asyncio.sleep(0)
    given_up.cancel()
    await append(log, b"b")
    assert (await all_of(log, 2))[-1] == b"b"


async def test_what_was_read_before_a_segment_that_cannot_be_opened_is_handed_out(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EmbeddedLog(tmp_path / "log", clock, segment_bytes=100)
    for value in (b"one" * 100, b"two" * 100):
        await log.append("t", [("k", os.urandom(300) + value)])  # a segment each
    opened, real = [], os.open

    def failing(path: str, flags: int, *rest: int) -> int:
        if flags == os.O_RDONLY and str(path).endswith(".log"):
            opened.append(path)
            if len(opened) == 2:
                raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", failing)
    subscription = log.subscribe("g", "t", Stored())
    found = [record.value[300:303] for _ in range(2) for record in (await subscription.next(10)).records]
    assert found == [b"one", b"two"]
    await subscription.close()
    await log.close()


# Rewriting.


def without_b(topic: str, record: Record) -> Record | None:
    return Record("", b'{"type":"erased"}', record.at) if b"b" in record.value else None


async def test_a_rewritten_log_keeps_its_offsets_and_says_nothing_of_what_is_gone(tmp_path: Path, opened: Open) -> None:
    log = opened(segment_bytes=150)
    await append(log, *(b"a%d" % number if number % 3 else b"b%d" % number for number in range(30)))
    await log.append("events", [("kb", b"b-in-the-active-one"), ("ka", b"a-in-the-active-one")])
    assert await log.rewrite(without_b, await log.seal()) == 11
    assert not any(b"b-in" in path.read_bytes() for path in segments(tmp_path))
    wanted = [b"a%d" % number for number in range(30) if number % 3] + [b"a-in-the-active-one"]
    assert await all_of(log, len(wanted)) == wanted
    stored = Stored(16)
    subscription = log.subscribe("later", "events", stored)
    assert (await subscription.next(1)).records[0].value == b"a16"
    await log.close()
    assert await all_of(opened(segment_bytes=150), len(wanted)) == wanted


async def test_positions_move_over_what_is_gone(opened: Open) -> None:
    log = opened()
    await append(log, b"b1", b"b2")
    assert await log.rewrite(without_b, await log.seal()) == 2
    subscription = log.subscribe("test", "events", Stored())
    batch = await asyncio.wait_for(subscription.next(10), 5)
    assert (batch.records, batch.position, batch.next_offset, batch.first) == ((), 0, 2, True)
    await append(log, b"a")
    batch = await subscription.next(10)
    assert ([record.value for record in batch.records], batch.position, batch.next_offset) == ([b"a"], 2, 3)


async def test_nothing_is_rewritten_before_every_group_has_handled_it(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, b"b")
    stored = Stored()
    log.subscribe("slow", "events", stored)
    with pytest.raises(Outage, match="not all of it is handled yet"):
        await log.rewrite(without_b, await log.seal())
    stored.offset = 1
    assert await log.rewrite(without_b, await log.seal()) == 1


@pytest.mark.parametrize("handled_first", [True, False])
async def test_what_is_appended_behind_the_seal_keeps_no_rewriting_waiting(tmp_path: Path, opened: Open, handled_first: bool) -> None:
    log = opened()
    await append(log, b"b-old", b"a-old")
    stored = Stored(1)
    log.subscribe("busy", "events", stored)
    sealed = await log.seal()
    for number in range(5):
        if not handled_first:
            await append(log, b"b-behind%d" % number)
        with pytest.raises(Outage, match="not all of it is handled yet"):
            await log.rewrite(without_b, sealed)
        if handled_first:
            await append(log, b"b-behind%d" % number)
    stored.offset = 2
    assert await log.rewrite(without_b, sealed) == 1
    assert await all_of(log, 6) == [b"a-old", *(b"b-behind%d" % number for number in range(5))]
    assert len(segments(tmp_path)) == 2


async def test_a_later_seal_does_not_widen_an_earlier_one(opened: Open) -> None:
    log = opened()
    await append(log, b"b1")
    earlier = await log.seal()
    await append(log, b"b2")
    await log.seal()
    assert await log.rewrite(without_b, earlier) == 1
    assert await all_of(log, 1) == [b"b2"]


async def test_a_reader_in_the_midst_of_a_segment_reads_on_and_can_go_back(opened: Open) -> None:
    log = opened(segment_bytes=100_000)
    stored = Stored(20)
    subscription = log.subscribe("test", "events", stored)
    await append(log, *(b"b%d" % number if number == 3 else b"a%d" % number for number in range(20)))
    await subscription.rewind(0)
    stored.offset = 0
    await subscription.rewind(0)
    assert await read(subscription, 7) == [b"a0", b"a1", b"a2", b"b3", b"a4", b"a5", b"a6"]
    stored.offset = 20
    assert await log.rewrite(without_b, await log.seal()) == 1
    assert await read(subscription, 13) == [b"a%d" % number for number in range(7, 20)]
    for offset in (0, 5, 3):
        stored.offset = offset
        await subscription.rewind(0)
        wanted = [b"a%d" % number for number in range(offset, 20) if number != 3]
        assert await read(subscription, len(wanted)) == wanted


async def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, opened: Open) -> None:
    log = opened()
    await append(log, *(b"b" + os.urandom(50) for _ in range(20)))
    await append(log, *(b"a" + os.urandom(50) for _ in range(20)))
    with no_file_larger_than(500), pytest.raises(Outage, match="cannot rewrite"):
        await log.rewrite(without_b, await log.seal())
    await log.close()
    log = opened()
    assert len(await all_of(log, 40)) == 40
    assert [path.suffix for path in (tmp_path / "log" / "events" / "0").iterdir()] == [".log", ".log"]


async def test_a_process_killed_while_rewriting_leaves_a_readable_log(tmp_path: Path, opened: Open) -> None:
    program = """
import asyncio, itertools, sys
from pathlib import Path
from shared.clock import SystemClock
from shared.embedded_log import EmbeddedLog
from shared.log import Record

async def main():
    log = EmbeddedLog(Path(sys.argv[1]), SystemClock(), segment_bytes=2_000)
    for number in itertools.count():
        await log.append("events", [("k", b"a%d" % number), ("k", b"b%d" % number)])
        sealed = await log.seal()
        await log.rewrite(lambda topic, record: Record("", b'{"type":"erased"}', record.at) if record.value[:1] == b"b" else None, sealed)
        print(number, flush=True)

asyncio.run(main())
"""
    last = max([max(await asyncio.to_thread(run_and_kill, program, tmp_path / "log")) for _ in range(2)])
    values = []
    log = opened()
    subscription = log.subscribe("test", "events", Stored())
    while subscription.backlog_since() is not None:
        values += [record.value for record in (await subscription.next(500)).records]
    assert {b"a%d" % number for number in range(last + 1)} <= set(values)
    assert len([value for value in values if value.startswith(b"b")]) <= 2
