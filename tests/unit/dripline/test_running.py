"""What `run` warns of when it is up."""

from datetime import timedelta
from pathlib import Path

import pytest

from dripline.data_folder import DataFolder
from dripline.folder_clock import FolderClock
from dripline.running import warnings
from dripline.settings import RunSettings
from shared.clock import real_now


@pytest.mark.parametrize(("speed", "warned"), [(1.0, True), (1440.0, False)])
def test_a_clock_that_is_ahead_is_warned_of_only_where_it_does_not_run_fast(tmp_path: Path, speed: float, warned: bool):
    folder = DataFolder(tmp_path)
    folder.reserve_time(real_now() + timedelta(days=2))
    found = warnings(FolderClock(folder, speed), RunSettings(_env_file=None))
    assert any("once ran fast" in line for line in found) == warned
