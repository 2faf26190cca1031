"""A folder's clock never shows less than it once did: over restarts, other speeds, kills."""

from datetime import timedelta
from pathlib import Path

from dripline.data_folder import DataFolder
from dripline.folder_clock import AHEAD, FolderClock
from shared.clock import real_now

DAY_A_SECOND = 86_400.0
SOON = timedelta(minutes=1)


def test_at_the_walls_speed_nothing_is_kept(tmp_path: Path):
    clock = FolderClock(DataFolder(tmp_path))
    clock.give_back()
    assert abs(clock.now() - real_now()) < SOON
    assert DataFolder(tmp_path).reserved_time() is None


def test_a_killed_process_leaves_a_time_that_it_had_not_reached(tmp_path: Path):
    fast = FolderClock(DataFolder(tmp_path), DAY_A_SECOND)
    shown = fast.now()
    next_one = FolderClock(DataFolder(tmp_path))
    assert shown < next_one.now() < shown + AHEAD * DAY_A_SECOND + SOON


def test_after_a_clean_end_time_goes_on_where_it_stopped(tmp_path: Path):
    DataFolder(tmp_path).reserve_time(real_now() + timedelta(days=30))
    first = FolderClock(DataFolder(tmp_path))
    shown = first.now()
    first.give_back()
    second = FolderClock(DataFolder(tmp_path))
    assert shown <= second.now() < shown + SOON


def test_a_folder_that_once_ran_fast_never_goes_back_at_any_speed(tmp_path: Path):
    latest = real_now()
    for speed in (1440.0, 1.0, 0.5, 100_000.0, 1.0):
        clock = FolderClock(DataFolder(tmp_path), speed)
        assert clock.now() >= latest
        latest = clock.now()


def test_while_it_runs_ahead_it_reserves_further(tmp_path: Path):
    folder = DataFolder(tmp_path)
    clock = FolderClock(folder, DAY_A_SECOND)
    before = folder.reserved_time()
    clock.reserve()
    after = folder.reserved_time()
    assert before
    assert after
    assert before < after


def test_when_the_wall_has_caught_up_the_wall_is_followed(tmp_path: Path):
    DataFolder(tmp_path).reserve_time(real_now() - timedelta(days=1))
    assert abs(FolderClock(DataFolder(tmp_path)).now() - real_now()) < SOON


def test_a_due_time_is_slept_for_in_real_seconds(tmp_path: Path):
    clock = FolderClock(DataFolder(tmp_path), 1440.0)
    assert 50 < clock.seconds_until(clock.now() + timedelta(days=1)) <= 60
